"""The chart of one workflow, as texts by their path in it. Reads what is shipped and what the graph is of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clara_argo import __version__, shipped
from clara_argo.charts import definitions, parts, values
from clara_argo.charts.definitions import Definition
from clara_argo.charts.holes import Holes
from clara_argo.charts.spec import constants, stage_values, text_of, with_holes
from clara_argo.compile import STAGES, Cluster, as_yaml, compile_graph
from clara_argo.compile import names as cluster_names
from clara_argo.errors import Finding, UsageError
from clara_argo.graph import DNS_LABEL, Graph
from clara_argo.source import short

KUBERNETES = ">=1.34.0-0"  # what Argo 4.1 is tried with
KIND = "clara.dev/chart"  # annotation of Chart.yaml: it is ours, and of what kind
VALUES = "clara.dev/values"  # annotation of Chart.yaml: the digest of values.yaml, while nobody has edited it
WORKFLOW_CHART, PLATFORM_CHART = "workflow", "platform"
LONGEST_NAME = 53  # of a release, which is commonly called like its chart
STATIC = (
    "templates/_helpers.tpl",
    "templates/semaphore.yaml",
    "templates/route.yaml",
    "templates/NOTES.txt",
    ".helmignore",
)
Object = dict[str, Any]
_RELEASE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """`files`: path in the chart -> its text. `template`: what the workflow is called on a cluster."""

    name: str
    version: str
    kind: str
    files: Mapping[str, str]
    template: str = ""
    findings: tuple[Finding, ...] = ()


def chart(graph: Graph, name: str, *, fused: bool = False, strict: bool = False) -> Chart:
    """Raises UsageError for a name that no chart can have, and what compiling raises."""
    check_name(name)
    cluster = Cluster()
    compiled = compile_graph(graph, cluster, fused=fused, strict=strict)
    stages = json.loads(compiled.template["metadata"]["annotations"][STAGES])
    keys = cluster_names.stages((node.name for node in graph.nodes), graph.workflow.source)
    holes = Holes.of(compiled.template)
    made = with_holes(graph, compiled.template, stages, keys, holes, fused=fused)
    filled = stage_values(graph, compiled.template, stages, keys, cluster.gpu)
    secrets = [one["name"] for one in compiled.template["spec"].get("imagePullSecrets", ())]
    given = _plain(values.defaults(filled, cluster, secrets, graph.workflow.name))
    beside = definitions.of(graph)
    version = f"{release()}+{graph.digest[:12]}"
    text = values.text(given, f"{name} {version}: the workflow {graph.workflow.name}")
    head = _head(graph, name, version, compiled.template, beside)
    head["annotations"][VALUES] = digest(text)
    static = {path: (shipped.folder("templates") / "charts" / "workflow" / path).read_text("utf-8") for path in STATIC}
    files = {
        "Chart.yaml": as_yaml(_plain(head)),
        "values.yaml": text,
        "values.schema.json": values.schema(given),
        "templates/workflowtemplate.yaml": text_of(made, holes),
        "templates/_compiled.tpl": constants(fused),
        "templates/accounts.yaml": parts.accounts(),
        "templates/networkpolicy.yaml": parts.policy(),
        "README.md": _readme(name, graph, compiled.name),
        **static,
        **{f"files/{one.key}": one.text for one in beside},
    }
    found = (*compiled.findings, *definitions.findings(beside, graph))
    return Chart(name=name, version=version, kind=WORKFLOW_CHART, files=files, template=compiled.name, findings=found)


def _plain(made: Object) -> Object:
    """Without what texts of a file know of their places."""
    return dict(json.loads(json.dumps(made)))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_name(name: str) -> None:
    if not _can_be(name):
        better = re.sub(r"[^a-z0-9]+", "-", name.lower())[:LONGEST_NAME].strip("-")
        hint = f"; for example {better}" if _can_be(better) else ""
        message = f"a chart cannot be called {short(name)}"
        raise UsageError(f"{message}: lower-case letters, digits and '-', at most {LONGEST_NAME}{hint}")


def _can_be(name: str) -> bool:
    return bool(DNS_LABEL.fullmatch(name)) and len(name) <= LONGEST_NAME


def release() -> str:
    """Ours, as Helm counts: three numbers."""
    found = _RELEASE.match(__version__)
    return found[0] if found else "0.0.0"


def _head(graph: Graph, name: str, version: str, template: Object, beside: tuple[Definition, ...]) -> Object:
    files = {definitions.ROUTE: definitions.ROUTE} | {one.key: one.path for one in beside}
    return {
        "apiVersion": "v2",
        "name": name,
        "description": f"The workflow {graph.workflow.name} for Argo Workflows",
        "type": "application",
        "version": version,
        "appVersion": graph.digest[:12],
        "kubeVersion": KUBERNETES,
        "keywords": ["DICOM", "medical imaging", "Argo Workflows"],
        "annotations": {
            KIND: WORKFLOW_CHART,
            "clara.dev/workflow": graph.workflow.name,
            "clara.dev/workflow-digest": graph.digest,
            "clara.dev/label": template["metadata"]["labels"]["clara.dev/workflow"],
            "clara.dev/template": template["metadata"]["name"],
            "clara.dev/files": json.dumps(files, ensure_ascii=False),
        },
    }


def _readme(name: str, graph: Graph, template: str) -> str:
    text = (shipped.folder("templates") / "charts" / "workflow" / "README.md").read_text("utf-8")
    return text.replace("CHART", name).replace("WORKFLOW", graph.workflow.name).replace("TEMPLATE", template)

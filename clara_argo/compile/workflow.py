"""The two objects: a WorkflowTemplate with all that a submitter may not change, a Workflow with three parameters.

No patient data: a Workflow carries an opaque job, an opaque payload and a time; they end up in etcd, UI and metrics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clara_argo.compile import names
from clara_argo.compile.cluster import Cluster
from clara_argo.compile.container import FUSED, VOLUME, Containers, Object, folders, input_path
from clara_argo.compile.template import MAIN, Templates, pauses
from clara_argo.errors import Finding
from clara_argo.graph import PAYLOAD, Graph
from clara_argo.source import Findings

API = "argoproj.io/v1alpha1"
PARAMETERS = {  # and what Argo's UI says beside each of them
    "job": "Id of the job, 32 hex digits; what it writes lies in the store below jobs/<job>/",
    "payload": "Id of the study in the store: payloads/<payload>/input.tgz; clara submit puts it there",
    "created": "When the job was asked for: UTC, like 2026-01-31T12:00:00Z",
}
TITLE, DESCRIPTION = "workflows.argoproj.io/title", "workflows.argoproj.io/description"  # what Argo's UI lists
TITLE_DIGITS = 8  # of a job, enough for our commands; they stand first: the UI cuts a long title at its end
LONGEST_DESCRIPTION = 500
DIGEST = "clara.dev/digest"  # of the whole spec: `clara apply` compares it
STAGES = "clara.dev/stages"  # JSON, stage -> template or, in one pod, container; in the graph's order
SEPARATORS = {0x2028: "\\u2028", 0x2029: "\\u2029"}  # which Go's JSON never writes as they are
WORKFLOW = "clara.dev/workflow-name"
WORKFLOW_DIGEST = "clara.dev/workflow-digest"
MANAGED, OURS = "app.kubernetes.io/managed-by", "clara-argo"  # a label; Helm puts its own name there
RESULTS = "clara.dev/results"  # JSON, the names of the folders that are the result: STAGE or STAGE.FOLDER


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One job of a template. The default is an example that shows the form; a real one has ids of its own."""

    job: str = "0" * 32
    payload: str = "example"
    created: str = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    template: Object
    workflow: Object
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        return str(self.template["metadata"]["name"])


def compile_graph(
    graph: Graph,
    cluster: Cluster | None = None,
    *,
    fused: bool = False,
    strict: bool = False,
    submission: Submission | None = None,
) -> Compiled:
    """The objects of a graph; `fused`: all stages in one pod. Raises DefinitionError with everything that cannot run.

    Raises NotInstalled when hera, the second reader of what is written, is not there.
    """
    from clara_argo.compile.judge import understood

    cluster, findings = cluster or Cluster(), Findings(graph.workflow.source, strict=strict)
    containers = Containers(graph=graph, cluster=cluster)
    containers.check(findings)
    if fused:
        _check_fused(graph, findings)
    found = findings.check()
    mapped = names.stages((node.name for node in graph.nodes), graph.workflow.source)
    templates = Templates(graph=graph, cluster=cluster, names=mapped, container=containers)
    facts = _facts(graph, templates.containers if fused else mapped, fused)
    made = templates.fused() if fused else templates.separate()
    spec = _spec(graph, cluster, facts, made, _longest(graph, fused))
    template = _template(graph, cluster, facts, spec, fused=fused)
    return Compiled(
        template=understood(template),
        workflow=understood(workflow(template, submission or Submission())),
        findings=found,
    )


def _check_fused(graph: Graph, findings: Findings) -> None:
    """In one pod the volume lies at FUSED, and there is one folder of locks for all."""
    for node in graph.nodes:
        where = folders(node)
        inputs = [input_path(node, read) for read in node.reads]
        if any(FUSED in (place, *place.parents) for place in (*inputs, where.output, where.locks, where.logs)):
            message = f"the folders of stage {node.name!r} lie below {FUSED}, where the fused pod has its volume"
            hint = "give it another appDir, or compile without --fused"
            findings.error("fused-folders", message, node.step.stage, hint)
        if node.spec.input_lock.rpartition("/")[0] != node.spec.lock_dir.rstrip("/"):
            message = f"inputLock of stage {node.name!r} is not in its lockDir; in one pod it would not be seen"
            findings.error("fused-lock", message, node.step.stage, "move it there, or compile without --fused")


def _facts(graph: Graph, mapped: Mapping[str, str], fused: bool) -> dict[str, str]:
    """Annotations by which somebody who sees only the Workflow tells what it is."""
    return {
        WORKFLOW: graph.workflow.name,
        WORKFLOW_DIGEST: graph.digest,
        STAGES: json.dumps(mapped, ensure_ascii=False),
        RESULTS: json.dumps(list(graph.results), ensure_ascii=False),
        DESCRIPTION: _description(graph, fused),
    }


def _spec(graph: Graph, cluster: Cluster, facts: Mapping[str, str], templates: list[Object], longest: int) -> Object:
    name = names.label(graph.workflow.name, names.LONGEST_WORKFLOW)
    wanted = dict.fromkeys((*cluster.pull_secrets, *map(str, graph.workflow.pull_secrets)))
    secrets = [{"name": secret} for secret in wanted]
    return {
        "entrypoint": MAIN,
        "serviceAccountName": cluster.stage_account,
        **({"imagePullSecrets": secrets} if secrets else {}),
        "arguments": {"parameters": [{"name": key, "description": said} for key, said in PARAMETERS.items()]},
        "workflowMetadata": {  # the template's own annotations do not reach the Workflow
            "labels": {MANAGED: OURS, "clara.dev/workflow": name},
            "labelsFrom": {"clara.dev/job": {"expression": "workflow.parameters.job"}},
            "annotations": dict(facts),  # no title: it would take the place of the job's own
        },
        "artifactRepositoryRef": {"configMap": cluster.repository_map, "key": cluster.repository_key},
        "archiveLogs": True,
        "activeDeadlineSeconds": longest + cluster.waiting,
        "parallelism": cluster.parallelism,
        "podGC": {"strategy": "OnPodSuccess", "deleteDelayDuration": f"{cluster.keep_pod}s"},
        "ttlStrategy": {"secondsAfterSuccess": cluster.keep_succeeded, "secondsAfterFailure": cluster.keep_failed},
        "artifactGC": {
            "strategy": "OnWorkflowDeletion",
            "serviceAccountName": cluster.collector_account,
            "forceFinalizerRemoval": True,
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": cluster.user,
            "runAsGroup": cluster.user,
            "fsGroup": cluster.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": VOLUME, "emptyDir": {"sizeLimit": cluster.volume_size}}],
        "templates": templates,
    }


def _description(graph: Graph, fused: bool) -> str:
    """Stages in their order, a comma between those that run side by side."""
    row: dict[str, int] = {}
    rows: list[list[str]] = []
    for node in graph.nodes:
        needed = {*node.waits_for, *node.inputs} - {PAYLOAD}
        row[node.name] = 1 + max((row[name] for name in needed), default=-1)
        if row[node.name] == len(rows):
            rows.append([])
        rows[row[node.name]].append(node.name)
    text = ("in one pod: " if fused else "") + " -> ".join(map(", ".join, rows))
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 1]}…"


def _longest(graph: Graph, fused: bool) -> int:
    """Seconds when every stage takes all of its time in each of its attempts, one after the other, with the pauses."""
    if not fused:
        return sum(node.spec.timeout * (1 + node.spec.retries) + pauses(node.spec.retries) for node in graph.nodes)
    times = max(node.spec.retries for node in graph.nodes)  # each attempt begins with the first stage
    return sum(node.spec.timeout for node in graph.nodes) * (1 + times) + pauses(times)


def template_name(workflow: str, *, fused: bool) -> str:
    """What the template of a workflow is called on a cluster."""
    label = names.label(workflow, names.LONGEST_WORKFLOW)
    return f"{label}-fused" if fused else label


def _template(graph: Graph, cluster: Cluster, facts: Mapping[str, str], spec: Object, *, fused: bool) -> Object:
    label = names.label(graph.workflow.name, names.LONGEST_WORKFLOW)
    labels = {MANAGED: OURS, "clara.dev/workflow": label}
    annotations = {
        "workflows.argoproj.io/version": ">= v4.0.0",
        "clara.dev/workflow-id": graph.workflow.id,
        **facts,
        DIGEST: _digest([spec, cluster.namespace]),
    }
    metadata = {
        "name": template_name(graph.workflow.name, fused=fused),
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": annotations,
    }
    return {"apiVersion": API, "kind": "WorkflowTemplate", "metadata": metadata, "spec": spec}


def workflow(template: Object, submission: Submission) -> Object:
    """One job of a template, also of one read from a cluster. Its name comes from the job: a second one is refused."""
    metadata = template["metadata"]
    annotations = metadata["annotations"]
    values: Iterable[str] = (submission.job, submission.payload, submission.created)
    return {
        "apiVersion": API,
        "kind": "Workflow",
        "metadata": {
            "name": f"clara-{submission.job}",
            "namespace": metadata["namespace"],
            "labels": dict(metadata["labels"]) | {MANAGED: OURS, "clara.dev/job": submission.job},
            "annotations": {
                **{name: annotations[name] for name in (WORKFLOW, WORKFLOW_DIGEST, STAGES, RESULTS)},
                TITLE: f"{submission.job[:TITLE_DIGITS]} {annotations[WORKFLOW]}",
            },
        },
        "spec": {
            "workflowTemplateRef": {"name": metadata["name"]},
            "arguments": {
                "parameters": [{"name": name, "value": value} for name, value in zip(PARAMETERS, values, strict=True)]
            },
        },
    }


def _digest(value: object) -> str:
    """Of JSON as other languages write it, too: a chart's template makes the same of the same."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.translate(SEPARATORS).encode()).hexdigest()

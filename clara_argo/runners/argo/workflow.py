"""A Workflow as the cluster gives it -> frozen values. The only module that knows where Argo keeps what.

Fields that are not read may be missing or new, phases may be unknown. Argo's types:
https://github.com/argoproj/argo-workflows/blob/v4.1.2/pkg/apis/workflow/v1alpha1/workflow_types.go
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clara_argo import compile as compiler
from clara_argo.errors import JobFailed
from clara_argo.runners.argo import names

Object = Mapping[str, Any]

MAIN = "main"
ON_DELETION = "OnWorkflowDeletion"
ENDED_PHASES = ("Succeeded", "Failed", "Error")
OVER_PHASES = (*ENDED_PHASES, "Skipped", "Omitted")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LONGEST_NODES = 64 << 20  # bytes of unpacked nodes; a Workflow of 100 stages has 0.2 MB
DEPENDS = re.compile(r"[A-Za-z0-9_-]+(?=\.Succeeded)")


class Unreadable(JobFailed):
    """A Workflow whose state cannot be read from here; the message says which setting of Argo to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One of the things Argo runs: the DAG, a task, an attempt at it (a pod), or a container of a pod."""

    id: str
    name: str
    type: str
    phase: str
    template: str = ""
    message: str = ""
    started: str = ""
    finished: str = ""
    exit_code: int | None = None
    progress: str = ""
    boundary: str = ""
    children: tuple[str, ...] = ()
    logs: Mapping[str, str]  # container -> key of its archived log
    log_folder: str = ""  # key of the packed folder of logs, its own or that of all stages

    @property
    def over(self) -> bool:
        return self.phase in OVER_PHASES

    @property
    def well(self) -> bool:
        return self.phase == "Succeeded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A leaf as it is started: seconds it may take, quantity of memory of each container."""

    timeout: int = 0
    memory: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """Times as Argo writes them, "" where there is none yet."""

    name: str
    job: str
    version: str  # resourceVersion
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...] = ()
    made: str = ""
    deleted: str = ""  # since when somebody wants it gone
    phase: str = ""
    message: str = ""
    started: str = ""
    finished: str = ""
    shutdown: str = ""
    parameters: Mapping[str, str]
    stages: Mapping[str, str]  # stage -> template, or container of the one pod; in the graph's order
    results: tuple[str, ...] = ()
    nodes: Mapping[str, Node]
    templates: Mapping[str, Template]
    needs: Mapping[str, frozenset[str]]  # template or container -> those that must succeed before it
    wants_payload: frozenset[str]  # templates that read the payload
    entrypoint: str = MAIN
    limit: int = 0  # seconds the whole job may take
    results_seen: frozenset[str] = frozenset()  # ids of nodes whose results Argo has noted
    cleaning: bool = False  # Argo has begun to remove the objects of a deleted Workflow, or found none

    @property
    def ended(self) -> bool:
        """Argo sets the phase, then the label; between the two it still works on it."""
        return self.phase in ENDED_PHASES

    @property
    def fused(self) -> bool:
        """All stages in one pod: only there is a stage's container called main."""
        return MAIN in self.stages.values()

    @property
    def payload(self) -> str:
        return self.parameters.get("payload", "")


def read(made: Object) -> Workflow:
    """Raises Unreadable."""
    meta, spec, status = made.get("metadata") or {}, made.get("spec") or {}, made.get("status") or {}
    stored = status.get("storedWorkflowTemplateSpec") or spec
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    arguments = (spec.get("arguments") or {}).get("parameters") or []
    parameters = {one["name"]: str(one.get("value", "")) for one in arguments}
    nodes = {key: _node(one) for key, one in _nodes(str(meta.get("name")), status).items()}
    templates = {one["name"]: one for one in stored.get("templates") or []}
    entrypoint = str(stored.get("entrypoint") or MAIN)
    tasks = ((templates.get(entrypoint) or {}).get("dag") or {}).get("tasks") or []
    return Workflow(
        name=str(meta.get("name") or ""),
        job=str(labels.get(names.JOB) or parameters.get("job") or ""),
        version=str(meta.get("resourceVersion") or ""),
        labels=labels,
        annotations=annotations,
        finalizers=tuple(meta.get("finalizers") or ()),
        made=str(meta.get("creationTimestamp") or ""),
        deleted=str(meta.get("deletionTimestamp") or ""),
        phase=str(status.get("phase") or ""),
        message=str(status.get("message") or ""),
        started=str(status.get("startedAt") or ""),
        finished=str(status.get("finishedAt") or ""),
        shutdown=str(spec.get("shutdown") or ""),
        parameters=parameters,
        stages=_mapping(annotations.get(compiler.STAGES)) or _guessed(nodes),
        results=_strings(annotations.get(compiler.RESULTS)),
        nodes=nodes,
        templates={name: _template(one) for name, one in templates.items()},
        needs=_needs(templates.get(entrypoint) or {}),
        wants_payload=frozenset(one["name"] for one in tasks if "inputs.artifacts." in json.dumps(one)),
        entrypoint=entrypoint,
        limit=_number(stored.get("activeDeadlineSeconds")),
        results_seen=frozenset(status.get("taskResultsCompletionStatus") or ()),
        cleaning=bool(((status.get("artifactGCStatus") or {}).get("strategiesProcessed") or {}).get(ON_DELETION)),
    )


def head(made: Object) -> Workflow:
    """All but the nodes: what tells one Workflow from another, also where the nodes cannot be read."""
    status = made.get("status") or {}
    kept = {key: value for key, value in status.items() if "odes" not in key and "offload" not in key}
    return read({**made, "status": kept})


def packed_nodes(made: Object) -> Mapping[str, Object]:
    """All nodes as they are, when Argo had to compress them to fit into one object; else {}."""
    status = made.get("status") or {}
    return {} if status.get("nodes") else _nodes(str(made["metadata"].get("name")), status)


def annotated(annotations: Mapping[str, str], name: str) -> dict[str, Any]:
    """A JSON object kept in an annotation; {} where there is none, or where somebody wrote something else there."""
    try:
        value = json.loads(annotations.get(name) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _nodes(name: str, status: Object) -> Mapping[str, Object]:
    if status.get("offloadNodeStatusVersion") and not status.get("nodes"):
        raise Unreadable(
            f"Workflow {name}: Argo keeps its nodes in a database of its own; switch nodeStatusOffLoad off in the "
            "controller's persistence settings"
        )
    if not status.get("compressedNodes") or status.get("nodes"):
        return status.get("nodes") or {}
    return _unpacked(name, str(status["compressedNodes"]))


def _unpacked(name: str, text: str) -> dict[str, Object]:
    try:
        packed = base64.b64decode(text, validate=True)
        if not packed.startswith(GZIP):
            how = "zstd" if packed.startswith(ZSTD) else "brotli"
            raise Unreadable(
                f"Workflow {name}: its nodes are packed with {how}, which is not read here; set "
                "WORKFLOW_COMPRESSION_ALGORITHM=gzip for the workflow-controller"
            )
        unpack = zlib.decompressobj(wbits=31)
        plain = unpack.decompress(packed, LONGEST_NODES)
        if unpack.unconsumed_tail:
            raise Unreadable(f"Workflow {name}: its nodes take more than {LONGEST_NODES >> 20} MiB")
        nodes = json.loads(plain)
    except (binascii.Error, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise Unreadable(f"Workflow {name}: its packed nodes cannot be read: {error}") from None
    return nodes if isinstance(nodes, dict) else {}


def _node(made: Object) -> Node:
    outputs = made.get("outputs") or {}
    stored = {one["name"]: str((one.get("s3") or {}).get("key") or "") for one in outputs.get("artifacts") or []}
    return Node(
        id=str(made.get("id") or ""),
        name=str(made.get("name") or ""),
        type=str(made.get("type") or ""),
        phase=str(made.get("phase") or ""),
        template=str(made.get("templateName") or ""),
        message=str(made.get("message") or ""),
        started=str(made.get("startedAt") or ""),
        finished=str(made.get("finishedAt") or ""),
        exit_code=_number(outputs["exitCode"]) if outputs.get("exitCode") else None,
        progress=str(made.get("progress") or ""),
        boundary=str(made.get("boundaryID") or ""),
        children=tuple(made.get("children") or ()),
        logs={name.removesuffix("-logs"): key for name, key in stored.items() if name.endswith("-logs")},
        log_folder=stored.get("logs", ""),
    )


def _template(made: Object) -> Template:
    containers = (made.get("containerSet") or {}).get("containers") or []
    if made.get("container"):
        containers = [{**made["container"], "name": MAIN}]
    limits = {one["name"]: ((one.get("resources") or {}).get("limits") or {}) for one in containers}
    memory = {name: str(limit["memory"]) for name, limit in limits.items() if limit.get("memory")}
    return Template(timeout=_number(made.get("activeDeadlineSeconds")), memory=memory)


def _needs(entry: Object) -> dict[str, frozenset[str]]:
    tasks = (entry.get("dag") or {}).get("tasks") or []
    containers = (entry.get("containerSet") or {}).get("containers") or []
    needs = {one["name"]: frozenset(DEPENDS.findall(one.get("depends") or "")) for one in tasks}
    return needs | {one["name"]: frozenset(one.get("dependencies") or ()) for one in containers}


def _mapping(text: str | None) -> dict[str, str]:
    value = annotated({"": text or ""}, "")
    return {str(stage): str(template) for stage, template in value.items()}


def _strings(text: str | None) -> tuple[str, ...]:
    try:
        value = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _guessed(nodes: Mapping[str, Node]) -> dict[str, str]:
    """The stages of a Workflow that does not say: its pods' templates, in the order in which they started."""
    pods = sorted((node for node in nodes.values() if node.type == "Pod"), key=lambda node: (node.started, node.id))
    return {node.template: node.template for node in pods if node.template and node.template != MAIN}


def _number(value: object) -> int:
    """An IntOrString; 0 for what is no number."""
    text = str(value or "0")
    return int(text) if re.fullmatch(r"-?[0-9]{1,12}", text) else 0

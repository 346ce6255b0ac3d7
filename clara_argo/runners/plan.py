"""Graph and payload of a job as JSON and back, so that another process can continue the job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clara_argo.graph import Graph, Node, Read
from clara_argo.model.job import Payload
from clara_argo.model.target import PROCESS
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow

SCHEMA = 1
MADE_AGAIN = {"folder", "image", "resources", "stages", "steps", "findings"}  # fields that are not plain values


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a job does, to what, and with which engine on this machine."""

    graph: Graph
    payload: Payload
    engine: str = PROCESS


def to_json(plan: Plan) -> dict[str, Any]:
    graph = plan.graph
    return {
        "schema": SCHEMA,
        "payload": {"id": plan.payload.id, "folder": str(plan.payload.folder)},
        "engine": plan.engine,
        "workflow": _plain(graph.workflow) | {"steps": [_plain(step) for step in graph.workflow.steps]},
        "nodes": [
            {
                "step": _plain(node.step),
                "spec": spec_to_json(node.spec),
                "reads": [list(read) for read in node.reads],
                "waits_for": list(node.waits_for),
            }
            for node in graph.nodes
        ],
        "results": list(graph.results),
        "digest": graph.digest,
    }


def spec_to_json(spec: StageSpec) -> dict[str, Any]:
    folder = str(spec.folder) if spec.folder is not None else None
    return _plain(spec) | {"image": _plain(spec.image), "resources": _plain(spec.resources), "folder": folder}


def from_json(data: dict[str, Any]) -> Plan:
    """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
    if data["schema"] != SCHEMA:
        raise ValueError(f"plan has schema {data['schema']}, this program reads {SCHEMA}")
    steps = tuple(Step(**_tuples(step)) for step in data["workflow"]["steps"])
    graph = Graph(
        workflow=Workflow(**_tuples(data["workflow"]) | {"steps": steps}),
        nodes=tuple(_node(node) for node in data["nodes"]),
        results=tuple(data["results"]),
        digest=data["digest"],
    )
    payload = data["payload"]
    work = Payload(id=payload["id"], folder=Path(payload["folder"]))
    return Plan(graph=graph, payload=work, engine=str(data.get("engine", PROCESS)))


def _node(data: dict[str, Any]) -> Node:
    spec = data["spec"]
    made = {
        "image": Image(**spec["image"]),
        "resources": Resources(**spec["resources"]),
        "folder": Path(spec["folder"]) if spec["folder"] is not None else None,
    }
    return Node(
        step=Step(**_tuples(data["step"])),
        spec=StageSpec(**_tuples(spec) | made),
        reads=tuple(Read(*read) for read in data["reads"]) if "reads" in data else tuple(map(Read, data["inputs"])),
        waits_for=tuple(data["waits_for"]),
    )


def _plain(value: Any) -> dict[str, Any]:
    """Fields that JSON knows; a `str` that carries its line and column becomes a text."""
    return {field.name: _json(getattr(value, field.name)) for field in fields(value) if field.name not in MADE_AGAIN}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}

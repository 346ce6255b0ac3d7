"""Small graphs of real stages, written into a folder of the test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clara_argo.graph import PAYLOAD, Graph, Node, Read
from clara_argo.model.job import Payload
from clara_argo.model.workflow import StageSpec, Step, Workflow

JOB = "0123456789abcdef0123456789abcdef"
COPY = 'cp -R "$CLARA_INPUT"/. "$CLARA_OUTPUT"/ && echo "$CLARA_STAGE" "$@" >> "$CLARA_OUTPUT"/trace'


def shell(root: Path, name: str, script: str = COPY, **values: Any) -> StageSpec:
    """A stage without any driver: `sh run.sh`."""
    return _stage(root, name, "run.sh", f"set -e\n{script}\n", ("sh", "run.sh"), values)


def python(root: Path, name: str, code: str, **values: Any) -> StageSpec:
    return _stage(root, name, "main.py", code, ("python3", "main.py"), values)


def _stage(
    root: Path, name: str, file: str, text: str, command: tuple[str, ...], values: Mapping[str, Any]
) -> StageSpec:
    folder = root / "stages" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    return StageSpec(**{"name": name, "command": command, "folder": folder, "retries": 0, "timeout": 120, **values})


def node(spec: StageSpec, *inputs: str, waits: Sequence[str] | None = None, args: Sequence[str] = ()) -> Node:
    inputs = inputs or (PAYLOAD,)
    waits = [name for name in inputs if name != PAYLOAD] if waits is None else waits
    step = Step(stage=spec.name, reads=tuple(f"{name}/output" for name in inputs), args=tuple(args))
    return Node(step=step, spec=spec, reads=tuple(map(Read, inputs)), waits_for=tuple(waits))


def graph(*nodes: Node, results: Sequence[str] = ()) -> Graph:
    names = tuple(results) or (nodes[-1].name,)
    workflow = Workflow(
        id="7b413e24-d018-4689-8c41-73272f6649d4",
        name="test",
        steps=tuple(node.step for node in nodes),
        results=tuple(f"{name}/output" for name in names),
    )
    digest = hashlib.sha256(repr(nodes).encode()).hexdigest()
    return Graph(workflow=workflow, nodes=nodes, results=names, digest=digest)


def chain(*specs: StageSpec) -> Graph:
    """Each reads what the one before it wrote; the first reads the payload."""
    names = ["", *(spec.name for spec in specs)]
    return graph(*(node(spec, before) for spec, before in zip(specs, names, strict=False)))


def payload(root: Path, **files: str) -> Payload:
    folder = root / "payload"
    folder.mkdir(exist_ok=True)
    for name, text in (files or {"a": "study"}).items():
        (folder / name).write_text(text)
    return Payload(id="payload-1", folder=folder)

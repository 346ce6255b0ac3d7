"""Workflows of made-up stages for a cluster: shell scripts in an image with a shell.

A script finds the contract's folders; COPY hands on what it was given and adds its name to `trace`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clara_argo.graph import PAYLOAD, Graph, Node, Read
from clara_argo.model.job import Payload
from clara_argo.model.workflow import Image, StageSpec, Step, Workflow

COPY = (
    'cp -R "$CLARA_INPUT"/. "$CLARA_OUTPUT"/; echo "$CLARA_STAGE" >> "$CLARA_OUTPUT"/trace; echo "$CLARA_STAGE" speaks'
)


class Shells:
    """Stages in one image; each test gives its workflow a name of its own."""

    def __init__(self, image: str, name: str) -> None:
        repository, _, tag = image.rpartition(":")
        self._image, self._name = Image(repository=repository, tag=tag), name

    def stage(self, name: str, script: str = COPY, **values: Any) -> StageSpec:
        usual: dict[str, Any] = {
            "image": self._image, "command": ("sh", "-c", f"set -e; {script}"), "retries": 0, "timeout": 120,
        }  # fmt: skip
        return StageSpec(name=name, **usual | values)

    def chain(self, *specs: StageSpec) -> Graph:
        """Each reads what the one before it wrote."""
        names = ["", *(spec.name for spec in specs)]
        return self.graph(*((spec, before) if before else (spec,) for spec, before in zip(specs, names, strict=False)))

    def graph(self, *stages: tuple[StageSpec, *tuple[str, ...]], results: Sequence[str] = ()) -> Graph:
        """Each with the stages that it reads; none is the payload."""
        nodes = tuple(_node(spec, tuple(names) or (PAYLOAD,)) for spec, *names in stages)
        ends = tuple(results) or (nodes[-1].name,)
        workflow = Workflow(
            id="7b413e24-d018-4689-8c41-73272f6649d4",
            name=self._name,
            steps=tuple(node.step for node in nodes),
            results=tuple(f"{name}/output" for name in ends),
        )
        digest = hashlib.sha256(repr(nodes).encode()).hexdigest()
        return Graph(workflow=workflow, nodes=nodes, results=ends, digest=digest)


def _node(spec: StageSpec, inputs: tuple[str, ...]) -> Node:
    waits = tuple(name for name in inputs if name != PAYLOAD)
    step = Step(stage=spec.name, reads=tuple(f"{name}/output" for name in inputs), waits_for=waits)
    return Node(step=step, spec=spec, reads=tuple(map(Read, inputs)), waits_for=waits)


def payload(folder: Path, **files: str) -> Payload:
    """A new folder with these files; its id follows from them."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return Payload(id=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:32], folder=folder)

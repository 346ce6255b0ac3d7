"""The files that say what a workflow is, for whoever knows it by its files: the adapter behind a route of a chart.

A ConfigMap knows no folders: each file has a key, and a path where it must lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from clara_argo import shipped, source
from clara_argo.errors import Finding, Level
from clara_argo.graph import Graph
from clara_argo.sdk.layout import STAGE_FILE

ROUTE = "route.yaml"
WORKFLOW = "workflow.yaml"
PATH = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"  # below a route's folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """One file: its key, its path beside the route, its text."""

    key: str
    path: str
    text: str


def of(graph: Graph) -> tuple[Definition, ...]:
    """The workflow's file, what it imports, and the definitions of its stages. What is shipped is in every image of
    the adapter, and left out."""
    own = Path(graph.workflow.source)
    folders = {node.spec.folder.name: node.spec.folder for node in graph.nodes if node.spec.folder is not None}
    found = [(f"stages/{name}/{STAGE_FILE}", folder / STAGE_FILE) for name, folder in sorted(folders.items())]
    made = [("stage", path, file) for path, file in found if not _shipped(file)]
    if own.is_file() and not _shipped(own):
        made += [("part", path, file) for path, file in _imported(graph, own, set(folders.values()))]
        made.append(("workflow", own.name if own.name != ROUTE else WORKFLOW, own))
    numbered = ((kind, number, path, file) for number, (kind, path, file) in enumerate(made))
    return tuple(
        Definition(key=WORKFLOW if kind == "workflow" else f"{kind}-{number}.yaml", path=path, text=source.read(file))
        for kind, number, path, file in numbered
    )


def findings(made: tuple[Definition, ...], graph: Graph) -> Iterator[Finding]:
    """Warnings of files that no route can hold."""
    for one in made:
        if not re.fullmatch(PATH, one.path):
            message = f"a route of this chart cannot hold the file {source.short(one.path)}: its name has other letters"
            hint = "letters, digits, '.', '_' and '-'"
            yield Finding(
                level=Level.WARNING, code="route-file", message=message, hint=hint, source=str(graph.workflow.source)
            )


def _shipped(path: Path) -> bool:
    return any(path.resolve().is_relative_to(shipped.folder(name).resolve()) for name in ("stages", "templates"))


def _imported(graph: Graph, own: Path, stages: set[Path]) -> list[tuple[str, Path]]:
    """Files that texts of the graph come from, below the folder of the workflow's own."""
    root = own.parent.resolve()
    found = {Path(name).resolve() for node in graph.nodes for name in _sources(node) if name}
    return [
        (str(path.relative_to(root)), path)
        for path in sorted(found - {own.resolve()})
        if path.is_file() and path.is_relative_to(root) and path.parent not in {one.resolve() for one in stages}
    ]


def _sources(value: object) -> Iterator[str]:
    """Where the texts in a value stand."""
    if isinstance(value, str):
        yield str(getattr(value, "source", ""))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _sources(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (*_sources(key), *_sources(one))
    elif isinstance(value, tuple):
        for one in value:
            yield from _sources(one)

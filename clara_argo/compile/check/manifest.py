"""One Argo object, as rules see it: its templates, its declared names, and where to report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clara_argo.compile.structure import Path
from clara_argo.source import Findings, List, Map, Node, Text

Object = dict[str, Any]
TYPES = (
    "container", "containerSet", "script", "dag", "steps", "resource", "suspend", "data", "http", "plugin"
)  # fmt: skip
LOCATIONS = ("s3", "git", "http", "artifactory", "hdfs", "raw", "oss", "gcs", "azure", "plugin")
TEMPLATES: Path = ("spec", "templates")


class Manifest:
    """Its structure was read before, so lists are lists and texts are texts wherever a rule looks."""

    def __init__(self, made: Object, node: Map, findings: Findings) -> None:
        self.made, self.node, self.findings = made, node, findings

    # -- what is in it --------------------------------------------------------------------------------------------

    @property
    def spec(self) -> Object:
        return dict(self.made.get("spec", {}))

    @property
    def refers(self) -> bool:
        """All structure is in another object: a Workflow that names a WorkflowTemplate."""
        return "workflowTemplateRef" in self.spec

    def templates(self) -> Iterator[tuple[Path, Object]]:
        for number, template in enumerate(self.spec.get("templates", [])):
            yield (*TEMPLATES, number), template

    def template(self, name: str) -> Object | None:
        return next((one for _, one in self.templates() if one.get("name") == name), None)

    def calls(self) -> Iterator[tuple[Path, Object]]:
        """Every task of a DAG and every step."""
        for path, template in self.templates():
            yield from tasks(path, template)
            for number, group in enumerate(template.get("steps", [])):
                for place, step in enumerate(group):
                    yield (*path, "steps", number, place), step

    def walk(self) -> Iterator[tuple[Path, Object]]:
        """Every mapping of the spec."""
        return walk(self.spec, ("spec",))

    # -- reports --------------------------------------------------------------------------------------------------

    def error(self, code: str, message: str, path: Path, hint: str) -> None:
        self.findings.error(code, f"{written(path)}: {message}", self._place(path), hint)

    def warning(self, code: str, message: str, path: Path, hint: str) -> None:
        self.findings.warning(code, f"{written(path)}: {message}", self._place(path), hint)

    def _place(self, path: Path) -> Node:
        """The value at the path, or the key that holds it; what is not there stands where it should be."""
        place: Node = self.node
        node: Node = self.node
        for step in path:
            if isinstance(node, Map) and isinstance(step, str) and step in node:
                key = node.key(step)
                node = node[step]
                place = node if isinstance(node, Text) and node.line else key
            elif isinstance(node, List) and isinstance(step, int) and step < len(node):
                place = node = node[step]
            else:
                break
        return place


def tasks(path: Path, template: Object) -> Iterator[tuple[Path, Object]]:
    for number, task in enumerate(template.get("dag", {}).get("tasks", [])):
        yield (*path, "dag", "tasks", number), task


def entries(path: Path, holder: Object, *keys: str) -> Iterator[tuple[Path, Object]]:
    """The mappings of a list that may not be there, e.g. entries(path, template, "inputs", "artifacts")."""
    found: Any = holder
    for key in keys:
        found = found.get(key, {})
    for number, one in enumerate(found or ()):
        yield (*path, *keys, number), one


def walk(value: Any, path: Path) -> Iterator[tuple[Path, Object]]:
    if isinstance(value, dict):
        yield path, value
        for key, one in value.items():
            yield from walk(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from walk(one, (*path, number))


def texts(value: Any, path: Path, without: frozenset[str] = frozenset()) -> Iterator[tuple[Path, str]]:
    """Every text below a value, but for what stands in the fields `without`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in without:
                yield from texts(one, (*path, key), without)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from texts(one, (*path, number), without)


def has_location(artifact: Object) -> bool:
    return any(key in artifact for key in LOCATIONS)


def written(path: Path) -> str:
    """`spec.templates[2].container.command`"""
    text = ""
    for step in path:
        plain = isinstance(step, str) and step.replace("-", "").replace("_", "").isalnum()
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if plain else f"[{step!r}]"
    return text.lstrip(".")

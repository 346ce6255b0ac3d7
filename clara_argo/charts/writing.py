"""A chart becomes a folder. Nothing outside the folder is written, and nothing in it that is not a chart of ours."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from clara_argo import source
from clara_argo.artifacts import tree
from clara_argo.charts.workflow import KIND, VALUES, Chart, chart, digest
from clara_argo.errors import DefinitionError, UsageError
from clara_argo.graph import Graph
from clara_argo.source import Map, Text, short

# What an earlier chart of ours may hold and the next one does not.
LEFT = re.compile(r"(workflow|(stage|part)-[0-9]+)\.yaml")
HEAD = "Chart.yaml"
ROOM = ".part"  # in the folder: where a chart lies until all of it is written; Helm passes over it


def publish(graph: Graph, name: str, folder: Path, *, fused: bool = False, strict: bool = False) -> Chart:
    """Write the chart of a workflow into `folder`: new, empty, or a chart of ours, which is then renewed.

    Raises UsageError for another folder, TryAgain for a full disk, and what compiling raises.
    """
    made = chart(graph, name, fused=fused, strict=strict)
    write(made, folder)
    return made


def write(made: Chart, folder: Path) -> None:
    """All or nothing, as far as a folder allows it. Raises UsageError, TryAgain."""
    check(folder, made.kind)
    _check_same(made, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _laid(made, folder / ROOM)
        for path in sorted(made.files, key=HEAD.__eq__):  # the head last: what it says of values.yaml is so
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / ROOM / path).replace(folder / path)
        for old in (folder / "files").glob("*.yaml"):
            if LEFT.fullmatch(old.name) and f"files/{old.name}" not in made.files:
                old.unlink()
    except OSError as error:
        raise tree.unwritable(error, folder, "name another folder") from None
    finally:
        shutil.rmtree(folder / ROOM, ignore_errors=True)


def check(folder: Path, kind: str) -> None:
    """Raises UsageError for a folder that is not ours to write charts of this kind to."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name a new one")
    if not any(path.name != ROOM or path.is_symlink() for path in folder.iterdir()):
        return
    found = _noted(folder).get(KIND, "")
    if not found:
        raise UsageError(f"{folder} holds something else than a chart of ours; name a new folder or an empty one")
    if found != kind:
        raise UsageError(f"{folder} holds a chart of another kind, {short(found)}; name a new folder or an empty one")
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise UsageError(f"{path} is a link, and leads elsewhere; remove it, or name a new folder")


def _check_same(made: Chart, folder: Path) -> None:
    """Raises UsageError for another chart, and for one whose values.yaml somebody has edited."""
    noted, path = _noted(folder), folder / "values.yaml"
    if noted.get("name", made.name) != made.name:
        raise UsageError(
            f"{folder} holds the chart {short(noted['name'])}; name a new folder, or remove that one first"
        )
    there = hashlib.sha256(path.read_bytes()).hexdigest() if VALUES in noted and path.is_file() else None
    if there not in (None, noted.get(VALUES), digest(made.files["values.yaml"])):
        hint = "move your values into a file of your own (helm … -f FILE), delete this one, and publish again"
        raise UsageError(f"{path} was edited, and would be lost; {hint}")


def _noted(folder: Path) -> dict[str, str]:
    """The name and the annotations of the chart that is there; empty when there is none that can be read."""
    path = folder / HEAD
    try:
        (head,) = source.documents(source.read(path), str(path)) if path.is_file() else ((),)
    except (DefinitionError, ValueError):
        return {}
    noted = head.get("annotations") if isinstance(head, Map) else None
    if not isinstance(head, Map) or not isinstance(noted, Map):
        return {}
    found = {str(key): noted[key] for key in noted} | {"name": head.get("name")}
    return {key: str(value) for key, value in found.items() if isinstance(value, Text)}


def _laid(made: Chart, room: Path) -> None:
    """What a killed run has left there goes first."""
    shutil.rmtree(room, ignore_errors=True)
    for path, text in made.files.items():
        (room / path).parent.mkdir(parents=True, exist_ok=True)
        (room / path).write_text(text, encoding="utf-8", newline="")

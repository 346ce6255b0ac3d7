"""A chart becomes a folder. Nothing outside the folder is written, and nothing in it that is not a chart of ours."""

from __future__ import annotations

import re
from pathlib import Path

from clara_argo import source
from clara_argo.artifacts import tree
from clara_argo.charts.workflow import KIND, Chart, chart
from clara_argo.errors import DefinitionError, UsageError
from clara_argo.graph import Graph
from clara_argo.source import Map

# What an earlier chart of ours may hold and the next one does not.
LEFT = re.compile(r"(workflow|(stage|part)-[0-9]+)\.yaml")


def publish(graph: Graph, name: str, folder: Path, *, fused: bool = False, strict: bool = False) -> Chart:
    """Write the chart of a workflow into `folder`: new, empty, or a chart of ours, which is then renewed.

    Raises UsageError for another folder, TryAgain for a full disk, and what compiling raises.
    """
    made = chart(graph, name, fused=fused, strict=strict)
    write(made, folder)
    return made


def write(made: Chart, folder: Path) -> None:
    """Raises UsageError, TryAgain."""
    check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in made.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            _replace(folder / path, text)
        for old in (folder / "files").glob("*.yaml"):
            if LEFT.fullmatch(old.name) and f"files/{old.name}" not in made.files:
                old.unlink()
    except OSError as error:
        raise tree.unwritable(error, folder, "name another folder") from None


def check(folder: Path) -> None:
    """Raises UsageError for a folder that is not ours to write to."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name a new one")
    if not any(folder.iterdir()):
        return
    if not _ours(folder / "Chart.yaml"):
        raise UsageError(f"{folder} holds something else than a chart of ours; name a new folder or an empty one")
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise UsageError(f"{path} is a link, and leads elsewhere; remove it, or name a new folder")


def _ours(path: Path) -> bool:
    try:
        (head,) = source.documents(source.read(path), str(path)) if path.is_file() else ((),)
    except (DefinitionError, ValueError):
        return False
    noted = head.get("annotations") if isinstance(head, Map) else None
    return isinstance(noted, Map) and KIND in noted


def _replace(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)

"""`include` of the adapter's configuration: further files with sources, destinations and routes, beside the first.

Their entries are read as if they stood in the first file, each with its own file in messages. Only what lies below the
configuration's folder is read, also through links.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clara_argo import source
from clara_argo.errors import ClaraError, DefinitionError
from clara_argo.formats import peers
from clara_argo.formats.fields import Fields, as_text, empty, short
from clara_argo.source import Findings, List, Map, Node, Text

KEY = "include"
PARTS = ("sources", "destinations", "routes")
MOST = 256  # files


def files(node: Node, folder: Path, findings: Findings) -> list[Path]:
    """Those that a configuration includes, each once. `folder`: where it lies. Findings: what is wrong."""
    found = {peers.plain(key): key for key in node} if isinstance(node, Map) else {}
    if KEY not in found:
        return []
    return _files(Fields(node, findings, "the configuration"), found[KEY], folder, findings)


def merged(node: Node, folder: Path, findings: Findings) -> Node:
    """The configuration with what the files it includes say. `folder`: where it lies. Findings: what is wrong."""
    if not isinstance(node, Map) or KEY not in map(peers.plain, node):
        return node
    added: dict[str, list[Node]] = {part: [] for part in PARTS}
    for path in files(node, folder, findings):
        for part, nodes in _read(path, findings).items():
            added[part] += nodes
    return _with(node, added)


def _files(top: Fields, key: str, folder: Path, findings: Findings) -> list[Path]:
    """Each once, in the order of the patterns and then of their names."""
    paths: dict[Path, None] = {}
    for pattern in top.texts(key):
        words = Path(pattern).parts
        if not words or Path(pattern).is_absolute() or ".." in words or "**" in pattern or not pattern.isprintable():
            message = f"{key!r} names {short(pattern)}, which is no file below the configuration's folder"
            findings.error("include", message, pattern, "for example routes/*.yaml")
            continue
        hits = list(_inside(folder, pattern, findings))
        if not hits and not set("*?[") & set(pattern):
            findings.error("include", f"{key!r} names {short(pattern)}, which is not there", pattern, "remove it")
        paths |= dict.fromkeys(hits)
    if len(paths) > MOST:
        message = f"{key!r} names {len(paths)} files; {MOST} are allowed"
        findings.error("include", message, top.at(key), "write several routes into one file")
    return list(paths)[:MOST]


def _inside(folder: Path, pattern: Text, findings: Findings) -> Iterator[Path]:
    try:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        outside = [path for path in found if not path.resolve().is_relative_to(folder.resolve())]
    except (OSError, ValueError) as error:
        findings.error("include", f"{short(pattern)} cannot be looked for: {error}", pattern, "name a file")
        return
    for path in outside:
        findings.error("include", f"{short(str(path))} leads out of the configuration's folder", pattern, "copy it")
    yield from (path for path in found if path not in outside)


def _read(path: Path, findings: Findings) -> dict[str, tuple[Node, ...]]:
    try:
        node = source.parse(source.read(path), str(path))
    except DefinitionError as error:
        findings.extend(error.findings)
        return {}
    except ClaraError:  # it went while we looked
        return {}
    fields = peers.section(node, PARTS, findings, f"the file {short(path.name)}")
    return {part: fields.nodes(part) for part in PARTS}


def _with(node: Map, added: dict[str, list[Node]]) -> Map:
    items: list[tuple[Text, Node]] = []
    left = {peers.plain(part): nodes for part, nodes in added.items()}
    for key in node:
        word = peers.plain(key)
        if word != KEY:
            items.append((key, _longer(node[key], left.pop(word)) if word in left else node[key]))
    for part, nodes in left.items():
        items.append((Text(part, node.source, node.line, node.column), _longer(Text(""), nodes, node)))
    return Map(items, node.source, node.line, node.column)


def _longer(given: Node, nodes: list[Node], at: Node | None = None) -> Node:
    """What stands there already, word for word, is not added again: several files may name the same PACS."""
    if not nodes or not (isinstance(given, List) or empty(given)):
        return given  # what is wrong with it, the reader says
    entries = tuple(given) if isinstance(given, List) else ()
    known = {as_text(one) for one in entries}
    new = {as_text(one): one for one in nodes if as_text(one) not in known}
    at = at or given
    return List((*entries, *new.values()), at.source, at.line, at.column)

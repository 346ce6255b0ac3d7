"""`import: {path, args}`: an operator or a service that stands in a file of its own, below the folder of this one.

What stands beside `import` takes the place of the same key in that file, whole; nothing is merged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clara_argo import source
from clara_argo.errors import DefinitionError, NotFound
from clara_argo.formats.fields import Fields, as_text, short
from clara_argo.formats.operators.templating import Budget, Template
from clara_argo.source import Findings, Map, Node, Text

DEEPEST, MOST = 8, 1000  # imports within imports; files read for one pipeline
MOST_TEXT = 8 * source.MAX_BYTES  # of all imports, a file as often as it is imported
LEAST = 8  # of text, that a value counts for at least: aliases make many of a few letters


@dataclass(slots=True)
class Imports:
    """Reads the files that a pipeline names. `folder` None: it is no file, so there is nothing beside it."""

    findings: Findings
    folder: Path | None
    budget: Budget
    read: dict[str, tuple[Node | None, int]] = field(default_factory=dict)  # by real path: None = cannot be read; size
    size: int = 0

    def resolved(self, node: Node, what: str, lenient: bool, within: tuple[str, ...] = ()) -> Node | None:
        """The definition that a node stands for: itself where it imports nothing, None where that cannot be had."""
        if not isinstance(node, Map) or "import" not in node:
            return node
        fields = Fields(node, self.findings, what)
        inner = fields.fields("import")
        inner.unknown({"path", "args"})
        folder = Path(within[-1]).parent if within else self.folder
        path = self._path(inner, folder)
        found = self._of_file(path, inner) if path is not None and self._may(path, inner, within) else None
        if path is None or not isinstance(found, Map):
            return None
        filled = self._filled(found, path, _arguments(inner), lenient)
        whole = self.resolved(filled, what, lenient, (*within, path))
        if not isinstance(whole, Map):
            return None
        own = [(key, node[key]) for key in node if key != "import"]
        mine = {key for key, _ in own}
        rest = [(key, whole[key]) for key in whole if key not in mine | {"parameters", "api-version"}]
        return Map([*own, *rest], node.source, node.line, node.column)

    def _path(self, inner: Fields, folder: Path | None) -> str | None:
        """The real path of the file that is named, when it may be read."""
        text = inner.required("path", "import: {path: FILE}")
        if not text:
            return None
        if folder is None:
            inner.wrong("path", "names a file, and this text is none", "read it from a file")
            return None
        top = os.path.realpath(folder)
        path = os.path.realpath(f"{top}/{text}")
        if text.startswith("/") or not Path(path).is_relative_to(top):
            hint = "move the file there"
            inner.wrong("path", f"must be below the folder of the file that imports it, not {short(text)}", hint)
            return None
        if not _is_file(path):
            inner.wrong("path", f"names no file: {short(text)}", "it is relative to the file that imports it")
            return None
        return path

    def _may(self, path: str, inner: Fields, within: tuple[str, ...]) -> bool:
        if path in within:
            inner.wrong("path", "imports a file that imports this one", "remove one of the two")
        elif len(within) >= DEEPEST:
            inner.wrong("path", f"is an import within more than {DEEPEST} others", "import the file itself")
        else:
            return True
        return False

    def _of_file(self, path: str, inner: Fields) -> Node | None:
        if len(self.read) >= MOST or self.size > MOST_TEXT:
            inner.wrong("path", "is one too many", f"at most {MOST} files, and {MOST_TEXT >> 20} MiB, are imported")
            return None
        if path not in self.read:
            self.read[path] = self._read(path, inner)
        node, size = self.read[path]
        self.size += size
        return node

    def _read(self, path: str, inner: Fields) -> tuple[Node | None, int]:
        shown = self._shown(path)
        try:
            text = source.read(Path(path))
            node = source.parse(text, shown)
        except NotFound:
            inner.wrong("path", "names a file that is gone", "restore it")
            return None, 0
        except DefinitionError as error:
            self.findings.extend(error.findings)
            return None, 0
        if isinstance(node, Map) and "operators" not in node:
            return node, max(len(text), LEAST * _values(node))
        message = f"{shown} is not one operator"
        self.findings.error("import", message, inner.at("path"), "write its keys (name, container, …) into that file")
        return None, 0

    def _shown(self, path: str) -> str:
        """As the user would write it, like the name of the file that imports it."""
        assert self.folder is not None  # else there would be no path
        return str(Path(self.findings.source).parent / os.path.relpath(path, os.path.realpath(self.folder)))

    def _filled(self, found: Map, path: str, values: Mapping[str, str], lenient: bool) -> Node:
        fields = Fields(found, self.findings, self._shown(path))
        template = Template(fields, values, self.budget, lenient=lenient)
        return template.filled(Map([(k, found[k]) for k in found if k != "parameters"], *_place(found)))


def _arguments(inner: Fields) -> dict[str, str]:
    """By names that know where they stand."""
    given = inner.fields("args")
    for name, value in given.node.items():
        if not isinstance(value, Text):
            given.wrong(name, "must be a text", "quote it")
    return {name: as_text(value) for name, value in given.node.items()}


def _values(node: Node) -> int:
    """How many there are, an alias as often as it is used."""
    if isinstance(node, Text):
        return 1
    return 1 + sum(map(_values, node.values() if isinstance(node, Map) else node))


def _is_file(path: str) -> bool:
    """A plain file; a name that no disk takes is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def _place(node: Map) -> tuple[str, int, int]:
    return node.source, node.line, node.column

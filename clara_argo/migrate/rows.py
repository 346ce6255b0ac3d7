"""What became of each key of a file: its dialect's table, corrected by what was found while it was read."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from clara_argo.errors import Finding, Level
from clara_argo.formats import peers
from clara_argo.formats.keys import Fate, Key
from clara_argo.source import List, Node, Text
from clara_argo.terminal import printable

REPAIR = re.compile(r"R[0-9]+")
Path = tuple[str, ...]
Written = tuple[Path, Text]  # a key as it stands in the file: its path, `[]` for entries, and its place


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One key of one file. `places` says how often it stands there, `line` and `column` where first."""

    key: str
    fate: Fate
    becomes: str
    source: str
    line: int = 0
    column: int = 0
    places: int = 1
    repair: str = ""  # R1 to R7

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


def of_file(fate: Fate, becomes: str, at: Text) -> Row:
    """The one row of a file whose keys nobody looks at."""
    return Row(key="(the file)", fate=fate, becomes=becomes, source=at.source, line=at.line, column=at.column)


def written(node: Node) -> list[Written]:
    """Every key of a text, in its order. Depth is bounded by the reader."""
    found: list[Written] = []
    _write(node, (), found)
    return found


def _write(node: Node, path: Path, found: list[Written]) -> None:
    if isinstance(node, Text):
        return
    if isinstance(node, List):
        inner = (*path[:-1], f"{path[-1]}[]") if path else ("[]",)
        for item in node:
            _write(item, inner, found)
        return
    for key, value in node.items():
        inner = (*path, str(key))
        found.append((inner, key))
        _write(value, inner, found)


class _Node:
    """Where a path, or the end of one, leads: by its next word. `key`: of whom it is the whole path, else the end."""

    __slots__ = ("end", "inner", "key", "prefixes")

    def __init__(self) -> None:
        self.inner: dict[str, _Node] = {}
        self.prefixes: tuple[tuple[str, _Node], ...] = ()  # of words with a `*`
        self.key: Key | None = None
        self.end: Key | None = None

    def add(self, word: str) -> _Node:
        if word not in self.inner:
            self.inner[word] = node = _Node()
            if word.endswith("*"):
                self.prefixes += ((word[:-1], node),)
        return self.inner[word]

    def after(self, word: str) -> list[_Node]:
        exact = [self.inner[word]] if word in self.inner else []
        return exact + [node for prefix, node in self.prefixes if word.startswith(prefix)]


class Table:
    """The keys of a dialect, found by the path at which they stand; keys compare as the adapter's do."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._root = _Node()
        self._met: dict[Path, tuple[Key | None, bool]] = {}  # paths repeat
        for key in keys:
            words = tuple(map(_plain, key.path.split(".")))
            starts = [n for n, word in enumerate(words) if not n or not word.endswith("*")]
            for start in starts:  # sections may be left out at the front
                node = self._root
                for word in words[start:]:
                    node = node.add(word)
                if start == 0:
                    node.key = key
                node.end = node.end or key

    def find(self, path: Path) -> Key | None:
        """The key itself, else the nearest one that holds it."""
        return self._look(path)[0]

    def groups(self, path: Path) -> bool:
        """Whether a key only holds others, each of which has its own fate."""
        return self._look(path)[1]

    def _look(self, path: Path) -> tuple[Key | None, bool]:
        if path not in self._met:
            nodes, found = [self._root], None
            for word in map(_plain, path):
                nodes = [after for node in nodes for after in node.after(word)]
                whole = next((node.key for node in nodes if node.key), None)
                found = whole or next((node.end for node in nodes if node.end), None) or found
            holds = any(node.inner for node in nodes) and not any(node.end for node in nodes)
            self._met[path] = found, holds
        return self._met[path]


def _plain(word: str) -> str:
    return peers.plain(word.removesuffix("[]"))


def rows(
    keys: Iterable[Written],
    table: Sequence[Key],
    findings: Iterable[Finding],
    source: str,
    depths: Collection[int] = (),
) -> tuple[Row, ...]:
    """One row for each kind of key, each repair and each error of a file. A key that is not known is kept when it
    stands at one of these depths."""
    found, keys = Table(table), list(keys)
    said = _by_key([key for _, key in keys], findings)
    counted: dict[tuple[str, Fate, str, str], list[Text]] = {}
    for path, key in keys:
        about = said.get((key.line, key.column), ())
        if not about and found.groups(path):
            continue
        for finding in about or (None,):
            fate = _fate(path, found.find(path), finding, depths)
            counted.setdefault((*fate, _repair(finding)), []).append(key)
    for finding in said.get((0, 0), ()):  # before any key
        fate = ("(the file)", Fate.REFUSED if finding.level is Level.ERROR else Fate.REPAIRED, finding.message)
        place = Text("", source, finding.line, finding.column)
        counted.setdefault((*fate, _repair(finding)), []).append(place)
    made = (
        Row(
            key=name, fate=fate, becomes=becomes, repair=repair, source=source,
            line=places[0].line, column=places[0].column, places=len(places),
        )
        for (name, fate, becomes, repair), places in counted.items()
    )  # fmt: skip
    return tuple(sorted(made, key=lambda row: (row.line, row.column)))


def _by_key(keys: Iterable[Text], findings: Iterable[Finding]) -> dict[tuple[int, int], list[Finding]]:
    """What matters of the findings, by the place of the key: one at a value is about the key before it."""
    places = sorted({(key.line, key.column) for key in keys})
    found: dict[tuple[int, int], list[Finding]] = {}
    for finding in filter(_matters, findings):
        after = bisect_right(places, (finding.line, finding.column))
        found.setdefault(places[after - 1] if after else (0, 0), []).append(finding)
    return found


def _repair(finding: Finding | None) -> str:
    repaired = finding is not None and finding.level is not Level.ERROR and REPAIR.fullmatch(finding.code)
    return finding.code if finding is not None and repaired else ""


def is_told(finding: Finding) -> bool:
    """Whether the table says it already."""
    return finding.level is not Level.ERROR and _matters(finding)


def _matters(finding: Finding) -> bool:
    repaired = REPAIR.fullmatch(finding.code) is not None
    return finding.level is Level.ERROR or repaired or finding.code == "unknown-key"


def _fate(path: Path, key: Key | None, finding: Finding | None, depths: Collection[int]) -> tuple[str, Fate, str]:
    name = key.path if key is not None and key.path.count(".") + 1 >= len(path) else ".".join(path)
    if finding is not None and finding.level is Level.ERROR:
        return name, Fate.REFUSED, finding.message
    if finding is not None and REPAIR.fullmatch(finding.code):
        return name, Fate.REPAIRED, finding.message
    if finding is not None:
        kept = len(path) in depths
        return name, *((Fate.KEPT, "not known; kept") if kept else (Fate.UNUSED, "not known; left out"))
    if key is None:
        name = ".".join((*path[:-1], "*"))  # there may be thousands in it
        return name, Fate.KEPT if depths else Fate.UNUSED, "with the key above"
    # A refused key that was no error has a value that can be followed; a repair that was not needed is none.
    fate = {Fate.REFUSED: Fate.UNUSED, Fate.REPAIRED: Fate.MAPPED}.get(key.fate, key.fate)
    return key.path, fate, key.becomes


def lines(found: Sequence[Row]) -> list[str]:
    """A table for people. The files are anybody's: nothing in them may steer the terminal."""
    cells = [("KEY", "WHERE", "FATE", "BECOMES")]
    cells += [
        (
            printable(row.key),
            printable(row.where) + (f" and {row.places - 1} more" if row.places > 1 else ""),
            f"{row.fate.value} {row.repair}".strip(),
            printable(row.becomes),
        )
        for row in found
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in cells]

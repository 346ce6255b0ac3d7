"""What became of each key of a file: its dialect's table, corrected by what was found while it was read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from clara_argo.errors import Finding, Level
from clara_argo.formats import peers
from clara_argo.formats.keys import Fate, Key
from clara_argo.source import List, Map, Node, Text

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


def written(node: Node, path: Path = ()) -> Iterator[Written]:
    """Every key of a text, in its order. Depth is bounded by the reader."""
    if isinstance(node, List):
        inner = (*path[:-1], f"{path[-1]}[]") if path else ("[]",)
        for item in node:
            yield from written(item, inner)
    elif isinstance(node, Map):
        for key in node:
            yield (*path, str(key)), key
            yield from written(node[key], (*path, str(key)))


class Table:
    """The keys of a dialect, found by the path at which they stand; keys compare as the adapter's do."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = [(tuple(map(_plain, key.path.split("."))), key) for key in keys]
        self._found: dict[Path, Key | None] = {}
        self._groups: dict[Path, bool] = {}

    def find(self, path: Path) -> Key | None:
        """The key itself, else the nearest one that holds it; sections may be left out at the front."""
        plain = tuple(map(_plain, path))
        if plain not in self._found:
            lengths = range(len(plain), 0, -1)
            self._found[plain] = next((key for n in lengths if (key := self._match(plain[:n]))), None)
        return self._found[plain]

    def groups(self, path: Path) -> bool:
        """Whether a key only holds others, each of which has its own fate."""
        plain = tuple(map(_plain, path))
        if plain not in self._groups:
            starts = ((words, n) for words, _ in self._keys for n in range(len(words) - len(plain)))
            holds = any(_same(words[n : n + len(plain)], plain) for words, n in starts)
            self._groups[plain] = holds and self._match(plain) is None
        return self._groups[plain]

    def _match(self, path: Path) -> Key | None:
        whole = (key for words, key in self._keys if len(words) == len(path) and _same(words, path))
        ends = (key for words, key in self._keys if len(words) > len(path) and _same(words[-len(path) :], path))
        return next(whole, None) or next(ends, None)


def _plain(word: str) -> str:
    return peers.plain(word.removesuffix("[]"))


def _same(words: Path, path: Path) -> bool:
    return all(
        mine == theirs or (mine.endswith("*") and theirs.startswith(mine[:-1]))
        for mine, theirs in zip(words, path, strict=True)
    )


def rows(
    keys: Iterable[Written],
    table: Sequence[Key],
    findings: Iterable[Finding],
    source: str,
    depths: Collection[int] = (),
) -> tuple[Row, ...]:
    """One row for each kind of key, each repair and each error of a file. A key that is not known is kept when it
    stands at one of these depths."""
    found = Table(table)
    said = {(finding.line, finding.column): finding for finding in findings if _matters(finding)}
    groups: dict[tuple[str, Fate, str], Row] = {}
    for path, key in keys:
        finding = said.pop((key.line, key.column), None)
        if finding is None and found.groups(path):
            continue
        name, fate, becomes = _fate(path, found.find(path), finding, depths)
        row = Row(key=name, fate=fate, becomes=becomes, source=source, line=key.line, column=key.column)
        _count(groups, replace(row, repair=_repair(finding)))
    for finding in said.values():
        fate = Fate.REFUSED if finding.level is Level.ERROR else Fate.REPAIRED
        row = Row(
            key="(value)", fate=fate, becomes=finding.message, source=source, line=finding.line, column=finding.column
        )
        _count(groups, replace(row, repair=_repair(finding)))
    return tuple(sorted(groups.values(), key=lambda row: (row.line, row.column)))


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
    name = ".".join(path)
    if finding is not None and finding.level is Level.ERROR:
        return name, Fate.REFUSED, finding.message
    if finding is not None and REPAIR.fullmatch(finding.code):
        return name, Fate.REPAIRED, finding.message
    if finding is not None:
        kept = len(path) in depths
        return name, *((Fate.KEPT, "not known; kept as it is") if kept else (Fate.UNUSED, "not known; left out"))
    if key is None:
        return name, Fate.KEPT if depths else Fate.UNUSED, "with the key above"
    # A refused key that was no error has a value that can be followed; a repair that was not needed is none.
    fate = {Fate.REFUSED: Fate.UNUSED, Fate.REPAIRED: Fate.MAPPED}.get(key.fate, key.fate)
    return key.path, fate, key.becomes


def _count(groups: dict[tuple[str, Fate, str], Row], row: Row) -> None:
    same = (row.key, row.fate, row.becomes)
    first = groups.setdefault(same, row)
    if first is not row:
        groups[same] = replace(first, places=first.places + 1)


def lines(found: Sequence[Row]) -> list[str]:
    """A table for people."""
    cells = [("KEY", "WHERE", "FATE", "BECOMES")]
    cells += [
        (
            row.key,
            row.where + (f" and {row.places - 1} more" if row.places > 1 else ""),
            f"{row.fate.value} {row.repair}".strip(),
            row.becomes,
        )
        for row in found
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in cells]

"""YAML and JSON text -> values that know where they were written: how every file of ours is read.

Every scalar stays the text that was written (`timeout: 0300` is "0300", `name: on` is "on"): what it means is decided
by the field that reads it. Texts are bounded: size, depth, what aliases expand to. Whatever the input, the only error
is DefinitionError. This module knows no keys; `clara_argo.formats` does. PyYAML is imported when a text is parsed,
because it costs more than the rest of `clara --help`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

from clara_argo.collector import at_rest
from clara_argo.errors import DefinitionError, Finding, Level, NotFound

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_COMPARED = 5_000  # words compared for "did you mean", per text
MAX_ALIASED = 10_000  # values that aliases stand for, all together
FLATTER = "write it flatter; no file of ours is that deep"
# What to do about PyYAML's commonest complaints, by its words.
SYNTAX = (
    ("scanning a quoted scalar", "close the quote"),
    ("mapping values are not allowed", "quote a value that holds ': ', or correct the indent"),
    ("could not find expected ':'", "the line above lacks its 'key:', or its indent is wrong"),
    ("cannot start any token", "quote the value"),
    ("flow sequence", "close the '[', or put a ',' between its entries"),
    ("flow mapping", "close the '{', or put a ',' between its entries"),
    ("block mapping", "indent the keys of a mapping alike"),
    ("block collection", "indent the entries of a list alike"),
    ("escape", "write the backslash twice, or quote with ' in place of \""),
    ("incompatible YAML", "write %YAML 1.2, or nothing"),
    ("document start", "put '---' before a second document"),
)
OTHER_SYNTAX = "look at the quotes, brackets and the indent here and in the line above"
BLANK_HINT = "replace it with a blank, here and where else it stands"
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map", "int", "float", "bool", "null")} | {"!"}

# What YAML forbids; what it allows, negated, takes twenty times as long to compile.
_NOT_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# Blanks of web pages and word processors, where a blank of YAML is meant: they belong to the text that they touch.
_OTHER_BLANK = "[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]"
_MISPLACED = re.compile(rf"^{_OTHER_BLANK}|{_OTHER_BLANK}$|^[\w.-]+:{_OTHER_BLANK}")
_BESIDE = re.compile(rf"^ *{_OTHER_BLANK}|[:,\[{{-]{_OTHER_BLANK}")
_NEVER = re.compile("[\0\ud800-\udfff]")  # no program, file name or UTF-8 text can hold these

_T = TypeVar("_T")


class Text(str):
    """A scalar as it was written. `line` and `column` count from 1; 0 = not from a file."""

    __slots__ = ("column", "line", "source")

    source: str
    line: int
    column: int

    def __new__(cls, value: str = "", source: str = "", line: int = 0, column: int = 0) -> Text:
        text = str.__new__(cls, value)
        text.source, text.line, text.column = source, line, column
        return text

    def part(self, start: int, end: int) -> Text:
        """A piece of this text with its own place; right for a text that stands in one line without escapes."""
        return Text(self[start:end], self.source, self.line, self.column + start if self.line else 0)


class List(Sequence["Node"]):
    """A sequence."""

    __slots__ = ("_values", "column", "line", "source")

    def __init__(self, values: Iterable[Node], source: str = "", line: int = 0, column: int = 0) -> None:
        self._values = tuple(values)
        self.source, self.line, self.column = source, line, column

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Node, ...]: ...
    def __getitem__(self, index: int | slice) -> Node | tuple[Node, ...]:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"List({list(self._values)!r})"


class Map(Mapping[str, "Node"]):
    """A mapping in the order of the file. Its keys are Text: iterate, or ask `key`, for where they stand."""

    __slots__ = ("_keys", "_values", "column", "line", "source")

    _keys: dict[str, Text] | None
    _values: dict[Text, Node]

    def __init__(
        self, items: Iterable[tuple[Text, Node]] = (), source: str = "", line: int = 0, column: int = 0
    ) -> None:
        pairs = tuple(items)
        self._values, self._keys = dict(pairs), None
        if len(self._values) < len(pairs):  # the last one counts, also as to where it stands
            last = {key: key for key, _ in pairs}
            self._values = {key: self._values[key] for key in last.values()}
        self.source, self.line, self.column = source, line, column

    @classmethod
    def of(cls, values: dict[Text, Node], source: str, line: int, column: int) -> Map:
        """Made of a dictionary that nobody else changes."""
        made = cls.__new__(cls)
        made._values, made._keys = values, None
        made.source, made.line, made.column = source, line, column
        return made

    def __getitem__(self, key: str) -> Node:
        return self._values[key]  # type: ignore[index]  # a text finds its equal, whatever its place

    @overload
    def get(self, key: str) -> Node | None: ...
    @overload
    def get(self, key: str, default: _T) -> Node | _T: ...
    def get(self, key: str, default: object = None) -> object:
        return self._values.get(key, default)  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[Text]:
        return iter(self._values)

    def items(self) -> ItemsView[Text, Node]:
        return self._values.items()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def key(self, key: str) -> Text:
        """The key itself, with its place."""
        if self._keys is None:
            self._keys = {one: one for one in self._values}
        return self._keys[key]

    def __repr__(self) -> str:
        return f"Map({self._values!r})"


Node: TypeAlias = Text | List | Map


class Findings:
    """Collects what is wrong, so that a user hears of everything at once. With `strict`, warnings are errors."""

    def __init__(self, source: str = "", *, strict: bool = False) -> None:
        self.source, self.strict = source, strict
        self._all: list[Finding] = []
        self._compared = 0
        self.unknown = 0  # keys that were not known, so far

    def error(self, code: str, message: str, at: object = None, hint: str = "") -> None:
        """`at` is whatever knows its place: a Text, List, Map; anything else stands for the file."""
        self._add(Level.ERROR, code, message, at, hint)

    def warning(self, code: str, message: str, at: object = None, hint: str = "") -> None:
        self._add(Level.ERROR if self.strict else Level.WARNING, code, message, at, hint)

    def notice(self, code: str, message: str, at: object = None, hint: str = "") -> None:
        self._add(Level.NOTICE, code, message, at, hint)

    def extend(self, findings: Iterable[Finding]) -> None:
        self._all += findings

    def did_you_mean(self, word: str, known: Collection[str], otherwise: str = "") -> str:
        """The function of that name, bounded: ten thousand unknown words meet not each of ten thousand known ones."""
        if self._compared > MAX_COMPARED:
            return otherwise
        self._compared += len(known)
        return did_you_mean(word, known, otherwise)

    def _add(self, level: Level, code: str, message: str, at: object, hint: str) -> None:
        line, column = getattr(at, "line", 0), getattr(at, "column", 0)
        source = (getattr(at, "source", "") if line else "") or self.source
        finding = Finding(level=level, code=code, message=message, hint=hint, source=source, line=line, column=column)
        self._all.append(finding)

    @property
    def all(self) -> tuple[Finding, ...]:
        """Without repetitions, in the order of the files."""
        return tuple(
            sorted(dict.fromkeys(self._all), key=lambda finding: (finding.source, finding.line, finding.column))
        )

    @property
    def failed(self) -> bool:
        return any(finding.level is Level.ERROR for finding in self._all)

    def failed_besides(self, codes: Collection[str]) -> bool:
        """Whether there is an error of another kind than these."""
        return any(finding.level is Level.ERROR and finding.code not in codes for finding in self._all)

    def check(self) -> tuple[Finding, ...]:
        """Everything collected; raises DefinitionError with all of it when there is an error among it."""
        if self.failed:
            raise DefinitionError(self.all)
        return self.all


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, else empty. Case and dashes do not count."""
    from difflib import get_close_matches  # most files have nothing to guess

    words = {_plain(name): name for name in known if len(name) < 256}
    near = get_close_matches(_plain(word[:255]), words, n=1)
    return words[near[0]] if near else ""


def short(text: str) -> str:
    """Quoted, for a message: what a user wrote by accident may be long."""
    return repr(str(text)) if len(text) <= 80 else f"{text[:77]!r}…"


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the nearest known word, else `otherwise`."""
    near = nearest(word, known)
    return f"did you mean {short(near)}?" if near else otherwise


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def read(path: Path) -> str:
    """The text of a file: UTF-8, at most 1 MiB, no control characters. Raises NotFound or DefinitionError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as error:
        raise _wrong(
            "unreadable", f"cannot be read: {error.strerror}", str(path), hint="name a file that you may read"
        ) from None
    return decode(data, str(path))


def decode(data: bytes | str, source: str = "<text>") -> str:
    """Text of acceptable size, coding and characters, without a byte order mark. Raises DefinitionError."""
    if len(data) > MAX_BYTES:
        raise _wrong("too-large", "the file is larger than 1 MiB", source, hint="split it into several files")
    if isinstance(data, bytes):
        data = _decoded(data, source)
    text = data.removeprefix("\ufeff")
    found = _NOT_TEXT.search(text)
    if found is None:
        return text
    name = f"character U+{ord(found[0]):04X}"
    place = _line_column(text, found.start())
    raise _wrong("control-character", f"{name} is not text", source, *place, hint="remove it")


def _decoded(data: bytes, source: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _wrong("encoding", "the file is UTF-16", source, 1, 1, hint="save it as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = _line_column(before, len(before))
        raise _wrong(
            "encoding", f"byte 0x{data[error.start]:02x} is not UTF-8", source, *place, hint="save the file as UTF-8"
        ) from None


def _line_column(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def parse(text: str | bytes, source: str = "<text>", *, line: int = 1, column: int = 1) -> Node:
    """The one document of a text. `line` and `column` say where the text begins in its file."""
    nodes = documents(text, source, line=line, column=column)
    if not nodes:
        raise _wrong("empty", "the file is empty", source, hint="write a document into it")
    if len(nodes) > 1:
        second = nodes[1]
        raise _wrong(
            "documents", "only one document is expected here", source, second.line, second.column, hint="remove '---'"
        )
    return nodes[0]


@at_rest()
def documents(text: str | bytes, source: str = "<text>", *, line: int = 1, column: int = 1) -> tuple[Node, ...]:
    """Every document of a text (YAML separates them with `---`)."""
    import yaml

    text = decode(text, source)
    builder = _Builder(Findings(source), line, column)
    takes = builder.takes(yaml)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            take = takes.get(type(event))
            if take is not None:
                take(event)
    except yaml.YAMLError as error:
        builder.syntax(error, text)
    builder.findings.check()
    return tuple(builder.done)


def _wrong(code: str, message: str, source: str, line: int = 0, column: int = 0, *, hint: str = "") -> DefinitionError:
    finding = Finding(level=Level.ERROR, code=code, message=message, hint=hint, source=source, line=line, column=column)
    return DefinitionError([finding])


class _Open:
    """A sequence or mapping whose end was not read yet. `size` counts the values in it, aliases expanded."""

    __slots__ = ("anchor", "column", "items", "key", "keys", "line", "pairs", "size")

    def __init__(self, line: int, column: int, anchor: str | None, pairs: dict[Text, Node] | None) -> None:
        self.line, self.column, self.anchor, self.pairs = line, column, anchor, pairs
        self.items: list[Node] = []
        self.keys: dict[Text, Text] = {}
        self.key: Text | None = None
        self.size = 1


class _Builder:
    """Parser events -> nodes, without recursion. `line` and `column`: of the first character."""

    def __init__(self, findings: Findings, line: int, column: int) -> None:
        self.findings, self.source, self.line, self.column = findings, findings.source, line, column
        self.done: list[Node] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.aliased = 0

    def takes(self, yaml: Any) -> dict[type, Callable[[Any], None]]:
        """What to do with an event of PyYAML, by its class."""
        return {
            yaml.DocumentStartEvent: lambda _: self.anchors.clear(),
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.SequenceStartEvent: lambda event: self._open(event, None),
            yaml.MappingStartEvent: lambda event: self._open(event, {}),
            yaml.SequenceEndEvent: self._close,
            yaml.MappingEndEvent: self._close,
        }

    def syntax(self, error: Any, text: str) -> None:
        """PyYAML's words, with ours where its own would not help."""
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is None:
            self.findings.error("yaml", " ".join(str(error).split()), None, OTHER_SYNTAX)
            return
        message = str(error.problem or error.context)
        hint = next((hint for words, hint in SYNTAX if words in f"{message} {error.context}"), OTHER_SYNTAX)
        if "nesting" in message:
            message = f"lists and mappings are nested deeper than {MAX_DEPTH}"
            self.findings.error("depth", message, self._place(mark), FLATTER)
            return
        rows = text.splitlines()
        if mark.line >= len(rows):  # the text ends too early: where it began is more useful
            mark = getattr(error, "context_mark", None) or mark
        row = rows[mark.line] if mark.line < len(rows) else ""
        blank = self._other_blank(rows, mark.line)
        if blank is not None:
            if not self.findings.failed:  # else one was found on the way
                self._not_a_blank(*blank)
            return
        if row[mark.column : mark.column + 1] == "\t" or "\t" in row[: len(row) - len(row.lstrip())]:
            message, hint = "a tab where YAML wants blanks", "indent with blanks"
        elif error.context and error.problem:
            message = f"{error.problem} {error.context}"
        self.findings.error("yaml", message, self._place(mark), hint)

    def _other_blank(self, rows: list[str], last: int) -> tuple[Text, str] | None:
        """The blank of another kind that is nearest above a line where the parser gave up."""
        for number in range(min(last, len(rows) - 1), max(last - 4, -1), -1):
            found = _BESIDE.search(rows[number].partition("#")[0])
            if found is not None:
                place = Text("", self.source, number + self.line, found.end() - 1 + self.column)
                return place, found[0][-1]
        return None

    def _not_a_blank(self, place: Text, blank: str) -> None:
        message = f"character U+{ord(blank):04X} where YAML wants blanks"
        self.findings.error("blank", message, place, BLANK_HINT)

    def _place(self, mark: Any) -> Text:
        return Text("", self.source, mark.line + self.line, mark.column + self.column)

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        text = Text(event.value, self.source, mark.line + self.line, mark.column + self.column)
        if event.tag is not None:
            self._tag(event.tag, text)
        if event.style == '"' and _NEVER.search(text):  # written as an escape; only such a text has any
            self.findings.error("control-character", "the text holds a NUL or half a character", text, "remove it")
        if not event.style and not text.isascii() and (found := _MISPLACED.search(text)):
            is_there = not found.start() or mark.line == event.end_mark.line
            self._not_a_blank(text.part(found.end() - 1, found.end()) if is_there else text, found[0][-1])
        self._add(text, 1, event.anchor)

    def _tag(self, tag: str, place: Text) -> None:
        if tag not in PLAIN_TAGS:
            self.findings.error("tag", f"the tag {tag!r} is not read", place, "write the value without a tag")

    def _alias(self, event: Any) -> None:
        place = self._place(event.start_mark)
        node, size = self.anchors.get(event.anchor, (None, 1))
        if node is None:
            inside = any(opened.anchor == event.anchor for opened in self.stack)
            problem = "stands for something that contains it" if inside else "stands for nothing before it"
            self.findings.error("alias", f"the alias *{event.anchor} {problem}", place, "write the value itself")
            node = place
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            message, hint = f"aliases stand for more than {MAX_ALIASED} values", "write out the few that are needed"
            raise _wrong("alias-bomb", message, place.source, place.line, place.column, hint=hint)
        self._add(node, size, None)

    def _open(self, event: Any, pairs: dict[Text, Node] | None) -> None:
        mark = event.start_mark
        line, column = mark.line + self.line, mark.column + self.column
        if event.tag is not None:
            self._tag(event.tag, Text("", self.source, line, column))
        if len(self.stack) >= MAX_DEPTH:
            message = f"lists and mappings are nested deeper than {MAX_DEPTH}"
            raise _wrong("depth", message, self.source, line, column, hint=FLATTER)
        self.stack.append(_Open(line, column, event.anchor, pairs))

    def _close(self, _: Any) -> None:
        top = self.stack.pop()
        node: Node
        if top.pairs is not None:
            node = Map.of(top.pairs, self.source, top.line, top.column)
        else:
            node = List(top.items, self.source, top.line, top.column)
        self._add(node, top.size, top.anchor)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = (node, size)
        if not self.stack:
            self.done.append(node)
            return
        top = self.stack[-1]
        top.size += size
        if top.pairs is None:
            top.items.append(node)
        elif top.key is None:
            top.key = self._key(top, node)
        else:
            top.pairs.setdefault(top.key, node)
            top.key = None

    def _key(self, top: _Open, node: Node) -> Text:
        if not isinstance(node, Text):
            self.findings.error("key", "a list or mapping cannot be a key", node, "quote it if it is a text")
            return Text("", node.source, node.line, node.column)
        if node == "<<":
            self.findings.error("merge-key", "the merge key '<<' is not read", node, "write its keys out")
        first = top.keys.setdefault(node, node)
        if first is not node and node != "<<":
            self.findings.error(
                "duplicate-key", f"the key {str(node)!r} stands here again, first in line {first.line}", node,
                "keep one of the two",
            )  # fmt: skip
        return node

"""JSON as NVIDIA printed it -> the nodes of `clara_argo.source`.

One repair, R6, a warning each time: comments (`//` to the end of the line, `/* */`), a missing comma between members,
a missing colon after a key, a comma after the last member. Everything else is strict. Linear, without recursion, with
the bounds of `source`; numbers and `true` stay the texts that were written, `null` is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from clara_argo.collector import at_rest
from clara_argo.errors import DefinitionError
from clara_argo.source import BLANK_HINT, FLATTER, MAX_DEPTH, Findings, List, Map, Node, Text, decode, short

MAX_REPAIRS = 100  # that are listed; a file with more of them says so once
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
    (?P<comment>//[^\r\n]*|/\*.*?\*/)
    |(?P<text>"[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*")
    |(?P<mark>[{}\[\]:,])
    |(?P<word>[^\s"{}\[\]:,/]+)
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
_LINE_END = re.compile(r"\r\n|\r|\n")
_NEVER = re.compile("[\0\ud800-\udfff]")  # written as an escape


class _Wants(StrEnum):
    """What may come next inside of an open value."""

    FIRST = "a member or the end"
    NEXT = "a member"  # after a comma
    COLON = "':'"
    VALUE = "a value"  # after a colon
    END = "',' or the end"  # after a member


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end was not read yet."""

    place: Text
    mapping: bool
    wants: _Wants = _Wants.FIRST
    values: list[Node] = field(default_factory=list)
    keys: dict[Text, Text] = field(default_factory=dict)
    key: Text | None = None

    @property
    def close(self) -> str:
        return "}" if self.mapping else "]"

    def node(self) -> Node:
        place = self.place
        if self.mapping:
            return Map(zip(self.keys, self.values, strict=True), place.source, place.line, place.column)
        return List(self.values, place.source, place.line, place.column)


def begins_like(text: str) -> bool:
    """Whether the first thing in a text, but for comments, is a `{`."""
    position = 0
    while (found := _TOKEN.match(text, position)) and found.lastgroup == "comment":
        position = found.end()
    return found is not None and found[found.lastgroup or 0] == "{"


@at_rest()
def parse(text: str | bytes, findings: Findings) -> Node:
    """The one value of a text. Raises DefinitionError for what is no JSON, with everything found until there."""
    reader = _Reader(decode(text, findings.source), findings)
    for kind, value, place in reader.tokens():
        reader.take(kind, value, place)
    return reader.end()


class _Reader:
    def __init__(self, text: str, findings: Findings) -> None:
        self.text, self.findings = text, findings
        self.starts = [0, *(found.end() for found in _LINE_END.finditer(text)), len(text) + 1]
        self.line = 1  # of the last token
        self.stack: list[_Open] = []
        self.done: Node | None = None
        self.comma = Text()  # the last one, for the complaint about it
        self.repairs = 0

    def tokens(self) -> Iterator[tuple[str, str, Text]]:
        """Kind, what is written, and its place."""
        position, kind = 0, ""
        while kind != "end":
            found = _TOKEN.match(self.text, position)
            if found is None:
                position += len(self.text) - position - len(self.text[position:].lstrip(" \t\r\n"))
                raise self._not_a_token(self.text[position], self._place(position))
            kind, position = found.lastgroup or "end", found.end()
            if kind == "comment":
                self._repair("a comment is no JSON; it is skipped", self._place(found.start(kind)), "remove it")
            elif kind != "end":
                yield kind, found[kind], self._place(found.start(kind))

    def _not_a_token(self, character: str, place: Text) -> DefinitionError:
        if character == '"':
            return self._wrong("the text has no closing quote in its line", place, "close it; write a line end as \\n")
        if character == "/":
            return self._wrong("a '/' begins no comment, or one without its end", place, "write // … or /* … */")
        if character.isspace():
            return self._wrong(f"character U+{ord(character):04X} where JSON wants blanks", place, BLANK_HINT)
        return self._wrong(f"{short(character)} is no JSON", place, "quote texts with double quotes")

    def take(self, kind: str, value: str, place: Text) -> None:
        """The next token."""
        if not self.stack:
            if self.done is not None:
                raise self._wrong("something follows the end", place, "one value stands in a file; remove the rest")
            self._value(kind, value, place)
        elif kind == "mark" and value in "]}":
            self._close(value, place)
        elif kind == "mark" and value == ",":
            self._comma(place)
        elif kind == "mark" and value == ":":
            self._colon(place)
        else:
            self._member(kind, value, place)

    def _close(self, value: str, place: Text) -> None:
        top = self.stack[-1]
        if value != top.close:
            message = f"{value!r} closes nothing: {top.close!r} is missing for line {top.place.line}"
            raise self._wrong(message, place, f"write {top.close!r} before it")
        if top.wants in (_Wants.COLON, _Wants.VALUE):
            raise self._wrong(f"the key {short(top.key or '')} has no value", place, "write one after it")
        if top.wants is _Wants.NEXT:
            self._repair("a comma stands after the last member", self.comma, "remove it")
        self.stack.pop()
        self._add(top.node())

    def _comma(self, place: Text) -> None:
        top = self.stack[-1]
        if top.wants is not _Wants.END:
            raise self._wrong(f"a ',' where {top.wants} should be", place, "remove it, or write what is missing")
        top.wants, self.comma = _Wants.NEXT, place

    def _colon(self, place: Text) -> None:
        top = self.stack[-1]
        if top.wants is not _Wants.COLON:
            raise self._wrong(f"a ':' where {top.wants} should be", place, "a ':' follows a key, once")
        top.wants = _Wants.VALUE

    def _member(self, kind: str, value: str, place: Text) -> None:
        top = self.stack[-1]
        if top.wants is _Wants.END:
            self._repair("a comma is missing before this", place, "write ',' before it")
            top.wants = _Wants.NEXT
        if top.wants is _Wants.COLON:
            self._repair(f"the colon is missing after {short(top.key or '')}", place, "write ':' before it")
            top.wants = _Wants.VALUE
        if top.mapping and top.wants is not _Wants.VALUE:
            self._key(top, kind, value, place)
        else:
            self._value(kind, value, place)

    def _key(self, top: _Open, kind: str, value: str, place: Text) -> None:
        if kind != "text":
            raise self._wrong(f"{short(value)} cannot be a key", place, 'a key is a text in double quotes: "port"')
        key = self._text(value, place)
        if key in top.keys:
            message = f"the key {short(key)} stands here again, first in line {top.keys[key].line}"
            self.findings.error("duplicate-key", message, key, "keep one of the two")
        top.key, top.wants = key, _Wants.COLON

    def _value(self, kind: str, value: str, place: Text) -> None:
        if kind == "text":
            self._add(self._text(value, place))
        elif kind == "word":
            if not _WORD.fullmatch(value):
                raise self._wrong(f"{short(value)} is no value of JSON", place, "quote it if it is a text")
            self._add(Text("" if value == "null" else value, place.source, place.line, place.column))
        elif value in "{[":
            if len(self.stack) >= MAX_DEPTH:
                self.findings.error("depth", f"lists and mappings are nested deeper than {MAX_DEPTH}", place, FLATTER)
                raise DefinitionError(self.findings.all)
            self.stack.append(_Open(place, value == "{"))
        else:
            raise self._wrong(f"{value!r} where a value should be", place, "write the value")

    def _text(self, value: str, place: Text) -> Text:
        try:
            text = json.loads(value) if "\\" in value else value[1:-1]
        except ValueError:
            raise self._wrong("the text has an escape that JSON does not know", place, "write '\\\\' twice") from None
        if _NEVER.search(text):
            self.findings.error("control-character", "the text holds a NUL or half a character", place, "remove it")
        return Text(text, place.source, place.line, place.column)

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.done = node
            return
        top = self.stack[-1]
        top.wants = _Wants.END
        if not top.mapping:
            top.values.append(node)
        elif top.key is not None and top.key not in top.keys:
            top.keys[top.key] = top.key
            top.values.append(node)

    def end(self) -> Node:
        if self.stack:
            top = self.stack[-1]
            raise self._wrong(f"{top.close!r} is missing at the end", top.place, "close what begins here")
        if self.done is None:
            self.findings.error("empty", "the file is empty", None, "write a document into it")
        self.findings.check()
        assert self.done is not None  # check() has raised
        return self.done

    def _place(self, offset: int) -> Text:
        """Offsets come in their order."""
        while self.starts[self.line] <= offset:
            self.line += 1
        return Text("", self.findings.source, self.line, offset - self.starts[self.line - 1] + 1)

    def _repair(self, message: str, place: Text, hint: str) -> None:
        self.repairs += 1
        if self.repairs < MAX_REPAIRS:
            self.findings.warning("R6", f"R6: {message}", place, hint)
        elif self.repairs == MAX_REPAIRS:
            self.findings.warning("R6", "R6: there are more repairs of this kind from here on", place, hint)

    def _wrong(self, message: str, place: Text, hint: str) -> DefinitionError:
        self.findings.error("json", message, place, hint)
        return DefinitionError(self.findings.all)

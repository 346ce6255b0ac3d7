"""`${{NAME}}` in a pipeline: its parameters, given or by default, and what is known only when a stage starts.

Clara did not tell capitals apart in names: values are found by the name in lower case.
Values are put in once and not read again. All of them together may add as much text as a file may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import is_not

from clara_argo.environment import JOB_ID
from clara_argo.formats.fields import Fields, as_text, short
from clara_argo.source import MAX_BYTES, Findings, List, Map, Node, Text

PLACEHOLDER = re.compile(r"\$\{\{\s*([A-Za-z0-9_-]{1,255})\s*\}\}")
OPEN = "${{"
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
AT_START = frozenset({"command", "variables", "args"})  # below these a text may name the job, known only then


class Template:
    """The parameters of one file. `lenient`: somebody only looks, and what has no value stays as it is written."""

    def __init__(self, top: Fields, given: Mapping[str, str], budget: Budget, *, lenient: bool = False) -> None:
        self.findings, self.budget, self.given, self.lenient = top.findings, budget, given, lenient
        declared = top.fields("parameters")
        self.names: dict[str, Text] = {}  # as they are declared
        self.defaults = {name.lower(): self._default(declared, name) for name in declared.node}
        self.values = {name: value for name, value in self.defaults.items() if value} | self._given(top)
        self._said: set[str] = set()

    def _default(self, declared: Fields, name: Text) -> str:
        if not NAME.fullmatch(name):
            hint = "letters, digits, '-' and '_'"
            self.findings.error("parameter", f"{short(name)} cannot be the name of a parameter", name, hint)
        if self.names.setdefault(name.lower(), name) is not name:
            message = f"the parameter {short(name)} stands twice: capitals make no difference"
            self.findings.error("duplicate-key", message, name, "keep one of the two")
        value = declared.node[name]
        if not isinstance(value, Text):
            declared.wrong(name, "must be a text", "quote it")
        return as_text(value)

    def _given(self, top: Fields) -> dict[str, str]:
        found = {}
        for name, value in self.given.items():
            if name.lower() in self.names:
                found[name.lower()] = value
                continue
            known = f"it has {', '.join(map(short, self.names.values()))}" if self.names else "it has none"
            hint = self.findings.did_you_mean(name, self.names.values(), known)
            self.findings.error("parameter", f"{top.what} has no parameter {short(name)}", name, hint)
        return found

    def filled(self, node: Node, at_start: bool = False) -> Node:
        """The node with its parameters put in; the same node where there are none."""
        if isinstance(node, Text):
            return self._text(node, at_start) if OPEN in node else node
        if isinstance(node, List):
            items = [self.filled(item, at_start) for item in node]
            return List(items, *_place(node)) if any(map(is_not, items, node)) else node
        changed: dict[Text, Node] = {}
        for key, value in node.items():
            filled = self.filled(value, at_start or key in AT_START)
            if filled is not value:
                changed[key] = filled
        return Map.of({**dict(node.items()), **changed}, *_place(node)) if changed else node

    def _text(self, text: Text, at_start: bool) -> Text:
        filled = PLACEHOLDER.sub(lambda found: self._value(found, text), text)
        if OPEN in PLACEHOLDER.sub("", text):
            message = f"{short(text)} holds a '{OPEN}' without a name and '}}}}'"
            self.findings.error("parameter", message, text, "write ${{NAME}}; there are no expressions")
        if not at_start and f"{OPEN}{JOB_ID}}}}}" in filled:
            message = f"{short(text)} names the job, which is not known yet"
            self.findings.error("parameter", message, text, "use it in 'command' and 'variables'")
        return Text(filled, text.source, text.line, text.column)

    def _value(self, found: re.Match[str], text: Text) -> str:
        name = found[1]
        value = self.values.get(name.lower())
        if value is not None:
            return value if self.budget.take(len(value), text, self.findings) else ""
        if name.upper() == JOB_ID:
            return f"{OPEN}{JOB_ID}}}}}"
        if name.lower() in self.names:
            self._no_value(self.names[name.lower()], text)
        else:
            otherwise = f"add it to 'parameters'; {OPEN}{JOB_ID}}}}} needs no value"
            hint = self.findings.did_you_mean(name, self.names.values(), otherwise)
            self.findings.error("parameter", f"{short(text)} names the unknown parameter {name!r}", text, hint)
        return found[0]

    def _no_value(self, name: str, text: Text) -> None:
        if name in self._said:
            return
        self._said.add(name)
        say = self.findings.notice if self.lenient else self.findings.error
        say("parameter", f"the parameter {short(name)} has no value", text, f"give it one: --set {name}=VALUE")


class Budget:
    """How much text values may still add, in characters, for a file and all that it imports."""

    def __init__(self) -> None:
        self.left = MAX_BYTES

    def take(self, size: int, at: Node, findings: Findings) -> bool:
        """Whether there is so much; one finding when there is no more."""
        if self.left >= 0 > self.left - size:
            findings.error("too-large", "the values make more than 1 MiB of text", at, "make them shorter")
        self.left -= size
        return self.left >= 0


def _place(node: Map | List) -> tuple[str, int, int]:
    return node.source, node.line, node.column

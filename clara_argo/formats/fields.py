"""Reads the fields of one mapping: each of the kind it should be, else a finding and the default.

Knows no dialect; the readers beside it say which keys there are.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection

from clara_argo.source import Findings, List, Map, Node, Text
from clara_argo.source import short as short  # the readers take it from here

TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
MAX_UNKNOWN = 1000  # keys of a file; one with more is something else
MANY = "unknown-keys"  # the code of the finding that says so
_WHOLE = re.compile(r"[0-9]{1,18}")


class Fields:
    """One mapping and the findings about it. `what` names it in messages: "stage 'user-ai'"."""

    def __init__(self, node: Node, findings: Findings, what: str) -> None:
        self.findings, self.what = findings, what
        if isinstance(node, Map):
            self.node = node
            return
        self.node = Map.of({}, node.source, node.line, node.column)
        if not empty(node):
            findings.error("kind", f"{what} must be a mapping, not {kind(node)}", node, "write 'key: value' lines")

    def __contains__(self, key: str) -> bool:
        return key in self.node

    def get(self, key: str) -> Node | None:
        """The node of a key that is there and not empty."""
        node = self.node.get(key)
        return None if node is None or node == "" else node

    def at(self, key: str) -> Node:
        """Where to point for this key: its value, or the mapping that lacks it."""
        return self.node.get(key, self.node)

    def text(self, key: str, default: str = "") -> str:
        node = self.get(key)
        if node is None:
            return default
        if isinstance(node, Text):
            return node
        self.wrong(key, f"must be a text, not {kind(node)}", "write one value")
        return default

    def required(self, key: str, hint: str = "") -> str:
        """As `text`, but a finding when it is missing or empty."""
        self.need(key, hint)
        return self.text(key)

    def need(self, key: str, hint: str = "") -> None:
        """A finding when the key is missing or empty."""
        if self.get(key) is None:
            self.findings.error("missing-key", f"{self.what} has no {key!r}", self.at(key), hint or f"add '{key}: …'")

    def texts(self, key: str) -> tuple[Text, ...]:
        """A list of texts."""
        nodes = self.nodes(key)
        for node in nodes:
            if not isinstance(node, Text):
                message = f"an entry of {key!r} of {self.what} must be a text, not {kind(node)}"
                self.findings.error("kind", message, node, "quote it")
        return tuple(node for node in nodes if isinstance(node, Text))

    def nodes(self, key: str) -> tuple[Node, ...]:
        """A list of anything."""
        node = self.get(key)
        if node is None:
            return ()
        if isinstance(node, List):
            return tuple(node)
        hint = f"write {key}: [{short(node)}]" if isinstance(node, Text) else "write '- ' before each entry"
        self.wrong(key, f"must be a list, not {kind(node)}", hint)
        return ()

    def whole(self, key: str, default: int, least: int, most: int = 10**9) -> int:
        """A whole number in decimal digits, in bounds."""
        word = self.text(key)
        if not word:
            return default
        value = int(word) if _WHOLE.fullmatch(word) else -1
        if least <= value <= most:
            return value
        self.wrong(key, f"must be a whole number from {least} to {most}, not {short(word)}", "write digits only")
        return default

    def flag(self, key: str, default: bool = False) -> bool:
        word = self.text(key)
        if not word:
            return default
        if word.lower() not in TRUTH:
            self.wrong(key, f"must be true or false, not {short(word)}", "write true or false")
        return TRUTH.get(word.lower(), default)

    def fields(self, key: str) -> Fields:
        """A mapping inside this one; empty when it is not there."""
        node, whole = self.node.get(key), self.node
        inner = Map.of({}, whole.source, whole.line, whole.column) if node is None else node
        return Fields(inner, self.findings, f"{key!r} of {self.what}")

    def wrong(self, key: str, problem: str, hint: str = "") -> None:
        self.findings.error("value", f"{key!r} of {self.what} {problem}", self.at(key), hint)

    def unknown(self, known: Collection[str]) -> dict[str, str]:
        """Warn of every key that is not known; they are kept as they are. Raises DefinitionError when there are so
        many of them that nobody would read about each."""
        extra: dict[str, str] = {}
        strange = [key for key in self.node if key not in known]
        self.findings.unknown += len(strange)
        if strange and self.findings.unknown > MAX_UNKNOWN:
            message = f"there are more than {MAX_UNKNOWN} unknown keys, here in {self.what}: it is another kind of file"
            self.findings.error(MANY, message, strange[0], "name the file that was meant")
            self.findings.check()
        for key in strange:
            hint = self.findings.did_you_mean(key, known, f"known keys: {', '.join(sorted(known))}")
            self.findings.warning("unknown-key", f"{self.what} has the unknown key {short(key)}", key, hint)
            extra[key] = as_text(self.node[key])
        return extra


def empty(node: Node) -> bool:
    return isinstance(node, Text) and node == ""


def kind(node: Node) -> str:
    """What a node is, for a message."""
    return "a mapping" if isinstance(node, Map) else "a list" if isinstance(node, List) else "a text"


def as_text(node: Node) -> str:
    """A value that we do not know, kept: texts as they are, everything else as JSON."""
    return node if isinstance(node, Text) else json.dumps(_plain(node))


def _plain(node: Node) -> object:
    if isinstance(node, Map):
        return {str(key): _plain(node[key]) for key in node}
    return [_plain(item) for item in node] if isinstance(node, List) else str(node)


def words(node: Node | None, findings: Findings, what: str) -> tuple[str, ...]:
    """Arguments: a text, split as a shell would split it but never passed to one, or a list of words."""
    if node is None or empty(node):
        return ()
    if isinstance(node, List):
        if all(isinstance(item, Text) for item in node):
            return tuple(item for item in node if isinstance(item, Text))
        findings.error("kind", f"args of {what} must be texts", node, "quote each of them")
        return ()
    if isinstance(node, Map):
        message = f"args of {what} must be a text or a list of texts, not a mapping"
        findings.error("kind", message, node, "quote the text")
        return ()
    try:
        return tuple(Text(word, node.source, node.line, node.column) for word in shlex.split(node))
    except ValueError as error:
        reason = str(error).lower().rstrip(".")
        findings.error("args", f"args of {what} cannot be split into words: {reason}", node, "close the quote")
        return ()

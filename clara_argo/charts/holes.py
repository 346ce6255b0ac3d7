"""Holes in a text: places that a Helm expression fills, everything else exactly as it is.

A hole is first a value that nothing else in the object can be, a marker; when the object has become a text, each
marker becomes its expression, and every `{{` that was there before becomes an expression that prints it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from clara_argo.compile import as_yaml

OPEN = '{{ "{{" }}'  # prints two braces; a closing pair outside of an expression is a text like any other


@dataclass(frozen=True, kw_only=True, slots=True)
class Holes:
    """`salt` makes the markers: whoever writes the text cannot know it, when it is a digest of that text."""

    salt: str
    _expressions: dict[str, tuple[str, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, *texts: object) -> Holes:
        return cls(salt=hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16])

    def value(self, expression: str) -> str:
        """A marker for what prints a whole value as JSON, which is YAML."""
        return self._marker(expression, False)

    def maybe(self, expression: str) -> str:
        """A marker for the value of a key that is left out when the expression prints nothing."""
        return self._marker(expression, True)

    def _marker(self, expression: str, optional: bool) -> str:
        marker = f"hole-{len(self._expressions)}-{self.salt}"
        self._expressions[marker] = (expression, optional)
        return marker

    def fill(self, text: str) -> str:
        """A text with markers, YAML or JSON -> a template that prints it."""
        marker = re.compile(rf'"?(hole-[0-9]+-{self.salt})"?')
        return "\n".join(self._line(line, marker) for line in text.replace("{{", OPEN).split("\n"))

    def _line(self, line: str, marker: re.Pattern[str]) -> str:
        found = marker.search(line)
        if found is None:
            return line
        expression, optional = self._expressions[found[1]]
        if not optional:
            return marker.sub(lambda one: f"{{{{ {self._expressions[one[1]][0]} }}}}", line)
        indent, key = line[: len(line) - len(line.lstrip())], line[: found.start()]
        opening = f"{indent}{{{{- with {expression} }}}}"
        return f"{opening}\n{key}{{{{ . }}}}\n{indent}{{{{- end }}}}"

    def yaml(self, made: dict[str, Any]) -> str:
        return self.fill(as_yaml(made))


def text(value: str) -> str:
    """A text as a literal of Helm's language."""
    return json.dumps(value)  # Go reads what JSON writes: the escapes of both are \\, \", \n, \t, \uXXXX


def call(name: str, *arguments: str) -> str:
    """The helper `name` with the release's own facts and further texts."""
    return f'include "clara.{name}" (list $ {" ".join(map(text, arguments))})'

"""Words without quotes that Kubernetes' reader of YAML takes for something else than a text.

It is one of YAML 1.1 with `y` and `n`, with `1e3` and `08` as numbers, without times and numbers to base 60.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TAG = "tag:yaml.org,2002:"
TRUE = ("y", "yes", "true", "on")
# What it is, which words, their first characters.
KINDS = (
    ("bool", r"(?i:y|yes|n|no|true|false|on|off)", list("yYnNtTfFoO")),
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o[0-7]+|0[0-9_]*|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)


def resolvers() -> Iterator[tuple[str, re.Pattern[str], list[str]]]:
    """As arguments of PyYAML's add_implicit_resolver."""
    return ((TAG + kind, re.compile(rf"(?:{words})\Z"), first) for kind, words, first in KINDS)

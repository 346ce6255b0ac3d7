"""What is to be written -> YAML, by PyYAML's emitter in C where there is one: a pipeline may have hundreds of stages.

Words that a reader might take for a number or truth get quotes, as in `clara_argo.compile.text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from clara_argo.compile import plain

SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|connectionstring|(api|access|private)[-_ ]?key", re.IGNORECASE
)


def as_yaml(made: dict[str, Any]) -> str:
    """One document, keys in the order in which they were built."""
    import yaml

    return str(yaml.dump(made, Dumper=_dumper(), sort_keys=False, width=120, allow_unicode=True))


def kept(extra: Mapping[str, str], title: str = "Kept from the old file; nothing follows it:") -> str:
    """What nobody knows here, as comments: a line each, harmless whatever it is, without what may be a secret."""
    return commented(extra.items(), title)


def commented(pairs: Iterable[tuple[str, str]], title: str) -> str:
    """As `kept`; a key may stand twice. Empty when there is none."""
    lines = [f"# {json.dumps(str(key))}: {_shown(str(key), str(text))}\n" for key, text in pairs]
    return f"# {title}\n" + "".join(lines) if lines else ""


def _shown(key: str, text: str) -> str:
    """`fields.as_text` made one JSON text of a list or mapping."""
    if SECRET.search(key) or SECRET.search(text):
        return "(left out: it may be a secret)"
    return (
        text
        if text[:1] in ("{", "[") and text.isascii() and text.isprintable() and _is_json(text)
        else json.dumps(text)
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@lru_cache(maxsize=1)
def _dumper() -> Any:
    import yaml

    class Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def quoted(dumper: Any, text: str) -> yaml.ScalarNode:
        style = '"' if text != text.strip() or not text.isprintable() else None
        return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)

    Plain.add_representer(str, quoted)
    for resolver in plain.resolvers():
        Plain.add_implicit_resolver(*resolver)
    return Plain

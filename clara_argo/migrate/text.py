"""What is to be written -> YAML, by PyYAML's emitter in C where there is one: a pipeline may have hundreds of stages.

Words that a reader might take for a number or truth get quotes, as in `clara_argo.compile.text`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from clara_argo.compile import plain


def as_yaml(made: dict[str, Any]) -> str:
    """One document, keys in the order in which they were built."""
    import yaml

    return str(yaml.dump(made, Dumper=_dumper(), sort_keys=False, width=120, allow_unicode=True))


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

"""An object -> YAML or JSON, the same bytes each time: keys in the order in which they were built."""

from __future__ import annotations

import json
from typing import Any

from clara_argo.compile import plain


def as_yaml(made: dict[str, Any]) -> str:
    """One document."""
    import yaml

    class Plain(yaml.SafeDumper):
        """A mapping used twice is written twice: `<<` and `*` are not what readers of a manifest expect."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)  # lists stand below their key, not beside it

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if text != text.strip() or "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Plain.add_representer(str, quoted)
    for resolver in plain.resolvers():  # a text that Kubernetes would read as a number is written with quotes
        Plain.add_implicit_resolver(*resolver)
    return yaml.dump(made, Dumper=Plain, sort_keys=False, width=120, allow_unicode=True)


def as_json(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"

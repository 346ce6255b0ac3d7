"""YAML text -> objects as the Kubernetes API would read them, each beside the values that know their line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from clara_argo import source
from clara_argo.compile import plain
from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.source import Map

if TYPE_CHECKING:
    Parser = yaml.SafeLoader
else:  # the parser that `source` reads with
    Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KINDS = ("Workflow", "WorkflowTemplate")


class Loader(Parser):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _bool(_: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return str(node.value).lower() in plain.TRUE


for _resolver in plain.resolvers():
    Loader.add_implicit_resolver(*_resolver)
Loader.add_constructor(plain.TAG + "bool", _bool)


def objects(text: str, name: str) -> Iterator[tuple[dict[str, Any], Map]]:
    """Every mapping of a text, without what is null: for Argo it is not there. Raises DefinitionError."""
    nodes = source.documents(text, name)
    try:
        values = list(yaml.load_all(text, Loader=Loader))  # noqa: S506 (a SafeLoader with other scalars)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        finding = Finding(level=Level.ERROR, code="yaml", message=reason, hint="write the value plainly", source=name)
        raise DefinitionError([finding]) from None
    for node, value in zip(nodes, values, strict=True):
        if isinstance(node, Map) and isinstance(value, dict):
            yield _present(value), node


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _present(one) for key, one in value.items() if one is not None}
    return [_present(one) for one in value] if isinstance(value, list) else value


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)

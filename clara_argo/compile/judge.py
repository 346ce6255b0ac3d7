"""What was compiled is read by hera's models: a type that Argo does not take is an error here, not on the cluster."""

from __future__ import annotations

import json
from typing import Any

from clara_argo.compile.structure import troubles


class NotUnderstood(Exception):
    """A bug of ours: the object is not what Argo's API says."""


def understood(made: dict[str, Any]) -> dict[str, Any]:
    """The same object in plain values. Raises NotUnderstood with the path of what hera lacks or reads another way."""
    made = dict(json.loads(json.dumps(made)))
    if found := troubles(made):
        path = ".".join(map(str, found[0].path))
        raise NotUnderstood(f"{made['kind']} {made['metadata']['name']}: {path}: {found[0].message}")
    return made

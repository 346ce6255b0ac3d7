"""hera's models read what was compiled: a type that Argo does not take is an error here, not on the cluster.

hera drops a field that it does not know without a word, and so does the Kubernetes API: the only sign is that it is not
there when the object is printed again, which is what is compared. Importing hera takes a second.
"""

from __future__ import annotations

import json
from typing import Any

from clara_argo.errors import NotInstalled

try:
    from hera.workflows.models import Workflow, WorkflowTemplate
    from pydantic import ValidationError
except ImportError as error:
    raise NotInstalled("compiling needs hera: pip install 'clara-argo[argo]'") from error


class NotUnderstood(Exception):
    """A bug of ours: the object is not what Argo's API says."""


def understood(made: dict[str, Any]) -> dict[str, Any]:
    """The same object in plain values. Raises NotUnderstood with the path of what hera lacks or reads another way."""
    made = json.loads(json.dumps(made))
    model = WorkflowTemplate if made["kind"] == "WorkflowTemplate" else Workflow
    try:
        seen = model.model_validate(made).model_dump(mode="json", by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise NotUnderstood(f"{made['kind']} {made['metadata']['name']}: {error}") from error
    if lost := _difference(made, seen, made["kind"]):
        raise NotUnderstood(f"{made['metadata']['name']}: {lost} is not what was written")
    return dict(made)


def _difference(made: Any, seen: Any, path: str) -> str:
    """Path of the first value that is missing or another one; numbers and their texts are the same quantity."""
    if isinstance(made, dict) and isinstance(seen, dict):
        keys = [key for key in made if key not in seen]
        pairs = [(f"{path}.{key}", made[key], seen[key]) for key in made if key in seen]
        return f"{path}.{keys[0]}" if keys else _first(pairs)
    if isinstance(made, list) and isinstance(seen, list):
        pairs = [(f"{path}[{number}]", *pair) for number, pair in enumerate(zip(made, seen, strict=False))]
        return path if len(made) != len(seen) else _first(pairs)
    return "" if made == seen or str(made) == str(seen) else path


def _first(pairs: list[tuple[str, Any, Any]]) -> str:
    return next((found for path, made, seen in pairs if (found := _difference(made, seen, path))), "")

"""hera's models as second reader of an object: wrong types and unknown fields, each with its path.

hera drops a field that it does not know without a word, and so does the Kubernetes API: the only sign is that it is not
there when the object is printed again, which is what is compared. hera 7.1 models Argo 4.0; NEWER names what Argo 4.1
has besides. Importing hera takes a second, so it is imported when an object is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from clara_argo.collector import passing_over
from clara_argo.errors import NotInstalled

if TYPE_CHECKING:
    from pydantic import BaseModel

Path: TypeAlias = tuple[str | int, ...]
# (what the field stands in, its name); a list counts as the key that holds it.
NEWER = frozenset(
    {("spec", name) for name in ("executorPlugins", "podResources", "resourceClaims")}
    | {
        (holder, name)
        for holder in ("templates", "templateDefaults")
        for name in ("pendingTimeout", "podResources", "resourceClaims")
    }
    | {
        (holder, "restartPolicyRules")
        for holder in ("container", "script", "containers", "initContainers", "sidecars")
    }
    | {("s3", "addressingStyle"), ("http", "saveStreamViaFile"), ("valueFrom", "fileKeyRef")}
    | {("sources", "podCertificate")}
)  # fmt: skip

ANYTHING = frozenset({"plugin", "withItems"})  # Argo's CRD keeps what it does not know there


class Trouble(NamedTuple):
    path: Path
    message: str
    shape: bool  # the value has another type than Argo's: nothing can be said about what lies in it


def troubles(made: dict[str, Any]) -> list[Trouble]:
    """Everything in a Workflow or WorkflowTemplate that Argo's API does not take; `made` holds plain JSON values.

    Not read: what the cluster writes itself (a Workflow's status, metadata.managedFields). Raises NotInstalled.
    """
    models = _models()
    from pydantic import ValidationError

    made = json.loads(json.dumps(made))
    if made["kind"] == "Workflow":
        made.pop("status", None)
    if isinstance(made.get("metadata"), dict):
        made["metadata"].pop("managedFields", None)
    try:
        model = models[made["kind"]].model_validate(made)
    except ValidationError as error:
        return [_of_pydantic(one["loc"], one["msg"], made) for one in error.errors(include_url=False)]
    seen = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return list(_differences(made, seen, ()))


@cache
def _models() -> dict[str, type[BaseModel]]:
    """By kind. Raises NotInstalled."""
    try:
        with passing_over():
            from hera.workflows.models import Workflow, WorkflowTemplate
    except ImportError as error:
        raise NotInstalled("reading Argo objects needs hera: pip install 'clara-argo[argo]'") from error
    return {"Workflow": Workflow, "WorkflowTemplate": WorkflowTemplate}


def _of_pydantic(place: tuple[str | int, ...], message: str, made: Any) -> Trouble:
    """pydantic's place also names the member of a union that was tried: only what is in the object is a path."""
    path: list[str | int] = []
    for step in place:
        try:
            made = made[step]
        except (KeyError, IndexError, TypeError):
            if message == "Field required":
                path.append(step)
            break
        path.append(step)
    return Trouble(tuple(path), message[0].lower() + message[1:], shape=True)


def _differences(made: Any, seen: Any, path: Path) -> Iterator[Trouble]:
    if _holder(path) in ANYTHING:
        return
    if isinstance(made, dict) and isinstance(seen, dict):
        for key, value in made.items():
            if key in seen:
                yield from _differences(value, seen[key], (*path, key))
            elif value is not None and (_holder(path), key) not in NEWER:
                yield Trouble((*path, key), f"Argo knows no field {key!r} here", shape=False)
    elif isinstance(made, list) and isinstance(seen, list) and len(made) == len(seen):
        for number, pair in enumerate(zip(made, seen, strict=True)):
            yield from _differences(*pair, (*path, number))
    elif not _same(made, seen):
        yield Trouble(path, f"{json.dumps(made)[:60]} is read as {json.dumps(seen)[:60]}", shape=False)


def _same(made: Any, seen: Any) -> bool:
    """A number may stand for its text (a quantity), not a text for its number: Argo refuses that."""
    return bool(made == seen and isinstance(made, bool) == isinstance(seen, bool)) or (
        isinstance(seen, str) and not isinstance(made, bool) and str(made) == seen
    )


def _holder(path: Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")

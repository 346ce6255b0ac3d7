"""What each account may do in the namespace: what manifests/ gives, the doctor asks for and the runner needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ARGO, CORE = "argoproj.io", ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Right:
    group: str
    resource: str  # with a subresource: resource/subresource
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def _rights(group: str, resource: str, verbs: str) -> tuple[Right, ...]:
    return tuple(Right(group=group, resource=resource, verb=verb) for verb in verbs.split())


JOBS = (
    *_rights(ARGO, "workflows", "create get list watch patch delete"),
    *_rights(ARGO, "workflowtemplates", "get list"),
    *_rights(CORE, "pods", "get list watch delete"),
    *_rights(CORE, "pods/log", "get"),
)
TEMPLATES = _rights(ARGO, "workflowtemplates", "create patch")
ACCOUNTS = {
    "clara-stage": _rights(ARGO, "workflowtaskresults", "create patch"),
    "clara-artifact-gc": (
        *_rights(ARGO, "workflowartifactgctasks", "list watch"),
        *_rights(ARGO, "workflowartifactgctasks/status", "patch"),
    ),
    "clara-adapter": JOBS,
}
# Who has one of these decides what runs here, or reads what opens the store.
TOO_MUCH = {
    "clara-stage": (
        *_rights(ARGO, "workflows", "create patch"),
        *_rights(CORE, "pods", "create"),
        *_rights(CORE, "secrets", "get list"),
    ),
    "clara-artifact-gc": (*_rights(CORE, "pods", "create"), *_rights(CORE, "secrets", "get list")),
    "clara-adapter": (
        *TEMPLATES,
        *_rights(CORE, "pods", "create"),
        *_rights(CORE, "secrets", "get list"),
    ),
}


def rules(rights: tuple[Right, ...]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """As the rules of a Role: group, resource, verbs."""
    for group, resource in dict.fromkeys((right.group, right.resource) for right in rights):
        verbs = (right.verb for right in rights if (right.group, right.resource) == (group, resource))
        yield group, resource, tuple(verbs)

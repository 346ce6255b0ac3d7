"""Argo's controller as a Deployment: where it is, which release, what it is told. What it does is asked elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clara_argo.errors import Refused
from clara_argo.kubernetes.client import Api, Object
from clara_argo.kubernetes.kinds import DEPLOYMENTS

PROGRAM = "workflow-controller"
EVERYWHERE = ""
_VERSION = re.compile(r":v?(\d+)\.(\d+)\.(\d+)")

Version = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    namespace: str
    name: str
    image: str
    variables: dict[str, str]
    options: tuple[str, ...]
    ready: int
    wanted: int

    @property
    def version(self) -> Version | None:
        """By the tag of its image; None when that says nothing."""
        found = _VERSION.search(self.image)
        return (int(found[1]), int(found[2]), int(found[3])) if found else None

    @property
    def settings(self) -> str:
        """The name of its ConfigMap."""
        return self._option("--configmap") or "workflow-controller-configmap"

    def serves(self, namespace: str) -> bool:
        if "--namespaced" not in self.options:
            return True
        return (self._option("--managed-namespace") or self.namespace) == namespace

    def _option(self, name: str) -> str:
        for number, word in enumerate(self.options):
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
            if word == name and number + 1 < len(self.options):
                return self.options[number + 1]
        return ""


def find(api: Api) -> Controller | None:
    """The one that serves the API's namespace: in it, else anywhere. Raises Refused when we may not look."""
    here = list(_controllers(api.list(DEPLOYMENTS).items))
    try:
        everywhere = [] if here else list(_controllers(api.within(EVERYWHERE).list(DEPLOYMENTS).items))
    except Refused:
        everywhere = []
    serving = [one for one in [*here, *everywhere] if one.serves(api.namespace)]
    return max(serving, key=lambda one: one.ready, default=None)


def _controllers(deployments: Iterable[Object]) -> Iterator[Controller]:
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            words = (*(container.get("command") or ()), *(container.get("args") or ()))
            if PROGRAM in words or f"/{PROGRAM}:" in str(container.get("image", "")):
                yield _controller(deployment, container, words)


def _controller(deployment: Object, container: Object, words: tuple[str, ...]) -> Controller:
    status = deployment.get("status") or {}
    return Controller(
        namespace=deployment["metadata"]["namespace"],
        name=deployment["metadata"]["name"],
        image=str(container.get("image", "")),
        variables={item["name"]: str(item.get("value", "")) for item in container.get("env") or ()},
        options=words,
        ready=status.get("readyReplicas") or 0,
        wanted=deployment["spec"].get("replicas", 1),
    )

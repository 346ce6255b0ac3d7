"""The cluster that is examined, with what one look at it tells the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from clara_argo.artifacts import Stored
from clara_argo.compile import Cluster
from clara_argo.kubernetes.client import Api, Object
from clara_argo.kubernetes.kinds import TEMPLATES
from clara_argo.model.target import Target
from clara_argo.platform.doctor.controller import Controller
from clara_argo.runners.argo.store import JobStore


class Store(JobStore, Protocol):
    @property
    def where(self) -> str:
        """Address and bucket, for people."""

    def check(self) -> None:
        """Raises the error of whatever keeps us out."""

    def stored(self, prefix: str = "") -> Iterable[Stored]:
        """Objects whose names begin with the prefix."""


@dataclass(kw_only=True, slots=True)
class Site:
    """`sweep`: free what hangs."""

    api: Api
    target: Target
    store: Store
    theirs: Store | None = None  # the same, opened with what the cluster's own Secret holds
    sweep: bool = False
    names: Cluster = field(default_factory=Cluster)
    restricted: bool = False  # the namespace takes no pod that asks for more than it needs
    controller: Controller | None = None
    endpoint: str = ""  # of the store, and its bucket, as stages are told
    bucket: str = ""
    _templates: tuple[Object, ...] | None = None

    def templates(self) -> tuple[Object, ...]:
        """Those that `clara apply` put here. Raises the errors of a list."""
        if self._templates is None:
            self._templates = self.api.list(TEMPLATES, labels="clara.dev/workflow").items
        return self._templates

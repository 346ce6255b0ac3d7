"""From a quiet study to a sealed payload with its jobs.

A thread of its own: a study is complete when it is, whatever the engine and other jobs do. Each step asks what is due,
so a restart is a normal start. Knows no runner and no DICOM network.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping

from clara_adapter.inbox import Inbox
from clara_adapter.pauses import Pauses
from clara_adapter.store import NewJob, Payload
from clara_argo.errors import TryAgain
from clara_argo.graph import Graph
from clara_argo.model.route import Configuration

log = logging.getLogger(__name__)

NAMESPACE = uuid.UUID("0f3ac8d2-5a55-5d4e-9d51-5b8d0c0c7a31")
LOOK = 5.0  # seconds between two looks when nothing is announced
AGAIN = 0.25  # seconds between two looks at a payload that is due and has to wait


def job_id(payload: str, workflow_digest: str) -> str:
    """The same payload and workflow have the same job, whatever happens in between."""
    return uuid.uuid5(NAMESPACE, f"{payload}/{workflow_digest}").hex


class Sealing:
    """`step` does everything that can be done now; `run` repeats it until `stop`. `sealed` is told of new jobs."""

    def __init__(
        self, configuration: Configuration, graphs: Mapping[str, Graph], inbox: Inbox, sealed: Callable[[], None]
    ) -> None:
        self._workflows = {route.name: route.workflows for route in configuration.routes}
        self._graphs, self._inbox, self._sealed = graphs, inbox, sealed
        self._pauses = Pauses()
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._inbox.changed.clear()
            self.step()
            following = self._inbox.next_due()
            self._inbox.changed.wait(LOOK if following is None else min(following or AGAIN, LOOK))

    def stop(self) -> None:
        self._stopping.set()
        self._inbox.changed.set()

    def step(self) -> None:
        for payload in self._inbox.due():
            if self._stopping.is_set():
                return
            if self._pauses.may_try(payload.id):
                self._seal(payload)

    def _seal(self, payload: Payload) -> None:
        jobs: dict[str, NewJob] = {}
        for name in self._workflows[payload.route]:
            digest = self._graphs[name].digest
            key = job_id(payload.id, digest)
            jobs.setdefault(key, NewJob(key, name, digest))
        try:
            sealed = self._inbox.seal(payload, list(jobs.values()))
        except (OSError, TryAgain) as error:  # a full disk; other studies go on
            self._pauses.pause(payload.id, error)
            return
        except Exception as error:  # noqa: BLE001  our bug with one study must not be the end of the others
            log.exception("payload %s cannot be sealed by an error of ours; please report it", payload.id)
            self._pauses.pause(payload.id, error)
            return
        self._pauses.end(payload.id)
        if sealed:
            log.info("payload %s is complete; jobs: %s", payload.id, ", ".join(jobs) or "none")
            self._sealed()

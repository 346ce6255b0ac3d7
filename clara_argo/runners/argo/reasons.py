"""Why a stage failed, as the stage itself said it: its error file, else the last line of its log.

The cluster knows only the exit code, and shall not know more: what a stage writes may name a patient.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from clara_argo.artifacts import tree
from clara_argo.artifacts.errors import Damaged
from clara_argo.artifacts.members import members
from clara_argo.compile.names import stage
from clara_argo.errors import ClaraError, NotFound
from clara_argo.runners.argo.attempts import Attempt
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow
from clara_driver import contract
from clara_driver.driver import one_line

LOG = logging.getLogger(__name__)
PACKED, PLAIN = 1 << 20, 8 << 20  # bytes of a packed folder of logs that are looked at, and of what is in it
TAIL = 8192  # bytes of an error file
LOG_LIMIT = 16 << 20  # bytes of a log; where it is longer, its end is not looked for
MOST = 4096  # reasons kept
AGAIN = 30.0  # seconds before a store that was away is asked again


class Reasons:
    """`live`: the last lines of a pod that is still there, "" when it is not. Any thread may ask."""

    def __init__(self, store: JobStore, live: Callable[[Workflow, Attempt], str]) -> None:
        self._store, self._live = store, live
        self._known: dict[str, str] = {}
        self._not_before = 0.0
        self._lock = threading.Lock()

    def said(self, workflow: Workflow, attempt: Attempt) -> str:
        """One line, or "". A store that is away costs the reason, not the answer."""
        places = attempt.pod.log_folder, attempt.log_key  # Argo says that it failed before it says where its logs are
        key = "\n".join((workflow.name, attempt.node.id, attempt.node.finished, *places))
        with self._lock:
            if key in self._known:
                return self._known[key]
            if time.monotonic() < self._not_before:
                return ""
        try:
            text = self._look(workflow, attempt)
        except ClaraError as error:
            LOG.warning("job %s: why stage %r failed cannot be read: %s", workflow.job, attempt.stage, error)
            with self._lock:
                self._not_before = time.monotonic() + AGAIN
            return ""
        with self._lock:
            while len(self._known) >= MOST:
                self._known.pop(next(iter(self._known)))
            self._known[key] = text
        return text

    def _look(self, workflow: Workflow, attempt: Attempt) -> str:
        return self._error_file(workflow, attempt) or self._last_line(workflow, attempt)

    def _error_file(self, workflow: Workflow, attempt: Attempt) -> str:
        if not attempt.pod.log_folder:
            return ""
        folder = stage(attempt.stage) if workflow.fused else ""
        try:
            packed = self._store.read(attempt.pod.log_folder, PACKED)
        except NotFound:
            return ""
        return last_line(in_folder(packed, f"{folder}/{contract.ERROR_FILE}".lstrip("/")))

    def _last_line(self, workflow: Workflow, attempt: Attempt) -> str:
        if attempt.log_key:
            try:
                text = self._store.read(attempt.log_key, LOG_LIMIT)
                return last_line(text[-TAIL:].decode("utf-8", "replace")) if len(text) < LOG_LIMIT else ""
            except NotFound:
                pass
        return last_line(self._live(workflow, attempt))


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else ""


def in_folder(packed: bytes, name: str) -> str:
    """A small text in a packed folder (one top folder, left out in `name`); "" when it is not there or not readable."""
    try:
        for member in members([packed], name, PLAIN):
            if member.name == name and not member.is_folder:
                return b"".join(member.content)[:TAIL].decode("utf-8", "replace")
    except (Damaged, tree.Unusable):
        return ""  # more than we look at, or no folder of a stage
    return ""

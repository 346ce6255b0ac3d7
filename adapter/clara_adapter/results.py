"""A succeeded job's result: fetched, judged, written down with its deliveries; then the runner may drop its copy."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from pathlib import Path

from clara_adapter import checks
from clara_adapter.crash import here
from clara_adapter.spool import Spool, flush_folder
from clara_adapter.store import Job, Store
from clara_argo.errors import Away, ClaraError, NotFound, TryAgain
from clara_argo.model.route import Configuration
from clara_argo.runners import Runner

log = logging.getLogger(__name__)

AT_ONCE = 10  # copies that are given up in one step


class Results:
    def __init__(self, configuration: Configuration, spool: Spool, store: Store, runner: Runner) -> None:
        self._routes = {route.name: route for route in configuration.routes}
        self._spool, self._store, self._runner = spool, store, runner
        self._kept = deque(store.uncollected())  # jobs of which the runner may still keep a copy for us

    def collect(self, job: Job) -> None:
        """Take the result, judge it, write its deliveries."""
        here("job-ended")
        folder = self.take(job)
        here("result-copied")
        payload = self._store.payload(job.payload)
        route = self._routes.get(payload.route)
        destinations = route.destinations if route else ()
        try:
            results, held = checks.check(folder, payload, self._store.instances(payload)), ""
        except checks.MustNotLeave as error:
            results, held = [], str(error)
            log.error("job %s: its result is held and will not be sent: a file %s", job.id, error.why)
        note = held or ("" if route else f"route {payload.route!r} is no longer in the configuration; nothing is sent")
        self._store.finish_job(job, results, destinations, held=held, note=note)
        here("deliveries-written")
        self._kept.append(job.id)
        log.info("job %s succeeded: %d instances for %d destinations", job.id, len(results), len(destinations))

    def take(self, job: Job) -> Path:
        """The runner puts the whole folder there, or nothing; one that is there from before a crash is whole."""
        folder = self._spool.result(job.id)
        if not folder.is_dir():
            try:
                self._runner.result(job.id, folder)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise TryAgain(f"the result cannot be copied: {error.strerror}; check the spool's disk") from error
            flush_folder(folder.parent)
        return folder

    def tidy(self) -> int:
        """Let the runner drop copies that nobody will ask for; how many were looked at.

        No study waits for it, and what goes wrong is tried again at the next start. Raises Away.
        """
        count = min(AT_ONCE, len(self._kept))
        for _ in range(count):
            job = self._kept[0]
            try:
                self._runner.collected(job)
            except Away:
                raise
            except NotFound:
                pass  # the runner has forgotten the job, with what it kept
            except ClaraError as error:
                log.warning("job %s: its result stays where it was made until the next start: %s", job, error)
                self._kept.popleft()
                continue
            here("collected")
            self._store.note_collected(job)
            self._kept.popleft()
        return count

"""From a quiet study to deliveries: seals payloads, gives jobs to the runner, follows them, takes their results.

One thread, one step after the other; each step asks the database what is unfinished, so a restart is a normal start.
Talks to the runner only through its protocol. Knows no DICOM network.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clara_adapter import checks
from clara_adapter.crash import here
from clara_adapter.inbox import Inbox
from clara_adapter.spool import Spool, flush_folder
from clara_adapter.store import CRASHES_HELD, Job, NewJob, Payload, Store
from clara_argo.errors import ClaraError, Held, NotFound, TryAgain
from clara_argo.graph import Graph
from clara_argo.model import job as model
from clara_argo.model.job import JobState
from clara_argo.model.route import Configuration
from clara_argo.runners import Runner

log = logging.getLogger(__name__)

NAMESPACE = uuid.UUID("0f3ac8d2-5a55-5d4e-9d51-5b8d0c0c7a31")
POLL_FIRST, POLL_MOST = 0.1, 1.0  # seconds between two looks at a job
LOOK = 5.0  # seconds between two looks at what `clara adapter retry` may have changed
OUR_ERRORS = 5  # of one job in a row, then it is stopped
PAUSE_FIRST, PAUSE_MOST = 1.0, 60.0  # after a temporary trouble with one job


def job_id(payload: str, workflow_digest: str) -> str:
    """The same payload and workflow have the same job, whatever happens in between."""
    return uuid.uuid5(NAMESPACE, f"{payload}/{workflow_digest}").hex


@dataclass(slots=True)
class Pause:
    until: float
    seconds: float


class Jobs:
    """`step` does everything that can be done now; `run` repeats it until `stop`."""

    def __init__(
        self,
        configuration: Configuration,
        graphs: Mapping[str, Graph],
        inbox: Inbox,
        spool: Spool,
        store: Store,
        runner: Runner,
        delivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._routes = {route.name: route for route in configuration.routes}
        self._graphs, self._inbox, self._spool, self._store = graphs, inbox, spool, store
        self._runner, self._delivered = runner, delivered
        self._with_runner: set[str] = set()  # submitted by this process
        self._pauses: dict[str, Pause] = {}
        self._our_errors: Counter[str] = Counter()
        self._stopping = threading.Event()

    def run(self) -> None:
        wait = POLL_FIRST
        while not self._stopping.is_set():
            self._inbox.changed.clear()
            if self.step():
                wait = POLL_FIRST
            following = self._inbox.next_due()
            limits = [wait if self._store.unfinished_jobs() else None, following if following != 0 else wait, LOOK]
            if not self._inbox.changed.wait(min(limit for limit in limits if limit is not None)):
                self._delivered()  # somebody may have asked for a delivery again
            wait = min(wait * 1.5, POLL_MOST)

    def stop(self) -> None:
        self._stopping.set()
        self._inbox.changed.set()

    def step(self) -> bool:
        """Whether anything moved."""
        moved = False
        for payload in self._inbox.due():
            if self._may_try(payload.id):
                self._seal(payload)
                moved = True
        for job in self._store.unfinished_jobs():
            if self._stopping.is_set():
                return moved
            if self._may_try(job.id):
                moved |= self._guarded(job)
        return moved

    # -- payloads -----------------------------------------------------------------------------------------------

    def _seal(self, payload: Payload) -> None:
        jobs: dict[str, NewJob] = {}
        for name in self._routes[payload.route].workflows:
            digest = self._graphs[name].digest
            key = job_id(payload.id, digest)
            jobs.setdefault(key, NewJob(key, name, digest))
        try:
            sealed = self._inbox.seal(payload, list(jobs.values()))
        except (OSError, TryAgain) as error:  # a full disk; other studies and jobs go on
            self._pause(payload.id, error)
            return
        except Exception as error:  # noqa: BLE001  our bug with one study must not be the end of the others
            log.exception("payload %s cannot be sealed by an error of ours; please report it", payload.id)
            self._pause(payload.id, error)
            return
        self._pauses.pop(payload.id, None)
        if sealed:
            log.info("payload %s is complete; jobs: %s", payload.id, ", ".join(jobs) or "none")

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _guarded(self, job: Job) -> bool:
        """One job's trouble is not another's."""
        try:
            moved = self._advance(job)
        except (TryAgain, Held) as error:
            self._pause(job.id, error)
            return False
        except ClaraError as error:
            self._end(job, "failed", str(error))
            return True
        except OSError as error:
            self._pause(job.id, error)
            return False
        except Exception as error:  # noqa: BLE001  our bug with one job must not be the end of the others
            return self._our_error(job, error)
        self._pauses.pop(job.id, None)
        self._our_errors.pop(job.id, None)
        return moved

    def _our_error(self, job: Job, error: Exception) -> bool:
        """Say it, try again a few times, then leave the job alone: it can be asked for again."""
        self._our_errors[job.id] += 1
        log.error("job %s meets an error of ours, please report it: %s", job.id, type(error).__name__, exc_info=error)
        if self._our_errors[job.id] < OUR_ERRORS:
            self._pause(job.id, RuntimeError(f"{type(error).__name__}, an error of ours"))
            return False
        self._end(job, "stopped", f"held: {type(error).__name__}, an error of ours; the log has its trace")
        return True

    def _advance(self, job: Job) -> bool:
        if job.crashes >= CRASHES_HELD:
            self._end(job, "stopped", f"held: this process died {job.crashes} times while the job was in work")
            return True
        graph = self._graph_of(job)
        if graph is None:
            return True
        if job.id not in self._with_runner:
            return self._submit(job, graph)
        return self._follow(job, self._runner.get(job.id))

    def _graph_of(self, job: Job) -> Graph | None:
        """The job's workflow; None when it is not that workflow any more, and the job has been ended for it."""
        graph = self._graphs.get(job.workflow)
        if graph is None:
            self._end(job, "failed", f"workflow {job.workflow!r} is no longer in the configuration")
        elif graph.digest != job.workflow_digest:
            new = NewJob(job_id(job.payload, graph.digest), job.workflow, graph.digest)
            self._stop_at_runner(job)
            self._store.replace_job(job, new, f"workflow {job.workflow!r} was changed; job {new.id} takes its place")
            log.warning("job %s stopped: its workflow was changed; job %s takes its place", job.id, new.id)
        else:
            return graph
        return None

    def _submit(self, job: Job, graph: Graph) -> bool:
        here("before-submit")
        payload = model.Payload(id=job.payload, folder=self._spool.input(job.payload))
        before = self._runner.submit(graph, job.id, payload)
        if before.state == JobState.FAILED and job.state == JobState.SUBMITTING:  # somebody asks for it again
            self._runner.retry(job.id)
        here("submitted")
        self._with_runner.add(job.id)
        if job.state == JobState.SUBMITTING:
            self._store.move_job(job.id, "submitted")
            log.info("job %s submitted: workflow %s", job.id, job.workflow)
        here("after-submit")
        return True

    def _follow(self, job: Job, seen: model.Job) -> bool:
        if seen.state == JobState.SUCCEEDED:
            self._works(job)  # a result can kill us as a stage can
            self._collect(job)
            return True
        if seen.state in (JobState.FAILED, JobState.STOPPED):
            self._end(job, str(seen.state), seen.message, log_it=False)
            return True
        # A runner says running also of a job whose stages wait for a place.
        if any(stage.state == model.StageState.RUNNING for stage in seen.stages):
            return self._works(job)
        return False

    def _works(self, job: Job) -> bool:
        """Write down that the job is in work: should this process die now, it is a suspect. Whether that was new."""
        if job.state != JobState.PENDING:
            return False
        self._store.move_job(job.id, "started")
        return True

    def _end(self, job: Job, event: str, message: str, *, log_it: bool = True) -> None:
        """`message` goes into the state; into the log only when it is ours: a stage may name a patient."""
        self._stop_at_runner(job)
        self._store.move_job(job.id, event, message)
        self._forget(job.id)
        log.error("job %s %s: %s", job.id, event, message if log_it else "see 'clara adapter status'")

    def _stop_at_runner(self, job: Job) -> None:
        try:
            if not self._runner.get(job.id).state.ended:
                self._runner.stop(job.id)
        except NotFound:
            return
        except ClaraError as error:
            log.warning("job %s cannot be stopped: %s", job.id, error)

    def _forget(self, job: str) -> None:
        self._with_runner.discard(job)
        self._pauses.pop(job, None)
        self._our_errors.pop(job, None)

    # -- results ------------------------------------------------------------------------------------------------

    def _collect(self, job: Job) -> None:
        """Take the result, judge it, write its deliveries."""
        here("job-ended")
        folder = self._take_result(job)
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
        self._forget(job.id)
        log.info("job %s succeeded: %d instances for %d destinations", job.id, len(results), len(destinations))
        self._delivered()

    def _take_result(self, job: Job) -> Path:
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

    # -- pauses -------------------------------------------------------------------------------------------------

    def _may_try(self, what: str) -> bool:
        """`what` is the id of a job or payload."""
        pause = self._pauses.get(what)
        return pause is None or pause.until <= time.monotonic()

    def _pause(self, what: str, error: Exception) -> None:
        old = self._pauses.get(what)
        seconds = min(old.seconds * 2, PAUSE_MOST) if old else PAUSE_FIRST
        self._pauses[what] = Pause(time.monotonic() + seconds, seconds)
        log.warning("%s has to wait %g s: %s", what, seconds, error)

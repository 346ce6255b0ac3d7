"""From a sealed payload to deliveries: gives jobs to the runner, follows them, takes their results.

One thread, one job after the other; each step asks the database what is unfinished, so a restart is a normal start:
every unfinished job is submitted again, and a runner that has it goes on. Talks to the runner only through its
protocol. A trouble that time or a person mends (an engine or a store that is away, wrong credentials, a template that
is not there) makes a job wait; it never ends it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

from clara_adapter.crash import here
from clara_adapter.pauses import Pauses
from clara_adapter.results import Results
from clara_adapter.sealing import job_id
from clara_adapter.spool import Spool
from clara_adapter.store import CRASHES_HELD, Job, NewJob, Store
from clara_argo.errors import Away, ClaraError, Held, JobFailed, NotFound, NotInstalled, Refused, TryAgain
from clara_argo.graph import Graph
from clara_argo.model import job as model
from clara_argo.model.job import JobState
from clara_argo.model.route import Configuration
from clara_argo.model.target import LOCAL
from clara_argo.runners import Runner

log = logging.getLogger(__name__)

POLL_FIRST, POLL_MOST = 0.1, 1.0  # seconds between two looks at all jobs
SHARE, POLL_SLOWEST = 9, 10.0  # looking takes a tenth of the time: the more jobs, or the slower the engine, the rarer
LOOK = 5.0  # seconds between two looks at what `clara adapter retry` may have changed
OUR_ERRORS = 5  # of one job in a row, then it is stopped


class Jobs:
    """`step` does everything that can be done now; `run` repeats it until `stop`."""

    def __init__(
        self,
        configuration: Configuration,
        graphs: Mapping[str, Graph],
        spool: Spool,
        store: Store,
        runner: Runner,
        delivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._graphs, self._spool, self._store = graphs, spool, store
        self._runner, self._delivered = runner, delivered
        self._results = Results(configuration, spool, store, runner)
        self._with_runner: set[str] = set()  # submitted by this process
        self._lost: set[str] = set()  # the runner had them and has not any more; submitted again
        self._pauses = Pauses()
        self._our_errors: Counter[str] = Counter()
        self._last = ""  # the job that found the engine away
        self._looking = 0.0  # seconds that the looks of this step took
        self._stopping = threading.Event()
        self.changed = threading.Event()  # set when there are new jobs

    def run(self) -> None:
        wait = POLL_FIRST
        while not self._stopping.is_set():
            self.changed.clear()
            if self.step():
                wait = POLL_FIRST
            pause = max(wait, min(SHARE * self._looking, POLL_SLOWEST)) if self._store.unfinished_jobs() else LOOK
            if not self.changed.wait(pause):
                self._delivered()  # somebody may have asked for a delivery again
            wait = min(wait * 1.5, POLL_MOST)

    def stop(self) -> None:
        self._stopping.set()
        self.changed.set()

    def step(self) -> bool:
        """Whether anything moved. Ends early when the engine is away: the next job would only find out the same."""
        moved, self._looking = False, 0.0
        if self._pauses.engine_away:
            return False
        for job in self._in_turn(self._store.unfinished_jobs()):
            if self._stopping.is_set():
                return moved
            if not self._pauses.may_try(job.id):
                continue
            try:
                moved |= self._guarded(job)
            except Away as error:
                self._engine_is_away(job, error)
                return moved
            self._pauses.engine_answers()
        self._tidy()
        return moved

    def _tidy(self) -> None:
        try:
            if self._results.tidy():
                self._pauses.engine_answers()
        except Away as error:
            self._pauses.engine_is_away(error)

    def _in_turn(self, jobs: list[Job]) -> list[Job]:
        """Oldest first; but the one that found the engine away comes last, so that its trouble is not everybody's."""
        ids = [job.id for job in jobs]
        following = ids.index(self._last) + 1 if self._last in ids else 0
        return jobs[following:] + jobs[:following]

    def _engine_is_away(self, job: Job, error: Away) -> None:
        self._last = job.id
        self._pauses.engine_is_away(error)
        self._say(job, error)
        with suppress(TryAgain):
            self._store.note_submitting(str(error))  # none of them was in work

    def _guarded(self, job: Job) -> bool:
        """One job's trouble is not another's. Raises Away."""
        try:
            moved = self._advance(job)
        except Away:
            raise
        except (TryAgain, Held, Refused, NotInstalled, OSError) as error:
            self._pauses.pause(job.id, error)
            self._say(job, error)
            return False
        except ClaraError as error:
            self._end(job, "failed", str(error))
            return True
        except Exception as error:  # noqa: BLE001  our bug with one job must not be the end of the others
            return self._our_error(job, error)
        self._our_errors.pop(job.id, None)
        return moved

    def _our_error(self, job: Job, error: Exception) -> bool:
        """Say it, try again a few times, then leave the job alone: it can be asked for again."""
        self._our_errors[job.id] += 1
        log.error("job %s meets an error of ours, please report it: %s", job.id, type(error).__name__, exc_info=error)
        if self._our_errors[job.id] < OUR_ERRORS:
            self._pauses.pause(job.id, f"{type(error).__name__}, an error of ours")
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
            self._submit(job, graph)
            self._pauses.end(job.id)
            return True
        try:
            moved = self._follow(job, self._look(job))
        except NotFound as error:
            return self._is_lost(job, error)
        self._pauses.end(job.id)
        return moved

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

    # -- submitting -------------------------------------------------------------------------------------------------

    def _submit(self, job: Job, graph: Graph) -> None:
        self._note(job, "")  # it waits no longer: should this process die now, it is a suspect
        here("before-submit")
        payload = model.Payload(id=job.payload, folder=self._spool.input(job.payload))
        before = self._runner.submit(graph, job.id, payload)
        if job.state == JobState.SUBMITTING and before.state.ended:
            self._asked_again(job, graph, payload, before.state)
        here("submitted")
        self._with_runner.add(job.id)
        if job.state == JobState.SUBMITTING:
            self._store.move_job(job.id, "submitted")
            log.info("job %s submitted: workflow %s", job.id, job.workflow)
        here("after-submit")

    def _asked_again(self, job: Job, graph: Graph, payload: model.Payload, before: JobState) -> None:
        """The job had ended at the runner before we wrote that it was there: mostly because somebody wants it again."""
        if before is not JobState.SUCCEEDED:
            self._runner.resume(graph, job.id, payload)
            return
        try:
            self._results.take(job)
        except JobFailed as error:  # it was done, and what it made is gone: only a job from the start makes it again
            log.warning("job %s runs again from its first stage: %s", job.id, error)
            self._runner.delete(job.id)
            self._runner.submit(graph, job.id, payload)

    def _is_lost(self, job: Job, error: NotFound) -> bool:
        """The runner had the job, and it is gone: deleted by hand, or by a cluster that keeps ended jobs only so long.

        It is submitted again, once: nobody asked for the study to be forgotten, and who wants to end a job stops it.
        A second time is no accident.
        """
        if job.id in self._lost:
            self._end(job, "failed", f"it was deleted twice where it ran, and is not submitted a third time: {error}")
            return True
        self._lost.add(job.id)
        self._with_runner.discard(job.id)
        again = f"it was deleted where it ran and is submitted again, once: {error}"
        self._pauses.pause(job.id, again)
        self._say(job, again)
        return True

    # -- following --------------------------------------------------------------------------------------------------

    def _look(self, job: Job) -> model.Job:
        begun = time.monotonic()
        seen = self._runner.get(job.id)
        self._looking += time.monotonic() - begun
        return seen

    def _follow(self, job: Job, seen: model.Job) -> bool:
        if seen.state == JobState.SUCCEEDED:
            if job.state == JobState.PENDING:
                self._store.move_job(job.id, "started")
            self._note(job, "")  # a result can kill us as a stage can
            self._results.collect(job)
            self._forget(job.id)
            self._delivered()
            return True
        if seen.state in (JobState.FAILED, JobState.STOPPED):
            self._end(job, str(seen.state), seen.message, log_it=False)
            return True
        # A runner says running also of a job whose stages wait for a place.
        if job.state == JobState.PENDING and any(run.state == model.StageState.RUNNING for run in seen.stages):
            self._store.move_job(job.id, "started", _waits_for(seen))
            return True
        self._note(job, _waits_for(seen))
        return False

    def _note(self, job: Job, message: str) -> None:
        """What an unfinished job waits for, in the state; "" when it is in work here."""
        if job.message != message:
            self._store.note_job(job.id, message)

    def _say(self, job: Job, trouble: object) -> None:
        """The same after an error: whatever the row says by now; no second error when it cannot be written."""
        with suppress(TryAgain):
            self._store.note_job(job.id, str(trouble))

    def _end(self, job: Job, event: str, message: str, *, log_it: bool = True) -> None:
        """`message` goes into the state; into the log only when it is ours: a stage may name a patient."""
        self._stop_at_runner(job)
        self._store.move_job(job.id, event, message)
        self._forget(job.id)
        log.error("job %s %s: %s", job.id, event, message if log_it else "see 'clara adapter status'")

    def _stop_at_runner(self, job: Job) -> None:
        """Raises Away: a job that nobody follows any more must not run on behind our back."""
        try:
            if not self._runner.get(job.id).state.ended:
                self._runner.stop(job.id)
        except NotFound:
            return
        except Away:
            raise
        except ClaraError as error:
            log.warning("job %s cannot be stopped: %s", job.id, error)

    def _forget(self, job: str) -> None:
        self._with_runner.discard(job)
        self._lost.discard(job)
        self._pauses.end(job)
        self._our_errors.pop(job, None)


def _waits_for(seen: model.Job) -> str:
    """Why nothing happens here. A stage that runs on another machine cannot be what kills this process."""
    if seen.message or seen.target == LOCAL:
        return seen.message
    return f"on {seen.target}"

"""The Runner of a cluster with Argo Workflows: a job is a Workflow, what it reads and writes lies in an S3 store.

It keeps nothing in memory that cannot be read again: any process with the same target sees and steers the same jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clara_argo.errors import ClaraError, Held, JobFailed, NotFound
from clara_argo.graph import Graph
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import NotStarted
from clara_argo.kubernetes.kinds import WORKFLOWS
from clara_argo.model.job import JOB_ID, Job, JobState, Payload
from clara_argo.model.target import Target
from clara_argo.runners.argo import names, pending, results, starting, status, submission, sweep
from clara_argo.runners.argo.attempts import Attempt
from clara_argo.runners.argo.cluster import Cluster
from clara_argo.runners.argo.logs import Logs
from clara_argo.runners.argo.reasons import Reasons
from clara_argo.runners.argo.steering import Steering
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Unreadable, Workflow, head, read
from clara_argo.runners.protocol import LogLine

LOG = logging.getLogger(__name__)
Object = dict[str, Any]

TICK = 5.0  # seconds between two looks at a job that only waits
SWEEP_EVERY = 600.0  # seconds


class ArgoRunner:
    """`apply`: submitting puts the workflow's template on the cluster where it differs. Any thread may use it."""

    def __init__(self, api: Api, store: JobStore, target: Target, *, apply: bool) -> None:
        self.target = target
        self._api, self._store = api, store
        self._cluster = Cluster(api, target.name)
        self._templates = submission.Templates(api, target, apply=apply)
        self._logs = Logs(self._cluster, store)
        self._reasons = Reasons(store, self._last_lines)
        self._steering = Steering(self._cluster, store, self._job)
        self._swept, self._sweeping = time.monotonic(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Jobs go on; only connections are closed."""
        self._api.close()

    # -- starting -------------------------------------------------------------------------------------------------

    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        """Raises UsageError for a job of another workflow, Refused when the template is not there or another one."""
        known = self._known(job)
        if known is None:
            known = self._create(self._templates.of(graph), job, payload)
            self._sweep_now_and_then()
        submission.same(graph, known)
        return self._go_on(known, payload, (JobState.STOPPED,))

    def submit_template(self, name: str, job: str, payload: Payload) -> Job:
        """Like `submit`, for a workflow of which only the template on the cluster is known. Raises NotFound."""
        known = self._known(job) or self._create(self._templates.named(name), job, payload)
        return self._go_on(known, payload, (JobState.STOPPED,))

    def resume(self, graph: Graph, job: str, payload: Payload) -> Job:
        known = self._known(job)
        if known is None:
            return self.submit(graph, job, payload)
        submission.same(graph, known)
        return self._go_on(known, payload, (JobState.STOPPED, JobState.FAILED))

    def _create(self, template: Object, job: str, payload: Payload) -> Workflow:
        submission.put_payload(self._store, payload)
        made = submission.create(self._api, self._store, template, job, payload.id, pending=self.target.pending)
        if not made.ended:
            submission.put_payload(self._store, payload)  # its last user may have given it up just before we came
        return made

    def _go_on(self, known: Workflow, payload: Payload, states: tuple[JobState, ...]) -> Job:
        job = self._job(known)
        if job.state not in states:
            return job
        submission.put_payload(self._store, payload)
        try:
            return self.retry(job.id)
        except Held:
            return self.get(job.id)  # another one was faster

    def _known(self, job: str) -> Workflow | None:
        names.workflow(job)
        try:
            return self._cluster.find(job)
        except NotFound:
            return None

    # -- looking --------------------------------------------------------------------------------------------------

    def get(self, job: str) -> Job:
        return self._seen(self._cluster.find(job))

    def list(self) -> tuple[Job, ...]:
        found: dict[str, Job] = {}
        there = self._cluster.all()
        self._free(there)
        for made in sorted(there, key=_by_derived_name):
            if made["metadata"].get("deletionTimestamp"):
                continue
            try:
                job = self._seen(read(made))
            except Unreadable as error:
                LOG.warning("%s", error)
                continue
            if JOB_ID.fullmatch(job.id):
                found[job.id] = job
        return tuple(sorted(found.values(), key=lambda job: (job.created, job.id), reverse=True))

    def watch(self, job: str) -> Iterator[Job]:
        last: Job | None = None
        for workflow in self._cluster.follow(self._cluster.find(job), TICK):
            current = self._seen(workflow)
            if current != last:
                yield current
            if current.state.ended:
                return
            last = current

    def logs(self, job: str, stage: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        workflow = self._cluster.find(job)
        stages = tuple(workflow.stages)
        if stage is not None and stage not in stages:
            raise NotFound(f"job {job} has no stage '{stage}'; it has {', '.join(stages)}")
        yield from self._logs.lines(workflow, stages if stage is None else (stage,), follow)

    def _seen(self, workflow: Workflow) -> Job:
        """The job; whoever looks also ends what has waited for too long."""
        limit = pending.allowed(workflow, self.target.pending)
        workflow = starting.explained(self._cluster, workflow, self._api.now())
        waiting = pending.first(workflow, limit, self._api.now())
        if waiting is not None and waiting.left <= 0:
            workflow = self._ended(workflow, waiting, limit)
        return self._job(workflow)

    def _ended(self, workflow: Workflow, waiting: pending.Waiting, limit: int) -> Workflow:
        """As it is after that; whoever may only look sees it as it was."""
        try:
            changed = self._cluster.change(workflow, pending.change(workflow, waiting, limit))
        except ClaraError as error:
            LOG.info("job %s: stage %r %s; it cannot be ended from here: %s", workflow.job, *waiting[:2], error)
            return workflow
        if changed is None:
            return workflow
        LOG.warning("job %s is ended: stage %r %s", workflow.job, *waiting[:2])
        return changed

    def _job(self, workflow: Workflow) -> Job:
        return status.job(workflow, self.target.name, self._reasons.said)

    def _last_lines(self, workflow: Workflow, attempt: Attempt) -> str:
        try:
            return "\n".join(deque(self._logs.live(workflow, attempt) or (), maxlen=20))
        except (NotFound, NotStarted):
            return ""

    # -- steering -------------------------------------------------------------------------------------------------

    def stop(self, job: str) -> Job:
        return self._steering.stop(job)

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        return self._steering.retry(job, from_stage)

    # -- results --------------------------------------------------------------------------------------------------

    def result(self, job: str, into: Path) -> Path:
        workflow = self._cluster.find(job)
        seen = self._job(workflow)
        if seen.state is not JobState.SUCCEEDED:
            raise JobFailed(
                f"job {job} has no result: it is {seen.state}" + (f": {seen.message}" if seen.message else "")
            )
        return results.fetch(self._store, workflow, into)

    def delivered(self, job: str, into: Path) -> bool:
        return results.lies_in(self._store, self._cluster.find(job), into)

    def collected(self, job: str) -> None:
        """The result leaves the store, and the payload when no other job needs it."""
        workflow = self._cluster.find(job)
        results.forget(self._store, workflow, self._others, everything=False)
        self._api.patch(WORKFLOWS, workflow.name, {"metadata": {"labels": {names.DELIVERED: "true"}}})

    def delete(self, job: str) -> None:
        workflow = self._cluster.find(job)
        if not workflow.ended:
            raise Held(f"job {job} is running; stop it first")
        if self._steering.delete(workflow):
            results.forget(self._store, workflow, self._others, everything=True)

    def _others(self) -> tuple[Workflow, ...]:
        return tuple(head(made) for made in self._cluster.unfinished())

    def sweep(self, older_than: float = sweep.OLDER_THAN) -> tuple[str, ...]:
        """Free Workflows whose clean-up hangs; `list` does it with what it sees, `submit` now and then."""
        return sweep.sweep(self._api, self._store, older_than)

    def _sweep_now_and_then(self) -> None:
        with self._sweeping:
            if time.monotonic() - self._swept < SWEEP_EVERY:
                return
            self._swept = time.monotonic()
        try:
            self.sweep()
        except ClaraError as error:  # what was asked for says it better
            LOG.warning("nothing could be swept: %s", error)

    def _free(self, made: Iterable[Object]) -> None:
        leaving = [head(one) for one in made if one["metadata"].get("deletionTimestamp")]
        try:
            sweep.free_all(self._api, self._store, (one for one in leaving if sweep.hangs(self._api, one)))
        except ClaraError as error:
            LOG.warning("nothing could be swept: %s", error)


def _by_derived_name(made: Object) -> tuple[bool, str]:
    """Of several Workflows of one job the last counts: the newest by hand, then the one that we named."""
    meta = made["metadata"]
    job = (meta.get("labels") or {}).get(names.JOB)
    return meta["name"] == f"clara-{job}", str(meta.get("creationTimestamp"))

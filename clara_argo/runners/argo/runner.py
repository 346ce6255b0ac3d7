"""The Runner of a cluster with Argo Workflows: a job is a Workflow, what it reads and writes lies in an S3 store.

It keeps nothing in memory that cannot be read again: any process with the same target sees and steers the same jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clara_argo.errors import ClaraError, Held, JobFailed, NotFound, TryAgain
from clara_argo.graph import Graph
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import PODS, WORKFLOWS
from clara_argo.model.job import JOB_ID, Job, JobState, Payload
from clara_argo.model.target import Target
from clara_argo.runners.argo import names, pending, results, retry, status, submission, sweep
from clara_argo.runners.argo.attempts import Attempt
from clara_argo.runners.argo.cluster import Cluster
from clara_argo.runners.argo.logs import Logs
from clara_argo.runners.argo.reasons import Reasons
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Unreadable, Workflow, head, packed_nodes, read
from clara_argo.runners.protocol import LogLine

LOG = logging.getLogger(__name__)
Object = dict[str, Any]

TICK = 5.0  # seconds between two looks at a job that only waits
LOOK = 0.5  # seconds between two looks at what shall go away
STOPS_WITHIN = 60.0  # seconds
PODS_WITHIN = 45.0  # seconds that pods get to end by themselves, a grace period and some
LEAVES_WITHIN = 30.0  # seconds that Argo's clean-up of a deleted job is waited for; it takes five
TRIES = 5  # of a change that another one came before
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
        return submission.create(self._api, template, job, payload.id, pending=self.target.pending)

    def _go_on(self, known: Workflow, payload: Payload, states: tuple[JobState, ...]) -> Job:
        job = self._job(known)
        if job.state not in states:
            return job
        submission.put_payload(self._store, payload)
        return self.retry(job.id)

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
        waiting = pending.first(workflow, limit, datetime.now(UTC))
        if waiting is not None and waiting.left <= 0:
            LOG.warning("job %s is ended: stage %r %s", workflow.job, waiting.stage, waiting.reason)
            workflow = self._cluster.change(workflow, pending.change(workflow, waiting, limit)) or workflow
        return self._job(workflow)

    def _job(self, workflow: Workflow) -> Job:
        return status.job(workflow, self.target.name, self._reasons.said)

    def _last_lines(self, workflow: Workflow, attempt: Attempt) -> str:
        return "\n".join(deque(self._logs.live(workflow, attempt) or (), maxlen=20))

    # -- steering -------------------------------------------------------------------------------------------------

    def stop(self, job: str) -> Job:
        workflow = self._cluster.find(job)
        if workflow.ended:
            return self._job(workflow)
        self._api.patch(WORKFLOWS, workflow.name, {"spec": {"shutdown": "Terminate"}})
        deadline = time.monotonic() + STOPS_WITHIN
        for current in self._cluster.follow(workflow, LOOK):
            if current.ended:
                return self._job(current)
            if time.monotonic() > deadline:
                break
        raise TryAgain(
            f"job {job} was told to stop and has not within {STOPS_WITHIN:.0f} s; is the workflow-controller running? "
            "see 'clara cluster doctor'"
        )

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        for _ in range(TRIES):
            made = self._cluster.made(job)
            workflow = read(made)
            before = self._job(workflow)
            if not workflow.ended:
                raise Held(f"job {job} is running; stop it first, or wait")
            stages = retry.again(workflow, before, from_stage)
            if not stages:
                return before
            self._inputs_are_there(workflow, stages)
            self._remove_pods(workflow, retry.dropped(workflow, stages))
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            change = retry.change(workflow, before, stages, now, packed_nodes(made))
            changed = self._cluster.change(workflow, change)
            if changed is not None:
                return self._job(changed)
        raise TryAgain(f"job {job} is changed by somebody else all the time; try again")

    def _inputs_are_there(self, workflow: Workflow, stages: frozenset[str]) -> None:
        """A payload is removed once its results were collected. Raises NotFound."""
        wants = workflow.fused or any(workflow.stages[stage] in workflow.wants_payload for stage in stages)
        if wants and not self._store.exists(names.payload_key(workflow.payload)):
            raise NotFound(
                f"job {workflow.job} cannot run again: its input, payload {workflow.payload!r}, is no longer in the "
                "store; submit the job again with its input"
            )

    def _remove_pods(self, workflow: Workflow, nodes: frozenset[str]) -> None:
        """Argo takes a pod of the same name for the new one: it must be gone. The last ones are not asked any more."""
        begun, force = time.monotonic(), False
        while True:
            left = [pod for node, pod in self._cluster.pods(workflow).items() if node in nodes]
            if not left:
                return
            waited = time.monotonic() - begun
            if waited > 2 * PODS_WITHIN:
                raise TryAgain(f"job {workflow.job}: pod {left[0]} does not go away; look at its node, then try again")
            if waited < LOOK or (waited > PODS_WITHIN and not force):
                force = waited > PODS_WITHIN
                for pod in left:
                    self._api.delete(PODS, pod, grace=0 if force else None)
            time.sleep(LOOK)

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
        results.forget(self._store, workflow, self._others(), everything=False)
        self._api.patch(WORKFLOWS, workflow.name, {"metadata": {"labels": {names.DELIVERED: "true"}}})

    def delete(self, job: str) -> None:
        workflow = self._cluster.find(job)
        if not workflow.ended:
            raise Held(f"job {job} is running; stop it first")
        self._api.delete(WORKFLOWS, workflow.name)
        self._wait_until_gone(workflow)
        results.forget(self._store, workflow, self._others(), everything=True)

    def _wait_until_gone(self, workflow: Workflow) -> None:
        """Argo's clean-up must not meet a new job of the same name, and what it cannot do is done from here."""
        deadline = time.monotonic() + 2 * LEAVES_WITHIN
        while True:
            try:
                left = head(self._api.get(WORKFLOWS, workflow.name))
            except NotHere:
                return
            if not left.deleted:
                return  # a new one of the same name
            if time.monotonic() > deadline:
                raise TryAgain(f"job {workflow.job}: its Workflow does not leave the cluster; delete it again")
            if sweep.hangs(self._api, left, LEAVES_WITHIN):
                sweep.free(self._api, self._store, left)
            time.sleep(LOOK)

    def _others(self) -> tuple[Workflow, ...]:
        return tuple(head(made) for made in self._cluster.all())

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

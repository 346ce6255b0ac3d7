"""Stopping a job, letting it go on, and waiting until it has left the cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from clara_argo.errors import Held, NotFound, TryAgain
from clara_argo.kubernetes.errors import Away, Conflict, NotHere
from clara_argo.kubernetes.kinds import PODS, WORKFLOWS
from clara_argo.model.job import Job
from clara_argo.runners.argo import names, retry, sweep
from clara_argo.runners.argo.cluster import Cluster
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow, head, packed_nodes, read

LOOK = 0.5  # seconds between two looks
STOPS_WITHIN = 60.0  # seconds
PODS_WITHIN = 45.0  # seconds that pods get to end by themselves, a grace period and some
LEAVES_WITHIN = 30.0  # seconds that Argo's clean-up of a deleted job is waited for; it takes five
TRIES = 5  # of a change that another one came before


class Steering:
    """`seen`: the job of a Workflow."""

    def __init__(self, cluster: Cluster, store: JobStore, seen: Callable[[Workflow], Job]) -> None:
        self._cluster, self._api, self._store, self._seen = cluster, cluster.api, store, seen

    def stop(self, job: str) -> Job:
        """Raises TryAgain when it does not end in time."""
        workflow = self._cluster.find(job)
        if workflow.ended:
            return self._seen(workflow)
        self._api.patch(WORKFLOWS, workflow.name, {"spec": {"shutdown": "Terminate"}})
        deadline = time.monotonic() + STOPS_WITHIN
        for current in self._cluster.follow(workflow, LOOK):
            if current.ended:
                return self._seen(current)
            if time.monotonic() > deadline:
                break
        raise TryAgain(
            f"job {job} was told to stop and has not within {STOPS_WITHIN:.0f} s; is the workflow-controller running? "
            "see 'clara cluster doctor'"
        )

    def retry(self, job: str, from_stage: str | None) -> Job:
        """Raises Held while it runs, NotFound for the stage or the payload, TryAgain."""
        for _ in range(TRIES):
            made = self._cluster.made(job)
            workflow = read(made)
            if not workflow.ended:
                raise Held(f"job {job} is running; stop it first, or wait")
            changed = self._again(workflow, from_stage, packed_nodes(made))
            if changed is not None:
                return changed
        raise TryAgain(f"job {job} is changed by somebody else all the time; try again")

    def _again(self, workflow: Workflow, from_stage: str | None, packed: Any) -> Job | None:
        """None when somebody else changed the Workflow meanwhile."""
        before = self._seen(workflow)
        stages = retry.again(workflow, before, from_stage)
        if not stages:
            return before
        self._inputs_are_there(workflow, stages)
        self.remove_pods(workflow, retry.dropped(workflow, stages))
        now = self._api.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        changed = self._cluster.change(workflow, retry.change(workflow, before, stages, now, packed))
        return None if changed is None else self._seen(changed)

    def _inputs_are_there(self, workflow: Workflow, stages: frozenset[str]) -> None:
        """A payload is removed once its results were collected. Raises NotFound."""
        wants = workflow.fused or any(workflow.stages[stage] in workflow.wants_payload for stage in stages)
        if wants and not self._store.exists(names.payload_key(workflow.payload)):
            raise NotFound(
                f"job {workflow.job} cannot run again: its input, payload {workflow.payload!r}, is no longer in the "
                "store; submit the job again with its input"
            )

    def remove_pods(self, workflow: Workflow, nodes: frozenset[str]) -> None:
        """Argo takes a pod of the same name for the new one: it must be gone. The last ones are not asked any more.

        Where somebody else was faster these are the new ones: they stay, and the change that follows is refused.
        """
        begun, force = time.monotonic(), False
        while True:
            left = [pod for node, pod in self._cluster.pods(workflow).items() if node in nodes]
            if not left or not head(self._api.get(WORKFLOWS, workflow.name)).ended:
                return
            waited = time.monotonic() - begun
            if waited > 2 * PODS_WITHIN:
                raise TryAgain(
                    f"job {workflow.job}: pod {left[0].name} does not go away; look at its node, then try again"
                )
            if waited < LOOK or (waited > PODS_WITHIN and not force):
                force = waited > PODS_WITHIN
                for pod in left:
                    with contextlib.suppress(Conflict):  # its name is another one's by now
                        self._api.delete(PODS, pod.name, grace=0 if force else None, uid=pod.uid)
            time.sleep(LOOK)

    def delete(self, workflow: Workflow) -> bool:
        """Argo's clean-up must not meet a new job of the same name, and what it cannot do is done from here.

        False when there is a new one by now: what is stored is its own.
        """
        self._api.delete(WORKFLOWS, workflow.name)
        deadline = time.monotonic() + 2 * LEAVES_WITHIN
        while True:
            try:
                left = head(self._api.get(WORKFLOWS, workflow.name))
            except NotHere:
                return True
            except Away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK)
                continue
            if not left.deleted:
                return False
            if time.monotonic() > deadline:
                raise TryAgain(f"job {workflow.job}: its Workflow does not leave the cluster; delete it again")
            if sweep.hangs(self._api, left, LEAVES_WITHIN):
                sweep.free(self._api, self._store, left)
            time.sleep(LOOK)

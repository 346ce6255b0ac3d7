"""A runner of the cluster with the jobs of one test, which are deleted at its end."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cluster.shells import Shells

from clara_argo.graph import Graph
from clara_argo.model.job import Job, Payload, StageState
from clara_argo.runners import Runner
from clara_argo.runners.targets import open_cluster


class World:
    """`shells` makes stages in a workflow of this test's own name."""

    def __init__(self, runner: Runner, fused: Runner, shells: Shells, given: Payload) -> None:
        self.runner, self.fused, self.shells, self.payload = runner, fused, shells, given
        self._jobs: list[str] = []

    def start(self, graph: Graph, *, fused: bool = False) -> str:
        job = secrets.token_hex(16)
        self._jobs.append(job)
        (self.fused if fused else self.runner).submit(graph, job, self.payload)
        return job

    def start_by_name(self, template: str) -> str:
        """A job of a template that is on the cluster already."""
        job = secrets.token_hex(16)
        with open_cluster("argo") as runner:
            runner.submit_template(template, job, self.payload)
        self._jobs.append(job)
        return job

    def forget(self, job: str) -> None:
        """Somebody else has removed it."""
        self._jobs.remove(job)

    def end(self, job: str) -> Job:
        return list(self.runner.watch(job))[-1]

    def run(self, graph: Graph) -> Job:
        return self.end(self.start(graph))

    def until(self, job: str, reached: Callable[[Job], bool]) -> Job:
        """The first state of the job for which it is so; fails when the job ends without."""
        for seen in self.runner.watch(job):
            if reached(seen):
                return seen
        raise AssertionError(f"job ended: {self.runner.get(job)}")

    def clean(self) -> None:
        """Several at once: Argo takes some seconds for each."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._remove, self._jobs))

    def _remove(self, job: str) -> None:
        if not self.runner.get(job).state.ended:
            self.runner.stop(job)
        self.runner.delete(job)


def running(stage: str) -> Callable[[Job], bool]:
    return lambda job: job.stage(stage).state is StageState.RUNNING

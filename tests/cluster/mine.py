"""A runner that knows only the jobs of one test, under the ids that the test gave them; a cluster has others, too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from clara_argo.graph import Graph
from clara_argo.model.job import JOB_ID, Job, Payload
from clara_argo.runners import Runner
from clara_argo.runners.protocol import LogLine


class Mine:
    """`name` makes the ids this test's own."""

    def __init__(self, runner: Runner, name: str) -> None:
        self.runner, self._name = runner, name
        self.jobs: dict[str, str] = {}  # id on the cluster -> id in the test

    def real(self, job: str) -> str:
        return hashlib.sha256(f"{self._name}/{job}".encode()).hexdigest()[:32] if JOB_ID.fullmatch(job) else job

    def _seen(self, job: Job) -> Job:
        return replace(job, id=self.jobs[job.id])

    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        self.jobs[self.real(job)] = job
        return self._seen(self.runner.submit(graph, self.real(job), payload))

    def resume(self, graph: Graph, job: str, payload: Payload) -> Job:
        self.jobs[self.real(job)] = job
        return self._seen(self.runner.resume(graph, self.real(job), payload))

    def get(self, job: str) -> Job:
        return self._seen(self.runner.get(self.real(job)))

    def list(self) -> tuple[Job, ...]:
        return tuple(self._seen(job) for job in self.runner.list() if job.id in self.jobs)

    def watch(self, job: str) -> Iterator[Job]:
        return map(self._seen, self.runner.watch(self.real(job)))

    def logs(self, job: str, stage: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        return self.runner.logs(self.real(job), stage, follow)

    def stop(self, job: str) -> Job:
        return self._seen(self.runner.stop(self.real(job)))

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        return self._seen(self.runner.retry(self.real(job), from_stage))

    def result(self, job: str, into: Path) -> Path:
        return self.runner.result(self.real(job), into)

    def delivered(self, job: str, into: Path) -> bool:
        return self.runner.delivered(self.real(job), into)

    def collected(self, job: str) -> None:
        self.runner.collected(self.real(job))

    def delete(self, job: str) -> None:
        self.runner.delete(self.real(job))

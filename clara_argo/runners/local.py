"""The Runner of this machine: jobs are folders below the home, an engine starts their stages. Knows no cluster.

Several processes may use one home: a job is run by the one that holds its lock, everybody may look.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from clara_argo import home as homes
from clara_argo.artifacts import tree
from clara_argo.errors import Held, JobFailed, NotFound, UsageError
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState, Payload
from clara_argo.model.target import PROCESS
from clara_argo.runners import engines, logs, points
from clara_argo.runners.engines import Engine
from clara_argo.runners.jobfolder import JobFolder, all_jobs
from clara_argo.runners.plan import Plan
from clara_argo.runners.planfile import read_engine, read_plan, write_plan
from clara_argo.runners.protocol import KEPT, LogLine
from clara_argo.runners.record import now
from clara_argo.runners.run import JobRun, waiting
from clara_argo.runners.stagework import Settings

RESERVED = {"lock", "stop", "result"}  # names in a job's folder that no stage can have
LOOK = 0.2  # seconds between two looks at a job that another process runs
STOPS_WITHIN = 60.0  # seconds


class LocalRunner:
    """`jobs`: how many stages run at the same time, over all jobs of this runner. Close it, or use it in `with`.

    `engine`: of jobs that are submitted, and of those that are resumed: None = the one that they had, else processes.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        jobs: int | None = None,
        backoff: float = 1.0,
        grace: float = 5.0,
        engine: str | None = None,
    ) -> None:
        self.home = homes.state() if home is None else home.absolute()
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} stages at the same time: at least one is needed")
        self._slots = threading.BoundedSemaphore(jobs or os.cpu_count() or 1)
        self._backoff, self._grace = backoff, grace
        self._engine = engine if engine is None else engines.known(engine)
        self._runs: dict[str, JobRun] = {}
        self._starting, self._looking = threading.Lock(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and wait until it has ended. The jobs can be resumed."""
        with self._looking:
            runs = [run for run in self._runs.values() if not run.job.state.ended]
        for run in runs:
            run.stop()
        for run in runs:
            run.join()

    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        with self._starting:
            folder = self._folder(job)
            running = self._running(job)
            if running is not None:
                return running.job
            if folder.exists():
                before = folder.look()
                if before.state in (JobState.SUCCEEDED, JobState.FAILED):
                    return before
            return self._start(folder, self._plan(folder, graph, payload))

    def resume(self, graph: Graph, job: str, payload: Payload) -> Job:
        """Like `submit`, but also a job that has ended goes on: what did not finish or has changed runs."""
        with self._starting:
            folder = self._folder(job)
            running = self._running(job)
            return running.job if running is not None else self._start(folder, self._plan(folder, graph, payload))

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        with self._starting:
            folder = self._existing(job)
            if self._running(job) is not None:
                raise Held(f"job {job} is running; stop it first, or wait")
            plan = read_plan(folder.plan)
            again = frozenset[str]() if from_stage is None else after(plan.graph, from_stage)
            return self._start(folder, plan, again)

    def _plan(self, folder: JobFolder, graph: Graph, payload: Payload) -> Plan:
        engine = self._engine or (read_engine(folder.plan) if folder.exists() else PROCESS)
        return Plan(graph=graph, payload=payload, engine=engine)

    def _start(self, folder: JobFolder, plan: Plan, again: frozenset[str] = frozenset()) -> Job:
        check(plan)
        engine = engines.ready(plan.engine, plan.graph, self.home)
        try:
            return self._begin(folder, plan, engine, again)
        except OSError as error:
            hint = "jobs are kept there: set CLARA_HOME to a folder that can be written to"
            raise tree.unwritable(error, self.home, hint) from None

    def _begin(self, folder: JobFolder, plan: Plan, engine: Engine, again: frozenset[str]) -> Job:
        held = folder.hold()
        try:
            before = folder.read() if folder.exists() else None
            if before is not None:
                engines.sweep(read_engine(folder.plan), folder.job, self.home)
            job = begun(folder.job, plan, before)
            folder.tidy()
            write_plan(folder.plan, plan)
            folder.write(job)
            points.reached("job-written")
            settings = Settings(
                engine=engine, library=homes.driver_path(self.home), slots=self._slots,
                backoff=self._backoff, grace=self._grace,
            )  # fmt: skip
        except BaseException:
            os.close(held)
            raise
        run = JobRun(folder, plan, job, settings, held, again)
        with self._looking:
            self._runs[job.id] = run
        run.start()
        return job

    def get(self, job: str) -> Job:
        run = self._running(job)
        return run.job if run is not None else self._existing(job).look()

    def list(self) -> tuple[Job, ...]:
        found = []
        for folder in all_jobs(homes.jobs(self.home)):
            with suppress(NotFound):  # removed while we look
                found.append(self.get(folder.job))
        return tuple(sorted(found, key=lambda job: (job.created, job.id), reverse=True))

    def watch(self, job: str) -> Iterator[Job]:
        run = self._runs.get(job)
        last = self.get(job)
        yield last
        while not last.state.ended:
            if run is not None:
                with run.record.changed:
                    run.record.changed.wait_for(lambda seen=last: run.job is not seen)  # type: ignore[misc]
                current = run.job
            else:
                time.sleep(LOOK)
                current = self.get(job)
            if current != last:
                yield current
            last = current

    def logs(self, job: str, stage: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        names = [run.name for run in self.get(job).stages]
        if stage is not None and stage not in names:
            raise NotFound(f"job {job} has no stage '{stage}'; it has {', '.join(names)}")
        chosen = names if stage is None else [stage]
        return logs.lines(self._folder(job), chosen, lambda: follow and not self.get(job).state.ended)

    def stop(self, job: str) -> Job:
        run = self._running(job)
        if run is not None:
            run.stop()
            run.join()
            return run.job
        folder = self._existing(job)
        if folder.holder() is not None:
            return self._ask_to_stop(folder)
        now_ = folder.look()
        if not folder.read().state.ended:
            folder.write(now_)  # its runner is gone: what `look` says is now on disk, too
        return now_

    def _ask_to_stop(self, folder: JobFolder) -> Job:
        folder.stop.touch()
        deadline = time.monotonic() + STOPS_WITHIN
        while time.monotonic() < deadline:
            job = folder.look()
            if job.state.ended:
                return job
            time.sleep(LOOK)
        raise Held(f"job {folder.job} did not stop within {STOPS_WITHIN:.0f} s; process {folder.holder()} runs it")

    def result(self, job: str, into: Path) -> Path:
        folder = self._existing(job)
        now_ = self.get(job)
        if now_.state is not JobState.SUCCEEDED:
            raise JobFailed(
                f"job {job} has no result: it is {now_.state}" + (f": {now_.message}" if now_.message else "")
            )
        tree.check_new(into)
        try:
            return tree.publish(into, lambda part: tree.copy(folder.result, part))
        except OSError as error:
            raise tree.unwritable(error, into, KEPT) from None

    def delivered(self, job: str, into: Path) -> bool:
        """Does `into` hold the result of the job already, as it is now?"""
        result = self._existing(job).result
        try:
            return result.is_dir() and into.is_dir() and tree.digest(result) == tree.digest(into)
        except tree.Unusable:  # somebody put a link there: not what we delivered
            return False

    def collected(self, job: str) -> None:
        """Nothing: the result lies in the job's folder, which stays."""
        self._existing(job)

    def delete(self, job: str) -> None:
        with self._starting:
            folder = self._existing(job)
            if self._running(job) is not None:
                raise Held(f"job {job} is running; stop it first")
            held = folder.hold()
            try:
                engines.sweep(read_engine(folder.plan), job, self.home)
                tree.remove(folder.root)
            finally:
                os.close(held)

    def _folder(self, job: str) -> JobFolder:
        return JobFolder(homes.jobs(self.home), job)

    def _existing(self, job: str) -> JobFolder:
        folder = self._folder(job)
        folder.read()
        return folder

    def _running(self, job: str) -> JobRun | None:
        """The run of a job in this process, while it lasts; others are forgotten."""
        with self._looking:
            run = self._runs.get(job)
            if run is not None and run.job.state.ended:
                del self._runs[job]
                return None
            return run


def begun(job: str, plan: Plan, before: Job | None) -> Job:
    """A new job, or the same one again: its creation stays."""
    new = Job(
        id=job,
        workflow=str(plan.graph.workflow.name),
        workflow_digest=plan.graph.digest,
        payload=plan.payload.id,
        state=JobState.PENDING,
        created=now(),
        stages=waiting(plan, before),
    )
    if before is None or not before.created:
        return new
    return replace(new, created=before.created, started=before.started, attempt=before.attempt + 1)


def check(plan: Plan) -> None:
    """What can be known of every engine's job before anything starts. Raises NotFound or UsageError."""
    for node in plan.graph.nodes:
        if node.name.lower() in RESERVED:
            raise UsageError(
                f"a stage cannot be called '{node.name}': a job's folder has a file of that name; rename it"
            )
    if not plan.payload.folder.is_dir():
        raise NotFound(f"{plan.payload.folder}: no such folder; it should hold the study to work on")


def after(graph: Graph, stage: str) -> frozenset[str]:
    """The stage and everything that depends on it. Raises NotFound."""
    if stage not in {node.name for node in graph.nodes}:
        raise NotFound(f"no stage '{stage}'; there are {', '.join(node.name for node in graph.nodes)}")
    found = {stage}
    for node in graph.nodes:
        if found & {*node.waits_for, *node.inputs}:
            found.add(node.name)
    return frozenset(found)

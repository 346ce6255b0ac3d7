"""A Runner in memory, for the tests of whoever uses one: it keeps every promise of the protocol and starts nothing.

    runner = FakeRunner({"ct-organ-seg": Outcome(failures=("no memory",))}, result={"seg.dcm": b"..."})

Stages run in the graph's order, in the caller's thread. With `hold=True` a job stays before its first stage until
`release(job)`, `stop(job)`, or the end of the test.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.errors import Held, JobFailed, NotFound
from clara_argo.graph import Graph
from clara_argo.model.job import JOB_ID, Job, JobState, Payload, StageRun, StageState
from clara_argo.runners.protocol import LogLine


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What happens when a stage runs: it fails once with each message, then succeeds; it says `lines` each time."""

    failures: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(slots=True)
class _Record:
    graph: Graph
    payload: Payload
    history: list[Job]  # every state of the job, the last one now
    runs: dict[str, int] = field(default_factory=dict)  # how often each stage ran
    lines: list[LogLine] = field(default_factory=list)

    @property
    def job(self) -> Job:
        return self.history[-1]


class FakeRunner:
    """`result`: names and contents of the files that every succeeded job gives."""

    def __init__(
        self,
        outcomes: Mapping[str, Outcome] | None = None,
        *,
        result: Mapping[str, bytes] | None = None,
        hold: bool = False,
    ) -> None:
        self._outcomes, self._result, self._hold = dict(outcomes or {}), dict(result or {"result": b"result"}), hold
        self._records: dict[str, _Record] = {}
        self._changed = threading.Condition()
        self.submitted: list[tuple[str, Payload]] = []  # jobs that were started, in order
        self.taken: list[str] = []  # jobs whose result was collected

    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        if not JOB_ID.fullmatch(job):
            raise NotFound(f"no job {job!r}: a job id is 32 hex digits")
        with self._changed:
            record = self._records.get(job)
            if record is not None:
                if record.job.state is JobState.STOPPED:
                    self._begin(record, replace(record.job, attempt=record.job.attempt + 1))
                return record.job
            first = Job(
                id=job,
                workflow=graph.workflow.name,
                workflow_digest=graph.digest,
                payload=payload.id,
                state=JobState.PENDING,
                created=_now(),
                target="fake",
                stages=tuple(StageRun(name=node.name) for node in graph.nodes),
            )
            self._records[job] = record = _Record(graph, payload, [])
            self.submitted.append((job, payload))
            return self._begin(record, first)

    def release(self, job: str) -> Job:
        """Let a held job run to its end."""
        with self._changed:
            record = self._record(job)
            if not record.job.state.ended:
                self._play(record)
            return record.job

    def get(self, job: str) -> Job:
        return self._record(job).job

    def list(self) -> tuple[Job, ...]:
        return tuple(record.job for record in reversed(self._records.values()))

    def watch(self, job: str) -> Iterator[Job]:
        record = self._record(job)
        seen = len(record.history) - 1
        yield record.job
        while not record.history[seen].state.ended:
            with self._changed:
                self._changed.wait_for(lambda have=seen: len(record.history) > have + 1)  # type: ignore[misc]
            seen += 1
            yield record.history[seen]

    def logs(self, job: str, stage: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        record = self._record(job)
        if stage is not None and stage not in [run.name for run in record.job.stages]:
            raise NotFound(f"job {job} has no stage '{stage}'")
        if follow:
            for _ in self.watch(job):
                pass
        return iter([line for line in record.lines if stage in (None, line.stage)])

    def stop(self, job: str) -> Job:
        with self._changed:
            record = self._record(job)
            if not record.job.state.ended:
                self._end(record, JobState.STOPPED, "stopped", StageState.STOPPED, StageState.PENDING)
            return record.job

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        with self._changed:
            record = self._record(job)
            if not record.job.state.ended:
                raise Held(f"job {job} is running; stop it first, or wait")
            names = [node.name for node in record.graph.nodes]
            if from_stage is not None and from_stage not in names:
                raise NotFound(f"no stage '{from_stage}'; there are {', '.join(names)}")
            again = {from_stage} if from_stage else set[str]()
            for node in record.graph.nodes:
                if again & {*node.waits_for, *node.inputs}:
                    again.add(node.name)
            stages = tuple(_pending(run, run.name in again) for run in record.job.stages)
            return self._begin(record, replace(record.job, stages=stages, attempt=record.job.attempt + 1))

    def result(self, job: str, into: Path) -> Path:
        record = self._record(job)
        if record.job.state is not JobState.SUCCEEDED:
            raise JobFailed(f"job {job} has no result: it is {record.job.state}")
        tree.check_new(into)

        def fill(part: Path) -> None:
            for name, content in self._result.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content)

        return tree.publish(into, fill)

    def resume(self, graph: Graph, job: str, payload: Payload) -> Job:
        record = self._records.get(job)
        return self.submit(graph, job, payload) if record is None or not record.job.state.ended else self.retry(job)

    def delivered(self, job: str, into: Path) -> bool:
        self._record(job)
        found = {name: (into / name).read_bytes() for name, is_folder in tree.entries(into) if not is_folder}
        return found == self._result

    def collected(self, job: str) -> None:
        self._record(job)
        self.taken.append(job)

    def delete(self, job: str) -> None:
        if not self._record(job).job.state.ended:
            raise Held(f"job {job} is running; stop it first")
        del self._records[job]

    # How a job goes on. All of it under the lock.

    def _record(self, job: str) -> _Record:
        if job not in self._records:
            raise NotFound(f"no job {job}")
        return self._records[job]

    def _begin(self, record: _Record, job: Job) -> Job:
        stages = tuple(_pending(run, False) for run in job.stages)
        self._now_is(record, replace(job, state=JobState.PENDING, finished=None, message="", stages=stages))
        running = replace(record.job, state=JobState.RUNNING, started=record.job.started or _now())
        self._now_is(record, running)
        if not self._hold:
            self._play(record)
        return record.history[-1] if self._hold else running

    def _play(self, record: _Record) -> None:
        for node in record.graph.nodes:
            run = record.job.stage(node.name)
            if run.state is StageState.SUCCEEDED:
                continue
            self._stage_is(record, replace(run, state=StageState.RUNNING, attempt=run.attempt + 1, started=_now()))
            outcome = self._outcomes.get(node.name, Outcome())
            record.lines += [LogLine(node.name, line) for line in outcome.lines]
            count = record.runs[node.name] = record.runs.get(node.name, 0) + 1
            run = record.job.stage(node.name)
            if count <= len(outcome.failures):
                text = outcome.failures[count - 1]
                failed = replace(run, state=StageState.FAILED, finished=_now(), exit_code=1, message=text)
                self._stage_is(record, failed)
                self._end(
                    record, JobState.FAILED, f"stage '{node.name}': {text}", StageState.FAILED, StageState.SKIPPED
                )
                return
            done = replace(run, state=StageState.SUCCEEDED, finished=_now(), exit_code=0, progress="1/1")
            self._stage_is(record, done)
        self._end(record, JobState.SUCCEEDED, "", StageState.SUCCEEDED, StageState.SKIPPED)

    def _end(self, record: _Record, state: JobState, message: str, running: StageState, pending: StageState) -> None:
        became = {StageState.RUNNING: running, StageState.PENDING: pending}
        stages = tuple(replace(run, state=became.get(run.state, run.state)) for run in record.job.stages)
        self._now_is(record, replace(record.job, state=state, message=message, finished=_now(), stages=stages))

    def _stage_is(self, record: _Record, run: StageRun) -> None:
        self._now_is(record, record.job.with_stage(run))

    def _now_is(self, record: _Record, job: Job) -> None:
        record.history.append(job)
        self._changed.notify_all()


def _pending(run: StageRun, again: bool) -> StageRun:
    """What has succeeded stays, unless it shall run again."""
    if run.state is StageState.SUCCEEDED and not again:
        return run
    return replace(run, state=StageState.PENDING, message="", exit_code=None, finished=None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

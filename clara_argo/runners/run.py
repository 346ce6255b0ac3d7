"""Runs one job: starts stages when what they need is there, tries again, keeps what has not changed.

One thread for the job and one for each stage that runs. What is on disk is always right: a stage counts as done when
its `done.json` names the digests of what it was made of and of what it made, and its output still has that digest.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clara_argo.artifacts import tree
from clara_argo.errors import ClaraError
from clara_argo.graph import PAYLOAD, Node
from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners import attempt, keys, points, process
from clara_argo.runners.jobfolder import JobFolder
from clara_argo.runners.plan import Plan
from clara_driver import contract

LOG = logging.getLogger("clara_argo.runners")
AGAIN = {contract.EXIT_TEMPORARY, 128 + signal.SIGKILL, 128 + signal.SIGTERM}
LOOK = 0.2  # seconds between two looks for a free slot
LONGEST_PAUSE = 60.0  # seconds between two attempts


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`slots` bounds the stages that run at the same time, over all jobs of a runner."""

    library: Path  # holds clara_driver
    slots: threading.Semaphore
    backoff: float = 1.0  # seconds before the second attempt; doubles
    grace: float = 5.0  # seconds between SIGTERM and SIGKILL


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class JobRun:
    """A job while it runs. `held` is the handle of its lock, closed at the end; `again` run though they are done."""

    def __init__(
        self, folder: JobFolder, plan: Plan, job: Job, settings: Settings, held: int, again: frozenset[str]
    ) -> None:
        self.folder, self.plan, self.settings, self.again = folder, plan, settings, again
        self.changed = threading.Condition()
        self._job, self._held = job, held
        self._before = {run.name: run for run in job.stages}
        self._stop = threading.Event()
        self._digests: dict[str, str] = {}
        self._digesting = threading.Lock()
        self._changing = threading.Lock()  # several stages change the same job
        self._thread = threading.Thread(target=self._main, name=f"job {job.id[:8]}", daemon=True)

    @property
    def job(self) -> Job:
        return self._job

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; `join` waits for it."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    # The job as a whole

    def _main(self) -> None:
        try:
            state, message = self._execute()
        except (ClaraError, OSError) as error:
            state, message = JobState.FAILED, self._text(error)
        except Exception:  # the edge of the thread: a bug of ours must not leave a job that says "running"
            LOG.exception("job %s: unexpected error in the runner", self.job.id)
            state, message = JobState.FAILED, "unexpected error in the runner, see its log; this is a bug, report it"
        self._end(state, message)

    def _execute(self) -> tuple[JobState, str]:
        self._change(replace(self._job, state=JobState.RUNNING, started=self._job.started or now()))
        failed = self._stages()
        if failed:
            first = next(run for run in self._job.stages if run.state is StageState.FAILED)
            return JobState.FAILED, f"stage '{first.name}': {first.message}"
        if any(run.state is not StageState.SUCCEEDED for run in self._job.stages):
            return JobState.STOPPED, "stopped; it resumes where it was"
        self._result()
        return JobState.SUCCEEDED, ""

    def _stages(self) -> bool:
        """Run what can run until nothing can; True when a stage failed. After a failure nothing new starts."""
        ended: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        waiting, done, running, failed = list(self.plan.graph.nodes), set[str](), 0, False
        while True:
            for node in [node for node in waiting if set(node.waits_for) | set(node.inputs) - {PAYLOAD} <= done]:
                if failed or self._stopping():
                    break
                waiting.remove(node)
                running += 1
                threading.Thread(target=self._thread_of, args=(node, ended), name=node.name, daemon=True).start()
            if not running:
                return failed
            name, well = ended.get()
            running -= 1
            if well:
                done.add(name)
            failed = failed or self._job.stage(name).state is StageState.FAILED

    def _result(self) -> None:
        """The outputs of the result stages: one, its content; several, a sub-folder each. Hard links, no copies."""
        names = self.plan.graph.results

        def fill(part: Path) -> None:
            for name in names:
                into = part if len(names) == 1 else part / name
                into.mkdir(exist_ok=True)
                tree.copy(self.folder.stage(name).output, into, link=True)

        tree.remove(self.folder.result)
        tree.publish(self.folder.result, fill)
        points.reached("result-named")

    def _end(self, state: JobState, message: str) -> None:
        """The last word: to the disk, then the lock goes, then those who watch learn it."""
        left = StageState.SKIPPED if state is JobState.FAILED else StageState.PENDING
        stages = tuple(
            replace(run, state=left if run.state is StageState.PENDING else run.state) for run in self._job.stages
        )
        job = replace(self._job, state=state, message=message, finished=now(), stages=stages)
        try:
            self.folder.write(job)
        except OSError as error:
            LOG.error("job %s ends as %s, but this cannot be written: %s", job.id, state, error)
        os.close(self._held)
        with self.changed:
            self._job = job
            self.changed.notify_all()

    def _change(self, job: Job, *, durable: bool = True) -> None:
        self.folder.write(job, durable=durable)
        with self.changed:
            self._job = job
            self.changed.notify_all()

    def _stage_is(self, name: str, *, durable: bool = True, **values: Any) -> None:
        with self._changing:
            self._change(self._job.with_stage(replace(self._job.stage(name), **values)), durable=durable)

    def _stopping(self) -> bool:
        return self._stop.is_set() or self.folder.stop.exists()

    def _text(self, error: Exception) -> str:
        return attempt.explain(error, self.folder.root) if isinstance(error, OSError) else str(error)

    # One stage

    def _thread_of(self, node: Node, ended: queue.SimpleQueue[tuple[str, bool]]) -> None:
        well = False
        try:
            well = self._stage(node)
        except (ClaraError, OSError) as error:
            self._failed(node, self._text(error), None)
        except Exception:  # the edge of the thread, as above
            LOG.exception("job %s, stage %s: unexpected error in the runner", self._job.id, node.name)
            self._failed(node, "unexpected error in the runner, see its log; this is a bug, report it", None)
        finally:
            ended.put((node.name, well))

    def _stage(self, node: Node) -> bool:
        key = keys.key(node, {name: self._digest_of(name) for name in self._needs(node)})
        if node.name not in self.again and self._keep(node, key):
            return True
        if not self._slot():
            return False
        try:
            return self._attempts(node, key)
        finally:
            self.settings.slots.release()

    def _needs(self, node: Node) -> tuple[str, ...]:
        return (*node.inputs, PAYLOAD) if node.spec.study and PAYLOAD not in node.inputs else node.inputs

    def _digest_of(self, name: str) -> str:
        """Of a finished stage's output, known since it was made; of the payload, read once."""
        if name != PAYLOAD:
            return self._digests[name]
        with self._digesting:
            if PAYLOAD not in self._digests:
                self._digests[PAYLOAD] = keys.payload_digest(self.plan.payload.folder)
            return self._digests[PAYLOAD]

    def _keep(self, node: Node, key: str) -> bool:
        """Is this stage's output there, made of the same and unchanged?"""
        folder = self.folder.stage(node.name)
        done = keys.read_done(folder.done)
        if done is None or done.key != key or not folder.output.is_dir():
            return False
        try:
            same = tree.digest(folder.output) == done.output
        except (tree.Unusable, OSError):
            same = False  # somebody worked in it: made again
        if same:
            tree.remove(folder.attempt)  # of a runner that was killed before it could
            self._digests[node.name] = done.output
            before = self._before[node.name]
            progress = before.progress if before.attempt == done.attempt else ""
            self._stage_is(
                node.name, state=StageState.SUCCEEDED, attempt=done.attempt, started=done.started,
                finished=done.finished, exit_code=0, message="", progress=progress,
            )  # fmt: skip
        return same

    def _slot(self) -> bool:
        while not self._stopping():
            if self.settings.slots.acquire(timeout=LOOK):
                return True
        return False

    def _attempts(self, node: Node, key: str) -> bool:
        folder = self.folder.stage(node.name)
        for old in (folder.done, folder.output, folder.publish):
            tree.remove(old)
        for number in range(node.spec.retries + 1):
            one = self._attempt(node)
            started = now()
            self._stage_is(
                node.name, state=StageState.RUNNING, attempt=one.number, started=started, finished=None,
                exit_code=None, message="", progress="",
            )  # fmt: skip
            try:
                ending = one.run(self._stopping, self._progress(node.name))
                if ending.well:
                    self._succeeded(node, key, one, started)
                    return True
                message = one.reason(ending)
            finally:
                one.clean()
            if ending.stopped:
                self._stage_is(node.name, state=StageState.STOPPED, finished=now(), exit_code=ending.exit_code)
                return False
            if number == node.spec.retries or ending.timed_out or ending.exit_code not in AGAIN:
                tries = f" (after {number + 1} attempts)" if number else ""
                self._failed(node, message + tries, ending)
                return False
            if not self._pause(node, number, message, ending):
                return False
        raise AssertionError("unreachable: the last attempt returns")

    def _attempt(self, node: Node) -> attempt.Attempt:
        folder = self.folder.stage(node.name)
        outputs = {name: self.folder.stage(name).output for name in node.inputs if name != PAYLOAD}
        return attempt.Attempt(
            node=node,
            folder=folder,
            number=max([self._job.stage(node.name).attempt, *folder.attempts()]) + 1,
            sources={name: outputs.get(name, self.plan.payload.folder) for name in node.inputs},
            payload=self.plan.payload.folder,
            library=self.settings.library,
            facts={
                contract.JOB: self._job.id,
                contract.WORKFLOW: self._job.workflow,
                contract.WORKFLOW_DIGEST: self._job.workflow_digest,
                contract.CREATED: self._job.created,
            },
            grace=self.settings.grace,
            held=self._held,
        )

    def _succeeded(self, node: Node, key: str, one: attempt.Attempt, started: str) -> None:
        digest = one.seal()
        done = keys.Done(key=key, output=digest, attempt=one.number, started=started, finished=now())
        tree.write_text(one.folder.done, json.dumps(done._asdict(), indent=1) + "\n")
        points.reached("done-written")
        self._digests[node.name] = digest
        self._stage_is(node.name, state=StageState.SUCCEEDED, finished=done.finished, exit_code=0, message="")
        points.reached("stage-succeeded")

    def _failed(self, node: Node, message: str, ending: process.Ending | None) -> None:
        code = ending.exit_code if ending is not None else None
        try:
            self._stage_is(node.name, state=StageState.FAILED, finished=now(), exit_code=code, message=message)
        except OSError as error:  # a full disk is often why we are here; the end of the job is written later
            LOG.error(
                "job %s, stage %s: %s; and the job cannot be written: %s", self._job.id, node.name, message, error
            )
            failed = replace(self._job.stage(node.name), state=StageState.FAILED, finished=now(), message=message)
            with self._changing, self.changed:
                self._job = self._job.with_stage(failed)

    def _pause(self, node: Node, number: int, message: str, ending: process.Ending) -> bool:
        """Wait before the next attempt: 1 s, 2 s, 4 s, each up to a half longer. False = the job stops meanwhile."""
        pause = min(self.settings.backoff * 2**number, LONGEST_PAUSE) * random.uniform(1.0, 1.5)
        self._stage_is(node.name, message=f"{message}; tries again in {pause:.0f} s", exit_code=ending.exit_code)
        while pause > 0 and not self._stopping():
            self._stop.wait(min(pause, LOOK))
            pause -= LOOK
        if self._stopping():
            self._stage_is(node.name, state=StageState.STOPPED, finished=now())
            return False
        return True

    def _progress(self, name: str) -> Callable[[str], None]:
        def tell(text: str) -> None:
            if text and text != self._job.stage(name).progress:
                self._stage_is(name, durable=False, progress=text)

        return tell


def waiting(plan: Plan, before: Job | None) -> tuple[StageRun, ...]:
    """The stages of a job that starts, or starts again: what an earlier run found out stays, as long as it is true."""
    runs = {run.name: run for run in before.stages} if before is not None else {}
    return tuple(
        replace(runs.get(node.name, StageRun(name=node.name)), state=StageState.PENDING, message="", exit_code=None)
        for node in plan.graph.nodes
    )

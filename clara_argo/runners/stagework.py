"""One stage of a job: wait for a slot, see if what it made is still good, run it, try again.

What is on disk is always right: a stage counts as done when its `done.json` names the digests of what it was made of
and of what it made, and its output still has that digest.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.graph import PAYLOAD, Node, Read
from clara_argo.model.job import StageRun, StageState
from clara_argo.runners import keys, points, process
from clara_argo.runners.attempt import Attempt
from clara_argo.runners.engines import Engine
from clara_argo.runners.jobfolder import JobFolder, StageFolder
from clara_argo.runners.plan import Plan
from clara_argo.runners.record import Record, now
from clara_driver import contract

AGAIN = {contract.EXIT_TEMPORARY, 128 + signal.SIGKILL, 128 + signal.SIGTERM}
LOOK = 0.2  # seconds between two looks for a free slot, or for the wish to stop
LONGEST_PAUSE = 60.0  # seconds between two attempts


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`slots` bounds the stages that run at the same time, over all jobs of a runner."""

    engine: Engine
    library: Path  # holds clara_driver
    slots: threading.Semaphore
    backoff: float = 1.0  # seconds before the second attempt; doubles
    grace: float = 5.0  # seconds between SIGTERM and SIGKILL


@dataclass(slots=True)
class Digests:
    """Of the payload, read once, and of the outputs that are done."""

    payload: Path
    known: dict[str, str] = field(default_factory=dict)
    reading: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> str:
        """Raises NotFound, Unusable or OSError when the payload cannot be read."""
        if name != PAYLOAD:
            return self.known[name]
        with self.reading:
            if PAYLOAD not in self.known:
                self.known[PAYLOAD] = keys.payload_digest(self.payload)
            return self.known[PAYLOAD]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageWork:
    """`again`: runs even if it is done. `held` is the handle of the job's lock, kept by the stage's guard."""

    node: Node
    plan: Plan
    folder: JobFolder
    record: Record
    digests: Digests
    settings: Settings
    stopping: Callable[[], bool]
    held: int
    again: bool
    before: StageRun  # what an earlier run of the job found

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def place(self) -> StageFolder:
        return self.folder.stage(self.name)

    def run(self) -> bool:
        """True when its output is there. False: it failed, or the job stops; the record says which."""
        if not self._slot():
            return False
        try:
            key = self._key()
            return (not self.again and self._keep(key)) or self._attempts(key)
        finally:
            self.settings.slots.release()

    def _key(self) -> str:
        node = self.node
        reads = (*node.inputs, PAYLOAD) if node.spec.study and PAYLOAD not in node.inputs else node.inputs
        inputs = {name: self.digests.of(name) for name in reads}
        return keys.key(node, inputs, self.settings.engine.made_of(node))

    def _keep(self, key: str) -> bool:
        """Is this stage's output there, made of the same and unchanged?"""
        done = keys.read_done(self.place.done)
        if done is None or done.key != key or not self.place.output.is_dir():
            return False
        try:
            if tree.digest(self.place.output) != done.output:
                return False
        except (tree.Unusable, OSError):
            return False  # somebody worked in it: made again
        tree.remove(self.place.attempt)  # of a runner that was killed before it could
        self.digests.known[self.name] = done.output
        self.record.stage(
            self.name, state=StageState.SUCCEEDED, attempt=done.attempt, started=done.started, finished=done.finished,
            exit_code=0, progress=self.before.progress if self.before.attempt == done.attempt else "",
        )  # fmt: skip
        return True

    def _slot(self) -> bool:
        while not self.stopping():
            if self.settings.slots.acquire(timeout=LOOK):
                return True
        return False

    def _attempts(self, key: str) -> bool:
        for old in (self.place.done, self.place.output, self.place.publish):
            tree.remove(old)
        retries = self.node.spec.retries
        for number in range(retries + 1):
            attempt = self._attempt()
            try:
                ending = self._once(attempt, key)
                if ending.well:
                    return True
                message = attempt.reason(ending)
            finally:
                attempt.clean()
            if ending.stopped:
                self.record.stage(self.name, state=StageState.STOPPED, finished=now(), exit_code=ending.exit_code)
                return False
            if number == retries or ending.timed_out or ending.exit_code not in AGAIN:
                self._failed(message + (f" (after {number + 1} attempts)" if number else ""), ending.exit_code)
                return False
            if not self._pause(number, message, ending.exit_code):
                return False
        raise AssertionError("unreachable: the last attempt returns")

    def _once(self, attempt: Attempt, key: str) -> process.Ending:
        started = now()
        self.record.stage(
            self.name, state=StageState.RUNNING, attempt=attempt.number, started=started, finished=None,
            exit_code=None, message="", progress="",
        )  # fmt: skip
        inputs = attempt.inputs()
        ending = attempt.run(self.stopping, lambda text: self.record.progress(self.name, text))
        if ending.well:
            attempt.unchanged(inputs)
            digest = attempt.seal()
            done = keys.Done(key=key, output=digest, attempt=attempt.number, started=started, finished=now())
            tree.write_text(self.place.done, json.dumps(done._asdict(), indent=1) + "\n")
            points.reached("done-written")
            self.digests.known[self.name] = digest
            self.record.stage(self.name, state=StageState.SUCCEEDED, finished=done.finished, exit_code=0)
            points.reached("stage-succeeded")
        return ending

    def _attempt(self) -> Attempt:
        payload, job = self.plan.payload.folder, self.record.job
        return Attempt(
            node=self.node,
            engine=self.settings.engine,
            folder=self.place,
            number=max([job.stage(self.name).attempt, *self.place.attempts()]) + 1,
            sources={read.name: self._source(read) for read in self.node.reads},
            payload=payload,
            library=self.settings.library,
            facts={
                contract.JOB: job.id,
                contract.WORKFLOW: job.workflow,
                contract.WORKFLOW_DIGEST: job.workflow_digest,
                contract.CREATED: job.created,
            },
            grace=self.settings.grace,
            held=self.held,
        )

    def _source(self, read: Read) -> Path:
        """Raises Unusable when the folder that it reads is not there."""
        if read.stage == PAYLOAD:
            return self.plan.payload.folder
        folder = self.folder.stage(read.stage).output / read.folder
        if not folder.is_dir():
            raise tree.Unusable(f"the output of stage '{read.stage}' has no folder '{read.folder}', which it reads")
        return folder

    def _failed(self, message: str, exit_code: int | None) -> None:
        self.record.stage(self.name, state=StageState.FAILED, finished=now(), exit_code=exit_code, message=message)

    def _pause(self, number: int, message: str, exit_code: int | None) -> bool:
        """Wait before the next attempt: 1 s, 2 s, 4 s, each up to a half longer. False = the job stops meanwhile."""
        pause = min(self.settings.backoff * 2**number, LONGEST_PAUSE) * random.uniform(1.0, 1.5)
        self.record.stage(self.name, message=f"{message}; tries again in {pause:.0f} s", exit_code=exit_code)
        waited = threading.Event()  # nobody sets it: a sleep that looks around
        while pause > 0 and not self.stopping():
            waited.wait(min(pause, LOOK))
            pause -= LOOK
        if self.stopping():
            self.record.stage(self.name, state=StageState.STOPPED, finished=now())
            return False
        return True

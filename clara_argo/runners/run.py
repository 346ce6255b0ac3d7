"""Runs one job: starts stages when what they need is there, ends when nothing can run any more, keeps the last word.

One thread for the job and one for each stage that runs. It does not know how a stage runs.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from dataclasses import replace
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.errors import ClaraError, JobFailed
from clara_argo.graph import PAYLOAD, Node, Read
from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners import points
from clara_argo.runners.attempt import explain
from clara_argo.runners.jobfolder import JobFolder
from clara_argo.runners.plan import Plan
from clara_argo.runners.record import Record, now
from clara_argo.runners.stagework import Digests, Settings, StageWork

LOG = logging.getLogger("clara_argo.runners")
BUG = "unexpected error in the runner, see its log; this is a bug, please report it"
Ended = queue.SimpleQueue[tuple[str, bool]]  # a stage and whether its output is there


class JobRun:
    """A job while it runs. `held` is the handle of its lock, closed at the end; `again` run though they are done."""

    def __init__(
        self, folder: JobFolder, plan: Plan, job: Job, settings: Settings, held: int, again: frozenset[str]
    ) -> None:
        self.folder, self.plan, self.settings, self.again = folder, plan, settings, again
        self.record = Record(folder, job)
        self._before, self._held = job, held
        self._stop = threading.Event()
        self._digests = Digests(plan.payload.folder)
        self._thread = threading.Thread(target=self._main, name=f"job {job.id[:8]}", daemon=True)

    @property
    def job(self) -> Job:
        return self.record.job

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; `join` waits for it."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _main(self) -> None:
        try:
            state, message = self._execute()
        except (ClaraError, OSError) as error:
            state, message = JobState.FAILED, self._text(error)
        except Exception:  # the edge of the thread: a bug of ours must not leave a job that says "running"
            LOG.exception("job %s: unexpected error", self.job.id)
            state, message = JobState.FAILED, BUG
        self._end(state, message)

    def _execute(self) -> tuple[JobState, str]:
        self.record.change(state=JobState.RUNNING, started=self.job.started or now())
        self._stages()
        for run in self.job.stages:
            if run.state is StageState.FAILED:
                return JobState.FAILED, f"stage '{run.name}': {run.message}"
        if any(run.state is not StageState.SUCCEEDED for run in self.job.stages):
            return JobState.STOPPED, "stopped; it resumes where it was"
        self._result()
        return JobState.SUCCEEDED, ""

    def _stages(self) -> None:
        """Run what can run until nothing can. After a failure nothing new starts; what runs goes on to its end."""
        ended: Ended = queue.SimpleQueue()
        waiting, done, running = list(self.plan.graph.nodes), set[str](), 0
        while True:
            for node in [node for node in waiting if {*node.waits_for, *node.inputs} - {PAYLOAD} <= done]:
                if self._no_more():
                    break
                waiting.remove(node)
                running += 1
                threading.Thread(target=self._stage, args=(node, ended), name=node.name, daemon=True).start()
            if not running:
                return
            name, well = ended.get()
            running -= 1
            if well:
                done.add(name)

    def _no_more(self) -> bool:
        return self._stopping() or any(run.state is StageState.FAILED for run in self.job.stages)

    def _stopping(self) -> bool:
        return self._stop.is_set() or self.folder.stop.exists()

    def _stage(self, node: Node, ended: Ended) -> None:
        work = StageWork(
            node=node,
            plan=self.plan,
            folder=self.folder,
            record=self.record,
            digests=self._digests,
            settings=self.settings,
            stopping=self._stopping,
            held=self._held,
            again=node.name in self.again,
            before=self._before.stage(node.name),
        )
        well = False
        try:
            well = work.run()
        except (ClaraError, OSError) as error:
            self._failed(node.name, self._text(error))
        except Exception:  # the edge of the thread, as above
            LOG.exception("job %s, stage %s: unexpected error", self.job.id, node.name)
            self._failed(node.name, BUG)
        finally:
            ended.put((node.name, well))

    def _failed(self, name: str, message: str) -> None:
        try:
            self.record.stage(name, state=StageState.FAILED, finished=now(), message=message)
        except OSError as error:  # a full disk is often why we are here; the end of the job is written later
            LOG.error("job %s, stage %s: %s; this cannot be written: %s", self.job.id, name, message, error)

    def _text(self, error: Exception) -> str:
        return explain(error, self.folder.root) if isinstance(error, OSError) else str(error)

    def _result(self) -> None:
        """The folders of the result: one, its content; several, a sub-folder each. Hard links, no copies."""
        reads = self.plan.graph.result_folders()

        def fill(part: Path) -> None:
            for read in reads:
                into = part if len(reads) == 1 else part / read.name
                into.mkdir(exist_ok=True)
                tree.copy(self._made(read), into, link=True)

        tree.remove(self.folder.result)
        tree.publish(self.folder.result, fill)
        points.reached("result-named")

    def _made(self, read: Read) -> Path:
        """Raises JobFailed when a folder in the output, which is the result, has no file."""
        folder = self.folder.stage(read.stage).output / read.folder
        if read.folder and not (folder.is_dir() and tree.has_files(folder)):
            raise JobFailed(
                f"stage '{read.stage}' ended well but wrote nothing into the folder '{read.folder}' of its output, "
                "which is the result"
            )
        return folder

    def _end(self, state: JobState, message: str) -> None:
        """The last word: to the disk, then the lock goes, then those who watch learn it."""
        left = StageState.SKIPPED if state is JobState.FAILED else StageState.PENDING
        stages = tuple(
            replace(run, state=left if run.state is StageState.PENDING else run.state) for run in self.job.stages
        )
        job = replace(self.job, state=state, message=message, finished=now(), stages=stages)
        try:
            self.folder.write(job)
        except OSError as error:
            LOG.error("job %s ends as %s, but this cannot be written: %s", job.id, state, error)
        os.close(self._held)
        self.record.tell(job)


def waiting(plan: Plan, before: Job | None) -> tuple[StageRun, ...]:
    """The stages of a job that starts, or starts again: what an earlier run found out stays, as long as it is true."""
    runs = {run.name: run for run in before.stages} if before is not None else {}
    return tuple(
        replace(runs.get(node.name, StageRun(name=node.name)), state=StageState.PENDING, message="", exit_code=None)
        for node in plan.graph.nodes
    )

"""A job on disk: `jobs/<job>/` with job.json, plan.json, the lock, and a folder for each stage.

    <job>/job.json               the Job value; replaced, never edited
    <job>/plan.json              graph and payload, so that another process can go on
    <job>/lock                   flock; holds who runs the job
    <job>/stop                   somebody else's wish that it stops
    <job>/<stage>/output         complete, or not there
    <job>/<stage>/publish        the same, for the render server
    <job>/<stage>/done.json      of which inputs, arguments and code `output` came, and its digest
    <job>/<stage>/logs/<n>/      stdout.log, stderr.log and more of attempt n
    <job>/<stage>/locks          input.lock and what the stage leaves
    <job>/<stage>/attempt        what is being written; removed afterwards
    <job>/result                 the output of the result stages

It starts nothing and decides nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clara_argo.artifacts import tree
from clara_argo.errors import Held, NotFound, UsageError
from clara_argo.model.job import JOB_ID, Job, JobState, StageState

PATIENCE = 1.0  # seconds: a look at a lock holds it for a moment
GUARDS = 12.0  # seconds: the guards of a runner that was killed end what it left


@dataclass(frozen=True, slots=True)
class StageFolder:
    root: Path

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def publish(self) -> Path:
        return self.root / "publish"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def attempt(self) -> Path:
        return self.root / "attempt"

    @property
    def done(self) -> Path:
        return self.root / "done.json"

    def logs(self, attempt: int) -> Path:
        return self.root / "logs" / str(attempt)

    def attempts(self) -> list[int]:
        folder = self.root / "logs"
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


class JobFolder:
    """The only code that knows the names above."""

    def __init__(self, jobs: Path, job: str) -> None:
        if not JOB_ID.fullmatch(job):
            raise NotFound(f"no job {job!r}: a job id is 32 hex digits; see 'clara jobs'")
        self.job = job
        self.root = jobs / job
        self.plan = self.root / "plan.json"
        self.stop = self.root / "stop"
        self.result = self.root / "result"

    def stage(self, name: str) -> StageFolder:
        return StageFolder(self.root / name)

    def exists(self) -> bool:
        """Also when it cannot be read: then `read` says so."""
        try:
            (self.root / "job.json").lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def write(self, job: Job, *, durable: bool = True) -> None:
        tree.write_text(self.root / "job.json", json.dumps(job.to_json(), indent=1) + "\n", durable=durable)

    def read(self) -> Job:
        """As written. Raises NotFound. A record that cannot be read is shown as a failed job that says so."""
        try:
            return Job.from_json(json.loads((self.root / "job.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise NotFound(f"no job {self.job}; see 'clara jobs'") from None
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else repr(error)
            text = f"{self.root / 'job.json'} cannot be read ({why}); remove the job's folder or repair the file"
            return Job(
                id=self.job,
                workflow="",
                workflow_digest="",
                payload="",
                state=JobState.FAILED,
                created="",
                message=text,
            )

    def tidy(self) -> None:
        """Remove half-written files of a runner that was killed. Only for who holds the lock."""
        for part in self.root.glob(".*.part"):
            tree.remove(part)
        self.stop.unlink(missing_ok=True)

    def look(self) -> Job:
        """The job as it is now: one that claims to run while nobody holds its lock has lost its runner."""
        job = self.read()
        if job.state.ended or self.holder() is not None:
            return job
        job = self.read()  # it may have ended between the two looks
        return job if job.state.ended else lost(job)

    def holder(self) -> dict[str, Any] | None:
        """Who runs the job: pid, host, since; None when nobody does, or only what a dead runner left is being ended."""
        try:
            handle = os.open(self.root / "lock", os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _who(handle)
            return who if _lives(who) else None
        finally:
            os.close(handle)
        return None

    def hold(self) -> int:
        """Take the lock; returns its handle, to be closed at the end. Raises Held with who holds it."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        since = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                who = _who(handle)
                if time.monotonic() - since < (PATIENCE if _lives(who) else GUARDS):
                    time.sleep(0.05)
                    continue
                os.close(handle)
                raise Held(_held(self.job, who)) from None
        who = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)
        return handle


def lost(job: Job) -> Job:
    stages = tuple(
        replace(run, state=StageState.STOPPED) if run.state is StageState.RUNNING else run for run in job.stages
    )
    text = "the process that ran it has gone; it resumes where it was"
    return replace(job, state=JobState.STOPPED, message=text, stages=stages)


def _who(handle: int) -> dict[str, Any]:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}
    return who if isinstance(who, dict) else {}


def _lives(who: dict[str, Any]) -> bool:
    """False only when it is certain: this host, and no such process."""
    if who.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(who["pid"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, KeyError, ValueError, TypeError):
        return True
    return True


def _held(job: str, who: dict[str, Any]) -> str:
    by = f"process {who['pid']} on {who.get('host')} since {who.get('since')}" if "pid" in who else "another process"
    return f"job {job} is run by {by}; wait for it ('clara describe {job[:8]}'), or end that process first"


def all_jobs(jobs: Path) -> Iterator[JobFolder]:
    """Raises UsageError when the folder cannot be read."""
    try:
        paths = list(jobs.iterdir()) if jobs.is_dir() else []
    except OSError as error:
        raise UsageError(f"{jobs} cannot be read: {error.strerror}; set CLARA_HOME to a home of your own") from None
    for path in paths:
        if JOB_ID.fullmatch(path.name):
            folder = JobFolder(jobs, path.name)
            if folder.exists():
                yield folder

"""The Job value of a job while it runs: changed by several threads, written to its folder, told to who watches."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clara_argo.model.job import Job
from clara_argo.runners.jobfolder import JobFolder

PROGRESS_EVERY = 1.0  # seconds between two writes of progress to the disk


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Record:
    """`job` is the value now; `changed` is notified after each change."""

    def __init__(self, folder: JobFolder, job: Job) -> None:
        self.changed = threading.Condition()
        self._folder, self._job = folder, job
        self._writing = threading.Lock()
        self._progress_written = 0.0

    @property
    def job(self) -> Job:
        return self._job

    def change(self, **values: Any) -> None:
        with self._writing:
            self._set(replace(self._job, **values))

    def stage(self, name: str, **values: Any) -> None:
        """Raises OSError when it cannot be written; the value has changed all the same."""
        with self._writing:
            self._set(self._job.with_stage(replace(self._job.stage(name), **values)))

    def progress(self, name: str, text: str) -> None:
        """Told at once, written now and then."""
        with self._writing:
            if not text or text == self._job.stage(name).progress:
                return
            late = time.monotonic() - self._progress_written >= PROGRESS_EVERY
            if late:
                self._progress_written = time.monotonic()
            self._set(self._job.with_stage(replace(self._job.stage(name), progress=text)), write=late)

    def tell(self, job: Job) -> None:
        """The last word; it is on the disk already."""
        with self.changed:
            self._job = job
            self.changed.notify_all()

    def _set(self, job: Job, *, write: bool = True) -> None:
        self.tell(job)
        if write:
            self._folder.write(job, durable=False)

"""What a job is, for every runner, the command line, the adapter and the dashboard. No paths, no engine's words.

Times are UTC, ISO 8601 with milliseconds: `2026-01-31T08:15:30.123Z`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = 1
JOB_ID = re.compile(r"[0-9a-f]{32}")


class JobState(StrEnum):
    SUBMITTING = "submitting"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


class StageState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"  # not run, because something before it failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """What a job works on: a folder of DICOM files, as received. `id` is opaque."""

    id: str
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRun:
    name: str
    state: StageState = StageState.PENDING
    attempt: int = 0
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    message: str = ""
    progress: str = ""  # "done/total" as the stage wrote it


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    id: str  # 32 hex digits
    workflow: str
    workflow_digest: str
    payload: str
    state: JobState
    created: str
    started: str | None = None
    finished: str | None = None
    attempt: int = 1
    message: str = ""
    target: str = "local"
    stages: tuple[StageRun, ...] = ()

    def stage(self, name: str) -> StageRun:
        return next(run for run in self.stages if run.name == name)

    def with_stage(self, run: StageRun) -> Job:
        return replace(self, stages=tuple(run if old.name == run.name else old for old in self.stages))

    def to_json(self) -> dict[str, Any]:
        """The contract of `-o json`."""
        return {"schema": SCHEMA, **asdict(self), "stages": [asdict(run) for run in self.stages]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"job has schema {data['schema']}, this program reads {SCHEMA}")
        values = {key: value for key, value in data.items() if key != "schema"}
        values["state"] = JobState(values["state"])
        values["stages"] = tuple(StageRun(**{**run, "state": StageState(run["state"])}) for run in values["stages"])
        return cls(**values)

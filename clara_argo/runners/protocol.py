"""The Runner protocol: one contract test suite runs over every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from clara_argo.graph import Graph
from clara_argo.model.job import Job, Payload

KEPT = "the job is done and keeps its result: name another folder for it"  # when a result finds no room


class LogLine(NamedTuple):
    stage: str
    text: str


class Runner(Protocol):
    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        """Start the job and return at once. Idempotent: a job that exists is returned, continued if it had stopped.

        Raises Held when another process runs it, TryAgain when the engine is away, Refused when it does not let us.
        """

    def resume(self, graph: Graph, job: str, payload: Payload) -> Job:
        """Like `submit`, but also a job that has ended goes on: what did not finish or has changed runs."""

    def get(self, job: str) -> Job:
        """Raises NotFound."""

    def list(self) -> tuple[Job, ...]:
        """All known jobs, newest first."""

    def watch(self, job: str) -> Iterator[Job]:
        """The job now, and again after every change until it has ended."""

    def logs(self, job: str, stage: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        """Lines the stages wrote. Raises NotFound for an unknown job or stage."""

    def stop(self, job: str) -> Job:
        """End the job; its finished stages stay."""

    def retry(self, job: str, from_stage: str | None = None) -> Job:
        """Run again what did not finish, or everything from one stage on."""

    def result(self, job: str, into: Path) -> Path:
        """Copy the result of a succeeded job into a folder that does not exist yet, all or nothing."""

    def delivered(self, job: str, into: Path) -> bool:
        """Does `into` hold the result of the job already, as it is now?"""

    def collected(self, job: str) -> None:
        """The caller has the result: copies that were kept only to be fetched may go. What the job did stays known."""

    def delete(self, job: str) -> None:
        """Forget a job that has ended, and everything stored for it. Raises Held while it runs, NotFound."""

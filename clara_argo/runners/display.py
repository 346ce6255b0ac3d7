"""How a running job looks to people: bars that redraw themselves on a terminal, one line a change elsewhere.

Knows the Job value only, so it shows jobs of every runner. Names and messages are shortened, never wrapped.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import TextIO

from clara_argo.errors import ClaraError
from clara_argo.model.job import Job, StageRun, StageState
from clara_argo.runners.protocol import Runner

BAR = 24  # characters
REDRAW = 0.1  # seconds
WORDS = {
    StageState.PENDING: "waiting",
    StageState.RUNNING: "running",
    StageState.SUCCEEDED: "done",
    StageState.FAILED: "failed",
    StageState.STOPPED: "stopped",
    StageState.SKIPPED: "skipped",
}
COLOURS = {StageState.SUCCEEDED: "32", StageState.RUNNING: "36", StageState.FAILED: "31", StageState.STOPPED: "33"}


class Display:
    """Shows a job as it changes; call `show` as often as you like."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0
        self._deaf = False
        self._before: Job | None = None

    def show(self, job: Job) -> None:
        if _can_draw(self._stream):
            self._draw(job)
        else:
            self._tell(job)

    def _draw(self, job: Job) -> None:
        size = shutil.get_terminal_size()
        colour = not os.environ.get("NO_COLOR")  # https://no-color.org
        rows = list(bars(job, _now(), size.columns - 1, colour=colour))[-max(1, size.lines - 1) :]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(up + "".join(f"\x1b[2K{row}\n" for row in rows))
        self._drawn = len(rows)

    def _tell(self, job: Job) -> None:
        before, self._before = self._before, job
        for run in job.stages:
            old = before.stage(run.name) if before is not None else None
            if old is None or (old.state, old.attempt, old.message) != (run.state, run.attempt, run.message):
                text = sentence(run)
                if text:
                    self._write(text + "\n")

    def _write(self, text: str) -> None:
        """A terminal or pipe that went away must not end the job that it shows."""
        if self._deaf:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._deaf = True


def _can_draw(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def follow(runner: Runner, job: str, stream: TextIO) -> Job:
    """Show the job until it has ended; returns how it ended."""
    display = Display(stream)
    for current in _ticking(runner.watch(job)) if _can_draw(stream) else runner.watch(job):
        display.show(current)
        if current.state.ended:
            return current
    return runner.get(job)


def _ticking(watch: Iterator[Job]) -> Iterator[Job]:
    """Every change, and between them the same job again: on a terminal seconds go on. The runner is not asked more."""
    news: Queue[Job | ClaraError | None] = Queue(maxsize=64)
    threading.Thread(target=_listen, args=(watch, news), name="watch", daemon=True).start()
    current: Job | None = None
    while True:
        try:
            came = news.get(timeout=REDRAW)
        except Empty:
            came = current
            if came is None:
                continue
        if came is None:
            return
        if isinstance(came, ClaraError):
            raise came
        current = came
        yield current


def _listen(watch: Iterator[Job], news: Queue[Job | ClaraError | None]) -> None:
    try:
        for job in watch:
            news.put(job)
    except ClaraError as error:
        news.put(error)
    finally:
        news.put(None)


def sentence(run: StageRun) -> str:
    """What is new about a stage; "" when there is nothing to say."""
    if run.state is StageState.SKIPPED:
        return ""
    if run.state is StageState.PENDING:
        return f"{run.name}: {run.message}" if run.message else ""
    text = f"{run.name}: {WORDS[run.state]}"
    if run.state is StageState.RUNNING and run.attempt > 1:
        text += f" (attempt {run.attempt})"
    if run.finished is not None:
        text += f" in {seconds(run, _now()):.1f} s"
    return f"{text}: {run.message}" if run.message else text


def bars(job: Job, now: datetime, width: int, *, colour: bool = False) -> Iterator[str]:
    """One row a stage: name, bar, progress, seconds, message."""
    longest = min(max((len(run.name) for run in job.stages), default=0), 32)
    for run in job.stages:
        took = f"{seconds(run, now):6.1f} s" if run.started else "        "
        progress = run.progress if run.state is StageState.RUNNING and run.progress else WORDS[run.state]
        row = f"  {run.name[:longest]:<{longest}}  {bar(run)}  {progress[:12]:<12} {took}"
        row = f"{row}  {run.message}" if run.message else row
        row = row if len(row) <= width else row[: max(0, width - 1)] + "…"
        code = COLOURS.get(run.state) if colour else None
        yield f"\x1b[{code}m{row}\x1b[0m" if code else row


def bar(run: StageRun) -> str:
    full = round(BAR * share(run))
    return "█" * full + "░" * (BAR - full)


def share(run: StageRun) -> float:
    """How much of a stage is done, 0 to 1."""
    if run.state is StageState.SUCCEEDED:
        return 1.0
    done, _, total = run.progress.partition("/")
    return min(1.0, int(done) / int(total)) if run.progress and int(total) > 0 else 0.0


def seconds(run: StageRun | Job, now: datetime) -> float:
    """From start to end, or to now."""
    if run.started is None:
        return 0.0
    end = datetime.fromisoformat(run.finished) if run.finished else now
    return max(0.0, (end - datetime.fromisoformat(run.started)).total_seconds())


def _now() -> datetime:
    return datetime.now(UTC)

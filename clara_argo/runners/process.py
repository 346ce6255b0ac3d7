"""Runs one command under its guard and says how it ended. Knows nothing of jobs, stages and retries."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
UNKILLABLE = 30.0  # seconds after which a process that SIGKILL does not end (a dead disk, a driver) is given up
TICK = 0.2  # seconds between two looks at progress, time and wish to stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What to start. `held` is a file handle that stays open (and its lock held) while anything of it runs.

    `end`: a command that ends what this one starts outside of its own tree, a container.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path  # working directory
    stdout: Path
    stderr: Path
    timeout: float  # seconds
    grace: float = 5.0  # seconds between SIGTERM and SIGKILL
    held: int | None = None
    end: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a command ended; `exit_code` is 128 + signal when it was killed, None when it did not start."""

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    stopped: bool = False
    cannot_start: str = ""  # why
    cannot_end: bool = False  # something of it still lives; its guard, and the lock it holds, stay with it

    @property
    def well(self) -> bool:
        return self.exit_code == 0 and not (self.timed_out or self.stopped)


def run(command: Command, *, stop: Callable[[], bool], tick: Callable[[], None]) -> Ending:
    """Returns when the command and everything it started have gone. Raises OSError when not even the guard starts.

    `stop` and `tick` are called every TICK seconds; once `stop` says yes the whole tree is ended.
    """
    control_reader, control = os.pipe()
    result, result_writer = os.pipe()
    try:
        guard = _start(command, control_reader, result_writer)
    except BaseException:
        os.close(control)
        os.close(result)
        raise
    finally:
        os.close(control_reader)
        os.close(result_writer)
    said = bytearray()
    try:
        timed_out, stopped = _wait(command, said, control, result, stop, tick)
    finally:
        os.close(control)  # whatever happens here, the guard ends the tree
        os.close(result)
    try:
        guard.wait(timeout=UNKILLABLE)
    except subprocess.TimeoutExpired:
        return Ending(timed_out=timed_out, stopped=stopped, cannot_end=True)
    return _ending(command, said, timed_out, stopped)


def _start(command: Command, control: int, result: int) -> subprocess.Popen[bytes]:
    held = -1 if command.held is None else command.held
    kept = (control, result) if command.held is None else (control, result, held)
    numbers = map(str, (control, result, held, command.grace, len(command.end)))
    with open(command.stdout, "ab") as stdout, open(command.stderr, "ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *numbers, *command.end, *command.words],
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=kept,
            start_new_session=True,
        )


def _wait(
    command: Command,
    said: bytearray,
    control: int,
    result: int,
    stop: Callable[[], bool],
    tick: Callable[[], None],
) -> tuple[bool, bool]:
    """Collects what the guard says until it has nothing more to say. Returns (timed out, stopped)."""
    deadline = time.monotonic() + command.timeout
    timed_out = stopped = False
    while True:
        if select.select([result], [], [], TICK)[0]:
            words = os.read(result, 4096)
            if not words:
                return timed_out, stopped
            said += words
            continue
        tick()
        late = time.monotonic() >= deadline
        if timed_out or stopped:
            if late:
                return timed_out, stopped
            continue
        stopped = stop()
        timed_out = late and not stopped
        if timed_out or stopped:
            _tell(control)
            deadline = time.monotonic() + command.grace + UNKILLABLE


def _tell(control: int) -> None:
    try:
        os.write(control, b"end")
    except BrokenPipeError:
        return  # the guard has ended by itself; what it said is on its way


def _ending(command: Command, said: bytearray, timed_out: bool, stopped: bool) -> Ending:
    words = dict(line.split(" ", 1) for line in said.decode().splitlines())
    if "errno" in words:
        return Ending(cannot_start=words["errno"].partition(" ")[2])
    if "exit" in words:
        return Ending(exit_code=int(words["exit"]), timed_out=timed_out, stopped=stopped)
    if "signal" not in words and "pid" in words:
        # The guard was killed: no subreaper any more, its command's group is what can be reached.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(words["pid"]), signal.SIGKILL)
        if command.end:
            with suppress(subprocess.TimeoutExpired, OSError):
                subprocess.run(command.end, env=dict(command.environment), capture_output=True, timeout=UNKILLABLE)
    number = int(words.get("signal", signal.SIGKILL))
    return Ending(exit_code=128 + number, signal=number, timed_out=timed_out, stopped=stopped)

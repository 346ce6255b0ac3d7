"""Compressed frames -> stored values, in processes that may crash, hang or grow without harm.

Each process has a limit of address space and CPU, and each frame a limit of time; what goes wrong there is E_DECODE
with the name of the instance. Frames come back in the order they were asked for. It knows no codec.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from instance import Layout
from refusal import Refuse

PROGRAM = Path(__file__).resolve().with_name("codecs_dicom.py")
ADDRESS_MIB = 2048  # and what the frame itself needs
FRAMES_IN_ADDRESS = 16  # copies of a frame that a decoder may hold
CPU_SECONDS = 60
SECONDS = 120  # of wall clock a frame


@dataclass(frozen=True, slots=True)
class Request:
    name: str  # of the instance, for messages
    syntax: str
    layout: Layout
    data: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    values: bytes
    unsure: bool  # the frame decodes, but nothing in it confirms Rows and Columns


class _Process:
    """One decoder process, started on first use and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._address_mib = 0

    def decode(self, request: Request) -> Decoded:
        process, late = self._running(request), threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            answer = _exchange(process, request)
        except OSError:
            answer = None
        finally:
            timer.cancel()
        if answer is None:
            code = self.close()
            raise _undecodable(request, f"the decoder {_why(code, late.is_set())}")
        have = len(answer.values)
        if have != request.layout.frame_bytes:
            raise _undecodable(request, f"{have} bytes came out where {request.layout.frame_bytes} belong")
        return answer

    def _running(self, request: Request) -> subprocess.Popen[bytes]:
        need = ADDRESS_MIB + FRAMES_IN_ADDRESS * request.layout.frame_bytes // (1 << 20)
        if self._process is None or need > self._address_mib:
            self.close()
            self._address_mib = need
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(need), str(CPU_SECONDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def kill(self) -> None:
        """End the process now; whoever waits for its answer gets none."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> int:
        """End the process; its exit code, negative = the signal that ended it."""
        if self._process is None:
            return 0
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process = None
        return code


def _why(code: int, late: bool) -> str:
    if late:
        return f"took longer than {SECONDS} s"
    return f"ended with code {code}" if code not in (0, -signal.SIGKILL) else "gave no answer"


def _exchange(process: subprocess.Popen[bytes], request: Request) -> Decoded | None:
    """Send a frame, get its values; None when the process ended instead of answering."""
    layout, sender, answers = request.layout, process.stdin, process.stdout
    if sender is None or answers is None:
        return None
    question = {
        "syntax": request.syntax, "rows": layout.rows, "columns": layout.columns, "allocated": layout.allocated,
        "stored": layout.stored, "signed": int(layout.signed), "length": len(request.data),
    }  # fmt: skip
    sender.write(json.dumps(question).encode() + b"\n" + request.data)
    sender.flush()
    line = answers.readline(4096)
    if not line:
        return None
    try:
        answer = json.loads(line)
        length, error, code = int(answer["length"]), str(answer["error"]), str(answer["code"])
        unsure = bool(answer["unsure"])
    except (ValueError, TypeError, KeyError):
        return None
    if error:
        raise _undecodable(request, error, code)
    if not 0 <= length <= layout.frame_bytes:
        raise _undecodable(request, f"{length} bytes came out where {layout.frame_bytes} belong")
    data = answers.read(length)
    return Decoded(data, unsure) if len(data) == length else None


def _undecodable(request: Request, reason: str, code: str = "E_DECODE") -> Refuse:
    hint = "send it again, or uncompressed" if code == "E_DECODE" else "ask its maker, or send it uncompressed"
    return Refuse(code, f"{request.name}: {reason}; {hint}")


class Decoders:
    """As many processes as asked for. Leaving the block ends them."""

    def __init__(self, jobs: int) -> None:
        self._jobs = max(1, jobs)
        self._processes = tuple(_Process() for _ in range(self._jobs))
        self._idle = deque(self._processes)
        self._pool = ThreadPoolExecutor(self._jobs, "decoder")

    def decode(self, requests: Iterator[Request]) -> Iterator[Decoded]:
        """Each frame, in order; at most two frames a process are under way."""
        waiting: deque[Future[Decoded]] = deque()
        try:
            for request in requests:
                waiting.append(self._pool.submit(self._one, request))
                if len(waiting) > 2 * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()

    def _one(self, request: Request) -> Decoded:
        process = self._idle.popleft()
        try:
            return process.decode(request)
        finally:
            self._idle.append(process)

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for process in self._processes:
                process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

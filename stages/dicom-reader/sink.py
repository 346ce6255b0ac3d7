"""Slices -> a raw file and its SHA-256, computed in a second thread while the next slice is read."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

RING = 8  # slices in memory


class Sink:
    """Write slices in order: take a `room`, fill it, `put` what came of it."""

    def __init__(self, path: Path, slice_bytes: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._rooms = [bytearray(slice_bytes) for _ in range(RING)]
        self._busy: list[Future[None] | None] = [None] * RING
        self._hash = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1, "sha256")
        self._next = 0

    def room(self) -> memoryview:
        """Memory for the next slice; nobody else uses it until it was put."""
        waiting = self._busy[self._next]
        if waiting is not None:
            waiting.result()
        return memoryview(self._rooms[self._next])

    def put(self, data: memoryview) -> None:
        """Write a slice; `data` lies in the room, or is the caller's own and not changed any more."""
        done = 0
        while done < len(data):
            done += os.write(self._file, data[done:])
        self._busy[self._next] = self._hasher.submit(self._hash.update, data)
        self._next = (self._next + 1) % RING

    def digest(self) -> str:
        for waiting in filter(None, self._busy):
            waiting.result()
        return self._hash.hexdigest()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hasher.shutdown()
        os.close(self._file)

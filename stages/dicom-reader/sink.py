"""Slices -> a raw file. One buffer holds the slice that is being read; nothing else is kept."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType


class Sink:
    """Write slices in order: fill `room`, `put` what came of it."""

    def __init__(self, path: Path, slice_bytes: int) -> None:
        self.room = memoryview(bytearray(slice_bytes))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def put(self, data: memoryview) -> None:
        """Write a slice; `data` lies in the room, or is the caller's own."""
        done = 0
        while done < len(data):
            done += os.write(self._file, data[done:])

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

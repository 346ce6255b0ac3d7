"""Slices -> a raw file and its SHA-256, computed in a second thread while the next slices are read.

Memory: a ring of blocks of some slices each. hashlib and write work without the interpreter lock, so the two threads
run side by side.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType

BLOCK = 2 << 20  # bytes; slices that are put together before they are hashed
RING = 4  # blocks in memory


class Sink:
    """Write slices in order: take a `room`, fill it, `put` what came of it."""

    def __init__(self, path: Path, slice_bytes: int, hashed: bool = True) -> None:
        self._hashed = hashed
        self._slices = max(1, BLOCK // slice_bytes)
        self._rooms = [memoryview(bytearray(slice_bytes)) for _ in range(RING * self._slices)]
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._hash = hashlib.sha256()
        self._blocks: SimpleQueue[list[memoryview]] = SimpleQueue()
        self._free = Semaphore(RING - 1)  # blocks that may be filled beside the one that is being filled
        self._block: list[memoryview] = []
        self._put = 0
        self._hasher = Thread(target=self._hash_blocks, name="sha256", daemon=True)
        self._hasher.start()

    def room(self) -> memoryview:
        """Memory for the next slice; nobody else uses it until it was put."""
        return self._rooms[self._put % len(self._rooms)]

    def put(self, data: memoryview) -> None:
        """Write a slice; `data` lies in the room, or is the caller's own and not changed any more."""
        done = 0
        while done < len(data):
            done += os.write(self._file, data[done:])
        self._put += 1
        if not self._hashed:
            return
        self._block.append(data)
        if len(self._block) == self._slices:
            self._hand_over()
            self._free.acquire()

    def digest(self) -> str:
        """SHA-256 of everything that was put, in hex; empty when it was not asked for. Nothing can be put after it."""
        self._close()
        return self._hash.hexdigest() if self._hashed else ""

    def _hand_over(self) -> None:
        self._blocks.put(self._block)
        self._block = []

    def _hash_blocks(self) -> None:
        while block := self._blocks.get():
            for data in block:
                self._hash.update(data)
            del block, data
            self._free.release()

    def _close(self) -> None:
        if self._hasher.is_alive():
            if self._block:
                self._hand_over()
            self._blocks.put([])
            self._hasher.join()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        os.close(self._file)

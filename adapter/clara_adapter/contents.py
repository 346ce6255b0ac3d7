"""What stands in a file, to compare it with another: digests and data sets. Links and devices are not read.

A received instance is not digested when it arrives, which would cost as much as receiving it, but when its study is
sealed; one that comes a second time before that is compared byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clara_adapter import references

CHUNK = 1 << 20


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 in hex and size of a regular file. Raises OSError, also for links."""
    return _digest(path, 0)


def data_set_digest(path: Path) -> str:
    """SHA-256 in hex of what follows the file meta, which is what a peer has sent. Raises Unreadable, OSError."""
    return _digest(path, references.data_set_offset(path))[0]


def _digest(path: Path, at: int) -> tuple[str, int]:
    with _opened(path) as file:
        state = hashlib.sha256()
        while block := os.pread(file, CHUNK, at):
            state.update(block)
            at += len(block)
        return state.hexdigest(), at


def same_data_set(one: Path, other: Path) -> bool:
    """Whether two DICOM files hold the same bytes behind their file meta. Raises Unreadable, OSError."""
    at, at_other = references.data_set_offset(one), references.data_set_offset(other)
    with _opened(one) as file, _opened(other) as file_other:
        if os.fstat(file).st_size - at != os.fstat(file_other).st_size - at_other:
            return False
        while block := os.pread(file, CHUNK, at):
            if block != os.pread(file_other, len(block), at_other):
                return False
            at, at_other = at + len(block), at_other + len(block)
        return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "not a regular file")
        yield file
    finally:
        os.close(file)

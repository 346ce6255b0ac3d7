"""One instance on its way to disk: a Part 10 file (PS3.10 7) with a preamble and file meta of ours, bytes of the peer.

Knows files. Names are random: nothing that a peer says ever becomes part of a path.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Sequence
from pathlib import Path

from clara_adapter import contexts

SUFFIX = ".part"
_IOV_MAX = 1024


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble of 128 zero bytes, prefix and file meta group; all arguments are valid UIDs."""
    group = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    group += _element(0x0002, b"UI", sop_class) + _element(0x0003, b"UI", sop_instance)
    group += _element(0x0010, b"UI", transfer_syntax)
    group += _element(0x0012, b"UI", contexts.IMPLEMENTATION_CLASS_UID)
    group += _element(0x0013, b"SH", contexts.IMPLEMENTATION_VERSION_NAME)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group


def _element(element: int, vr: bytes, text: str) -> bytes:
    raw = text.encode("ascii")
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(raw)) + raw


def clear(folder: Path) -> None:
    """Remove what an earlier run left half received."""
    for path in folder.glob("*" + SUFFIX):
        path.unlink(missing_ok=True)


class PartFile:
    """Open until `finish` or `discard`. Every method may raise OSError: the disk is full, or worse."""

    def __init__(self, folder: Path, head: bytes) -> None:
        self.path = folder / (secrets.token_hex(16) + SUFFIX)
        self.size = 0
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._write((memoryview(head),))
        except OSError:
            self.discard()
            raise

    def append(self, fragments: Sequence[memoryview]) -> None:
        """Bytes of the data set, in order."""
        for start in range(0, len(fragments), _IOV_MAX):
            self._write(fragments[start : start + _IOV_MAX])

    def _write(self, fragments: Sequence[memoryview]) -> None:
        whole = sum(map(len, fragments))
        written = os.writev(self._file, fragments)
        if written < whole:  # the disk took a part: push the rest, so that it says why
            rest = memoryview(b"".join(fragments))[written:]
            while rest:
                rest = rest[os.write(self._file, rest) :]
        self.size += whole

    def finish(self) -> None:
        """Force the bytes to disk and close. Nobody writes to the file any more, by accident neither."""
        os.fchmod(self._file, 0o400)
        os.fsync(self._file)
        file, self._file = self._file, -1
        os.close(file)

    def discard(self) -> None:
        """Close and delete; harmless when the file has been moved away or is gone."""
        if self._file >= 0:
            file, self._file = self._file, -1
            with contextlib.suppress(OSError):
                os.close(file)
        self.path.unlink(missing_ok=True)

"""Which instances a result says it was made from: a bounded look into the sequences that name them.

Reads ReferencedSOPInstanceUID (0008,1155) below SourceImageSequence (0008,2112), ReferencedSeriesSequence (0008,1115)
and CurrentRequestedProcedureEvidenceSequence (0040,A375). The same tag elsewhere names studies, procedure steps or
localizers, which need not be here. Walks element headers with a stack, without recursion; values are skipped.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clara_adapter.tags import Unreadable

REFERENCED_SOP_INSTANCE = 0x00081155
SOURCES = {0x00082112, 0x00081115, 0x0040A375}
WAYS = SOURCES | {
    0x00081140,  # ReferencedImageSequence
    0x0008114A,  # ReferencedInstanceSequence
    0x00081199,  # ReferencedSOPSequence
    0x00089124,  # DerivationImageSequence
    0x52009229,  # SharedFunctionalGroupsSequence
    0x52009230,  # PerFrameFunctionalGroupsSequence
}
MAX_ELEMENTS = 5_000_000
MAX_DEPTH = 32
MAX_UID = 64
PIXEL_GROUP = 0x7FE00000
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
IMPLICIT_LE, EXPLICIT_BE = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"


@dataclass(slots=True)
class _Level:
    """An open sequence (`items`) or an open item or data set (not `items`)."""

    items: bool
    end: int | None  # offset; None = until its delimiter
    implicit: bool
    source: bool  # below one of SOURCES


def source_instances(path: Path) -> frozenset[str]:
    """UIDs of the instances that the file names as its source. Raises Unreadable, OSError."""
    with _mapped(path) as data:
        start, syntax = _file_meta(data)
        walk = _Walk(data, start, ">" if syntax == EXPLICIT_BE else "<", implicit=syntax == IMPLICIT_LE)
        return frozenset(walk.uids())


def data_set_offset(path: Path) -> int:
    """Where the data set begins, behind the file meta group. Raises Unreadable, OSError."""
    with _mapped(path) as data:
        return _file_meta(data)[0]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as data:
            yield data
    except ValueError:
        raise Unreadable("the file is empty") from None
    except struct.error:
        raise Unreadable("the file is cut short") from None
    finally:
        os.close(handle)


def _file_meta(data: mmap.mmap) -> tuple[int, bytes]:
    """Where the data set begins, and the transfer syntax UID."""
    if data[128:132] != b"DICM":
        raise Unreadable("not a DICOM file: the prefix DICM is missing")
    offset, syntax = 132, b""
    while data[offset : offset + 2] == b"\2\0":
        _, element, vr, length = struct.unpack_from("<HH2sH", data, offset)
        offset += 8
        if vr in LONG:
            (length,) = struct.unpack_from("<I", data, offset)
            offset += 4
        if element == 0x0010:
            syntax = data[offset : offset + length].strip(b"\0 ")
        offset += length
    return offset, syntax


class _Walk:
    def __init__(self, data: mmap.mmap, start: int, order: str, *, implicit: bool) -> None:
        self._data, self._offset = data, start
        self._long = struct.Struct(order + "HHI")
        self._short = struct.Struct(order + "HH2sH")
        self._length = struct.Struct(order + "I")
        self._levels = [_Level(False, len(data), implicit, False)]

    def uids(self) -> Iterator[str]:
        for _ in range(MAX_ELEMENTS):
            level = self._levels[-1]
            if level.end is not None and self._offset >= level.end:
                self._close(level)
                if not self._levels:
                    return
                continue
            if level.items:
                self._item(level)
                continue
            tag, length, implicit, sequence = self._header(level)
            if tag >= PIXEL_GROUP and len(self._levels) == 1:
                return
            if tag == ITEM_END:
                self._levels.pop()
            elif length == UNDEFINED or (tag in WAYS and sequence):
                self._open(tag, length, level, implicit)
            else:
                if tag == REFERENCED_SOP_INSTANCE and level.source and length <= MAX_UID:
                    yield self._data[self._offset : self._offset + length].decode("ascii", "replace").strip(" \0")
                self._offset += length
        raise Unreadable(f"more than {MAX_ELEMENTS} elements")

    def _close(self, level: _Level) -> None:
        if self._offset > (level.end or 0):
            raise Unreadable("an element is longer than what it stands in")
        self._levels.pop()

    def _open(self, tag: int, length: int, level: _Level, implicit: bool) -> None:
        if len(self._levels) > 2 * MAX_DEPTH:
            raise Unreadable(f"sequences nested deeper than {MAX_DEPTH}")
        end = None if length == UNDEFINED else self._offset + length
        self._levels.append(_Level(True, end, implicit, level.source or tag in SOURCES))

    def _item(self, level: _Level) -> None:
        group, element, length = self._long.unpack_from(self._data, self._offset)
        self._offset += 8
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            self._levels.pop()
        elif tag == ITEM:
            end = None if length == UNDEFINED else self._offset + length
            self._levels.append(_Level(False, end, level.implicit, level.source))
        else:
            raise Unreadable("something that is not an item in a sequence")

    def _header(self, level: _Level) -> tuple[int, int, bool, bool]:
        """Tag, length, whether its content is in implicit VR, whether it may be a sequence."""
        group, element, length = self._long.unpack_from(self._data, self._offset)
        tag = group << 16 | element
        if level.implicit or tag in (ITEM_END, SEQUENCE_END):
            self._offset += 8
            return tag, length, True, True
        _, _, vr, length = self._short.unpack_from(self._data, self._offset)
        self._offset += 8
        if vr in LONG:
            (length,) = self._length.unpack_from(self._data, self._offset)
            self._offset += 4
        return tag, length, vr == b"UN", vr == b"SQ"

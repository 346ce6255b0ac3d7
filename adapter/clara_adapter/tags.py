"""A few elements of a DICOM file (PS3.10) as text: a linear walk over element headers, bounded whatever the file says.

Values are skipped by their length, sequences of undefined length (PS3.5 7.5) are walked with a stack; nothing
recurses, and the walk ends behind the last wanted element, so pixel data are never reached. Knows no dictionary and
builds no data set. Every file that cannot be read within the limits is Unreadable.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping
from pathlib import Path

from pydicom import charset

from clara_argo.errors import ClaraError

TRANSFER_SYNTAX = 0x00020010
CHARACTER_SET = 0x00080005
SOP_CLASS = 0x00080016
SOP_INSTANCE = 0x00080018
MODALITY = 0x00080060
MANUFACTURER = 0x00080070
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
BIRTH_DATE = 0x00100030
STUDY = 0x0020000D
SERIES = 0x0020000E
FRAME_OF_REFERENCE = 0x00200052
IDENTITY = frozenset(
    {TRANSFER_SYNTAX, SOP_CLASS, SOP_INSTANCE, MODALITY, PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID, BIRTH_DATE,
     STUDY, SERIES, FRAME_OF_REFERENCE}
)  # fmt: skip

MAX_DEPTH = 32  # sequences in sequences
MAX_ELEMENTS = 100_000  # headers of elements and items
MAX_VALUE = 4096  # bytes of a wanted value

_IMPLICIT_LE, _EXPLICIT_BE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_WINDOW = 32 * 1024


class Unreadable(ClaraError):
    """The file is not DICOM, is cut short, or asks for more than the limits."""


def read(path: Path, wanted: Collection[int] = IDENTITY) -> Mapping[int, str]:
    """The wanted elements (tags of the file meta and of the data set itself, not of its sequences) that are there.

    Text without padding, decoded by the file's character set; several values stay joined by a backslash.
    Raises Unreadable, and OSError when the file cannot be opened.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return _decoded(_Walk(_Bytes(file), frozenset(wanted) | {TRANSFER_SYNTAX, CHARACTER_SET}).file(), wanted)
    finally:
        os.close(file)


class _Bytes:
    """Random access to a file through one window."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._start, self._window = 0, b""
        self.size = os.fstat(file).st_size

    def window(self, offset: int) -> tuple[bytes, int]:
        """What is at hand, and where in it `offset` lies."""
        start = offset - self._start
        return (self._window, start) if 0 <= start <= len(self._window) else (b"", 0)

    def at(self, offset: int, size: int) -> bytes:
        start = offset - self._start
        if not 0 <= start <= start + size <= len(self._window):
            if offset + size > self.size:
                raise Unreadable("the file is cut short")
            self._start, self._window = offset, os.pread(self._file, max(size, _WINDOW), offset)
            start = 0
            if len(self._window) < size:
                raise Unreadable("the file is cut short")
        return self._window[start : start + size]


class _Walk:
    """Where the walk is, and what it has found."""

    def __init__(self, data: _Bytes, wanted: frozenset[int]) -> None:
        self._data = data
        self._wanted = wanted
        self._last = max(wanted)
        self._offset = 0
        self._left = MAX_ELEMENTS
        self._found: dict[int, bytes] = {}

    def file(self) -> dict[int, bytes]:
        """Preamble, file meta (always explicit little endian), data set."""
        if self._data.size < 132 or self._data.at(128, 4) != b"DICM":
            raise Unreadable("not a DICOM file: the prefix DICM is missing")
        self._offset = 132
        self._meta()
        syntax = _ascii(self._found.get(TRANSFER_SYNTAX, b""))
        if not syntax:
            raise Unreadable("the file does not say its transfer syntax")
        if syntax in _DEFLATED:
            raise Unreadable("deflated data sets are not read")
        self._data_set(_Headers(">" if syntax == _EXPLICIT_BE else "<"), implicit=syntax == _IMPLICIT_LE)
        return self._found

    def _meta(self) -> None:
        headers = _Headers("<")
        while self._offset + 8 <= self._data.size and self._data.at(self._offset, 2) == b"\2\0":
            tag, length = self._header(headers, implicit=False)
            if length == _UNDEFINED:
                raise Unreadable("file meta of undefined length")
            self._value(tag, length)

    def _data_set(self, headers: _Headers, *, implicit: bool) -> None:
        while self._skim(headers, implicit) < self._data.size:
            tag, length, in_sequence = self._element(headers, implicit)
            if tag > self._last:
                return
            if length == _UNDEFINED:
                self._skip_sequence(headers, in_sequence)
            else:
                self._value(tag, length)

    def _skim(self, headers: _Headers, implicit: bool) -> int:
        """Pass over elements that are neither wanted, nor sequences of undefined length, nor odd, nor at the edge of
        the window: nearly all of them. Only makes the walk faster; whatever it stops at is read with care."""
        window, position = self._data.window(self._offset)
        start, last = position, len(window) - 12
        while position <= last and self._left > 0:
            tag, length, size = headers.peek(window, position, implicit)
            if tag in self._wanted or tag > self._last or length == _UNDEFINED:
                break
            position += size + length
            self._left -= 1
        self._skip(position - start)
        return self._offset

    def _skip_sequence(self, headers: _Headers, implicit: bool) -> None:
        """Walk to the end of a sequence of undefined length. The stack holds how each open level is coded."""
        stack = [(implicit, True)]  # (implicit VR, expects items)
        while stack:
            implicit, expects_items = stack[-1]
            if expects_items:
                self._next_item(headers, stack, implicit)
                continue
            if headers.tag(self._data.at(self._offset, 4)) == _ITEM_END:
                self._delimiter()
                stack.pop()
                continue
            _, length, inner = self._element(headers, implicit)
            if length == _UNDEFINED:
                self._push(stack, inner, True)
            else:
                self._skip(length)

    def _next_item(self, headers: _Headers, stack: list[tuple[bool, bool]], implicit: bool) -> None:
        tag, length = headers.implicit(self._data.at(self._offset, 8))
        self._count(8)
        if tag == _SEQUENCE_END:
            stack.pop()
        elif tag != _ITEM:
            raise Unreadable("something that is not an item in a sequence")
        elif length == _UNDEFINED:
            self._push(stack, implicit, False)
        else:
            self._skip(length)

    def _push(self, stack: list[tuple[bool, bool]], implicit: bool, expects_items: bool) -> None:
        stack.append((implicit, expects_items))
        if len(stack) > 2 * MAX_DEPTH:
            raise Unreadable(f"sequences nested deeper than {MAX_DEPTH}")

    def _delimiter(self) -> None:
        self._data.at(self._offset, 8)
        self._count(8)

    def _element(self, headers: _Headers, implicit: bool) -> tuple[int, int, bool]:
        """Tag, length, and whether a sequence here is implicit inside: UN of undefined length is (PS3.5 6.2.2)."""
        if implicit:
            return *self._header(headers, implicit=True), True
        vr = self._data.at(self._offset + 4, 2)
        return *self._header(headers, implicit=False), vr == b"UN"

    def _header(self, headers: _Headers, *, implicit: bool) -> tuple[int, int]:
        raw = self._data.at(self._offset, 8)
        if implicit:
            self._count(8)
            return headers.implicit(raw)
        vr = raw[4:6]
        if not (vr.isalpha() and vr.isupper()):
            raise Unreadable("an element without a value representation")
        if vr not in _LONG:
            self._count(8)
            return headers.tag(raw), headers.short(raw[6:8])
        length = headers.long(self._data.at(self._offset + 8, 4))
        self._count(12)
        return headers.tag(raw), length

    def _count(self, size: int) -> None:
        self._offset += size
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"more than {MAX_ELEMENTS} elements")

    def _value(self, tag: int, length: int) -> None:
        if tag in self._wanted:
            if tag in self._found:
                raise Unreadable("an element stands in the file twice")
            if length > MAX_VALUE:
                raise Unreadable(f"an identifying value of {length} bytes")
            self._found[tag] = self._data.at(self._offset, length)
        self._skip(length)

    def _skip(self, length: int) -> None:
        self._offset += length
        if self._offset > self._data.size:
            raise Unreadable("the file is cut short")


class _Headers:
    """The numbers of an element header in one byte order."""

    def __init__(self, order: str) -> None:
        self._explicit = struct.Struct(order + "HH2sH")
        self._tag = struct.Struct(order + "HH")
        self._implicit = struct.Struct(order + "HHI")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "I")

    def peek(self, window: bytes, position: int, implicit: bool) -> tuple[int, int, int]:
        """Tag, length, bytes of the header; length undefined also stands for a header that is none."""
        if implicit:
            group, element, length = self._implicit.unpack_from(window, position)
            return group << 16 | element, length, 8
        group, element, vr, length = self._explicit.unpack_from(window, position)
        if vr in _SHORT:
            return group << 16 | element, length, 8
        if vr in _LONG:
            return group << 16 | element, self._long.unpack_from(window, position + 8)[0], 12
        return 0, _UNDEFINED, 0

    def tag(self, raw: bytes) -> int:
        group, element = self._tag.unpack_from(raw)
        return int(group << 16 | element)

    def implicit(self, raw: bytes) -> tuple[int, int]:
        group, element, length = self._implicit.unpack(raw)
        return int(group << 16 | element), int(length)

    def short(self, raw: bytes) -> int:
        return int(self._short.unpack(raw)[0])

    def long(self, raw: bytes) -> int:
        return int(self._long.unpack(raw)[0])


_IN_ANY_CHARACTER_SET = {PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID, MANUFACTURER}


def _decoded(found: Mapping[int, bytes], wanted: Collection[int]) -> dict[int, str]:
    names = [name.strip() for name in _ascii(found.get(CHARACTER_SET, b"")).split("\\")]
    decode = {tag: _text if tag in _IN_ANY_CHARACTER_SET else _plain for tag in found}
    return {tag: decode[tag](raw, names) for tag, raw in found.items() if tag in wanted}


def _ascii(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace").strip(" \0")


def _plain(raw: bytes, _: list[str]) -> str:
    return _ascii(raw)


def _text(raw: bytes, names: list[str]) -> str:
    """By the character set; where that is unknown or does not fit, bytes outside ASCII come out as \\xNN."""
    if raw.isascii() and b"\x1b" not in raw:
        return _ascii(raw)
    try:
        encodings = [charset.python_encoding[name] for name in names] or ["iso8859"]
        text = str(charset.decode_bytes(raw, encodings, set()))
    except (LookupError, UnicodeError, ValueError):
        return _ascii(raw)
    # Replacement characters would make different identifiers equal.
    return _ascii(raw) if "\ufffd" in text else text.strip(" \0")

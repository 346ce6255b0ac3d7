"""A file -> its transfer syntax and header (PS3.10 section 7). Preamble and meta information may be missing.

Reads only the beginning of a file, as much as the header needs. A deflated data set is inflated within bounds. It
knows no meaning of any attribute.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import tags
from elements import Encoding, Item, NeedMore, Pixels, Walk
from refusal import Refuse, tail
from shapes import Shapes

FIRST_READ = 8192  # bytes; holds the header of most single-frame objects
MAX_HEADER = 256 << 20  # bytes
MAX_INFLATED_HEADER = 16 << 20  # bytes; a bomb is refused before it fills the memory

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
ENCODINGS = {IMPLICIT_LITTLE: Encoding(implicit=True), EXPLICIT_BIG: Encoding(big=True)}


@dataclass(frozen=True, slots=True)
class File:
    """A DICOM file that was looked at. `start` is where its data set begins; pixel offsets count from the file's
    start, or from the start of the inflated data set when it is deflated."""

    path: Path
    size: int  # bytes
    syntax: str  # transfer syntax UID
    encoding: Encoding
    start: int
    pixels: Pixels | None

    @property
    def deflated(self) -> bool:
        return self.syntax == DEFLATED

    @property
    def label(self) -> str:
        """For messages: a file name may hold a patient's name, so only its end."""
        return f"file {tail(self.path.name, 12)}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A DICOM file that cannot be read, and what it said about itself before it broke."""

    path: Path
    refusal: Refuse
    found: Item


def look(path: Path, shapes: Shapes) -> tuple[File, Item] | Broken | None:
    """The header of a file; None when it is no DICOM file. Raises OSError only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        wanted = FIRST_READ
        while True:
            data = _read(descriptor, min(wanted, size))
            try:
                return _parse(path, descriptor, data, size, shapes)
            except NeedMore:
                if wanted >= MAX_HEADER:
                    reason = f"no pixels in the first {MAX_HEADER >> 20} MiB"
                    return Broken(path, Refuse("E_TOO_LARGE", reason), {})
                wanted *= 16
    finally:
        os.close(descriptor)


def _read(descriptor: int, count: int) -> bytes:
    data = os.pread(descriptor, count, 0)
    while len(data) < count:
        more = os.pread(descriptor, count - len(data), len(data))
        if not more:
            break
        data += more
    return data


def _parse(path: Path, descriptor: int, data: bytes, size: int, shapes: Shapes) -> tuple[File, Item] | Broken | None:
    whole = len(data) >= size
    begin = 132 if data[128:132] == b"DICM" else 0
    if begin == 0 and not _begins_like_dicom(data):
        return None
    try:
        syntax, start = _meta(data, begin, whole)
    except Refuse as refusal:
        return Broken(path, refusal, {})
    if start >= size:
        return Broken(path, Refuse("E_TRUNCATED", "the file ends before its data set"), {})
    encoding = ENCODINGS.get(syntax, Encoding())
    if not syntax:
        syntax, encoding = _guess(data, start)
    if syntax == DEFLATED:
        data, whole = _inflate(descriptor, start, size)
        walk = Walk(data, 0, encoding, whole)
    else:
        if known := shapes.find(data, start, encoding):
            return File(path, size, syntax, encoding, start, known[1]), known[0]
        walk = Walk(data, start, encoding, whole)
    try:
        walk.run()
    except NeedMore:
        if syntax != DEFLATED:
            raise
        reason = f"the inflated header is longer than {MAX_INFLATED_HEADER >> 20} MiB"
        return Broken(path, Refuse("E_TOO_LARGE", reason), walk.found)
    except Refuse as refusal:
        return Broken(path, refusal, walk.found)
    if syntax != DEFLATED:
        shapes.learn(walk)
    return File(path, size, syntax, encoding, start, walk.pixels), walk.found


def _begins_like_dicom(data: bytes) -> bool:
    """Without a preamble a file begins with its meta information, or with group 0008 in either byte order."""
    group, element = data[0:2], data[2:4]
    if group in (b"\x02\x00", b"\x08\x00"):
        return len(data) >= 8 and element[1:2] == b"\x00" and (data[4:6].isalpha() or data[6:8] in (b"\0\0", b"\1\0"))
    return group == b"\x00\x08" and element[0:1] == b"\x00" and data[4:6].isalpha()


def _meta(data: bytes, begin: int, whole: bool) -> tuple[str, int]:
    """Transfer syntax (empty when not said) and where the data set begins. The group length is often wrong: unused."""
    position, syntax = begin, b""
    while data[position : position + 2] == b"\x02\x00":
        element = int.from_bytes(data[position + 2 : position + 4], "little")
        long = data[position + 4 : position + 6] in (b"OB", b"UN", b"OW", b"UT", b"SQ")
        head = 12 if long else 8
        length = int.from_bytes(data[position + head - (4 if long else 2) : position + head], "little")
        end = position + head + length
        if end > len(data):
            raise Refuse("E_TRUNCATED", "the file ends in its meta information") if whole else NeedMore()
        if element == tags.TRANSFER_SYNTAX_UID & 0xFFFF:
            syntax = data[position + head : end].rstrip(b"\0 ")
        position = end
    if not whole and position + 8 > len(data):
        raise NeedMore()
    if not re.fullmatch(rb"[0-9.]{0,64}", syntax):
        raise Refuse("E_UNREADABLE", "its transfer syntax is no UID")
    return syntax.decode("ascii"), position


def _guess(data: bytes, start: int) -> tuple[str, Encoding]:
    """What a file without transfer syntax is: the standard's default, unless a VR stands where one would."""
    if data[start + 4 : start + 6].isalpha() and data[start + 4 : start + 6].isupper():
        if data[start : start + 1] == b"\0" and data[start + 1 : start + 2] != b"\0":
            return EXPLICIT_BIG, Encoding(big=True)
        return EXPLICIT_LITTLE, Encoding()
    return IMPLICIT_LITTLE, Encoding(implicit=True)


def _inflate(descriptor: int, start: int, size: int) -> tuple[bytes, bool]:
    """The first bytes of a deflated data set (raw deflate, PS3.5 A.5), and whether that is all of it."""
    engine, out = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    position = start
    while position < size and len(out) < MAX_INFLATED_HEADER and not engine.eof:
        block = os.pread(descriptor, 1 << 16, position)
        position += len(block)
        try:
            out += engine.decompress(block, MAX_INFLATED_HEADER - len(out))
        except zlib.error:
            break
        if not block:
            break
    return bytes(out), len(out) < MAX_INFLATED_HEADER

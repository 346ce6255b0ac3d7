"""Where the bytes of one frame are: native pixel data by arithmetic, encapsulated ones by their items (PS3.5 A.4).

Reads bytes, decodes nothing. Lengths that contradict the header are refused before anything is allocated.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from codecs_dicom import RLE, SYNTAXES
from elements import UNDEFINED
from instance import Instance
from part10 import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from refusal import Refuse, tail

MAX_FRAGMENTS = 200_000
MAX_FRAME = 1 << 30  # bytes of one frame, before any decoding
MAX_INFLATED = 1 << 30  # bytes of pixels of a deflated object, which is held whole
ITEM, DELIMITER = 0xFFFEE000, 0xFFFEE0DD
BLOCK = 1 << 20
NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))


@dataclass(frozen=True, slots=True)
class Frames:
    """The byte ranges of each frame in the file: (offset, length) of its parts, in order."""

    instance: Instance
    parts: tuple[tuple[tuple[int, int], ...], ...]

    def read_into(self, frame: int, target: memoryview) -> None:
        """Native bytes of a frame (from 0) into `target`. Raises Refuse when they are not there any more."""
        offset, length = self.parts[frame][0]
        if self.instance.file.deflated:
            file, first = self.instance.file, self.parts[0][0][0]
            pixels = _inflated(file.path, file.start, first, length * len(self.parts))
            if pixels is None:
                name = f"instance {tail(self.instance.identity.sop)}"
                raise Refuse("E_TRUNCATED", f"{name}: the deflated data end early; send it again")
            target[:] = memoryview(pixels)[offset - first : offset - first + length]
            return
        _read_into(self.instance, offset, target)

    def compressed(self, frame: int) -> bytes:
        """The compressed bytes of a frame (from 0)."""
        out = bytearray(sum(length for _, length in self.parts[frame]))
        position = 0
        for offset, length in self.parts[frame]:
            _read_into(self.instance, offset, memoryview(out)[position : position + length])
            position += length
        return bytes(out)


def _read_into(instance: Instance, offset: int, target: memoryview) -> None:
    descriptor = os.open(instance.file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        done = 0
        while done < len(target):
            got = os.preadv(descriptor, [target[done:]], offset + done)
            if not got:
                raise Refuse("E_TRUNCATED", f"instance {tail(instance.identity.sop)}: its file became shorter")
            done += got
    finally:
        os.close(descriptor)


def locate(instance: Instance) -> Frames:
    """Find the frames of an object. Raises Refuse when pixel data and header contradict."""
    pixels, layout, syntax = instance.file.pixels, instance.layout, instance.file.syntax
    name = f"instance {tail(instance.identity.sop)}"
    if syntax not in NATIVE and syntax not in SYNTAXES:
        raise Refuse("E_TRANSFER_SYNTAX", f"{name}: {syntax} is not read; send it uncompressed")
    if layout.frame_bytes > MAX_FRAME:
        raise Refuse("E_TOO_LARGE", f"{name}: a frame of {layout.rows} x {layout.columns} is more than is read")
    if pixels is None:
        raise Refuse("E_PIXEL_LENGTH", f"{name}: no pixels")
    if (pixels.length is None) == (syntax in NATIVE):
        how = "are" if pixels.length is None else "are not"
        raise Refuse("E_UNREADABLE", f"{name}: the pixels {how} compressed, its transfer syntax says otherwise")
    try:
        if pixels.length is None:
            return Frames(instance, _encapsulated(instance))
        return Frames(instance, _native(instance, pixels.offset, pixels.length))
    except Refuse as refusal:
        raise Refuse(refusal.code, f"{name}: {refusal.reason}", refusal.about) from None


def _native(instance: Instance, offset: int, length: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    layout, file = instance.layout, instance.file
    size = layout.frame_bytes
    expected = size * layout.frames
    if length != expected + expected % 2 and length != expected:
        reason = f"{length} bytes of pixels where {expected} belong ({layout.rows} x {layout.columns} x "
        raise Refuse("E_PIXEL_LENGTH", f"{reason}{layout.frames} x {layout.allocated} bits); send it again")
    if file.deflated and expected > MAX_INFLATED:
        raise Refuse("E_TOO_LARGE", f"{expected} bytes of deflated pixels in one object; send it uncompressed")
    if file.encoding.big and layout.allocated == 8 and size % 2:
        raise Refuse("E_PIXEL_FORMAT", "an odd number of 8-bit pixels in big-endian words; send it little endian")
    if not file.deflated and offset + expected > file.size:
        raise Refuse("E_TRUNCATED", f"{file.size - offset} bytes of pixels where {expected} belong; send it again")
    return tuple(((offset + size * frame, size),) for frame in range(layout.frames))


@lru_cache(maxsize=1)
def _inflated(path: Path, start: int, offset: int, length: int) -> bytes | None:
    """`length` bytes at `offset` of a deflated data set; memory stays near `length`. None when there are fewer."""
    engine, out, left = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), offset
    with open(path, "rb") as source:
        source.seek(start)
        try:
            while len(out) < length and not engine.eof:
                pending = engine.unconsumed_tail or source.read(BLOCK)
                if not pending:
                    break
                block = engine.decompress(pending, BLOCK)
                skipped = min(left, len(block))
                left -= skipped
                out += block[skipped : skipped + length - len(out)]
        except zlib.error:
            return None
    return bytes(out) if len(out) == length else None


def _encapsulated(instance: Instance) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Fragments grouped into frames: one each, or by the offset table."""
    table, fragments = _fragments(instance)
    frames, offsets = instance.layout.frames, _offsets(instance, table)
    if frames == 1 and not fragments:
        raise Refuse("E_PIXEL_LENGTH", "the pixel data hold no fragment; send it again")
    begun = max(len(set(offsets)) if frames == 1 else 0, _begun(instance, fragments))
    if begun > frames:
        raise Refuse("E_FRAMES", f"{frames} frame(s), but compressed pixels of {begun}: they contradict")
    if frames == 1:
        return (tuple(fragments),)
    starts = [offset - fragments[0][0] for offset, _ in fragments]
    if len(fragments) == frames:
        if offsets != tuple(starts) and sorted(offsets) == starts:
            raise Refuse("E_FRAMES", "the offset table gives the frames in another order than they lie in")
        return tuple((fragment,) for fragment in fragments)
    where = {start: index for index, start in enumerate(starts)}
    indices = [where.get(offset, -1) for offset in offsets]
    if len(indices) != frames or indices[0] != 0 or any(a >= b for a, b in pairwise(indices)):
        reason = f"{len(fragments)} fragments for {frames} frames, and no table that says which are whose"
        raise Refuse("E_FRAMES", reason)
    return tuple(tuple(fragments[a:b]) for a, b in pairwise((*indices, len(fragments))))


def _begun(instance: Instance, fragments: list[tuple[int, int]]) -> int:
    """How many frames begin in these fragments: each one of RLE (PS3.5 A.4.2), each with the start of a codestream."""
    if instance.file.syntax == RLE:
        return len(fragments)
    begun = 0
    with open(instance.file.path, "rb", buffering=0) as source:
        for offset, length in fragments if len(fragments) > 1 else ():
            begun += os.pread(source.fileno(), min(length, 3), offset) in (b"\xff\xd8\xff", b"\xff\x4f\xff")
    return begun


def _offsets(instance: Instance, table: bytes) -> tuple[int, ...]:
    """Extended (8 bytes each) or basic (4 bytes) offset table."""
    if instance.offsets and len(instance.offsets) % 8 == 0:
        return struct.unpack(f"<{len(instance.offsets) // 8}Q", instance.offsets)
    return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])


def _fragments(instance: Instance) -> tuple[bytes, list[tuple[int, int]]]:
    """The basic offset table and the (offset, length) of each fragment."""
    file = instance.file
    position = file.pixels.offset if file.pixels else 0
    table: bytes | None = None
    fragments: list[tuple[int, int]] = []
    with open(file.path, "rb", buffering=0) as source:
        while True:
            head = os.pread(source.fileno(), 8, position)
            if len(head) < 8:
                raise Refuse("E_TRUNCATED", "the file ends in its compressed pixels; send it again")
            group, element, length = struct.unpack("<HHI", head)
            position += 8
            if group << 16 | element == DELIMITER:
                return table or b"", fragments
            if group << 16 | element != ITEM or length == UNDEFINED or len(fragments) >= MAX_FRAGMENTS:
                raise Refuse("E_UNREADABLE", "the compressed pixels are not a list of fragments; send it again")
            if position + length > file.size:
                raise Refuse("E_TRUNCATED", "the file ends in its compressed pixels; send it again")
            if table is None:
                table = os.pread(source.fileno(), min(length, 4 * MAX_FRAGMENTS), position)
            else:
                fragments.append((position, length))
            position += length

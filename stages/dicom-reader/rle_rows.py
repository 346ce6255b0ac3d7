"""How long the rows of an RLE frame are, as far as its runs say (PS3.5 G.3.1: each row is encoded separately).

RLE carries no dimensions: a header with Rows and Columns swapped decodes without a fault, into another image. But no
run may cross the end of a row, so runs tell. It knows Rows and Columns of the header and their swap, nothing else.
"""

from __future__ import annotations

import enum
import struct

LONGEST = 128  # bytes of one run
FULL, CUT, FORCED = 1, 2, 3  # a run ends here: the longest there is; a shorter one; one the next goes on
ENOUGH = 32  # shorter runs that all end where a row would: no accident


class Rows(enum.Enum):
    CONFIRMED = "confirmed"
    SWAPPED = "swapped"
    UNKNOWN = "unknown"


def look(data: bytes, rows: int, columns: int) -> Rows:
    """What the runs of a frame that decodes say about rows of `columns` pixels."""
    segments = [_ends(segment, rows * columns) for segment in _segments(data)]
    declared, swapped = (all(0 not in ends[width::width] for ends in segments) for width in (columns, rows))
    if declared != swapped:
        return Rows.CONFIRMED if declared else Rows.SWAPPED
    narrow, wide = sorted((rows, columns))
    if not declared or wide % narrow:
        return Rows.UNKNOWN
    told = [ends[at] for ends in segments for at in range(narrow, len(ends), narrow) if at % wide]
    if FORCED in told:
        return Rows.CONFIRMED if columns == narrow else Rows.SWAPPED
    usual = told.count(CUT) >= max(ENOUGH, len(told) // 2)
    return Rows.CONFIRMED if usual and columns == narrow else Rows.UNKNOWN


def _segments(data: bytes) -> list[bytes]:
    """The byte planes of the frame (PS3.5 G.5): their number, then where each begins."""
    count = int.from_bytes(data[:4], "little")
    begins = struct.unpack_from(f"<{count}I", data, 4)
    return [data[begin:end] for begin, end in zip(begins, (*begins[1:], len(data)), strict=True)]


def _ends(segment: bytes, count: int) -> bytearray:
    """For each of the `count` bytes and the end: 0, or how a run ends before it."""
    ends, position, done, last, size = bytearray(count + 1), 0, 0, -1, len(segment)
    while done < count and position < size:
        head = segment[position]
        if head == 128:  # no run (G.3.2)
            position += 1
            continue
        if head < 128:
            kind, length, position = 256, head + 1, position + head + 2
        else:
            kind, length, position = segment[position + 1] if position + 1 < size else 256, 257 - head, position + 2
        if kind == last:
            ends[done] = FORCED
        done += length
        if done <= count:
            ends[done] = FULL if length == LONGEST else CUT
        last = kind if length < LONGEST else -1
    return ends

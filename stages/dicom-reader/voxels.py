"""Stored values of a slice -> values of the volume: byte order, bits, sign, rescale (PS3.5 section 8, PS3.3 C.11.1).

Int16 where every value fits without loss, float32 otherwise. Works on one slice at a time, in place where it can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from instance import Layout, Plane
from numpy.typing import NDArray

SHORT_MIN, SHORT_MAX = -32768, 32767
CHUNK = 1 << 18  # voxels that are computed with more bits at a time
EXACT_FLOAT = 1 << 24  # integers up to here are exact in float32

Slab = NDArray[Any]


class DoesNotFit(Exception):
    """A value is outside int16: the volume must be float32."""


def fits_short(planes: Iterable[Plane]) -> bool:
    """Whether values are whole numbers, so that int16 may do; the values decide the rest (DoesNotFit)."""
    return all(
        plane.slope.is_integer() and plane.intercept.is_integer() and max(abs(plane.slope), abs(plane.intercept)) < 1e6
        for plane in planes
    )


def stored(data: memoryview, layout: Layout, big: bool, swapped_bytes: bool) -> Slab:
    """The stored values, without what other bits hold; `swapped_bytes` = 8-bit pixels written as 16-bit words."""
    width = layout.allocated // 8
    values: Slab = np.frombuffer(data, f"{'>' if big and width > 1 else '<'}{'i' if layout.signed else 'u'}{width}")
    if swapped_bytes and width == 1:
        values = values.reshape(-1, 2)[:, ::-1].reshape(-1)
    if big:
        values = values.astype(values.dtype.newbyteorder("<"))
    spare = layout.allocated - layout.stored
    if spare and layout.signed:
        values = np.left_shift(values, spare, out=_own(values))
        values >>= spare
        return values
    if spare:
        mask = values.dtype.type((1 << layout.stored) - 1)
        values = np.bitwise_and(values, mask, out=_own(values))
    return values


def _own(values: Slab) -> Slab:
    return values if values.flags.writeable else np.empty_like(values)


def to_short(values: Slab, layout: Layout, plane: Plane) -> Slab:
    """Values x slope + intercept as int16. Raises DoesNotFit."""
    slope, intercept = int(plane.slope), int(plane.intercept)
    if slope == 1 and values.dtype.itemsize == 2:
        return _shifted(values, layout, intercept)
    out: Slab = np.empty(values.size, "<i2")
    for begin in range(0, values.size, CHUNK):
        wide = values[begin : begin + CHUNK].astype(np.int64) * slope + intercept
        if wide.min() < SHORT_MIN or wide.max() > SHORT_MAX:
            raise DoesNotFit
        out[begin : begin + CHUNK] = wide
    return out


def _shifted(values: Slab, layout: Layout, intercept: int) -> Slab:
    """Slope 1 on 16-bit values: added modulo 65 536 in place, after the range was proved from bits or from values."""
    low, high = layout.limits
    if low + intercept < SHORT_MIN and int(values.min()) + intercept < SHORT_MIN:
        raise DoesNotFit
    if high + intercept > SHORT_MAX and int(values.max()) + intercept > SHORT_MAX:
        raise DoesNotFit
    if intercept == 0:
        return values.view("<i2")
    words = values.view("<u2")
    words = np.add(words, np.uint16(intercept % 65536), out=_own(words))
    sums: Slab = words.view("<i2")
    return sums


def to_float(values: Slab, plane: Plane) -> Slab:
    """Values x slope + intercept as float32, computed in float64."""
    out: Slab = np.empty(values.size, "<f4")
    for begin in range(0, values.size, CHUNK):
        out[begin : begin + CHUNK] = values[begin : begin + CHUNK].astype(np.float64) * plane.slope + plane.intercept
    return out


def rounds(layout: Layout, plane: Plane) -> bool:
    """Whether float32 may round whole numbers of this plane, or give two stored values the same one."""
    whole = plane.slope.is_integer() and plane.intercept.is_integer()
    largest = max(abs(limit * plane.slope + plane.intercept) for limit in layout.limits)
    return largest > EXACT_FLOAT * (1 if whole else abs(plane.slope))

"""Values -> stored integers of 16 bits and the slope and intercept that give them back (PS3.3 C.11.1).

Whole numbers are stored as they are; values that the source's own slope and intercept give are stored with these; other
values are rounded to 65536 steps, and the loss is told. Knows no DICOM file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from refusal import Refused
from texts import decimal

Values = NDArray[np.generic]  # [slice, row, column], or one slice of it


@dataclass(frozen=True, slots=True)
class Coding:
    """value = stored x slope + intercept, for each slice. `loss` is the largest error, in units of the values."""

    signed: bool
    slopes: tuple[str, ...]  # as the DICOM text, one a slice
    intercepts: tuple[str, ...]
    lowest: float  # of the values
    highest: float
    loss: float = 0.0

    def store(self, k: int, plane: Values) -> NDArray[np.integer]:
        """The stored integers of slice k, little endian."""
        kind, low, high = ("<i2", -32768, 32767) if self.signed else ("<u2", 0, 65535)
        if self.slopes[k] == "1" and self.intercepts[k] == "0":
            return np.ascontiguousarray(plane.astype(kind))
        stored = np.rint((plane.astype(np.float64) - float(self.intercepts[k])) / float(self.slopes[k]))
        return np.clip(stored, low, high).astype(kind)


def coding(values: Values, source: Sequence[tuple[float, float] | None]) -> Coding:
    """The best coding of these values. `source` holds slope and intercept of each source image, where it has them."""
    lowest, highest, whole = _survey(values)
    count = len(values)
    if whole and highest - lowest <= 65535:
        signed = lowest < 0 and lowest >= -32768 and highest <= 32767
        shift = 0 if signed or (lowest >= 0 and highest <= 65535) else int(lowest)
        return Coding(signed, ("1",) * count, (decimal(float(shift)),) * count, lowest, highest)
    for signed in (False, True):
        pairs = [pair for pair in source if pair is not None]
        trial = Coding(
            signed, tuple(decimal(a) for a, _ in pairs), tuple(decimal(b) for _, b in pairs), lowest, highest
        )
        if len(pairs) == count and all(_exact(trial, k, plane) for k, plane in enumerate(values)):
            return trial
    return _rounded(lowest, highest, count)


def _survey(values: Values) -> tuple[float, float, bool]:
    """Lowest, highest, and whether all are whole numbers."""
    lowest, highest, whole = math.inf, -math.inf, True
    for plane in values:
        low, high = float(plane.min()), float(plane.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise Refused("E_VOLUME", "the volume holds infinite values or none at all (NaN)", "write finite ones")
        lowest, highest = min(lowest, low), max(highest, high)
        whole = whole and (plane.dtype.kind in "iu" or bool((plane == np.rint(plane)).all()))
    if not math.isfinite(highest - lowest):
        raise Refused("E_VOLUME", "the values of the volume span more than a number can hold", "write smaller values")
    return lowest, highest, whole


def _exact(trial: Coding, k: int, plane: Values) -> bool:
    slope, intercept = float(trial.slopes[k]), float(trial.intercepts[k])
    if slope == 0:
        return False
    wanted = plane.astype(np.float64)
    back = trial.store(k, plane) * slope + intercept
    precision = float(np.finfo(np.float32 if plane.dtype.itemsize == 4 else np.float64).eps)
    size = max(abs(intercept), float(np.abs(wanted).max()))  # the last digits depend on how a reader computed
    return float(np.abs(back - wanted).max()) <= min(4 * precision * size, 0.01 * abs(slope))


def _rounded(lowest: float, highest: float, count: int) -> Coding:
    intercept = decimal(lowest)
    slope = decimal((highest - lowest) / 65535 or 1.0)
    if float(slope) == 0:
        slope = "1"
    top = min(65535, round((highest - float(intercept)) / float(slope)))
    ends = abs(float(intercept) - lowest), abs(top * float(slope) + float(intercept) - highest)
    loss = max(*ends, float(slope) / 2 if highest > lowest else 0.0)
    return Coding(False, (slope,) * count, (intercept,) * count, lowest, highest, loss)

"""Label maps: the voxels on the planes of the source, and which value occurs on which of them. Knows no DICOM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from refusal import Refused
from sidecar import MAX_VALUE, Segment

Voxels = NDArray[np.generic]  # whole numbers [slice, row, column]
MAX_UNNAMED = 255  # values of a label map without a sidecar; more is taken for an image


def values_by_slice(voxels: Voxels) -> list[NDArray[np.int64]]:
    """The values that occur on each slice, 0 left out, ascending."""
    return [values[values != 0] for values in map(_values, voxels)]


def _values(plane: Voxels) -> NDArray[np.int64]:
    part = plane[plane.any(axis=1)]
    if part.size and part.min() >= 0 and part.max() <= 65535:  # counting is faster than sorting
        return np.flatnonzero(np.bincount(part.ravel()))
    return np.unique(part).astype(np.int64)


def unnamed(found: Sequence[NDArray[np.int64]]) -> tuple[Segment, ...]:
    """A segment for each value of a label map about which nobody said anything."""
    values = sorted({int(value) for values in found for value in values})
    if len(values) > MAX_UNNAMED or (values and not 0 < values[0] <= values[-1] <= MAX_VALUE):
        raise Refused(
            "E_LABELS", f"{len(values)} values without a sidecar are an image rather than labels",
            "write a sidecar with kind image, or with kind labels and segments",
        )  # fmt: skip
    return tuple(Segment(value, f"Segment {value}") for value in values or [1])


def frames(found: Sequence[NDArray[np.int64]], segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """(segment, slice) of each frame to write, both from 0, by segment and then by slice.

    A label map in which nothing was found has one frame, an empty one of the first segment: an object without frames
    is not valid (Number of Frames is 1 or more, PS3.3 C.7.6.6).
    """
    known = {segment.value: number for number, segment in enumerate(segments)}
    strange = sorted({int(value) for values in found for value in values} - set(known))
    if strange:
        named = ", ".join(map(str, strange[:5])) + (", …" if len(strange) > 5 else "")
        can = 0 < strange[0] <= strange[-1] <= MAX_VALUE
        step = "add them to segments in the sidecar" if can else f"write labels from 1 to {MAX_VALUE}, 0 where none is"
        raise Refused("E_LABELS", f"values without a segment: {named}", step)
    pairs = [(known[int(value)], k) for k, values in enumerate(found) for value in values]
    return sorted(pairs) or [(0, 0)]

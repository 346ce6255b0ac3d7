"""What lies between a CT and the organ net, both ways. Training, stage and tests use these functions and no others.

The net sees windows of 64 x 64 x 80 voxels of 5 mm, [z, y, x] along DICOM's patient axes (LPS), the trunk in the middle
of the plane, values clip((HU - 40) / 200, -2, 2). CT volumes are [k, j, i] arrays with ITK's geometry (`Grid`). Needs
numpy and scipy; knows no files and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from grid import STEP, Grid, spread_out, squeeze
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]

WINDOW = (64, 64, 80)  # z, y, x: what the net takes
STRIDE = 32  # slices from window to window
AIR = -1000.0
CLASSES = 10  # background and nine organs
BONES_AND_VESSELS = (8, 9)  # may come in pieces; of every other organ only the largest piece stays
SMALLEST = 8  # voxels of 5 mm: 1 ml; what is smaller is no organ
SOFT = 0.7  # voxels: how far a label's edge is smoothed before it is drawn on the CT's grid


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """The CT on the net's voxels: HU [z, y, x] along the patient axes; origin (x, y, z) mm of the first voxel."""

    hu: Floats
    origin: tuple[float, float, float]


def coarse(volume: NDArray[Any], grid: Grid) -> Coarse:
    """The CT averaged into voxels of 5 mm. `volume` [k, j, i] in HU may be a memory map. ValueError on NaN."""
    hu, origin = squeeze(volume, grid)
    return Coarse(hu, origin)


def normalise(hu: Floats) -> Floats:
    """HU -> the net's input values."""
    return np.asarray(np.clip((hu - np.float32(40)) / np.float32(200), -2, 2), np.float32)


def body_middle(hu: Floats) -> tuple[int, int]:
    """The voxel (y, x) in the middle of the trunk: of the largest solid thing, which no thin table is."""
    solid = ndimage.binary_opening(hu > -350, iterations=2)
    parts, count = ndimage.label(solid)
    if count:
        solid = parts == int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    return _middle(solid.sum((0, 2))), _middle(solid.sum((0, 1)))


def _middle(profile: NDArray[Any]) -> int:
    """Half way between the 2nd and the 98th percentile; the middle of the grid where there is nothing."""
    weight = np.cumsum(profile)
    if weight[-1] == 0:
        return len(profile) // 2
    low, high = np.searchsorted(weight, (0.02 * weight[-1], 0.98 * weight[-1]))
    return int(low + high + 1) // 2


def cut(volume: NDArray[Any], start: int, middle: tuple[int, int], outside: float) -> NDArray[Any]:
    """One window [64, 64, 80] of a coarse volume; what lies beyond the volume has the value `outside`."""
    window = np.full(WINDOW, outside, volume.dtype)
    there, here = _overlap(volume.shape, start, middle)
    window[here] = volume[there]
    return window


def _overlap(
    shape: tuple[int, ...], start: int, middle: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The block of the volume that a window covers, and the same block in the window."""
    corner = (start, middle[0] - WINDOW[1] // 2, middle[1] - WINDOW[2] // 2)
    low = [min(max(c, 0), size) for c, size in zip(corner, shape, strict=True)]
    high = [max(min(c + n, size), a) for c, n, size, a in zip(corner, WINDOW, shape, low, strict=True)]
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    here = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
    return there, here


def starts(depth: int) -> list[int]:
    """The first slices of the windows over `depth` coarse slices; a short scan lies in the middle of one window."""
    if depth <= WINDOW[0]:
        return [-((WINDOW[0] - depth) // 2)]
    return [*range(0, depth - WINDOW[0], STRIDE), depth - WINDOW[0]]


def segment(
    hu: Floats, predict: Callable[[Floats], Labels], progress: Callable[[int, int], None] = lambda done, total: None
) -> Labels:
    """Labels of a coarse volume. `predict` maps one window of input values to its labels, both [64, 64, 80]. Where
    windows overlap, each slice is taken from the window in whose middle it lies best."""
    labels = np.zeros(hu.shape, np.uint8)
    first = starts(len(hu))
    centres = np.array(first) + WINDOW[0] / 2 - 0.5
    owner = np.argmin(np.abs(np.arange(len(hu))[:, None] - centres[None]), 1)
    for number, start in enumerate(first):
        middle = body_middle(hu[max(start, 0) : start + WINDOW[0]])
        found = predict(normalise(cut(hu, start, middle, AIR)))
        there, here = _overlap(hu.shape, start, middle)
        mine = (owner == number)[there[0], None, None]
        np.copyto(labels[there], found[here], where=mine)
        progress(number + 1, len(first))
    return tidy(labels)


def tidy(labels: Labels) -> Labels:
    """Of each organ the largest piece (of aorta and vertebrae also pieces of a tenth of it), if it has 1 ml."""
    out = np.zeros_like(labels)
    for organ in range(1, CLASSES):
        parts, count = ndimage.label(labels == organ)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        least = max(sizes.max() * (0.1 if organ in BONES_AND_VESSELS else 1.0), SMALLEST)
        out[(sizes >= least)[parts]] = organ
    return out


def onto(labels: Labels, origin: tuple[float, float, float], grid: Grid) -> Labels:
    """The label map on the CT's own grid, [k, j, i], with edges smoothed between the 5 mm voxels."""
    return spread_out([_soft(labels, organ) for organ in range(1, CLASSES)], origin, grid)


def _soft(labels: Labels, organ: int) -> tuple[tuple[int, int, int], Floats]:
    """The organ's share of every voxel in a box around it: the box's first voxel (z, y, x), and the shares."""
    found = ndimage.find_objects((labels == organ).astype(np.uint8))
    if not found:
        return (0, 0, 0), np.zeros((0, 0, 0), np.float32)
    # at the border of the volume the organ goes on: repeat the last voxels, do not smooth towards nothing
    padded = np.pad(labels[found[0]] == organ, 3)
    for axis, part in enumerate(found[0]):
        padded = _continued(padded, axis, part.start == 0, part.stop == labels.shape[axis])
    soft = np.asarray(ndimage.gaussian_filter(padded.astype(np.float32), SOFT, truncate=3), np.float32)
    z, y, x = (part.start - 3 for part in found[0])
    return (z, y, x), soft


def _continued(padded: NDArray[np.bool_], axis: int, low: bool, high: bool) -> NDArray[np.bool_]:
    moved = np.moveaxis(padded, axis, 0)
    if low:
        moved[:3] = moved[3]
    if high:
        moved[-3:] = moved[-4]
    return padded


__all__ = [
    "AIR",
    "CLASSES",
    "STEP",
    "WINDOW",
    "Coarse",
    "Grid",
    "body_middle",
    "coarse",
    "cut",
    "normalise",
    "onto",
    "segment",
]

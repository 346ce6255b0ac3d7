"""From the CT's grid to 5 mm voxels along the patient axes, and labels back: any order of axes, oblique too.

Where the CT's axes lie along the patient's (in any order, either way) each axis is one small matrix, and a volume is
handled slice by slice: little memory, and the same bytes each time. An oblique CT goes through scipy's interpolation.
Coordinates: LPS, mm; arrays of the CT are [k, j, i], of the 5 mm grid [z, y, x].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Part = tuple[tuple[int, int, int], Floats]  # an organ's box on the 5 mm grid: its first voxel (z, y, x), and its shares

STEP = 5.0  # mm, the net's voxel
LOWEST, HIGHEST = -1024.0, 3071.0  # HU; below is padding
ALIGNED = 1e-3  # how far a direction cosine may be from -1, 0 or 1
SLAB = 16  # slices of an oblique CT that are drawn at a time


@dataclass(frozen=True, slots=True)
class Grid:
    """Size, spacing, origin (mm) along i, j, k; direction 3 x 3 row by row, whose columns are i, j, k (as in ITK)."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Index (i, j, k) -> mm from the origin."""
        matrix: NDArray[np.float64] = np.asarray(self.direction, float).reshape(3, 3) * np.asarray(self.spacing, float)
        return matrix

    @property
    def axes(self) -> tuple[int, int, int] | None:
        """The patient axis (0 x, 1 y, 2 z) of each of i, j, k; None for an oblique grid."""
        cosines = np.abs(np.asarray(self.direction, float).reshape(3, 3))
        best = cosines.argmax(0)
        if np.abs(cosines - np.eye(3)[best].T).max() > ALIGNED or len(set(best.tolist())) != 3:
            return None
        return int(best[0]), int(best[1]), int(best[2])

    def covered(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Origin (x, y, z) and size of the 5 mm grid over all voxel centres of the CT."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.size], indexing="ij")).reshape(3, -1)
        points = self.matrix @ corners + np.array(self.origin)[:, None]
        low, high = points.min(1), points.max(1)
        count = np.ceil((high - low) / STEP - 1e-6).astype(np.int64) + 1
        return (low + high) / 2 - (count - 1) / 2 * STEP, count


# -- CT -> 5 mm --------------------------------------------------------------------------------------------------


def squeeze(volume: NDArray[Any], grid: Grid) -> tuple[Floats, tuple[float, float, float]]:
    """The volume averaged over 5 mm each way, [z, y, x], and where its first voxel lies. ValueError on NaN."""
    origin, count = grid.covered()
    axes = grid.axes
    if axes is None:
        hu = _turned(volume, grid, origin, count)
    else:
        places = [_in_ct(grid, axes, axis, origin, count) for axis in range(3)]
        small = _averaged(volume, [_average(place, grid, axis) for axis, place in enumerate(places)])
        hu = small.transpose([2 - axes.index(axis) for axis in (2, 1, 0)])
    return np.ascontiguousarray(hu, np.float32), (float(origin[0]), float(origin[1]), float(origin[2]))


def _in_ct(
    grid: Grid, axes: tuple[int, int, int], axis: int, origin: NDArray[Any], count: NDArray[Any]
) -> NDArray[Any]:
    """The 5 mm grid's places along the CT's axis i, j or k, in the CT's voxels."""
    patient = axes[axis]
    places = origin[patient] + STEP * np.arange(count[patient])
    return np.asarray((places - grid.origin[patient]) / grid.matrix[patient, axis])


def _average(places: NDArray[Any], grid: Grid, axis: int) -> Floats:
    """Weights [places, voxels] of a triangle that reaches 5 mm (at least one voxel) to either side."""
    reach = max(STEP / grid.spacing[axis], 1.0)
    last = grid.size[axis] - 1
    weights = np.clip(1 - np.abs(np.clip(places, 0, last)[:, None] - np.arange(last + 1)[None]) / reach, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _averaged(volume: NDArray[Any], weights: Sequence[Floats]) -> Floats:
    """Weights along i, j, k applied slice by slice; result in the order of the CT, [k, j, i]."""
    along_i, along_j, along_k = weights
    out = np.zeros((len(along_k), len(along_j), len(along_i)), np.float32)
    for k, plane in enumerate(volume):
        values = np.asarray(plane, np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"slice {k} has voxels that are no number (NaN or infinite)")
        small = along_j @ np.clip(values, LOWEST, HIGHEST) @ along_i.T
        for place in np.flatnonzero(along_k[:, k]):
            out[place] += along_k[place, k] * small
    return out


def _turned(volume: NDArray[Any], grid: Grid, origin: NDArray[Any], count: NDArray[Any]) -> Floats:
    """Average along the CT's own axes onto about 2.5 mm, then turn into the patient's."""
    steps = [max(1.0, STEP / 2 / spacing) for spacing in grid.spacing]
    places = [np.arange(0, size - 1 + step, step) for size, step in zip(grid.size, steps, strict=True)]
    small = _averaged(volume, [_average(place, grid, axis) for axis, place in enumerate(places)])
    matrix, offset = _index_of(grid, np.array(steps), origin)
    shape = tuple(int(n) for n in count[::-1])
    return np.asarray(
        ndimage.affine_transform(small, matrix, offset, shape, np.float32, order=1, cval=LOWEST), np.float32
    )


def _index_of(grid: Grid, steps: NDArray[Any], origin: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Matrix and offset: voxel (z, y, x) of the 5 mm grid -> (k, j, i) of the CT in units of `steps` voxels."""
    inverse = np.linalg.inv(grid.matrix * steps)
    offset = inverse @ (np.asarray(origin) - np.asarray(grid.origin))
    return (inverse * STEP)[::-1, ::-1].copy(), offset[::-1].copy()


# -- 5 mm -> CT --------------------------------------------------------------------------------------------------


def spread_out(parts: Sequence[Part], origin: tuple[float, float, float], grid: Grid) -> Labels:
    """Draw organs (label = place in the list, from 1) on the CT's grid: a voxel that is half organ or more gets the
    label with the largest share."""
    draw = _draw_oblique if grid.axes is None else _draw_aligned
    labels = np.zeros(grid.size[::-1], np.uint8)
    slab = SLAB if grid.axes is None else 1
    organs = [(label, draw(part, origin, grid)) for label, part in enumerate(parts, 1) if part[1].size]
    for k in range(0, grid.size[2], slab):
        out = labels[k : k + slab]
        best, all_shares = np.zeros(out.shape, np.float32), np.zeros(out.shape, np.float32)
        for label, organ in organs:
            shares, j, i = organ(k, len(out))
            if not shares.size:
                continue
            all_shares[:, j, i] += shares
            larger = shares > best[:, j, i]
            np.copyto(best[:, j, i], shares, where=larger)
            np.copyto(out[:, j, i], np.uint8(label), where=larger)
        out[all_shares < 0.5] = 0
    return labels


def _draw_aligned(part: Part, origin: tuple[float, float, float], grid: Grid) -> Any:
    """A function (first slice, slices) -> the organ's shares in its block of rows and columns, and that block."""
    first, shares = part
    axes = grid.axes
    assert axes is not None
    own = shares.transpose([2 - axes[axis] for axis in (2, 1, 0)])  # [k, j, i] of the CT
    weights = []
    for axis in range(3):
        patient = axes[axis]
        start = origin[patient] + STEP * first[2 - patient]
        places = grid.origin[patient] + grid.matrix[patient, axis] * np.arange(grid.size[axis])
        weights.append(_linear((places - start) / STEP, shares.shape[2 - patient]))
    i, j = _hit(weights[0]), _hit(weights[1])
    along_i, along_j = np.ascontiguousarray(weights[0][i].T), weights[1][j]

    def at(k: int, count: int) -> tuple[Floats, slice, slice]:
        if not weights[2][k].any():
            return np.zeros((0, 0, 0), np.float32), j, i
        plane = np.tensordot(weights[2][k], own, 1)
        return (along_j @ plane @ along_i)[None], j, i

    return at


def _linear(places: NDArray[Any], count: int) -> Floats:
    """Weights [places, voxels] of linear interpolation; nothing outside."""
    return np.asarray(np.clip(1 - np.abs(places[:, None] - np.arange(count)[None]), 0, None), np.float32)


def _hit(weights: Floats) -> slice:
    places = np.flatnonzero(weights.any(1))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _draw_oblique(part: Part, origin: tuple[float, float, float], grid: Grid) -> Any:
    first, shares = part
    to_ct, shift = _index_of(grid, np.ones(3), np.array(origin))
    corners = np.array(np.meshgrid(*[(f, f + n - 1) for f, n in zip(first, shares.shape, strict=True)], indexing="ij"))
    reach = to_ct @ corners.reshape(3, -1) + shift[:, None]
    low = np.clip(np.floor(reach.min(1)).astype(int), 0, np.array(grid.size[::-1]))
    high = np.clip(np.ceil(reach.max(1)).astype(int) + 1, low, np.array(grid.size[::-1]))
    back = np.linalg.inv(to_ct)
    j, i = slice(int(low[1]), int(high[1])), slice(int(low[2]), int(high[2]))

    def at(k: int, count: int) -> tuple[Floats, slice, slice]:
        if k >= high[0] or k + count <= low[0] or j.start == j.stop or i.start == i.stop:
            return np.zeros((0, 0, 0), np.float32), j, i
        offset = back @ (np.array((k, j.start, i.start)) - shift) - np.array(first)
        shape = (count, j.stop - j.start, i.stop - i.start)
        return ndimage.affine_transform(shares, back, offset, shape, np.float32, order=1), j, i

    return at

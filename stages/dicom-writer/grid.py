"""Where a volume lies on the image planes of its source: which plane is which slice, and how the axes are turned.

Patient space (LPS), mm. A volume may have its axes in any order and direction, as tools write them; it must lie on
the source's own pixels. What does not is refused: nothing is resampled here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from refusal import Refused
from source import Plane

from clara_driver.volume import Header

ANGLE = 1e-3  # direction cosines may differ by this
ANCHOR = 0.01, 1e-3  # of a voxel, or mm: how far the first or the last slice may lie from its image
DRIFT = 0.1, 2e-2  # the same for every slice and every corner: sources are not quite even, a reader makes them so
NEXT = "write the volume on the grid of the series: same size, spacing, origin and direction"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """A volume on its source. `planes` go up along the normal (row direction x column direction)."""

    planes: tuple[Plane, ...]
    axes: tuple[int, int, int]  # numpy axes of the volume [k, j, i] that are slice, row, column
    flips: tuple[bool, bool, bool]  # whether slice, row, column run the other way
    spacing: float  # mm between slices

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.planes), self.planes[0].rows, self.planes[0].columns

    def view(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Voxels [k, j, i] of the volume as [slice, row, column] of the source; no copy."""
        turned = voxels.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]


def place(header: Header, planes: Iterable[Plane]) -> Placement:
    """Find the planes of the series that the volume covers. Raises Refused (E_GEOMETRY)."""
    stacks = _stacks(planes)
    if not stacks:
        raise Refused("E_GEOMETRY", "no image of the source series has a position in patient space", NEXT)
    reasons = []
    for stack in sorted(stacks, key=len, reverse=True):
        try:
            return _on_stack(header, stack)
        except Refused as refused:
            reasons.append(refused)
    raise reasons[0]


def _numbers(words: Iterable[str]) -> Array:
    return np.array([float(word) for word in words])


def _stacks(planes: Iterable[Plane]) -> list[list[Plane]]:
    """Planes of one matrix, orientation and pixel spacing belong together."""
    stacks: list[tuple[tuple[int, int], Array, list[Plane]]] = []
    for plane in planes:
        matrix, grid = (plane.rows, plane.columns), _numbers(plane.orientation + plane.spacing)
        for other, numbers, stack in stacks:
            if matrix == other and np.abs(numbers - grid).max() < ANGLE:
                stack.append(plane)
                break
        else:
            stacks.append((matrix, grid, [plane]))
    return [stack for _, _, stack in stacks]


def _axes(stack: list[Plane]) -> Array:
    """3 x 3: the columns are the directions of slice, row and column index, right-handed in column, row, slice."""
    cosines = _numbers(stack[0].orientation)
    along_row, along_column = cosines[:3], cosines[3:]
    normal = np.cross(along_row, along_column)
    axes = np.stack([normal, along_column, along_row], axis=1)
    if not np.abs(axes.T @ axes - np.eye(3)).max() <= ANGLE:
        raise Refused("E_GEOMETRY", "ImageOrientationPatient of the source is not a right angle of unit vectors")
    return np.asarray(axes / np.linalg.norm(axes, axis=0))


def _on_stack(header: Header, stack: list[Plane]) -> Placement:
    axes = _axes(stack)
    order, flips = _turn(header, axes)
    steps = np.array(header.direction).reshape(3, 3) * np.array(header.spacing)  # columns: i, j, k
    steps = steps[:, [2 - axis for axis in order]]  # columns: slice, row, column, as the file runs
    size = np.array([header.size[2 - axis] for axis in order])
    turned = np.array(flips)
    origin = np.array(header.origin) + steps[:, turned] @ (size[turned] - 1.0)
    steps = np.where(turned, -steps, steps)

    wanted = (len(stack), stack[0].rows, stack[0].columns)
    if tuple(size) != wanted:
        has, needs = ("{2} x {1} x {0}".format(*three) for three in (tuple(size), wanted))
        raise Refused("E_GEOMETRY", f"the volume has {has} voxels, the series {needs} (columns x rows x images)", NEXT)
    spacing = float(np.linalg.norm(steps[:, 0]))
    ordered = sorted(stack, key=lambda plane: float(axes[:, 0] @ _numbers(plane.position)))
    _check_corners(steps, size, axes, _numbers(stack[0].spacing))
    _check_positions(origin, steps, axes, ordered, _numbers(stack[0].spacing))
    return Placement(planes=tuple(ordered), axes=order, flips=flips, spacing=spacing)


def _turn(header: Header, axes: Array) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the volume runs along slice, row and column of the source, and which of them backwards."""
    direction = np.array(header.direction).reshape(3, 3)
    if np.abs(direction).max() > 1 + ANGLE:
        raise Refused("E_GEOMETRY", "the direction of the volume is not made of unit vectors", NEXT)
    cosines = axes.T @ direction[:, ::-1]  # rows: source; columns: numpy axes k, j, i
    nearest = np.rint(cosines)
    if not np.abs(cosines - nearest).max() <= ANGLE or not (np.abs(nearest).sum(0) == 1).all():
        raise Refused("E_GEOMETRY", "the axes of the volume are not parallel to those of the series", NEXT)
    if not (np.abs(nearest).sum(1) == 1).all():
        raise Refused("E_GEOMETRY", "two axes of the volume have the same direction", NEXT)
    order = [int(axis) for axis in np.abs(nearest).argmax(1)]
    flips = [bool(nearest[row, axis] < 0) for row, axis in enumerate(order)]
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def _check_corners(steps: Array, size: NDArray[np.int_], axes: Array, spacing: Array) -> None:
    """The far corner of a slice must lie where the source has it."""
    want = axes[:, 1] * spacing[0] * (size[1] - 1) + axes[:, 2] * spacing[1] * (size[2] - 1)
    have = steps[:, 1] * (size[1] - 1) + steps[:, 2] * (size[2] - 1)
    off = float(np.abs(want - have).max())
    if min(spacing) <= 0 or not off <= _allowed(DRIFT, spacing).min():
        raise Refused("E_GEOMETRY", f"the far corner of a slice lies {off:.4g} mm beside that of the series", NEXT)


def _check_positions(origin: Array, steps: Array, axes: Array, ordered: list[Plane], spacing: Array) -> None:
    """Every slice must lie where an image of the series lies, the first or the last one exactly."""
    there = np.stack([_numbers(plane.position) for plane in ordered])
    here = origin + np.outer(np.arange(len(ordered)), steps[:, 0])
    off = np.abs((here - there) @ axes)  # [slice, (along the normal, along a column, along a row)]
    gap = float(np.linalg.norm(steps[:, 0])) if len(ordered) > 1 else 0.0
    voxel = np.array([gap, *spacing])
    anchored = (off[[0, -1]] <= _allowed(ANCHOR, voxel)).all(axis=1).any()
    if not (anchored and (off <= _allowed(DRIFT, voxel)).all()):
        raise Refused("E_GEOMETRY", f"slices lie up to {off.max():.4g} mm beside the images of the series", NEXT)


def _allowed(tolerance: tuple[float, float], voxel: Array) -> Array:
    return np.maximum(tolerance[0] * voxel, tolerance[1])

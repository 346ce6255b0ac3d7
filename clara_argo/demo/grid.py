"""Voxel grids in patient space, and moving a volume from one grid to another without interpolation.

An affine (4 x 4) takes an index (i, j, k) of an array to LPS mm; arrays here are indexed [i, j, k]. Two grids that
differ only by the order and sense of their axes and by whole voxels hold the same voxels; anything else is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara_driver.volume import Header

TOLERANCE = 0.01  # of a voxel


class Grid(NamedTuple):
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


class OtherGrid(ValueError):
    """The two grids do not hold the same voxel positions."""


def of_header(header: Header) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(header.direction, (3, 3)) * np.asarray(header.spacing)
    affine[:3, 3] = header.origin
    return Grid(header.size, affine)


def onto(volume: NDArray[Any], affine: NDArray[np.float64], target: Grid) -> NDArray[Any]:
    """`volume` on the voxels of `target`; 0 where it does not reach. Raises OtherGrid."""
    step = np.linalg.inv(_thick(volume.shape, affine, target)) @ target.affine  # index in target -> index in volume
    turn, shift = np.rint(step[:3, :3]), np.rint(step[:3, 3])
    corners = np.array([target.shape, (0, 0, 0)], float)
    gap = np.abs(corners @ (step[:3, :3] - turn).T + step[:3, 3] - shift).max()
    if gap > TOLERANCE or sorted(np.abs(turn).sum(0)) != [1, 1, 1] or sorted(np.abs(turn).sum(1)) != [1, 1, 1]:
        raise OtherGrid(f"voxels are up to {gap:.3f} voxels apart")
    axes = [int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)]  # target axis -> volume axis
    index = []
    for axis in range(3):
        sense = turn[axes[axis], axis]
        index.append((shift[axes[axis]] + sense * np.arange(target.shape[axis])).astype(int))
    inside = [(where >= 0) & (where < volume.shape[axes[axis]]) for axis, where in enumerate(index)]
    picked = volume.transpose(axes)[np.ix_(*(where[good] for where, good in zip(index, inside, strict=True)))]
    out = np.zeros(target.shape, volume.dtype)
    out[np.ix_(*inside)] = picked
    return out


def _thick(shape: tuple[int, ...], affine: NDArray[np.float64], target: Grid) -> NDArray[np.float64]:
    """A single plane has no step of its own: it takes that of the target's parallel axis."""
    affine = affine.copy()
    for axis in (axis for axis in range(3) if shape[axis] == 1):
        along = target.affine[:3, :3].T @ affine[:3, axis]
        nearest = int(np.argmax(np.abs(along) / np.linalg.norm(target.affine[:3, :3], axis=0)))
        affine[:3, axis] = target.affine[:3, nearest] * np.sign(along[nearest])
    return affine


def upright(volume: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The volume with its axes turned to the nearest of +x, +y, +z, and its spacing (mm) along them."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axes = list(range(3))
    for patient in range(3):
        free = axes[patient:]
        best = max(free, key=lambda axis: abs(directions[patient, axis]))
        axes.remove(best)
        axes.insert(patient, best)
    turned = volume.transpose(axes)
    flips = tuple(slice(None, None, -1 if directions[patient, axis] < 0 else 1) for patient, axis in enumerate(axes))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[axes]
    return turned[flips], spacing

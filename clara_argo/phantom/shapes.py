"""Shapes in patient space, painted only where they are: a canvas of HU and labels over a warped grid of mm.

Arrays are [z, y, x]; points and radii are (x, y, z) in mm, LPS. A shape is a `Region`: the block of the grid that may
hold it, and its value there, below 1 inside. This module knows no anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Block = tuple[slice, slice, slice]
Point = Sequence[float] | NDArray[Any]

EVERYWHERE: Block = (slice(None), slice(None), slice(None))
LOW, HIGH = (-280.0, -280.0, -480.0), (280.0, 280.0, 560.0)  # mm, x y z: the room that random fields cover


@dataclass(frozen=True, slots=True)
class Axes:
    """The grid's coordinates in mm, one vector an axis."""

    x: Floats
    y: Floats
    z: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.z), len(self.y), len(self.x)


@dataclass(frozen=True, slots=True)
class Region:
    block: Block
    value: Floats  # of the block; below 1 inside


def smooth_field(rng: np.random.Generator, axes: Axes, knot: float, sigma: float) -> Floats:
    """A random field with cubic B-splines over knots every `knot` mm: the same in mm on any grid of the same seed."""
    counts = [int(np.ceil((high - low) / knot)) + 4 for low, high in zip(LOW, HIGH, strict=True)]
    knots = rng.standard_normal((counts[2], counts[1], counts[0]), np.float32) * np.float32(sigma * 1.75)
    x, y, z = (
        _spline_weights((coordinates - low) / knot, count)
        for coordinates, low, count in zip((axes.x, axes.y, axes.z), LOW, counts, strict=True)
    )
    planes = np.tensordot(z, knots, 1)  # [z, ky, kx]
    field: Floats = np.matmul(np.matmul(y, planes), x.T).astype(np.float32)
    return field


def _spline_weights(position: Floats, count: int) -> Floats:
    """Weight of every knot at every position (in knots), [positions, knots]."""
    distance = np.abs(position[:, None] - (np.arange(count)[None] - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights: Floats = np.where(distance < 1, near, far).astype(np.float32)
    return weights


class Canvas:
    """HU and labels over a grid, and the (warped) coordinates of every voxel in which shapes are given."""

    def __init__(self, x: Floats, y: Floats, z: Floats) -> None:
        self.x, self.y, self.z = x, y, z
        self.hu = np.full(x.shape, -1000, np.float32)
        self.labels = np.zeros(x.shape, np.uint8)
        self._range = (_extent(z, 0), _extent(y, 1), _extent(x, 2))

    def block(self, low: Point, high: Point) -> Block:
        """The block of voxels whose coordinates may lie between two corners (x, y, z)."""
        bounds = ((low[2], high[2]), (low[1], high[1]), (low[0], high[0]))
        return tuple(  # type: ignore[return-value]
            _hull((smallest <= upper) & (largest >= lower))
            for (smallest, largest), (lower, upper) in zip(self._range, bounds, strict=True)
        )

    def ellipsoid(
        self, centre: Point, radii: Point, angles: Point = (0, 0, 0), power: float = 2.0, margin: float = 1.0
    ) -> Region:
        """A superellipsoid; angles in degrees about x, y, z. The region reaches `margin` times the radii."""
        reach: Point = radii if not any(angles) else (max(radii),) * 3
        low = [c - margin * r * 1.01 for c, r in zip(centre, reach, strict=True)]
        high = [c + margin * r * 1.01 for c, r in zip(centre, reach, strict=True)]
        block = self.block(low, high)
        x, y, z = (g[block] - np.float32(c) for g, c in zip((self.x, self.y, self.z), centre, strict=True))
        x, y, z = _turn(x, y, z, angles)
        parts = [np.abs(g / np.float32(r)) for g, r in zip((x, y, z), radii, strict=True)]
        if power == 2.0:
            return Region(block, parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)
        first, second, third = (part ** np.float32(power) for part in parts)
        return Region(block, first + second + third)

    def tube(self, points: Sequence[Point], radii: Sequence[float], margin: float = 1.0) -> Region:
        """A tube around a polyline, with a radius for each point."""
        reach = max(radii) * margin * 1.01
        array = np.asarray(points, np.float32)
        block = self.block(array.min(0) - reach, array.max(0) + reach)
        x, y, z = self.x[block], self.y[block], self.z[block]
        best = np.full(x.shape, np.inf, np.float32)
        for p, q, first, last in zip(array[:-1], array[1:], radii[:-1], radii[1:], strict=True):
            d = q - p
            along = ((x - p[0]) * d[0] + (y - p[1]) * d[1] + (z - p[2]) * d[2]) / np.float32((d * d).sum())
            along = np.clip(along, 0, 1)
            gap = (x - p[0] - along * d[0]) ** 2 + (y - p[1] - along * d[1]) ** 2 + (z - p[2] - along * d[2]) ** 2
            best = np.minimum(best, gap / np.float32(1) / (first + (last - first) * along) ** 2)
        return Region(block, best.astype(np.float32))

    def paint(self, block: Block, mask: Mask, hu: float | Floats, label: int | None = None) -> None:
        """Set HU (a number, or an array of the block) and, when given, the label of the block's voxels in the mask."""
        np.copyto(self.hu[block], np.float32(hu) if isinstance(hu, int | float) else hu, where=mask, casting="unsafe")
        if label is not None:
            np.copyto(self.labels[block], np.uint8(label), where=mask)


def _extent(values: Floats, axis: int) -> tuple[Floats, Floats]:
    others = tuple(i for i in range(3) if i != axis)
    return values.min(others), values.max(others)


def _hull(hit: Mask) -> slice:
    places = np.flatnonzero(hit)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _turn(x: Floats, y: Floats, z: Floats, angles: Point) -> tuple[Floats, Floats, Floats]:
    a, b, c = (np.float32(np.deg2rad(angle)) for angle in angles)
    if c:
        x, y = np.cos(c) * x + np.sin(c) * y, -np.sin(c) * x + np.cos(c) * y
    if b:
        x, z = np.cos(b) * x + np.sin(b) * z, -np.sin(b) * x + np.cos(b) * z
    if a:
        y, z = np.cos(a) * y + np.sin(a) * z, -np.sin(a) * y + np.cos(a) * z
    return x, y, z

"""How a sinogram was taken, and which volume is wanted: values that are right.

Plane coordinates: x along the volume's axis i, y along j, in mm from the isocentre, the axis of rotation. A ray has the
angle of its normal, theta, and its distance from the isocentre, t: it is the line x cos(theta) + y sin(theta) = t. At
angle 0 rays run towards +y, and elements of the detector follow each other towards +x; positive angles turn x to y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fan:
    """A point source. Distances in mm; a curved detector lies on a circle around the source."""

    source_isocentre: float
    source_detector: float
    curved: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Detector:
    """`spacing` mm from element to element, on the detector; `centre` is the index that the central ray hits."""

    count: int
    spacing: float
    centre: float
    fan: Fan | None = None  # None: parallel rays, spacing is that of the rays

    def angles(self, index: Floats) -> Floats:
        """Radians from the central ray to the ray that hits at `index` (elements are whole numbers)."""
        place = (index - self.centre) * self.spacing
        if self.fan is None:
            return np.zeros_like(place)
        place = place / self.fan.source_detector
        return place if self.fan.curved else np.arctan(place)

    def distances(self, index: Floats) -> Floats:
        """t of the ray that hits at `index`, mm."""
        if self.fan is None:
            return (index - self.centre) * self.spacing
        return self.fan.source_isocentre * np.sin(self.angles(index))

    @property
    def elements(self) -> Floats:
        return np.arange(self.count, dtype=np.float64)

    @property
    def edges(self) -> Floats:
        """t where elements meet, `count` + 1 of them, rising."""
        return self.distances(np.arange(self.count + 1, dtype=np.float64) - 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """Angles of the views in degrees: first + step * number. A negative step turns the other way."""

    count: int
    first: float
    step: float

    @property
    def full_turn(self) -> bool:
        return abs(self.count * abs(self.step) - 360) <= 0.01 * abs(self.step)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """One slice of the volume: pixels along i and j, mm from pixel to pixel, and its middle in plane coordinates."""

    columns: int
    rows: int
    spacing: float
    centre: tuple[float, float] = (0.0, 0.0)

    @property
    def corner(self) -> tuple[float, float]:
        """Plane coordinates of pixel (0, 0), mm."""
        x, y = self.centre
        return x - (self.columns - 1) / 2 * self.spacing, y - (self.rows - 1) / 2 * self.spacing


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """Where slices lie in the patient (LPS, mm): the isocentre in the first, the distance from each to the next, and
    the directions of i, j, k as the columns of a 3 x 3 matrix, row by row."""

    count: int
    isocentre: tuple[float, float, float]
    spacing: float
    direction: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """Everything but the values. `mu_water` in 1/mm; `series` as in clara_driver/SIDECAR.md."""

    detector: Detector
    views: Views
    plane: Plane
    stack: Stack
    mu_water: float
    series: dict[str, str]

    @property
    def radius(self) -> float:
        """Of the circle around the isocentre of which every ray was measured, mm. A full turn sees each ray from both
        ends, so the wider side of the detector is enough."""
        sides = -self.detector.edges[0], self.detector.edges[-1]
        return float(max(sides) if self.views.full_turn else min(sides))

    @property
    def ends(self) -> tuple[int, ...]:
        """The elements beyond which no ray was measured."""
        if not self.views.full_turn:
            return 0, -1
        return (-1,) if self.detector.edges[-1] >= -self.detector.edges[0] else (0,)

    @property
    def between_views(self) -> float:
        """Pixels from a view to the next, at the edge of the slice or of what was measured."""
        plane = self.plane
        reach = min(self.radius, max(plane.columns, plane.rows) / 2 * plane.spacing)
        return float(np.radians(abs(self.views.step)) * reach / plane.spacing)

    @property
    def origin(self) -> tuple[float, float, float]:
        """Of the volume, LPS, mm."""
        x, y = self.plane.corner
        moved = np.reshape(self.stack.direction, (3, 3)) @ np.array((x, y, 0.0)) + np.array(self.stack.isocentre)
        return float(moved[0]), float(moved[1]), float(moved[2])

"""Sinograms of known images, in the form that the stage ct-recon takes: exact ones of ellipses, and of the made-up CT.

    geometry = sinogram.Geometry(beam="fan", views=240, step=1.5)
    values = sinogram.of_ellipses(sinogram.BODY, geometry)      # line integrals [views, elements]
    image = sinogram.image(sinogram.BODY, geometry)             # the truth, HU [rows, columns]
    sinogram.write_ct(phantom.make(seed=7), folder)             # a made-up patient, as a fan beam sees it

Plane coordinates are mm from the isocentre, x along rows and y along columns of the image. At angle 0 the tube is above
the image, at negative y; positive angles turn it from x to y. Rays are those between source and detector as they stand
in the plane: no formula is shared with the stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clara_argo.phantom.ct import Phantom
from clara_driver import volume

Floats = NDArray[np.float64]
MU_WATER = 0.0192  # 1/mm, at about 70 keV
SOURCE_ISOCENTRE, SOURCE_DETECTOR = 570.0, 1040.0  # mm, as in a scanner for people


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """How views are taken, and the image that is wanted: lengths in mm, angles in degrees."""

    beam: Literal["parallel", "fan"] = "parallel"
    detector: Literal["flat", "curved"] = "flat"  # of a fan
    elements: int = 200
    element: float = 2.0  # from element to element, on the detector
    shift: float = 0.0  # elements: how far the central ray hits beside the middle
    views: int = 180
    first: float = 0.0
    step: float = 1.0
    source_isocentre: float = SOURCE_ISOCENTRE
    source_detector: float = SOURCE_DETECTOR
    size: tuple[int, int] = (128, 128)  # columns, rows
    pixel: float = 2.5
    centre: tuple[float, float] = (0.0, 0.0)

    def rays(self) -> tuple[Floats, Floats]:
        """Of each ray [views, elements] a point on it (x, y) and its direction, [2, views, elements]."""
        angles = np.radians(self.first + self.step * np.arange(self.views))[:, None]
        along = np.array((np.cos(angles), np.sin(angles)))  # where elements follow each other
        away = np.array((-np.sin(angles), np.cos(angles)))  # from the source to the isocentre
        place = self.element * (np.arange(self.elements) - (self.elements - 1) / 2 - self.shift)[None]
        if self.beam == "parallel":
            return along * place, np.broadcast_to(away, (2, self.views, self.elements))
        source = -self.source_isocentre * away
        if self.detector == "flat":
            hit = source + self.source_detector * away + place * along
        else:
            opening = place / self.source_detector
            hit = source + self.source_detector * (np.cos(opening) * away + np.sin(opening) * along)
        ray = hit - source
        return np.broadcast_to(source, ray.shape), ray / np.hypot(*ray)

    def pixels(self) -> tuple[Floats, Floats]:
        """x of the columns and y of the rows."""
        return _centred(self.size[0], self.pixel, self.centre[0]), _centred(self.size[1], self.pixel, self.centre[1])


def _centred(count: int, step: float, middle: float) -> Floats:
    return middle + step * (np.arange(count, dtype=np.float64) - (count - 1) / 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ellipse:
    """`hu` is added to what lies below it; the lowest lies on vacuum, -1000 HU."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    hu: float
    angle: float = 0.0  # degrees, from x to y

    def inside(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        turn = np.radians(self.angle)
        across, down = x - self.centre[0], y - self.centre[1]
        u, v = across * np.cos(turn) + down * np.sin(turn), -across * np.sin(turn) + down * np.cos(turn)
        found: NDArray[np.bool_] = (u / self.radii[0]) ** 2 + (v / self.radii[1]) ** 2 < 1
        return found

    def chords(self, point: Floats, direction: Floats) -> Floats:
        """How long each ray runs inside, mm: the ellipse is a circle of radius 1 when its axes are the measure."""
        turn = np.radians(self.angle)
        axes = np.array(((np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn)))) / np.array(self.radii)[:, None]
        start = np.einsum("ab,b...->a...", axes, point - np.reshape(self.centre, (2, 1, 1)))
        way = np.einsum("ab,b...->a...", axes, direction)
        length = (way**2).sum(0)
        nearest = (start * way).sum(0)
        under = nearest**2 - length * ((start**2).sum(0) - 1)
        return np.asarray(2 * np.sqrt(np.clip(under, 0, None)) / length)


BODY = (
    Ellipse(centre=(0, 0), radii=(150, 105), hu=1040),
    Ellipse(centre=(-65, -15), radii=(62, 46), hu=60, angle=20),
    Ellipse(centre=(80, -35), radii=(38, 30), hu=-740, angle=-30),
    Ellipse(centre=(0, 68), radii=(22, 18), hu=460),
    Ellipse(centre=(88, 42), radii=(6, 6), hu=760),
)  # a body with a liver, gas, a vertebra, and a mark that no flip leaves in place


def of_ellipses(ellipses: Sequence[Ellipse], geometry: Geometry, mu_water: float = MU_WATER) -> Floats:
    """Exact line integrals [views, elements], through the middle of each element."""
    point, direction = geometry.rays()
    return np.asarray(mu_water / 1000 * sum(e.hu * e.chords(point, direction) for e in ellipses), float)


def image(ellipses: Sequence[Ellipse], geometry: Geometry, fine: int = 8) -> Floats:
    """HU [rows, columns]: the mean over each pixel, from `fine` x `fine` points in it."""
    columns, rows = geometry.pixels()
    parts = geometry.pixel * ((np.arange(fine) + 0.5) / fine - 0.5)
    x, y = (axis[:, None] + parts for axis in (columns, rows))
    hu = sum(e.hu * e.inside(x.reshape(1, -1), y.reshape(-1, 1)) for e in ellipses)
    blocks = np.reshape(np.asarray(hu, float), (len(rows), fine, len(columns), fine))
    return np.asarray(blocks.mean((1, 3)) - 1000)


def of_slices(hu: NDArray[Any], geometry: Geometry, mu_water: float = MU_WATER) -> NDArray[np.float32]:
    """Line integrals [slices, views, elements] of HU [slices, rows, columns] on the geometry's own pixels.

    Joseph's method (IEEE Trans Med Imaging 1 (1982) 192): along the axis to which a ray is nearer, each row or column
    is met once, between two pixels.
    """
    slices, rows, columns = hu.shape
    mu = np.clip(hu.astype(np.float32).reshape(slices, -1).T + 1000, 0, None) * np.float32(mu_water / 1000)
    found = np.empty((slices, geometry.views, geometry.elements), np.float32)
    for view, weights in enumerate(_weights(geometry, rows, columns)):
        found[:, view] = (weights @ mu).T
    return found


def _weights(geometry: Geometry, rows: int, columns: int) -> Iterator[Any]:
    """For each view a sparse matrix [elements, pixels] with the length of each ray (mm) that a pixel counts for."""
    from scipy.sparse import csr_array

    x, y = geometry.pixels()
    points, directions = geometry.rays()
    for view in range(geometry.views):
        (px, py), (dx, dy) = points[:, view], directions[:, view]
        parts = []
        for steep in (True, False):
            chosen = np.flatnonzero((np.abs(dy) >= np.abs(dx)) == steep)
            main, other = (y, x) if steep else (x, y)
            p, q, d, e = (array[chosen] for array in ((py, px, dy, dx) if steep else (px, py, dx, dy)))
            cross = q[:, None] + (main[None] - p[:, None]) * (e / d)[:, None]
            place = (cross - other[0]) / geometry.pixel
            below = np.floor(place).astype(np.int64)
            length = np.broadcast_to((geometry.pixel / np.abs(d))[:, None], place.shape)
            for index, share in ((below, 1 - (place - below)), (below + 1, place - below)):
                met = (index >= 0) & (index < len(other))
                line = np.broadcast_to(np.arange(len(main))[None], index.shape)
                pixel = line * columns + index if steep else index * columns + line
                ray = np.broadcast_to(chosen[:, None], index.shape)
                parts.append((ray[met], pixel[met], (share * length)[met]))
        ray, pixel, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
        yield csr_array((weight.astype(np.float32), (ray, pixel)), shape=(geometry.elements, rows * columns))


# -- files -------------------------------------------------------------------------------------------------------


def write(
    path: Path,
    values: NDArray[Any],
    geometry: Geometry,
    *,
    isocentre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    slice_spacing: float = 1.0,
    mu_water: float = MU_WATER,
) -> None:
    """`path` (.mhd), its data and its sidecar, from line integrals [slices, views, elements]."""
    content = np.ascontiguousarray(values, "<f4")
    size = (content.shape[2], content.shape[1], content.shape[0])
    spacing = (geometry.element, abs(geometry.step), slice_spacing)
    header = volume.Header(size=size, spacing=spacing, element="MET_FLOAT")
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.write(path, header, content.data, describe(geometry, isocentre, slice_spacing, mu_water))


def describe(
    geometry: Geometry,
    isocentre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    slice_spacing: float = 1.0,
    mu_water: float = MU_WATER,
) -> dict[str, Any]:
    """The sidecar; its form is that of stages/ct-recon/README.md."""
    fan = geometry.beam == "fan"
    detector = {"shape": geometry.detector} if fan else {}
    distances = {key: getattr(geometry, key) for key in ("source_isocentre", "source_detector")} if fan else {}
    return {
        "schema": 1,
        "kind": "sinogram",
        "beam": geometry.beam,
        "detector": detector | {"spacing": geometry.element, "centre": (geometry.elements - 1) / 2 + geometry.shift},
        "angles": {"first": geometry.first, "step": geometry.step},
        **distances,
        "mu_water": mu_water,
        "volume": {"size": list(geometry.size), "spacing": geometry.pixel, "centre": list(geometry.centre)},
        "slices": {"isocentre": list(isocentre), "spacing": slice_spacing},
        "series": {"Modality": "CT", "PatientPosition": "HFS"},
    }


def write_ct(made: Phantom, folder: Path, views: int = 240) -> Geometry:
    """`sinogram.mhd`: a made-up patient in a fan beam on a curved detector, a full turn. The volume that is asked for
    has the patient's own grid."""
    _, rows, columns = made.hu.shape
    thickness, _, pixel = made.spacing
    elements = 2 * max(rows, columns)
    opening = 2 * float(np.arcsin(max(rows, columns) * pixel / 2 / SOURCE_ISOCENTRE))
    geometry = Geometry(
        beam="fan", detector="curved", elements=elements, element=SOURCE_DETECTOR * opening / elements,
        shift=0.25, views=views, step=360 / views, size=(columns, rows), pixel=pixel,
    )  # fmt: skip
    isocentre = (made.origin[0] + (columns - 1) / 2 * pixel, made.origin[1] + (rows - 1) / 2 * pixel, made.origin[2])
    write(folder / "sinogram.mhd", of_slices(made.hu, geometry), geometry, isocentre=isocentre, slice_spacing=thickness)
    return geometry

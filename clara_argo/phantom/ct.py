"""A made-up CT of a made-up patient: HU and labels on any grid, from a seed. Same seed and grid, same bytes.

The patient belongs to the seed, not to the grid: another spacing or field of view shows the same person; only the
noise is drawn per voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clara_argo.phantom import belly, chest, spine
from clara_argo.phantom.patient import ORGANS, Patient
from clara_argo.phantom.shapes import Axes, Floats, Mask

SHAPE, SPACING = (80, 192, 192), (4.0, 2.0, 2.0)  # z, y, x: whole upper abdomen in a few seconds
PARTS = (
    chest.arms,
    chest.lungs,
    chest.heart,
    belly.bowel,
    chest.airways,
    spine.spine,
    spine.pelvis,
    spine.vessels,
    belly.spleen,
    belly.liver,
    spine.vena_cava_in_liver,
    belly.stomach,
    belly.colon,
    belly.kidneys,
    belly.pancreas,
    belly.gallbladder,
)  # from the outside inwards; what is painted later wins
CENTRE = 30.0  # mm: the middle of the picture in the anatomy's z, liver to kidneys


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Phantom:
    """HU int16 and labels uint8, both [z, y, x], axes along LPS; spacing (z, y, x) mm, origin (x, y, z) mm."""

    seed: int
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    phase: str

    def volume_ml(self, organ: str) -> float:
        return float((self.labels == ORGANS.index(organ) + 1).sum() * np.prod(self.spacing) / 1000)


def make(
    seed: int,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    *,
    centre: float = CENTRE,
    noise: float | None = None,
    phase: str | None = None,
    arms: str | None = None,
    table: bool | None = None,
    field_of_view: float | None = None,
) -> Phantom:
    """One patient in the scanner. `shape` and `spacing` (mm) are (z, y, x); `centre` is the z of the middle, in mm of
    the anatomy (0 first lumbar vertebra, 285 tip of the lung). Noise (HU), contrast phase, arms (down, up, none), table
    and the diameter of the field of view (mm; 0: no limit) follow the seed unless given."""
    rng = np.random.default_rng((20200101, seed))
    axes = _axes(shape, spacing, centre)
    patient = Patient(rng, axes, phase, arms)
    for part in PARTS:
        part(patient)
    canvas = patient.canvas
    canvas.labels[~patient.inside] = 0
    draws = rng.uniform(size=8)
    hu = _blurred(canvas.hu, spacing)
    hu += _noise(np.random.default_rng((20200102, seed)), shape, 5 + 22 * draws[0] ** 1.5 if noise is None else noise)
    if draws[1] < 0.8 if table is None else table:
        _add_table(hu, axes, patient.inside, float(patient.half[1] + patient.place[1]), draws[2:5])
    diameter = (0.0 if draws[5] < 0.6 else 330 + 130 * draws[6]) if field_of_view is None else field_of_view
    if diameter:
        hu[:, (axes.y[:, None] ** 2 + axes.x[None] ** 2) > (diameter / 2) ** 2] = -1024
    return Phantom(
        seed=seed,
        hu=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        labels=canvas.labels,
        spacing=spacing,
        origin=(float(axes.x[0]), float(axes.y[0]), float(axes.z[0])),
        phase=patient.phase,
    )


def dice(a: NDArray[np.uint8], b: NDArray[np.uint8], label: int) -> float:
    """2 |A and B| / (|A| + |B|) of one label; 1 where neither has it."""
    one, two = a == label, b == label
    total = int(one.sum()) + int(two.sum())
    return 2 * int((one & two).sum()) / total if total else 1.0


def _axes(shape: tuple[int, int, int], spacing: tuple[float, float, float], centre: float) -> Axes:
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * step + middle).astype(np.float32)
        for n, step, middle in zip(shape, spacing, (centre, 0.0, 0.0), strict=True)
    )
    return Axes(x, y, z)


def _blurred(hu: Floats, spacing: tuple[float, float, float]) -> Floats:
    """The scanner's blur: 1 mm in the plane, half a slice along z."""
    from scipy.ndimage import gaussian_filter

    sigma = (0.35, min(1.0 / spacing[1], 1.5) * 0.9, min(1.0 / spacing[2], 1.5) * 0.9)
    return np.asarray(gaussian_filter(hu, sigma, truncate=3), np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int], sigma: float) -> Floats:
    """Noise that is correlated in the plane, `sigma` HU."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal(shape, np.float32)
    soft = np.asarray(gaussian_filter(white, (0, 0.6, 0.6), truncate=3), np.float32)
    return soft * np.float32(sigma / 0.47)  # 0.47: what the filter leaves of one


def _add_table(hu: Floats, axes: Axes, patient: Mask, back: float, draws: NDArray[np.float64]) -> None:
    """A curved or flat plate of foam and carbon below the back."""
    sag = (axes.x / 1000) ** 2 * (0 if draws[0] < 0.5 else 700)
    top = back + 4 + 14 * draws[1] - sag[None]
    depth = axes.y[:, None] - top
    plate = (depth > 0) & (depth < 22) & (np.abs(axes.x)[None] < 220)
    skin = plate & ((depth < 3) | (depth > 19))
    for plane, body in zip(hu, patient, strict=True):
        plane[plate & ~body] = -850 + 100 * draws[2]
        plane[skin & ~body] = -350 + 300 * draws[2]

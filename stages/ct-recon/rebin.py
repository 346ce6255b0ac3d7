"""Views of any beam -> parallel views, sampled where the library's back-projection wants them.

A ray of a fan is also a ray of a parallel view (Kak and Slaney, Principles of Computerized Tomographic Imaging, 3.4.3:
rebinning): with the source at beta, the ray at gamma from the central one has theta = beta - gamma and
t = D sin(gamma), in the coordinates of `scan`. So views are interpolated over the angle, element by element, and then
over t. An element measures the mean over its width; a sample is the mean over its own (or over an element's, if that
is wider, which is linear interpolation): nothing between samples is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from refusal import Refuse
from scan import Floats, Plane, Scan

MAX_SAMPLES = 1 << 23  # of all parallel views of a slice


@dataclass(frozen=True, slots=True, eq=False)
class Rebinning:
    """What is the same for each slice. Parallel views have the angles `theta` (radians, half a turn)."""

    theta: Floats
    below: np.ndarray[tuple[int, ...], np.dtype[np.intp]]  # [half turns, views, elements]: the view before
    share: Floats  # [half turns, views, elements]: of the view after it
    edges: Floats  # t between elements, mm
    places: Floats  # [views, samples]: t of each sample, mm
    width: float  # of a sample, mm
    share_seen: Floats  # [views, samples]: of each sample, by all half turns together; 1 at least

    def __call__(self, views: Floats) -> Floats:
        """The values [views, elements] of a slice as parallel views [views, samples]."""
        total = np.zeros_like(self.places)
        elements = np.arange(views.shape[1])
        for turn, (below, share) in enumerate(zip(self.below, self.share, strict=True)):
            above = (below + 1) % len(views)
            values = views[below, elements] * (1 - share) + views[above, elements] * share
            areas = np.zeros((len(values), len(self.edges)))
            np.cumsum(values * np.diff(self.edges), axis=1, out=areas[:, 1:])
            for sums, area, places in zip(total, areas, self.places, strict=True):
                sums += self._means(area, -places if turn else places)
        total /= self.share_seen
        return total

    def _means(self, area: Floats, places: Floats) -> Floats:
        half = self.width / 2
        right, left = np.interp(places + half, self.edges, area), np.interp(places - half, self.edges, area)
        return (right - left) / self.width


def prepare(scan: Scan) -> Rebinning:
    """Decide which parallel views there are. Raises Refuse when the views are not enough for an image, or too many."""
    detector, views = scan.detector, scan.views
    gammas = np.degrees(detector.angles(detector.elements))
    count = int(np.ceil(180 / abs(views.step) - 1e-6))
    delta = 180 / count
    sign = np.sign(views.step)
    turns = 2 if views.full_turn else 1
    first = views.first if views.full_turn else views.first - (gammas.min() if sign > 0 else gammas.max())
    theta = first + sign * delta * np.arange(count)
    if not views.full_turn:
        _check_range(scan, 180 - delta + float(np.ptp(gammas)))
    half_turns = sign * 180.0 * np.arange(turns)
    numbers = (theta[None, :, None] + half_turns[:, None, None] + gammas - views.first) / views.step
    nearest = np.rint(numbers)
    numbers = np.where(np.abs(numbers - nearest) < 1e-6, nearest, numbers)  # a view that was measured is taken as it is
    below = np.floor(numbers).astype(np.intp)
    share = numbers - below
    below = below % views.count if views.full_turn else np.clip(below, 0, views.count - 1)
    edges = detector.edges
    width = max(scan.plane.spacing, float(np.diff(edges).max()))
    angles = np.radians(theta)
    places = _places(scan.plane, edges, angles)
    seen = np.maximum(sum(_seen(places * side, edges, width) for side in (1, -1)[:turns]), 1)
    return Rebinning(angles, below, share, edges, places, width, seen)


def _seen(places: Floats, edges: Floats, width: float) -> Floats:
    """Which part of each sample lies on the detector: a shifted one sees some rays in one half turn only."""
    low, high = edges[0], edges[-1]
    seen: Floats = (np.clip(places + width / 2, low, high) - np.clip(places - width / 2, low, high)) / width
    return seen


def _check_range(scan: Scan, needed: float) -> None:
    given = (scan.views.count - 1) * abs(scan.views.step)
    if given < needed - 1e-6:
        raise Refuse(
            "E_ANGLES",
            f"{scan.views.count} views from first to last cover {given:.2f} degrees, {needed:.2f} are needed "
            "(180 and the fan's opening, or a full turn); scan further",
        )


def _places(plane: Plane, edges: Floats, theta: Floats) -> Floats:
    """t of each sample: as far apart as pixels are, an odd number, in the middle that of `middle(plane)`."""
    x, y = middle(plane)
    reach = float(np.abs(edges).max()) + float(np.hypot(x, y))
    half = reach / plane.spacing + 2
    if len(theta) * (2 * half + 1) > MAX_SAMPLES:
        raise Refuse("E_TOO_LARGE", "detector and views are too many for pixels that small; check all spacings")
    samples = plane.spacing * np.arange(-int(half), int(half) + 1)
    places: Floats = samples[None] + (x * np.cos(theta) + y * np.sin(theta))[:, None]
    return places


def middle(plane: Plane) -> tuple[float, float]:
    """The pixel that the library takes for the middle, in plane coordinates (mm): number size // 2 of a square."""
    half = max(plane.columns, plane.rows) // 2 * plane.spacing
    return plane.corner[0] + half, plane.corner[1] + half

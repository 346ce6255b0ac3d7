"""One slice: parallel views -> HU. The filter and the back-projection are scikit-image's."""

from __future__ import annotations

import numpy as np
import rebin
from numpy.typing import NDArray
from rebin import Rebinning
from scan import Floats, Plane, Scan

FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")
OUTSIDE = -1024  # HU beyond the circle of which every ray was measured; nothing is below it
HIGHEST = 32767  # HU, what fits
FAR = 4.0  # pixels between views from which streaks are said: some 15 HU


class Reconstruction:
    """What is the same for each slice of a scan; call it with the views [views, elements] of one."""

    def __init__(self, scan: Scan, filter_name: str) -> None:
        """Raises Refuse."""
        self._scan = scan
        self._filter = filter_name
        self._rebin: Rebinning = rebin.prepare(scan)
        self._outside = outside(scan)

    def __call__(self, views: Floats) -> NDArray[np.int16]:
        """HU [rows, columns]."""
        plane = self._scan.plane
        square = back_projection(self._rebin(views) / plane.spacing, self._rebin.theta, plane, self._filter)
        attenuation = square[: plane.rows, : plane.columns]
        water = self._scan.mu_water
        hu = np.clip(np.rint(1000 * (attenuation - water) / water), OUTSIDE, HIGHEST).astype(np.int16)
        hu[self._outside] = OUTSIDE
        return np.ascontiguousarray(hu)


def back_projection(parallel: Floats, theta: Floats, plane: Plane, filter_name: str) -> Floats:
    """Attenuation [square] of parallel views [views, samples]; the library measures in samples, and turns the other
    way."""
    from skimage.transform import iradon  # half a second, which a refusal need not cost

    size = max(plane.rows, plane.columns)
    found: Floats = iradon(
        parallel.T, theta=-np.degrees(theta), output_size=size, filter_name=filter_name, circle=False
    )
    return found


def outside(scan: Scan) -> NDArray[np.bool_]:
    """The pixels [rows, columns] through which rays run that were not measured."""
    plane = scan.plane
    x = plane.corner[0] + plane.spacing * np.arange(plane.columns)
    y = plane.corner[1] + plane.spacing * np.arange(plane.rows)
    beyond: NDArray[np.bool_] = np.hypot(x[None], y[:, None]) > scan.radius
    return beyond


def warned(scan: Scan, cut: int) -> list[dict[str, str]]:
    """What makes the volume worse than it looks; `cut` slices show an object that is wider than the detector."""
    found = {}
    if scan.between_views > FAR:
        found["W_FEW_VIEWS"] = (
            f"at the edge {scan.between_views:.0f} pixels lie between a view and the next: there are streaks; take "
            "more views, or ask for larger pixels"
        )
    if cut:
        found["W_CUT_OFF"] = (
            f"in {cut} slice(s) the object is wider than the detector: values are too high everywhere, most so near "
            "the edge"
        )
    return [{"code": code, "message": text} for code, text in found.items()]

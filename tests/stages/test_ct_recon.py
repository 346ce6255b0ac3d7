"""ct-recon: the known image comes back from any beam, and lies where it belongs."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clara_argo.phantom import sinogram
from clara_argo.phantom.sinogram import BODY, Ellipse, Geometry
from clara_driver import volume

pytest.importorskip("skimage")

FLAT = Geometry(beam="fan", elements=240, element=3.2, views=360)
CURVED = replace(FLAT, detector="curved", shift=0.25)
GEOMETRIES = {
    "half a turn": Geometry(),
    "a whole turn": Geometry(views=360),
    "an odd number of views": Geometry(views=361, step=360 / 361),
    "backwards": Geometry(step=-1.0),
    "from another angle": Geometry(first=-123.0, views=190),
    "odd sizes": Geometry(size=(141, 127), elements=201),
    "beside the middle": Geometry(size=(90, 101), centre=(41.3, 12.7), pixel=1.7),
    "a shifted detector": Geometry(shift=3.4, views=360),
    "flat": FLAT,
    "flat, fewer views": replace(FLAT, views=240, step=1.5),
    "flat, backwards": replace(FLAT, step=-1.0),
    "flat, short scan": replace(FLAT, views=226, first=-40.0),
    "flat, short scan backwards": replace(FLAT, views=226, first=77.0, step=-1.0),
    "flat, beside the middle": replace(FLAT, size=(90, 101), centre=(41.3, 12.7), pixel=1.7),
    "curved, quarter offset": CURVED,
    "half the fan, flat": replace(FLAT, elements=150, shift=-45.0),
    "half the fan, curved, backwards": replace(CURVED, elements=150, shift=45.25, step=-1.0),
    "half the rays": Geometry(elements=120, shift=40.0, views=360),
    "curved, short scan": replace(CURVED, views=230, first=15.0),
}
LONG = {
    "a whole turn",
    "from another angle",
    "flat, fewer views",
    "flat, beside the middle",
    "curved, short scan",
    "half the fan, flat",
    "half the rays",
}
RMSE, BIAS, PLACE = 10.0, 1.0, 0.3  # HU, HU, mm; README.md has what was measured


def slice_of(recon: types.SimpleNamespace, geometry: Geometry, views: NDArray[Any], name: str = "ramp") -> Any:
    """HU of one slice, through the stage's own modules and the sidecar that is written for it."""
    header = volume.Header(size=(geometry.elements, geometry.views, 1))
    scan = recon.sidecar.scan(sinogram.describe(geometry), header)
    return recon.reconstruct.Reconstruction(scan, name)(views)


def even(geometry: Geometry) -> NDArray[np.bool_]:
    """The pixels in the body that are 6 mm or more from every edge."""
    x, y = geometry.pixels()
    found = grown(BODY[0], -6.0).inside(x[None], y[:, None])
    for ellipse in BODY[1:]:
        edge = grown(ellipse, 6.0).inside(x[None], y[:, None]) & ~grown(ellipse, -6.0).inside(x[None], y[:, None])
        found &= ~edge
    return found


def grown(ellipse: Ellipse, by: float) -> Ellipse:
    return replace(ellipse, radii=(max(ellipse.radii[0] + by, 0.1), max(ellipse.radii[1] + by, 0.1)))


def place_of_mark(hu: NDArray[Any], geometry: Geometry) -> tuple[float, float]:
    """The centre of mass (x, y) of what is above the body around the mark, mm."""
    x, y = geometry.pixels()
    near = replace(BODY[-1], radii=(14.0, 14.0)).inside(x[None], y[:, None])
    weight = np.where(near, hu - 40.0, 0.0)
    return float((weight * x[None]).sum() / weight.sum()), float((weight * y[:, None]).sum() / weight.sum())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in GEOMETRIES]
)
def test_the_known_image_comes_back(name: str, recon: types.SimpleNamespace) -> None:
    """RMSE and bias in even regions, and the place of a mark that no flip, turn or half pixel leaves where it is."""
    geometry = GEOMETRIES[name]
    hu = slice_of(recon, geometry, sinogram.of_ellipses(BODY, geometry)).astype(float)
    error = (hu - sinogram.image(BODY, geometry))[even(geometry)]
    print(f"{name}: RMSE {np.sqrt((error**2).mean()):.1f} HU, bias {error.mean():.2f} HU")
    assert np.sqrt((error**2).mean()) < RMSE
    assert abs(error.mean()) < BIAS
    assert place_of_mark(hu, geometry) == pytest.approx(BODY[-1].centre, abs=PLACE)


def test_the_test_sees_half_a_pixel() -> None:
    moved = [replace(e, centre=(e.centre[0] + 1.25, e.centre[1])) for e in BODY]
    assert place_of_mark(sinogram.image(BODY, Geometry()), Geometry()) == pytest.approx(BODY[-1].centre, abs=PLACE)
    assert place_of_mark(sinogram.image(moved, Geometry()), Geometry()) != pytest.approx(BODY[-1].centre, abs=PLACE)


@pytest.mark.parametrize("name", ("shepp-logan", "cosine", "hamming", "hann"))
def test_every_filter_keeps_the_values(name: str, recon: types.SimpleNamespace) -> None:
    hu = slice_of(recon, FLAT, sinogram.of_ellipses(BODY, FLAT), name).astype(float)
    error = (hu - sinogram.image(BODY, FLAT))[even(FLAT)]
    assert np.sqrt((error**2).mean()) < RMSE and abs(error.mean()) < BIAS


def test_pixels_wider_than_elements_average_what_they_cover(recon: types.SimpleNamespace) -> None:
    """Noise of the rays goes down with the pixels: nothing between samples is thrown away."""
    noise = np.random.default_rng(1).normal(0, 0.02, (180, 400))
    fine = slice_of(recon, Geometry(elements=400, element=1.0, size=(256, 256), pixel=1.0), noise)
    coarse = slice_of(recon, Geometry(elements=400, element=1.0, size=(64, 64), pixel=4.0), noise)
    assert coarse[16:48, 16:48].std() < 0.2 * fine[64:192, 64:192].std()


def test_what_no_view_covers_is_air(recon: types.SimpleNamespace) -> None:
    geometry = Geometry(elements=100)  # 200 mm of the 320 that are asked for
    hu = slice_of(recon, geometry, np.full((180, 100), 2.0))
    x, y = geometry.pixels()
    beyond = np.hypot(x[None], y[:, None]) > 100
    assert (hu[beyond] == -1024).all() and (hu[~beyond] > -1024).any()

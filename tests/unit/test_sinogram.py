"""Sinograms made by code: exact where they can be, and what is projected from pixels agrees with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clara_argo import phantom
from clara_argo.phantom import sinogram
from clara_argo.phantom.sinogram import BODY, Ellipse, Geometry
from clara_driver import volume

pytest.importorskip("scipy")

PARALLEL = Geometry(views=8, step=22.5, elements=81, element=4.0)
FLAT = replace(PARALLEL, beam="fan", detector="flat", element=7.5, first=10.0, step=-45.0)
CURVED = replace(FLAT, detector="curved", shift=0.25)
GEOMETRIES = pytest.mark.parametrize("geometry", (PARALLEL, FLAT, CURVED), ids=("parallel", "flat", "curved"))


def test_a_chord_is_as_long_as_it_is() -> None:
    circle = Ellipse(centre=(30.0, -10.0), radii=(20.0, 20.0), hu=1000.0)
    views = sinogram.of_ellipses([circle], Geometry(views=1, elements=121, element=1.0), mu_water=1.0)
    place = np.arange(121) - 60
    assert views[0] == pytest.approx(2 * np.sqrt(np.clip(20.0**2 - (place - 30.0) ** 2, 0, None)))
    long = Ellipse(centre=(0.0, 0.0), radii=(30.0, 10.0), hu=1000.0, angle=90)
    # its long axis is y, along which the first view looks
    across = sinogram.of_ellipses([long], Geometry(views=2, step=90, elements=3), mu_water=1.0)
    assert across[:, 1] == pytest.approx([60.0, 20.0])


def test_the_tube_is_above_and_turns_to_the_right() -> None:
    """Seen from above, what lies towards +x is hit by the later elements; after 90 degrees, what lies towards +y."""
    for geometry in (replace(PARALLEL, step=90.0), replace(CURVED, first=0.0, step=90.0, shift=0.0)):
        right, low = (Ellipse(centre=place, radii=(5.0, 5.0), hu=1000.0) for place in ((60.0, 0.0), (0.0, 60.0)))
        assert np.argmax(sinogram.of_ellipses([right], geometry)[0]) > 50
        assert np.argmax(sinogram.of_ellipses([low], geometry)[1]) > 50
        assert np.argmax(sinogram.of_ellipses([low], geometry)[3]) < 30


@GEOMETRIES
def test_pixels_that_are_projected_give_what_ellipses_do(geometry: Geometry) -> None:
    """Within what pixels of 2.5 mm can show; a shift by half a pixel, a flip or a turn is ten times that."""
    geometry = replace(geometry, size=(140, 121))
    exact = sinogram.of_ellipses(BODY, geometry)
    projected = sinogram.of_slices(sinogram.image(BODY, geometry)[None], geometry)[0]
    assert np.sqrt(((projected - exact) ** 2).mean()) < 0.012 * exact.max()
    assert projected.sum() == pytest.approx(exact.sum(), rel=2e-3)


def test_the_mark_is_where_it_is() -> None:
    hu = sinogram.image(BODY, Geometry())
    x, y = Geometry().pixels()
    row, column = np.unravel_index(np.argmax(np.where(x[None] > 70, hu, -1000)), hu.shape)
    assert abs(x[column] - 88) <= 5 and abs(y[row] - 42) <= 5


def test_the_patient_as_a_file(tmp_path: Path) -> None:
    made = phantom.make(3, (4, 40, 32), (10.0, 10.0, 10.0), table=False, field_of_view=0)
    geometry = sinogram.write_ct(made, tmp_path, views=12)
    header, values = volume.read(tmp_path / "sinogram.mhd")
    assert header.size == (geometry.elements, 12, 4) and header.element == "MET_FLOAT"
    beside = json.loads((tmp_path / "sinogram.json").read_text())
    assert beside["volume"] == {"size": [32, 40], "spacing": 10.0, "centre": [0.0, 0.0]}
    assert beside["slices"] == {"isocentre": [0.0, 0.0, made.origin[2]], "spacing": 10.0}
    found = np.frombuffer(values, "<f4")
    assert found.min() >= 0 and 4 < found.max() < 15
    sinogram.write_ct(made, tmp_path / "again", views=12)
    for name in ("sinogram.mhd", "sinogram.raw", "sinogram.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()

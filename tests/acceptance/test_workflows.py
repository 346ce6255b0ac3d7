"""Every shipped workflow on input made by code, judged by other readers and by what is known of the patient.

What one workflow writes is input of another: dicom-reader-only, ai-only and dicom-writer-only are ct-ai in three parts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import writer_judges as judges
from click.testing import CliRunner
from numpy.typing import NDArray

from clara_argo import phantom, project, shipped
from clara_argo.cli import main
from clara_argo.demo import samples

pytest.importorskip("onnxruntime")

ORIGIN, SPACING = (-197.5, -197.5, -87.0), (5.0, 5.0, 6.0)
FOLDER = shipped.folder("templates") / "workflows"
ELSEWHERE = {"ct-organs", "recon-only", "recon-ai"}  # run by the tests of the demo and of the stage ct-recon
GOOD = 0.8  # Dice of the liver on so coarse a CT
Run = Callable[[str, Path], Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A workflow by name on an input folder; returns the result. Each runs once."""
    done: dict[tuple[str, Path], Path] = {}

    def run(name: str, source: Path) -> Path:
        if (name, source) not in done:
            output = tmp_path_factory.mktemp(name) / "result"
            words = ["run", str(FOLDER / f"{name}.yaml"), "--input", str(source), "--output", str(output)]
            ended = CliRunner().invoke(main, words, catch_exceptions=False)
            assert ended.exit_code == 0, ended.output
            done[name, source] = output
        return done[name, source]

    return run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DICOM files of the patient of all samples."""
    folder = tmp_path_factory.mktemp("study")
    samples.lay(project.graph(FOLDER / "ct-ai.yaml"), folder)
    return folder


@pytest.fixture(scope="module")
def labels(run: Run, study: Path) -> NDArray[np.uint8]:
    """What the AI says of the patient, by ai-only on the volume of dicom-reader-only."""
    (volume,) = run("ai-only", run("dicom-reader-only", study)).glob("*.mhd")
    return in_place(volume).astype(np.uint8)


def in_place(path: Path) -> NDArray[np.int16]:
    """The voxels [k, j, i] of a volume that lies where the patient does."""
    image = sitk.ReadImage(str(path))
    assert (image.GetOrigin(), image.GetSpacing()) == (ORIGIN, SPACING)
    return sitk.GetArrayFromImage(image)


def series_in_place(files: list[Path]) -> NDArray[np.int16]:
    """The same of a DICOM series."""
    files = sorted(files, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    image = sitk.ReadImage(list(map(str, files)))
    assert image.GetOrigin() == ORIGIN and image.GetSpacing() == pytest.approx(SPACING)
    return sitk.GetArrayFromImage(image)


def by_kind(result: Path) -> dict[str, list[Path]]:
    """The DICOM files of a result by modality; every one of them valid."""
    files = sorted(result.rglob("*.dcm"))
    some = {path.parent: path for path in files if path.parent != result}  # one image of each series is judged
    assert files and judges.dciodvfy_errors([*(path for path in files if path.parent == result), *some.values()]) == []
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(str(pydicom.dcmread(path, stop_before_pixels=True).Modality), []).append(path)
    return found


def of_seg(path: Path) -> NDArray[np.uint8]:
    """Values of a SEG on the grid of the patient; its segments are numbered as the organs are."""
    values, places = judges.by_dcmqi(path)
    whole = np.zeros(samples.SHAPE, np.uint8)
    index = np.rint((places[values > 0] - ORIGIN) / SPACING).astype(int)
    whole[index[:, 2], index[:, 1], index[:, 0]] = values[values > 0]
    return whole


def test_dicom_reader_only_gives_the_volume_of_the_patient(run: Run, study: Path) -> None:
    (volume,) = run("dicom-reader-only", study).glob("*.mhd")
    assert np.array_equal(in_place(volume), samples.patient().hu)


def test_ai_only_finds_the_organs(labels: NDArray[np.uint8]) -> None:
    truth = samples.patient().labels
    assert phantom.dice(labels, truth, 1) > GOOD and phantom.dice(labels, truth, 2) > GOOD


def test_dicom_writer_only_writes_a_seg_and_a_series(run: Run, tmp_path: Path) -> None:
    samples.lay(project.graph(FOLDER / "dicom-writer-only.yaml"), tmp_path / "in")
    found = by_kind(run("dicom-writer-only", tmp_path / "in"))
    assert found.keys() == {"SEG", "CT"}
    assert np.array_equal(of_seg(found["SEG"][0]), samples.patient().labels)
    assert np.array_equal(series_in_place(found["CT"]), samples.patient().hu)


def test_dicom_reader_writer_gives_the_same_images_as_another_series(run: Run, study: Path) -> None:
    found = by_kind(run("dicom-reader-writer", study))
    assert found.keys() == {"CT"} and np.array_equal(series_in_place(found["CT"]), samples.patient().hu)
    source = pydicom.dcmread(next((study / samples.STUDY).iterdir()))
    derived = pydicom.dcmread(found["CT"][0])
    assert derived.SeriesInstanceUID != source.SeriesInstanceUID and derived.ImageType[0] == "DERIVED"
    assert (derived.PatientID, derived.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)


def test_ct_ai_is_its_three_parts(run: Run, study: Path, labels: NDArray[np.uint8]) -> None:
    found = by_kind(run("ct-ai", study))
    assert found.keys() == {"SEG"} and np.array_equal(of_seg(found["SEG"][0]), labels)


def test_ct_partial_ends_before_the_writer(run: Run, study: Path, labels: NDArray[np.uint8]) -> None:
    (volume,) = run("ct-partial", study).glob("*.mhd")
    assert np.array_equal(in_place(volume), labels)


def test_organ_seg_gives_a_seg_and_a_series_of_labels(run: Run, study: Path, labels: NDArray[np.uint8]) -> None:
    found = by_kind(run("organ-seg", study))
    assert found.keys() == {"SEG", "CT"}
    assert np.array_equal(of_seg(found["SEG"][0]), labels)
    assert np.array_equal(series_in_place(found["CT"]), labels)


def test_liver_seg_gives_the_liver_and_its_volume(run: Run, study: Path, labels: NDArray[np.uint8]) -> None:
    found = by_kind(run("liver-seg", study))
    assert found.keys() == {"SEG", "SR"}
    liver = of_seg(found["SEG"][0])
    assert phantom.dice(liver, labels, 1) > 0.98  # where it touches another organ its edge is its own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (group,) = highdicom.sr.srread(found["SR"][0]).content.get_volumetric_roi_measurement_groups()
    (measured,) = group.get_measurements()
    voxels = int(np.count_nonzero(liver))
    assert measured.unit.value == "ml" and measured.value == pytest.approx(voxels * np.prod(SPACING) / 1000, rel=1e-5)
    assert measured.value == pytest.approx(samples.patient().volume_ml("liver"), rel=0.15)
    if shutil.which("dsrdump"):
        shown = subprocess.run(["dsrdump", found["SR"][0]], capture_output=True, text=True, check=True).stdout
        assert "Liver" in shown and "milliliter" in shown


def test_every_shipped_workflow_is_run_by_a_test(tmp_path: Path) -> None:
    here = set(re.findall(r'run\("([a-z-]+)"', Path(__file__).read_text()))
    assert here <= {workflow.name for workflow in project.workflows(tmp_path)} <= here | ELSEWHERE

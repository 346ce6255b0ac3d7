"""The loop as a newcomer runs it: `clara demo`, its files, its exit code, and that its judge is not asleep."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from clara_argo.demo import pacs, verify
from clara_argo.demo.verify import Labels, WrongResult
from clara_driver import volume


def demo(output: Path, *options: str, code: int = 0, **environ: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "clara_argo", "demo", "--output", str(output), "-o", "json", *options]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == code, done.stderr
    if code:
        return {"error": done.stderr.splitlines()[-1]}
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary == json.loads((output / "summary.json").read_text())
    return summary


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo on the phantom with everything kept, with the PACS that every machine has."""
    output = tmp_path_factory.mktemp("demo")
    summary = demo(output, "--data", "phantom", "--pacs", "python", "--keep")
    assert summary["pacs"] == "python" and summary["data"] == "phantom"
    return output


def test_the_phantom_goes_there_and_back(kept: Path) -> None:
    summary = json.loads((kept / "summary.json").read_text())
    assert list(summary["stages"]) == ["dicom-reader", "ct-organ-seg", "dicom-writer"]
    assert all(seconds > 0 for seconds in summary["stages"].values())
    assert summary["sent"] == len(list((kept / "room" / "phantom").iterdir())) > 40
    assert summary["sop_classes"] == {"Segmentation Storage": 1} and summary["returned"] == 1
    assert summary["dice"]["liver"] > 0.8 and summary["job"] and summary["seconds"] > 0
    assert "Not for clinical use" in summary["notice"]


def test_the_picture_shows_the_organs_in_colour(kept: Path) -> None:
    pixels = np.asarray(Image.open(kept / "result.png").convert("RGB")).astype(int)
    assert pixels.shape[0] > 500 and pixels.shape[1] > 1000
    coloured = (pixels.max(axis=-1) - pixels.min(axis=-1)) > 60
    assert 0.01 < coloured.mean() < 0.5


def test_pacs_and_adapter_share_no_folder(kept: Path) -> None:
    config = (kept / "room" / "adapter.yaml").read_text()
    assert str(kept / "room" / "spool") in config and str(kept / "room" / "pacs") not in config


@pytest.mark.long
def test_dcmtk_as_pacs(tmp_path: Path) -> None:
    if "dcmtk" not in pacs.kinds():
        pytest.skip("dcmtk is not installed")
    assert demo(tmp_path / "demo", "--data", "phantom", "--pacs", "dcmtk")["pacs"] == "dcmtk"
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["result.png", "summary.json"]


def test_the_real_ct(lidc_ct: Path, lidc_labels: Path, tmp_path: Path) -> None:
    summary = demo(tmp_path / "demo", "--data", "lidc")
    assert summary["sent"] == 133 and summary["dice"]["liver"] >= 0.6
    assert "LIDC-IDRI" in summary["citation"]


@pytest.mark.long  # deliveries are tried for a while
def test_a_closed_return_port_fails_the_demo(tmp_path: Path) -> None:
    failed = demo(tmp_path / "demo", "--data", "phantom", "--return-port", str(pacs.free_port()), code=4)
    assert "did not come back to the PACS" in failed["error"]
    assert not (tmp_path / "demo" / "summary.json").exists()


@pytest.mark.long
def test_without_the_real_ct_a_phantom_takes_its_place(tmp_path: Path) -> None:
    options = {"CLARA_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    assert demo(tmp_path / "demo", "--pacs", "python", **options)["data"] == "phantom"


@pytest.mark.long
def test_a_study_of_ones_own(kept: Path, tmp_path: Path) -> None:
    summary = demo(tmp_path / "demo", "--input", str(kept / "room" / "phantom"), "--pacs", "python")
    assert summary["data"] == "phantom" and summary["dice"] == {}


def test_other_files_in_the_output_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in demo(tmp_path, "--data", "phantom", code=64)["error"]
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# The judge


@pytest.fixture
def returned(kept: Path, tmp_path: Path) -> Path:
    found = Path(shutil.copytree(kept / "room" / "pacs", tmp_path / "returned"))
    return next(found.iterdir())


@pytest.fixture
def labels(kept: Path) -> Labels:
    job = next((kept / "room" / "spool" / "jobs").iterdir())
    return verify.read_labels(volume.find(job / "ct-organ-seg" / "output")[0])


def test_the_judge_passes_what_is_right(kept: Path, returned: Path, labels: Labels) -> None:
    assert verify.check_identity([returned], kept / "room" / "phantom") == {"Segmentation Storage": 1}
    assert verify.check_segmentations([returned], [labels]) == 1


def test_the_judge_sees_nothing(kept: Path, labels: Labels) -> None:
    with pytest.raises(WrongResult, match="nothing came back"):
        verify.check_identity([], kept / "room" / "phantom")
    with pytest.raises(WrongResult, match="no segmentation"):
        verify.check_segmentations([], [labels])


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "PatientName"])
def test_the_judge_sees_another_patient(kept: Path, returned: Path, keyword: str) -> None:
    dataset = pydicom.dcmread(returned)
    setattr(dataset, keyword, "1.2.3")
    dataset.save_as(returned)
    with pytest.raises(WrongResult, match=keyword):
        verify.check_identity([returned], kept / "room" / "phantom")


def test_the_judge_sees_one_voxel(returned: Path, labels: Labels) -> None:
    values = labels.values.copy()
    inside = np.argwhere(values > 0)[0]
    values[tuple(inside)] = 0
    with pytest.raises(WrongResult, match="1 voxels differ"):
        verify.check_segmentations([returned], [labels._replace(values=values)])


def test_the_judge_sees_a_moved_grid(returned: Path, labels: Labels) -> None:
    dataset = pydicom.dcmread(returned)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        plane = frame.PlanePositionSequence[0]
        plane.ImagePositionPatient = [plane.ImagePositionPatient[0] + 0.9, *plane.ImagePositionPatient[1:]]
    dataset.save_as(returned)
    with pytest.raises(WrongResult, match="voxels apart"):
        verify.check_segmentations([returned], [labels])


def test_the_judge_knows_the_floors() -> None:
    with pytest.raises(WrongResult, match=r"liver 0\.590 < 0\.6"):
        verify.check_floors({"liver": 0.59}, {"liver": 0.6})

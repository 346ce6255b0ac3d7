"""dicom-writer --report volumes: a structured report beside the SEG, judged by programs that share no code with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import highdicom
import numpy as np
import pydicom
import pytest
import writer_judges as judges
import writer_source as made
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage
from support import CompletedStage, run_stage
from writer_source import Grid

from clara_adapter import checks
from clara_adapter.contents import data_set_digest
from clara_adapter.store import Instance, Payload

GRID = Grid(spacing=(2.5, 1.5, 1.25))


def run(folder: Path) -> CompletedStage:
    return run_stage("dicom-writer", input=folder / "in", study=folder / "study", args=["--report", "volumes"])


def case(folder: Path, instances: list[Dataset], grid: Grid = GRID, **values: Any) -> dict[str, float]:
    """A study and a label map on it; returns the volume of each label by the count of its voxels, ml."""
    made.save(instances, folder / "study")
    labels = made.label_of(grid.places())
    made.put(folder / "in", "labels", grid.header(), labels, made.sidecar(instances, **values))
    voxel = float(np.prod(grid.spacing)) / 1000
    return {f"Organ {value} ({value})": int((labels == value).sum()) * voxel for value in range(1, made.ORGANS + 1)}


class Written(NamedTuple):
    folder: Path
    instances: list[Dataset]
    volumes: dict[str, float]
    done: CompletedStage


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A CT with four organs through the stage."""
    folder, instances = tmp_path_factory.mktemp("ct"), made.series(GRID)
    return Written(folder, instances, case(folder, instances), run(folder))


def pair(done: CompletedStage) -> tuple[Path, Path]:
    """The report and the SEG."""
    assert done.code == 0, done.log
    report, segmentation = sorted(done.output.rglob("*.dcm"))
    assert report.name.startswith("report-") and segmentation.name.startswith("seg-")
    return report, segmentation


def by_highdicom(path: Path) -> dict[str, float]:
    """Volumes in ml by tracking identifier."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = highdicom.sr.srread(path)
        groups = report.content.get_volumetric_roi_measurement_groups()
    found = {}
    for group in groups:
        (measured,) = group.get_measurements(name=pydicom.sr.coding.Code("118565006", "SCT", "Volume"))
        assert measured.unit.value == "ml" and measured.unit.scheme_designator == "UCUM"
        found[str(group.tracking_identifier)] = float(measured.value)
    return found


def assert_right(folder: Path, done: CompletedStage, volumes: dict[str, float]) -> None:
    report, segmentation = pair(done)
    assert by_highdicom(report) == pytest.approx(volumes, rel=1e-5)
    assert judges.dciodvfy_errors([report, segmentation]) == []
    sources = [path for path in (folder / "study").rglob("*") if path.is_file() and path.name != "README"]
    assert judges.dcentvfy_errors([*sources, report, segmentation]) == []


def test_the_report_says_the_volume_of_every_organ(ct: Written) -> None:
    assert_right(ct.folder, ct.done, ct.volumes)


def test_of_an_oblique_mr_too_and_of_an_organ_that_was_not_found(tmp_path: Path) -> None:
    grid = Grid(orientation=made.OBLIQUE, shape=(5, 7, 5))
    missing = {**made.organs()[0], "value": 9, "label": "Organ 9"}
    instances = made.series(grid, sop_class=MRImageStorage)
    volumes = case(tmp_path, instances, grid, segments=[*made.organs(), missing])
    assert_right(tmp_path, run(tmp_path), volumes | {"Organ 9 (9)": 0.0})


def test_of_an_organ_that_the_images_cut_it_says_so(tmp_path: Path) -> None:
    instances, labels = made.series(GRID), np.zeros(GRID.shape, np.uint8)
    labels[2:4, 3:5, 3:5] = 1
    labels[4:, 6:8, 3:5] = 2  # to the last image
    labels[2:4, 6:8, 10:] = 3  # to the border of some images
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "labels", GRID.header(), labels, made.sidecar(instances))
    done = run(tmp_path)
    report, _ = pair(done)
    groups = next(item for item in pydicom.dcmread(report).ContentSequence if item.ValueType == "CONTAINER")
    said = [
        [item.TextValue for item in group.ContentSequence if "Comment" in str(item)] for group in groups.ContentSequence
    ]
    assert [bool(texts) for texts in said] == [False, True, True, False]
    assert "the volume of the part that they show" in said[1][0] and "W_CUT: 2 of 4 organs" in done.log
    assert judges.dciodvfy_errors([report]) == [] and len(by_highdicom(report)) == made.ORGANS


def test_dcmqi_finds_the_measurements(ct: Written, tmp_path: Path) -> None:
    report, _ = pair(ct.done)
    target = tmp_path / "found.json"
    command = [judges.program("tid1500reader"), "--inputDICOM", str(report), "--outputMetadata", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    groups = json.loads(target.read_text())["Measurements"]
    found = {group["TrackingIdentifier"]: float(group["measurementItems"][0]["value"]) for group in groups}
    assert found == pytest.approx(ct.volumes, rel=1e-5)


def test_dcmtk_shows_it(ct: Written) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed; apt-get install dcmtk")
    report, _ = pair(ct.done)
    shown = subprocess.run(["dsrdump", "+Pl", report], capture_output=True, text=True, check=True)
    complaints = [line for line in shown.stderr.splitlines() if line.startswith(("E:", "W:", "F:"))]
    assert not [line for line in complaints if "VR checker does not support this Specific Character Set" not in line]
    assert shown.stdout.count('"Volume")="') == made.ORGANS
    assert "Not for clinical use" in shown.stdout and "Right" in shown.stdout


def test_each_group_names_its_segment_and_both_are_tracked_alike(ct: Written) -> None:
    report, segmentation = map(pydicom.dcmread, pair(ct.done))
    assert report.SOPClassUID == Comprehensive3DSRStorage and report.SeriesNumber == 4002
    assert "not for clinical use" in report.SeriesDescription
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY",
    )  # fmt: skip
    measurements = next(item for item in report.ContentSequence if item.ValueType == "CONTAINER")
    tracked = {segment.SegmentNumber: segment.TrackingUID for segment in segmentation.SegmentSequence}
    assert len(measurements.ContentSequence) == len(tracked) == made.ORGANS
    for group in measurements.ContentSequence:
        items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
        reference = items["121191"].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert tracked[reference.ReferencedSegmentNumber] == items["112040"].UID
        assert made.uid("a series") == items["121232"].UID


def test_the_adapter_lets_it_leave(ct: Written, tmp_path: Path) -> None:
    first = ct.instances[0]
    payload = Payload(1, "p", "r", "CALLED", first.StudyInstanceUID, first.PatientID, "", "sealed", 0.0)
    rows = []
    for one in ct.instances:
        one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
        digest = data_set_digest(tmp_path / "one.dcm")
        uid, kind = str(one.SOPInstanceUID), str(one.SOPClassUID)
        rows.append(Instance("p", uid, kind, str(one.SeriesInstanceUID), str(one.FrameOfReferenceUID), digest, 1))
    results = checks.check(ct.done.output, payload, rows)
    assert {result.sop_class for result in results} == {Comprehensive3DSRStorage, "1.2.840.10008.5.1.4.1.1.66.4"}
    with pytest.raises(checks.MustNotLeave, match="not of this study"):
        checks.check(ct.done.output, payload, rows[1:])


def test_the_same_input_gives_the_same_bytes(ct: Written) -> None:
    again = run(ct.folder)
    assert pair(again)[0].read_bytes() == pair(ct.done)[0].read_bytes()


def test_a_report_needs_the_seg_that_it_refers_to(tmp_path: Path) -> None:
    made.put(tmp_path / "in", "labels", GRID.header(), made.label_of(GRID.places()))
    done = run_stage("dicom-writer", input=tmp_path / "in", args=["--report", "volumes", "--labels-as", "series"])
    assert done.code == 2 and "--labels-as seg or both" in done.log and not list(done.output.iterdir())

"""dicom-reader, as a process: the 37 cases, each right in every voxel, or refused by its exact code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dicom_cases import CASES, Case, image, stack, uid, write
from reader_checks import codes, load, read, refusal, share_right, sidecar

from clara_driver import volume


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path) -> None:
    done = read(write(case.make(), tmp_path / "in", suffix=case.suffix))
    if case.refusal:
        assert refusal(done) == f"{case.refusal} {case.about}".strip()
        return
    assert done.code == 0, done.log
    volumes = volume.find(done.output)
    assert len(volumes) == (2 if case.name.startswith("25") else 1)
    for path in volumes:
        assert share_right(path) >= case.right
        assert load(path)[0].size == (48, 40, case.slices)
        assert codes(path) == list(case.warnings)
        for code in case.warnings:
            assert code in done.log


def test_sidecar_says_where_the_slices_come_from(tmp_path: Path) -> None:
    done = read(write(stack("sidecar", BodyPartExamined="CHEST"), tmp_path / "in"))
    (path,) = volume.find(done.output)
    assert path.name == f"{uid('sidecar', 's')}.mhd"
    found, (header, _) = sidecar(path), load(path)
    assert found["schema"] == 1 and found["kind"] == "image"
    assert found["series"] == {
        "SeriesInstanceUID": uid("sidecar", "s"),
        "StudyInstanceUID": uid("sidecar", "study"),
        "FrameOfReferenceUID": uid("sidecar", "frame of reference"),
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "Modality": "CT",
        "PatientPosition": "HFS",
        "BodyPartExamined": "CHEST",
    }
    assert found["values"] == {"unit": "HU", "element": header.element == "MET_SHORT" and "MET_SHORT"}
    geometry = found["geometry"]
    assert tuple(geometry["size"]) == header.size and tuple(geometry["spacing"]) == header.spacing == (1.25, 1.5, 2.0)
    assert tuple(geometry["origin"]) == header.origin and tuple(geometry["direction"]) == header.direction
    assert [entry["SOPInstanceUID"] for entry in found["instances"]] == [uid("sidecar", "s", k) for k in range(12)]
    assert [entry["position"][2] for entry in found["instances"]] == [-12.0 + 2 * k for k in range(12)]
    assert {entry["frame"] for entry in found["instances"]} == {None}


def test_the_frames_of_a_multi_frame_object_are_counted_from_1(tmp_path: Path) -> None:
    done = read(write(CASES["11 enhanced, frames reversed"].make(), tmp_path / "in"))
    (path,) = volume.find(done.output)
    assert [entry["frame"] for entry in sidecar(path)["instances"]] == list(range(12, 0, -1))


def test_same_input_same_bytes(tmp_path: Path) -> None:
    one = read(write(stack("same"), tmp_path / "one", seed=1))
    other = read(write(stack("same"), tmp_path / "other", seed=2))
    left, right = ({p.name: p.read_bytes() for p in done.output.iterdir()} for done in (one, other))
    assert left == right and len(left) == 3


def test_progress_is_told(tmp_path: Path) -> None:
    done = read(write(stack("progress"), tmp_path / "in"))
    assert done.progress == "12/12" and done.locks == ["dicom-reader.lock", "input.lock"]


def test_logs_and_volumes_name_no_patient(tmp_path: Path) -> None:
    slices = stack("phi", PatientName="Secret^Person", PatientID="PID-777", AccessionNumber="ACC-888")
    good, bad = read(write(slices, tmp_path / "good")), read(write(slices[:5] + slices[6:], tmp_path / "bad"))
    written = b"".join(path.read_bytes() for path in good.output.iterdir() if path.suffix != ".raw").decode()
    for text in (good.log, bad.log, bad.error, written):
        assert not re.search("Secret|Person|PID-777|ACC-888", text)
    assert uid("phi", "s") not in good.log + bad.log and uid("phi", "s")[-8:] in bad.log
    assert json.loads((good.output / f"{uid('phi', 's')}.json").read_text())["warnings"] == []


def test_one_slice_says_where_its_thickness_comes_from(tmp_path: Path) -> None:
    thicknesses: tuple[tuple[str, dict[str, Any], float], ...] = (
        ("between", {"SpacingBetweenSlices": "3.5"}, 3.5),
        ("thick", {}, 2.0),
        ("nonsense", {"SliceThickness": "0"}, 1.0),
    )
    for name, more, value in thicknesses:
        done = read(write([image(name, 0, (0, 0, 0), **more)], tmp_path / name))
        (path,) = volume.find(done.output)
        assert load(path)[0].spacing[2] == value and codes(path) == ["W_SINGLE_SLICE"]

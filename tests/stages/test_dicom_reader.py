"""dicom-reader, as a process: the 37 cases, each right in every voxel, or refused by its exact code."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_cases import CASES, Case, expected, image, stack, uid, write
from numpy.typing import NDArray
from support import CompletedStage, run_stage

from clara_driver import volume


def read(folder: Path, *args: str) -> CompletedStage:
    return run_stage("dicom-reader", input=folder, args=args)


def load(path: Path) -> tuple[volume.Header, NDArray[Any]]:
    """Header and voxels in the order k, j, i."""
    header, voxels = volume.read(path)
    return header, np.frombuffer(voxels, header.dtype).reshape(header.size[::-1])


def share_right(path: Path) -> float:
    """The share of voxels that hold the value of the place where the header puts them."""
    header, values = load(path)
    k, j, i = np.indices(values.shape)
    matrix = np.array(header.direction).reshape(3, 3) * np.array(header.spacing)
    world = np.stack([i, j, k], -1) @ matrix.T + np.array(header.origin)
    return float((np.abs(values - expected(world)) <= 1).mean())


def sidecar(path: Path) -> dict[str, Any]:
    found = volume.read_sidecar(path)
    assert found is not None
    return found


def codes(path: Path) -> list[str]:
    return [warning["code"] for warning in sidecar(path)["warnings"]]


def refusal(done: CompletedStage) -> str:
    """The refusal's code and what stands behind it; fails when nothing was refused, or it was no refusal."""
    assert done.code == 1, done.log
    assert "Traceback" not in done.log
    assert not list(done.output.iterdir()), "something was written beside a refusal"
    assert "dicom-reader.lock" not in done.locks
    found = re.match(r"(E_[A-Z0-9_]+(?: [^:]+)?): \S", done.error)
    assert found, done.error
    return found[1]


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
    assert found["digest"] == hashlib.sha256(path.with_suffix(".raw").read_bytes()).hexdigest()


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
    for name, more, value in (
        ("between", {"SpacingBetweenSlices": "3.5"}, 3.5),
        ("thick", {}, 2.0),
        ("nonsense", {"SliceThickness": "0"}, 1.0),
    ):
        done = read(write([image(name, 0, (0, 0, 0), **more)], tmp_path / name))
        (path,) = volume.find(done.output)
        assert load(path)[0].spacing[2] == value and codes(path) == ["W_SINGLE_SLICE"]

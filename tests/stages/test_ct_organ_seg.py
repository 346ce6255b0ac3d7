"""ct-organ-seg as a process: the right organs on the CT's own grid, whatever its axes; clear words for a refusal."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, CompletedStage, a_few, run_stage

from clara_argo import phantom
from clara_driver import volume

pytest.importorskip("onnxruntime")
pytest.importorskip("scipy")

STAGE = ROOT / "stages" / "ct-organ-seg"
MODEL = STAGE / "models" / "ct-organs"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
GRID: dict[str, Any] = {"shape": (60, 100, 120), "spacing": (4.0, 3.5, 3.5), "centre": 30.0}
Volume = NDArray[np.int16]


@pytest.fixture(scope="module")
def patient() -> phantom.Phantom:
    return phantom.make(100_001, **GRID, noise=10, field_of_view=0)


@pytest.fixture(scope="module")
def straight(patient: phantom.Phantom, tmp_path_factory: pytest.TempPathFactory) -> CompletedStage:
    """The patient through the stage, axial, with a sidecar."""
    folder = tmp_path_factory.mktemp("straight")
    write(folder / "ct.mhd", patient.hu, header_of(patient), sidecar())
    done = run(folder)
    assert done.code == 0, done.log
    return done


def run(folder: Path, *args: str, env: dict[str, str] | None = None) -> CompletedStage:
    return run_stage("ct-organ-seg", input=folder, args=args, env={**ONE_THREAD, **(env or {})})


def header_of(made: phantom.Phantom) -> volume.Header:
    z, y, x = made.spacing
    return volume.Header(size=made.hu.shape[::-1], spacing=(x, y, z), origin=made.origin)


def write(path: Path, hu: NDArray[Any], header: volume.Header, beside: dict[str, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.write(path, header, np.ascontiguousarray(hu).tobytes(), beside)


def sidecar(modality: str = "CT", kind: str = "image") -> dict[str, Any]:
    series = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "Modality": modality}
    instances = [{"SOPInstanceUID": f"1.2.3.{k}", "frame": None, "position": [0.0, 0.0, float(k)]} for k in range(3)]
    return {"schema": 1, "kind": kind, "series": series, "instances": instances}


def labels_of(done: CompletedStage, name: str = "ct") -> NDArray[np.uint8]:
    """[k, j, i]"""
    header, voxels = volume.read(done.output / f"{name}.mhd")
    assert header.element == "MET_UCHAR"
    return np.frombuffer(voxels, np.uint8).reshape(header.size[::-1])


# -- what it finds -----------------------------------------------------------------------------------------------


FLOORS = json.loads((MODEL / "floors.json").read_text())


@pytest.mark.parametrize("seed", a_few(FLOORS["seeds"], FLOORS["seeds"][0]))
def test_organs_reach_their_floors(seed: int, tmp_path: Path) -> None:
    """Patients that were not trained on, at the demo's resolution."""
    made = phantom.make(seed)
    write(tmp_path / "ct.mhd", made.hu, header_of(made))
    done = run(tmp_path)
    assert done.code == 0, done.log
    found = labels_of(done)
    dice = {organ: phantom.dice(found, made.labels, value) for value, organ in enumerate(phantom.ORGANS, 1)}
    low = {organ: (dice[organ], floor) for organ, floor in FLOORS["floors"].items() if dice[organ] < floor}
    assert not low


def test_result_describes_itself(straight: CompletedStage, patient: phantom.Phantom) -> None:
    header = volume.read_header(straight.output / "ct.mhd")
    assert header._replace(element="", data_file="") == header_of(patient)._replace(element="", data_file="")
    beside = volume.read_sidecar(straight.output / "ct.mhd")
    assert beside is not None
    assert (beside["kind"], beside["series"], beside["instances"]) == (
        "labels",
        *map(sidecar().get, ("series", "instances")),
    )
    assert beside["geometry"]["size"] == list(header.size)
    assert beside["notice"].startswith("Not for clinical use")
    assert beside["algorithm"]["digest"] == hashlib.sha256((MODEL / "1" / "model.onnx").read_bytes()).hexdigest()
    segments = {segment["name"]: segment for segment in beside["segments"]}
    assert tuple(segments) == phantom.ORGANS
    counts = np.bincount(labels_of(straight).ravel(), minlength=10)
    for value, organ in enumerate(phantom.ORGANS, 1):
        assert segments[organ]["value"] == value
        assert segments[organ]["volume_ml"] == pytest.approx(counts[value] * 4 * 3.5 * 3.5 / 1000, abs=0.01)
        assert {"scheme", "value", "meaning"} <= set(segments[organ]["type"])
    assert segments["kidney_left"]["laterality"]["meaning"] == "Left"
    assert straight.locks == ["ct-organ-seg.lock", "input.lock"]
    assert straight.progress == "10/10"


def test_same_bytes_again(straight: CompletedStage, patient: phantom.Phantom, tmp_path: Path) -> None:
    write(tmp_path / "ct.mhd", patient.hu, header_of(patient), sidecar())
    again = run(tmp_path)
    for name in ("ct.mhd", "ct.raw", "ct.json"):
        assert (again.output / name).read_bytes() == (straight.output / name).read_bytes()


# -- any axes ----------------------------------------------------------------------------------------------------

MOVES = {  # order and direction of the array's axes (k, j, i) in terms of (z, y, x)
    "upside-down": ((0, 1, 2), (-1, 1, 1)),
    "rows-backwards": ((0, 1, 2), (1, -1, -1)),
    "sagittal": ((2, 0, 1), (1, -1, 1)),
}


@pytest.mark.parametrize("move", MOVES)
def test_axes_do_not_matter(move: str, straight: CompletedStage, patient: phantom.Phantom, tmp_path: Path) -> None:
    """The same patient stored along other axes: the same labels in patient space, voxel for voxel but for rounding."""
    order, signs = MOVES[move]
    turned = patient.hu.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    write(tmp_path / "ct.mhd", turned, moved_header(patient, order, signs))
    done = run(tmp_path)
    assert done.code == 0, done.log
    back = labels_of(done)[tuple(slice(None, None, sign) for sign in signs)].transpose(np.argsort(order))
    assert (back != labels_of(straight)).mean() < 1e-4


def moved_header(made: phantom.Phantom, order: tuple[int, ...], signs: tuple[int, ...]) -> volume.Header:
    size, spacing = made.hu.shape, made.spacing
    columns, origin = [], np.array(made.origin)
    for axis, sign in zip(order[::-1], signs[::-1], strict=True):  # i, j, k
        column = np.zeros(3)
        column[2 - axis] = sign
        columns.append(column)
        if sign < 0:
            origin[2 - axis] += (size[axis] - 1) * spacing[axis]
    direction = tuple(float(v) for v in np.stack(columns, 1).ravel())
    sizes, spacings = [size[axis] for axis in order[::-1]], [spacing[axis] for axis in order[::-1]]
    return volume.Header(tuple(sizes), tuple(spacings), tuple(map(float, origin)), direction)  # type: ignore[arg-type]


def test_oblique_volume(straight: CompletedStage, patient: phantom.Phantom, tmp_path: Path) -> None:
    """A grid turned by 20 degrees about z and 10 about x: compared in patient space with the straight result."""
    from scipy import ndimage

    turn = rotation(20, 10)
    size = np.array((110, 100, 56))  # i, j, k
    spacing = np.array((3.5, 3.5, 4.0))
    middle = np.array(patient.origin) + (np.array(patient.hu.shape[::-1]) - 1) / 2 * np.array(patient.spacing[::-1])
    origin = middle - turn @ (spacing * (size - 1) / 2)
    matrix = (turn * spacing) / np.array(patient.spacing[::-1])[:, None]  # (i, j, k) turned -> (i, j, k) straight
    offset = (origin - np.array(patient.origin)) / np.array(patient.spacing[::-1])

    def seen(volume_: NDArray[Any], order: int, outside: float) -> NDArray[Any]:
        shape = tuple(size[::-1])
        return np.asarray(
            ndimage.affine_transform(
                volume_, matrix[::-1, ::-1], offset[::-1], shape, order=order, mode="constant", cval=outside
            )
        )

    header = volume.Header(tuple(map(int, size)), tuple(spacing), tuple(origin), tuple(turn.ravel()))  # type: ignore[arg-type]
    write(tmp_path / "ct.mhd", seen(patient.hu, 1, -1000).astype(np.int16), header)
    done = run(tmp_path)
    assert done.code == 0, done.log
    expected, found = seen(labels_of(straight), 0, 0), labels_of(done)
    for organ in ("liver", "vertebrae"):
        assert phantom.dice(found, expected, phantom.ORGANS.index(organ) + 1) > 0.85, organ


def rotation(about_z: float, about_x: float) -> NDArray[np.float64]:
    a, b = np.deg2rad(about_z), np.deg2rad(about_x)
    around_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(around_z @ around_x)


# -- several volumes, options ------------------------------------------------------------------------------------


def test_several_volumes_in_folders_and_a_subset_of_organs(patient: phantom.Phantom, tmp_path: Path) -> None:
    """Label maps and sub-folders beside the CT do no harm; the sidecar may be missing; the other organs are gone."""
    short = patient.hu[14:44]
    header = header_of(patient)._replace(size=short.shape[::-1])
    write(tmp_path / "a" / "one.mhd", short, header)
    write(tmp_path / "two.mhd", short.astype(np.float32), header._replace(element="MET_FLOAT"), sidecar())
    write(tmp_path / "mask.mhd", short.astype(np.uint8), header._replace(element="MET_UCHAR"), sidecar(kind="labels"))
    done = run(tmp_path, "--organs", "liver, spleen")
    assert done.code == 0, done.log
    assert sorted(str(p.relative_to(done.output)) for p in done.output.rglob("*.mhd")) == ["a/one.mhd", "two.mhd"]
    one, two = labels_of(done, "a/one"), labels_of(done, "two")
    assert set(np.unique(one)) <= {0, 1, 2}
    assert 1 in one
    assert np.array_equal(one, two)
    beside = volume.read_sidecar(done.output / "two.mhd")
    assert beside is not None
    assert [segment["name"] for segment in beside["segments"]] == ["liver", "spleen"]
    assert done.progress == "20/20"


def test_help_needs_no_input() -> None:
    done = subprocess.run(
        [sys.executable, str(STAGE / "main.py"), "--help"],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "stages")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--organs" in done.stdout


# -- what it refuses ---------------------------------------------------------------------------------------------


def refused(done: CompletedStage, *words: str) -> None:
    assert done.code == 1, done.log
    assert "Traceback" not in done.log
    for word in words:
        assert word in done.error, done.error
    assert "ct-organ-seg.lock" not in done.locks
    assert not list(done.output.rglob("*.mhd"))


CUBE = volume.Header(size=(20, 20, 20), spacing=(5.0, 5.0, 5.0))
AIR = np.full((20, 20, 20), -1000, np.int16)


def test_no_volume(tmp_path: Path) -> None:
    refused(run(tmp_path), "no CT volume", "dicom-reader")


def test_other_modality(tmp_path: Path) -> None:
    write(tmp_path / "mr.mhd", AIR, CUBE, sidecar("MR"))
    refused(run(tmp_path), "mr.mhd", "MR, not CT")


def test_too_small(tmp_path: Path) -> None:
    write(tmp_path / "thin.mhd", AIR[:2], CUBE._replace(size=(20, 20, 2)))
    refused(run(tmp_path), "thin.mhd", "100 x 100 x 10 mm")


def test_no_number(tmp_path: Path) -> None:
    values = AIR.astype(np.float32)
    values[7, 3, 3] = np.nan
    write(tmp_path / "nan.mhd", values, CUBE._replace(element="MET_FLOAT"))
    refused(run(tmp_path), "nan.mhd", "slice 7", "NaN")


def test_not_hounsfield(tmp_path: Path) -> None:
    write(tmp_path / "raw.mhd", AIR + 1024, CUBE)
    refused(run(tmp_path), "raw.mhd", "Hounsfield")


def test_crooked_axes(tmp_path: Path) -> None:
    write(tmp_path / "shear.mhd", AIR, CUBE._replace(direction=(1, 0.3, 0, 0, 1, 0, 0, 0, 1)))
    refused(run(tmp_path), "shear.mhd", "right angles")


def test_cut_file(tmp_path: Path) -> None:
    write(tmp_path / "short.mhd", AIR, CUBE)
    (tmp_path / "short.raw").write_bytes(b"\0" * 100)
    refused(run(tmp_path), "short.raw", "bytes expected")


@pytest.mark.parametrize("content", [None, b"no onnx"], ids=["missing", "broken"])
def test_no_model(content: bytes | None, tmp_path: Path) -> None:
    write(tmp_path / "in" / "ct.mhd", AIR, CUBE)
    if content is not None:
        (tmp_path / "models" / "ct-organs" / "1").mkdir(parents=True)
        (tmp_path / "models" / "ct-organs" / "1" / "model.onnx").write_bytes(content)
    refused(run(tmp_path / "in", env={"CLARA_MODELS": str(tmp_path / "models")}), "model.onnx")


def test_unknown_organ(tmp_path: Path) -> None:
    done = run(tmp_path, "--organs", "liver,brain")
    assert done.code not in (0, 75)
    assert "brain" in done.log
    assert "known: liver" in done.log


def test_empty_room_has_no_organs(tmp_path: Path) -> None:
    """A scan of nothing is no error: every organ is listed with 0 ml."""
    write(tmp_path / "ct.mhd", AIR, CUBE)
    done = run(tmp_path)
    assert done.code == 0, done.log
    assert not labels_of(done).any()
    beside = volume.read_sidecar(done.output / "ct.mhd")
    assert beside is not None
    assert {segment["volume_ml"] for segment in beside["segments"]} == {0.0}


def test_full_disk_may_be_tried_again(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is not here: no disk to fill")
    write(tmp_path / "in" / "ct.mhd", AIR, CUBE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ct.raw").symlink_to(full)
    done = run_stage("ct-organ-seg", input=tmp_path / "in", output=tmp_path / "out", env=ONE_THREAD)
    assert done.code == 75, done.log
    assert "no space for ct.mhd" in done.error


# -- the model repository ----------------------------------------------------------------------------------------


def test_model_repository_is_consistent() -> None:
    """config.pbtxt says what the ONNX file says; the file is small; the answer is a label map."""
    import onnxruntime

    file = MODEL / "1" / "model.onnx"
    assert file.stat().st_size < 5_000_000
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    text = (MODEL / "config.pbtxt").read_text()
    for value in (*session.get_inputs(), *session.get_outputs()):
        kind = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8"}[value.type]
        dims = ", ".join(str(n) for n in value.shape)
        assert f'name: "{value.name}" data_type: {kind} dims: [ {dims} ]' in text
    assert "instance_group" in text
    assert FLOORS["model"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert FLOORS["floors"]["liver"] >= 0.85


# -- a real CT ---------------------------------------------------------------------------------------------------


def test_liver_of_a_real_patient(lidc_labels: Path, lidc_ct: Path, tmp_path: Path) -> None:
    """LIDC-IDRI-0001, never trained on: liver Dice 0.6 at least, and no liver, spleen or kidney in the upper chest."""
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(lidc_ct)))
    image = reader.Execute()
    hu = np.clip(sitk.GetArrayFromImage(image), -1024, 3071).astype(np.int16)
    header = volume.Header(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    write(tmp_path / "ct.mhd", hu, header)
    done = run(tmp_path)
    assert done.code == 0, done.log
    found = labels_of(done)
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(image)
    resample.SetInterpolator(sitk.sitkNearestNeighbor)
    truth = sitk.GetArrayFromImage(resample.Execute(sitk.ReadImage(str(lidc_labels / "mask.nii.gz"))))
    assert phantom.dice(found, (truth == 5).astype(np.uint8), 1) >= 0.6
    upper_chest = found[-52:]  # 130 mm; slices go up
    assert not np.isin(upper_chest, range(1, 8)).any()

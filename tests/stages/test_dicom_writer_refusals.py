"""dicom-writer refuses by name: nothing hostile or wrong makes it write, hang or show a traceback."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
import writer_source as made
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from support import STAGES, CompletedStage, a_few, examples, run_stage
from writer_source import Grid

from clara_driver import volume

GRID = Grid(shape=(4, 6, 8))
Change = Callable[[Path, list[Dataset]], None]


def refused(folder: Path, code: str, *args: str, study: bool = True) -> str:
    """Run on in/ and study/; it must end with this code, by one line, without its lock."""
    done: CompletedStage = run_stage(
        "dicom-writer", input=folder / "in", study=folder / "study" if study else None, args=args
    )
    assert done.code == 1, done.log
    assert done.error.startswith(code + ":"), done.log
    assert "Traceback" not in done.log and len(done.log.strip().splitlines()) == 1
    assert done.locks == ["input.lock"]
    return done.error


def prepare(folder: Path, instances: list[Dataset], header: volume.Header | None = None, **side: Any) -> None:
    made.save(instances, folder / "study")
    labels = made.label_of(GRID.places())
    made.put(folder / "in", "labels", header or GRID.header(), labels, made.sidecar(instances, **side))


@pytest.fixture(scope="module")
def stage() -> Iterator[ModuleType]:
    """The stage's main module, loaded for this file only: other stages have modules of the same names."""
    before = set(sys.modules)
    sys.path.insert(0, str(STAGES / "dicom-writer"))
    try:
        yield importlib.import_module("main")
    finally:
        sys.path.remove(str(STAGES / "dicom-writer"))
        for name in set(sys.modules) - before:
            if str(STAGES / "dicom-writer") in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def refused_inside(stage: ModuleType, folder: Path, code: str) -> None:
    """The same in this process, where only the answer matters and not how it is told."""
    with pytest.raises(stage.Refused, match=f"^{code}: "):
        study = stage.headers.scan(folder / "study")
        (path,) = (folder / "in").glob("*.mhd")
        stage.write(path, study, folder, stage.Provenance(), argparse.Namespace(labels_as="seg"), print)
    assert not list(folder.glob("seg-*"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "in" / "labels.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_no_study_asked_for(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    assert "study: true" in refused(tmp_path, "E_NO_STUDY", study=False)


def test_no_volume(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    (tmp_path / "in" / "labels.mhd").unlink()
    refused(tmp_path, "E_NO_VOLUME")


def test_series_of_another_study(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    edit(tmp_path, lambda side: side["series"].update(SeriesInstanceUID="1.2.3"))
    refused(tmp_path, "E_NO_SOURCE")


def test_an_image_is_missing_in_the_study(tmp_path: Path) -> None:
    instances = made.series(GRID)
    prepare(tmp_path, instances)
    for path in (tmp_path / "study").glob("D*/*"):
        if pydicom.dcmread(path).SOPInstanceUID == instances[2].SOPInstanceUID:
            path.unlink()
    assert "1 of 4" in refused(tmp_path, "E_NO_SOURCE")


def test_two_images_under_one_uid(tmp_path: Path) -> None:
    instances = made.series(GRID)
    twin = made.instance(GRID, 1, PatientName="Other^Patient")
    made.save([*instances, twin], tmp_path / "study")
    made.put(tmp_path / "in", "labels", GRID.header(), made.label_of(GRID.places()), made.sidecar(instances))
    refused(tmp_path, "E_NO_SOURCE")


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"])
def test_images_of_two_patients_or_studies(keyword: str, tmp_path: Path) -> None:
    instances = made.series(GRID)
    setattr(instances[3], keyword, {"PatientBirthDate": "19800101"}.get(keyword, "1.2.3.4"))
    prepare(tmp_path, instances)
    refused(tmp_path, "E_PATIENT")


def test_identifiers_that_differ_behind_a_backslash_are_two_patients(tmp_path: Path) -> None:
    instances = made.series(GRID)
    for k, instance in enumerate(instances):
        instance.PatientID = ["A", "B" if k else "C"]
    prepare(tmp_path, instances)
    refused(tmp_path, "E_PATIENT")


def test_the_sidecar_speaks_of_another_study(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    edit(tmp_path, lambda side: side["series"].update(StudyInstanceUID="1.2.3"))
    refused(tmp_path, "E_PATIENT")


def test_the_sidecar_speaks_of_another_frame_of_reference(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    edit(tmp_path, lambda side: side["series"].update(FrameOfReferenceUID="1.2.3"))
    assert "FrameOfReferenceUID" in refused(tmp_path, "E_GEOMETRY")


def test_the_sidecar_names_a_frame_that_is_not_there(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    edit(tmp_path, lambda side: side["instances"][1].update(frame=2))
    assert "a frame" in refused(tmp_path, "E_NO_SOURCE")


def _moved(header: volume.Header, axis: int, by: float) -> volume.Header:
    origin = list(header.origin)
    origin[axis] += by
    return header._replace(origin=(origin[0], origin[1], origin[2]))


HEADER = GRID.header()
OFF_GRID = {
    "moved along a row": _moved(HEADER, 0, 0.1),
    "moved along a column": _moved(HEADER, 1, -0.05),
    "moved by a tenth of a slice": _moved(HEADER, 2, 0.25),
    "moved by a slice": _moved(HEADER, 2, 2.5),
    "far away": _moved(HEADER, 2, 1e30),
    "other pixel spacing": HEADER._replace(spacing=(1.3, 1.5, 2.5)),
    "pixel spacing swapped": HEADER._replace(spacing=(1.5, 1.25, 2.5)),
    "other slice spacing": HEADER._replace(spacing=(1.25, 1.5, 2.6)),
    "turned by a degree": HEADER._replace(direction=(0.99985, -0.01745, 0.0, 0.01745, 0.99985, 0.0, 0.0, 0.0, 1.0)),
    "two axes alike": HEADER._replace(direction=(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)),
    "no direction": HEADER._replace(direction=(0.0,) * 9),
    "huge direction": HEADER._replace(direction=(1e308,) * 9),
    "an axis flipped in place": HEADER._replace(direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
    "transposed": HEADER._replace(size=(6, 8, 4)),
}


@pytest.mark.parametrize("name", OFF_GRID)
def test_off_the_grid(name: str, stage: ModuleType, tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID), OFF_GRID[name])
    refused_inside(stage, tmp_path, "E_GEOMETRY")


def test_fewer_slices_than_the_series(tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", HEADER._replace(size=(8, 6, 3)), np.zeros((3, 6, 8)), made.sidecar(instances))
    assert "8 x 6 x 4" in refused(tmp_path, "E_GEOMETRY")


def test_header_of_a_volume_that_fits_no_memory(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID), HEADER)
    path = tmp_path / "in" / "labels.mhd"
    path.write_text(path.read_text().replace("DimSize = 8 6 4", "DimSize = 8000 8000 8000"))
    refused(tmp_path, "E_GEOMETRY")


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "no position": ({"ImagePositionPatient": None}, "E_GEOMETRY"),
    "no orientation": ({"ImageOrientationPatient": None}, "E_GEOMETRY"),
    "no pixel spacing": ({"PixelSpacing": None}, "E_GEOMETRY"),
    "zero pixel spacing": ({"PixelSpacing": ["0", "0"]}, "E_GEOMETRY"),
    "orientation not of unit vectors": ({"ImageOrientationPatient": ["2", "0", "0", "0", "2", "0"]}, "E_GEOMETRY"),
    "no frame of reference": ({"FrameOfReferenceUID": None}, "E_GEOMETRY"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source_without_geometry(name: str, stage: ModuleType, tmp_path: Path) -> None:
    attributes, code = SOURCES[name]
    prepare(tmp_path, made.series(GRID, **attributes))
    refused_inside(stage, tmp_path, code)


def test_values_nobody_described(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID), segments=made.organs(2))
    assert "3, 4" in refused(tmp_path, "E_LABELS")
    assert "3, 4" in refused(tmp_path, "E_LABELS", "--labels-as", "series")


def test_values_that_no_segment_can_have(tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", GRID.header("MET_INT"), np.full(GRID.shape, -1), made.sidecar(instances))
    assert "from 1 to 65535" in refused(tmp_path, "E_LABELS")


@pytest.mark.parametrize(("element", "code"), [("MET_FLOAT", "E_LABELS"), ("MET_SHORT", "E_LABELS")])
def test_labels_that_are_none(element: str, code: str, tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", GRID.header(element), np.full(GRID.shape, -1.0), made.sidecar(instances))
    refused(tmp_path, code)


def test_an_image_taken_for_labels(tmp_path: Path) -> None:
    """No sidecar, MET_USHORT and a thousand values: the message says what to write."""
    instances = made.series(Grid(shape=(4, 20, 20)))
    made.save(instances, tmp_path / "study")
    voxels = np.arange(1600).reshape(4, 20, 20)
    made.put(tmp_path / "in", instances[0].SeriesInstanceUID, Grid(shape=(4, 20, 20)).header("MET_USHORT"), voxels)
    assert "kind image" in refused(tmp_path, "E_LABELS")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_images_of_no_numbers(value: float, tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    voxels = np.zeros(GRID.shape)
    voxels[2, 3, 4] = value
    made.put(tmp_path / "in", "v", GRID.header("MET_FLOAT"), voxels, made.sidecar(instances, "image"))
    refused(tmp_path, "E_VOLUME")


def test_images_that_span_too_much(tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    voxels = np.zeros(GRID.shape)
    voxels[0, 0, :2] = -1.7e308, 1.7e308
    made.put(tmp_path / "in", "v", GRID.header("MET_DOUBLE"), voxels, made.sidecar(instances, "image"))
    refused(tmp_path, "E_VOLUME")


def test_modality_without_a_derived_series(tmp_path: Path) -> None:
    instances = made.series(GRID, sop_class=MRImageStorage)
    for one in instances:
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        one.Modality = "PT"
    prepare(tmp_path, instances)
    for kind in ("series", "both"):
        assert "modality PT; write its labels as a SEG only: --labels-as seg" in refused(
            tmp_path, "E_MODALITY", "--labels-as", kind
        )
    made.put(tmp_path / "in", "image", GRID.header(), np.ones(GRID.shape), made.sidecar(instances, "image"))
    assert "leave its images out" in refused(tmp_path, "E_MODALITY")


@pytest.mark.parametrize("text", ["", "no keys", "NDims = 2\nDimSize = 3 3", "\0\1\2" * 40000])
def test_header_that_is_none(text: str, tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    (tmp_path / "in" / "labels.mhd").write_text(text)
    refused(tmp_path, "E_VOLUME")


def test_voxels_cut_short(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    (tmp_path / "in" / "labels.raw").write_bytes(bytes(100))
    refused(tmp_path, "E_VOLUME")


BROKEN = ["", "[]", "{", "[" * 100000, '{"kind": 3}', '{"kind": "labels", "schema": 2}']


@pytest.mark.parametrize("text", a_few(BROKEN, *BROKEN[2:5]))
def test_sidecar_that_is_none(text: str, tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID))
    (tmp_path / "in" / "labels.json").write_text(text)
    refused(tmp_path, "E_VOLUME")


def _segment(**values: Any) -> list[dict[str, Any]]:
    return [{**made.organs()[0], **values}, *made.organs()[1:]]


def _code(**values: Any) -> dict[str, Any]:
    return {"value": "1", "scheme": "SCT", "meaning": "x", **values}


NONSENSE: dict[str, list[Any]] = {
    "100000 segments": [{"value": value} for value in range(1, 100001)],
    "none": [],
    "a value twice": [*made.organs(), made.organs()[0]],
    "value 0": _segment(value=0),
    "value below 0": _segment(value=-1),
    "value of a float": _segment(value=1.0),
    "value of a truth": _segment(value=True),
    "value of a text": _segment(value="1"),
    "huge value": _segment(value=1 << 200),
    "not an object": [*made.organs(), 7],
    "color out of range": _segment(color=[0, 0, 256]),
    "color of four": _segment(color=[0, 0, 0, 0]),
    "color of texts": _segment(color=["1", "2", "3"]),
    "label with a line break": _segment(label="a\nb"),
    "label with a NUL": _segment(label="a\0b"),
    "label with a backslash": _segment(label="a\\b"),
    "label of half a character": _segment(label="\ud800"),
    "long label": _segment(label="x" * 65),
    "label of a number": _segment(label=5),
    "long code": _segment(type=_code(value="1" * 17)),
    "long scheme": _segment(category=_code(scheme="S" * 17)),
    "long meaning": _segment(laterality=_code(meaning="m" * 65)),
    "code without meaning": _segment(type={"value": "1", "scheme": "SCT"}),
    "code of a list": _segment(type=[1]),
    "empty code": _segment(type=_code(value="")),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_segments_of_nonsense(name: str, stage: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "v.mhd"
    path.with_suffix(".json").write_text(json.dumps({"kind": "labels", "segments": NONSENSE[name]}))
    with pytest.raises(stage.Refused, match="^E_LABELS: v.json: .+; correct the sidecar$"):
        stage.sidecar.of(path, "MET_UCHAR")


@pytest.mark.parametrize(
    ("given", "label"), [({"label": " ", "name": "liver"}, "liver"), ({"name": "\t"}, "Segment 1")]
)
def test_a_blank_label_is_none(given: dict[str, Any], label: str, stage: ModuleType, tmp_path: Path) -> None:
    """Segment Label is type 1: an empty one makes the object invalid."""
    path = tmp_path / "v.mhd"
    path.with_suffix(".json").write_text(json.dumps({"kind": "labels", "segments": [{"value": 1, **given}]}))
    (segment,) = stage.sidecar.of(path, "MET_UCHAR").segments
    assert segment.label == label


def test_nonsense_as_the_process_tells_it(tmp_path: Path) -> None:
    prepare(tmp_path, made.series(GRID), segments=NONSENSE["100000 segments"])
    refused(tmp_path, "E_LABELS")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("series", "instances", "segments", "algorithm", "notice", "derivation", "values", "derivation_code", "schema")
FIELDS = ("value", "label", "color", "type", "category", "SOPInstanceUID", "frame", "name", "unit")
PART = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))


@settings(max_examples=examples(100), deadline=None)
@given(
    kind=st.sampled_from(["labels", "image"]),
    parts=st.dictionaries(st.sampled_from(KEYS), JSON | PART | st.lists(PART)),
)
def test_any_sidecar_is_read_or_refused(
    kind: str, parts: dict[str, Any], stage: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mhd"
    path.with_suffix(".json").write_text(json.dumps({"kind": kind, **parts}))
    try:
        read = stage.sidecar.of(path, "MET_UCHAR")
    except stage.Refused:
        return
    assert read.kind == kind and len(read.series) <= 255
    assert all(0 < one.value <= 65535 and len(one.label) <= 64 for one in read.segments or ())

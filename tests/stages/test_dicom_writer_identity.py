"""dicom-writer: whose the objects are, in any script and transfer syntax; the real CT; a reader's own output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import writer_judges as judges
import writer_source as made
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from support import STAGES, a_few, run_stage
from writer_source import Grid

GRID = Grid(shape=(3, 8, 8))
BOTH = ("--labels-as", "both")


def write(folder: Path, grid: Grid, *instances: Dataset) -> list[Path]:
    """SEG and derived series of the true label map; the study lies in study/ already when no instance is given."""
    if instances:
        made.save(instances, folder / "study")
    sources = list(instances) or [pydicom.dcmread(path) for path in sorted((folder / "study").iterdir())]
    made.put(folder / "in", "labels", grid.header(), made.label_of(grid.places()), made.sidecar(sources))
    done = run_stage("dicom-writer", input=folder / "in", study=folder / "study", args=BOTH)
    assert done.code == 0, done.log
    return sorted(done.output.rglob("*.dcm"))


@pytest.mark.long
def test_names_in_every_script(tmp_path: Path) -> None:
    """The names of pydicom's character set files, with the bytes and the character sets that they have there, and
    character sets that are absent, empty or begin with an empty value, as scanners in Asia write them."""
    grid, names = Grid(shape=(1, 8, 8)), {}
    for number, (charset, raw, text) in enumerate(_names()):
        (one,) = made.series(grid, f"script {number}", SpecificCharacterSet=charset, PatientName=raw)
        one.save_as(_made(tmp_path / "study") / str(number), enforce_file_format=True)
        made.put(tmp_path / "in", str(number), grid.header(), made.label_of(grid.places()), made.sidecar([one]))
        names[one.SOPInstanceUID] = text
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study", args=BOTH)
    assert done.code == 0, done.log
    paths = sorted(done.output.rglob("*.dcm"))
    assert len(paths) == 2 * len(names) and len(set(names.values())) > 10
    for path in paths:
        result = pydicom.dcmread(path)
        groups = result.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
        (item,) = groups[0].get("DerivationImageSequence") or [result]
        text = names[item.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert (str(result.PatientName), result.SpecificCharacterSet) == (text, "ISO_IR 192")
    assert judges.dciodvfy_errors(paths) == []


def _names() -> Iterator[tuple[Any, bytes, str]]:
    """Character set, bytes of a name, and the name."""
    for path in sorted(get_charset_files("*.dcm")):
        sample = pydicom.dcmread(path)
        if "PatientName" in sample:
            raw = sample.get_item("PatientName").value
            yield sample.get("SpecificCharacterSet"), raw, str(sample.PatientName)
    for charset in (None, "", "ISO_IR 100", ["", "ISO 2022 IR 87"]):
        yield charset, b"Doe^Jane", "Doe^Jane"


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_a_source_that_says_little(tmp_path: Path) -> None:
    """What a patient or study attribute of type 2 lacks is there, empty; nothing is made up."""
    absent = (
        "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "StudyTime", "AccessionNumber", "StudyID",
        "ReferringPhysicianName", "StudyDescription", "BodyPartExamined", "PositionReferenceIndicator",
        "SliceThickness",
        "SeriesNumber", "KVP", "AcquisitionNumber", "SliceLocation", "PatientPosition", "Manufacturer", "WindowCenter",
    )  # fmt: skip
    left_out: dict[str, Any] = dict.fromkeys(absent)
    paths = write(tmp_path, GRID, *made.series(GRID, **left_out))
    assert judges.dciodvfy_errors(paths) == []
    for path in paths:
        result = pydicom.dcmread(path)
        for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyTime"):
            assert result[keyword].value in ("", None), keyword
        assert "PatientAge" not in result and "StudyDescription" not in result


def test_a_long_algorithm_name_is_cut_between_characters(tmp_path: Path) -> None:
    instances = made.series(GRID)
    made.save(instances, tmp_path / "study")
    algorithm = {"name": "Leberäää" + "ü" * 20, "version": "1"}
    side = made.sidecar(instances, algorithm=algorithm)
    made.put(tmp_path / "in", "l", GRID.header(), made.label_of(GRID.places()), side)
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study", args=BOTH)
    assert done.code == 0, done.log
    paths = sorted(done.output.rglob("*.dcm"))
    assert judges.dciodvfy_errors(paths) == []
    for path in paths:
        text = pydicom.dcmread(path).SeriesDescription
        assert text.startswith("Leberäääü") and text.endswith("research, not for clinical use") and "\ufffd" not in text


INVALID: dict[str, Any] = {
    "PatientBirthDate": "31.12.1970",
    "PatientID": "ID" * 40,
    "AccessionNumber": ["A1", "A2"],
    "StudyDescription": "bell\x07",
    "ReferringPhysicianName": "Doe" * 30,
    "PatientPosition": "on the back",
}


def test_values_that_dicom_does_not_allow_are_kept_and_told(tmp_path: Path) -> None:
    """A PACS finds the patient by them, so they stay; the log names the attributes and never the values."""
    instances = made.series(GRID, **INVALID)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", GRID.header(), made.label_of(GRID.places()), made.sidecar(instances))
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study", args=BOTH)
    assert done.code == 0, done.log
    (line,) = [line for line in done.log.splitlines() if "W_SOURCE" in line]
    named = line.split(": ")[3].split(";")[0]
    assert set(named.split(", ")) == set(INVALID)
    assert "1970" not in done.log and "IDID" not in done.log and "DoeDoe" not in done.log
    for path in done.output.rglob("*.dcm"):
        result = pydicom.dcmread(path)
        assert {keyword: result[keyword].value for keyword in INVALID} == INVALID


def test_a_source_that_is_right_gives_no_warning(tmp_path: Path) -> None:
    instances = made.series(GRID, PatientName="Ä" * 64, PatientComments="two\r\nlines", PregnancyStatus=4)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", GRID.header(), made.label_of(GRID.places()), made.sidecar(instances))
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study", args=BOTH)
    assert done.code == 0 and "W_SOURCE" not in done.log, done.log


@pytest.mark.parametrize("keyword", ["PositionReferenceIndicator", "BodyPartExamined", "StudyDescription", "KVP"])
def test_an_attribute_that_cannot_be_read_stops_nobody(keyword: str, tmp_path: Path) -> None:
    """Of an unknown kind, or with half a number, somewhere behind what the image is found by."""
    instances = made.series(GRID)
    for one in instances:
        one.BitsStored = 16
    made.save(instances, tmp_path / "study")
    tag = Tag(keyword)
    start = bytes((tag.group & 255, tag.group >> 8, tag.element & 255, tag.element >> 8))
    bits = bytes.fromhex("2800010155530200")  # Bits Stored, US, two bytes
    for path in (tmp_path / "study").glob("D*/*"):
        data = path.read_bytes()
        assert data.count(bits) == 1
        place = data.index(start + instances[0][keyword].VR.encode(), 132)
        data = data[: place + 4] + b"QW" + data[place + 6 :]
        path.write_bytes(data.replace(bits + b"\x10\0", bytes.fromhex("2800010155530300") + b"\x10\0\0"))
    made.put(tmp_path / "in", "l", GRID.header(), made.label_of(GRID.places()), made.sidecar(instances))
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study", args=BOTH)
    assert done.code == 0 and "Traceback" not in done.log, done.log
    assert keyword in done.log or keyword == "KVP"  # a missing acquisition attribute is no news
    assert judges.dciodvfy_errors(done.output.rglob("*.dcm")) == []


def test_numbers_longer_than_they_may_be(tmp_path: Path) -> None:
    """Some write more than the 16 characters of a DS, or no number at all: what is written is right all the same."""
    instances = made.series(GRID)
    for k, one in enumerate(instances):
        z = GRID.position(k)[2]
        for keyword, value in {
            "ImagePositionPatient": b"-20.00000000000000001\\-15.0000000000000000\\%.17f" % z,
            "SliceLocation": b"%.20f" % z,
            "KVP": b"about 120",
            "AcquisitionTime": b"10:16",
            "WindowWidth": b"wide",
        }.items():
            one._dict[Tag(keyword)] = RawDataElement(Tag(keyword), "DS", len(value), value, 0, False, True)
    paths = write(tmp_path, GRID, *instances)
    assert judges.dciodvfy_errors(paths) == []
    positions = {float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in paths if path.name[0] != "s"}
    assert positions == {float(GRID.position(k)[2]) for k in range(GRID.shape[0])}


def test_private_and_foreign_attributes_stay_behind(tmp_path: Path) -> None:
    instances = made.series(GRID)
    for one in instances:
        one.private_block(0x0013, "SECRET", create=True).add_new(0x10, "LO", "hidden")
        procedure = Dataset()
        procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "1", "L", "Überblick"
        procedure.private_block(0x0009, "SECRET", create=True).add_new(0x10, "LO", "hidden")
        one.ProcedureCodeSequence = [procedure]
        one.OperatorsName, one.InstanceCreationDate, one.PixelPaddingValue = "Operator^Olga", "20240102", -2000
    for path in write(tmp_path, GRID, *instances):
        assert b"hidden" not in path.read_bytes() and b"Olga" not in path.read_bytes()
        result = pydicom.dcmread(path)
        assert result.ProcedureCodeSequence[0].CodeMeaning == "Überblick"
        assert "InstanceCreationDate" not in result and "PixelPaddingValue" not in result


@pytest.mark.parametrize(("offset", "present"), [("+0100", True), (None, False)], ids=["time zone", "none"])
def test_the_clock_is_that_of_the_source(offset: str | None, present: bool, tmp_path: Path) -> None:
    extra: dict[str, Any] = {"TimezoneOffsetFromUTC": offset} if present else {}
    for path in write(tmp_path, GRID, *made.series(GRID, AcquisitionDateTime="20240102235959.25+0100", **extra)):
        result = pydicom.dcmread(path)
        assert (result.ContentDate, result.ContentTime) == ("20240102", "235959.25")
        assert (result.SeriesDate, result.SeriesTime) == ("20240102", "235959.25")
        assert ("TimezoneOffsetFromUTC" in result) == present


def test_a_clock_that_never_was_is_not_ours(tmp_path: Path) -> None:
    odd = {"AcquisitionDate": "20241301", "AcquisitionTime": "256199", "ContentDate": "20240103", "ContentTime": "7199"}
    paths = write(tmp_path, GRID, *made.series(GRID, **odd))
    for path in paths:
        result = pydicom.dcmread(path)
        assert (result.ContentDate, result.ContentTime, result.SeriesTime) == ("20240103", "000000", "000000")
    assert judges.dciodvfy_errors(paths) == []


def test_a_name_that_its_character_set_does_not_have_is_told(tmp_path: Path) -> None:
    instances = made.series(GRID, SpecificCharacterSet="ISO_IR 192", PatientName=b"M\xfcller^J")
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "l", GRID.header(), made.label_of(GRID.places()), made.sidecar(instances))
    done = run_stage("dicom-writer", input=tmp_path / "in", study=tmp_path / "study")
    assert done.code == 0 and "W_SOURCE" in done.log and "PatientName" in done.log, done.log


SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, "none",
]  # fmt: skip


@pytest.mark.parametrize(
    "syntax",
    a_few(SYNTAXES, DeflatedExplicitVRLittleEndian.name, "none"),
    ids=lambda syntax: getattr(syntax, "name", syntax),
)
def test_any_transfer_syntax_gives_the_same_bytes(syntax: Any, tmp_path: Path) -> None:
    grid = Grid(shape=(2, 48, 40))
    plain = write(tmp_path / "plain", grid, *made.series(grid))
    (tmp_path / "other" / "study").mkdir(parents=True)
    for number, one in enumerate(made.series(grid)):
        path = tmp_path / "other" / "study" / f"{number}"
        if syntax == "none":  # a bare data set, as some archives keep it
            one.file_meta.clear()
            one.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        elif syntax in (RLELossless, JPEG2000Lossless):
            one.compress(syntax, generate_instance_uid=False)
            one.save_as(path, enforce_file_format=True)
        else:
            one.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
            one.save_as(path, enforce_file_format=True)
    sources = made.series(grid)
    made.put(tmp_path / "other" / "in", "labels", grid.header(), made.label_of(grid.places()), made.sidecar(sources))
    done = run_stage("dicom-writer", input=tmp_path / "other" / "in", study=tmp_path / "other" / "study", args=BOTH)
    assert done.code == 0, done.log
    other = sorted(done.output.rglob("*.dcm"))
    assert [path.read_bytes() for path in other] == [path.read_bytes() for path in plain]


@pytest.mark.long
def test_the_real_ct(lidc_ct: Path, tmp_path: Path) -> None:
    """No name, no StudyID, no times: still without an error, and every voxel in its place."""
    first = pydicom.dcmread(next(lidc_ct.rglob("*.dcm")))
    positions = sorted(
        (
            pydicom.dcmread(path, specific_tags=["ImagePositionPatient"]).ImagePositionPatient
            for path in lidc_ct.rglob("*.dcm")
        ),
        key=lambda place: place[2],
    )
    step = float(positions[1][2] - positions[0][2])
    rows, columns = map(float, first.PixelSpacing)
    grid = Grid((len(positions), first.Rows, first.Columns), (step, rows, columns), origin=tuple(positions[0]))
    z, y, x = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    labels = ((z - 60) ** 2 * 6 + (y - 200) ** 2 + (x - 300) ** 2 < 90**2).astype(np.uint8)
    labels[((z - 80) ** 2 * 6 + (y - 300) ** 2 + (x - 170) ** 2 < 60**2)] = 2
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in lidc_ct.rglob("*.dcm")]
    made.put(tmp_path / "in", "labels", grid.header(), labels, made.sidecar(sources))
    done = run_stage("dicom-writer", input=tmp_path / "in", study=lidc_ct, args=BOTH)
    assert done.code == 0, done.log
    (seg,) = done.output.glob("seg-*.dcm")
    images = sorted(done.output.glob("series-*/*.dcm"))
    assert len(images) == len(positions) == 133
    assert judges.dciodvfy_errors([seg, images[0], images[60], images[-1]]) == []
    array, places = judges.by_highdicom(seg)
    columns, rows, slices = np.moveaxis(np.rint((places - grid.origin) / grid.spacing[::-1]).astype(int), -1, 0)
    assert (array == labels[slices, rows, columns]).all() and (array > 0).sum() == (labels > 0).sum()


def test_what_the_reader_writes_comes_back(tmp_path: Path) -> None:
    """The workflow dicom-reader -> dicom-writer gives the series again, as a derived one, value for value."""
    if not (STAGES / "dicom-reader" / "main.py").exists():
        pytest.skip("dicom-reader is not in this checkout")
    grid = Grid(shape=(5, 9, 7), orientation=made.OBLIQUE)
    instances = made.series(grid)
    made.save(instances, tmp_path / "study")
    read = run_stage("dicom-reader", input=tmp_path / "study")
    assert read.code == 0, read.log
    done = run_stage("dicom-writer", input=read.output, study=tmp_path / "study")
    assert done.code == 0, done.log
    found = [pydicom.dcmread(path) for path in sorted(done.output.rglob("*.dcm"))]
    by_uid = {one.SOPInstanceUID: one for one in instances}
    assert len(found) == len(instances)
    for one in found:
        source = by_uid[one.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert (one.pixel_array * one.RescaleSlope + one.RescaleIntercept == source.pixel_array - 1024).all()
    assert judges.dciodvfy_errors(done.output.rglob("*.dcm")) == []


def test_positions_that_are_not_quite_even(tmp_path: Path) -> None:
    """What a reader takes for even, the writer takes too; each image keeps the position that its source has."""
    if not (STAGES / "dicom-reader" / "main.py").exists():
        pytest.skip("dicom-reader is not in this checkout")
    noise = np.random.default_rng(0).uniform(-0.011, 0.011, (12, 3))
    grid = Grid(shape=(12, 8, 8))
    places = [made.text(grid.position(k) + noise[k]) for k in range(12)]
    instances = [made.instance(grid, k, ImagePositionPatient=place) for k, place in enumerate(places)]
    made.save(instances, tmp_path / "study")
    read = run_stage("dicom-reader", input=tmp_path / "study")
    assert read.code == 0, read.log
    done = run_stage("dicom-writer", input=read.output, study=tmp_path / "study")
    assert done.code == 0, done.log
    found = [pydicom.dcmread(path).ImagePositionPatient for path in sorted(done.output.rglob("*.dcm"))]
    assert [list(map(str, place)) for place in found] == places


def _peak(folder: Path, grid: Grid, element: str) -> int:
    """Largest resident size of the process that writes a volume of this size, in bytes."""
    instances = made.series(grid)
    made.save(instances, folder / "study")
    voxels = np.rint(np.sin(np.arange(np.prod(grid.shape)) / 1e5) * 1000).reshape(grid.shape)
    kind = "image" if element != "MET_UCHAR" else "labels"
    voxels = voxels if kind == "image" else np.abs(voxels) // 250
    made.put(folder / "in", "v", grid.header(element), voxels, made.sidecar(instances, kind))
    return made.peak_memory(folder / "study", folder / "in", folder / "out")


@pytest.mark.long
@pytest.mark.parametrize(("element", "slices"), [("MET_UCHAR", 64), ("MET_SHORT", 32), ("MET_FLOAT", 16)])
def test_peak_memory(element: str, slices: int, tmp_path: Path) -> None:
    """Below three times the volume, which has 16 MiB."""
    idle = _peak(tmp_path / "small", Grid(shape=(2, 8, 8)), element)
    peak = _peak(tmp_path / "large", Grid(shape=(slices, 512, 512)), element)
    assert (16 << 20) < peak - idle < 3 * (16 << 20)  # less than the volume itself would mean that nothing was measured

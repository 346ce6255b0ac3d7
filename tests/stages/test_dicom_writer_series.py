"""dicom-writer: volume or label map -> derived series on the geometry of its source."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import writer_judges as judges
import writer_source as made
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, EnhancedMRImageStorage, MRImageStorage
from support import CompletedStage, a_few, run_stage
from writer_source import Grid


def run(folder: Path, *args: str) -> CompletedStage:
    return run_stage("dicom-writer", input=folder / "in", study=folder / "study", args=args)


def images(done: CompletedStage) -> list[Dataset]:
    """The series that was written, every object read strictly, in file order."""
    assert done.code == 0, done.log
    paths = sorted(done.output.glob("series-*/*.dcm"))
    assert paths and judges.dciodvfy_errors(paths) == []
    found = [pydicom.dcmread(path) for path in paths]
    for one in found:
        for element in one.iterall():  # decodes every value under pydicom's strict rules
            assert element.VR == "SQ" or element.value is not None or element.VM == 0
    return found


def values(one: Dataset) -> NDArray[np.float64]:
    slope, intercept = float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))
    return np.asarray(one.pixel_array * slope + intercept)


def places(one: Dataset) -> NDArray[np.float64]:
    """[row, column, xyz] in mm, from the object's own attributes."""
    row, column = np.array(one.ImageOrientationPatient[:3]), np.array(one.ImageOrientationPatient[3:])
    r, c = np.mgrid[0 : one.Rows, 0 : one.Columns]
    along = r[..., None] * float(one.PixelSpacing[0]) * column + c[..., None] * float(one.PixelSpacing[1]) * row
    return np.asarray(np.array(one.ImagePositionPatient, float) + along)


def write(folder: Path, grid: Grid, voxels: NDArray[Any], element: str, instances: list[Dataset], **side: Any) -> None:
    made.save(instances, folder / "study")
    made.put(folder / "in", "v", grid.header(element), voxels, made.sidecar(instances, "image", **side))


@pytest.mark.parametrize("orientation", a_few([made.AXIAL, made.SAGITTAL, made.OBLIQUE], made.OBLIQUE))
@pytest.mark.parametrize("sop_class", [CTImageStorage, MRImageStorage])
def test_every_voxel_lies_where_it_belongs(orientation: tuple[float, ...], sop_class: str, tmp_path: Path) -> None:
    grid = Grid(orientation=orientation)
    instances = made.series(grid, sop_class=sop_class)
    write(tmp_path, grid, np.rint(made.encoded(grid.places())), "MET_SHORT", instances)
    found = images(run(tmp_path))
    assert len(found) == grid.shape[0]
    for one in found:
        assert np.abs(values(one) - made.encoded(places(one))).max() <= 0.5 + 1e-6
        assert one.SOPClassUID == sop_class
    sources = {one.SOPInstanceUID: one for one in instances}
    for one in found:
        reference = one.SourceImageSequence[0]
        source = sources[reference.ReferencedSOPInstanceUID]
        assert one.ImagePositionPatient == source.ImagePositionPatient
        assert (one.SliceLocation, one.AcquisitionTime) == (source.SliceLocation, source.AcquisitionTime)
        assert reference.SpatialLocationsPreserved == "YES"
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_who_what_and_from_where(tmp_path: Path) -> None:
    grid = Grid()
    instances = made.series(grid)
    write(
        tmp_path, grid, np.zeros(grid.shape), "MET_SHORT", instances, derivation="Median of 3 x 3 x 3 voxels.",
        algorithm={"name": "denoise", "version": "2"},
        derivation_code={"value": "113087", "scheme": "DCM", "meaning": "Smoothing"},
    )  # fmt: skip
    done = run(tmp_path)
    found = images(done)
    one, first = found[0], instances[0]
    for keyword in (
        "PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "FrameOfReferenceUID", "PatientPosition",
        "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "KVP", "SliceThickness", "WindowCenter",
        "BodyPartExamined",
    ):  # fmt: skip
        assert one[keyword].value == first[keyword].value, keyword
    assert one.ImageType == ["DERIVED", "PRIMARY", "AXIAL"] and one.SeriesNumber == 2002
    assert "Median of 3 x 3 x 3 voxels." in one.DerivationDescription
    assert one.DerivationCodeSequence[0].CodeMeaning == "Smoothing"
    equipment = one.ContributingEquipmentSequence[0]
    assert (equipment.Manufacturer, equipment.PurposeOfReferenceCodeSequence[0].CodeValue) == ("clara-argo", "109103")
    for text in (one.SeriesDescription, one.ImageComments, one.DerivationDescription):
        assert "not for clinical use" in text.lower()
    assert len({image.SeriesInstanceUID for image in found}) == 1 and one.SeriesInstanceUID != first.SeriesInstanceUID
    assert len({image.SOPInstanceUID for image in found}) == len(found)
    assert [image.InstanceNumber for image in found] == list(range(1, len(found) + 1))
    sources = sorted((tmp_path / "study").glob("D*/*"))
    assert judges.dcentvfy_errors([*sources, *sorted(done.output.glob("series-*/*"))]) == []


def _wave(grid: Grid) -> NDArray[np.float64]:
    return np.sin(np.arange(np.prod(grid.shape))).reshape(grid.shape)


CODINGS: dict[
    str, tuple[str, Callable[[Grid], NDArray[Any]], float, int]
] = {  # name: element, values, largest error, signed
    "unsigned bytes": ("MET_UCHAR", lambda g: _wave(g) * 120 + 125, 0.0, 0),
    "below zero": ("MET_SHORT", lambda g: _wave(g) * 30000, 0.0, 1),
    "unsigned": ("MET_USHORT", lambda g: (_wave(g) + 1) * 32000, 0.0, 0),
    "whole floats": ("MET_FLOAT", lambda g: np.rint(_wave(g) * 1000), 0.0, 1),
    "wide offset": ("MET_INT", lambda g: _wave(g) * 30000 + 1_000_000, 0.0, 0),
    "fractions": ("MET_FLOAT", lambda g: _wave(g), 1.1 / 65535, 0),
    "doubles": ("MET_DOUBLE", lambda g: _wave(g) * 1e-7, 1.1e-7 / 65535, 0),
    "32 bits": ("MET_INT", lambda g: _wave(g) * 1e9, 1.1e9 / 65535, 0),
    "constant": ("MET_FLOAT", lambda g: np.full(g.shape, 0.125), 0.0, 0),
}


def test_values_come_back(tmp_path: Path) -> None:
    grid = Grid()
    instances = made.series(grid)
    truth = {}
    for name, (element, make, _, _) in CODINGS.items():
        truth[name] = make(grid).astype(grid.header(element).dtype)
        made.put(tmp_path / "in", name, grid.header(element), truth[name], made.sidecar(instances, "image"))
    made.save(instances, tmp_path / "study")
    done = run(tmp_path)
    assert done.code == 0, done.log
    folders = dict(
        zip(sorted(CODINGS, key="{}.mhd".format), re.findall(r"series-\w+", done.log), strict=True)
    )  # volumes go in order of name
    for name, (_, _, error, signed) in CODINGS.items():
        found = [pydicom.dcmread(path) for path in sorted((done.output / folders[name]).iterdir())]
        back = np.stack([values(one) for one in found])
        assert float(np.abs(back - truth[name]).max()) <= error, name
        assert found[0].PixelRepresentation == signed, name
        assert ("rounded" in found[0].DerivationDescription) == (error > 0), name
        for one in found:
            assert one.SmallestImagePixelValue == one.pixel_array.min()
            assert one.LargestImagePixelValue == one.pixel_array.max()
    assert judges.dciodvfy_errors([done.output / folder / "0001.dcm" for folder in folders.values()]) == []


def test_a_slope_of_each_slice_is_found_again(tmp_path: Path) -> None:
    """A reader gives such a series as floats; they come back without loss."""
    grid = Grid()
    slopes = [f"{0.5 + 0.07 * k:.4g}" for k in range(grid.shape[0])]
    instances = [made.instance(grid, k, RescaleSlope=slope) for k, slope in enumerate(slopes)]
    voxels = np.stack([one.pixel_array * np.float32(one.RescaleSlope) - 1024 for one in instances]).astype("<f4")
    write(tmp_path, grid, voxels, "MET_FLOAT", instances)
    found = images(run(tmp_path))
    assert [one.RescaleSlope for one in found] == [float(slope) for slope in slopes]
    for one, source in zip(found, instances, strict=True):
        assert (one.pixel_array == source.pixel_array).all()


def test_label_map_as_series(tmp_path: Path) -> None:
    grid = Grid(orientation=made.OBLIQUE)
    instances = made.series(grid)
    made.save(instances, tmp_path / "study")
    labels = made.label_of(grid.places())
    made.put(tmp_path / "in", "labels", grid.header(), labels, made.sidecar(instances))
    done = run(tmp_path, "--labels-as", "both")
    found = images(done)
    assert len(list(done.output.glob("seg-*.dcm"))) == 1
    assert (np.stack([one.pixel_array for one in found]) == labels).all()
    one = found[0]
    assert (one.RescaleSlope, one.RescaleIntercept, one.RescaleType, one.SeriesNumber) == (1, 0, "US", 3002)
    assert one.DerivationCodeSequence[0].CodeValue == "113076" and "2 Organ 2" in one.DerivationDescription
    only = run(tmp_path, "--labels-as", "series")
    assert only.code == 0 and not list(only.output.glob("seg-*"))


def test_acquisition_attributes_stay_when_all_images_agree(tmp_path: Path) -> None:
    grid = Grid()
    instances = [
        made.instance(grid, k, XRayTubeCurrent=str(100 + k), ConvolutionKernel="B30", AcquisitionNumber=str(k))
        for k in range(grid.shape[0])
    ]
    write(tmp_path, grid, np.zeros(grid.shape), "MET_SHORT", instances)
    found = images(run(tmp_path))
    assert [one.AcquisitionNumber for one in found] == list(range(grid.shape[0]))
    assert found[0].ConvolutionKernel == "B30" and "XRayTubeCurrent" not in found[0]


def enhanced(grid: Grid, sop_class: str) -> Dataset:
    """A multi-frame object whose frames run against the normal, made by highdicom from classic images."""
    classic = CTImageStorage if sop_class == EnhancedCTImageStorage else MRImageStorage
    legacy = made.series(grid, sop_class=classic, AcquisitionDateTime="20240102101600")[::-1]
    kind = "CT" if classic == CTImageStorage else "MR"
    convert = getattr(highdicom.legacy, f"LegacyConvertedEnhanced{kind}Image")
    result: Dataset = convert(legacy, made.uid("enhanced series"), 6, made.uid("enhanced"), 1)
    return result


@pytest.mark.parametrize(
    "sop_class", a_few([EnhancedCTImageStorage, EnhancedMRImageStorage], EnhancedMRImageStorage.name)
)
@pytest.mark.parametrize("native", [False, True], ids=["legacy converted", "enhanced"])
def test_multi_frame_source(sop_class: str, native: bool, tmp_path: Path) -> None:
    grid = Grid(orientation=made.OBLIQUE)
    source = enhanced(grid, sop_class)
    if native:
        source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = sop_class
        for group in source.SharedFunctionalGroupsSequence:
            group.pop("UnassignedSharedConvertedAttributesSequence", None)
    made.save([source], tmp_path / "study")
    labels = made.label_of(grid.places())
    side = made.sidecar([source], instances=[
        {"SOPInstanceUID": source.SOPInstanceUID, "frame": grid.shape[0] - k} for k in range(grid.shape[0])
    ])  # fmt: skip
    made.put(tmp_path / "in", "labels", grid.header(), labels, side)
    done = run(tmp_path, "--labels-as", "both")
    found = images(done)
    assert (np.stack([one.pixel_array for one in found]) == labels).all()
    assert found[0].SOPClassUID == (CTImageStorage if sop_class == EnhancedCTImageStorage else MRImageStorage)
    frames = [one.SourceImageSequence[0].ReferencedFrameNumber for one in found]
    assert frames == [grid.shape[0] - k for k in range(grid.shape[0])]
    (path,) = done.output.glob("seg-*.dcm")
    assert judges.dciodvfy_errors([path]) == []
    array, where = judges.by_highdicom(path)
    assert (array == made.label_of(where)).all() and (array > 0).sum() == (labels > 0).sum()

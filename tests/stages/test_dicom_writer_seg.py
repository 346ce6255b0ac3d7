"""dicom-writer: label map -> SEG, judged by position and by programs that share no code with it."""

from __future__ import annotations

import itertools
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
from pydicom.uid import MRImageStorage, PositronEmissionTomographyImageStorage
from support import CompletedStage, a_few, run_stage
from writer_source import Grid

from clara_driver import volume


def run(folder: Path, *args: str, **env: str) -> CompletedStage:
    return run_stage("dicom-writer", input=folder / "in", study=folder / "study", args=args, env=env)


def case(folder: Path, instances: list[Dataset], grid: Grid, **values: Any) -> NDArray[np.uint8]:
    """A study and the true label map on it."""
    made.save(instances, folder / "study")
    labels = made.label_of(grid.places())
    made.put(folder / "in", "labels", grid.header(), labels, made.sidecar(instances, **values))
    return labels


def only(done: CompletedStage) -> Path:
    assert done.code == 0, done.log
    (path,) = done.output.rglob("*.dcm")
    return path


def assert_right(path: Path, labels: NDArray[np.uint8], read: Any) -> None:
    """Every voxel has the label of its place, and none is missing."""
    array, places = read(path)
    expected = made.label_of(places)
    assert array.size and int((array != expected).sum()) == 0
    assert int((array > 0).sum()) == int((labels > 0).sum())


GRIDS = {
    "axial": Grid(),
    "sagittal": Grid(orientation=made.SAGITTAL),
    "oblique": Grid(orientation=made.OBLIQUE),
    "odd matrix": Grid(shape=(5, 7, 5)),
    "one slice": Grid(shape=(1, 8, 8)),
    "far away": Grid(origin=(-512.3456, 1033.5, -1500.125)),
}


@pytest.mark.parametrize("name", a_few(GRIDS, "oblique", "odd matrix", "one slice"))
def test_every_voxel_lies_where_it_belongs(name: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    labels = case(tmp_path, made.series(grid), grid)
    path = only(run(tmp_path))
    assert judges.dciodvfy_errors([path]) == []
    assert_right(path, labels, judges.by_highdicom)
    if name != "one slice":  # dcmqi takes no object of one plane
        assert_right(path, labels, judges.by_dcmqi)


def test_bits_are_those_of_highdicom(tmp_path: Path) -> None:
    """Frames of 35 pixels: the bits of the next frame follow in the same byte."""
    grid = Grid(shape=(5, 7, 5))
    instances = made.series(grid)
    labels = case(tmp_path, instances, grid)
    ours = pydicom.dcmread(only(run(tmp_path)))
    code = highdicom.sr.CodedConcept("64033007", "SCT", "Kidney")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        "a", pydicom.sr.codedict.codes.DCM.ArtificialIntelligence, "1"
    )
    segments = [
        highdicom.seg.SegmentDescription(number, f"{number}", code, code, "AUTOMATIC", algorithm)
        for number in range(1, made.ORGANS + 1)
    ]
    theirs = highdicom.seg.Segmentation(
        instances, labels, "BINARY", segments, made.uid("s"), 1, made.uid("i"), 1, "m", "m", "1", "1"
    )
    order = [_frame(one) for one in theirs.PerFrameFunctionalGroupsSequence]
    frames = dict(zip(order, theirs.pixel_array, strict=True))
    assert sorted(order) == sorted(map(_frame, ours.PerFrameFunctionalGroupsSequence))
    for group, pixels in zip(ours.PerFrameFunctionalGroupsSequence, ours.pixel_array, strict=True):
        assert (pixels == frames[_frame(group)]).all()


def _frame(group: Dataset) -> tuple[int, str]:
    segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return segment, "\\".join(map(str, group.PlanePositionSequence[0].ImagePositionPatient))


def test_any_order_and_direction_of_axes(tmp_path: Path) -> None:
    """The 48 ways in which a tool may write the same volume give the same pixels."""
    grid = Grid(shape=(3, 4, 5), orientation=made.OBLIQUE)
    instances = made.series(grid)
    case(tmp_path, instances, grid)
    labels, header = made.label_of(grid.places()), grid.header()
    for order, flips in itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)):
        turned, voxels = _turned(header, labels, order, flips)
        name = "".join(map(str, order)) + "".join("-" if flip else "+" for flip in flips)
        made.put(tmp_path / "in", name, turned, voxels, made.sidecar(instances))
    done = run(tmp_path)
    assert done.code == 0, done.log
    paths = sorted(done.output.glob("*.dcm"))
    assert len(paths) == 48  # the file of `case` is the one in the plain order
    assert len({pydicom.dcmread(path).PixelData for path in paths}) == 1
    for path in paths:
        assert_right(path, labels, judges.by_highdicom)


def _turned(
    header: volume.Header, labels: NDArray[np.uint8], order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[volume.Header, NDArray[np.uint8]]:
    """The same voxels with axes i, j, k taken in another order and direction."""
    steps = np.array(header.direction).reshape(3, 3)
    origin = np.array(header.origin)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + steps[:, axis] * header.spacing[axis] * (header.size[axis] - 1)
    steps = np.where(np.array(flips), -steps, steps)[:, order]
    voxels = labels[tuple(slice(None, None, -1 if flip else 1) for flip in flips[::-1])]
    return header._replace(
        size=(header.size[order[0]], header.size[order[1]], header.size[order[2]]),
        spacing=(header.spacing[order[0]], header.spacing[order[1]], header.spacing[order[2]]),
        origin=tuple(origin),
        direction=tuple(steps.ravel()),
    ), voxels.transpose([2 - axis for axis in order[::-1]])


def _groups(seg: Dataset) -> list[Dataset]:
    return list(seg.PerFrameFunctionalGroupsSequence)


def test_who_what_and_from_where(tmp_path: Path) -> None:
    grid = Grid()
    instances = made.series(grid)
    labels = case(tmp_path, instances, grid)
    path = only(run(tmp_path))
    seg, first = pydicom.dcmread(path), instances[0]
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate",
        "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID",
        "BodyPartExamined", "PatientPosition",
    ):  # fmt: skip
        assert seg[keyword].value == first[keyword].value, keyword
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID and seg.SeriesNumber == 1002
    assert "not for clinical use" in seg.SeriesDescription and "ct-organ-seg 1.0" in seg.SeriesDescription
    assert len(seg.SeriesDescription) <= 64 and "Not for clinical use" in seg.ImageComments
    assert (seg.Manufacturer, seg.SpecificCharacterSet, seg.SegmentsOverlap) == ("clara-argo", "ISO_IR 192", "NO")
    assert (seg.ContentDate, seg.ContentTime) == ("20240102", "101610")
    assert not [one for one in seg.iterall() if one.tag.is_private]
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert [one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence] == [
        one.SOPInstanceUID for one in instances
    ]
    by_uid = {one.SOPInstanceUID: one for one in instances}
    places = sorted({float(one.PlanePositionSequence[0].ImagePositionPatient[2]) for one in _groups(seg)})
    for group in _groups(seg):
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        index = 1 + places.index(float(group.PlanePositionSequence[0].ImagePositionPatient[2]))
        assert group.FrameContentSequence[0].DimensionIndexValues == [segment, index]
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = group.PlanePositionSequence[0].ImagePositionPatient
        assert place == by_uid[source.ReferencedSOPInstanceUID].ImagePositionPatient
    assert len(seg.PerFrameFunctionalGroupsSequence) == sum(
        int((plane == value).any()) for value in range(1, made.ORGANS + 1) for plane in labels
    )
    assert judges.dcentvfy_errors([*sorted((tmp_path / "study").glob("D*/*")), path]) == []


def test_segments_are_described(tmp_path: Path) -> None:
    grid = Grid()
    case(
        tmp_path, made.series(grid), grid, segments=[*made.organs(), {**made.organs()[0], "value": 9, "label": "None"}]
    )
    seg = pydicom.dcmread(only(run(tmp_path)))
    assert [one.SegmentNumber for one in seg.SegmentSequence] == [1, 2, 3, 4, 5]
    second, last = seg.SegmentSequence[1], seg.SegmentSequence[4]
    assert (second.SegmentLabel, last.SegmentLabel) == ("Organ 2", "None")
    kind = second.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    algorithm = second.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ct-organ-seg", "1.0")
    color = highdicom.color.CIELabColor.from_dicom_value(second.RecommendedDisplayCIELabValue)
    assert np.abs(np.array(color.to_rgb()) - [80, 200, 60]).max() <= 1
    used = {
        one.SegmentIdentificationSequence[0].ReferencedSegmentNumber for one in seg.PerFrameFunctionalGroupsSequence
    }
    assert used == {1, 2, 3, 4}  # what was not found is declared, without frames


def test_nothing_found_is_a_valid_object(tmp_path: Path) -> None:
    grid = Grid()
    instances = made.series(grid)
    made.save(instances, tmp_path / "study")
    made.put(tmp_path / "in", "empty", grid.header(), np.zeros(grid.shape), made.sidecar(instances))
    path = only(run(tmp_path))
    seg = pydicom.dcmread(path)
    assert (seg.NumberOfFrames, len(seg.SegmentSequence), int(seg.pixel_array.sum())) == (1, made.ORGANS, 0)
    assert judges.dciodvfy_errors([path]) == []
    assert highdicom.seg.segread(path).number_of_segments == made.ORGANS


def test_same_input_same_bytes_whatever_the_job(tmp_path: Path) -> None:
    grid = Grid()
    case(tmp_path, made.series(grid), grid)
    first = run(tmp_path, "--labels-as", "both")
    later = run(tmp_path, "--labels-as", "both", CLARA_JOB="f" * 32, CLARA_CREATED="2030-01-01T00:00:00Z")
    assert first.code == later.code == 0, first.log + later.log
    files = {path.relative_to(first.output): path.read_bytes() for path in first.output.rglob("*.dcm")}
    assert files and files == {
        path.relative_to(later.output): path.read_bytes() for path in later.output.rglob("*.dcm")
    }


def test_other_input_workflow_or_stage_other_uids(tmp_path: Path) -> None:
    grid = Grid()
    instances = made.series(grid)
    labels = case(tmp_path, instances, grid)
    seen = [
        _uids(run(tmp_path)),
        _uids(run(tmp_path, CLARA_WORKFLOW_DIGEST="1" * 64)),
        _uids(run(tmp_path, CLARA_STAGE="b")),
    ]
    labels[0, 0, 0] ^= 1
    made.put(tmp_path / "in", "labels", grid.header(), labels, made.sidecar(instances))
    seen.append(_uids(run(tmp_path)))
    made.put(tmp_path / "in", "labels", grid.header(), labels, made.sidecar(instances, notice="Not for clinical use!"))
    seen.append(_uids(run(tmp_path)))
    assert len({uid for pair in seen for uid in pair}) == 2 * len(seen)


def _uids(done: CompletedStage) -> tuple[str, str]:
    seg = pydicom.dcmread(only(done))
    return seg.SOPInstanceUID, seg.SeriesInstanceUID


def test_a_volume_of_a_users_own_ai_without_a_sidecar(tmp_path: Path) -> None:
    """Output file name = input file name: the series. Another series and a localizer lie in the same study."""
    grid = Grid()
    instances = made.series(grid)
    localizer = made.instance(Grid(shape=(1, 20, 20), orientation=made.SAGITTAL), 0, "loc")
    localizer.SeriesInstanceUID = instances[0].SeriesInstanceUID
    made.save([*instances, localizer, *made.series(grid, "other")], tmp_path / "study")
    labels = made.label_of(grid.places())
    made.put(tmp_path / "in", instances[0].SeriesInstanceUID, grid.header("MET_USHORT"), labels)
    path = only(run(tmp_path))
    seg = pydicom.dcmread(path)
    assert [one.SegmentLabel for one in seg.SegmentSequence] == [f"Segment {value}" for value in range(1, 5)]
    assert seg.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence[0].CodeValue == "85756007"
    assert judges.dciodvfy_errors([path]) == []
    assert_right(path, labels, judges.by_highdicom)


@pytest.mark.parametrize("name", ["MR", "PT"])
def test_other_modalities_are_sources_too(name: str, tmp_path: Path) -> None:
    grid = Grid(orientation=made.OBLIQUE)
    instances = made.series(grid, sop_class=MRImageStorage, Modality=name)
    for one in instances:
        if name == "PT":
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    labels = case(tmp_path, instances, grid)
    path = only(run(tmp_path))
    assert judges.dciodvfy_errors([path]) == []
    assert_right(path, labels, judges.by_highdicom)


def test_lossy_history_is_kept(tmp_path: Path) -> None:
    grid = Grid()
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    case(tmp_path, made.series(grid, LossyImageCompressionMethod="ISO_15444_1", **lossy), grid)
    path = only(run(tmp_path))
    seg = pydicom.dcmread(path)
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 12.5)
    assert judges.dciodvfy_errors([path]) == []

"""The study's DICOM files: which series are there, and the image planes of one of them.

Reads headers only, in any transfer syntax and under any file name; classic single-frame and enhanced multi-frame
images. Files that are not DICOM images are passed over. Knows nothing of the volume that is to be written.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from refusal import Refused

MAX_DEFLATED_HEADER = 64 << 20  # bytes after inflation; what lies beyond is pixels
UNREADABLE = (
    OSError, ValueError, KeyError, AttributeError, IndexError, TypeError, NotImplementedError, OverflowError,
    EOFError, RecursionError, struct.error, zlib.error, BytesLengthException, InvalidDicomError,
)  # fmt: skip  # what pydicom raises for files that are not DICOM, or broken

# Acquisition attributes of a classic image that a derived one keeps when all its source images agree on them: Contrast
# (PS3.3 C.7.6.4), General Acquisition, CT Image (C.8.2.1), MR Image (C.8.3.1).
ACQUISITION = [
    "ContrastBolusAgent", "ContrastBolusRoute", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "MRAcquisitionType", "SequenceName", "AngioFlag", "SliceThickness", "KVP", "RepetitionTime", "EchoTime",
    "InversionTime", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus", "EchoNumbers", "MagneticFieldStrength",
    "SpacingBetweenSlices", "EchoTrainLength", "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth",
    "DataCollectionDiameter", "ProtocolName", "ReconstructionDiameter", "ReceiveCoilName", "DistanceSourceToDetector",
    "DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime",
    "XRayTubeCurrent", "Exposure", "FilterType", "FocalSpots", "ConvolutionKernel",
    "InPlanePhaseEncodingDirection", "FlipAngle",
]  # fmt: skip
# What is read of every file; the whole header of one instance is read later.
INDEX = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate",
    "ContentDate", "AcquisitionDateTime", "StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "PatientName",
    "PatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SliceLocation", "NumberOfFrames",
    "Rows", "Columns", "PixelSpacing", "RescaleSlope", "RescaleIntercept", *ACQUISITION,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instance:
    """One file of the study: who and what it is. `header` holds the attributes of INDEX that it has."""

    path: Path
    sop_class: str
    uid: str
    series: str
    study: str
    patient: tuple[str, str, str]  # name, id, birth date
    frame_of_reference: str
    frames: int  # 0 = a classic single-frame object
    header: Dataset


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: a classic instance or one frame of another. Patient space, mm, as text of the source."""

    instance: Instance
    frame: int | None  # from 1; None in a classic instance
    rows: int
    columns: int
    position: tuple[str, ...]  # of the centre of the first pixel: x, y, z
    orientation: tuple[str, ...]  # along a row, then along a column
    spacing: tuple[str, ...]  # between rows, between columns
    thickness: str


def scan(folder: Path) -> dict[str, list[Instance]]:
    """Every image series of a study folder and its sub-folders, by SeriesInstanceUID; instances in order of UID."""
    found: dict[str, dict[str, Instance]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        instance = _instance(path)
        if instance is None:
            continue
        series = found.setdefault(instance.series, {})
        twin = series.setdefault(instance.uid, instance)
        if twin is not instance and twin.header != instance.header:
            raise Refused(
                "E_NO_SOURCE", "two different files of the study carry the same SOPInstanceUID", "remove the wrong one"
            )
    return {series: [one[uid] for uid in sorted(one)] for series, one in found.items()}


def _instance(path: Path) -> Instance | None:
    try:
        header = read(path, INDEX)
        if not ("SOPClassUID" in header and "SOPInstanceUID" in header and "SeriesInstanceUID" in header):
            return None
        frames = int(str(header.get("NumberOfFrames") or 0))
        return Instance(
            path=path,
            sop_class=line(header, "SOPClassUID"),
            uid=line(header, "SOPInstanceUID"),
            series=line(header, "SeriesInstanceUID"),
            study=line(header, "StudyInstanceUID"),
            patient=(line(header, "PatientName"), line(header, "PatientID"), line(header, "PatientBirthDate")),
            frame_of_reference=line(header, "FrameOfReferenceUID"),
            frames=frames if "ImagePositionPatient" not in header else 0,
            header=header,
        )
    except UNREADABLE:
        return None  # not DICOM, or broken: if the volume needs it, its absence is told by name


def read(path: Path, keywords: list[str] | None = None) -> Dataset:
    """The header of a file, or some attributes of it, without pixels; of a deflated one never more than a bound."""
    with open(path, "rb") as file:
        part10 = file.read(132)[128:] == b"DICM"
        file.seek(0)
        meta = read_file_meta_info(path) if part10 else Dataset()
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MAX_DEFLATED_HEADER)
            tags = None if keywords is None else [Tag(keyword) for keyword in keywords]
            return read_dataset(BytesIO(data), False, True, stop_when=_at_pixels, specific_tags=tags)
        return dcmread(file, stop_before_pixels=True, force=not part10, specific_tags=keywords)


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag >= 0x7FE00008


def line(header: Dataset, keyword: str) -> str:
    """An attribute as one text, empty when it is not there."""
    return str(header.get(keyword) or "").strip(" \0")


def words(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as the source wrote them: no number is rounded."""
    value = header.get_item(keyword).value if keyword in header else None
    if value is None:
        return ()
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return tuple(str(word).strip(" \0") for word in value)


def choose(
    study: dict[str, list[Instance]], series: str, study_uid: str, wanted: Sequence[tuple[str, int | None]]
) -> list[Instance]:
    """The instances of a series, or those of them that a sidecar names; of one patient and study."""
    if series not in study:
        raise Refused(
            "E_NO_SOURCE", f"the study has {len(study)} image series, none of them the one the volume names",
            "give the stage the study the volume was read from; without a sidecar the file name is the series",
        )  # fmt: skip
    instances = study[series]
    if wanted:
        named = {uid for uid, _ in wanted}
        instances = [instance for instance in instances if instance.uid in named]
        if len(instances) < len(named):
            raise Refused(
                "E_NO_SOURCE", f"{len(named) - len(instances)} of {len(named)} source images are not in the study",
                "give the stage the whole study",
            )  # fmt: skip
    if len({(instance.patient, instance.study) for instance in instances}) > 1:
        raise Refused("E_PATIENT", "the images of the source series differ in patient or study", "correct the source")
    if not instances[0].study or study_uid not in ("", instances[0].study):
        raise Refused("E_PATIENT", "the sidecar and the source series differ in StudyInstanceUID", "check the input")
    frames = {instance.frame_of_reference for instance in instances}
    if len(frames) > 1 or "" in frames:
        raise Refused("E_GEOMETRY", "the source series does not have one FrameOfReferenceUID", "correct the source")
    return instances


def planes(instances: Iterable[Instance], wanted: Sequence[tuple[str, int | None]] = ()) -> list[Plane]:
    """The image planes of a series that have a place in patient space; only those wanted, if any are named."""
    found: list[Plane] = []
    for instance in instances:
        if instance.frames:
            found += _frames(instance)
        elif "ImagePositionPatient" in instance.header:
            found.append(_plane(instance, None, [instance.header]))
    names = {(uid, frame or 1) for uid, frame in wanted}
    return [plane for plane in found if not wanted or (plane.instance.uid, plane.frame or 1) in names]


def _frames(instance: Instance) -> list[Plane]:
    """The planes of a multi-frame object, from its functional groups (PS3.3 C.7.6.16)."""
    header = read(instance.path)
    try:
        shared = [header.SharedFunctionalGroupsSequence[0]] if header.get("SharedFunctionalGroupsSequence") else []
        groups = list(header.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) != instance.frames:
            raise Refused("E_GEOMETRY", f"an object of {instance.frames} frames has groups for {len(groups)}")
        return [_plane(instance, k, _geometry_items([group, *shared])) for k, group in enumerate(groups, 1)]
    except UNREADABLE as error:
        raise Refused("E_GEOMETRY", f"the functional groups of a multi-frame object cannot be read: {error}") from error


def _geometry_items(groups: list[Dataset]) -> list[Dataset]:
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    return [group[name].value[0] for group in groups for name in names if group.get(name)]


def _plane(instance: Instance, frame: int | None, parts: list[Dataset]) -> Plane:
    def get(keyword: str, count: int) -> tuple[str, ...]:
        found = next((words(part, keyword) for part in parts if keyword in part), ())
        if len(found) != count or not all(map(_finite, found)):
            raise Refused("E_GEOMETRY", f"{keyword} of a source image is not {count} numbers", "correct the source")
        return found

    header = instance.header
    return Plane(
        instance=instance,
        frame=frame,
        rows=int(header.get("Rows") or 0),
        columns=int(header.get("Columns") or 0),
        position=get("ImagePositionPatient", 3),
        orientation=get("ImageOrientationPatient", 6),
        spacing=get("PixelSpacing", 2),
        thickness=next((word for part in parts for word in words(part, "SliceThickness") if _finite(word)), ""),
    )


def _finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False

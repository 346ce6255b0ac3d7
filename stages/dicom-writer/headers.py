"""The headers of a study's DICOM files, in any transfer syntax and under any file name.

Pixels are never read, and files that are not DICOM images are passed over. Knows nothing of series and their geometry.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from refusal import Refused

DEFLATED = DeflatedExplicitVRLittleEndian.encode()
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
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientName", "PatientID",
    "PatientBirthDate", "FrameOfReferenceUID", "Rows", "Columns", "NumberOfFrames", "SpecificCharacterSet", "ImageType",
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime", "StudyTime", "SeriesTime",
    "AcquisitionTime", "ContentTime", "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceLocation", "PixelSpacing", "RescaleSlope", "RescaleIntercept", *ACQUISITION,
]  # fmt: skip
TAGS = {Tag(keyword): keyword for keyword in INDEX}
NUMBERS = {Tag("Rows"), Tag("Columns")}  # of VR US; the others are text


@dataclass(frozen=True, slots=True)
class Instance:
    """One file of the study: who and what it is. `says` holds the attributes of INDEX that it has, as text."""

    path: Path
    sop_class: str
    uid: str
    series: str
    study: str
    patient: tuple[str, str, str]  # name, id, birth date
    frame_of_reference: str
    rows: int
    columns: int
    frames: int  # 0 = a classic single-frame object
    says: Mapping[str, tuple[str, ...]]  # by keyword: the values as the file has them, no number rounded

    def line(self, keyword: str) -> str:
        return " ".join(self.says.get(keyword, ()))


def scan(folder: Path) -> dict[str, list[Instance]]:
    """Every image series of a study folder and its sub-folders, by SeriesInstanceUID; instances in order of UID."""
    found: dict[str, dict[str, Instance]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        instance = _instance(path)
        if instance is None:
            continue
        series = found.setdefault(instance.series, {})
        twin = series.setdefault(instance.uid, instance)
        if twin is not instance and twin.says != instance.says:
            raise Refused(
                "E_NO_SOURCE", "two different files of the study carry the same SOPInstanceUID", "remove the wrong one"
            )
    return {series: [one[uid] for uid in sorted(one)] for series, one in found.items()}


def _instance(path: Path) -> Instance | None:
    try:
        header = read(path, TAGS)
        says = {TAGS[tag]: _texts(int(tag), element) for tag, element in header.items() if tag in TAGS}
        if not ("SOPClassUID" in says and "SOPInstanceUID" in says and "SeriesInstanceUID" in says):
            return None
        one = {keyword: says.get(keyword, ("",))[0] for keyword in INDEX[:12]}
        return Instance(
            path=path,
            sop_class=one["SOPClassUID"],
            uid=one["SOPInstanceUID"],
            series=one["SeriesInstanceUID"],
            study=one["StudyInstanceUID"],
            patient=(
                str(header.get("PatientName") or "").strip(" \0"),
                "\\".join(says.get("PatientID", ())),
                one["PatientBirthDate"],
            ),
            frame_of_reference=one["FrameOfReferenceUID"],
            rows=int(one["Rows"] or 0),
            columns=int(one["Columns"] or 0),
            frames=int(one["NumberOfFrames"] or 0) if "ImagePositionPatient" not in says else 0,
            says=says,
        )
    except UNREADABLE:
        return None  # not DICOM, or broken: if the volume needs it, its absence is told by name


def _texts(tag: int, element: DataElement | RawDataElement) -> tuple[str, ...]:
    """The values of an element, without decoding more than that needs: this runs for every file of a study."""
    value = element.value
    if isinstance(value, bytes):
        if tag in NUMBERS and isinstance(element, RawDataElement):
            return (str(int.from_bytes(value, "little" if element.is_little_endian else "big")),)
        value = value.decode("latin-1").split("\\")
    elif value is None:
        return ()
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return tuple(str(word).strip(" \0") for word in value)


def read(path: Path, tags: Collection[int] | None = None) -> Dataset:
    """The header of a file, or some elements of it, without pixels; of a deflated one never more than a bound."""
    wanted = None if tags is None else list(tags)
    with open(path, "rb") as file:
        start = file.read(1024)
        file.seek(0)
        if DEFLATED in start and read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED.decode():
            meta = read_file_meta_info(path)
            file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MAX_DEFLATED_HEADER)
            return read_dataset(BytesIO(data), False, True, stop_when=_at_pixels, specific_tags=wanted)
        return dcmread(file, stop_before_pixels=True, force=start[128:132] != b"DICM", specific_tags=wanted)


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag >= 0x7FE00008


def line(header: Dataset, keyword: str) -> str:
    """An attribute of plain ASCII as one text, empty when it is not there; nonsense in the source raises nothing."""
    return " ".join(words(header, keyword))


def words(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as the source wrote them: no number is rounded."""
    return _texts(int(Tag(keyword)), header.get_item(keyword)) if keyword in header else ()

"""Volume -> derived series on the geometry of its source: one classic image a slice (PS3.3 A.3, A.4).

CT and MR sources, also enhanced ones. The header is encoded once; what differs from slice to slice is put in as bytes.
A label map becomes a series whose pixels are its values.
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import anatomy
import encode
import enhanced
import identity
import numpy as np
import reference
import rescale
from grid import Placement
from headers import ACQUISITION, line, words
from identity import Provenance, code
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from refusal import Refused
from rescale import Coding
from sidecar import NOTICE, Code, Sidecar
from source import Plane
from texts import decimal, valid

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
CLASSIC = {  # class of the source -> class of what is written
    CT: CT, "1.2.840.10008.5.1.4.1.1.2.1": CT, "1.2.840.10008.5.1.4.1.1.2.2": CT,
    MR: MR, "1.2.840.10008.5.1.4.1.1.4.1": MR, "1.2.840.10008.5.1.4.1.1.4.4": MR,
}  # fmt: skip
EMPTY = {  # type 2 of the image modules: there, even if empty
    CT: ("KVP", "AcquisitionNumber"),
    MR: ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
}
EQUIPMENT = (
    "Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "ContributingEquipmentSequence",
)  # fmt: skip
ALSO = ("PositionReferenceIndicator", "PatientPosition", "BurnedInAnnotation", *identity.LOSSY)
COPIED = (*identity.COPIED, *EQUIPMENT, *ALSO)
MODIFYING = Code("109103", "DCM", "Modifying Equipment")
BASE_NUMBER = {"image": 2000, "labels": 3000}  # Series Number: this plus that of the source
SOP_INSTANCE, SERIES, SOURCE_IMAGE, PIXELS = 0x00080018, 0x0020000E, 0x00082112, 0x7FE00010
INSTANCE_NUMBER, POSITION, SMALLEST, LARGEST = 0x00200013, 0x00200032, 0x00280106, 0x00280107
INTERCEPT, SLOPE = 0x00281052, 0x00281053
OF_EACH = {0x00080022: "DA", 0x0008002A: "DT", 0x00080032: "TM", 0x00200012: "IS", 0x00201041: "DS"}  # copied per slice
KEYWORDS = dict(
    zip(OF_EACH, ("AcquisitionDate", "AcquisitionDateTime", "AcquisitionTime", "AcquisitionNumber", "SliceLocation"),
        strict=True)
)  # fmt: skip


def write(
    folder: Path,
    values: NDArray[np.generic],
    placement: Placement,
    sidecar: Sidecar,
    header: Dataset,
    provenance: Provenance,
    digest: str,
) -> Path:
    """Write values [slice, row, column] as a folder of images. `digest` is that of the voxels."""
    sop_class = CLASSIC.get(placement.planes[0].instance.sop_class)
    if sop_class is None:
        modality = line(header, "Modality") or "unknown"
        raise Refused(
            "E_MODALITY", f"a derived series is written for CT and MR, not for modality {modality}",
            "write its labels as a SEG only: --labels-as seg" if sidecar.kind == "labels" else
            "leave its images out of the input of this stage; a SEG of its labels can be written",
        )  # fmt: skip
    coding = rescale.coding(values, [_slope(plane) for plane in placement.planes])
    root = _root(sop_class, placement, sidecar, header, provenance, coding)
    constant = encode.elements(root)
    slices = [_of_slice(plane, k, coding, sop_class) for k, plane in enumerate(placement.planes)]
    seen = hashlib.sha256(b"".join(constant.values()) + digest.encode())
    for one in slices:
        seen.update(b"".join(one.values()))
    series = provenance.uid("series", sidecar.kind, sidecar.series, seen.hexdigest())
    constant[SERIES] = encode.text(SERIES, "UI", series)
    varying = {SOP_INSTANCE, SMALLEST, LARGEST}.union(*slices)
    template = encode.Template(constant, varying)
    made = folder / f"series-{hashlib.sha256(series.encode()).hexdigest()[:12]}"
    made.mkdir(exist_ok=True)  # two inputs that are the same volume are one result
    for k, one in enumerate(slices):
        stored = coding.store(k, values[k])
        uid = provenance.uid(series, str(k))
        _write_slice(made / f"{k + 1:04d}.dcm", sop_class, uid, template, one, stored)
    return made


def _write_slice(
    path: Path,
    sop_class: str,
    uid: str,
    template: encode.Template,
    values: dict[int, bytes],
    stored: NDArray[np.integer],
) -> None:
    vr, kind = ("SS", "<h") if stored.dtype.kind == "i" else ("US", "<H")
    values = {
        **values,
        SOP_INSTANCE: encode.text(SOP_INSTANCE, "UI", uid),
        SMALLEST: encode.element(SMALLEST, vr, struct.pack(kind, stored.min())),
        LARGEST: encode.element(LARGEST, vr, struct.pack(kind, stored.max())),
    }
    with open(path, "wb") as file:
        file.write(encode.file_header(sop_class, uid) + template.fill(values))
        file.write(encode.start(PIXELS, "OW", stored.nbytes))
        file.write(stored.data)


def _of_slice(plane: Plane, k: int, coding: Coding, sop_class: str) -> dict[int, bytes]:
    """What is this slice's own, but its UID and what depends on its pixels."""
    made = {
        SOURCE_IMAGE: reference.source_image(plane),
        INSTANCE_NUMBER: encode.text(INSTANCE_NUMBER, "IS", str(k + 1)),
        POSITION: encode.text(POSITION, "DS", *plane.position),
    }
    for tag, vr in OF_EACH.items():
        own = plane.instance.says.get(KEYWORDS[tag], ())
        if len(own) == 1 and valid(vr, own[0]):
            made[tag] = encode.text(tag, vr, own[0])
    if sop_class == CT or (coding.slopes[k], coding.intercepts[k]) != ("1", "0"):
        made[INTERCEPT] = encode.text(INTERCEPT, "DS", coding.intercepts[k])
        made[SLOPE] = encode.text(SLOPE, "DS", coding.slopes[k])
    return made


def _slope(plane: Plane) -> tuple[float, float] | None:
    """Slope and intercept of a classic source image."""
    try:
        (slope,), (intercept,) = (plane.instance.says[name] for name in ("RescaleSlope", "RescaleIntercept"))
        pair = float(slope), float(intercept)
    except (KeyError, ValueError):
        return None
    return pair if all(map(math.isfinite, pair)) and pair[0] else None


def _root(
    sop_class: str,
    placement: Placement,
    sidecar: Sidecar,
    header: Dataset,
    provenance: Provenance,
    coding: Coding,
) -> Dataset:
    """What all images of the series share, without its UID."""
    made = identity.about(header)
    planes = placement.planes
    date, time = identity.moment(plane.instance for plane in planes)
    what = "label map" if sidecar.kind == "labels" else "derived"
    identity.series(made, sidecar, identity.number(header, BASE_NUMBER[sidecar.kind]), what)
    made.SOPClassUID, made.Modality = sop_class, "CT" if sop_class == CT else "MR"
    made.SeriesDate = made.ContentDate = date
    made.SeriesTime = made.ContentTime = time
    made.update(identity.copied(header, EQUIPMENT))
    made.setdefault(0x00080070, identity.empty("Manufacturer"))
    _contribution(made, sidecar, provenance)
    made.FrameOfReferenceUID = planes[0].instance.frame_of_reference
    for keyword in ("PositionReferenceIndicator", "PatientPosition"):
        made.add(identity.empty(keyword))
    made.update(identity.copied(header, ALSO))
    made.update(anatomy.laterality(header, line(made, "BodyPartExamined")))
    _acquisition(made, sop_class, placement, header)
    _pixel_module(made, placement, coding)
    made.ImageType = ["DERIVED", "PRIMARY", _third(sop_class, header)]
    made.DerivationDescription = _derivation(sidecar, coding)
    how = reference.SEGMENTATION if sidecar.kind == "labels" else sidecar.derivation_code
    if how is not None:
        made.DerivationCodeSequence = [code(how)]
    made.ImageComments = sidecar.notice
    _window(made, sop_class, sidecar, header, coding)
    return made


def _contribution(made: Dataset, sidecar: Sidecar, provenance: Provenance) -> None:
    """Contributing Equipment (PS3.3 C.12.1): the scanner stays the maker, we changed its image."""
    ours = Dataset()
    ours.PurposeOfReferenceCodeSequence = [code(MODIFYING)]
    identity.equipment(ours, provenance)
    ours.ContributionDescription = identity.described(sidecar.algorithm, sidecar.kind)
    made.ContributingEquipmentSequence = [*made.get("ContributingEquipmentSequence", []), ours]


def _acquisition(made: Dataset, sop_class: str, placement: Placement, header: Dataset) -> None:
    """Keep what all source images agree on."""
    first = placement.planes[0].instance
    if first.frames:
        made.update(enhanced.classic(header, ACQUISITION))
    else:
        others = [plane.instance.says for plane in placement.planes]
        same = [name for name in ACQUISITION if len({one.get(name) for one in others}) == 1]
        doubtful = identity.doubtful(header, same)
        made.update(identity.copied(header, [name for name in same if name not in doubtful]))
    made.SliceThickness = placement.planes[0].thickness
    if sop_class == MR:
        made.ScanningSequence = made.get("ScanningSequence") or "RM"
        made.SequenceVariant = made.get("SequenceVariant") or "NONE"
    inversion = ("InversionTime",) if "IR" in words(made, "ScanningSequence") else ()
    for keyword in (*EMPTY[sop_class], *inversion):
        if keyword not in made:
            made.add(identity.empty(keyword))


def _pixel_module(made: Dataset, placement: Placement, coding: Coding) -> None:
    first = placement.planes[0]
    _, made.Rows, made.Columns = placement.shape
    made.PixelSpacing, made.ImageOrientationPatient = list(first.spacing), list(first.orientation)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, int(coding.signed)


def _third(sop_class: str, header: Dataset) -> str:
    """Image Type value 3 of the source, as far as the class knows it (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1)."""
    given = words(header, "ImageType")
    third = given[2] if len(given) > 2 else ""
    if sop_class == CT:
        return third if third in ("AXIAL", "LOCALIZER") else "AXIAL"
    return third or "OTHER"


def _derivation(sidecar: Sidecar, coding: Coding) -> str:
    """Derivation Description, at most 1024 characters."""
    if sidecar.kind == "labels":
        named = [f"{segment.value} {segment.label}" for segment in sidecar.segments or ()]
        text = "Label map: a pixel holds the number of its organ, 0 is none. " + ", ".join(named)
    else:
        text = sidecar.derivation or "Volume of a processing step on the geometry of its source images."
    if coding.loss:
        text += f" Values rounded by at most {coding.loss:.3g}."
    return f"{NOTICE}. {text}"[:1024]


def _window(made: Dataset, sop_class: str, sidecar: Sidecar, header: Dataset, coding: Coding) -> None:
    """Window (PS3.3 C.11.2.1.2), the source's when the values still mean the same; and what the values are."""
    if sop_class == CT:
        kept = sidecar.unit or line(header, "RescaleType") or "HU"
        made.RescaleType = "US" if sidecar.kind == "labels" else kept
    center, width = words(header, "WindowCenter"), words(header, "WindowWidth")
    same = sidecar.kind == "image" and (sidecar.unit in ("", "HU") or not sidecar.derivation)
    if same and len(center) == len(width) > 0 and all(map(_window_number, center, width)):
        made.WindowCenter, made.WindowWidth = list(center), list(width)
        return
    made.WindowCenter = decimal((coding.lowest + coding.highest) / 2)
    made.WindowWidth = decimal(max(coding.highest - coding.lowest, 1.0))


def _window_number(center: str, width: str) -> bool:
    return valid("DS", center) and valid("DS", width) and float(width) >= 1

"""Label map -> structured report with the volume of each organ: Comprehensive 3D SR, TID 1500 (PS3.16).

One measurement group an organ (TID 1411), which names the segment that was measured; so it goes with a SEG. An organ
that was looked for and not found has the volume 0; one that the images cut has a comment that says so. The tree is
made of the few kinds of content items below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import encode
import identity
import numpy as np
import seg
from grid import Placement
from headers import line
from identity import Provenance, code
from labels import Voxels
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from seg import Made
from sidecar import Code, Segment, Sidecar
from source import Plane

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
BASE_NUMBER = 4000  # Series Number: this plus that of the source
VOLUME, MILLILITRE = Code("118565006", "SCT", "Volume"), Code("ml", "UCUM", "milliliter")
COMMENT = Code("121106", "DCM", "Comment")
CUT = "Reaches the edge of the images: this is the volume of the part that they show."
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
IMAGING = Code("363679005", "SCT", "Imaging")
PROCEDURES = {  # CID 100
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MR unspecified body region"),
    "PT": Code("44139-4", "LN", "PET unspecified body region"),
}


class Volume(NamedTuple):
    """Of one segment. `cut`: it reaches the first or last image, or the border of one."""

    millilitres: float
    cut: bool


def volumes(
    voxels: Voxels, frames: Sequence[tuple[int, int]], segments: Sequence[Segment], spacing: Iterable[float]
) -> list[Volume]:
    """The volume of each segment: its voxels times the volume of one. `spacing` in mm."""
    counts, cut = [0] * len(segments), [False] * len(segments)
    for segment, k in frames:
        inside = voxels[k] == segments[segment].value
        counts[segment] += int(np.count_nonzero(inside))
        cut[segment] |= _at_border(inside) or (k in (0, len(voxels) - 1) and bool(inside.any()))
    x, y, z = spacing
    return [Volume(count * x * y * z / 1000, at_edge) for count, at_edge in zip(counts, cut, strict=True)]


def _at_border(inside: NDArray[np.bool_]) -> bool:
    return any(bool(line.any()) for line in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def write(
    folder: Path,
    measured: Made,
    found: Sequence[Volume],
    segments: Sequence[Segment],
    placement: Placement,
    sidecar: Sidecar,
    header: Dataset,
    provenance: Provenance,
) -> Path:
    """Write the report about a SEG into a folder; the volumes are in the order of the segments."""
    root = _root(placement, sidecar, header, provenance)
    root.CurrentRequestedProcedureEvidenceSequence = [_evidence(measured, placement, header)]
    groups = [
        _group(number, segment, volume, measured, sidecar, provenance)
        for number, (segment, volume) in enumerate(zip(segments, found, strict=True), 1)
    ]
    root.ContentSequence = [
        *_context(header, provenance),
        _container("CONTAINS", Code("126010", "DCM", "Imaging Measurements"), groups),
        _text("CONTAINS", COMMENT, sidecar.notice),
    ]
    parts = encode.elements(root)
    content = hashlib.sha256(b"".join(parts.values())).hexdigest()
    uid = provenance.uid("report", sidecar.series, content)
    parts[0x00080018] = encode.text(0x00080018, "UI", uid)
    parts[0x0020000E] = encode.text(0x0020000E, "UI", provenance.uid("report series", sidecar.series, content))
    path = folder / f"report-{hashlib.sha256(uid.encode()).hexdigest()[:12]}.dcm"
    data = b"".join(parts[tag] for tag in sorted(parts))
    path.write_bytes(encode.file_header(COMPREHENSIVE_3D_SR, uid) + data)
    return path


def _root(placement: Placement, sidecar: Sidecar, header: Dataset, provenance: Provenance) -> Dataset:
    """Everything but the tree, the evidence and the UIDs (PS3.3 A.35.13, C.17.1, C.17.2)."""
    made = identity.about(header)
    made.pop("BodyPartExamined", None)  # no attribute of a report
    date, time = identity.moment(plane.instance for plane in placement.planes)
    identity.series(made, sidecar, identity.number(header, BASE_NUMBER), "volumes")
    identity.equipment(made, provenance)
    made.Modality, made.SOPClassUID, made.InstanceNumber = "SR", COMPREHENSIVE_3D_SR, 1
    made.SeriesDate = made.ContentDate = date
    made.SeriesTime = made.ContentTime = time
    made.ReferencedPerformedProcedureStepSequence = made.PerformedProcedureCodeSequence = []
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [code(Code("126000", "DCM", "Imaging Measurement Report"))]
    made.ContentTemplateSequence = [_template("1500")]
    return made


def _evidence(measured: Made, placement: Placement, header: Dataset) -> Dataset:
    """The SEG and every image that it was made on (PS3.3 C.17.2.3)."""
    made, own = Dataset(), Dataset()
    own.SeriesInstanceUID = measured.series
    own.ReferencedSOPSequence = [_reference(seg.SEGMENTATION_STORAGE, measured.uid)]
    made.StudyInstanceUID = line(header, "StudyInstanceUID")
    made.ReferencedSeriesSequence = [own, _images(placement.planes)]
    return made


def _images(planes: Sequence[Plane]) -> Dataset:
    made = Dataset()
    made.SeriesInstanceUID = planes[0].instance.series
    used = {plane.instance.uid: plane.instance.sop_class for plane in planes}
    made.ReferencedSOPSequence = [_reference(sop_class, uid) for uid, sop_class in used.items()]
    return made


def _reference(sop_class: str, uid: str) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, uid
    return made


def _context(header: Dataset, provenance: Provenance) -> list[Dataset]:
    """Language (TID 1204), this stage as the observer (TID 1004), and what was done (CID 100)."""
    device = "HAS OBS CONTEXT"
    return [
        _code("HAS CONCEPT MOD", Code("121049", "DCM", "Language of Content Item and Descendants"), ENGLISH),
        _code(device, Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device")),
        _uid(device, Code("121012", "DCM", "Device Observer UID"), provenance.uid("device")),
        _text(device, Code("121013", "DCM", "Device Observer Name"), identity.MODEL),
        _text(device, Code("121014", "DCM", "Device Observer Manufacturer"), identity.MAKER),
        _text(device, Code("121015", "DCM", "Device Observer Model Name"), identity.MODEL),
        _code(
            "HAS CONCEPT MOD",
            Code("121058", "DCM", "Procedure reported"),
            PROCEDURES.get(line(header, "Modality"), IMAGING),
        ),
    ]


def _group(
    number: int, segment: Segment, volume: Volume, measured: Made, sidecar: Sidecar, provenance: Provenance
) -> Dataset:
    """What was measured of one segment (TID 1411): which one, where it is, by what, and its volume."""
    name, tracked = seg.tracking(segment, sidecar, provenance)
    site = _code("HAS CONCEPT MOD", Code("363698007", "SCT", "Finding Site"), segment.type)
    if segment.laterality is not None:
        side = Code("272741003", "SCT", "Laterality")
        site.ContentSequence = [_code("HAS CONCEPT MOD", side, segment.laterality)]
    made = _container(
        "CONTAINS",
        Code("125007", "DCM", "Measurement Group"),
        [
            _text("HAS OBS CONTEXT", Code("112039", "DCM", "Tracking Identifier"), name),
            _uid("HAS OBS CONTEXT", Code("112040", "DCM", "Tracking Unique Identifier"), tracked),
            _code("CONTAINS", Code("121071", "DCM", "Finding"), segment.type),
            site,
            *_algorithm(sidecar),
            _segment(number, measured),
            _uid("CONTAINS", Code("121232", "DCM", "Source series for segmentation"), sidecar.series),
            _number(VOLUME, volume.millilitres, MILLILITRE),
            *([_text("CONTAINS", COMMENT, CUT)] if volume.cut else []),
        ],
    )
    made.ContentTemplateSequence = [_template("1411")]
    return made


def _algorithm(sidecar: Sidecar) -> list[Dataset]:
    """TID 4019."""
    name, version, digest = seg.algorithm_texts(sidecar.algorithm)
    made = [
        _text("HAS CONCEPT MOD", Code("111001", "DCM", "Algorithm Name"), name),
        _text("HAS CONCEPT MOD", Code("111003", "DCM", "Algorithm Version"), version),
    ]
    parameters = Code("111002", "DCM", "Algorithm Parameters")
    return [*made, _text("HAS CONCEPT MOD", parameters, digest)] if digest else made


def _segment(number: int, measured: Made) -> Dataset:
    made = _item("CONTAINS", "IMAGE", Code("121191", "DCM", "Referenced Segment"))
    reference = _reference(seg.SEGMENTATION_STORAGE, measured.uid)
    reference.ReferencedSegmentNumber = number
    made.ReferencedSOPSequence = [reference]
    return made


# content items (PS3.3 C.17.3)


def _item(relation: str, kind: str, concept: Code) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType, made.ConceptNameCodeSequence = relation, kind, [code(concept)]
    return made


def _container(relation: str, concept: Code, items: Sequence[Dataset]) -> Dataset:
    made = _item(relation, "CONTAINER", concept)
    made.ContinuityOfContent, made.ContentSequence = "SEPARATE", list(items)
    return made


def _code(relation: str, concept: Code, value: Code) -> Dataset:
    made = _item(relation, "CODE", concept)
    made.ConceptCodeSequence = [code(value)]
    return made


def _text(relation: str, concept: Code, value: str) -> Dataset:
    made = _item(relation, "TEXT", concept)
    made.TextValue = value
    return made


def _uid(relation: str, concept: Code, value: str) -> Dataset:
    made = _item(relation, "UIDREF", concept)
    made.UID = value
    return made


def _number(concept: Code, value: float, unit: Code) -> Dataset:
    """Six digits: no segmentation is better than that."""
    measured = Dataset()
    measured.MeasurementUnitsCodeSequence, measured.NumericValue = [code(unit)], f"{value:.6g}"
    made = _item("CONTAINS", "NUM", concept)
    made.MeasuredValueSequence = [measured]
    return made


def _template(identifier: str) -> Dataset:
    made = Dataset()
    made.MappingResource, made.TemplateIdentifier = "DCMR", identifier
    return made

"""Label map -> DICOM Segmentation, BINARY, one segment an organ (PS3.3 A.51, C.8.20).

Every frame is one plane of the source on which the organ occurs, and names the source instance and frame. Positions
and spacings are the source's own text. Written straight to the file: frames as packed bits, functional groups as bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import encode
import identity
import numpy as np
import reference
from grid import Placement
from headers import words
from identity import Provenance, code
from labels import Voxels
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from refusal import Refused
from sidecar import NOTICE, Algorithm, Code, Segment, Sidecar

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SEGMENT_NUMBER, SEGMENT_GROUP = 0x0062000B, 0x0062000A
POSITION, POSITION_GROUP = 0x00200032, 0x00209113
PER_FRAME, PIXELS = 0x52009230, 0x7FE00010
BASE_NUMBER = 1000  # Series Number: this plus that of the source


class Made(NamedTuple):
    """A SEG that was written, as another object refers to it."""

    path: Path
    uid: str  # SOP Instance UID
    series: str  # Series Instance UID


def write(
    folder: Path,
    voxels: Voxels,
    frames: Sequence[tuple[int, int]],
    segments: Sequence[Segment],
    placement: Placement,
    sidecar: Sidecar,
    header: Dataset,
    provenance: Provenance,
    digest: str,
) -> Made:
    """Write the object for voxels [slice, row, column] into a folder. `digest` is that of the voxels."""
    _, rows, columns = placement.shape
    size = (len(frames) * rows * columns + 7) // 8
    groups = b"".join(_groups(frames, placement))
    if max(size + 1, len(groups)) > encode.MAX_LENGTH:
        raise Refused("E_LABELS", f"{len(frames)} frames are more than one object holds", "leave out segments")
    root = _root(segments, placement, sidecar, header, provenance)
    root.NumberOfFrames = len(frames)
    parts = encode.elements(root)
    content = hashlib.sha256(b"".join([*parts.values(), groups, digest.encode()])).hexdigest()
    uid = provenance.uid("seg", sidecar.series, content)
    parts[0x00080018] = encode.text(0x00080018, "UI", uid)
    series = provenance.uid("seg series", sidecar.series, content)
    parts[0x0020000E] = encode.text(0x0020000E, "UI", series)
    path = folder / f"seg-{hashlib.sha256(uid.encode()).hexdigest()[:12]}.dcm"
    with open(path, "wb", buffering=1 << 20) as file:
        file.write(encode.file_header(SEGMENTATION_STORAGE, uid))
        file.write(b"".join(parts[tag] for tag in sorted(parts)))
        file.write(encode.start(PER_FRAME, "SQ", len(groups)))
        file.write(groups)
        file.write(encode.start(PIXELS, "OB", size + size % 2))
        _write_bits(file, (voxels[k] == segments[segment].value for segment, k in frames))
        file.write(bytes(size % 2))
    return Made(path, uid, series)


def _write_bits(file: BinaryIO, planes: Iterator[NDArray[np.bool_]]) -> None:
    """One bit a pixel, lowest first, frame after frame without padding between them (PS3.5 8.1.1, D.2)."""
    rest = np.zeros(0, bool)
    for plane in planes:
        bits = plane.ravel() if not rest.size else np.concatenate([rest, plane.ravel()])
        whole = bits.size - bits.size % 8
        file.write(np.packbits(bits[:whole], bitorder="little").data)
        rest = bits[whole:]
    file.write(np.packbits(rest, bitorder="little").data)


def _groups(frames: Sequence[tuple[int, int]], placement: Placement) -> Iterator[bytes]:
    """The functional groups of each frame (PS3.3 C.7.6.16), as items."""
    used = sorted({k for _, k in frames})
    index = {k: number for number, k in enumerate(used, 1)}
    derivation = {k: reference.derivation(placement.planes[k], reference.SEGMENTATION) for k in used}
    position = {
        k: encode.sequence(POSITION_GROUP, encode.text(POSITION, "DS", *placement.planes[k].position)) for k in used
    }
    for segment, k in frames:
        values = struct.pack("<II", segment + 1, index[k])
        yield encode.item(
            derivation[k]
            + encode.sequence(0x00209111, encode.element(0x00209157, "UL", values))
            + position[k]
            + encode.sequence(SEGMENT_GROUP, encode.element(SEGMENT_NUMBER, "US", struct.pack("<H", segment + 1)))
        )


def _root(
    segments: Sequence[Segment], placement: Placement, sidecar: Sidecar, header: Dataset, provenance: Provenance
) -> Dataset:
    """Everything that is not per frame, without the UIDs of series and instance."""
    made = identity.about(header)
    instances = [plane.instance for plane in placement.planes]
    date, time = identity.moment(instances)
    identity.series(made, sidecar, identity.number(header, BASE_NUMBER), "SEG")
    identity.equipment(made, provenance)
    made.Modality, made.SOPClassUID = "SEG", SEGMENTATION_STORAGE
    made.SeriesDate = made.ContentDate = date
    made.SeriesTime = made.ContentTime = time
    made.InstanceNumber = 1
    made.FrameOfReferenceUID = instances[0].frame_of_reference
    made.add(identity.empty("PositionReferenceIndicator"))
    made.update(identity.copied(header, ("PositionReferenceIndicator", "PatientPosition")))
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "SEGMENTATION", NOTICE, ""
    made.ImageComments = sidecar.notice
    _pixel_module(made, placement, header)
    _dimensions(made, sidecar, provenance)
    made.SegmentationType, made.SegmentsOverlap = "BINARY", "NO"
    made.SegmentSequence = [
        _segment(number, segment, sidecar, provenance) for number, segment in enumerate(segments, 1)
    ]
    made.ReferencedSeriesSequence = [reference.series(placement.planes)]
    made.SharedFunctionalGroupsSequence = [_shared(placement)]
    return made


def _pixel_module(made: Dataset, placement: Placement, header: Dataset) -> None:
    """Image Pixel and General Image (PS3.3 C.7.6.3, C.8.20.2). The loss of the source is the loss of what it shows."""
    made.ImageType = ["DERIVED", "PRIMARY"]
    _, made.Rows, made.Columns = placement.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    made.LossyImageCompression = "00"
    if words(header, "LossyImageCompression") == ("01",):
        made.update(identity.copied(header, identity.LOSSY))


def _dimensions(made: Dataset, sidecar: Sidecar, provenance: Provenance) -> None:
    """Multi-frame Dimension (PS3.3 C.7.6.17): segment, then position."""
    uid = provenance.uid("dimensions", sidecar.series)
    made.DimensionOrganizationSequence = [Dataset()]
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    made.DimensionIndexSequence = []
    for pointer, group, label in (
        (SEGMENT_NUMBER, SEGMENT_GROUP, "Segment Number"),
        (POSITION, POSITION_GROUP, "Image Position Patient"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        index.DimensionDescriptionLabel = label
        made.DimensionIndexSequence.append(index)


def _shared(placement: Placement) -> Dataset:
    """Pixel measures and orientation, the same for all frames, in the source's own text."""
    first = placement.planes[0]
    spacing = f"{placement.spacing:.10g}"
    measures, orientation, made = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(first.spacing)
    measures.SliceThickness = first.thickness or spacing
    measures.SpacingBetweenSlices = spacing
    orientation.ImageOrientationPatient = list(first.orientation)
    made.PixelMeasuresSequence, made.PlaneOrientationSequence = [measures], [orientation]
    return made


def _segment(number: int, segment: Segment, sidecar: Sidecar, provenance: Provenance) -> Dataset:
    """One item of the Segment Sequence (PS3.3 C.8.20.4)."""
    made = Dataset()
    made.SegmentNumber, made.SegmentLabel, made.SegmentDescription = number, segment.label, NOTICE
    made.SegmentAlgorithmType = "AUTOMATIC"
    made.SegmentAlgorithmName = algorithm_texts(sidecar.algorithm)[0]
    made.SegmentationAlgorithmIdentificationSequence = [_algorithm(sidecar.algorithm)]
    made.SegmentedPropertyCategoryCodeSequence = [code(segment.category)]
    made.SegmentedPropertyTypeCodeSequence = [code(segment.type)]
    if segment.laterality is not None:
        modifier = [code(segment.laterality)]
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    made.TrackingID, made.TrackingUID = tracking(segment, sidecar, provenance)
    if segment.color is not None:
        made.RecommendedDisplayCIELabValue = lab(segment.color)
    return made


def tracking(segment: Segment, sidecar: Sidecar, provenance: Provenance) -> tuple[str, str]:
    """Identifier and UID by which the segment is the same one in every object of this run."""
    uid = provenance.uid("tracking", sidecar.series, str(segment.value), segment.label)
    return f"{segment.label} ({segment.value})", uid


def algorithm_texts(algorithm: Algorithm) -> tuple[str, str, str]:
    """Name, version, and parameters, which may be empty."""
    parameters = f"model sha256 {algorithm.digest}" if algorithm.digest else ""
    return algorithm.name or "unnamed algorithm", algorithm.version or "unknown", parameters


def _algorithm(algorithm: Algorithm) -> Dataset:
    """Algorithm Identification (PS3.3 10.16)."""
    made = Dataset()
    made.AlgorithmFamilyCodeSequence = [code(INTELLIGENCE)]
    made.AlgorithmName, made.AlgorithmVersion, parameters = algorithm_texts(algorithm)
    if parameters:
        made.AlgorithmParameters = parameters
    return made


def lab(color: tuple[int, int, int]) -> list[int]:
    """sRGB 0..255 -> CIELab as DICOM stores it, 16 bits each (PS3.3 C.10.7.1.1).

    The white point is sRGB's own, D65, because the readers in use take it to be that: with D50, which the standard
    borrows from ICC, their colours would come back a little off.
    """
    part = np.array(color) / 255.0
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # IEC 61966-2-1
    relative = (matrix @ linear) / matrix.sum(axis=1)
    fx, fy, fz = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in relative)
    scaled = (116 * fy - 16) / 100 * 65535, (500 * (fx - fy) + 128) * 257, (200 * (fy - fz) + 128) * 257
    return [int(min(max(round(float(value)), 0), 65535)) for value in scaled]

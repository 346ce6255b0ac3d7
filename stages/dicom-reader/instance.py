"""The header of one object -> frozen values: whose it is, how its pixels are laid out, where its planes lie.

Parses the attributes of one SOP instance, single-frame (PS3.3 C.7.6.2) or with functional groups (C.7.6.16). Absent,
nonsensical or contradicting values are refused by name. It compares no instance with another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import tags
from elements import Item
from part10 import File
from refusal import Refuse, Warn
from values import numbers, raw, short, text, uid, whole

MAX_POSITION = 1e5  # mm
MIN_SPACING, MAX_SPACING = 1e-4, 1e3  # mm
MAX_RESCALE = 1e12
OUTSIDE_TOLERANCE = 0.01  # mm, or cosines: values that are written twice with other digits
UNIT_TOLERANCE = 1e-3  # of the length of a direction, and of the cosine between two

SKIPPED_CLASSES = {
    "1.2.840.10008.1.3.10": "a directory (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map segmentation",
    "1.2.840.10008.5.1.4.1.1.66.8": "a height map segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LOSSY_SYNTAXES = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose object this is. `patient` is only ever compared."""

    sop: str
    sop_class: str
    study: str
    series: str
    patient: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How stored values lie in the pixel data (PS3.5 section 8)."""

    rows: int
    columns: int
    frames: int
    allocated: int  # bits: 8, 16 or 32
    stored: int  # bits, from bit 0
    signed: bool

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.allocated // 8

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value that can be stored."""
        half = 1 << (self.stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice in space: patient coordinates (LPS) in mm, spacing of rows first as in Pixel Spacing."""

    position: tuple[float, ...]  # 3: centre of the first voxel
    orientation: tuple[float, ...]  # 6: direction along a row, direction along a column
    spacing: tuple[float, ...]  # 2: between rows, between columns
    slope: float
    intercept: float
    rescaled: bool  # the object says slope and intercept
    unit: str  # Rescale Type, or Units of PET; empty when not said
    frame: int | None  # from 1 in a multi-frame object


@dataclass(frozen=True, slots=True)
class Instance:
    """One image object that can be a part of a volume."""

    file: File
    identity: Identity
    frame_of_reference: str
    modality: str
    photometric: str
    layout: Layout
    planes: tuple[Plane, ...]
    thickness: tuple[float | None, float | None]  # Spacing Between Slices, Slice Thickness, mm
    offsets: bytes  # extended offset table, little endian, empty when there is none
    described: tuple[tuple[str, str], ...]  # further attributes for the sidecar
    notes: tuple[Warn, ...]


def identity(item: Item) -> Identity:
    """Refuses when the object does not say which it is."""
    who = (tags.PATIENT_ID, tags.ISSUER_OF_PATIENT_ID, tags.PATIENT_BIRTH_DATE)
    name = raw(item, tags.PATIENT_NAME).rstrip(b"^ =").upper()
    found = Identity(
        uid(item, tags.SOP_INSTANCE_UID), uid(item, tags.SOP_CLASS_UID), uid(item, tags.STUDY_INSTANCE_UID),
        uid(item, tags.SERIES_INSTANCE_UID), (*(raw(item, tag) for tag in who), name),
    )  # fmt: skip
    for value, tag in ((found.sop, tags.SOP_INSTANCE_UID), (found.series, tags.SERIES_INSTANCE_UID)):
        if not value:
            raise Refuse("E_UID", f"{tags.name(tag)} is missing")
    return found


def not_an_image(file: File, who: Identity) -> str:
    """Why this object is no image, in words; empty when it may be one."""
    if who.sop_class in SKIPPED_CLASSES:
        return SKIPPED_CLASSES[who.sop_class]
    return "" if file.pixels else "an object without pixels"


def is_localizer(item: Item) -> bool:
    return b"LOCALIZER" in [part.strip() for part in raw(item, tags.IMAGE_TYPE).upper().split(b"\\")]


def instance(file: File, item: Item, who: Identity) -> Instance:
    """The object as values. Raises Refuse when it cannot be a part of a volume."""
    layout, photometric = _layout(file, item)
    frame_of_reference, modality = uid(item, tags.FRAME_OF_REFERENCE_UID), text(item, tags.MODALITY)
    if item.get(tags.MODALITY_LUT_SEQUENCE):
        raise Refuse("E_MODALITY_LUT", "values go through a table (Modality LUT), which is not read; export without it")
    if tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE in item or tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE in item:
        planes = _grouped_planes(item, layout.frames)
    else:
        planes = _single_plane(item, layout.frames)
    offsets = item.get(tags.EXTENDED_OFFSET_TABLE, b"")
    return Instance(
        file, who, frame_of_reference, modality, photometric, layout, planes, _thickness(item),
        offsets if isinstance(offsets, bytes) else b"", _described(item), _notes(file, item),
    )  # fmt: skip


def _layout(file: File, item: Item) -> tuple[Layout, str]:
    code = "E_PIXEL_FORMAT"
    samples = short(item, tags.SAMPLES_PER_PIXEL, file.encoding.big, code)
    photometric = text(item, tags.PHOTOMETRIC_INTERPRETATION)
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise Refuse("E_COLOUR", f"colour images ({photometric or 'colour'}) make no volume; send the grey series")
    if not photometric:
        raise Refuse(code, "Photometric Interpretation is missing")
    if file.pixels is None or file.pixels.tag != tags.PIXEL_DATA:
        raise Refuse(code, "floating point pixels are not read; export the series with integer pixels")
    rows, columns, allocated, stored, high_bit, representation = (
        short(item, tag, file.encoding.big, code)
        for tag in (tags.ROWS, tags.COLUMNS, tags.BITS_ALLOCATED, tags.BITS_STORED, tags.HIGH_BIT,
                    tags.PIXEL_REPRESENTATION)
    )  # fmt: skip
    frames = whole(item, tags.NUMBER_OF_FRAMES, code)
    layout = Layout(rows, columns, 1 if frames is None else frames, allocated, stored, representation == 1)
    _check_layout(layout, high_bit, representation)
    return layout, photometric


def _check_layout(layout: Layout, high_bit: int, representation: int) -> None:
    code = "E_PIXEL_FORMAT"
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise Refuse(code, f"{layout.rows} rows, {layout.columns} columns, {layout.frames} frames: no image")
    if layout.allocated not in (8, 16, 32):
        raise Refuse(code, f"Bits Allocated is {layout.allocated}; 8, 16 and 32 are read")
    if not 1 <= layout.stored <= layout.allocated:
        raise Refuse(code, f"Bits Stored is {layout.stored}, Bits Allocated {layout.allocated}: they contradict")
    if high_bit != layout.stored - 1:
        raise Refuse(code, f"High Bit is {high_bit}, Bits Stored {layout.stored}: they contradict")
    if representation > 1:
        raise Refuse(code, f"Pixel Representation is {representation}; 0 and 1 exist")


def _single_plane(item: Item, frames: int) -> tuple[Plane, ...]:
    if frames != 1:
        raise Refuse("E_NO_GEOMETRY", f"{frames} frames without functional groups: no position for each of them")
    return (_plane((item,), (item,), (item,), (item,), None),)


def _grouped_planes(item: Item, frames: int) -> tuple[Plane, ...]:
    """One plane a frame, from the groups of the frame and the shared ones (PS3.3 C.7.6.16)."""
    per_frame = _items(item, tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
    shared = _items(item, tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE)
    if len(per_frame) != frames:
        raise Refuse("E_FRAMES", f"{frames} frames, but functional groups of {len(per_frame)}: they contradict")
    if len(shared) > 1:
        raise Refuse("E_FRAMES", f"{len(shared)} items of shared functional groups; 1 belongs there")
    common = shared[0] if shared else {}
    outside = bool(raw(item, tags.RESCALE_SLOPE) or raw(item, tags.RESCALE_INTERCEPT))
    planes = []
    for number, groups in enumerate(per_frame, 1):
        try:
            macros = [_macro(groups, common, tag) for tag in (
                tags.PLANE_POSITION_SEQUENCE, tags.PLANE_ORIENTATION_SEQUENCE, tags.PIXEL_MEASURES_SEQUENCE,
                tags.PIXEL_VALUE_TRANSFORMATION_SEQUENCE)]  # fmt: skip
            if outside and (not macros[3] or _rescale(macros[3][0]) != _rescale(item)):
                raise Refuse("E_FRAMES", "rescale stands outside the functional groups, which do not say the same")
            planes.append(_plane(macros[0], macros[1], macros[2], macros[3] or ({},), number))
        except Refuse as refusal:
            raise Refuse(refusal.code, f"frame {number}: {refusal.reason}", refusal.about) from None
    _check_outside(item, planes)
    return tuple(planes)


def _check_outside(item: Item, planes: list[Plane]) -> None:
    """Geometry outside the groups has no place in such an object; where it stands, it must not say something else."""
    found = {
        tags.IMAGE_POSITION_PATIENT: {plane.position for plane in planes},
        tags.IMAGE_ORIENTATION_PATIENT: {plane.orientation for plane in planes},
        tags.PIXEL_SPACING: {plane.spacing for plane in planes},
    }
    for tag, of_frames in found.items():
        outside = numbers(item, tag, len(next(iter(of_frames))), "E_BAD_GEOMETRY")
        same = [outside is None or math.dist(outside, one) <= OUTSIDE_TOLERANCE for one in of_frames]
        if not (any(same) if tag == tags.IMAGE_POSITION_PATIENT else all(same)):
            raise Refuse("E_FRAMES", f"{tags.name(tag)} outside the functional groups contradicts them")


def _items(item: Item, tag: int) -> list[Item]:
    found = item.get(tag, [])
    return found if isinstance(found, list) else []


def _macro(groups: Item, common: Item, tag: int) -> tuple[Item, ...]:
    """The item of a macro: of the frame, or shared. Both is a contradiction unless they say the same."""
    own, shared = _items(groups, tag), _items(common, tag)
    if len(own) > 1 or len(shared) > 1:
        raise Refuse("E_FRAMES", f"{tags.name(tag)} has several items; 1 belongs there")
    if own and shared and own != shared:
        raise Refuse("E_FRAMES", f"{tags.name(tag)} of the frame contradicts the shared one")
    return tuple(own or shared)


def _plane(
    position: tuple[Item, ...], orientation: tuple[Item, ...], measures: tuple[Item, ...], values: tuple[Item, ...],
    frame: int | None,
) -> Plane:  # fmt: skip
    slope, intercept, rescaled = _rescale(values[0])
    place = _needed(position, tags.IMAGE_POSITION_PATIENT, 3)
    axes = _needed(orientation, tags.IMAGE_ORIENTATION_PATIENT, 6)
    spacing = _needed(measures, tags.PIXEL_SPACING, 2)
    _check_plane(place, axes, spacing)
    unit = (text(values[0], tags.RESCALE_TYPE, 16) if rescaled else "") or text(values[0], tags.UNITS, 16)
    return Plane(place, axes, spacing, slope, intercept, rescaled, unit, frame)


def _needed(items: tuple[Item, ...], tag: int, count: int) -> tuple[float, ...]:
    found = numbers(items[0], tag, count, "E_BAD_GEOMETRY") if items else None
    if found is None:
        raise Refuse("E_NO_GEOMETRY", f"{tags.name(tag)} is missing: where the pixels lie is not known")
    return found


@lru_cache(maxsize=64)
def _check_axes(axes: tuple[float, ...], spacing: tuple[float, ...]) -> str:
    """Why these are no axes of an image; empty when they are."""
    if not all(MIN_SPACING <= value <= MAX_SPACING for value in spacing):
        return f"Pixel Spacing {spacing[0]:g}, {spacing[1]:g} mm is not that of an image"
    row, column = axes[:3], axes[3:]
    if any(abs(math.hypot(*axis) - 1) > UNIT_TOLERANCE for axis in (row, column)):
        return "Image Orientation (Patient) holds no unit vectors"
    if abs(sum(a * b for a, b in zip(row, column, strict=True))) > UNIT_TOLERANCE:
        return "Image Orientation (Patient): rows and columns are not at right angles"
    return ""


def _check_plane(position: tuple[float, ...], axes: tuple[float, ...], spacing: tuple[float, ...]) -> None:
    code = "E_BAD_GEOMETRY"
    if max(map(abs, position)) > MAX_POSITION:
        raise Refuse(code, f"Image Position (Patient) is more than {MAX_POSITION:g} mm away")
    if reason := _check_axes(axes, spacing):
        raise Refuse(code, reason)


def _rescale(item: Item) -> tuple[float, float, bool]:
    """Slope, intercept, and whether the object says them. One without the other is not guessed."""
    slope = numbers(item, tags.RESCALE_SLOPE, 1, "E_RESCALE")
    intercept = numbers(item, tags.RESCALE_INTERCEPT, 1, "E_RESCALE")
    if slope is None and intercept is None:
        return 1.0, 0.0, False
    if slope is None or intercept is None:
        missing = tags.RESCALE_SLOPE if slope is None else tags.RESCALE_INTERCEPT
        raise Refuse("E_RESCALE", f"{tags.name(missing)} is missing, the other of the pair is there")
    if slope[0] == 0 or max(abs(slope[0]), abs(intercept[0])) > MAX_RESCALE or abs(slope[0]) < 1 / MAX_RESCALE:
        raise Refuse("E_RESCALE", f"Rescale Slope {slope[0]:g}, Rescale Intercept {intercept[0]:g}: not a scale")
    return slope[0], intercept[0], True


def _thickness(item: Item) -> tuple[float | None, float | None]:
    """Spacing Between Slices and Slice Thickness in mm; None where they say nothing usable."""
    measures = item
    for tag in (tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE):
        for groups in _items(item, tag)[:1]:
            measures = (_items(groups, tags.PIXEL_MEASURES_SEQUENCE) or [measures])[0]
    found: list[float | None] = []
    for tag in (tags.SPACING_BETWEEN_SLICES, tags.SLICE_THICKNESS):
        try:
            value = numbers(measures, tag, 1, "")
        except Refuse:
            value = None
        found.append(value[0] if value and MIN_SPACING <= value[0] <= MAX_SPACING else None)
    return found[0], found[1]


def _described(item: Item) -> tuple[tuple[str, str], ...]:
    wanted = (("PatientPosition", tags.PATIENT_POSITION), ("BodyPartExamined", tags.BODY_PART_EXAMINED))
    return tuple((key, value) for key, tag in wanted if (value := text(item, tag)))


def _notes(file: File, item: Item) -> tuple[Warn, ...]:
    notes = []
    if item.get(tags.PIXEL_PADDING_VALUE):
        notes.append(Warn("W_PADDING", "voxels outside the image hold the scanner's padding value, kept as stored"))
    if raw(item, tags.LOSSY_IMAGE_COMPRESSION) == b"01" or file.syntax in LOSSY_SYNTAXES:
        notes.append(Warn("W_LOSSY", "the images were compressed with loss; values are near the measured ones"))
    return tuple(notes)

"""Series whose voxels say where they are: the stored intensity of each is 3x + 5y + 8z of its patient position in mm.

A reader that is right, whatever its axis order, gives value == `expected(world)` within 1. So one assertion judges
order, spacing, orientation, rescale, decoding and handedness at once. `CASES` are series with one defect or variant
each; `write` puts a series into a folder under shuffled names. Everything is made by code, the same bytes each time.
"""

from __future__ import annotations

import copy
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's root for generated UIDs
SLICES = 12
STEP = 2.0  # mm
FIRST = (-20.0, -15.0, -12.0)  # mm, centre of the first voxel of the first slice
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
READ = ""  # instead of a refusal

Series = list[Dataset]
Vector = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A series, and what a reader must make of it: a refusal by its code, or a volume (`READ`) with these warnings."""

    name: str
    make: Callable[[], list[bytes]]
    refusal: str = READ
    about: str = ""  # stands behind the code
    warnings: tuple[str, ...] = ()
    slices: int = SLICES
    right: float = 1.0  # share of voxels that must equal their position; the rest is padding
    suffix: str = ".dcm"


CASES: dict[str, Case] = {}


def case(name: str, refusal: str = READ, about: str = "", *warnings: str, **more: Any) -> Callable[..., Any]:
    """Register a function that makes the data sets, or the files, of a case."""

    def register(make: Callable[[], Iterable[Dataset | bytes]]) -> Callable[[], Iterable[Dataset | bytes]]:
        def files() -> list[bytes]:
            return [entry if isinstance(entry, bytes) else encoded(entry) for entry in make()]

        CASES[name] = Case(name, files, refusal, about, warnings, **more)
        return make

    return register


def uid(*words: object) -> str:
    return str(generate_uid(prefix=ROOT, entropy_srcs=["/".join(map(str, words))]))


def expected(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value at patient positions (..., 3) in mm."""
    return 3 * world[..., 0] + 5 * world[..., 1] + 8 * world[..., 2]


def axial(k: int, step: float = STEP) -> tuple[float, float, float]:
    return FIRST[0], FIRST[1], FIRST[2] + step * k


def image(
    name: str,
    k: int,
    position: Vector,
    orientation: Vector = AXIAL,
    *,
    rows: int = 40,
    columns: int = 48,
    spacing: tuple[float, float] = (1.5, 1.25),
    signed: bool = True,
    slope: float = 1,
    intercept: float = -1024,
    series: str = "s",
    sop_class: str = CTImageStorage,
    **attributes: Any,
) -> Dataset:
    """One single-frame object; `name`, `series` and `k` make its UIDs, `attributes` are set last (None removes)."""
    ds = _identity(name, series, k, sop_class)
    place, axes = np.array(position, float), np.array(orientation, float)
    ds.ImagePositionPatient = [float(f"{v:.10g}") for v in place]
    ds.ImageOrientationPatient = [float(f"{v:.10g}") for v in axes]
    ds.PixelSpacing = list(spacing)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, int(signed)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(slope), str(intercept), "HU"
    r, c = np.mgrid[0:rows, 0:columns]
    values = expected(place + c[..., None] * spacing[1] * axes[:3] + r[..., None] * spacing[0] * axes[3:])
    ds.PixelData = np.round((values - intercept) / slope).astype("<i2" if signed else "<u2").tobytes()
    for key, value in attributes.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    return ds


def _identity(name: str, series: str, k: int, sop_class: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(name, series, k)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(name, "study"), uid(name, series)
    ds.FrameOfReferenceUID = uid(name, "frame of reference")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT" if sop_class == CTImageStorage else "MR"
    ds.Manufacturer, ds.PatientName, ds.PatientID = "SYNTH", "Encoded^Position", "1"
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20240101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "100000"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.PositionReferenceIndicator = ""
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", 1, 1
    ds.PatientPosition, ds.SeriesDescription = "HFS", name
    ds.KVP, ds.SliceThickness = "120", "2"
    ds.InstanceNumber = k + 1
    return ds


def stack(name: str, slices: int = SLICES, step: float = STEP, **more: Any) -> Series:
    """An axial series; `more` goes to `image`."""
    return [image(name, k, axial(k, step), **more) for k in range(slices)]


def stored(ds: Dataset) -> NDArray[Any]:
    """The stored values of an uncompressed single-frame object, (rows, columns)."""
    kind = f"<{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    return np.frombuffer(ds.PixelData, kind).reshape(ds.Rows, ds.Columns).copy()


def encoded(ds: Dataset, syntax: str = "", *, preamble: bool = True) -> bytes:
    """The object as a file, in the transfer syntax it has or in another uncompressed one; by pydicom alone."""
    ds = copy.deepcopy(ds)
    if syntax:
        ds.file_meta.TransferSyntaxUID = syntax
    if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    implicit = ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    little = ds.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    if "PixelData" in ds and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        ds["PixelData"].VR = "OW"
    file = BytesIO()
    if not preamble:
        del ds.file_meta
        pydicom.dcmwrite(file, ds, implicit_vr=implicit, little_endian=little)
    else:
        pydicom.dcmwrite(file, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return file.getvalue()


def compressed(ds: Dataset, syntax: str) -> Dataset:
    """The object with its frame compressed without loss."""
    ds = copy.deepcopy(ds)
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        ds.compress(syntax, generate_instance_uid=False)
        return ds
    pixels = stored(ds)
    if syntax == HTJ2KLossless:
        frame = imagecodecs.htj2k_encode(pixels, reversible=True)
    elif syntax == JPEGLosslessSV1:
        frame = imagecodecs.ljpeg_encode(pixels.view("u2"), bitspersample=16)
    else:
        raise ValueError(f"no encoder for {syntax}")
    ds.PixelData = encapsulate([bytes(frame)])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def enhanced(name: str, sources: Series, sop_class: str = EnhancedMRImageStorage) -> Dataset:
    """The slices as the frames of one multi-frame object: geometry and rescale per frame, the rest shared."""
    ds = _identity(name, "s", 0, sop_class)
    first = sources[0]
    for key in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(ds, key, getattr(first, key))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, first.PhotometricInterpretation
    ds.NumberOfFrames = len(sources)
    ds.SharedFunctionalGroupsSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence = [_groups(source) for source in sources]
    ds.PixelData = b"".join(source.PixelData for source in sources)
    return ds


def _groups(source: Dataset) -> Dataset:
    groups = Dataset()
    groups.PlanePositionSequence = [_only(source, "ImagePositionPatient")]
    groups.PlaneOrientationSequence = [_only(source, "ImageOrientationPatient")]
    groups.PixelMeasuresSequence = [_only(source, "PixelSpacing", "SliceThickness")]
    groups.PixelValueTransformationSequence = [_only(source, "RescaleSlope", "RescaleIntercept", "RescaleType")]
    return groups


def _only(source: Dataset, *keys: str) -> Dataset:
    ds = Dataset()
    for key in keys:
        setattr(ds, key, getattr(source, key))
    return ds


def write(files: Iterable[Dataset | bytes], folder: Path, *, suffix: str = ".dcm", seed: int = 5) -> Path:
    """Write a series into `folder` under names that say nothing about its order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [entry if isinstance(entry, bytes) else encoded(entry) for entry in files]
    names = list(range(len(files)))
    random.Random(seed).shuffle(names)
    for number, content in zip(names, files, strict=True):
        (folder / f"{number:03d}{suffix}").write_bytes(content)
    return folder


def patched(file: bytes, tag: int, value: bytes | None, vr: str = "") -> bytes:
    """A file (explicit VR little endian) with the first element of that tag given another value, whatever it is.

    None removes the element. For what pydicom refuses to write; lengths of enclosing sequences are not corrected.
    """
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    at = next(i for i in range(132, len(file)) if file.startswith(head, i) and file[i + 4 : i + 6].isalpha())
    old_vr, long = file[at + 4 : at + 6], file[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    start = at + (12 if long else 8)
    length = int.from_bytes(file[start - 4 : start] if long else file[start - 2 : start], "little")
    if value is None:
        return file[:at] + file[start + length :]
    value += b" " * (len(value) % 2)
    new_vr = vr.encode() or old_vr
    size = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return file[:at] + head + new_vr + size + value + file[start + length :]


def deflated(data_set: bytes, meta: bytes) -> bytes:
    """A file of meta information (with preamble) and a raw deflated data set: bombs that pydicom would not write."""
    engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta + engine.compress(data_set) + engine.flush()


# ---------------------------------------------------------------- the cases


@case("01 baseline")
def _baseline() -> Series:
    return stack("01")


@case("02 instance numbers at random")
def _instance_numbers() -> Series:
    numbers = list(range(1, SLICES + 1))
    random.Random(3).shuffle(numbers)
    return [image("02", k, axial(k), InstanceNumber=numbers[k]) for k in range(SLICES)]


@case("03 a slice is missing", "E_MISSING_SLICES", "n=1")
def _missing_slice() -> Series:
    return [ds for k, ds in enumerate(stack("03")) if k != 6]


@case("04 two slices at one position", "E_DUP_POSITION", "n=1")
def _duplicate_position() -> Series:
    return [*stack("04"), image("04", 99, axial(5))]


@case("05 the same object twice", READ, "", "W_DUP_UID")
def _duplicate_object() -> Series:
    slices = stack("05")
    return [*slices, copy.deepcopy(slices[5])]


@case("05b the same UID with other pixels", "E_DUP_UID_DIFFERENT")
def _duplicate_uid() -> Series:
    slices = stack("05b")
    twin = copy.deepcopy(slices[5])
    twin.PixelData = bytes(len(twin.PixelData))
    return [*slices, twin]


@case("06 two spacings", "E_NONUNIFORM_SPACING")
def _nonuniform() -> Series:
    return [image("06", k, axial(k) if k < 9 else (-20, -15, 4 + 5 * (k - 8))) for k in range(SLICES)]


@case("07 gantry tilt", "E_GANTRY_TILT", "15 deg")
def _tilt() -> Series:
    t = np.deg2rad(15)
    axes = (1, 0, 0, 0, np.cos(t), -np.sin(t))
    return [image("07", k, axial(k), axes, GantryDetectorTilt="15") for k in range(SLICES)]


@case("08 a localizer in the series", READ, "", "W_LOCALIZER")
def _localizer() -> Series:
    scout = image("08", 50, (-20, 0, 10), (1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return [*stack("08"), scout]


@case("09 two stacks", "E_MULTIPLE_STACKS", "n=2")
def _two_stacks() -> Series:
    axes = (0, 1, 0, 0, 0, -1)
    return [*stack("09"), *(image("09", 100 + k, (-20 + 2 * k, -15, 10), axes) for k in range(SLICES))]


@case("10 three times", "E_4D", "n=3")
def _four_dimensions() -> Series:
    return [
        image("10", t * 100 + k, axial(k), sop_class=MRImageStorage, TemporalPositionIdentifier=t + 1, TriggerTime=t)
        for t in range(3)
        for k in range(SLICES)
    ]


@case("11 enhanced, frames reversed")
def _enhanced() -> Series:
    return [enhanced("11", stack("11")[::-1])]


@case("12 a rescale for each slice")
def _per_slice_rescale() -> Series:
    return [image("12", k, axial(k), slope=round(0.5 + 0.05 * k, 2)) for k in range(SLICES)]


@case("13 MONOCHROME1", READ, "", "W_MONOCHROME1")
def _monochrome1() -> Series:
    return stack("13", PhotometricInterpretation="MONOCHROME1")


@case("14 unsigned")
def _unsigned() -> Series:
    return stack("14", signed=False)


@case("15 one slice with another matrix", READ, "", "W_ODD_SLICES_SKIPPED")
def _mixed_matrix() -> Series:
    return [*stack("15"), image("15", 60, axial(SLICES), rows=80, columns=96, spacing=(0.75, 0.625))]


@case("16 oblique")
def _oblique() -> Series:
    a, b = np.deg2rad(20), np.deg2rad(10)
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    normal = np.cross(row, column)
    return [image("16", k, np.array(FIRST) + normal * STEP * k, (*row, *column)) for k in range(SLICES)]


@case("17 descending")
def _descending() -> Series:
    return [image("17", k, (-20, -15, 12 - STEP * k)) for k in range(SLICES)]


@case("18 no position", "E_NO_GEOMETRY")
def _no_position() -> Series:
    return [
        image("18", k, axial(k), ImagePositionPatient=None, ImageOrientationPatient=None, SliceLocation=str(STEP * k))
        for k in range(SLICES)
    ]


def _syntax(name: str, syntax: str) -> Series:
    return [compressed(ds, syntax) for ds in stack(name)]


@case("19a RLE")
def _rle() -> Series:
    return _syntax("19a", RLELossless)


@case("19b JPEG 2000")
def _jpeg_2000() -> Series:
    return _syntax("19b", JPEG2000Lossless)


@case("19c JPEG-LS")
def _jpeg_ls() -> Series:
    return _syntax("19c", JPEGLSLossless)


@case("19d JPEG lossless")
def _jpeg_lossless() -> Series:
    return _syntax("19d", JPEGLosslessSV1)


@case("19e deflated")
def _deflated() -> list[bytes]:
    return [encoded(ds, DeflatedExplicitVRLittleEndian) for ds in stack("19e")]


@case("19f big endian")
def _big_endian() -> list[bytes]:
    return [encoded(ds, ExplicitVRBigEndian) for ds in stack("19f")]


@case("19g implicit")
def _implicit() -> list[bytes]:
    return [encoded(ds, ImplicitVRLittleEndian) for ds in stack("19g")]


@case("19h no preamble, no extension", suffix="")
def _no_preamble() -> list[bytes]:
    return [encoded(ds, ImplicitVRLittleEndian, preamble=False) for ds in stack("19h")]


@case("19i HTJ2K")
def _htj2k() -> Series:
    return _syntax("19i", HTJ2KLossless)


@case("20 colour", "E_COLOUR")
def _colour() -> Series:
    slices = stack("20", BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, RescaleType=None)
    for ds in slices:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.PixelData = b"\x10\x20\x30" * (40 * 48)
        del ds.RescaleSlope, ds.RescaleIntercept
    return slices


@case("21 overlapping slices")
def _overlap() -> Series:
    return stack("21", step=1.0, SliceThickness="3")


@case("22 jitter of positions")
def _jitter() -> Series:
    noise = np.random.default_rng(0)
    return [image("22", k, np.array(axial(k)) + noise.normal(0, 2e-4, 3)) for k in range(SLICES)]


@case("23 one slice", READ, "", "W_SINGLE_SLICE", slices=1)
def _single() -> Series:
    return [image("23", 0, axial(0))]


@case("25 two series")
def _two_series() -> Series:
    return [*stack("25"), *stack("25", step=3.0, series="t", SeriesNumber=2)]


@case("26 other data in the upper bits")
def _overlay_bits() -> Series:
    slices = stack("26", signed=False, BitsStored=12, HighBit=11)
    for ds in slices:
        ds.PixelData = ((stored(ds) & 0x0FFF) | 0xA000).astype("<u2").tobytes()
    return slices


@case("27 rounded orientation")
def _rounded_orientation() -> Series:
    noise = np.random.default_rng(0)
    return [image("27", k, axial(k), np.array(AXIAL) + noise.normal(0, 2e-6, 6)) for k in range(SLICES)]


@case("28 signed 12 bit, upper bits zero")
def _signed_12() -> Series:
    slices = stack("28", intercept=0, BitsStored=12, HighBit=11)
    for ds in slices:
        ds.PixelData = (stored(ds).astype(int) & 0xFFF).astype("<u2").tobytes()
    return slices


@case("29 padding", READ, "", "W_PADDING", right=0.95)
def _padding() -> Series:
    slices = stack("29", PixelPaddingValue=-2000)
    for ds in slices:
        pixels = stored(ds)
        pixels[:2] = -2000
        ds.PixelData = pixels.tobytes()
    return slices

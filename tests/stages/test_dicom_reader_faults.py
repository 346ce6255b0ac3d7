"""dicom-reader on what else arrives: mixtures, nonsense, contradictions, bombs. Read right, or refused by name.

Many series go into one run where they can: every one is refused, or read, by itself.
"""

from __future__ import annotations

import copy
import os
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_cases import (
    AXIAL,
    axial,
    compressed,
    deflated,
    encoded,
    enhanced,
    image,
    patched,
    stack,
    stored,
    uid,
    write,
)
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from reader_checks import codes, load, read, refusal, share_right, sidecar
from support import a_few

from clara_driver import volume

N = 5  # slices: enough for a stack, few enough to be quick
Change = Callable[[list[Dataset]], object]


def series(name: str, **more: Any) -> list[Dataset]:
    return stack(name, N, rows=10, columns=12, **more)


def refusals(folder: Path) -> dict[str, str]:
    """What was refused in one run: the code (with what stands behind it) by the end of the series UID."""
    done = read(folder)
    assert done.code == 1 and "Traceback" not in done.log, done.log
    lines = re.findall(r"refused: (E_[A-Z0-9_]+(?: [^:]+)?): series …([0-9.]+): \S", done.log)
    return {series: code for code, series in lines}


def the_volume(folder: Path, *args: str) -> Path:
    done = read(folder, *args)
    assert done.code == 0, done.log
    (path,) = volume.find(done.output)
    return path


# ---------------------------------------------------------------- one instance of a series differs


def _set(**attributes: object) -> Change:
    def change(slices: list[Dataset]) -> None:
        for key, value in attributes.items():
            if value is None:
                delattr(slices[2], key)
            else:
                setattr(slices[2], key, value)

    return change


MIXTURES = {
    "patient id": (_set(PatientID="2"), "E_MIXED_PATIENTS n=2"),
    "patient id missing": (_set(PatientID=None), "E_MIXED_PATIENTS n=2"),
    "patient name": (_set(PatientName="Other^Person"), "E_MIXED_PATIENTS n=2"),
    "birth date": (_set(PatientBirthDate="19700101"), "E_MIXED_PATIENTS n=2"),
    "study": (_set(StudyInstanceUID="1.2.3"), "E_MIXED_STUDIES n=2"),
    "frame of reference": (_set(FrameOfReferenceUID="1.2.3"), "E_MIXED_FRAMES_OF_REFERENCE n=2"),
    "frame of reference missing": (_set(FrameOfReferenceUID=None), "E_MIXED_FRAMES_OF_REFERENCE n=2"),
    "modality": (_set(Modality="PT"), "E_MIXED_MODALITIES n=2"),
    "SOP class": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), "E_MIXED_CLASSES n=2"),
    "photometric": (_set(PhotometricInterpretation="MONOCHROME1"), "E_MIXED_PHOTOMETRIC n=2"),
    "rescale missing": (_set(RescaleSlope=None, RescaleIntercept=None), "E_MIXED_RESCALE n=2"),
    "unit": (_set(RescaleType="US"), "E_MIXED_UNITS n=2"),
    "orientation": (_set(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "E_MISSING_SLICES n=1"),
    "shifted sideways": (_set(ImagePositionPatient=[-10, -15, -8]), "E_SHIFTED_SLICES"),
    "colour": (_set(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "E_COLOUR"),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "E_COLOUR"),
    "position missing": (_set(ImagePositionPatient=None), "E_NO_GEOMETRY"),
    "position empty": (_set(ImagePositionPatient=""), "E_NO_GEOMETRY"),
    "spacing missing": (_set(PixelSpacing=None), "E_NO_GEOMETRY"),
    "pixels missing": (_set(PixelData=None), "E_TRUNCATED"),
    "frames": (_set(NumberOfFrames=2), "E_NO_GEOMETRY"),
    "modality table": (_set(ModalityLUTSequence=[Dataset()]), "E_MODALITY_LUT"),
}


def test_one_instance_differs(tmp_path: Path) -> None:
    expected = {}
    for name, (change, code) in MIXTURES.items():
        slices = series("mix " + name)
        change(slices)
        write(slices, tmp_path / "in" / name)
        expected[uid("mix " + name, "s")[-8:]] = code
    assert refusals(tmp_path / "in") == expected


@pytest.mark.parametrize("key", ["SOPInstanceUID", "SeriesInstanceUID"])
def test_an_object_that_does_not_say_which_it_is(key: str, tmp_path: Path) -> None:
    slices = series("anonymous")
    delattr(slices[2], key)
    assert refusal(read(write(slices, tmp_path / "in"))) == "E_UID"


def test_one_study_of_two_patients(tmp_path: Path) -> None:
    slices = [*series("two"), *series("two", series="t", PatientID="2")]
    assert set(refusals(write(slices, tmp_path / "in")).values()) == {"E_MIXED_PATIENTS n=2"}


def test_drift_that_no_single_step_shows(tmp_path: Path) -> None:
    """Each step is within 1 % of the usual one, their sum is not: the voxels would be wrong."""
    places = np.cumsum([0, *([2.0] * 20), *([2.018] * 20)])
    slices = [image("drift", k, (0, 0, z), rows=10, columns=12) for k, z in enumerate(places)]
    assert refusal(read(write(slices, tmp_path / "in"))) == "E_NONUNIFORM_SPACING"


def test_a_small_tilt_over_many_slices(tmp_path: Path) -> None:
    slices = [image("tilt", k, (0, 0.02 * k, 2 * k), rows=10, columns=12) for k in range(40)]
    assert refusal(read(write(slices, tmp_path / "in"))) == "E_GANTRY_TILT 0.573 deg"


def test_an_orientation_that_turns(tmp_path: Path) -> None:
    """Neighbours agree, first and last slice do not."""
    slices = []
    for k in range(20):
        a = np.deg2rad(0.02 * k)
        axes = (np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0)
        slices.append(image("turn", k, axial(k), axes, rows=200, columns=200))
    code = refusal(read(write(slices, tmp_path / "in")))
    assert re.match("E_SHIFTED_SLICES|E_MULTIPLE_STACKS", code)


def test_two_images_that_share_nothing(tmp_path: Path) -> None:
    slices = [image("pair", 0, axial(0)), image("pair", 1, axial(1), rows=20)]
    assert refusal(read(write(slices, tmp_path / "in"))) == "E_MULTIPLE_STACKS n=2"


def test_four_dimensions_with_one_missing(tmp_path: Path) -> None:
    slices = [image("4d", 10 * t + k, axial(k)) for t in range(3) for k in range(N)]
    assert refusal(read(write(slices[1:], tmp_path / "in"))) == "E_4D n=3"


# ---------------------------------------------------------------- values that are none

POSITION, ORIENTATION, SPACING = 0x00200032, 0x00200037, 0x00280030
SLOPE, INTERCEPT, SERIES_UID = 0x00281053, 0x00281052, 0x0020000E
NONSENSE = [
    (POSITION, b"nan\\0\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\inf\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\1e999\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\1e9\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\here\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\1_0\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\1,5\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"0\\0\\0\\0", "E_BAD_GEOMETRY"),
    (POSITION, b"\xb2\\0\\0", "E_BAD_GEOMETRY"),
    (ORIENTATION, b"1\\0\\0\\0\\1", "E_BAD_GEOMETRY"),
    (ORIENTATION, b"0\\0\\0\\0\\0\\0", "E_BAD_GEOMETRY"),
    (ORIENTATION, b"2\\0\\0\\0\\2\\0", "E_BAD_GEOMETRY"),
    (ORIENTATION, b"1\\0\\0\\1\\0\\0", "E_BAD_GEOMETRY"),
    (ORIENTATION, b"1\\0\\0\\0.1\\0.995\\0", "E_BAD_GEOMETRY"),
    (SPACING, b"0\\1", "E_BAD_GEOMETRY"),
    (SPACING, b"-1\\1", "E_BAD_GEOMETRY"),
    (SPACING, b"1e6\\1", "E_BAD_GEOMETRY"),
    (SPACING, b"1e-9\\1", "E_BAD_GEOMETRY"),
    (SPACING, b"1", "E_BAD_GEOMETRY"),
    (SPACING, b"nan\\nan", "E_BAD_GEOMETRY"),
    (SLOPE, b"0", "E_RESCALE"),
    (SLOPE, b"0.0", "E_RESCALE"),
    (SLOPE, b"nan", "E_RESCALE"),
    (SLOPE, b"inf", "E_RESCALE"),
    (SLOPE, b"1e300", "E_RESCALE"),
    (SLOPE, b"one", "E_RESCALE"),
    (SLOPE, b"1\\1", "E_RESCALE"),
    (SLOPE, None, "E_RESCALE"),
    (INTERCEPT, b"", "E_RESCALE"),
    (INTERCEPT, b"-inf", "E_RESCALE"),
    (0x00280010, struct.pack("<H", 0), "E_PIXEL_FORMAT"),  # Rows
    (0x00280010, struct.pack("<HH", 10, 10), "E_PIXEL_FORMAT"),
    (0x00280010, None, "E_PIXEL_FORMAT"),
    (0x00280010, struct.pack("<H", 11), "E_PIXEL_LENGTH"),
    (0x00280011, struct.pack("<H", 65535), "E_PIXEL_LENGTH"),  # Columns
    (0x00280002, None, "E_PIXEL_FORMAT"),  # Samples per Pixel
    (0x00280004, None, "E_PIXEL_FORMAT"),  # Photometric Interpretation
    (0x00280100, struct.pack("<H", 12), "E_PIXEL_FORMAT"),  # Bits Allocated
    (0x00280100, struct.pack("<H", 8), "E_PIXEL_FORMAT"),
    (0x00280100, struct.pack("<H", 32), "E_PIXEL_LENGTH"),
    (0x00280101, struct.pack("<H", 17), "E_PIXEL_FORMAT"),  # Bits Stored
    (0x00280101, struct.pack("<H", 0), "E_PIXEL_FORMAT"),
    (0x00280101, struct.pack("<H", 12), "E_PIXEL_FORMAT"),
    (0x00280102, struct.pack("<H", 11), "E_PIXEL_FORMAT"),  # High Bit
    (0x00280102, None, "E_PIXEL_FORMAT"),
    (0x00280103, struct.pack("<H", 2), "E_PIXEL_FORMAT"),  # Pixel Representation
    (0x7FE00010, bytes(10 * 12 * 2 - 2), "E_PIXEL_LENGTH"),
    (0x7FE00010, bytes(10 * 12 * 2 + 2), "E_PIXEL_LENGTH"),
    (0x7FE00010, b"", "E_PIXEL_LENGTH"),
]


def test_values_that_are_none(tmp_path: Path) -> None:
    expected = {}
    for number, (tag, value, code) in enumerate(NONSENSE):
        name = f"nonsense {number}"
        files = [encoded(ds) for ds in series(name)]
        files[2] = patched(files[2], tag, value)
        write(files, tmp_path / "in" / name)
        expected[uid(name, "s")[-8:]] = code
    assert refusals(tmp_path / "in") == expected


@pytest.mark.parametrize("value", [b"../../../tmp/x", b"1.2." + b"3" * 70, b"1.2.x"])
def test_a_series_uid_that_is_none_names_no_file(value: bytes, tmp_path: Path) -> None:
    files = [patched(encoded(ds), SERIES_UID, value) for ds in series("path")]
    assert refusal(read(write(files, tmp_path / "in"))) == "E_UID"


def test_rescale_absent_is_not_zero(tmp_path: Path) -> None:
    slices = series("absent", RescaleSlope=None, RescaleIntercept=None, intercept=0)
    path = the_volume(write(slices, tmp_path / "in"))
    assert share_right(path) == 1 and codes(path) == ["W_NO_RESCALE"] and sidecar(path)["values"]["unit"] == ""


# ---------------------------------------------------------------- how values are stored


def _eight_bits(name: str) -> list[Dataset]:
    slices = stack(name, 4, rows=8, columns=8, intercept=-250, signed=False, BitsAllocated=16)
    for ds in slices:
        pixels = stored(ds)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, pixels.astype("u1").tobytes()
    return slices


def _thirty_two_bits(name: str) -> list[Dataset]:
    slices = series(name)
    for ds in slices:
        pixels = stored(ds)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 32, 32, 31, pixels.astype("<i4").tobytes()
    return slices


def _mixed_storage() -> list[Dataset]:
    """Signed and unsigned, 16 and 12 bits, native and compressed in one series: each says how it is."""
    slices = series("mixed", signed=True)
    slices[1] = image("mixed", 1, axial(1), rows=10, columns=12, signed=False)
    slices[2] = image("mixed", 2, axial(2), rows=10, columns=12, signed=False, BitsStored=12, HighBit=11)
    slices[3] = compressed(slices[3], RLELossless)
    return slices


STORAGES: dict[str, tuple[Callable[[], Any], str]] = {
    "8 bits": (lambda: list(_eight_bits("8 bits")), "MET_SHORT"),
    "32 bits": (lambda: list(_thirty_two_bits("32 bits")), "MET_SHORT"),
    "mixed": (lambda: list(_mixed_storage()), "MET_SHORT"),
    "slope 2": (lambda: list(series("slope 2", slope=2)), "MET_SHORT"),
    "slope 0.25": (lambda: list(series("slope 0.25", slope=0.25)), "MET_FLOAT"),
    "slope -1": (lambda: list(series("slope -1", slope=-1)), "MET_SHORT"),
    "unsigned above int16": (lambda: list(series("unsigned above int16", signed=False, intercept=-40000)), "MET_SHORT"),
    "8 bits big endian": (
        lambda: [encoded(ds, ExplicitVRBigEndian) for ds in _swapped(_eight_bits("8 bits big endian"))], "MET_SHORT",
    ),
    "enhanced": (lambda: [enhanced("enhanced", series("enhanced"))], "MET_SHORT"),
    "enhanced, deflated": (
        lambda: [encoded(enhanced("enhanced, deflated", series("x")), DeflatedExplicitVRLittleEndian)], "MET_SHORT",
    ),
    "enhanced, RLE": (lambda: [compressed(enhanced("enhanced, RLE", series("x")), RLELossless)], "MET_SHORT"),
}  # fmt: skip


COMPRESSIONS = {
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2KLossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG": JPEGLosslessSV1,
}


def _signed(syntax: str, name: str, bits: int) -> list[Dataset]:
    """Negative stored values, compressed. JPEG and RLE know no sign: there the bits above the stored ones are zero."""
    slices = stack(name, N, intercept=0, BitsStored=bits, HighBit=bits - 1)
    for ds in slices:
        if syntax not in (JPEG2000Lossless, HTJ2KLossless):
            ds.PixelData = (stored(ds).astype(int) & ((1 << bits) - 1)).astype("<u2").tobytes()
    return [compressed(ds, syntax) for ds in slices]


for words, transfer in COMPRESSIONS.items():
    for bits in (16, 12):
        name = f"{words} signed {bits}"
        STORAGES[name] = (partial(_signed, transfer, name, bits), "MET_SHORT")
for words, transfer in {"big endian": ExplicitVRBigEndian, "implicit": ImplicitVRLittleEndian}.items():
    name = f"enhanced, {words}"
    STORAGES[name] = (partial(lambda n, t: [encoded(enhanced(n, series("x")), t)], name, transfer), "MET_SHORT")


def _swapped(slices: list[Dataset]) -> list[Dataset]:
    for ds in slices:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    return slices


def test_storages(tmp_path: Path) -> None:
    for name, (make, _) in STORAGES.items():
        write(make(), tmp_path / "in" / name)
    done = read(tmp_path / "in")
    assert done.code == 0, done.log
    for name, (_, element) in STORAGES.items():
        path = done.output / f"{uid(name, 's')}.mhd"
        assert (name, share_right(path), load(path)[0].element) == (name, 1, element)


def test_values_outside_int16_become_float(tmp_path: Path) -> None:
    slices = series("outside")
    pixels = stored(slices[4])
    pixels[3, 3] = -32768  # with the intercept below int16; only the last slice shows it
    slices[4].PixelData = pixels.tobytes()
    header, values = load(the_volume(write(slices, tmp_path / "in")))
    assert header.element == "MET_FLOAT" and values[4, 3, 3] == -32768 - 1024


def test_values_that_float32_rounds_are_said(tmp_path: Path) -> None:
    slices = _thirty_two_bits("rounded")
    for ds in slices:
        ds.PixelData = (np.frombuffer(ds.PixelData, "<i4") + (1 << 25) + 1).astype("<i4").tobytes()
    path = the_volume(write(slices, tmp_path / "in"))
    assert load(path)[0].element == "MET_FLOAT" and codes(path) == ["W_ROUNDED"]


@pytest.mark.parametrize(
    "slope, intercept, said", [("1", "1e9", True), ("0.001", "1e9", True), ("0.001", "-1024", False)]
)
def test_a_rescale_that_float32_rounds_is_said(slope: str, intercept: str, said: bool, tmp_path: Path) -> None:
    """16-bit values too: far from zero neighbouring ones become the same."""
    slices = series("far", RescaleSlope=slope, RescaleIntercept=intercept)
    path = the_volume(write(slices, tmp_path / "in"))
    assert load(path)[0].element == "MET_FLOAT" and codes(path) == ["W_ROUNDED"] * said


# ---------------------------------------------------------------- frames that contradict their groups


def _object(name: str = "groups") -> Dataset:
    return enhanced(name, series(name))


def _per_frame(key: str, value: object = None) -> Callable[[Dataset], None]:
    """Change, or remove, a macro of the third frame."""

    def change(ds: Dataset) -> None:
        groups = ds.PerFrameFunctionalGroupsSequence[2]
        delattr(groups, key) if value is None else setattr(groups, key, value)

    return change


def _shared(key: str, **values: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item = Dataset()
        item.update({})
        for name, value in values.items():
            setattr(item, name, value)
        setattr(ds.SharedFunctionalGroupsSequence[0], key, [item])

    return change


def _root_rescale(ds: Dataset) -> None:
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.PixelValueTransformationSequence
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024


def _outside(ds: Dataset) -> None:
    ds.RescaleSlope, ds.RescaleIntercept = 2, -1024


CONTRADICTIONS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "fewer groups": (lambda ds: ds.PerFrameFunctionalGroupsSequence.pop(), "E_FRAMES"),
    "more frames": (lambda ds: setattr(ds, "NumberOfFrames", N + 1), "E_FRAMES"),
    "fewer frames": (lambda ds: setattr(ds, "NumberOfFrames", N - 1), "E_FRAMES"),
    "no frames": (lambda ds: setattr(ds, "NumberOfFrames", 0), "E_PIXEL_FORMAT"),
    "no per-frame groups": (lambda ds: delattr(ds, "PerFrameFunctionalGroupsSequence"), "E_FRAMES"),
    "no position": (_per_frame("PlanePositionSequence"), "E_NO_GEOMETRY"),
    "empty position": (_per_frame("PlanePositionSequence", [Dataset()]), "E_NO_GEOMETRY"),
    "no orientation": (_per_frame("PlaneOrientationSequence"), "E_NO_GEOMETRY"),
    "two positions": (_per_frame("PlanePositionSequence", [Dataset(), Dataset()]), "E_FRAMES"),
    "no rescale in one": (_per_frame("PixelValueTransformationSequence"), "E_MIXED_RESCALE n=2"),
    "shared against per frame": (_shared("PixelMeasuresSequence", PixelSpacing=[9, 9]), "E_FRAMES"),
    "shared rescale against per frame": (
        _shared("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=0, RescaleType="HU"), "E_FRAMES",
    ),
    "rescale outside the groups": (_root_rescale, "E_FRAMES"),
    "rescale outside against inside": (_outside, "E_FRAMES"),
    "position outside the groups": (lambda ds: setattr(ds, "ImagePositionPatient", [0, 0, 0]), "E_FRAMES"),
    "orientation outside": (lambda ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), "E_FRAMES"),
    "spacing outside": (lambda ds: setattr(ds, "PixelSpacing", [9, 9]), "E_FRAMES"),
    "pixels of one frame more": (lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(240)), "E_PIXEL_LENGTH"),
}  # fmt: skip


def test_frames_that_contradict(tmp_path: Path) -> None:
    expected = {}
    for name, (change, code) in CONTRADICTIONS.items():
        ds = _object(name)
        change(ds)
        write([ds], tmp_path / "in" / name)
        expected[uid(name, "s")[-8:]] = code
    assert refusals(tmp_path / "in") == expected


def test_geometry_outside_the_groups_that_says_the_same(tmp_path: Path) -> None:
    ds, source = _object(), series("groups")[2]
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        setattr(ds, key, getattr(source, key))
    assert share_right(the_volume(write([ds], tmp_path / "in"))) == 1


def test_shared_rescale_and_measures_apply_to_all_frames(tmp_path: Path) -> None:
    ds = _object()
    shared = ds.SharedFunctionalGroupsSequence[0]
    for key in ("PixelValueTransformationSequence", "PixelMeasuresSequence", "PlaneOrientationSequence"):
        setattr(shared, key, getattr(ds.PerFrameFunctionalGroupsSequence[0], key))
        for groups in ds.PerFrameFunctionalGroupsSequence:
            delattr(groups, key)
    assert share_right(the_volume(write([ds], tmp_path / "in"))) == 1


# ---------------------------------------------------------------- what lies in a folder


def test_other_files_are_skipped_and_said(tmp_path: Path) -> None:
    folder = write(series("folder"), tmp_path / "in" / "deep" / "deeper")
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    (tmp_path / "in" / "empty.dcm").touch()
    (tmp_path / "outside").mkdir()
    write([image("folder", 77, axial(7))], tmp_path / "outside")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "link.dcm").symlink_to(tmp_path / "outside" / "000.dcm")
    os.mkfifo(folder / "pipe")
    path = the_volume(tmp_path / "in")
    assert share_right(path) == 1 and load(path)[0].size[2] == N
    assert sorted(codes(path)) == ["W_LINK_SKIPPED", "W_NOT_DICOM"]


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert refusal(read(tmp_path / "in")) == "E_NO_IMAGES"
    (tmp_path / "in" / "a.txt").write_text("x")
    assert refusal(read(tmp_path / "in")) == "E_NO_IMAGES"


def _report(name: str) -> Dataset:
    ds = image(name, 50, axial(0), series="report", sop_class="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    del ds.PixelData
    return ds


def _segmentation(name: str) -> Dataset:
    return image(name, 51, axial(0), series="seg", sop_class="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")


def test_objects_that_are_no_images_are_skipped(tmp_path: Path) -> None:
    directory = image("skip", 52, axial(0), series="dir", sop_class="1.2.840.10008.1.3.10")
    folder = write([*series("skip"), _report("skip"), _segmentation("skip"), directory], tmp_path / "in")
    path = the_volume(folder)
    assert share_right(path) == 1 and codes(path) == ["W_NOT_IMAGE"] * 3
    assert refusal(read(write([_report("only")], tmp_path / "only"))) == "E_NO_IMAGES"


def test_scouts_and_screen_captures_beside_a_series_are_skipped(tmp_path: Path) -> None:
    scout = image(
        "beside", 60, axial(0), (1, 0, 0, 0, 0, -1), series="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    capture = image(
        "beside", 61, axial(0), series="sc", sop_class="1.2.840.10008.5.1.4.1.1.7", ImagePositionPatient=None
    )
    path = the_volume(write([*series("beside"), scout, capture], tmp_path / "in"))
    assert share_right(path) == 1 and codes(path) == ["W_SERIES_SKIPPED"] * 2
    assert refusal(read(write([scout], tmp_path / "scout"))) == "E_NO_IMAGES"
    assert refusal(read(write([capture], tmp_path / "capture"))) == "E_NO_GEOMETRY"


def test_a_refused_series_stops_the_others_unless_one_is_chosen(tmp_path: Path) -> None:
    slices = [*series("choose"), *series("choose", series="bad")[::2], *series("choose", series="colour")]
    for ds in slices[-N:]:
        ds.PhotometricInterpretation = "RGB"
    del slices[N + 1]
    slices.append(image("choose", 9, axial(9), rows=10, columns=12, series="bad"))
    folder = write(slices, tmp_path / "in")
    done = read(folder)
    refusal(done)
    assert "E_COLOUR" in done.error and re.search("E_MISSING_SLICES n=[0-9]+|E_NONUNIFORM", done.error)
    path = the_volume(folder, "--series", uid("choose", "s"))
    assert share_right(path) == 1
    assert refusal(read(folder, "--series", uid("choose", "colour"))) == "E_COLOUR"
    path = the_volume(folder, "--skip-refused")
    assert share_right(path) == 1 and codes(path) == ["W_SERIES_SKIPPED"] * 2
    assert refusal(read(folder, "--series", "1.2.3")) == "E_NO_IMAGES"


def test_only_one_modality(tmp_path: Path) -> None:
    slices = [*series("kind"), *series("kind", series="mr", Modality="MR")[::2]]
    path = the_volume(write(slices, tmp_path / "in"), "--modality", "CT")
    assert share_right(path) == 1 and codes(path) == ["W_SERIES_SKIPPED"]


def test_a_file_of_no_known_series_stops_every_run(tmp_path: Path) -> None:
    files: list[Dataset | bytes] = [*series("stray"), encoded(image("stray", 9, axial(9)))[:200]]
    folder = write(files, tmp_path / "in")
    assert refusal(read(folder, "--skip-refused")) == "E_TRUNCATED"
    assert refusal(read(folder, "--series", uid("stray", "s"))) == "E_TRUNCATED"


def test_unreadable_files(tmp_path: Path) -> None:
    files = [encoded(ds) for ds in series("cut")]
    middle, pixels = len(files[2]) // 2, len(files[2]) - 20
    for at, code in ((200, "E_TRUNCATED"), (middle, "E_TRUNCATED"), (pixels, "E_TRUNCATED")):
        broken = [*files[:2], files[2][:at], *files[3:]]
        assert refusal(read(write(broken, tmp_path / str(at)))) == code


# ---------------------------------------------------------------- duplicates


ENDS = [0x00080005, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E, 0x00280002, 0x7FE00010]


@pytest.mark.parametrize("tag", a_few(ENDS, ENDS[0], ENDS[4], ENDS[6]))
def test_a_last_slice_that_was_cut_between_two_elements(tag: int, tmp_path: Path) -> None:
    """The rest is a data set without a fault; without its slice the series would only be shorter."""
    slices = [encoded(ds) for ds in series("cut", SpecificCharacterSet="ISO_IR 100")]
    at = slices[-1].index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 300)
    done = read(write([*slices[:-1], slices[-1][:at]], tmp_path / "in"))
    assert refusal(done) in ("E_TRUNCATED", "E_UID")


def test_a_file_that_ends_before_its_data_set(tmp_path: Path) -> None:
    done = read(write([*map(encoded, series("none")), bytes(128) + b"DICM"], tmp_path / "in"))
    assert refusal(done) == "E_TRUNCATED"


def test_the_same_object_in_another_encoding_is_a_duplicate(tmp_path: Path) -> None:
    slices = series("twice")
    files: list[Dataset | bytes] = [*slices, encoded(slices[1], "1.2.840.10008.1.2")]
    path = the_volume(write(files, tmp_path / "in"))
    assert share_right(path) == 1 and codes(path) == ["W_DUP_UID"]


def test_the_same_uid_at_another_place_is_no_duplicate(tmp_path: Path) -> None:
    slices = series("moved")
    twin = copy.deepcopy(slices[1])
    twin.ImagePositionPatient = [0, 0, 99]
    assert refusal(read(write([*slices, twin], tmp_path / "in"))) == "E_DUP_UID_DIFFERENT"


def test_the_same_uid_in_two_series(tmp_path: Path) -> None:
    slices = series("shared uid")
    twin = copy.deepcopy(slices[1])
    twin.SeriesInstanceUID = "1.2.3.4"
    assert set(refusals(write([*slices, twin], tmp_path / "in")).values()) == {"E_DUP_UID_DIFFERENT"}


# ---------------------------------------------------------------- bombs and compressed data


ENDLESS = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)  # a sequence of undefined length


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


def _meta(file: bytes) -> tuple[bytes, bytes]:
    """A file in its meta information (with preamble) and its data set."""
    end = 144 + int.from_bytes(file[140:144], "little")
    return file[:end], file[end:]


def test_deep_nesting(tmp_path: Path) -> None:
    meta, body = _meta(encoded(image("deep", 0, axial(0))))
    nested = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    assert refusal(read(write([meta + nested * 50_000 + body], tmp_path / "in"))) == "E_TOO_LARGE"


@pytest.mark.long
def test_a_million_elements(tmp_path: Path) -> None:
    meta, body = _meta(encoded(image("many", 0, axial(0))))
    many = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0) * 1_100_000
    items = (
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_100_000
    )
    assert refusal(read(write([meta + many + body], tmp_path / "many"))) == "E_TOO_LARGE"
    assert refusal(read(write([meta + items + body], tmp_path / "items"))) == "E_TOO_LARGE"


def test_deflate_bombs(tmp_path: Path) -> None:
    """A private element of 64 MiB, and pixels that are 64 MiB more than the header says: 64 kB each on disk."""
    ds = image("bomb", 0, axial(0))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta, _ = _meta(encoded(ds))
    plain = encoded(image("bomb", 0, axial(0)))
    _, body = _meta(plain)
    zeros = bytes(64 << 20)
    private = _element(0x00091010, b"OB", zeros) + body
    assert refusal(read(write([deflated(private, meta)], tmp_path / "private"))) == "E_TOO_LARGE"
    at = body.index(struct.pack("<HH", 0x7FE0, 0x0010))
    pixels = body[:at] + _element(0x7FE00010, b"OW", zeros)
    assert refusal(read(write([deflated(pixels, meta)], tmp_path / "pixels"))) == "E_PIXEL_LENGTH"
    held = patched(patched(plain, 0x00280010, b"\x60\x6d"), 0x00280011, b"\x60\x6d")  # 28 000 x 28 000
    _, held = _meta(held)
    at = held.index(struct.pack("<HH", 0x7FE0, 0x0010))
    held = held[:at] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2 * 28_000**2) + bytes(100)
    assert refusal(read(write([deflated(held, meta)], tmp_path / "held"))) == "E_TOO_LARGE"
    short = deflated(body, meta)
    assert refusal(read(write([short[:-200]], tmp_path / "short"))) in ("E_TRUNCATED", "E_UNREADABLE")


def test_a_matrix_that_no_memory_holds(tmp_path: Path) -> None:
    ds = compressed(image("huge", 0, axial(0)), RLELossless)
    ds.Rows = ds.Columns = 65535
    assert refusal(read(write([ds], tmp_path / "in"))) == "E_TOO_LARGE"
    slices = series("limit")
    assert refusal(read(write(slices, tmp_path / "limit"), "--max-gib", "0.000001")) == "E_TOO_LARGE"


def _broken_frames() -> dict[str, tuple[Dataset | bytes, str]]:
    good = compressed(image("frame", 0, axial(0)), JPEG2000Lossless)
    fragment = pydicom.encaps.get_frame(good.PixelData, 0, number_of_frames=1)

    def frame(data: bytes) -> Dataset:
        ds = copy.deepcopy(good)
        ds.PixelData = pydicom.encaps.encapsulate([data])
        ds["PixelData"].is_undefined_length = True
        return ds

    wrong_size = copy.deepcopy(good)
    wrong_size.Rows = 41
    unknown = copy.deepcopy(good)
    unknown.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.103"
    lie = patched(encoded(image("frame", 0, axial(0))), 0x00020010, RLELossless.encode())
    two_frames, table = copy.deepcopy(good), copy.deepcopy(good)
    two_frames.PixelData = pydicom.encaps.encapsulate([fragment, fragment], has_bot=False)
    table.PixelData = pydicom.encaps.encapsulate([fragment, b"\0\0" + fragment])
    rle = compressed(image("frame", 0, axial(0)), RLELossless)
    run = pydicom.encaps.get_frame(rle.PixelData, 0, number_of_frames=1)
    rle.PixelData = pydicom.encaps.encapsulate([run, run], has_bot=False)
    no_fragment = copy.deepcopy(good)
    no_fragment.PixelData = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE0DD, 0)
    return {
        "noise": (frame(bytes(range(256)) * 4), "E_DECODE"),
        "half": (frame(fragment[: len(fragment) // 2]), "E_DECODE"),
        "wrong size": (wrong_size, "E_DECODE"),
        "video": (unknown, "E_TRANSFER_SYNTAX"),
        "no fragment": (no_fragment, "E_PIXEL_LENGTH"),
        "two frames in one": (two_frames, "E_FRAMES"),
        "two frames in the table": (table, "E_FRAMES"),
        "two frames of RLE": (rle, "E_FRAMES"),
        "not compressed": (lie, "E_UNREADABLE"),
    }


FEW = ("noise", "two frames in the table", "two frames of RLE", "not compressed")


@pytest.mark.parametrize("name", a_few(_broken_frames(), *FEW))
def test_frames_that_do_not_decode(name: str, tmp_path: Path) -> None:
    ds, code = _broken_frames()[name]
    done = read(write([ds], tmp_path / "in"))
    assert refusal(done) == code and uid("frame", "s", 0)[-8:] in done.error


def test_lossy_images_are_said(tmp_path: Path) -> None:
    path = the_volume(write(series("lossy", LossyImageCompression="01"), tmp_path / "in"))
    assert codes(path) == ["W_LOSSY"]


def test_orientation_of_the_whole_volume(tmp_path: Path) -> None:
    """Sagittal and coronal, left- and right-going rows: direction is row, column, row x column."""
    for name, axes in {
        "sagittal": (0, 1, 0, 0, 0, -1),
        "coronal": (1, 0, 0, 0, 0, -1),
        "flipped": (-1, 0, 0, 0, 1, 0),
    }.items():
        normal = np.cross(axes[:3], axes[3:])
        slices = [image(name, k, 3.0 * normal * k, axes, rows=10, columns=12) for k in range(N)]
        path = the_volume(write(slices, tmp_path / name))
        direction = np.array(load(path)[0].direction).reshape(3, 3)
        assert share_right(path) == 1 and np.linalg.det(direction) == pytest.approx(1)
        assert tuple(direction[:, 0]) == axes[:3] and axes != AXIAL

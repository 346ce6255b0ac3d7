"""dicom-reader on compressed frames that contradict their header: rows of RLE, precision, loss, cut ends, tables."""

from __future__ import annotations

import copy
import shutil
import struct
import subprocess
from itertools import accumulate
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_cases import axial, compressed, encoded, enhanced, image, stack, write
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames, get_frame
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from reader_checks import codes, load, read, refusal, share_right
from support import LONG, a_few

from clara_driver import volume

Pixels = NDArray[Any]


def _object(pixels: Pixels, frame: bytes, syntax: str, **header: object) -> Dataset:
    """One image whose only frame is this; the header says what the pixels are unless told otherwise."""
    ds = image("frames", 0, axial(0), rows=pixels.shape[0], columns=pixels.shape[1], intercept=0)
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    for key, value in header.items():
        setattr(ds, key, value)
    return ds


def _picture(rows: int, columns: int) -> Pixels:
    """Noise and a bright body on a flat background, as an image has them."""
    r, c = np.mgrid[0:rows, 0:columns]
    body = np.hypot((r - rows / 2) / rows, (c - columns / 2) / columns) < 0.4
    noise = np.random.default_rng(1).normal(0, 9, (rows, columns))
    return np.where(body, 1000 * np.cos(r / 9) * np.cos(c / 7) + noise, -1000).astype("<i2")


def _runs(line: bytes) -> bytes:
    """PackBits (PS3.5 G.3.1) of one line: repeats of at least two, everything else literal."""
    out, at = bytearray(), 0
    while at < len(line):
        end = at + 1
        while end < len(line) and line[end] == line[at] and end - at < 128:
            end += 1
        if end - at > 1:
            out += bytes((257 - (end - at), line[at]))
        else:
            while end < len(line) and end - at < 128 and line[end] != line[end - 1]:
                end += 1
            out += bytes((end - at - 1,)) + line[at:end]
        at = end
    return bytes(out)


def _rle(pixels: Pixels, width: int) -> bytes:
    """An RLE frame whose lines have `width` pixels, whatever its rows are."""
    size, planes = pixels.itemsize, []
    for number in range(size):
        plane = pixels.tobytes()[size - 1 - number :: size]
        runs = b"".join(_runs(plane[at : at + width]) for at in range(0, len(plane), width))
        planes.append(runs + b"\0" * (len(runs) % 2))
    begins = list(accumulate(map(len, planes), initial=64))[:-1]
    return struct.pack("<16I", size, *begins, *[0] * (15 - size)) + b"".join(planes)


def _volume(folder: Path, ds: Dataset) -> Path:
    done = read(write([ds], folder))
    assert done.code == 0, done.log
    (path,) = volume.find(done.output)
    return path


# ---------------------------------------------------------------- rows of RLE

SHAPES = [(40, 48), (48, 40), (64, 192), (192, 64), (256, 512), (512, 256)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_rle_frames(insides: Any, shape: tuple[int, int]) -> None:
    """Right is confirmed and swapped is seen, where one of the two divides the other too."""
    look, answers = insides.rle_rows.look, insides.rle_rows.Rows
    pixels = _picture(*shape)
    frame = _rle(pixels, shape[1])
    assert look(frame, *shape) is answers.CONFIRMED
    assert look(frame, *shape[::-1]) is answers.SWAPPED
    assert look(_rle(pixels, 7), *shape) is answers.UNKNOWN


def _encoders(ds: Dataset, folder: Path) -> dict[str, bytes]:
    frames = {"own": _rle(ds.pixel_array, ds.Columns)}
    for plugin in ("pydicom", "pylibjpeg"):
        other = copy.deepcopy(ds)
        other.compress(RLELossless, encoding_plugin=plugin, generate_instance_uid=False)
        frames[plugin] = get_frame(other.PixelData, 0, number_of_frames=1)
    if shutil.which("dcmcrle"):
        source, target = folder / "plain.dcm", folder / "rle.dcm"
        source.write_bytes(encoded(ds))
        subprocess.run(["dcmcrle", source, target], check=True)
        frames["dcmtk"] = get_frame(pydicom.dcmread(target).PixelData, 0, number_of_frames=1)
    return frames


@pytest.mark.parametrize("shape", SHAPES)
def test_real_encoders_begin_each_row_anew(insides: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    ds = image("encoders", 0, axial(0), rows=shape[0], columns=shape[1])
    ds.PixelData = _picture(*shape).tobytes()
    for name, frame in _encoders(ds, tmp_path).items():
        assert insides.rle_rows.look(frame, *shape) is insides.rle_rows.Rows.CONFIRMED, name


def test_rows_and_columns_swapped_are_refused(tmp_path: Path) -> None:
    pixels = _picture(40, 48)
    ds = _object(pixels, _rle(pixels, 48), RLELossless, Rows=48, Columns=40)
    done = read(write([ds], tmp_path / "in"))
    assert refusal(done) == "E_PIXEL_FORMAT"
    assert "each row of the RLE frame has 48 pixels" in done.error and "swapped" in done.error


def test_runs_across_rows_are_read_and_said(tmp_path: Path) -> None:
    pixels = _picture(40, 48)
    path = _volume(tmp_path / "across", _object(pixels, _rle(pixels, pixels.size), RLELossless))
    assert "W_RLE_ROWS" in codes(path) and np.array_equal(load(path)[1][0], pixels)
    square, flat = _picture(40, 40), np.full((40, 48), 7, "<i2")
    for name, image_ in {"square": square, "flat": flat}.items():  # there swapped is the same
        path = _volume(tmp_path / name, _object(image_, _rle(image_, image_.size), RLELossless))
        assert "W_RLE_ROWS" not in codes(path) and np.array_equal(load(path)[1][0], image_)


@pytest.mark.parametrize("segments", [0, 1, 3, 2**32 - 1])
def test_a_wrong_number_of_segments(segments: int, tmp_path: Path) -> None:
    pixels = _picture(40, 48)
    frame = struct.pack("<I", segments) + _rle(pixels, 48)[4:]
    assert refusal(read(write([_object(pixels, frame, RLELossless)], tmp_path / "in"))) == "E_DECODE"


# ---------------------------------------------------------------- precision, loss, ends


def _frames(pixels: Pixels) -> dict[str, bytes]:
    """The pixels (unsigned) as 16-bit frames of each family."""
    return {
        JPEG2000Lossless: bytes(encode_array(pixels, bits_stored=16, photometric_interpretation=0, use_mct=False)),
        JPEGLSLossless: imagecodecs.jpegls_encode(pixels),
        JPEGLosslessSV1: imagecodecs.ljpeg_encode(pixels, bitspersample=16),
    }


@pytest.mark.parametrize("syntax", a_few([JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1], JPEG2000Lossless.name))
@pytest.mark.parametrize("signed", [0, 1])
def test_more_bits_in_the_frame_than_stored(syntax: str, signed: int, tmp_path: Path) -> None:
    """Precision 16 and Bits Stored 12: read while every value fits, else refused, never cut to 12 bits."""
    header = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    pixels = (_picture(40, 48).astype(int) + (0 if signed else 2000)).astype("<i2")
    frame = _frames(pixels.view("<u2"))[syntax]
    path = _volume(tmp_path / "fits", _object(pixels, frame, syntax, **header))
    assert np.array_equal(load(path)[1][0], pixels)
    pixels[3, 3] = 5000
    ds = _object(pixels, _frames(pixels.view("<u2"))[syntax], syntax, **header)
    done = read(write([ds], tmp_path / "beyond"))
    assert refusal(done) == "E_DECODE" and "Bits Stored 12" in done.error


def test_loss_that_the_transfer_syntax_denies(tmp_path: Path) -> None:
    pixels = (_picture(40, 48).astype(int) + 2000).astype("<u2")
    small = (pixels // 16).astype("u1")
    lossy = encode_array(pixels, bits_stored=16, photometric_interpretation=0, use_mct=False, compression_ratios=[5])
    frames = {
        "near-lossless": _object(pixels, imagecodecs.jpegls_encode(pixels, level=2), JPEGLSLossless),
        "wavelet": _object(pixels, bytes(lossy), JPEG2000Lossless),
        "baseline": _object(small, imagecodecs.jpeg8_encode(small), JPEGLosslessSV1),
    }
    for name, ds in frames.items():
        done = read(write([ds], tmp_path / name))
        assert refusal(done) == "E_DECODE" and "transfer syntax" in done.error, name


def test_ends_that_are_zero(tmp_path: Path) -> None:
    """Decoders fill up what is missing and say nothing."""
    pixels = (_picture(40, 48).astype(int) + 2000).astype("<u2")
    frames = {**_frames(pixels), JPEGBaseline8Bit: imagecodecs.jpeg8_encode((pixels // 16).astype("u1"))}
    for syntax, frame in frames.items():
        kind = pixels if syntax != JPEGBaseline8Bit else (pixels // 16).astype("u1")
        ds = _object(kind, frame[:-100] + bytes(100), syntax)
        done = read(write([ds], tmp_path / syntax))
        assert refusal(done) == "E_DECODE" and "end marker" in done.error, syntax


# ---------------------------------------------------------------- offset tables


def _with_tables(ds: Dataset, frames: list[bytes], basic: list[int], extended: list[int] | None = None) -> Dataset:
    ds = copy.deepcopy(ds)
    items = [struct.pack(f"<{len(basic)}I", *basic), *frames]
    data = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    ds.PixelData = data + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    if extended is not None:
        ds.ExtendedOffsetTable = struct.pack(f"<{len(extended)}Q", *extended)
        ds.ExtendedOffsetTableLengths = struct.pack(f"<{len(frames)}Q", *map(len, frames))
    return ds


def test_offset_tables(tmp_path: Path) -> None:
    ds = compressed(enhanced("tables", stack("tables", 4, rows=32, columns=40)), JPEG2000Lossless)
    frames = [frame + b"\0" * (len(frame) % 2) for frame in generate_frames(ds.PixelData, number_of_frames=4)]
    begins = list(accumulate((len(frame) + 8 for frame in frames), initial=0))[:-1]
    split = [frames[0][:60], frames[0][60:], *frames[1:]]
    moved = [0, *(begin + 8 for begin in begins[1:])]
    right = {
        "none": _with_tables(ds, frames, []),
        "basic": _with_tables(ds, frames, begins),
        "extended": _with_tables(ds, frames, [], begins),
        "split": _with_tables(ds, split, moved),
        "split, extended": _with_tables(ds, split, [], moved),
    }
    wrong = {
        "basic reversed": _with_tables(ds, frames, begins[::-1]),
        "extended reversed": _with_tables(ds, frames, [], begins[::-1]),
        "split, two swapped": _with_tables(ds, split, [moved[0], moved[2], moved[1], moved[3]]),
        "five frames for four": _with_tables(ds, [*frames, frames[0]], begins),
    }
    if not LONG:
        for name in ("none", "basic", "split, extended"):
            del right[name]
        for name in ("basic reversed", "five frames for four"):
            del wrong[name]
    for name, entry in right.items():
        assert share_right(_volume(tmp_path / name, entry)) == 1, name
    for name, entry in wrong.items():
        assert refusal(read(write([entry], tmp_path / name))) == "E_FRAMES", name

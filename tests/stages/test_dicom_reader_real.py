"""dicom-reader on real files, judged by other readers, and on mutated ones: a volume or a refusal, nothing else."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
import tracemalloc
import types
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk
from dicom_cases import axial, compressed, deflated, encoded, enhanced, image, stack, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from reader_checks import load, read, sidecar
from support import STAGES

from clara_driver import volume

STAGE = STAGES / "dicom-reader"
DATA = Path(pydicom.data.__file__).parent


# ---------------------------------------------------------------- real series and files


def test_a_real_ct_is_what_simpleitk_reads(lidc_ct: Path) -> None:
    done = read(lidc_ct)
    assert done.code == 0, done.log
    (path,) = volume.find(done.output)
    header, values = load(path)
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(lidc_ct)))
    other = series.Execute()
    assert header.size == other.GetSize() == (512, 512, 133)
    assert header.origin == pytest.approx(other.GetOrigin()) and header.spacing == pytest.approx(other.GetSpacing())
    assert header.direction == pytest.approx(other.GetDirection())
    assert np.array_equal(values, sitk.GetArrayViewFromImage(other))
    assert sidecar(path)["series"]["PatientPosition"] == "FFS" and sidecar(path)["values"]["unit"] == "HU"


def _files_of_pydicom() -> list[Path]:
    return sorted(path for path in DATA.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".json"))


def test_every_file_that_pydicom_ships(insides: types.SimpleNamespace, tmp_path: Path) -> None:
    """Each by itself: read as pydicom decodes it, or refused by name; no other exception, whatever the file is."""
    outcomes: dict[str, int] = {}
    for number, path in enumerate(_files_of_pydicom()):
        folder, output = tmp_path / f"in{number}", tmp_path / f"out{number}"
        folder.mkdir()
        output.mkdir()
        shutil.copy(path, folder / "object")
        try:
            (made,) = insides.reader.read([folder], output)
        except insides.reader.RefusedSeries as refused:
            code = refused.refused[0].refusal.code
            assert not list(output.iterdir()), path
        else:
            code = "read"
            assert np.array_equal(load(made)[1], _decoded(path)), path
        outcomes[code] = outcomes.get(code, 0) + 1
    assert outcomes.pop("read") >= 35
    assert set(outcomes) <= {
        "E_COLOUR", "E_NO_GEOMETRY", "E_NO_IMAGES", "E_PIXEL_LENGTH", "E_TRUNCATED", "E_UID", "E_UNREADABLE",
    }  # fmt: skip


def _decoded(path: Path) -> np.ndarray[Any, Any]:
    """What pydicom makes of a single-frame file: stored values x rescale."""
    ds = pydicom.dcmread(path)
    values = ds.pixel_array.astype(float) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    decoded: np.ndarray[Any, Any] = values[None].astype("f4")
    return decoded


@pytest.mark.parametrize(
    "name",
    [
        "JPEGLSNearLossless_08",
        "JPEGLSNearLossless_16",
        "JPEG2000",
        "JPEG-lossy",
        "JPGExtended",
        "rtdose_rle",
        "MR_small_RLE",
    ],
)
def test_frames_decode_as_others_decode_them(name: str, insides: types.SimpleNamespace) -> None:
    """Near-lossless, 8 and 12 bit lossy, 32 bit: stored values as pydicom (JPEG: imagecodecs) has them."""
    ds = pydicom.dcmread(DATA / "test_files" / f"{name}.dcm")
    frames = int(ds.get("NumberOfFrames", 1))
    layout = {
        "rows": ds.Rows, "columns": ds.Columns, "allocated": ds.BitsAllocated, "stored": ds.BitsStored,
        "signed": ds.PixelRepresentation,
    }  # fmt: skip
    kind = f"<{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    parts = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=frames))
    found = [insides.codecs_dicom.decode(part, str(ds.file_meta.TransferSyntaxUID), layout)[0] for part in parts]
    values = np.frombuffer(b"".join(found), kind).reshape(frames, ds.Rows, ds.Columns)
    is_jpeg = str(ds.file_meta.TransferSyntaxUID) in insides.codecs_dicom.JPEG
    other = imagecodecs.jpeg_decode(parts[0]) if is_jpeg else ds.pixel_array
    assert np.array_equal(values, np.reshape(other, values.shape))


# ---------------------------------------------------------------- mutated files


def _seeds() -> list[bytes]:
    small = image("seed", 0, axial(0), rows=6, columns=7)
    groups = enhanced("seed groups", stack("seed groups", 3, rows=6, columns=7))
    files = [encoded(small), encoded(small, ImplicitVRLittleEndian), encoded(groups)]
    return [*files, encoded(compressed(small, RLELossless))]


SEEDS = _seeds()
PREAMBLE = bytes(128) + b"DICM"
WORDS = [
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xfe\xff\0\xe0", b"\xfe\xff\xdd\xe0", b"SQ\0\0", b"\\",
]  # fmt: skip
MORE = 20 if os.environ.get("CLARA_LONG") else 1


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file with bytes changed, cut out, doubled, or cut short; most of it behind the preamble."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(128, max(128, len(data) - 1)))
        kind = draw(st.sampled_from(["byte", "word", "cut", "double", "short"]))
        if kind == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "word":
            word = draw(st.sampled_from(WORDS))
            data[at : at + len(word)] = word
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        else:
            del data[at:]
    return bytes(data)


@settings(max_examples=60 * MORE, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=st.lists(mutated(), min_size=1, max_size=2))
def test_mutated_files(
    files: list[bytes], insides: types.SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    output = folder / "out"
    output.mkdir()
    write([*files, image("seed", 1, axial(1), rows=6, columns=7)], folder / "in")
    _read_or_refused(insides, folder / "in", output)
    shutil.rmtree(folder)


@settings(max_examples=200 * MORE, deadline=None)
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", PREAMBLE, PREAMBLE + b"\2\0\x10\0UI\2\x001 "]))
def test_noise_is_no_dicom_or_broken(
    data: bytes, head: bytes, insides: types.SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(head + data)
    insides.part10.look(path, insides.shapes.Shapes())


def _read_or_refused(insides: types.SimpleNamespace, folder: Path, output: Path) -> None:
    try:
        for path in insides.reader.read([folder], output, insides.reader.Options(jobs=1)):
            header, voxels = volume.read(path)
            assert header.nbytes == len(voxels)
    except insides.reader.RefusedSeries as refused:
        assert str(refused).startswith("E_")
        assert not list(output.iterdir())


@settings(max_examples=10 * MORE, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 400), value=st.binary(min_size=1, max_size=8))
def test_mutated_codestreams(at: int, value: bytes, insides: types.SimpleNamespace, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("codestream")
    (folder / "out").mkdir()
    ds = compressed(image("codestream", 0, axial(0)), JPEG2000Lossless)
    start = 16 + at % (len(ds.PixelData) - 32)
    ds.PixelData = ds.PixelData[:start] + value + ds.PixelData[start + len(value) :]
    ds["PixelData"].is_undefined_length = True
    write([ds], folder / "in")
    _read_or_refused(insides, folder / "in", folder / "out")


# ---------------------------------------------------------------- decoders that hang or die


@pytest.mark.parametrize(
    "program, said",
    [
        ("import time\ntime.sleep(600)", "took longer than 2 s"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "ended with code -11"),
        ("x = bytearray(1 << 62)", "ended with code 1"),
        ("import sys\nsys.stdout.buffer.write(b'[1, 2]')", "gave no answer"),
        ("import sys\nsys.stdout.buffer.write(b'noise')", "gave no answer"),
    ],
)
def test_a_decoder_that_fails(
    program: str, said: str, insides: types.SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program stands where the decoder is: a library that hangs, crashes, eats memory, or talks nonsense."""
    (tmp_path / "decoder.py").write_text(program)
    monkeypatch.setattr(insides.decoders, "PROGRAM", tmp_path / "decoder.py")
    if "2 s" in said:
        monkeypatch.setattr(insides.decoders, "SECONDS", 2)
    folder = write([compressed(image("fails", 0, axial(0)), RLELossless)], tmp_path / "in")
    (tmp_path / "out").mkdir()
    begin = time.monotonic()
    with pytest.raises(insides.reader.RefusedSeries, match="^E_DECODE: .*" + said):
        insides.reader.read([folder], tmp_path / "out")
    assert time.monotonic() - begin < 120
    assert not list((tmp_path / "out").iterdir())


# ---------------------------------------------------------------- memory


def test_a_deflate_bomb_is_refused_before_the_memory_grows(insides: types.SimpleNamespace, tmp_path: Path) -> None:
    ds = image("bomb", 0, axial(0))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = encoded(ds)[: 144 + int.from_bytes(encoded(ds)[140:144], "little")]
    bomb = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 1 << 30) + bytes(128 << 20)
    (tmp_path / "bomb").write_bytes(deflated(bomb, meta))
    tracemalloc.start()
    broken = insides.part10.look(tmp_path / "bomb", insides.shapes.Shapes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert broken.refusal.code == "E_TOO_LARGE" and peak < 50 << 20


MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {stage!r})
import reader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.read([Path({source!r})], Path({output!r}))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_memory_does_not_grow_with_the_series(tmp_path: Path) -> None:
    """Peak above the imports stays below the volume's own size: slices stream."""
    folder, output = tmp_path / "in", tmp_path / "out"
    write(stack("memory", 48, rows=512, columns=512), folder)
    output.mkdir()
    program = MEASURE.format(stage=str(STAGE), source=str(folder), output=str(output))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 48 * 512 * 512 * 2

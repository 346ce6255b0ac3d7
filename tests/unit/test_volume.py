"""Volumes between stages: what is written is read, by us and by ITK; nothing raises anything but VolumeError."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clara_driver import volume
from clara_driver.volume import Header, VolumeError

TURNED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
HEADER = Header(size=(4, 3, 2), spacing=(0.7, 0.8, 2.5), origin=(-166.0, -171.7, -340.0), direction=TURNED)
VOXELS = np.arange(24, dtype="<i2") * 100 - 1000


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "1.2.840.3.mhd"
    volume.write(path, HEADER, VOXELS.tobytes(), {"kind": "image", "name": "Jos\u00e9"})
    header, voxels = volume.read(path)
    assert header == HEADER._replace(data_file="1.2.840.3.raw")
    assert bytes(voxels) == VOXELS.tobytes()
    assert volume.read_sidecar(path) == {"kind": "image", "name": "Jos\u00e9"}
    assert volume.find(tmp_path) == [path]


def test_itk_reads_what_we_write(tmp_path: Path) -> None:
    volume.write(tmp_path / "a.mhd", HEADER, VOXELS.tobytes())
    image = SimpleITK.ReadImage(str(tmp_path / "a.mhd"))
    assert image.GetSize() == HEADER.size and image.GetSpacing() == HEADER.spacing
    assert image.GetOrigin() == HEADER.origin and image.GetDirection() == HEADER.direction
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).ravel(), VOXELS)


@pytest.mark.parametrize("compressed", [False, True])
def test_we_read_what_itk_writes(tmp_path: Path, compressed: bool) -> None:
    image = SimpleITK.GetImageFromArray(VOXELS.reshape(2, 3, 4))
    image.SetSpacing(HEADER.spacing)
    image.SetOrigin(HEADER.origin)
    image.SetDirection(HEADER.direction)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"), compressed)
    header, voxels = volume.read(tmp_path / "a.mhd")
    assert header.compressed is compressed
    assert (header.size, header.spacing, header.origin) == (HEADER.size, HEADER.spacing, HEADER.origin)
    assert header.direction == HEADER.direction and bytes(voxels) == VOXELS.tobytes()


def test_big_endian_data_are_turned(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS.astype(">i2").tobytes())
    volume.write_header(tmp_path / "a.mhd", HEADER._replace(data_file="a.raw", big_endian=True))
    assert bytes(volume.read(tmp_path / "a.mhd")[1]) == VOXELS.tobytes()


BROKEN = {
    "no DimSize": ("DimSize = 4 3 2\n", ""),
    "DimSize out of range": ("DimSize = 4 3 2", "DimSize = 4 0 2"),
    "three dimensions": ("DimSize = 4 3 2", "DimSize = 4 3 2 1"),
    "DimSize is not a list of numbers": ("DimSize = 4 3 2", "DimSize = 4 x 2"),
    "ElementType MET_LONG_LONG is not read": ("MET_SHORT", "MET_LONG_LONG"),
    "ElementSpacing must be above zero": ("ElementSpacing = 0.", "ElementSpacing = -0."),
    "Offset is not finite": ("Offset = -166", "Offset = nan"),
    "a file beside the header": ("a.raw", "../a.raw"),
    "one file beside the header is": ("a.raw", "LOCAL"),
    "bytes expected": ("DimSize = 4 3 2", "DimSize = 4 3 3"),
    "No such file": ("a.raw", "b.raw"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_headers_say_why(tmp_path: Path, message: str) -> None:
    path = tmp_path / "a.mhd"
    volume.write(path, HEADER, VOXELS.tobytes())
    old, new = BROKEN[message]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(VolumeError, match=message):
        volume.read(path)


def test_a_stream_that_inflates_too_far_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zraw").write_bytes(zlib.compress(bytes(64 << 20)))
    volume.write_header(tmp_path / "a.mhd", HEADER._replace(data_file="a.zraw", compressed=True))
    with pytest.raises(VolumeError, match="48 bytes expected after decompression"):
        volume.read(tmp_path / "a.mhd")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_content_raises_anything_else(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.mhd"
    path.write_bytes(b"NDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = a.raw\n" + text)
    (tmp_path / "a.json").write_bytes(text)
    for read in (volume.read_header, volume.read, volume.read_sidecar):
        with contextlib.suppress(VolumeError):
            read(path)  # type: ignore[operator]

"""Two files are the same instance when the bytes behind their file meta are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from clara_adapter import contents
from clara_adapter.contents import file_digest, same_data_set
from clara_adapter.partfile import file_head
from clara_adapter.tags import Unreadable

SHORT, LONG = (file_head("1.2", uid, "1.2.840.10008.1.2.1") for uid in ("1.2.3", "1.2.3.4.5.6.7"))
DATA = os.urandom(2 * contents.CHUNK + 17)


def made(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("size", [0, 1, contents.CHUNK, len(DATA)])
def test_the_file_meta_does_not_count(tmp_path: Path, size: int) -> None:
    one, other = made(tmp_path, "1", SHORT + DATA[:size]), made(tmp_path, "2", LONG + DATA[:size])
    assert same_data_set(one, other) and same_data_set(other, one)


@pytest.mark.parametrize("changed", [0, contents.CHUNK - 1, contents.CHUNK, len(DATA) - 1])
def test_one_bit_makes_another_instance(tmp_path: Path, changed: int) -> None:
    other = bytearray(DATA)
    other[changed] ^= 1
    assert not same_data_set(made(tmp_path, "1", SHORT + DATA), made(tmp_path, "2", SHORT + other))


def test_a_longer_file_is_another_instance(tmp_path: Path) -> None:
    one, other = made(tmp_path, "1", SHORT + DATA), made(tmp_path, "2", SHORT + DATA + b"\0\0")
    assert not same_data_set(one, other) and not same_data_set(other, one)


def test_what_cannot_be_compared_is_not_the_same(tmp_path: Path) -> None:
    one = made(tmp_path, "1", SHORT + DATA)
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(OSError):
        same_data_set(tmp_path / "link", one)
    with pytest.raises(OSError):
        same_data_set(tmp_path / "gone", one)
    with pytest.raises(Unreadable):
        same_data_set(made(tmp_path, "2", b""), one)


def test_a_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    one = made(tmp_path, "1", SHORT + DATA)
    assert file_digest(one) == (hashlib.sha256(SHORT + DATA).hexdigest(), len(SHORT + DATA))

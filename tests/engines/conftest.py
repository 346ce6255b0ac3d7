"""A real podman, and a real Docker, for the long form; where one is not there its tests skip with one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engines import box


@contextmanager
def _podman(_folder: Path) -> Iterator[box.Box]:
    with box.opened() as opened:
        yield opened


OPEN = {"podman": _podman, "docker": box.docker}


@pytest.fixture(scope="session", params=list(OPEN))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[box.Box]:
    try:
        with OPEN[request.param](tmp_path_factory.mktemp(request.param)) as opened:
            yield opened
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def podman() -> Iterator[box.Box]:
    try:
        with box.opened() as opened:
            yield opened
    except LookupError as error:
        pytest.skip(str(error))

"""A real podman, and a real Docker, for the long form; where one is not there its tests skip with one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import box

OPEN = {"podman": box.opened, "docker": box.docker}


@pytest.fixture(scope="session", params=list(OPEN))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[box.Box]:
    try:
        with OPEN[request.param](tmp_path_factory.mktemp(request.param)) as opened:
            yield opened
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[box.Box]:
    folder: Path = tmp_path_factory.mktemp("podman")
    try:
        with box.opened(folder) as opened:
            yield opened
    except LookupError as error:
        pytest.skip(str(error))

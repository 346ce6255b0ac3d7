"""A real podman for the long form; where there is none the tests skip with one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import box


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[box.Box]:
    folder: Path = tmp_path_factory.mktemp("podman")
    try:
        with box.opened(folder) as opened:
            yield opened
    except LookupError as error:
        pytest.skip(str(error))

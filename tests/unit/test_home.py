from __future__ import annotations

from pathlib import Path

import pytest

import clara_driver
from clara_argo import home


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CLARA_HOME": "/data/clara", "XDG_STATE_HOME": "/s", "HOME": "/h"}, "/data/clara"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/clara-argo"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/clara-argo"),
        ({"CLARA_HOME": "", "HOME": "/h"}, "/h/.local/state/clara-argo"),
    ],
)
def test_state(environ: dict[str, str], expected: str) -> None:
    assert home.state(environ) == Path(expected)


def test_a_relative_home_is_of_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert home.state({"CLARA_HOME": "state"}) == tmp_path / "state"


def test_config() -> None:
    assert home.config({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/clara-argo")
    assert home.config({"HOME": "/h"}) == Path("/h/.config/clara-argo")


def test_driver_path_holds_the_driver_and_nothing_else(tmp_path: Path) -> None:
    folder = home.driver_path(tmp_path)
    assert home.driver_path(tmp_path) == folder
    assert [path.name for path in folder.iterdir()] == ["clara_driver"]
    assert (folder / "clara_driver").resolve() == Path(clara_driver.__file__).resolve().parent

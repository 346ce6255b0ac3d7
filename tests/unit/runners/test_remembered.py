"""Which target has which job: small files that may be old, foreign, gone or in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clara_argo.runners import remembered

JOB, OTHER = "0" * 31 + "1", "0" * 31 + "2"


def test_remember_recall_forget(tmp_path: Path) -> None:
    assert remembered.recall(tmp_path) == {} and remembered.fetched(tmp_path, JOB) == ""
    remembered.remember(tmp_path, JOB, "argo")
    remembered.remember(tmp_path, OTHER, "hospital", "digest")
    assert remembered.recall(tmp_path) == {JOB: "argo", OTHER: "hospital"}
    assert remembered.recall(tmp_path, OTHER) == {OTHER: "hospital"}
    remembered.remember(tmp_path, OTHER, "hospital")
    assert remembered.fetched(tmp_path, OTHER) == "digest" and remembered.fetched(tmp_path, JOB) == ""
    for _ in range(2):
        remembered.forget(tmp_path, JOB)
    assert remembered.recall(tmp_path) == {OTHER: "hospital"}


def test_old_ones_are_forgotten(tmp_path: Path) -> None:
    remembered.remember(tmp_path, JOB, "argo")
    os.utime(tmp_path / "remote" / JOB, (0, 0))
    remembered.remember(tmp_path, OTHER, "argo")
    assert remembered.recall(tmp_path) == {OTHER: "argo"}


def test_what_is_not_ours_is_left_out(tmp_path: Path) -> None:
    remembered.remember(tmp_path, JOB, "argo")
    folder = tmp_path / "remote"
    (folder / "notes").write_text("x")
    (folder / OTHER).mkdir()
    (folder / ("f" * 32)).write_bytes(b"\xff\xfe")
    (folder / ("e" * 32)).write_text("")
    assert remembered.recall(tmp_path) == {JOB: "argo"}


@pytest.mark.parametrize("home", ["file/home", "file"])
def test_a_home_that_cannot_be(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").touch()
    assert remembered.recall(tmp_path / home) == {}
    remembered.forget(tmp_path / home, JOB)
    with pytest.raises(OSError, match=r"[Nn]ot a directory|[Ff]ile exists"):
        remembered.remember(tmp_path / home, JOB, "argo")

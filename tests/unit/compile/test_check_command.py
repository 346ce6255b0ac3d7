"""The command `clara check`: what it prints and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clara_argo import shipped

GOLDEN = shipped.folder("templates") / "workflows" / "ct-organs.argo.yaml"


def clara(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clara_argo", "check", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """A file with one warning: an image whose tag moves."""
    text = GOLDEN.read_text(encoding="utf-8")
    (tmp_path / "loose.yaml").write_text(text.replace("dicom-reader:0.1.0", "dicom-reader:latest"), encoding="utf-8")
    return tmp_path / "loose.yaml"


def test_a_right_file_says_nothing() -> None:
    done = clara(str(GOLDEN))
    assert (done.returncode, done.stdout) == (0, "") and "nothing to say" in done.stderr


def test_an_error_is_exit_2_with_its_place(tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8").replace("entrypoint: main", "entrypoint: mian")
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    done = clara(str(GOLDEN), str(tmp_path / "x.yaml"))
    line = text[: text.index("mian")].count("\n") + 1
    assert done.returncode == 2
    assert done.stdout.startswith(f"{tmp_path}/x.yaml:{line}:15: error: spec.entrypoint: ")
    assert done.stdout.count("\n") == 1


def test_warnings_are_exit_0_unless_strict(loose: Path) -> None:
    assert [clara(str(loose)).returncode, clara("--strict", str(loose)).returncode] == [0, 2]


def test_json_has_every_file(loose: Path) -> None:
    done = clara("-o", "json", str(GOLDEN), str(loose))
    files = json.loads(done.stdout)["files"]
    assert files[str(GOLDEN)] == []
    assert [(one["code"], one["level"]) for one in files[str(loose)]] == [("image-tag", "warning")]


def test_a_missing_file_is_exit_6(tmp_path: Path) -> None:
    done = clara(str(tmp_path / "none.yaml"))
    assert done.returncode == 6 and "none.yaml: no such file" in done.stderr

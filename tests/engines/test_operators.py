"""A pipeline of operators with a real podman: a join, a named output, the job in a command, paths of Clara's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from engines import box
from operators_cases import JOB, expected, pipeline

from clara_argo.cli import main

pytestmark = pytest.mark.long


def test_a_pipeline_runs_as_it_is(podman: box.Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (podman.environment() | {"CLARA_HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pipeline.yaml").write_text(pipeline(box.SHELL))
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct/a").write_text("voxels\n")
    words = ["--input", str(tmp_path / "ct"), "--output", str(tmp_path / "out"), "--job", JOB, "--set", "WORD=hello"]
    done = CliRunner().invoke(main, ["run", str(tmp_path / "pipeline.yaml"), *words, "--engine", "podman"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/all").read_text() == expected("voxels\n", "hello", JOB)

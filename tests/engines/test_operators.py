"""A pipeline of operators with a real podman: a join, a named output, the job in a command, paths of Clara's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from engines import box

from clara_argo.cli import main

pytestmark = pytest.mark.long
JOB = "0123456789abcdef0123456789abcdef"
IMAGE, _, TAG = box.SHELL.rpartition(":")
PIPELINE = """\
api-version: 0.4.0
name: Two_Readers
parameters: {WORD: }
operators:
- name: First
  container:
    image: IMAGE
    tag: "TAG"
    command: [sh, -c, "cat /input/image > /output/whole; echo ${{WORD}} > /output/part/word"]
  input: [{path: /input}]
  output: [{path: /output}, {path: /output/part, name: part}]
- name: second
  container:
    image: IMAGE
    tag: "TAG"
    command:
    - sh
    - -c
    - cat /input/whole /word/word /dcm/image > $(NVIDIA_CLARA_OUTPUT)/all; echo ${{JOB_ID}} $RUN >> $(OUT)/all
  variables: {RUN: "run-${{JOB_ID}}", OUT: /made}
  input: [{from: first, path: /input}, {from: First, name: part, path: /word}, {path: /dcm}]
  output: [{path: /made}]
- name: send
  container:
    image: clara/register-results
    tag: 1
    command: [python, register.py, --agent, ClaraSCU, --data, '["PACS"]']
  input: [{from: second, path: /input}]
""".replace("IMAGE", IMAGE).replace("TAG", TAG)


def test_a_pipeline_runs_as_it_is(podman: box.Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (podman.environment() | {"CLARA_HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct/image").write_text("voxels\n")
    words = ["--input", str(tmp_path / "ct"), "--output", str(tmp_path / "out"), "--job", JOB, "--set", "WORD=hello"]
    done = CliRunner().invoke(main, ["run", str(tmp_path / "pipeline.yaml"), *words, "--engine", "podman"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/all").read_text() == f"voxels\nhello\nvoxels\n{JOB} run-{JOB}\n"

"""`clara-wf test`: a workflow of the SDK folder runs, again and again, under the same job id."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from unit.sdk.typed import Done, typed

from clara_argo import home, project
from clara_argo.cli import sdk_test
from clara_argo.model.job import Payload
from clara_argo.model.target import LOCAL
from clara_argo.runners import engines, remembered
from clara_argo.runners.fake import FakeRunner
from clara_argo.runners.local import LocalRunner

ID, ZERO = "7b413e24-d018-4689-8c41-73272f6649d4", "0" * 32
Type = Callable[..., Done]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    return typed(capsys)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command takes them; the tests have them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type) -> Path:
    """An SDK folder with the workflow `w` of one stage, a shell script; and an input beside it."""
    type_(f"clara init --sdk {tmp_path}/sdk")
    chart = tmp_path / "sdk" / "clara-reference-workflow"
    monkeypatch.chdir(chart)
    type_("clara-wf cs copy")
    (chart / ".." / "stages" / "copy" / "stage.yaml").write_text("command: [sh, run.sh]\n")
    script(tmp_path / "sdk", 'cp "$CLARA_INPUT"/* "$CLARA_OUTPUT"')
    with open(chart / "charts" / "clara-workflow" / "values.yaml", "a") as file:
        file.write(f' {ID}\n name: w\n stages: [copy]\n waitLocks: [""]\n ioFolders: [copy/input, copy/output]\n')
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("7")
    return tmp_path / "sdk"


def script(sdk: Path, text: str) -> None:
    (sdk / "stages" / "copy" / "run.sh").write_text(text)


def test_it_can_be_typed_again(sdk: Path, type_: Type, tmp_path: Path) -> None:
    for name in ("test-w", "test-w-2"):
        said = type_(f"clara-wf test {ID} --input {tmp_path}/in")
        assert said.out == f"result in {name}\n" and f"workflow w, job {ZERO}" in said.err
        assert Path(name, "x").read_text() == "7"
    assert [path.name for path in home.jobs(home.state()).iterdir()] == [ZERO]


def test_job_and_output_as_they_are_asked_for(sdk: Path, type_: Type, tmp_path: Path) -> None:
    job = "11111111-0000-0000-0000-00000000000A"
    said = type_(f"clara-wf test_workflow w {job} --input {tmp_path}/in --output {tmp_path}/out -o json")
    assert json.loads(said.out)["id"] == job.replace("-", "").lower()
    assert (tmp_path / "out" / "x").read_text() == "7"


def test_a_job_that_runs_is_not_disturbed(sdk: Path, type_: Type, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script(sdk, f"cat '{tmp_path}/go' > \"$CLARA_OUTPUT/x\"")
    with LocalRunner() as runner:
        runner.submit(project.workflow(sdk, "w"), ZERO, Payload(id=ZERO, folder=tmp_path / "in"))
        said = type_(f"clara-wf test w --input {tmp_path}/in", 5).err
        assert "clara stop 000000000000" in said and "JOB_ID" in said
        (tmp_path / "go").write_text("went")
        assert [job.state for job in runner.watch(ZERO)][-1] == "succeeded"


def test_of_two_that_start_the_second_leaves_the_input_alone(sdk: Path, type_: Type, tmp_path: Path) -> None:
    with sdk_test._alone(ZERO):
        assert "is being started by another" in type_(f"clara-wf test w --input {tmp_path}/in", 5).err
        type_(f"clara-wf test w {'1' * 32} --input {tmp_path}/in")
    type_(f"clara-wf test w --input {tmp_path}/in")


def test_what_is_wrong_with_the_input_is_said_before_the_last_job_goes(sdk: Path, type_: Type, tmp_path: Path) -> None:
    type_(f"clara-wf test w --input {tmp_path}/in")
    type_("clara-wf test w --input nowhere", 6)
    assert "succeeded" in type_("clara jobs").out


def test_what_keeps_stages_from_starting_is_said_before_the_last_job_goes(
    sdk: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_(f"clara-wf test w --input {tmp_path}/in")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "podman"
    program.write_text('#!/bin/sh\n[ "$1" = images ]\n')  # it works, and has no image
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    stage = sdk / "stages" / "copy" / "stage.yaml"
    stage.write_text("command: [sh, run.sh]\nimage: {repository: copy, tag: '1'}\n")
    assert "a run fetches nothing" in type_(f"clara-wf test w --input {tmp_path}/in --engine podman", 3).err
    assert "succeeded" in type_("clara jobs").out


def test_a_failed_job_says_how_to_go_on(sdk: Path, type_: Type, tmp_path: Path) -> None:
    script(sdk, "exit 3")
    said = type_(f"clara-wf test w --input {tmp_path}/in", 4).err
    assert "clara logs 000000000000" in said and "again: clara retry 000000000000" in said
    assert not Path("test-w").exists()


def test_a_home_that_takes_no_files_is_said(
    sdk: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLARA_HOME", str(tmp_path / "file"))
    done = type_(f"clara-wf test {ID} --input {tmp_path}/in", code=64)
    assert "file cannot be written to" in done.err and "set CLARA_HOME" in done.err


def test_engines_are_those_there_are(sdk: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(sdk_test.ENGINES) == {*engines.ENGINES, sdk_test.ARGO}
    monkeypatch.setenv("PATH", "")
    assert "podman is not on the PATH" in type_(f"clara-wf test w --input {tmp_path}/in --engine podman", 3).err


def test_on_a_cluster_it_is_the_target_argo(
    sdk: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its template is put there, and a job of that id that has ended makes room there."""
    type_(f"clara-wf test w --input {tmp_path}/in")
    cluster, asked = FakeRunner(result={"x": b"7"}), []

    @contextmanager
    def open_runner(name: str, **more: Any) -> Iterator[FakeRunner | LocalRunner]:
        if name == LOCAL:
            with LocalRunner() as here:
                yield here
            return
        asked.append((name, more))
        yield cluster

    monkeypatch.setattr("clara_argo.runners.targets.open_runner", open_runner)
    for output in ("one", "two"):
        type_(f"clara-wf test w --input {tmp_path}/in --engine argo --output {output}")
        assert Path(output, "x").read_text() == "7"
    assert asked == [("argo", {"apply": True, "engine": None})] * 2
    assert [job for job, _ in cluster.submitted] == [ZERO, ZERO]
    assert remembered.recall(home.state(), ZERO) == {ZERO: "argo"}  # so 'clara logs' asks there, not here
    assert not list(home.jobs(home.state()).iterdir())
    type_(f"clara-wf test w --input {tmp_path}/in")
    assert remembered.recall(home.state(), ZERO) == {}


WRONG = {
    "unknown workflow": ("nobody", 6, "no workflow 'nobody'"),
    "no job id": ("w 12", 64, "JOB_ID '12': a job id is 32 hex digits"),
    "no input": ("w --input nowhere", 6, "nowhere: no such folder"),
    "output in the input": ("w --input {in} --output {in}/out", 64, "lies in the input folder"),
    "output is full": ("w --input {in} --output ..", 64, "not an empty folder"),
    "unknown engine": ("w --engine rkt", 64, "'rkt' is not one of"),
    "input of an unknown kind": ("w", 64, "does not say what it takes.*--input FOLDER"),
}


@pytest.mark.parametrize(("words", "code", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run(sdk: Path, type_: Type, tmp_path: Path, words: str, code: int, message: str) -> None:
    assert re.search(message, type_(f"clara-wf test {words}".replace("{in}", f"{tmp_path}/in"), code).err)
    assert not home.jobs(home.state()).exists() or not list(home.jobs(home.state()).iterdir())

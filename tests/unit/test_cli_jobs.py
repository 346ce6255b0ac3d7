"""`clara run`, `jobs`, `describe`, `logs` as processes: what people type, what they see, and the exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

JOB = "00000000000000000000000000000001"
WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: pair
stages: [one, two]
waitLocks: ["", one.lock]
ioFolders: [one/input, one/output, two/output]
args: ["", ""]
"""
SCRIPT = """
echo "$CLARA_STAGE reads"
if [ "$CLARA_STAGE" = two ] && grep -q bad "$CLARA_INPUT/image"; then echo "no liver in it" >&2; exit 1; fi
cp "$CLARA_INPUT/image" "$CLARA_OUTPUT/"
"""


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "clara.yaml").touch()
        (root / "workflow.yaml").write_text(WORKFLOW)
        (root / "ct").mkdir()
        (root / "ct/image").write_text("voxels")
        for name in ("one", "two"):
            folder = root / "stages" / name
            folder.mkdir(parents=True)
            (folder / "stage.yaml").write_text(f"stageName: {name}\ncommand: [sh, run.sh]\n")
            (folder / "run.sh").write_text(SCRIPT)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CLARA_HOME": str(self.root / "home"), "COLUMNS": "100"}

    def clara(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clara_argo", *words], cwd=self.root, env=self.environment, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip

    def run(self, *more: str, output: str = "out") -> subprocess.CompletedProcess[str]:
        return self.clara("run", "workflow.yaml", "--input", "ct", "--output", output, *more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_run_and_look(place: Place) -> None:
    done = place.run("--job", JOB)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "result in out\n"
    assert "one: running\none: done in " in done.stderr and "two: done in " in done.stderr
    assert (place.root / "out/image").read_text() == "voxels"

    listed = place.clara("jobs").stdout.splitlines()
    assert listed[0].split() == ["JOB", "STATE", "CREATED", "SECONDS", "WORKFLOW", "MESSAGE"]
    assert listed[1].startswith("000000000000  succeeded") and listed[1].endswith("pair")
    listed_json = json.loads(place.clara("jobs", "-o", "json").stdout)
    assert listed_json["schema"] == 1 and [job["id"] for job in listed_json["jobs"]] == [JOB]

    described = place.clara("describe", "0000").stdout
    assert JOB in described and "one    succeeded  1" in described
    value = json.loads(place.clara("describe", JOB, "-o", "json").stdout)
    assert (value["schema"], value["state"], value["target"]) == (1, "succeeded", "local")
    assert [stage["exit_code"] for stage in value["stages"]] == [0, 0]
    assert str(place.root) not in json.dumps(value)

    assert place.clara("logs", "0").stdout == "one | one reads\ntwo | two reads\n"
    assert place.clara("logs", "0", "two", "-f").stdout == "two reads\n"


def test_json_is_the_job_alone(place: Place) -> None:
    value = json.loads(place.run("-o", "json").stdout)
    assert value["state"] == "succeeded" and value["schema"] == 1 and len(value["id"]) == 32


def test_a_failure_says_why_and_what_next(place: Place) -> None:
    (place.root / "ct/image").write_text("bad")
    done = place.run("--job", JOB)
    assert done.returncode == 4
    assert "stage 'two': exit code 1: no liver in it" in done.stderr
    assert f"clara logs {JOB[:12]}" in done.stderr
    assert not (place.root / "out").exists()
    again = done.stderr.rpartition("again: clara ")[2].strip().split(" ")
    assert place.clara(*again).returncode == 4
    (place.root / "ct/image").write_text("good")
    assert place.clara(*again).returncode == 0
    assert (place.root / "out/image").read_text() == "good"
    assert json.loads(place.run("-o", "json", "--job", JOB, "--resume", output="b").stdout)["state"] == "succeeded"


def test_resume_takes_the_last_job_of_workflow_and_input(place: Place) -> None:
    assert place.run("--resume").returncode == 6
    first = json.loads(place.run("-o", "json").stdout)["id"]
    second = json.loads(place.run("-o", "json", "--resume", output="again").stdout)
    assert (second["id"], second["attempt"]) == (first, 2)
    assert [stage["attempt"] for stage in second["stages"]] == [1, 1]
    assert place.run("--resume", output="again").returncode == 0  # the same result lies there already
    (place.root / "again/more").touch()
    assert place.run("--resume", output="again").returncode == 64
    (place.root / "mr").mkdir()
    (place.root / "mr/image").write_text("other")
    other = place.clara("run", "workflow.yaml", "--input", "mr", "--output", "mr-out", "--resume")
    assert other.returncode == 6 and "pair" in other.stderr


def test_what_cannot_be(place: Place) -> None:
    (place.root / "full").mkdir()
    (place.root / "full/x").touch()
    run = ["run", "workflow.yaml", "--input", "ct", "--output"]
    table: list[tuple[list[str], int, str]] = [
        (["run", "nothing.yaml", "--input", "ct", "--output", "o"], 6, "no such workflow file"),
        (["run", "workflow.yaml", "--input", "nothing", "--output", "o"], 6, "no such folder"),
        (["run", "workflow.yaml", "--input", "ct"], 64, "--output"),
        ([*run, "full"], 64, "not an empty folder"),
        ([*run, "ct/out"], 64, "input folder"),
        ([*run, "workflow.yaml/out"], 64, "cannot be written"),
        ([*run, "o", "--jobs", "0"], 64, "--jobs"),
        ([*run, "o", "--job", "short"], 64, "32 hex digits"),
        ([*run, "o", "--job", "abc", "--resume"], 6, "no job 'abc'"),
        ([*run, "o", "--workflow", "nobody"], 6, "nobody"),
        (["describe", "abc"], 6, "clara jobs"),
        (["logs", "abc"], 6, "clara jobs"),
    ]
    for words, code, text in table:
        done = place.clara(*words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done)
        assert "Traceback" not in done.stderr
    assert not (place.root / "o").exists()
    assert place.clara("jobs").stdout == ""


def test_a_job_that_exists_needs_resume(place: Place) -> None:
    place.run("--job", JOB)
    done = place.run("--job", JOB, output="other")
    assert done.returncode == 64 and "--resume" in done.stderr
    assert place.run("--job", JOB[:-1] + "2", output="other").returncode == 0
    done = place.clara("describe", "00")
    assert done.returncode == 64 and "2 jobs begin with '00'" in done.stderr
    assert place.clara("logs", JOB, "three").returncode == 6


def test_bars_on_a_terminal(place: Place) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clara_argo", "run", "workflow.yaml", "--input", "ct", "--output", "out"],
        cwd=place.root, env=place.environment, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = bytearray()
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # Linux: the other end of the terminal has closed
            break
        if not block:
            break
        seen += block
    os.close(ours)
    assert process.wait(timeout=60) == 0
    last = seen.decode().split("\x1b[2A")[-1]
    assert "one  " + "█" * 24 + "  done" in last and "two  " + "█" * 24 + "  done" in last

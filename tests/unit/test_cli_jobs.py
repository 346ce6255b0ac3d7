"""`clara run`, `jobs`, `describe`, `logs` as processes: what people type, what they see, and the exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def test_a_result_that_changed_takes_the_place_of_the_earlier_one(place: Place) -> None:
    assert place.run("--job", JOB).returncode == 0
    (place.root / "ct/image").write_text("other voxels")
    assert place.run("--job", JOB, "--resume").returncode == 0
    assert (place.root / "out/image").read_text() == "other voxels"
    (place.root / "out/image").write_text("somebody worked on it")
    assert place.run("--job", JOB, "--resume").returncode == 64
    assert (place.root / "out/image").read_text() == "somebody worked on it"
    assert sorted(path.name for path in place.root.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("home", ["workflow.yaml/x", "a:b"])
def test_a_home_that_cannot_be(place: Place, home: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clara_argo", "run", "workflow.yaml", "--input", "ct", "--output", "out"],
        cwd=place.root, env=place.environment | {"CLARA_HOME": home}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64 and "CLARA_HOME" in done.stderr and "Traceback" not in done.stderr


def started(place: Place, script: str, *words: str, **values: Any) -> subprocess.Popen[bytes]:
    (place.root / "stages/one/run.sh").write_text(script)
    command = [sys.executable, "-m", "clara_argo", "run", "workflow.yaml", "--input", "ct", "--output", "out", *words]
    return subprocess.Popen(command, cwd=place.root, env=place.environment, **values)


WAITING = 'touch "$CLARA_OUTPUT/../../../started"; while [ ! -e "$CLARA_INPUT/go" ]; do sleep 0.1; done\n'


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} does not come")


def test_a_reader_that_goes_away_does_not_end_the_job(place: Place) -> None:
    ours, theirs = os.pipe()
    process = started(place, WAITING + SCRIPT, "--job", JOB, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for(place.root / "home/jobs" / JOB / "started")
    os.close(ours)
    (place.root / "ct/go").touch()
    assert process.wait(timeout=60) == 0
    assert (place.root / "out/image").read_text() == "voxels"
    (place.root / "ct/image").write_text("bad")
    ours, theirs = os.pipe()
    os.close(ours)
    process = started(place, SCRIPT, "--job", JOB, "--resume", "-o", "json", stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert process.wait(timeout=60) == 4


def test_closed_and_full_outputs(place: Place) -> None:
    shell = f"{sys.executable} -m clara_argo"
    run = f"{shell} run workflow.yaml --input ct --output"
    for line, code in (
        (f"{run} o1 <&- >&- 2>&-", 0), (f"{run} o2 2>/dev/full", 0), (f"{run} o3 -o json >/dev/full", 75),
        (f"{shell} jobs >&-", 0), (f"{shell} jobs >/dev/full", 75),
        (f"{{ sleep 1; {shell} jobs; echo $? >code; }} | true; exit $(cat code)", 0),
    ):  # fmt: skip
        done = subprocess.run(["sh", "-c", line], cwd=place.root, env=place.environment, stderr=subprocess.PIPE)  # noqa: PLW1510
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), (line, done)
    assert all((place.root / name / "image").is_file() for name in ("o1", "o2", "o3"))


def test_nohup_and_the_second_request_to_end(place: Place) -> None:
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = started(place, WAITING + SCRIPT, "--job", JOB, stderr=subprocess.PIPE, preexec_fn=ignore)
    wait_for(place.root / "home/jobs" / JOB / "started")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and f"--job {JOB} --resume".encode() in said
    assert place.clara("describe", JOB).stdout.count("stopped") == 3


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

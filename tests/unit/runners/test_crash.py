"""The runner is killed, interrupted, or meets a second one: no process is left, and the job goes on where it was.

Runners are processes here (`clara run`), because that is what dies. CLARA_LONG=1 kills more often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clara_argo.errors import Held
from clara_argo.model.job import JobState, StageState
from clara_argo.runners import points
from clara_argo.runners.local import LocalRunner

JOB = "00000000000000000000000000000001"
PATIENCE = 60.0  # seconds until a test gives up
LONG = os.environ.get("CLARA_LONG") == "1"

WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: crash
stages: [one, two, three]
waitLocks: ["", one.lock, two.lock]
ioFolders: [one/input, one/output, two/output, three/output]
args: ["", "", ""]
"""
STAGE = """
stageName: {name}
command: [sh, run.sh]
timeout: 120
retries: 0
publish: true
"""
# Counts its runs outside the job, waits while the gate of its name is closed, hands on what it read.
SCRIPT = """
set -e
echo run >> "{root}/runs-$CLARA_STAGE"
{daemons}
while [ -e "{root}/gate-$CLARA_STAGE" ]; do sleep 0.02; done
cp "$CLARA_INPUT"/* "$CLARA_OUTPUT"/
head -c 200000 /dev/zero > "$CLARA_OUTPUT/zeros-$CLARA_STAGE"
echo "$CLARA_STAGE" > "$CLARA_PUBLISH/config.meta"
"""
# A child in the background, and a daemon that has left the session and ignores SIGTERM.
DAEMONS = """
sleep 600 &
(setsid sh -c 'trap "" TERM; while :; do sleep 1; done' &) &
"""


def _listen() -> None:
    """The signals as a person's shell leaves them, also when the tests themselves run under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"
        self.processes: list[subprocess.Popen[str]] = []
        (root / "clara.yaml").touch()
        (root / "workflow.yaml").write_text(WORKFLOW)
        (root / "ct").mkdir()
        (root / "ct/image").write_text("voxels")
        for name in ("one", "two", "three"):
            self.stage(name)

    def stage(self, name: str, daemons: str = "") -> None:
        folder = self.root / "stages" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stage.yaml").write_text(STAGE.format(name=name))
        (folder / "run.sh").write_text(SCRIPT.format(root=self.root, daemons=daemons))

    def start(self, *more: str, output: str = "out", **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "clara_argo", "run", "workflow.yaml", "--input", "ct", "--output", output]
            + ["--job", JOB, *more],
            cwd=self.root,
            env={**os.environ, "CLARA_HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_listen,
            text=True,
        )
        self.processes.append(process)
        return process

    def finish(self, *more: str, **environment: str) -> tuple[int, str]:
        process = self.start(*more, **environment)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def runs(self, stage: str) -> int:
        path = self.root / f"runs-{stage}"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def close_gate(self, stage: str) -> None:
        (self.root / f"gate-{stage}").touch()

    def open_gate(self, stage: str) -> None:
        (self.root / f"gate-{stage}").unlink()

    def until_running(self, stage: str) -> None:
        until(lambda: self.runs(stage) > 0, f"stage {stage} never started")

    def living(self) -> list[int]:
        """Processes of the stages of this test's job, whoever their parent is now."""
        mark = f"CLARA_OUTPUT={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes() and "guard.py" not in (path / "cmdline").read_text():
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def no_orphans(self) -> None:
        until(lambda: not self.living(), "processes of the stages are left")

    def check(self) -> None:
        """The job has succeeded with the right result, and nothing half made is anywhere."""
        job = LocalRunner(self.home).get(JOB)
        assert job.state is JobState.SUCCEEDED, job
        assert [stage.state for stage in job.stages] == [StageState.SUCCEEDED] * 3
        result = self.root / "out"
        zeros = {f"zeros-{name}": 200_000 for name in ("one", "two", "three")}
        assert {path.name: path.stat().st_size for path in result.iterdir()} == {"image": 6, **zeros}
        assert (result / "image").read_text() == "voxels"
        folder = self.home / "jobs" / JOB
        assert {path.name for path in (folder / "two").iterdir()} == {"output", "publish", "done.json", "logs", "locks"}
        assert (folder / "two/publish/config.meta").read_text() == "two\n"
        assert not [path for path in folder.rglob("*") if "part" in path.name]


def until(condition: object, complaint: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)
    made.no_orphans()


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks for orphans in /proc: Linux only"
)


def test_killed_runner_leaves_no_orphan_and_a_job_that_resumes(place: Place) -> None:
    place.stage("two", DAEMONS)
    place.close_gate("two")
    process = place.start()
    place.until_running("two")
    until(lambda: len(place.living()) >= 4, "the tree of the stage never grew")
    process.kill()
    process.wait(timeout=PATIENCE)
    place.no_orphans()
    job = LocalRunner(place.home).get(JOB)
    assert job.state is JobState.STOPPED
    assert [stage.state.value for stage in job.stages] == ["succeeded", "stopped", "pending"]
    place.open_gate("two")
    place.stage("two")
    code, said = place.finish("--resume")
    assert code == 0, said
    place.check()
    assert [place.runs(stage) for stage in ("one", "two", "three")] == [1, 2, 1]


def test_what_a_stage_leaves_running_ends_with_it(place: Place) -> None:
    place.stage("two", DAEMONS)
    code, said = place.finish()
    assert code == 0, said
    assert place.living() == []
    place.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_runner_ends_everything_and_says_how_to_go_on(place: Place, number: signal.Signals) -> None:
    place.stage("two", "sleep 600 &")
    place.close_gate("two")
    process = place.start()
    place.until_running("two")
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "--resume" in said and JOB in said
    assert place.living() == []
    job = json.loads((place.home / "jobs" / JOB / "job.json").read_text())
    assert job["state"] == "stopped"
    place.open_gate("two")
    code, said = place.finish("--resume")
    assert code == 0, said
    place.check()
    assert place.runs("one") == 1


def test_the_second_runner_says_who_holds_the_job(place: Place) -> None:
    place.close_gate("one")
    first = place.start()
    place.until_running("one")
    for more in ((), ("--resume",)):
        code, said = place.finish(*more, output="other")
        assert code == 5, said
        assert f"process {first.pid} on " in said and " since " in said
    with pytest.raises(Held, match=str(first.pid)):
        LocalRunner(place.home).retry(JOB)
    assert LocalRunner(place.home).get(JOB).state is JobState.RUNNING
    place.open_gate("one")
    said, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, said
    assert place.runs("one") == 1
    place.check()


def test_another_process_watches_and_stops(place: Place) -> None:
    place.close_gate("two")
    process = place.start()
    place.until_running("two")
    other = LocalRunner(place.home)
    watched = other.watch(JOB)
    assert not next(watched).state.ended
    assert other.stop(JOB).state is JobState.STOPPED
    assert list(watched)[-1].state is JobState.STOPPED
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "was stopped" in said
    assert place.living() == []
    place.open_gate("two")
    code, said = place.finish("--resume")
    assert code == 0, said


def test_killed_guard_takes_its_stage_along(place: Place) -> None:
    place.close_gate("one")
    process = place.start()
    place.until_running("one")
    guards = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"guard.py" in _read(path) and str(place.root).encode() in _read(path)
    ]
    assert len(guards) == 1
    os.kill(guards[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4 and "SIGKILL" in said


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("point", points.POINTS)
def test_killed_at_a_named_point(place: Place, point: str) -> None:
    count = "" if point in ("job-written", "result-named") else ":2"
    code, said = place.finish(CLARA_CRASH_AT=point + count)
    assert code == -signal.SIGKILL, f"{point} was never reached: {said}"
    place.no_orphans()
    assert LocalRunner(place.home).get(JOB).state is JobState.STOPPED
    code, said = place.finish("--resume")
    assert code == 0, said
    place.check()
    if count:
        assert place.runs("one") == 1


@pytest.mark.long
def test_killed_at_random_again_and_again(place: Place) -> None:
    """The pauses grow, so a job gets through in the end; then the next one starts, until there were enough kills."""
    seed = int(os.environ.get("CLARA_SEED", random.randrange(1 << 30)))
    dice, kills, tries, most = random.Random(seed), 0, 0, 100 if LONG else 4
    while kills < most:
        process = place.start(*(["--resume"] if (place.home / "jobs" / JOB / "job.json").exists() else []))
        tries += 1
        try:
            said, _ = process.communicate(timeout=dice.uniform(0.15, 0.6 + 0.1 * tries))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=PATIENCE)
            kills += 1
            continue
        assert process.returncode == 0, f"seed {seed}: {said}"
        place.no_orphans()
        place.check()
        shutil.rmtree(place.home)
        shutil.rmtree(place.root / "out")
        tries = 0
    code, said = place.finish(*(["--resume"] if (place.home / "jobs" / JOB / "job.json").exists() else []))
    assert code == 0, f"seed {seed}: {said}"
    place.no_orphans()
    place.check()

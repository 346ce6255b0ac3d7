"""Podman and Docker themselves: the contract of every runner, what a container may and sees, and that nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster.shells import COPY, Shells, payload
from engines import box
from unit.runners.contract import JOB, RunnerContract, end

from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState
from clara_argo.model.workflow import Resources
from clara_argo.runners import Runner, points
from clara_argo.runners.local import LocalRunner
from clara_argo.runners.plan import Plan
from clara_argo.runners.planfile import write_plan

pytestmark = pytest.mark.long
PATIENCE = 60.0  # seconds until a test gives up
WAIT = "while [ ! -e /gate/open ]; do sleep 0.05; done; "
FAILS = 'test "$CLARA_ATTEMPT" != 1 || { echo no luck >&2; exit 3; }; '


class World:
    """`/gate` is the tests' own way into every container."""

    def __init__(self, root: Path, engine: box.Box, monkeypatch: pytest.MonkeyPatch, *, hold: bool = False) -> None:
        self.root, self.box, self.gate = root, engine, root / "gate"
        self.gate.mkdir()
        if not hold:
            self.release()
        self.environment = engine.environment(f"{self.gate}:/gate")
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self.local = LocalRunner(root / "home", jobs=2, backoff=0.05, grace=1, engine=engine.name)
        self.runner: Runner = self.local
        self.payload = payload(root / "payload", a="study")
        self.shells = Shells(box.SHELL, "test")

    def chain(self, *names: str) -> Graph:
        scripts = {name: WAIT + (FAILS if name == "fails" else "") + COPY for name in names}
        return self.shells.chain(*(self.shells.stage(name, script) for name, script in scripts.items()))

    def release(self) -> None:
        (self.gate / "open").touch()

    def run(self, script: str, **values: Any) -> Job:
        self.runner.submit(self.shells.chain(self.shells.stage("one", script, **values)), JOB, self.payload)
        return end(self)

    @property
    def output(self) -> Path:
        return self.root / "home" / "jobs" / JOB / "one" / "output"

    def said(self, script: str, **values: Any) -> str:
        job = self.run(f"({script}) > /app/output/said 2>&1 || true; echo >> /app/output/said", **values)
        assert job.state is JobState.SUCCEEDED, job
        return (self.output / "said").read_text().strip()


@pytest.fixture
def world(tmp_path: Path, engine: box.Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, engine, monkeypatch)
    with made.local:
        yield made
    assert engine.containers() == []


@pytest.fixture
def held(tmp_path: Path, engine: box.Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, engine, monkeypatch, hold=True)
    with made.local:
        yield made
    assert engine.containers() == []


class TestContainers(RunnerContract):
    pass


# -- what a container may --------------------------------------------------------------------------------------------


def test_it_is_nobody_and_may_nothing(world: World) -> None:
    said = world.said("id; while read line; do echo $line; done < /proc/self/status")
    uid = os.geteuid() or 1000
    assert f"uid={uid}" in said
    assert "CapEff: 0000000000000000" in said and "CapBnd: 0000000000000000" in said and "NoNewPrivs: 1" in said


@pytest.mark.parametrize("place", ["/new", "/bin/new", "/app/new", "/app/input/new", "/run/new", "/var/tmp/new"])
def test_what_is_not_its_own_cannot_be_written(world: World, place: str) -> None:
    assert any(text in world.said(f"echo x > {place}") for text in ("Read-only", "Permission denied", "nonexistent"))


@pytest.mark.parametrize("place", ["/app/output/new", "/app/logs/new", "/app/locks/new", "/tmp/new", "/dev/shm/new"])
def test_what_is_its_own_can_be_written(world: World, place: str) -> None:
    assert world.said(f"echo x > {place} && cat {place}") == "x"


def test_there_is_no_network(world: World) -> None:
    assert world.said("ls /sys/class/net") == "lo"


def test_the_memory_it_asked_for_is_its_limit(world: World) -> None:
    job = world.run("head -c 60000000 /dev/zero > /dev/shm/x", resources=Resources(memory="16Mi"))
    assert job.state is JobState.FAILED
    assert "killed by SIGKILL; perhaps it needs more memory" in job.stage("one").message


def test_it_sees_the_contract_and_nothing_of_the_runner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "of the runner")
    monkeypatch.setenv("http_proxy", "http://password@proxy")
    env = dict(line.split("=", 1) for line in world.said("env", study=True, env={"TEXT": "a\tb $HOME"}).splitlines())
    assert (env["CLARA_INPUT"], env["CLARA_OUTPUT"], env["CLARA_STUDY"]) == ("/app/input", "/app/output", "/app/study")
    assert (env["CLARA_JOB"], env["CLARA_ATTEMPT"], env["TEXT"]) == (JOB, "1", "a\tb $HOME")
    ours = ("CLARA_", "NVIDIA_CLARA_", "MONAI_", "HOLOSCAN_")
    foreign = {name for name in env if not name.startswith(ours)}
    assert foreign <= {
        "PATH", "HOME", "TMPDIR", "TEXT", "PWD", "SHLVL", "HOSTNAME", "TERM", "container", "PYTHONUNBUFFERED",
    }  # fmt: skip


def test_words_reach_it_as_they_are(world: World) -> None:
    stage = world.shells.stage("one", 'for word in "$@"; do echo "<$word>"; done > /app/output/said')
    graph = world.shells.chain(replace(stage, command=(*stage.command, "sh", "--", "$(id)", "a b;c", "-v", "*")))
    world.runner.submit(graph, JOB, world.payload)
    assert end(world).state is JobState.SUCCEEDED
    assert (world.output / "said").read_text().split("\n") == ["<-->", "<$(id)>", "<a b;c>", "<-v>", "<*>", ""]


def test_folders_where_an_old_operator_looks_for_them(world: World) -> None:
    first = world.shells.stage("first", "mkdir /app/output/masks; echo m > /app/output/masks/m; echo i > /app/output/i")
    places = {"input_paths": ("/input/masks", "/input/all"), "output_paths": {"": "/output", "labels": "/labels"}}
    second = world.shells.stage(
        "second", "cat /input/masks/m /input/all/i /app/locks/first.lock > /labels/l; cp /labels/l /output/l", **places
    )
    graph = world.shells.graph((first,), (second, "first"))
    node = graph.nodes[1]
    reads = (replace_read(node.reads[0], "masks", "/input/masks"), replace_read(node.reads[0], "", "/input/all"))
    graph = replace(graph, nodes=(graph.nodes[0], replace(node, reads=reads)))
    world.runner.submit(graph, JOB, world.payload)
    assert end(world).state is JobState.SUCCEEDED, world.runner.get(JOB)
    output = world.root / "home/jobs" / JOB / "second/output"
    assert (output / "l").read_text() == (output / "labels/l").read_text() == "m\ni\n"


def replace_read(read: Any, folder: str, path: str) -> Any:
    return read._replace(folder=folder, path=path)


@pytest.mark.parametrize("name", ["a b", "a,b", "a:b:ro", 'a"b', "a'b", "ä\\$x", ",type=volume"])
def test_a_study_in_a_folder_of_any_name(world: World, name: str) -> None:
    world.payload = payload(world.root / name, a="study")
    assert world.said("cat /app/input/a") == "study"


def test_a_lock_where_its_definition_says(world: World) -> None:
    where = "/var/locks/go.lock"
    assert world.said(f"ls {where} /app/locks", input_lock=where).split() == [where, "/app/locks:", "input.lock"]
    world.runner.delete(JOB)
    where = "/app/locks/go.lock"
    assert world.said(f"ls {where}", input_lock=where) == where


def test_progress_is_seen_while_it_runs(held: World) -> None:
    script = 'echo 1/2 > "$CLARA_PROGRESS_FILE.new"; busybox mv "$CLARA_PROGRESS_FILE.new" "$CLARA_PROGRESS_FILE"; '
    held.runner.submit(held.shells.chain(held.shells.stage("one", script + WAIT + COPY)), JOB, held.payload)
    seen = []
    for job in held.runner.watch(JOB):
        seen.append(job.stage("one").progress)
        if seen[-1]:
            held.release()
    assert "1/2" in seen


# -- nothing stays ---------------------------------------------------------------------------------------------------


def test_a_time_limit_ends_a_container_that_does_not_listen(world: World) -> None:
    job = world.run("trap '' TERM; while :; do sleep 1; done", timeout=2)
    assert "time limit of 2 s" in job.stage("one").message
    assert world.box.containers() == []


def test_a_container_may_end_by_itself_when_it_is_asked(world: World) -> None:
    job = world.run("trap 'echo asked >&2; exit 9' TERM; while :; do sleep 0.1; done", timeout=2)
    assert "time limit" in job.stage("one").message and job.stage("one").exit_code == 9
    assert [line.text for line in world.runner.logs(JOB)] == ["asked"]


def until(condition: Callable[[], object], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


RUN = """
import pathlib, sys
from clara_argo.runners import Runner, points
from clara_argo.runners.local import LocalRunner
from clara_argo.runners.planfile import read_plan
plan, job = read_plan(pathlib.Path(sys.argv[1])), sys.argv[2]
with LocalRunner(pathlib.Path(sys.argv[3]), engine=sys.argv[4], grace=1) as runner:
    runner.submit(plan.graph, job, plan.payload)
    list(runner.watch(job))
"""


def elsewhere(world: World, graph: Graph, **more: str) -> subprocess.Popen[bytes]:
    """A runner in another process."""
    plan = world.root / "plan.json"
    write_plan(plan, Plan(graph=graph, payload=world.payload))
    words = [sys.executable, "-c", RUN, str(plan), JOB, str(world.root / "home"), world.box.name]
    return subprocess.Popen(words, env={**os.environ, **world.environment, **more})


@pytest.fixture
def killed(held: World) -> Iterator[tuple[World, subprocess.Popen[bytes]]]:
    """A runner in another process, whose container runs."""
    process = elsewhere(held, held.chain("one"))
    try:
        until(held.box.containers, "no container")
        yield held, process
    finally:
        process.kill()
        process.wait()


def test_a_runner_that_is_killed_leaves_no_container(killed: tuple[World, subprocess.Popen[bytes]]) -> None:
    world, process = killed
    process.send_signal(signal.SIGKILL)
    until(lambda: not world.box.containers(), "the container is left")
    world.release()
    world.runner.resume(world.chain("one"), JOB, world.payload)
    assert end(world).state is JobState.SUCCEEDED


def test_what_a_killed_guard_leaves_goes_when_the_job_goes_on(killed: tuple[World, subprocess.Popen[bytes]]) -> None:
    world, process = killed
    guards = subprocess.run(["pgrep", "-f", f"guard.py.*{JOB}"], capture_output=True, text=True, check=True).stdout
    mine = [int(pid) for pid in guards.split() if str(world.root) in _words(int(pid))]
    process.send_signal(signal.SIGSTOP)  # the runner notices nothing
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(world.box.containers()) == 1, "nobody is left who could end it"
    world.release()
    world.runner.resume(world.chain("one"), JOB, world.payload)
    assert end(world).state is JobState.SUCCEEDED
    assert world.box.containers() == []


@pytest.mark.parametrize("point", points.POINTS)
def test_killed_at_a_named_point(world: World, point: str) -> None:
    stages = {name: world.shells.stage(name, COPY + "; cp /app/input/a /app/publish/a", publish=True) for name in "ab"}
    graph = world.shells.chain(*stages.values())
    count = "" if point in ("job-written", "result-named") else ":2"
    process = elsewhere(world, graph, CLARA_CRASH_AT=point + count)
    assert process.wait(timeout=PATIENCE) == -signal.SIGKILL, f"{point} was never reached"
    until(lambda: not world.box.containers(), "the container is left")
    world.runner.resume(graph, JOB, world.payload)
    job = end(world)
    assert job.state is JobState.SUCCEEDED
    assert job.stage("a").attempt == 1 or not count
    folder = world.root / "home" / "jobs" / JOB
    assert (folder / "result/trace").read_text() == "a\nb\n"
    assert {path.name for path in (folder / "b").iterdir()} == {"output", "publish", "done.json", "logs", "locks"}


def _words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def test_the_command_line(world: World, tmp_path: Path) -> None:
    """From a file to a result, with a stage that has no folder of code."""
    (tmp_path / "clara.yaml").touch()
    (tmp_path / "stages/one").mkdir(parents=True)
    (tmp_path / "stages/one/stage.yaml").write_text(
        json.dumps({
            "stageName": "one", "image": {"repository": "localhost/clara-test/shell", "tag": "1"},
            "command": ["sh", "-c", COPY],
        })
    )  # fmt: skip
    (tmp_path / "w.yaml").write_text(
        "id: 7b413e24-d018-4689-8c41-73272f6649d4\nname: w\nstages: [one]\nwaitLocks: ['']\n"
        "ioFolders: [one/input, one/output]\nargs: ['']\n"
    )
    words = [sys.executable, "-m", "clara_argo", "run", "w.yaml", "--input", "payload", "--output", "out"]
    done = subprocess.run(
        [*words, "--engine", world.box.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/trace").read_text() == "one\n"

"""Every way a stage can fail has its own clear text; what may be tried again is tried again, the rest is not."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.runners import graphs
from unit.runners.contract import JOB, end

from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners.local import LocalRunner

GOOD = 'echo x > "$CLARA_OUTPUT/x"'


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[LocalRunner]:
    with LocalRunner(tmp_path / "home", backoff=0.05, grace=1) as made:
        yield made


class World:
    """What `end` of the contract suite looks at."""

    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner


def run(runner: LocalRunner, root: Path, script: str, **values: Any) -> tuple[Job, StageRun]:
    spec = graphs.shell(root, "one", script, **values)
    runner.submit(graphs.chain(spec), JOB, graphs.payload(root))
    job = end(World(runner))  # type: ignore[arg-type]
    return job, job.stage("one")


def failed(runner: LocalRunner, root: Path, script: str, **values: Any) -> StageRun:
    job, stage = run(runner, root, script, **values)
    assert (job.state, stage.state) == (JobState.FAILED, StageState.FAILED)
    assert job.message == f"stage 'one': {stage.message}"
    folder = runner.home / "jobs" / JOB / "one"
    assert not (folder / "output").exists() and not (folder / "attempt").exists()
    return stage


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("exit 3", 3, "exit code 3"),
        ("echo first >&2; echo the reason >&2; exit 1", 1, "exit code 1: the reason"),
        ('echo said by the driver > "$CLARA_LOGS/error.txt"; echo noise >&2; exit 1', 1, "said by the driver"),
        ('printf "a\\033[31m\\tred\\n" >&2; exit 1', 1, "exit code 1: a [31m red"),
        ("kill -SEGV $$", 139, "killed by SIGSEGV"),
        ("kill -KILL $$", 137, "killed by SIGKILL; perhaps it needs more memory"),
        ("true", None, "wrote nothing into its output folder"),
        ('mkdir "$CLARA_OUTPUT/empty"', None, "wrote nothing into its output folder"),
        ('ln -s /etc/passwd "$CLARA_OUTPUT/leak"', None, "'leak' is a link"),
        (f'{GOOD}; mkdir "$CLARA_OUTPUT/d"; ln -s .. "$CLARA_OUTPUT/d/up"', None, "'d/up' is a link"),
        (f'{GOOD}; mv "$CLARA_OUTPUT" "$CLARA_OUTPUT.real"; '
         'ln -s "$CLARA_OUTPUT.real" "$CLARA_OUTPUT"', None, "its output folder is gone"),
        ('rm -r "$CLARA_OUTPUT" && touch "$CLARA_OUTPUT"', None, "its output folder is gone"),
        (f'{GOOD}; mkfifo "$CLARA_OUTPUT/pipe"', None, "'pipe' is a pipe"),
        ('head -c 9 /dev/zero > /dev/full', 1, "disk full"),
    ],
)  # fmt: skip
def test_each_failure_says_what(runner: LocalRunner, tmp_path: Path, script: str, code: int | None, words: str) -> None:
    stage = failed(runner, tmp_path, script)
    assert words in stage.message
    assert code is None or stage.exit_code == code
    assert "\n" not in stage.message and len(stage.message) < 1000


def test_sockets_and_devices_are_no_output(runner: LocalRunner, tmp_path: Path) -> None:
    code = "import os, socket\nos.chdir(os.environ['CLARA_OUTPUT'])\nsocket.socket(socket.AF_UNIX).bind('s')\n"
    spec = graphs.python(tmp_path, "one", code)
    runner.submit(graphs.chain(spec), JOB, graphs.payload(tmp_path))
    assert "'s' is a socket" in end(World(runner)).message  # type: ignore[arg-type]
    if os.geteuid() == 0:
        runner.stop(JOB)
        spec = graphs.shell(tmp_path, "one", 'mknod "$CLARA_OUTPUT/null" c 1 3')
        runner.resume(graphs.chain(spec), JOB, graphs.payload(tmp_path))
        message = end(World(runner)).message  # type: ignore[arg-type]
        assert "'null' is a device" in message or "mknod" in message  # some containers forbid mknod itself


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program", "run.sh"), "cannot start 'no-such-program': No such file"),
        (("./run.sh",), "chmod +x"),
    ],
)
def test_a_command_that_cannot_start(runner: LocalRunner, tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    stage = failed(runner, tmp_path, GOOD, command=command)
    assert words in stage.message and stage.exit_code is None


def test_a_time_limit_ends_the_whole_tree_and_is_final(runner: LocalRunner, tmp_path: Path) -> None:
    script = f'trap "" TERM; sh -c \'trap "" TERM; echo $$ > "{tmp_path}/pid"; while :; do sleep 1; done\''
    stage = failed(runner, tmp_path, script, timeout=1, retries=3)
    assert "time limit of 1 s" in stage.message and "timeout" in stage.message
    assert stage.attempt == 1
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["exit 75", "kill -KILL $$", "kill -TERM $$", "exit 137", "exit 143"])
def test_what_may_be_tried_again_is(runner: LocalRunner, tmp_path: Path, how: str) -> None:
    early = f'if [ "$CLARA_ATTEMPT" -lt 3 ]; then echo left > "$CLARA_OUTPUT/left"; {how}; fi'
    script = f'echo x >> "{tmp_path}/tries"; {early}; {GOOD}'
    job, stage = run(runner, tmp_path, script, retries=2)
    assert (job.state, stage.attempt, stage.message, stage.exit_code) == (JobState.SUCCEEDED, 3, "", 0)
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    folder = runner.home / "jobs" / JOB / "one"
    assert os.listdir(folder / "output") == ["x"]  # noqa: PTH208  nothing of the attempts before
    assert sorted(os.listdir(folder / "logs")) == ["1", "2", "3"]  # noqa: PTH208


def test_not_more_often_than_allowed(runner: LocalRunner, tmp_path: Path) -> None:
    stage = failed(runner, tmp_path, "echo away >&2; exit 75", retries=1)
    assert (stage.attempt, stage.exit_code, stage.message) == (2, 75, "exit code 75: away (after 2 attempts)")


@pytest.mark.parametrize("how", ["exit 1", "exit 74", "kill -SEGV $$"])
def test_what_is_final_is_not_tried_again(runner: LocalRunner, tmp_path: Path, how: str) -> None:
    assert failed(runner, tmp_path, how, retries=3).attempt == 1


def test_stop_while_waiting_to_try_again(tmp_path: Path) -> None:
    with LocalRunner(tmp_path / "home", backoff=3600) as runner:
        graph = graphs.chain(graphs.shell(tmp_path, "one", "exit 75", retries=1))
        runner.submit(graph, JOB, graphs.payload(tmp_path))
        for job in runner.watch(JOB):
            if "tries again" in job.stage("one").message:
                runner.stop(JOB)
        assert job.state is JobState.STOPPED and job.stage("one").state is StageState.STOPPED


def test_after_a_failure_nothing_new_starts(runner: LocalRunner, tmp_path: Path) -> None:
    """The branch that runs goes on to its end; what waits for either is skipped."""
    bad = graphs.shell(tmp_path, "bad", f'while [ ! -e "{tmp_path}/started" ]; do sleep 0.02; done; exit 1')
    slow = graphs.shell(
        tmp_path, "slow", f'touch "{tmp_path}/started"; while [ ! -e "{tmp_path}/go" ]; do sleep 0.02; done; {GOOD}'
    )
    later, join = graphs.shell(tmp_path, "later", GOOD), graphs.shell(tmp_path, "join", GOOD)
    graph = graphs.graph(
        graphs.node(bad), graphs.node(slow), graphs.node(later, "slow"), graphs.node(join, "bad", "later")
    )
    runner.submit(graph, JOB, graphs.payload(tmp_path))
    for job in runner.watch(JOB):
        if job.stage("bad").state is StageState.FAILED:
            (tmp_path / "go").touch()
    states = {stage.name: stage.state.value for stage in job.stages}
    assert states == {"bad": "failed", "slow": "succeeded", "later": "skipped", "join": "skipped"}


def test_an_input_that_cannot_be_read(runner: LocalRunner, tmp_path: Path) -> None:
    payload = graphs.payload(tmp_path)
    (payload.folder / "gone").symlink_to(tmp_path / "nowhere")
    runner.submit(graphs.chain(graphs.shell(tmp_path, "one", GOOD)), JOB, payload)
    message = end(World(runner)).message  # type: ignore[arg-type]
    assert "cannot be read" in message and "payload/gone" in message and "No such file" in message


def test_an_input_that_would_never_end(runner: LocalRunner, tmp_path: Path) -> None:
    payload = graphs.payload(tmp_path)
    os.mkfifo(payload.folder / "pipe")
    runner.submit(graphs.chain(graphs.shell(tmp_path, "one", GOOD)), JOB, payload)
    assert "'pipe' is a pipe" in end(World(runner)).message  # type: ignore[arg-type]
    (payload.folder / "pipe").unlink()
    (payload.folder / "loop").symlink_to(payload.folder)
    runner.retry(JOB)
    assert "link to a folder above it" in end(World(runner)).message  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where this machine lets us have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs root: " + mount.stderr.decode().strip())
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_says_so_and_the_job_resumes(small_disk: Path, tmp_path: Path) -> None:
    with LocalRunner(small_disk / "home") as runner:
        spec = graphs.shell(tmp_path, "one", 'head -c 3000000 /dev/zero > "$CLARA_OUTPUT/big"')
        runner.submit(graphs.chain(spec), JOB, graphs.payload(tmp_path))
        job = end(World(runner))  # type: ignore[arg-type]
        assert job.state is JobState.FAILED
        assert "disk full" in job.message and "resume" in job.message
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        runner.retry(JOB)
        assert end(World(runner)).state is JobState.SUCCEEDED  # type: ignore[arg-type]


def test_a_disk_so_full_that_the_job_cannot_be_written(small_disk: Path, tmp_path: Path) -> None:
    """The stage fills the last byte and ends well: the runner itself is the one that finds out."""
    with LocalRunner(small_disk / "home") as runner:
        script = 'echo x > "$CLARA_OUTPUT/x"; cat /dev/zero > "$CLARA_OUTPUT/big" 2>/dev/null || true'
        runner.submit(graphs.chain(graphs.shell(tmp_path, "one", script)), JOB, graphs.payload(tmp_path))
        job = end(World(runner))  # type: ignore[arg-type]
        assert job.state is JobState.FAILED
        assert "disk full" in job.message
        assert runner.get(JOB).state.ended


def test_a_network_port_of_the_runner_is_not_the_stages(runner: LocalRunner, tmp_path: Path) -> None:
    """No handle of the runner goes into a stage: only 0, 1, 2."""
    with socket.socket() as ours:
        ours.set_inheritable(True)
        job, _ = run(runner, tmp_path, 'ls /proc/self/fd > "$CLARA_OUTPUT/fd"')
    assert job.state is JobState.SUCCEEDED
    handles = (runner.home / "jobs" / JOB / "one/output/fd").read_text().split()
    assert len(handles) <= 5 and {"0", "1", "2"} <= set(handles)  # and the output file, and the listing itself


def test_logs_that_a_stage_made_a_pipe_are_not_waited_for(runner: LocalRunner, tmp_path: Path) -> None:
    failed(runner, tmp_path, 'rm "$CLARA_LOGS/stdout.log"; mkfifo "$CLARA_LOGS/stdout.log"; echo why >&2; exit 1')
    assert [line.text for line in runner.logs(JOB)] == ["why"]

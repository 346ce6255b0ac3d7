"""What a person types, as processes, on a real Argo: the path of docs/cluster.md."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.conftest import Cluster
from cluster.gate import Gate

from clara_argo.artifacts import tree
from clara_argo.kubernetes.kinds import TEMPLATES
from clara_argo.runners import targets

WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: {name}
stages: [one, two]
waitLocks: ["", one.lock]
ioFolders: [one/input, one/output, two/output]
args: ["", ""]
"""
SCRIPT = (
    'echo "$CLARA_STAGE reads $(cat "$CLARA_INPUT"/image)"; cp "$CLARA_INPUT"/image "$CLARA_OUTPUT"/; '
    'echo "$CLARA_STAGE" > "$CLARA_OUTPUT"/last'
)
FIRST = 'test "$(wget -q -O - {url}/first/{stage})" = no || {{ {then}; }}; '


class Place:
    """A project, and a home that knows no job."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.root, self.name = root, f"t-{secrets.token_hex(4)}"
        self.environment = {
            **os.environ, **cluster.environment, "CLARA_HOME": str(root / "home"), "XDG_CONFIG_HOME": str(root),
        }  # fmt: skip
        (root / "clara.yaml").touch()
        (root / "workflow.yaml").write_text(WORKFLOW.format(name=self.name))
        for stage in ("one", "two"):
            self.write_stage(stage, cluster.shell)

    def write_stage(self, stage: str, image: str, timeout: int = 120, first: str = "") -> None:
        """`first`: what it does before, in a shell."""
        repository, _, tag = image.rpartition(":")
        value = {
            "stageName": stage,
            "image": {"repository": repository, "tag": tag},
            "command": ["sh", "-c", first + SCRIPT],
            "timeout": timeout,
        }
        folder = self.root / "stages" / stage
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stage.yaml").write_text(json.dumps(value))

    def study(self, text: str) -> None:
        """Other than that of any other test: equal studies share a payload."""
        (self.root / "ct").mkdir(exist_ok=True)
        (self.root / "ct/image").write_text(f"{text} of {self.name}\n")

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "clara_argo", *words], cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def clara(self, *words: str, code: int = 0) -> tuple[str, str]:
        process = self.begin(*words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, (words, process.returncode, out, err)
        return out, err


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, cluster)
    try:
        yield made
    finally:
        for job in (tmp_path / "home/remote").iterdir():
            stopping = made.begin("stop", job.name)
            stopping.communicate(timeout=120)
            made.clara("delete", job.name)
        api = targets.cluster("argo")[1]
        with api:
            api.delete(TEMPLATES, made.name)


def test_the_same_command_here_and_there(place: Place) -> None:
    place.study("voxels")
    place.clara("run", "workflow.yaml", "--input", "ct", "--output", "here")
    assert "created" in place.clara("apply", "workflow.yaml")[0]
    assert "unchanged" in place.clara("apply", "workflow.yaml")[0]
    out, err = place.clara("run", "workflow.yaml", "--input", "ct", "--output", "there", "--on", "argo")
    assert out == "result in there\n" and "one: running" in err and "two: done in" in err
    assert tree.digest(place.root / "here") == tree.digest(place.root / "there")

    (job,) = (path.name for path in (place.root / "home/remote").iterdir())
    assert job[:12] in place.clara("jobs", "--on", "argo")[0]
    described = place.clara("describe", job)[0]
    assert "target:    argo" in described and "two    succeeded  1" in described
    said = f"reads voxels of {place.name}\n"
    assert place.clara("logs", job)[0] == f"one | one {said}two | two {said}"
    assert place.clara("logs", job, "two")[0] == f"two {said}"

    place.write_stage("two", "localhost/other:2", timeout=60)
    changed = place.clara("apply", "workflow.yaml", "--dry-run")[0]
    assert (
        "would change" in changed and "stage 'two', timeout: 120 -> 60" in changed and "-> localhost/other:2" in changed
    )


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate(closed=False) as gate:
        yield gate


def test_a_job_that_goes_on_without_us(place: Place, cluster: Cluster, gate: Gate) -> None:
    place.study("voxels")
    place.write_stage("one", cluster.shell, first=FIRST.format(url=gate.url, stage="one", then="sleep 110"))
    with place.begin("submit", "workflow.yaml", "--input", "ct", "--wait") as waiting:
        assert waiting.stderr is not None
        job = waiting.stderr.readline().split()[1]
        while "one: running" not in waiting.stderr.readline():
            assert waiting.poll() is None
        waiting.terminate()  # the same as Ctrl-C, which a runner of tests in the background passes on to nobody
        assert f"job {job} goes on" in waiting.stderr.read()
    assert waiting.returncode == 130

    assert json.loads(place.clara("describe", job, "-o", "json")[0])["state"] == "running"
    place.clara("delete", job, code=5)
    assert place.clara("stop", job)[0] == f"job {job}: stopped\n"
    place.clara("result", job, "--output", "out", code=4)
    place.clara("retry", job)
    place.clara("retry", job, code=5)
    assert place.clara("result", job, "--wait", "--output", "out")[0] == "result in out\n"
    assert (place.root / "out/last").read_text() == "two\n"
    place.clara("delete", job)
    place.clara("describe", job, code=6)
    place.clara("describe", job, "--on", "argo", code=6)


def test_a_failure_is_told_and_tried_again(place: Place, cluster: Cluster, gate: Gate) -> None:
    """Of a job that was submitted by the name of its template."""
    place.study("voxels")
    fails = FIRST.format(url=gate.url, stage="two", then="echo no liver in it >&2; exit 1")
    place.write_stage("two", cluster.shell, first=fails)
    place.clara("apply", "workflow.yaml")
    (place.root / "workflow.yaml").unlink()
    out, err = place.clara("submit", place.name, "--input", "ct", "--output", "out", code=4)
    assert out == "" and "stage 'two': exit code 1: no liver in it" in err
    (job,) = (path.name for path in (place.root / "home/remote").iterdir())
    retried = json.loads(place.clara("retry", job, "--wait", "-o", "json")[0])
    assert [(stage["name"], stage["attempt"]) for stage in retried["stages"]] == [("one", 1), ("two", 2)]
    assert place.clara("result", job, "--output", "out")[0] == "result in out\n"


def test_the_words_of_the_article_there(place: Place) -> None:
    """`clara-wf test`: an ended job of the same id makes room, here for one there, and the result is the same."""
    place.study("voxels")
    job = secrets.token_hex(16)
    words = [sys.executable, "-m", "clara_argo.cli.clara_wf", "test", place.name, job, "--input", "ct"]
    for engine, output in (("process", "here"), ("argo", "there"), ("argo", "again")):
        subprocess.run(
            [*words, "--engine", engine, "--output", output], cwd=place.root, env=place.environment, timeout=240,
            check=True,
        )  # fmt: skip
    assert tree.digest(place.root / "here") == tree.digest(place.root / "there") == tree.digest(place.root / "again")
    assert [path.name for path in (place.root / "home/remote").iterdir()] == [job]
    assert "target:    argo" in place.clara("describe", job)[0]

"""Commands about jobs of a cluster: what they ask of its runner, what they print, and the exit code.

The runner is the fake one; tests/cluster has the same commands on a real cluster.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clara_argo.cli import main
from clara_argo.errors import ClaraError, JobFailed, NotFound, Refused, TryAgain
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState, Payload
from clara_argo.runners import remembered, targets
from clara_argo.runners.fake import FakeRunner, Outcome

JOB = "00000000000000000000000000000001"
OTHER = "00000000000000000000000000000002"
WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: pair
stages: [one, two]
waitLocks: ["", one.lock]
ioFolders: [one/input, one/output, two/output]
args: ["", ""]
"""


class Cluster(FakeRunner):
    """As a cluster does: a result is given until it was collected, and templates have names."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.graphs: dict[str, Graph] = {}
        self.interrupted = False
        self.refuses: ClaraError | None = None

    def submit(self, graph: Graph, job: str, payload: Payload) -> Job:
        if self.refuses is not None:
            raise self.refuses
        return super().submit(graph, job, payload)

    def submit_template(self, name: str, job: str, payload: Payload) -> Job:
        if name not in self.graphs:
            raise NotFound(f"no template {name!r}")
        return self.submit(self.graphs[name], job, payload)

    def watch(self, job: str) -> Iterator[Job]:
        if self.interrupted:
            raise KeyboardInterrupt
        yield from super().watch(job)

    def result(self, job: str, into: Path) -> Path:
        if job in self.taken:
            raise JobFailed(f"job {job} has no result any more")
        return super().result(job, into)

    def delivered(self, job: str, into: Path) -> bool:
        return job not in self.taken and super().delivered(job, into)


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Place:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.cluster = Cluster()
        (root / "clara.yaml").touch()
        (root / "workflow.yaml").write_text(WORKFLOW)
        (root / "ct").mkdir()
        (root / "ct/image").write_text("voxels")
        for name in ("one", "two"):
            (root / "stages" / name).mkdir(parents=True)
            (root / "stages" / name / "stage.yaml").write_text(f"stageName: {name}\ncommand: [sh, -c, 'exit 3']\n")

    @property
    def home(self) -> Path:
        return self.root / "home"

    def clara(self, *words: str) -> Said:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            main.main([*words], "clara")
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        assert isinstance(code, int)
        return Said(code, *self.capsys.readouterr())

    def run(self, *more: str, output: str = "out") -> Said:
        return self.clara("run", "workflow.yaml", "--input", "ct", "--output", output, "--on", "argo", *more)

    def submit(self, *more: str) -> Said:
        return self.clara("submit", "workflow.yaml", "--input", "ct", *more)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    """A project, and a cluster behind every name but `local`."""
    made, really = Place(tmp_path, capsys), targets.open_runner

    @contextmanager
    def open_runner(name: str = "local", **more: Any) -> Iterator[Any]:
        if name == "local":
            with really(name, **more) as runner:
                yield runner
        else:
            targets.find(name)
            yield made.cluster

    monkeypatch.setattr(targets, "open_runner", open_runner)
    monkeypatch.setattr(targets, "open_cluster", open_runner)
    monkeypatch.setenv("CLARA_HOME", str(made.home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CLARA_NAMESPACE", "imaging")
    monkeypatch.chdir(tmp_path)
    return made


def test_run_brings_the_result_and_is_found_by_its_id(place: Place) -> None:
    done = place.run("--job", JOB)
    assert (done.code, done.out) == (0, "result in out\n")
    assert f"job {JOB}\n" in done.err and "two: done in" in done.err
    assert (place.root / "out/result").read_text() == "result"
    assert place.cluster.taken == [JOB], "the store's copy of the result is not removed"
    described = place.clara("describe", "0000")
    assert "target:    argo\nnamespace: imaging\n" in described.out and "folder" not in described.out
    assert json.loads(place.clara("describe", JOB, "-o", "json").out)["id"] == JOB
    assert place.clara("jobs").err == "no jobs yet; start one with 'clara run'\n"
    assert place.clara("jobs", "--on", "argo").out.splitlines()[1].startswith(f"{JOB[:12]}  succeeded")


def test_equal_content_is_one_payload(place: Place) -> None:
    (place.root / "mr").mkdir()
    (place.root / "mr/image").write_text("voxels")
    place.submit()
    place.clara("submit", "workflow.yaml", "--input", "mr")
    (place.root / "mr/image").write_text("other voxels")
    place.clara("submit", "workflow.yaml", "--input", "mr")
    first, second, third = (payload.id for _, payload in place.cluster.submitted)
    assert first == second != third and len(first) == 32


@pytest.mark.parametrize("target", ["nowhere", "link"], ids=["dangling", "to itself"])
def test_a_study_that_cannot_be_read_is_named(place: Place, target: str) -> None:
    (place.root / "ct/link").symlink_to(target)
    for done in (place.submit(), place.run()):
        assert done.code == 64 and "ct/link" in done.err and "--input" in done.err
    assert place.cluster.submitted == [] and remembered.recall(place.home) == {}


def test_resume_after_the_result_was_fetched(place: Place) -> None:
    assert place.run("--job", JOB).code == 0
    assert place.run("--resume").code == 0  # the newest job of this workflow and input: its result lies there
    assert place.run("--job", "0000", "--resume").code == 0
    again = place.run("--resume", output="elsewhere")
    assert again.code == 4 and "no result any more" in again.err
    (place.root / "out/result").write_text("somebody worked on it")
    changed = place.run("--resume")
    assert changed.code == 64 and (place.root / "out/result").read_text() == "somebody worked on it"


def test_a_copy_that_stays_in_the_store_is_no_failure(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def collected(job: str) -> None:
        raise Refused("this account may not delete there")

    monkeypatch.setattr(place.cluster, "collected", collected)
    done = place.run()
    assert (done.code, done.out) == (0, "result in out\n") and "may not delete there" in done.err


def test_a_failure_says_why_and_what_next(place: Place) -> None:
    place.cluster = Cluster({"two": Outcome(failures=("no liver in it",), lines=("looks",))})
    done = place.run("--job", JOB)
    assert done.code == 4 and "stage 'two': no liver in it" in done.err and not (place.root / "out").exists()
    assert f"--on argo --job {JOB} --resume" in done.err
    assert place.clara("logs", "0000").out == "two | looks\n"
    assert place.clara("retry", "0000").out == f"job {JOB} goes on\n"
    assert place.clara("result", "0000", "--output", "out").out == "result in out\n"
    assert (place.root / "out/result").is_file()


def test_interrupting_run_stops_the_job(place: Place) -> None:
    place.cluster = Cluster(hold=True)
    place.cluster.interrupted = True
    done = place.run("--job", JOB)
    assert done.code == 130 and f"--on argo --job {JOB} --resume" in done.err
    assert place.cluster.get(JOB).state is JobState.STOPPED


def test_interrupting_a_wait_leaves_the_job(place: Place) -> None:
    place.cluster = Cluster(hold=True)
    place.cluster.interrupted = True
    done = place.submit("--job", JOB, "--wait")
    assert done.code == 130 and "goes on, on target 'argo'" in done.err
    assert place.cluster.get(JOB).state is JobState.RUNNING
    assert place.clara("result", "0000", "--output", "out", "--wait").code == 130
    assert place.cluster.get(JOB).state is JobState.RUNNING
    assert place.clara("result", "0000", "--output", "out").code == 4  # not yet


def test_submit_prints_the_id_alone(place: Place) -> None:
    place.cluster = Cluster(hold=True)
    done = place.submit()
    job = done.out.strip()
    assert done.code == 0 and place.cluster.get(job).state is JobState.RUNNING and done.err == ""
    assert place.submit("--job", job).out.strip() == job
    assert [known for known, _ in place.cluster.submitted] == [job], "a job that exists was started again"
    assert json.loads(place.submit("-o", "json", "--job", JOB).out)["state"] == "running"


def test_submit_with_output_waits(place: Place) -> None:
    assert place.submit("--output", "out").out == "result in out\n"
    assert (place.root / "out/result").is_file()
    waited = place.submit("--wait", "--job", JOB)
    assert waited.out.startswith(JOB) and f"clara result {JOB[:12]}" in waited.out


def test_what_submit_takes_for_a_workflow(place: Place) -> None:
    for name in ("workflow.yaml", "pair", "7b413e24-d018-4689-8c41-73272f6649d4", "ct-organs"):
        assert place.clara("submit", name, "--input", "ct").code == 0, name
    submitted = [place.cluster.get(job).workflow for job, _ in place.cluster.submitted]
    assert submitted == ["pair", "pair", "pair", "ct-organs"]
    unknown = place.clara("submit", "par", "--input", "ct")
    assert unknown.code == 6 and "did you mean 'pair'?" in unknown.err and "no template 'par'" in unknown.err
    assert place.clara("submit", "other.yaml", "--input", "ct").code == 6
    from clara_argo import project

    place.cluster.graphs["by-hand"] = project.graph(place.root / "workflow.yaml")
    assert place.clara("submit", "by-hand", "--input", "ct", "--wait").code == 0


def test_a_refused_job_is_not_remembered(place: Place) -> None:
    place.cluster.refuses = Refused("no rights")
    assert place.submit("--job", JOB).code == 64
    assert place.run("--job", JOB).code == 64
    assert remembered.recall(place.home) == {}


def test_an_answer_that_did_not_come_is_no_second_job(place: Place) -> None:
    place.cluster.refuses = TryAgain("away")
    lost = place.submit()
    (job,) = remembered.recall(place.home)
    assert lost.code == 75 and f"try again with --job {job}" in lost.err


@pytest.mark.parametrize(("error", "code"), [(TryAgain("it is away"), 75), (Refused("log in again"), 64)])
def test_a_job_that_cannot_be_followed_any_more_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: ClaraError, code: int
) -> None:
    """As when the token of a kubeconfig expires while a long job runs."""
    place.cluster = Cluster(hold=True)

    def watch(job: str) -> Iterator[Job]:
        yield place.cluster.get(job)
        raise error

    monkeypatch.setattr(place.cluster, "watch", watch)
    said = place.run("--job", JOB)
    assert said.code == code and str(error) in said.err
    assert f"is not lost; look again with: clara describe {JOB[:12]}" in said.err


def test_stop_and_delete(place: Place) -> None:
    place.cluster = Cluster(hold=True)
    for job in (JOB, OTHER):
        place.submit("--job", job)
    assert place.clara("delete", JOB).code == 5
    assert place.clara("stop", JOB).out == f"job {JOB}: stopped\n"
    assert json.loads(place.clara("stop", OTHER, "-o", "json").out)["state"] == "stopped"
    assert json.loads(place.clara("delete", JOB, OTHER, "-o", "json").out)["deleted"] == [JOB, OTHER]
    assert place.cluster.list() == () and remembered.recall(place.home) == {}


def test_what_was_deleted_is_said_though_the_next_one_is_not(place: Place) -> None:
    place.submit("--job", JOB)
    done = place.clara("delete", JOB, "ffff")
    assert (done.code, done.out) == (6, f"job {JOB} deleted\n") and "ffff" in done.err


def test_a_job_that_the_cluster_forgot_is_forgotten(place: Place) -> None:
    place.submit("--job", JOB)
    place.cluster.delete(JOB)
    assert place.clara("describe", "0000").code == 6 and remembered.recall(place.home) == {JOB: "argo"}
    assert place.clara("delete", "0000", "--on", "other").code == 6  # no such target
    assert remembered.recall(place.home) == {JOB: "argo"}
    assert place.clara("delete", "0000").code == 6 and remembered.recall(place.home) == {}


def test_a_prefix_is_looked_up_here_and_in_what_was_started_from_here(place: Place) -> None:
    local = place.clara("run", "workflow.yaml", "--input", "ct", "--output", "o", "--job", OTHER)
    assert local.code == 4
    place.submit("--job", JOB)
    both = place.clara("describe", "0000")
    assert both.code == 64 and "2 jobs begin with '0000'" in both.err
    assert "folder:" in place.clara("describe", OTHER).out
    assert "target:" in place.clara("describe", JOB).out
    assert "target:" in place.clara("describe", "0000", "--on", "argo").out
    nowhere = place.clara("describe", "ffff")
    assert nowhere.code == 6 and "--on TARGET" in nowhere.err


def test_jobs_say_what_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.cluster = Cluster(hold=True)
    place.submit("--job", JOB)
    job = place.cluster.get(JOB)
    waiting = job.with_stage(replace(job.stages[0], message="waits for a free GPU"))
    monkeypatch.setattr(place.cluster, "list", lambda: (waiting,))
    assert "stage 'one': waits for a free GPU" in place.clara("jobs", "--on", "argo").out


def test_local_jobs_are_stopped_retried_fetched_and_deleted_too(place: Place) -> None:
    for name in ("one", "two"):
        script = 'test -e "$CLARA_INPUT/go" && cp -r "$CLARA_INPUT/." "$CLARA_OUTPUT"'
        (place.root / "stages" / name / "stage.yaml").write_text(f"stageName: {name}\ncommand: [sh, -c, '{script}']\n")
    run = ["run", "workflow.yaml", "--input", "ct", "--output", "out", "--job", JOB]
    assert place.clara(*run).code == 4
    assert place.clara("stop", JOB).out == f"job {JOB}: failed\n"
    assert place.clara("retry", JOB).code == 4
    (place.root / "ct/go").touch()
    retried = place.clara("retry", JOB)
    assert retried.code == 0 and f"clara result {JOB[:12]}" in retried.out and "two: done in" in retried.err
    assert place.clara("result", JOB, "--output", "out").code == 0 and (place.root / "out/go").exists()
    assert place.clara("retry", JOB, "--from", "two", "-o", "json").code == 0
    assert place.clara("retry", JOB, "--from", "three").code == 6
    assert place.clara("delete", JOB).out == f"job {JOB} deleted\n" and place.clara("jobs").out == ""


def test_what_cannot_be(place: Place) -> None:
    table = [
        (["submit", "pair", "--input", "ct", "--on", "local"], 64, "clara run"),
        (["submit", "pair", "--input", "ct", "--job", "x"], 64, "32 hex digits"),
        (["submit", "pair", "--input", "nothing"], 6, "no such folder"),
        (["submit", "pair", "--input", "ct", "--output", "ct/out"], 64, "input folder"),
        (["submit", "pair", "--input", "ct", "--on", "agro"], 6, "did you mean 'argo'?"),
        (["jobs", "--on", "nowhere"], 6, "targets.yaml"),
        (["apply", "nothing.yaml"], 6, "no such workflow file"),
        (["apply", "workflow.yaml", "--on", "local"], 64, "this machine"),
        (["retry", "ffff", "--on", "argo"], 6, "no job 'ffff'"),
    ]
    for words, code, text in table:
        done = place.clara(*words)
        assert (done.code, text in done.err) == (code, True), (words, done)

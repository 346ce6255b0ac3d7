"""The contract suite on the local runner, and what only it promises: how it starts stages and hands on data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.runners import graphs
from unit.runners.contract import JOB, LATER, RunnerContract, end

from clara_argo.errors import JobFailed, NotFound, NotInstalled, UsageError
from clara_argo.graph import PAYLOAD, Graph, Read
from clara_argo.model.job import Job, JobState, Payload
from clara_argo.runners.local import LocalRunner

SPEAK = 'echo "$CLARA_STAGE speaks"; echo x > "$CLARA_OUTPUT/$CLARA_STAGE"'
DUMP = "import json, os; json.dump(dict(os.environ), open(os.environ['CLARA_OUTPUT'] + '/env.json', 'w'))\n"


class LocalWorld:
    def __init__(self, root: Path, hold: bool) -> None:
        self.root, self.gate = root, root / "gate"
        if not hold:
            self.gate.touch()
        self.runner = LocalRunner(root / "home", jobs=2, backoff=0.05, grace=3)
        self.payload = graphs.payload(root)

    def chain(self, *names: str) -> Graph:
        wait = f'while [ ! -e "{self.gate}" ]; do sleep 0.05; done\n'
        fail = f'if [ ! -e "{self.root}/failed" ]; then touch "{self.root}/failed"; echo no luck >&2; exit 3; fi\n'
        return graphs.chain(
            *(graphs.shell(self.root, name, wait + (fail if name == "fails" else "") + SPEAK) for name in names)
        )

    def release(self) -> None:
        self.gate.touch()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    made = LocalWorld(tmp_path, hold=False)
    with made.runner:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Iterator[LocalWorld]:
    made = LocalWorld(tmp_path, hold=True)
    with made.runner:
        yield made


def run(world: LocalWorld, graph: Graph, job: str = JOB) -> Job:
    world.runner.submit(graph, job, world.payload)
    return end(world, job)


def good(world: LocalWorld, graph: Graph, job: str = JOB) -> Path:
    """Run a job that has to succeed; returns its folder."""
    ended = run(world, graph, job)
    assert ended.state is JobState.SUCCEEDED, ended
    return world.root / "home" / "jobs" / job


class TestLocal(RunnerContract):
    pass


def test_environment_is_the_contract_and_nothing_else(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "of the runner")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    spec = graphs.python(
        world.root, "dump", DUMP, env={"OMP_NUM_THREADS": "2", "CLARA_JOB": "lie"}, study=True, publish=True, timeout=77
    )
    (spec.folder / "models").mkdir()  # type: ignore[operator]
    folder = good(world, graphs.chain(spec))
    env = json.loads((folder / "dump/output/env.json").read_text())
    job = world.runner.get(JOB)
    attempt = folder / "dump/attempt"
    assert env["CLARA_CONTRACT"] == "1"
    assert env["CLARA_INPUT"] == env["CLARA_STUDY"] == str(world.payload.folder)
    assert env["CLARA_OUTPUT"] == str(attempt / "output")
    assert env["CLARA_PUBLISH"] == str(attempt / "publish")
    assert env["CLARA_LOCKS"] == str(folder / "dump/locks")
    assert env["CLARA_LOGS"] == str(folder / "dump/logs/1")
    assert (env["CLARA_JOB"], env["CLARA_WORKFLOW"], env["CLARA_STAGE"]) == (JOB, "test", "dump")
    assert (env["CLARA_ATTEMPT"], env["CLARA_TIMEOUT"], env["CLARA_CREATED"]) == ("1", "77", job.created)
    assert env["CLARA_WORKFLOW_DIGEST"] == job.workflow_digest
    assert env["CLARA_MODELS"] == env["MONAI_MODELPATH"] == str(spec.folder / "models")  # type: ignore[operator]
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["NVIDIA_CLARA_INPUTPATHS"].split(":")[1] == env["CLARA_INPUT"]
    assert env["NVIDIA_CLARA_OUTPUTPATHS"].split(":")[1] == env["MONAI_OUTPUTPATH"] == env["HOLOSCAN_OUTPUT_PATH"]
    assert env["NVIDIA_CLARA_NOSYNCLOCK"] == "1"
    assert "SECRET_TOKEN" not in env and env["HOME"] == env["TMPDIR"]
    assert os.listdir(env["PYTHONPATH"]) == ["clara_driver"]  # noqa: PTH208
    foreign = {name for name in env if not name.startswith(("CLARA_", "NVIDIA_CLARA_", "MONAI_", "HOLOSCAN_"))}
    assert foreign <= {
        "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "OMP_NUM_THREADS", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
    }  # fmt: skip
    assert not attempt.exists()


def test_what_is_not_asked_for_is_not_there(world: LocalWorld) -> None:
    folder = good(world, graphs.chain(graphs.python(world.root, "dump", DUMP)))
    env = json.loads((folder / "dump/output/env.json").read_text())
    assert not {"CLARA_STUDY", "CLARA_PUBLISH", "CLARA_MODELS", "CLARA_INPUTS", "NVIDIA_CLARA_PUBLISHING"} & set(env)


def test_input_lock_is_there_before_and_the_working_directory_is_its_own(world: LocalWorld) -> None:
    script = 'ls "$CLARA_LOCKS" > "$CLARA_OUTPUT/locks"; pwd > "$CLARA_OUTPUT/pwd"; ls -a >> "$CLARA_OUTPUT/pwd"'
    folder = good(world, graphs.chain(graphs.shell(world.root, "one", script)))
    assert (folder / "one/output/locks").read_text() == "input.lock\n"
    assert (folder / "one/output/pwd").read_text().split() == [str(folder / "one/attempt/work"), ".", ".."]


def test_a_join_finds_its_inputs_by_name(world: LocalWorld) -> None:
    left, right = graphs.shell(world.root, "left", SPEAK), graphs.shell(world.root, "right", SPEAK)
    code = (
        "import clara_driver\n"
        "with clara_driver.stage() as stage:\n"
        "    for name, folder in stage.inputs.items():\n"
        "        (stage.output / name).write_text(' '.join(sorted(p.name for p in folder.iterdir())))\n"
        "assert len(list(stage.input.rglob('left'))) == 2, 'programs that do not follow links must find it, too'\n"
    )
    join = graphs.python(world.root, "join", code)
    folder = good(
        world,
        graphs.graph(graphs.node(left), graphs.node(right), graphs.node(join, "left", "right", PAYLOAD)),
    )
    found = {path.name: path.read_text() for path in (folder / "join/output").iterdir()}
    assert found == {"left": "left", "right": "right", "payload": "a"}
    assert (folder / "join/locks/join.lock").exists()


@pytest.mark.parametrize("change", ['echo more >> "$CLARA_INPUT/one.dcm"', 'rm "$CLARA_INPUT/one.dcm"'])
def test_a_stage_that_changes_the_payload_has_failed(world: LocalWorld, change: str) -> None:
    """It is the user's own study."""
    (world.payload.folder / "one.dcm").write_text("as it was")
    ended = run(world, graphs.chain(graphs.shell(world.root, "a", f"{change}\n{SPEAK}")))
    assert ended.state is JobState.FAILED
    assert "changed while it ran" in ended.message and "one.dcm" in ended.message


@pytest.mark.parametrize("change", ['echo x >> "$CLARA_INPUT/a"', 'rm "$CLARA_INPUT/a"', 'echo x > "$CLARA_INPUT/new"'])
def test_a_stage_that_changes_what_others_read_has_failed(world: LocalWorld, change: str) -> None:
    first, second = graphs.shell(world.root, "a", SPEAK), graphs.shell(world.root, "b", f"{change}\n{SPEAK}")
    ended = run(world, graphs.chain(first, second))
    assert ended.state is JobState.FAILED and "stage 'b': its input" in ended.message


def test_a_new_file_beside_the_study_is_nobodys_fault(world: LocalWorld) -> None:
    good(world, graphs.chain(graphs.shell(world.root, "a", f'touch "{world.payload.folder}/.DS_Store"\n{SPEAK}')))


def test_branches_run_at_the_same_time(world: LocalWorld) -> None:
    """Each waits for the other: one after the other they would never end."""
    meet = 'touch "{root}/{me}"; while [ ! -e "{root}/{other}" ]; do sleep 0.02; done; echo x > "$CLARA_OUTPUT/x"'
    stages = [
        graphs.shell(world.root, me, meet.format(root=world.root, me=me, other=other), timeout=60)
        for me, other in (("left", "right"), ("right", "left"))
    ]
    good(world, graphs.graph(*map(graphs.node, stages), results=("left", "right")))


def test_no_more_stages_at_once_than_wished(tmp_path: Path) -> None:
    """Over two jobs of one runner: a stage that finds another one running says so."""
    script = f'mkdir "{tmp_path}/busy" || exit 9; sleep 0.05; rmdir "{tmp_path}/busy"; echo x > "$CLARA_OUTPUT/x"'
    stages = [graphs.shell(tmp_path, name, script) for name in ("a", "b", "c")]
    graph = graphs.graph(*map(graphs.node, stages), results=("a", "b", "c"))
    with LocalRunner(tmp_path / "home", jobs=1) as runner:
        for job in (JOB, LATER):
            runner.submit(graph, job, graphs.payload(tmp_path))
        ended = [list(runner.watch(job))[-1] for job in (JOB, LATER)]
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * 2, ended
    with pytest.raises(UsageError):
        LocalRunner(tmp_path / "home", jobs=0)


def test_several_results_are_sub_folders(world: LocalWorld, tmp_path: Path) -> None:
    left, right = graphs.shell(world.root, "left", SPEAK), graphs.shell(world.root, "right", SPEAK)
    good(world, graphs.graph(graphs.node(left), graphs.node(right), results=("left", "right")))
    result = world.runner.result(JOB, tmp_path / "result")
    assert sorted(str(path.relative_to(result)) for path in result.rglob("*") if path.is_file()) == [
        "left/left",
        "right/right",
    ]


def test_a_stage_may_read_a_folder_in_an_output(world: LocalWorld) -> None:
    write = 'cd "$CLARA_OUTPUT"; echo 1 > left/x; mkdir right; echo 2 > right/y'
    first = graphs.shell(world.root, "a", write, output_paths={"left": "/left"})
    look = 'cd "$CLARA_INPUT"; (find -type f | sort; echo "$NVIDIA_CLARA_INPUTPATHS") > "$CLARA_OUTPUT/seen"'
    both, one, none = (graphs.shell(world.root, name, look) for name in ("both", "one", "none"))
    reads = (Read("a", "left"), Read("a", "right"))
    nodes = [
        graphs.node(first),
        replace(graphs.node(both, "a"), reads=reads),
        replace(graphs.node(one, "a"), reads=reads[1:]),
    ]
    folder = good(world, graphs.graph(*nodes, results=("both", "one")))
    *files, paths = (folder / "both/output/seen").read_text().splitlines()
    assert files == ["./a.left/x", "./a.right/y"]
    assert [entry.partition(":")[0] for entry in paths.split(";")] == ["a.left", "a.right"]
    assert (folder / "one/output/seen").read_text().splitlines()[0] == "./y"
    missing = [graphs.node(first), replace(graphs.node(none, "a"), reads=(Read("a", "up"),))]
    ended = run(world, graphs.graph(*missing), LATER)
    assert ended.message == "stage 'none': the output of stage 'a' has no folder 'up', which it reads"


def test_a_result_is_a_copy(world: LocalWorld, tmp_path: Path) -> None:
    folder = good(world, graphs.chain(graphs.shell(world.root, "one", SPEAK)))
    (world.runner.result(JOB, tmp_path / "result") / "one").write_text("changed by its user")
    assert (folder / "one/output/one").read_text() == "x\n"


def test_published_study_appears_complete(world: LocalWorld) -> None:
    script = SPEAK + '; echo m > "$CLARA_PUBLISH/config.meta"'
    folder = good(world, graphs.chain(graphs.shell(world.root, "one", script, publish=True)))
    assert (folder / "one/publish/config.meta").read_text() == "m\n"


def test_progress_is_told(world: LocalWorld) -> None:
    script = f'echo 3/7 > "$CLARA_PROGRESS_FILE"; while [ ! -e "{world.root}/seen" ]; do sleep 0.05; done; {SPEAK}'
    world.runner.submit(graphs.chain(graphs.shell(world.root, "one", script)), JOB, world.payload)
    for job in world.runner.watch(JOB):
        if job.stage("one").progress == "3/7":
            (world.root / "seen").touch()
    assert world.runner.get(JOB).state is JobState.SUCCEEDED
    assert (world.root / "seen").exists()


def test_arguments_are_passed_as_they_are(world: LocalWorld) -> None:
    spec = graphs.shell(world.root, "one", 'printf "%s\\n" "$@" > "$CLARA_OUTPUT/args"')
    arguments = ["--name", "two words", "$HOME", "; rm -rf x", ""]
    folder = good(world, graphs.graph(graphs.node(spec, args=arguments)))
    assert (folder / "one/output/args").read_text().split("\n")[:-1] == arguments


def test_python_is_ours_and_finds_siblings_and_modules(world: LocalWorld) -> None:
    code = (
        "import sys, sibling, clara_driver\n"
        "with clara_driver.stage() as s: (s.output / 'x').write_text(sys.executable)\n"
    )
    spec = graphs.python(world.root, "one", code)
    assert spec.folder is not None
    (spec.folder / "sibling.py").write_text("")
    folder = good(world, graphs.chain(spec))
    assert (folder / "one/output/x").read_text() == sys.executable
    module = graphs.python(world.root, "two", code, command=("python3", "-m", "main"))
    (world.root / "stages/two/sibling.py").write_text("")
    good(world, graphs.chain(module), LATER)
    assert not (spec.folder / "__pycache__").exists()


def test_names_of_the_jobs_folder_are_no_stages(world: LocalWorld) -> None:
    with pytest.raises(UsageError, match="rename it"):
        run(world, graphs.chain(graphs.shell(world.root, "result", SPEAK)))


def test_a_payload_that_is_not_there(world: LocalWorld) -> None:
    world.payload = Payload(id="p", folder=world.root / "nothing")
    with pytest.raises(NotFound, match="nothing"):
        run(world, world.chain("first"))
    assert world.runner.list() == ()


def test_stages_that_cannot_be_processes_are_refused_before_anything_starts(world: LocalWorld) -> None:
    first = graphs.shell(world.root, "first", SPEAK)
    for values, words in (
        ({"command": ("python3", "/app/main.py")}, "/app/main.py"),
        ({"command": ()}, "no command"),
        ({"folder": None}, "only an image"),
    ):
        with pytest.raises(NotInstalled, match=words):
            run(world, graphs.chain(first, graphs.python(world.root, "second", "", **values)))
    needy = graphs.python(world.root, "needy", "")
    (world.root / "stages/needy/requirements.txt").write_text("# ours\nno-such-package-x>=1\nclick>=8\npytest==0.1\n")
    with pytest.raises(NotInstalled, match=r"no-such-package-x>=1, pytest==0.1 \(found .*clara-argo\[local\]"):
        run(world, graphs.chain(first, needy))
    assert world.runner.list() == ()


def test_a_damaged_record_is_shown_not_hidden(world: LocalWorld, tmp_path: Path) -> None:
    folder = good(world, world.chain("first"))
    (folder / "job.json").write_text("{")
    job = LocalRunner(world.root / "home").get(JOB)
    assert job.state is JobState.FAILED and "job.json" in job.message
    assert [known.id for known in world.runner.list()] == [JOB]
    with pytest.raises(JobFailed):
        world.runner.result(JOB, tmp_path / "result")


def test_a_record_or_a_home_that_cannot_be_read_is_said(world: LocalWorld) -> None:
    folder = good(world, world.chain("first"))
    (folder / "job.json").unlink()
    (folder / "job.json").mkdir()
    (job,) = LocalRunner(world.root / "home").list()
    assert job.state is JobState.FAILED and "job.json cannot be read (Is a directory)" in job.message
    if os.geteuid() != 0:  # root reads everything
        folder.parent.chmod(0)
        with pytest.raises(UsageError, match="CLARA_HOME"):
            world.runner.list()
        folder.parent.chmod(0o700)


def test_folders_in_outputs_are_results(world: LocalWorld, tmp_path: Path) -> None:
    write = 'cd "$CLARA_OUTPUT"; mkdir seg none; echo mask > seg/m; touch raw'
    chain = (graphs.node(graphs.shell(world.root, "a", write)), graphs.node(graphs.shell(world.root, "b"), "a"))
    good(world, graphs.graph(*chain, results=["a.seg"]))
    result = world.runner.result(JOB, tmp_path / "one")
    assert {path.name: path.read_text() for path in result.iterdir()} == {"m": "mask\n"}
    good(world, graphs.graph(*chain, results=["a.seg", "b"]), LATER)
    result = world.runner.result(LATER, tmp_path / "two")
    assert {str(path.relative_to(result)) for path in result.rglob("*")} >= {"a.seg/m", "b/seg/m", "b/raw"}
    for job, part in (("a" * 32, "none"), ("b" * 32, "away")):
        ended = run(world, graphs.graph(*chain, results=[f"a.{part}"]), job)
        assert ended.state is JobState.FAILED
        assert f"'a' ended well but wrote nothing into the folder '{part}' of its output" in ended.message


def test_a_link_in_place_of_a_log_is_not_followed(world: LocalWorld, tmp_path: Path) -> None:
    """From a container it could name any file of this machine."""
    (tmp_path / "secret").write_text("root:secret\n")
    links = "".join(
        f'ln -sf {tmp_path}/secret "$CLARA_LOGS/{name}"\n' for name in ("stdout.log", "stderr.log", "error.txt")
    )
    job = run(world, graphs.graph(graphs.node(graphs.shell(world.root, "a", links + "exit 3"))))
    assert job.state is JobState.FAILED and "secret" not in repr(job), job
    assert list(world.runner.logs(JOB)) == []

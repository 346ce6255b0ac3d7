"""The engines' words, and what the local runner makes of an engine's answers. The engine is pretended here.

`tests/engines` asks the real ones.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runners import graphs
from unit.runners.contract import JOB

from clara_argo.cli import main
from clara_argo.errors import DefinitionError, NotInstalled, UsageError
from clara_argo.formats.stage import MEMORY
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState
from clara_argo.model.workflow import Image, Resources
from clara_argo.runners.engines import containers, programs
from clara_argo.runners.engines.containers import amount
from clara_argo.runners.engines.programs import DOCKER, PODMAN, Container, Mount, Program
from clara_argo.runners.local import LocalRunner
from clara_argo.runners.targets import open_runner

# Answers like podman and docker: notes each call, and what a container does is a file of the test.
PROGRAM = """#!{python} -IS
import json, os, sys
words = sys.argv[1:]
here = {root!r}
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
known = open(here + "/images").read().split()
if words[:2] == ["image", "inspect"]:
    ids = [f"id-of-{{name}}" for name in words[4:] if name in known]
    print("\\n".join(ids))
    sys.exit(len(ids) < len(words[4:]) and "Error: no such image")
if words[0] == "ps":
    print(open(here + "/left").read())
if words[0] == "rm" and words[-1].startswith("clara-"):
    os.kill(int(open(here + "/client").read()), 9)
if words[0] == "run":
    given = [after for word, after in zip(words, words[1:]) if word == "--mount"]
    mounts = [dict(part.split("=", 1) for part in line.split(",")) for line in given]
    open(here + "/client", "w").write(str(os.getpid()))
    output = [mount["source"] for mount in mounts if mount["destination"] == "/app/output"][0]
    exec(open(here + "/container").read())
    os.unlink(here + "/client")
"""
WELL = "open(output + '/made', 'w').write('x')"


class Pretended:
    """A program of that name on the PATH."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.home = root / "home"
        self.payload = graphs.payload(root)
        (root / "bin").mkdir()
        (root / "bin" / name).write_text(PROGRAM.format(python=sys.executable, root=str(root)))
        (root / "bin" / name).chmod(0o755)
        self.says(WELL)
        self.has("one:1", "two:1")
        (root / "left").touch()

    def says(self, container: str) -> None:
        (self.root / "container").write_text(container)

    def has(self, *images: str) -> None:
        (self.root / "images").write_text("\n".join(images))

    def calls(self, word: str) -> list[list[str]]:
        lines = (self.root / "calls").read_text().splitlines()
        return [words for words in map(json.loads, lines) if words[0] == word]

    def run(self, graph: Graph, engine: str | None = None) -> Job:
        with LocalRunner(self.home, engine=engine or self.name, backoff=0.02, grace=0.5) as runner:
            runner.submit(graph, JOB, self.payload)
            return list(runner.watch(JOB))[-1]


@pytest.fixture(params=["podman", "docker"])
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Pretended:
    made = Pretended(tmp_path, request.param)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(containers, "_lend", lambda folders: None)
    return made


def chain(*names: str, **values: Any) -> Graph:
    usual = {"command": ("sh", "-c", "true"), "retries": 0, "timeout": 60}
    specs = [
        graphs.StageSpec(**{"name": name, "image": Image(repository=name, tag="1"), **usual, **values})
        for name in names
    ]
    return graphs.chain(*specs)


# -- words -----------------------------------------------------------------------------------------------------------


def container(**values: Any) -> Container:
    usual: dict[str, Any] = {
        "name": "clara-1", "labels": {"l": "x"}, "image": "id", "words": ("sh", "-c", "a b; c"), "arguments": ("-x",),
        "environment": {"A": "1\n2 $B"}, "mounts": (), "folder": "/app", "user": (7, 8), "network": False,
        "memory": 0, "gpus": 0,
    }  # fmt: skip
    return Container(**usual | values)


@pytest.mark.parametrize("program", [PODMAN, DOCKER], ids=lambda program: program.name)
def test_a_container_has_no_rights_and_no_network(program: Program) -> None:
    words = program.run(container(memory=1024))
    for option in ("--read-only", "--rm"):
        assert option in words
    for option, value in (
        ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"), ("--network", "none"), ("--pull", "never"),
        ("--user", "7:8"), ("--memory", "1024b"), ("--memory-swap", "1024b"), ("--env", "A=1\n2 $B"),
        ("--workdir", "/app"), ("--entrypoint", "sh"),
    ):  # fmt: skip
        assert (option, value) in list(zip(words, words[1:], strict=False)), option
    assert words[-4:] == ["id", "-c", "a b; c", "-x"]
    assert "--network" not in program.run(container(network=True))
    assert not [word for word in program.run(container()) if word.startswith("--memory")]


def test_without_a_command_an_image_starts_what_it_starts() -> None:
    words = PODMAN.run(container(words=()))
    assert "--entrypoint" not in words and words[-2:] == ["id", "-x"]


def test_proxies_of_dockers_settings_stay_outside() -> None:
    """`proxies` in config.json; a name without a value takes the variable out. What a stage says itself counts."""
    words = DOCKER.run(container(environment={"NO_PROXY": "here"}))
    given = [value for word, value in zip(words, words[1:], strict=False) if word == "--env"]
    assert {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY=here"} <= set(given)
    assert "NO_PROXY" not in given


def test_the_number_of_processes_is_limited_where_the_program_does_not_do_so_itself() -> None:
    words = DOCKER.run(container())
    assert words[words.index("--pids-limit") + 1] == "2048" and "--pids-limit" not in PODMAN.run(container())


def test_gpus_are_named_as_each_program_names_them() -> None:
    podman, docker = PODMAN.run(container(gpus=2)), DOCKER.run(container(gpus=2))
    assert [word for word in podman if "nvidia" in word] == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
    assert docker[docker.index("--gpus") + 1] == "2"


@given(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_path_with_any_character_stays_one_path(name: str) -> None:
    mount = Mount(source=Path("/a", name), target=PurePosixPath("/app/input"), read_only=True)
    (row,) = csv.reader([mount.words])
    assert row == ["type=bind", f"source={Path('/a', name)}", "destination=/app/input", "readonly=true"]


def test_options_of_the_user_go_into_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(programs.OPTIONS, "--root '/a b'")
    assert PODMAN.end("x")[:4] == ["podman", "--root", "/a b", "rm"]
    monkeypatch.setenv(programs.OPTIONS, "'")
    with pytest.raises(UsageError, match="quote it"):
        PODMAN.call("ps")


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0), ("128974848", 128974848), ("123Mi", 123 << 20), ("4Gi", 4 << 30), ("1.5Gi", 3 << 29),
     ("129e6", 129000000), ("129M", 129000000), ("2k", 2000), ("1Ki", 1024), ("1E", 10**18)],
)  # fmt: skip
def test_amounts_are_those_of_kubernetes(text: str, number: int) -> None:
    assert amount(text) == number


@given(st.from_regex(MEMORY, fullmatch=True))
@settings(max_examples=60, deadline=None)
def test_every_amount_that_a_stage_may_ask_for_is_one(text: str) -> None:
    assert amount(text) >= 0


# -- what becomes of the answers -------------------------------------------------------------------------------------


def test_each_stage_runs_in_its_image_by_id(pretended: Pretended) -> None:
    job = pretended.run(chain("one", "two", resources=Resources(memory="64Mi")))
    assert job.state is JobState.SUCCEEDED, job
    first, second = pretended.calls("run")
    assert (first[-3], second[-3]) == ("id-of-one:1", "id-of-two:1")
    assert f"{64 << 20}b" in first
    names = [words[words.index("--name") + 1] for words in (first, second)]
    assert names[0].startswith(f"clara-{JOB}-one-1-") and names[1].startswith(f"clara-{JOB}-two-1-")
    assert [word for word in first if word.startswith("org.clara-argo.job=")] == [f"org.clara-argo.job={JOB}"]
    assert not pretended.calls("rm")
    assert not (pretended.home / "jobs" / JOB / "one/attempt").exists()


def test_the_runners_environment_stays_outside(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "of the runner")
    monkeypatch.setenv("https_proxy", "http://user:password@proxy")
    pretended.says(WELL + "; assert 'https_proxy' not in os.environ and os.environ['HOME'] != '/tmp'")
    assert pretended.run(chain("one")).state is JobState.SUCCEEDED
    (words,) = pretended.calls("run")
    assert not [word for word in words if "SECRET_TOKEN" in word or "password" in word]
    assert "HOME=/tmp" in words and "CLARA_OUTPUT=/app/output" in words


@pytest.mark.parametrize(
    ("container", "code", "text"),
    [
        ("sys.stderr.write('Error: no such device\\n'); sys.exit(125)", None, "cannot start 'sh': no such device"),
        ("sys.stderr.write('docker: no such file.\\nSee --help.\\n'); sys.exit(127)", None, "no such file."),
        ("sys.stderr.write('sh: nope: not found\\n'); sys.exit(127)", 127, "exit code 127: sh: nope: not found"),
        ("sys.exit(137)", 137, "killed by SIGKILL; perhaps it needs more memory"),
        ("sys.stderr.write('my own\\n'); sys.exit(3)", 3, "exit code 3: my own"),
    ],
)
def test_why_a_container_failed(pretended: Pretended, container: str, code: int | None, text: str) -> None:
    pretended.says(container)
    job = pretended.run(chain("one"))
    assert job.state is JobState.FAILED
    assert text in job.stage("one").message
    assert job.stage("one").exit_code == code


def test_a_container_that_the_kernel_killed_is_tried_again(pretended: Pretended) -> None:
    pretended.says(f"{WELL}; sys.exit(0 if 'CLARA_ATTEMPT=2' in words else 137)")
    job = pretended.run(chain("one", retries=1))
    assert (job.state, job.stage("one").attempt) == (JobState.SUCCEEDED, 2)


def test_a_stage_without_end_is_ended_and_its_container_removed(pretended: Pretended) -> None:
    pretended.says("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    job = pretended.run(chain("one", timeout=1))
    assert "time limit of 1 s" in job.stage("one").message
    (words,) = pretended.calls("run")
    removed = pretended.calls("rm")
    assert removed and {call[-1] for call in removed} == {words[words.index("--name") + 1]}
    assert all("--force" in call for call in removed)


def test_an_image_that_is_not_here_is_said_before_anything_runs(pretended: Pretended) -> None:
    pretended.has("two:1")
    with pytest.raises(NotInstalled, match=rf"image one:1 is not here.*get it with: {pretended.name} pull one:1"):
        pretended.run(chain("one", "two"))
    assert not (pretended.home / "jobs" / JOB).exists()
    folder = pretended.root / "stages" / "one"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").touch()
    with pytest.raises(NotInstalled, match=f"clara images build one --builder {pretended.name}"):
        pretended.run(chain("one", "two", folder=folder))


@pytest.mark.parametrize("image", [Image(), Image(repository="--privileged", tag="1"), Image(repository="A b")])
def test_what_can_be_no_image_never_reaches_the_program(pretended: Pretended, image: Image) -> None:
    with pytest.raises(DefinitionError, match="image"):
        pretended.run(chain("one", image=image))
    assert not (pretended.root / "calls").exists()


def test_a_job_goes_on_with_the_engine_that_it_had(pretended: Pretended) -> None:
    pretended.says("sys.exit(3)")
    graph = chain("one", "two")
    assert pretended.run(graph).state is JobState.FAILED
    pretended.says(WELL)
    (pretended.root / "left").write_text("c0ffee\n")
    with LocalRunner(pretended.home) as runner:
        runner.retry(JOB)
        assert list(runner.watch(JOB))[-1].state is JobState.SUCCEEDED
        assert [call[-1] for call in pretended.calls("rm")] == ["c0ffee"], "what a killed runner left goes"
        runner.resume(graph, JOB, pretended.payload)
        assert list(runner.watch(JOB))[-1].state is JobState.SUCCEEDED
    assert len(pretended.calls("run")) == 3, "what is done stays done"


def test_a_job_goes_on_as_processes_when_its_engine_is_gone(pretended: Pretended) -> None:
    pretended.says("sys.exit(3)")
    assert pretended.run(chain("one")).state is JobState.FAILED
    (pretended.root / "bin" / pretended.name).write_text("#!/bin/sh\nexit 1\n")
    graph = graphs.chain(graphs.shell(pretended.root, "one"))
    with LocalRunner(pretended.home, engine="process") as runner:
        runner.resume(graph, JOB, pretended.payload)
        assert list(runner.watch(JOB))[-1].state is JobState.SUCCEEDED


def test_an_output_of_a_process_is_not_that_of_an_image(pretended: Pretended) -> None:
    graph = graphs.chain(graphs.shell(pretended.root, "one", image=Image(repository="one", tag="1")))
    assert pretended.run(graph, "process").state is JobState.SUCCEEDED
    with LocalRunner(pretended.home, engine=pretended.name) as runner:
        runner.resume(graph, JOB, pretended.payload)
        assert list(runner.watch(JOB))[-1].stage("one").attempt == 2
    assert len(pretended.calls("run")) == 1


def test_what_a_deleted_job_left_goes_with_it(pretended: Pretended) -> None:
    pretended.run(chain("one"))
    (pretended.root / "left").write_text("c0ffee\n")
    LocalRunner(pretended.home).delete(JOB)
    assert [call[-1] for call in pretended.calls("rm")] == ["c0ffee"]


def test_who_asks_an_inference_server_has_a_network(pretended: Pretended) -> None:
    pretended.run(chain("one", env={"CLARA_TRITON_URL": "triton:8001"}))
    (words,) = pretended.calls("run")
    assert "--network" not in words and "CLARA_TRITON_URL=triton:8001" in words


def test_ids_of_docker_are_those_of_podman(pretended: Pretended) -> None:
    program = pretended.root / "bin" / pretended.name
    graph = chain("one")
    pretended.run(graph)
    program.write_text(program.read_text().replace("id-of", "sha256:id-of"))
    with LocalRunner(pretended.home) as runner:
        runner.resume(graph, JOB, pretended.payload)
        assert end_of(runner).state is JobState.SUCCEEDED
    assert len(pretended.calls("run")) == 1, "the same image is the same"


def test_another_image_of_the_same_name_runs_again(pretended: Pretended) -> None:
    program = pretended.root / "bin" / pretended.name
    graph = chain("one")
    pretended.run(graph)
    program.write_text(program.read_text().replace("id-of", "new-id-of"))
    with LocalRunner(pretended.home) as runner:
        runner.resume(graph, JOB, pretended.payload)
        end_of(runner)
    assert [call[-3] for call in pretended.calls("run")] == ["id-of-one:1", "new-id-of-one:1"]


def end_of(runner: LocalRunner) -> Job:
    return list(runner.watch(JOB))[-1]


def test_a_program_that_does_not_work_says_why(pretended: Pretended) -> None:
    (pretended.root / "bin" / pretended.name).write_text("#!/bin/sh\necho 'no daemon' >&2\nexit 1\n")
    with pytest.raises(NotInstalled, match="is here, but does not work: no daemon"):
        pretended.run(chain("one"))


def test_a_program_that_hangs_is_asked_once(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ANSWER", 0.2)
    script = f"#!/bin/sh\necho >> {pretended.root}/asked\nexec sleep 60\n"
    (pretended.root / "bin" / pretended.name).write_text(script)
    with pytest.raises(NotInstalled, match=f"'{pretended.name} image' gave no answer within"):
        pretended.run(chain("one"))
    assert len((pretended.root / "asked").read_text().splitlines()) <= 1


def test_an_engine_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    runner = LocalRunner(tmp_path / "home", engine="podman")
    with pytest.raises(NotInstalled, match="podman is not on the PATH; install it"):
        runner.submit(chain("one"), JOB, graphs.payload(tmp_path))


def test_engines_are_known_by_name_and_only_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'podman'"):
        LocalRunner(tmp_path, engine="podmann")
    with pytest.raises(UsageError, match="--engine is for this machine"), open_runner("argo", engine="podman"):
        pass


WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: w
stages: [one]
waitLocks: [""]
ioFolders: [one/input, one/output]
args: [""]
"""


def test_the_command(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pretended.root)
    Path("clara.yaml").touch()
    Path("w.yaml").write_text(WORKFLOW)
    Path("stages/one").mkdir(parents=True)
    Path("stages/one/stage.yaml").write_text("stageName: one\nimage: {repository: one, tag: '1'}\n")
    words = ["run", "w.yaml", "--input", "payload", "--output", "out"]
    done = CliRunner().invoke(main, [*words, "--engine", pretended.name])
    assert done.exit_code == 0, done.output
    assert Path("out/made").read_text() == "x"
    pretended.has()
    done = CliRunner().invoke(main, [*words[:-1], "other", "--engine", pretended.name])
    assert done.exit_code == 3 and "its image one:1 is not here" in done.stderr
    done = CliRunner().invoke(main, [*words[:-1], "other", "--engine", pretended.name, "--on", "argo"])
    assert done.exit_code == 64 and "--engine is for this machine" in done.stderr


def test_links_and_private_files_of_a_study_can_be_read(pretended: Pretended) -> None:
    """In a container a link leads nowhere, and whoever runs there is not root."""
    elsewhere = pretended.root / "elsewhere"
    elsewhere.write_text("study")
    (pretended.payload.folder / "linked").symlink_to(elsewhere)
    (pretended.payload.folder / "a").chmod(0o600)
    pretended.says(
        "source = [m['source'] for m in mounts if m['destination'] == '/app/input'][0]\n"
        "assert not os.path.islink(source + '/linked') and open(source + '/linked').read() == 'study'\n"
        "assert os.geteuid() or os.stat(source + '/a').st_mode & 4\n" + WELL
    )
    assert pretended.run(chain("one")).state is JobState.SUCCEEDED
    assert (pretended.payload.folder / "a").stat().st_mode & 0o777 == 0o600, "the user's own stays as it is"


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root runs as himself in a container")
def test_a_folder_of_a_study_that_others_cannot_enter_is_copied(pretended: Pretended) -> None:
    pretended.payload.folder.chmod(0o744)
    pretended.says(
        "source = [m['source'] for m in mounts if m['destination'] == '/app/input'][0]\n"
        "assert os.stat(source).st_mode & 5 == 5\n" + WELL
    )
    assert pretended.run(chain("one")).state is JobState.SUCCEEDED

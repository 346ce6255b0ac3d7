"""Images: what the builders are asked, from which folders, and what a person sees when they fail.

The builders are a program of ours that writes down how it was called. The real ones build in the cluster tier.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement

from clara_argo import __version__, project, shipped
from clara_argo.cli import main
from clara_argo.errors import NotInstalled
from clara_argo.model.workflow import Image
from clara_argo.platform import builders, images

STAGES = ("ct-organ-seg", "ct-recon", "dicom-reader", "dicom-writer")
FAKE = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

words = sys.argv[1:]
context = Path(words[-1]) if "build" in words else None
files = sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()) if context else []
with open({{log!r}}, "a") as log:
    print(json.dumps([Path(sys.argv[0]).name, *words]), json.dumps(files), sep="\\t", file=log)
print("step one")
print("step two", file=sys.stderr)
for word in words:
    target = word.split(":")[1] if word.startswith("docker-archive:") else ""
    if words[words.index(word) - 1] == "--output":
        target = word
    if target:
        assert not Path(target).exists()
        Path(target).write_text("archive")
sys.exit(any(word in " ".join(words) for word in os.environ.get("FAKE_FAILS", "").split()))
"""


def clara(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


class Fakes:
    """Programs with the names of builders, alone on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.log.touch()

    def install(self, *names: str) -> None:
        for name in names:
            program = self.bin / name
            program.write_text(FAKE.format(log=str(self.log)))
            program.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line.split("\t")[0]) for line in self.log.read_text().splitlines()]

    @property
    def contexts(self) -> list[list[str]]:
        """The files of each build's context."""
        lines = [line.split("\t") for line in self.log.read_text().splitlines()]
        return [json.loads(files) for words, files in lines if "build" in json.loads(words)]


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.delenv(builders.OPTIONS, raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return made


READER = "host.example/team/clara-argo/dicom-reader:0.1.0"
BUILD = ["--build-arg", "BASE=b:1", "--label", "org.opencontainers.image.version=0.1.0", "--squash", "--tag", READER]
SAVED = {
    "docker": ["save", "--output", "PART", READER],
    "podman": ["save", "--format", "docker-archive", "--output", "PART", READER],
    "buildah": ["push", READER, f"docker-archive:PART:{READER}"],
}
PUSHED = {
    "docker": ["push", READER],
    "podman": ["push", READER],
    "buildah": ["push", READER, f"docker://{READER}"],
}


@pytest.mark.parametrize("name", builders.BUILDERS)
def test_what_each_builder_is_asked(name: str, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.install(name)
    monkeypatch.setenv(builders.OPTIONS, "--root '/a b'")
    words = ("dicom-reader", "--registry", "host.example/team/", "--base", "b:1", "--save", tmp_path / "out", "--push")
    done = clara("images", "build", *words, "--builder", name, "--", "--squash")
    build, save, push = fakes.calls
    every = [name, "--root", "/a b"]
    assert build[:-1] == [*every, "build", *BUILD]
    part = str(tmp_path / "out/.dicom-reader.tar.part")
    assert save == [*every, *(word.replace("PART", part) for word in SAVED[name])]
    assert push == [*every, *PUSHED[name]]
    assert done.stdout == f"{READER} {tmp_path / 'out/dicom-reader.tar'}\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dicom-reader.tar"]
    assert not Path(build[-1]).exists()  # the context is gone


def test_without_names_all_are_built(fakes: Fakes) -> None:
    fakes.install("podman")
    clara("init", "mine")
    (Path("mine/stages/only-here")).mkdir()
    Path("mine/stages/only-here/stage.yaml").write_text("stageName: only-here\ncommand: [x]\n")
    os.chdir("mine")
    done = clara("images", "build", "-o", "json")
    found = json.loads(done.stdout)["images"]
    assert [one["name"] for one in found] == [*STAGES, "my-stage", "adapter"]
    assert [one["image"] for one in found][-2:] == [
        "registry.example/my-stage:0.1",
        f"clara-argo/adapter:{__version__}",
    ]
    assert {one["builder"] for one in found} == {"podman"} and not any(one["pushed"] for one in found)
    assert "only-here: left out" in done.stderr


@pytest.mark.parametrize(
    ("here", "daemon", "chosen"),
    [("docker podman", True, "docker"), ("docker podman", False, "podman"), ("buildah", True, "buildah")],
)
def test_the_first_builder_that_works(
    here: str, daemon: bool, chosen: str, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(*here.split())
    monkeypatch.setenv("FAKE_FAILS", "" if daemon else "version")
    assert builders.find().name == chosen


def test_no_builder_at_all(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none of them is on the PATH" in clara("images", "build", code=3).stderr
    fakes.install("docker")
    monkeypatch.setenv("FAKE_FAILS", "version")
    assert "its daemon does not answer" in clara("images", "build", code=3).stderr
    assert "buildah is not on the PATH" in clara("images", "build", "--builder", "buildah", code=3).stderr
    monkeypatch.setenv(builders.OPTIONS, "'")
    assert builders.OPTIONS in clara("images", "build", "--builder", "docker", code=64).stderr


def test_a_failure_shows_the_last_lines_and_leaves_no_archive(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install("buildah")
    monkeypatch.setenv("FAKE_FAILS", "docker-archive:")
    words = ("dicom-reader", "--save", tmp_path / "out", "--", "--build-arg", "PIP_INDEX_URL=https://me:secret@x")
    done = clara("images", "build", *words, code=4)
    assert "dicom-reader: buildah ended with 1" in done.stderr
    assert "  step one\n  step two\n" in done.stderr or "  step two\n  step one\n" in done.stderr
    assert "secret" not in done.output
    assert not list((tmp_path / "out").iterdir())


def test_what_the_builder_says_is_shown_when_asked_for(fakes: Fakes) -> None:
    fakes.install("docker")
    assert "step one" not in clara("images", "build", "dicom-reader").stderr
    assert "step one" in clara("images", "build", "dicom-reader", "-v").stderr


def test_a_dry_run_needs_no_builder_that_is_named(fakes: Fakes) -> None:
    done = clara("images", "build", "adapter", "--builder", "docker", "--dry-run", "--save", "o p", "--", "-q")
    image = f"clara-argo/adapter:{__version__}"
    label = f"--label org.opencontainers.image.version={__version__}"
    assert done.stdout.splitlines() == [
        f"docker build {label} -q --tag {image} CONTEXT/adapter",
        f"docker save --output 'o p/adapter.tar' {image}",
    ]
    assert not Path("o p").exists()


def test_list_says_what_is_built(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.install("docker")
    workflow = shipped.folder("templates") / "workflows/ct-organs.yaml"
    lines = clara("images", "list", workflow, "--registry", "localhost").stdout.splitlines()
    assert lines[0].split() == ["localhost/clara-argo/dicom-reader:0.1.0", "built", "dicom-reader"]
    assert len(lines) == 3
    monkeypatch.setenv("FAKE_FAILS", "inspect")
    found = json.loads(clara("images", "list", "-o", "json").stdout)["images"]
    assert [one["stages"] for one in found] == [
        [*STAGES, "adapter"][number : number + 1] for number in range(len(STAGES) + 1)
    ]
    assert not any(one["built"] for one in found)


def test_list_does_not_take_a_broken_builder_for_an_empty_one(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.install("podman")
    monkeypatch.setenv("FAKE_FAILS", "image")
    assert "podman images: podman ended with 1" in clara("images", "list", code=4).stderr


def stage(name: str, image: str = "", dockerfile: bool = True) -> Path:
    folder = Path("stages") / name
    folder.mkdir(parents=True)
    (folder / "stage.yaml").write_text(f"stageName: {name}\n{image}\n")
    if dockerfile:
        (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


def test_what_cannot_be_built_is_refused_by_name(fakes: Fakes) -> None:
    fakes.install("docker")
    stage("nameless")
    stage("fixed", f"image: r.example/x@sha256:{'0' * 64}")
    stage("bare", "image: r.example/x:1", dockerfile=False)
    for name, code, text in (
        ("nameless", 64, "names no image"),
        ("fixed", 64, "by a digest"),
        ("bare", 6, "has no Dockerfile"),
        ("dicom-raeder", 6, "did you mean 'dicom-reader'?"),
    ):
        assert text in clara("images", "build", name, code=code).stderr
    stage("one", "image: r.example/y:1")
    stage("two", "image: r.example/y:1")
    assert "'one' and 'two' both have the image r.example/y:1" in clara("images", "build", "one", "two", code=64).stderr
    assert fakes.calls == [["docker", "version"]] * len(fakes.calls)


def test_a_stage_of_ones_own_is_built_from_its_folder(fakes: Fakes) -> None:
    """As other tools would build it, with the driver beside it; what others may not read is made readable."""
    fakes.install("docker")
    folder = stage("mine", "image: r.example/mine:1")
    (folder / "data").mkdir(mode=0o700)
    (folder / "data/model.bin").write_bytes(b"m")
    (folder / "data/model.bin").chmod(0o600)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").touch()
    clara("images", "build", "mine")
    (files,) = fakes.contexts
    assert {"Dockerfile", "stage.yaml", "run.sh", "data/model.bin", "clara_driver/contract.py"} < set(files)
    assert not [name for name in files if "pyc" in name]
    clara("images", "context", "mine", "laid")
    modes = {name: stat.S_IMODE((Path("laid") / name).stat().st_mode) for name in ("data", "data/model.bin", "run.sh")}
    assert modes == {"data": 0o755, "data/model.bin": 0o644, "run.sh": 0o755}
    assert stat.S_IMODE((folder / "data/model.bin").stat().st_mode) == 0o600  # the user's own is as it was
    assert "is there already" in clara("images", "context", "mine", "laid", code=64).stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("COPY clara_driver /opt/clara/clara_driver", True), ("# COPY clara /opt/clara/clara", True),
        ("COPY clara /opt/clara/clara", False), ("copy --chown=1:1 ./clara/ /opt/clara/clara", False),
        ("COPY clara_driver clara /opt/", False), ("ADD . /app", False), ("COPY *.py /app/clara ", True),
    ],
)  # fmt: skip
def test_an_operator_of_clara_deploy_gets_its_library(fakes: Fakes, line: str, said: bool) -> None:
    fakes.install("docker")
    folder = stage("mine", "image: r.example/mine:1")
    (folder / "main.py").write_text("from clara import Driver\n")
    (folder / "Dockerfile").write_text(f"FROM base\n{line}\nRUN true\n")
    done = clara("images", "build", "mine")
    (files,) = fakes.contexts
    assert {"clara/driver.py", "clara/logging/perf_logger.py", "clara_driver/contract.py"} < set(files)
    assert ("add: COPY clara /opt/clara/clara" in done.stderr) is said
    (folder / "clara").mkdir()
    (folder / "clara/__init__.py").touch()
    assert "COPY" not in clara("images", "build", "mine").stderr
    assert "clara/driver.py" not in fakes.contexts[1], "its own stays"


def test_the_adapter_runs_from_its_context(fakes: Fakes, tmp_path: Path) -> None:
    """Its packages and its launcher are enough, with the libraries of its requirements: nothing of the checkout."""
    clara("images", "context", "adapter", tmp_path / "laid")
    code = (
        "import clara_adapter, clara_argo, pathlib; from clara_argo import project\n"
        "print(clara_adapter.__file__); print(project.workflow(pathlib.Path('.'), 'ct-organs').workflow.name)"
    )
    env = {"PYTHONPATH": str(tmp_path / "laid/packages"), "PATH": str(Path(sys.executable).parent)}
    launcher = str(tmp_path / "laid/clara")
    for command in ([sys.executable, "-c", code], [sys.executable, launcher, "--version"]):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() in (
            [str(tmp_path / "laid/packages/clara_adapter/__init__.py"), "ct-organs"],
            ["clara,", "version", __version__],
        )
    assert os.access(launcher, os.X_OK)


def copied(dockerfile: list[str]) -> list[str]:
    """What a Dockerfile takes from its context."""
    lines = [line.split() for line in dockerfile if line.startswith("COPY ") and "--from" not in line]
    return [word for line in lines for word in line[1:-1]]


def test_shipped_dockerfiles_copy_what_is_there_and_run_as_nobody_special(tmp_path: Path) -> None:
    for one in images.choose(project.stage_specs(tmp_path)):
        with images.context(one) as folder:
            lines = (folder / "Dockerfile").read_text().splitlines()
            assert copied(lines) and all(list(folder.glob(word)) for word in copied(lines)), one.name
            assert "*.py" in copied(lines) or not list(folder.glob("*.py"))
        assert "USER 1000:1000" in lines and "ARG BASE=docker.io/library/python:3.11-slim-bookworm" in lines


def lines_of(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def test_pinned_versions_are_what_the_requirements_allow(tmp_path: Path) -> None:
    for one in images.choose(project.stage_specs(tmp_path)):
        pins = dict(line.split("==") for line in lines_of(one.folder / "constraints.txt"))
        for asked in map(Requirement, lines_of(one.folder / "requirements.txt")):
            assert asked.specifier.contains(pins[asked.name]), f"{one.name}: {asked}, {pins[asked.name]}"


def test_the_adapters_requirements_are_the_projects() -> None:
    import tomllib

    root = Path(__file__).resolve().parents[3]
    told = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = set(lines_of(root / "adapter/requirements.txt"))
    minio = {line for extra in told["optional-dependencies"].values() for line in extra if line.startswith("minio")}
    assert asked == {*told["dependencies"], *told["optional-dependencies"]["adapter"], *minio}


@pytest.mark.parametrize(
    ("repository", "registry", "name"),
    [
        ("clara-argo/x", "", "clara-argo/x:1"),
        ("clara-argo/x", "host.example:5000/team/", "host.example:5000/team/clara-argo/x:1"),
        ("x", "localhost", "localhost/x:1"),
        ("localhost/x", "host.example", "localhost/x:1"),
        ("other.example/x", "host.example", "other.example/x:1"),
        ("other:5000/x", "host.example", "other:5000/x:1"),
    ],
)
def test_a_registry_goes_before_names_without_one(repository: str, registry: str, name: str) -> None:
    assert Image(repository=repository, tag="1").within(registry) == name


def gone(pid: int) -> bool:
    """Ended, now or soon: a signal takes its time, and whoever inherited it may not have asked for its code yet."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_builder_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """The grandchild holds the pipe: were it left alone, reading would not end."""
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); child.wait()"
    )
    said: list[str] = []
    with pytest.raises(builders.BuildFailed, match="did not end within"):
        builders.run([sys.executable, "-c", code], what="x", say=said.append, seconds=2)
    assert gone(int(said[0]))


def test_an_interrupt_ends_the_builder() -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    said: list[str] = []

    def interrupted(line: str) -> None:
        said.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run([sys.executable, "-c", code], what="x", say=interrupted)
    assert gone(int(said[0]))


def test_a_builder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match="cannot be started"):
        builders.run([str(tmp_path / "none")], what="x")

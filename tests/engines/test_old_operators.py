"""Programs as people wrote them for Clara Deploy, unmodified, in a container that has their code in /app.

Nothing in the image knows clara-argo, but where a program imports Clara's library: there ours lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import box, python_image
from support import STAGES
from unit.runners import graphs
from unit.runners.contract import JOB, end

from clara_argo import shim
from clara_argo.graph import PAYLOAD, Node
from clara_argo.model.job import Job, JobState
from clara_argo.model.workflow import Image, StageSpec
from clara_argo.runners.local import LocalRunner

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).resolve().parents[1] / "old_operators"
IMAGE = "localhost/clara-argo/old-operators:1"
DICOM = "\0" * 128 + "DICM"
FIXED: dict[str, Any] = {"input_paths": ("/input",), "output_paths": {"": "/output"}}


@pytest.fixture(scope="module")
def programs(podman: box.Box, tmp_path_factory: pytest.TempPathFactory) -> box.Box:
    """A podman which holds the image."""
    if lacking := python_image.missing():
        pytest.skip(f"not here: {lacking}")
    files = [(str(path), f"/app/{path.name}", "755") for path in PROGRAMS.iterdir() if path.is_file()]
    libraries = [
        (str(path), f"/opt/clara/{path.relative_to(folder)}", "644")
        for folder, package in ((STAGES, STAGES / "clara_driver"), (shim.folder(), shim.package()))
        for path in package.rglob("*.py")
    ]
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    python_image.build(archive, IMAGE, [*files, *libraries])
    podman.load(archive)
    return podman


@pytest.fixture
def runner(programs: box.Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRunner]:
    for name, value in programs.environment().items():
        monkeypatch.setenv(name, value)
    with LocalRunner(tmp_path / "home", backoff=0.05, engine="podman") as made:
        yield made


class World:
    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner


def operator(name: str, **values: Any) -> StageSpec:
    """A stage that is an image only, with the program in /app."""
    repository, _, tag = IMAGE.rpartition(":")
    head = "sh" if name.endswith(".sh") else "python3"
    env = {"PYTHONPATH": "/opt/clara", **values.pop("env", {})}
    known = {"name": Path(name).stem.replace("_", "-"), "image": Image(repository=repository, tag=tag), "retries": 0}
    return StageSpec(**{**known, "command": (head, f"/app/{name}"), "timeout": 60, "env": env, **values})


def placed(spec: StageSpec, *inputs: str) -> Node:
    """Each folder that it reads where its definition wants it, as `Graph.of` says."""
    node = graphs.node(spec, *inputs)
    paths = spec.input_paths or ("",) * len(node.reads)
    return replace(node, reads=tuple(read._replace(path=path) for read, path in zip(node.reads, paths, strict=True)))


def run(runner: LocalRunner, root: Path, *specs: StageSpec, **files: str) -> tuple[Job, Path]:
    names = ["", *(spec.name for spec in specs)]
    graph = graphs.graph(*(placed(spec, *filter(None, [before])) for spec, before in zip(specs, names, strict=False)))
    runner.submit(graph, JOB, graphs.payload(root, **(files or {"one.dcm": DICOM + "abc"})))
    return end(World(runner)), runner.home / "jobs" / JOB  # type: ignore[arg-type]


def test_a_chain_of_all_shapes(runner: LocalRunner, tmp_path: Path) -> None:
    env = {"NVIDIA_CLARA_NII_EXTENSION": ".seg", "NVIDIA_CLARA_TRTISURI": "triton:8000"}
    job, folder = run(
        runner, tmp_path, operator("checked_copy.py"), operator("fixed_folders.py", **FIXED),
        operator("convert.sh"), operator("inference_app.py", publish=True, env=env),
    )  # fmt: skip
    assert job.state is JobState.SUCCEEDED, job
    text = {path.name: path.read_text() for path in (folder / "inference-app/output").iterdir()}
    assert text == {"one.dcm.seg": DICOM + "ABC", "server.json": '["triton", "8000"]'}
    assert json.loads((folder / "inference-app/publish/config.meta").read_text())["density"] == "one.dcm.seg"
    assert (folder / "checked-copy/locks/checked-copy.lock").exists()
    assert (folder / "fixed-folders/logs/1/stdout.log").read_text() == "copied 1\n"


def test_all_its_folders_below_the_root(runner: LocalRunner, tmp_path: Path) -> None:
    script = "cp /input/* /output && echo said > /logs/op.log && cp /input/* /publish && ls /app"
    spec = operator("convert.sh", app_dir="/", publish=True, command=("sh", "-c", script))
    job, folder = run(runner, tmp_path, spec)
    assert job.state is JobState.SUCCEEDED, job
    for made in ("output/one.dcm", "publish/one.dcm"):
        assert (folder / "convert" / made).read_text() == DICOM + "abc"
    assert (folder / "convert/logs/1/op.log").read_text() == "said\n"


def test_handlers_with_several_inputs_at_places_of_their_own(runner: LocalRunner, tmp_path: Path) -> None:
    first = operator("checked_copy.py")
    last = operator("callbacks.py", input_paths=("/input", "/dcm"), output_paths={"": "/output"})
    graph = graphs.graph(placed(first), placed(last, "checked-copy", PAYLOAD))
    runner.submit(graph, JOB, graphs.payload(tmp_path, **{"one.dcm": DICOM}))
    job = end(World(runner))  # type: ignore[arg-type]
    assert job.state is JobState.SUCCEEDED, job
    state = json.loads((runner.home / "jobs" / JOB / "callbacks/output/state.json").read_text())
    assert state["inputs"] == {"checked-copy": ["one.dcm"], "payload": ["one.dcm"]}


def test_what_it_raised_is_the_reason(runner: LocalRunner, tmp_path: Path) -> None:
    job, _ = run(runner, tmp_path, operator("checked_copy.py"), **{"notes.txt": "none"})
    message = job.stage("checked-copy").message
    assert message == "exit code 1: Exception: 1 invalid DICOM part-10 file(s) found"


def test_a_folder_that_its_stage_yaml_forgets_is_missing_in_the_image(runner: LocalRunner, tmp_path: Path) -> None:
    job, _ = run(runner, tmp_path, operator("fixed_folders.py"))
    message = job.stage("fixed-folders").message
    assert "No such file or directory: '/input'" in message and "inputPaths" in message

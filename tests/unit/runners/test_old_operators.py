"""Programs as people wrote them for Clara Deploy, unmodified, as processes of the local runner."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT
from unit.runners import graphs
from unit.runners.contract import JOB, LATER, end

from clara_argo.errors import NotInstalled
from clara_argo.formats import stage
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState, Payload
from clara_argo.model.workflow import StageSpec
from clara_argo.platform import images
from clara_argo.runners import hints
from clara_argo.runners.local import LocalRunner
from clara_argo.source import Findings, parse

PROGRAMS = Path(__file__).resolve().parents[2] / "old_operators"
DICOM = "\0" * 128 + "DICM"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[LocalRunner]:
    with LocalRunner(tmp_path / "home", backoff=0.05, grace=1) as made:
        yield made


class World:
    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner


def operator(root: Path, name: str, **values: Any) -> StageSpec:
    """A stage folder with one of the programs, as its author would lay it out."""
    text = (PROGRAMS / name).read_text()
    stage = Path(name).stem.replace("_", "-")
    return (
        graphs.shell(root, stage, text, **values)
        if name.endswith(".sh")
        else graphs.python(root, stage, text, **values)
    )


def run(runner: LocalRunner, graph: Graph, payload: Payload) -> tuple[Job, Path]:
    runner.submit(graph, JOB, payload)
    job = end(World(runner))  # type: ignore[arg-type]
    return job, runner.home / "jobs" / JOB


def written(folder: Path) -> Mapping[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_chain_of_them(runner: LocalRunner, tmp_path: Path) -> None:
    publish = {"publish": True, "env": {"NVIDIA_CLARA_NII_EXTENSION": ".seg", "NVIDIA_CLARA_TRTISURI": "triton:8000"}}
    graph = graphs.chain(
        operator(tmp_path, "checked_copy.py"), operator(tmp_path, "convert.sh"),
        operator(tmp_path, "inference_app.py", **publish),
    )  # fmt: skip
    job, folder = run(runner, graph, graphs.payload(tmp_path, **{"one.dcm": DICOM + "abc"}))
    assert job.state is JobState.SUCCEEDED, job
    assert written(folder / "checked-copy/output") == {"one.dcm": DICOM + "abc"}
    assert written(folder / "convert/output") == {"one.dcm": DICOM + "ABC"}
    assert (folder / "convert/logs/1/convert.log").read_text() == "converted\n"
    made = written(folder / "inference-app/output")
    assert made == {"one.dcm.seg": DICOM + "ABC", "server.json": '["triton", "8000"]'}
    assert json.loads((folder / "inference-app/publish/config.meta").read_text())["density"] == "one.dcm.seg"
    assert (
        "Application setup started: Inference application setup"
        in (folder / "inference-app/logs/1/stderr.log").read_text()
    )
    assert (folder / "checked-copy/locks/checked-copy.lock").exists()


def test_a_python_path_of_its_own_goes_before_ours(runner: LocalRunner, tmp_path: Path) -> None:
    spec = operator(tmp_path, "callbacks.py", env={"PYTHONPATH": "/opt/clara:/opt/more"})
    job, _ = run(runner, graphs.chain(spec), graphs.payload(tmp_path))
    assert job.state is JobState.SUCCEEDED, job


def test_what_it_raised_is_the_reason(runner: LocalRunner, tmp_path: Path) -> None:
    payload = graphs.payload(tmp_path, **{"one.dcm": DICOM, "notes.txt": "none"})
    job, _ = run(runner, graphs.chain(operator(tmp_path, "checked_copy.py")), payload)
    message = job.stage("checked-copy").message
    assert message == "exit code 1: Exception: 1 invalid DICOM part-10 file(s) found"


def test_handlers_payload_and_identity_with_several_inputs(runner: LocalRunner, tmp_path: Path) -> None:
    left, right = (graphs.shell(tmp_path, name, f'echo x > "$CLARA_OUTPUT/{name}.txt"') for name in ("left", "right"))
    last = operator(tmp_path, "callbacks.py")
    graph = graphs.graph(graphs.node(left), graphs.node(right), graphs.node(last, "left", "right"))
    job, folder = run(runner, graph, graphs.payload(tmp_path))
    assert job.state is JobState.SUCCEEDED, job
    state = json.loads((folder / "callbacks/output/state.json").read_text())
    assert state["prepared"] is True and state["job"] == [str(UUID(JOB)), "test", "callbacks"]
    assert state["inputs"] == {"left": ["left.txt"], "right": ["right.txt"]}
    assert (folder / "callbacks/logs/1/stdout.log").read_text() == "cleaned True\n"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/old-operators.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_operator_in_c_of_the_guide(runner: LocalRunner, tmp_path: Path) -> None:
    spec = graphs.shell(tmp_path, "in-c", "", command=("./operator",))
    assert spec.folder is not None
    words = ["cc", "-Wall", "-Werror", "-x", "c", "-", "-o", str(spec.folder / "operator")]
    subprocess.run(words, input=block("c"), text=True, timeout=60, check=True)
    job, folder = run(runner, graphs.chain(spec), graphs.payload(tmp_path, **{"volume.raw": "a\u00ff"}))
    assert job.state is JobState.SUCCEEDED, job
    assert (folder / "in-c/output/volume.raw").read_bytes() == b"\0\1\1"
    (tmp_path / "payload/volume.raw").rename(tmp_path / "payload/other")
    runner.submit(graphs.chain(spec), LATER, graphs.payload(tmp_path))
    assert end(World(runner), LATER).stage("in-c").message == "exit code 1: no volume.raw in the input"  # type: ignore[arg-type]


def test_the_definition_and_the_dockerfile_of_the_guide() -> None:
    findings = Findings("stage.yaml", strict=True)
    spec = stage.spec(parse(block("yaml"), "stage.yaml"), "lung-seg", findings)
    assert findings.all == () and (spec.input_paths, spec.output_paths[""]) == (("/input", "/dcm"), "/output")
    assert images.TAKES_SHIM.search(block("dockerfile"))


@pytest.mark.skipif(Path("/input").exists(), reason="this machine has a folder /input")
def test_folders_in_the_code_are_said_when_they_are_missed(runner: LocalRunner, tmp_path: Path) -> None:
    job, _ = run(runner, graphs.chain(operator(tmp_path, "fixed_folders.py")), graphs.payload(tmp_path))
    message = job.stage("fixed-folders").message
    assert "No such file or directory: '/input'" in message
    assert "it needs /input, a path of a container: run it with --engine podman or docker" in message


GLOB = "# /dcm\nimport glob, shutil\nfor name in glob.glob('/input/*'):\n    shutil.copy(name, '/output')\n"
LOGGED = "import os, sys\ntry: os.listdir('/dcm')\nexcept OSError as error: print('Failed to list files:', error)\n"


@pytest.mark.skipif(Path("/input").exists() or Path("/dcm").exists(), reason="this machine has such a folder")
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (GLOB, "its code names /input (main.py): if that is where its folders are, run it with --engine podman"),
        (LOGGED, "it needs /dcm, a path of a container: run it with --engine podman or docker"),
        ("import sys\nsys.exit('fopen: No such file or directory')  # '/input'\n", "its code names /input (main.py)"),
    ],
)
def test_folders_in_the_code_are_said_when_it_does_not_miss_them(
    runner: LocalRunner, tmp_path: Path, code: str, advice: str
) -> None:
    job, _ = run(runner, graphs.chain(graphs.python(tmp_path, "quiet", code)), graphs.payload(tmp_path))
    message = job.stage("quiet").message
    assert job.state is JobState.FAILED and advice in message, message


def test_what_the_code_names(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("VOLUME /input\n")
    (tmp_path / "notes.md").write_text("/input\n")
    (tmp_path / "run.sh").write_text("# /input\nls /inputs a/input /data/in\n")
    spec = StageSpec(name="x", folder=tmp_path)
    assert hints.silent("", spec) == hints.silent("", StageSpec(name="x")) == ""
    (tmp_path / "operator").write_bytes(b"\x7fELF\0\xff\0/output/mask.raw\0")
    assert hints.silent("", spec) == "", "nobody may execute it"
    (tmp_path / "operator").chmod(0o755)
    assert "its code names /output/mask.raw (operator): " in hints.silent("", spec)
    assert hints.silent("ValueError: no lung", spec) == hints.silent("No such file or directory: 'a.pt'", spec) == ""
    assert "say inputPaths, outputPaths" in hints.silent("", spec, contained=True)
    assert hints.silent("", replace(spec, output_paths={"": "/output"}), contained=True) == ""


@pytest.mark.parametrize(
    ("values", "args", "path"),
    [
        ({"command": ("python3", "/app/main.py")}, (), "/app/main.py"),
        ({"command": ("sh", "-c", "cp -r /input/* /output")}, (), "/input/*"),
        ({"command": ("python3", "main.py", "--out=/output/x")}, (), "/output/x"),
        ({}, ("--study", "/dcm"), "/dcm"),
        ({"app_dir": "/workspace"}, ("/workspace/model.bin",), "/workspace/model.bin"),
        ({"input_paths": ("/data/in",)}, ("-i", "/data/in"), "/data/in"),
        ({"output_paths": {"": "/results"}}, ("-o:/results",), "/results"),
    ],
)  # fmt: skip
def test_paths_of_a_container_in_the_command_are_refused(
    runner: LocalRunner, tmp_path: Path, values: dict[str, Any], args: tuple[str, ...], path: str
) -> None:
    spec = operator(tmp_path, "fixed_folders.py", **values)
    with pytest.raises(NotInstalled) as refused:
        runner.submit(graphs.graph(graphs.node(spec, args=args)), JOB, graphs.payload(tmp_path))
    assert f"its command needs {path}, a path inside its image" in str(refused.value)
    assert "--engine podman or docker" in str(refused.value)
    assert runner.list() == ()


@pytest.mark.parametrize(
    "word",
    [
        "input",
        "./input",
        "my/input/x",
        "/application",
        "/inputs",
        "a.b/output",
        "//host",
        "/input.txt",
        "-/output-x",
        "",
    ],
)
def test_other_words_are_not(word: str) -> None:
    assert hints.path_in(word, StageSpec(name="x")) == ""


class Triton(BaseHTTPRequestHandler):
    """Says that it is ready where Triton 2 does, and nowhere else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v2/health/ready" else 404)
        self.end_headers()

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def triton() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Triton) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_client_of_the_old_inference_server_is_told_to_be_updated(
    runner: LocalRunner, tmp_path: Path, triton: str
) -> None:
    spec = operator(tmp_path, "server_poll.py", env={"NVIDIA_CLARA_TRTISURI": triton})
    job, _ = run(runner, graphs.chain(spec), graphs.payload(tmp_path))
    message = job.stage("server-poll").message
    assert "the inference server is not ready" in message
    assert "update its client to tritonclient" in message


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ls: cannot access '/input': No such file or directory", "it needs /input,"),
        ("sh: 1: cannot create /output/x: Directory nonexistent", "it needs /output/x,"),
        ("PermissionError: [Errno 13] Permission denied: '/publish/a b'", "it needs /publish/a,"),
        ("FileNotFoundError: /no/such\nINFO: exited", ""),
        ("No such file or directory: '/input'\nfailed to list files\nException: nothing", "it needs /input,"),
        ("cannot open '/app/nothing' (/app/nothing)", "it needs /app/nothing,"),
        ("error: /input. does not exist", "it needs /input,"),
        ("FileNotFoundError: No such file or directory: '/jobs/1/input/liver;payload'", "split at ';' first"),
        ("ModuleNotFoundError: No module named 'tensorrtserver'", "update its client"),
        ("404 Client Error: Not Found for url: http://trtis:8000/api/status", "update its client"),
        ("my /api/statuses are fine, and so is /input", ""),
        ("", ""),
    ],
)
def test_advice(said: str, advice: str) -> None:
    found = hints.advice(said, StageSpec(name="x"))
    assert advice in found and bool(advice) is bool(found)
    within = hints.advice(said, StageSpec(name="x"), contained=True)
    assert ("appDir: /" in within or "/app" in said) if "--engine" in found else within == found


@given(
    st.lists(
        st.one_of(st.text(max_size=30), st.sampled_from(["/input", "not found", ";", "'", "/", "\n"])), max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_nothing_that_a_program_says_is_too_much(parts: list[str]) -> None:
    found = hints.advice("".join(parts), StageSpec(name="x", app_dir="/a(b", input_paths=("/[",)))
    assert isinstance(found, str) and "\n" not in found


def test_advice_looks_at_the_end() -> None:
    text = "No such file or directory: '/input'\n" + "it went on\n" * 30
    assert hints.advice(text, StageSpec(name="x")) == ""

"""clara_driver as stages use it: in a process of its own, through folders, exit codes and what is left behind."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import STAGES, CompletedStage, run_stage

from clara_driver import contract, volume

DRIVER = STAGES / "clara_driver"


def program(root: Path, body: str, imports: str = "") -> Path:
    """A stage folder whose main.py has this body inside `with clara_driver.stage() as stage`."""
    folder = root / "my-stage"
    folder.mkdir(exist_ok=True)
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "main.py").write_text(f"import clara_driver\n{imports}\nwith clara_driver.stage() as stage:\n{lines}")
    return folder


def run(root: Path, body: str, imports: str = "", **more: object) -> CompletedStage:
    (root / "in").mkdir(exist_ok=True)
    return run_stage(program(root, body, imports), input=root / "in", **more)  # type: ignore[arg-type]


def test_success_leaves_output_lock_and_progress(tmp_path: Path) -> None:
    done = run(tmp_path, "(stage.output / 'x').write_text('1')\nstage.progress(3, 7)\nstage.log('half\\nway')")
    assert done.code == 0, done.log
    assert [path.name for path in done.output.iterdir()] == ["x"]
    assert done.locks == ["input.lock", "my-stage.lock"]
    assert (done.progress, done.error) == ("3/7", "")
    assert done.log == "my-stage: half way\n"
    assert (done.folder / "logs/my-stage.log").read_text().endswith("Z half way\n")


def test_everything_it_is_given(tmp_path: Path) -> None:
    body = (
        "import json\n"
        "values = {name: str(value) for name, value in stage._asdict().items()}\n"
        "(stage.output / 'x').write_text(json.dumps(values))"
    )
    (tmp_path / "study").mkdir()
    done = run(
        tmp_path, body, study=tmp_path / "study",
        env={contract.ATTEMPT: "2", contract.TRITON_URL: "host:8001", contract.MODELS: "/models"},
    )  # fmt: skip
    assert done.code == 0, done.log
    values = json.loads((done.output / "x").read_text())
    assert values["input"] == str(tmp_path / "in") and values["study"] == str(tmp_path / "study")
    assert (values["attempt"], values["timeout"], values["name"]) == ("2", "300", "my-stage")
    assert (values["triton_url"], values["models"]) == ("host:8001", "/models")
    assert values["created"] == "2026-01-31T08:15:30.123Z"
    assert values["workflow_digest"] == "0" * 64 and len(values["job"]) == 32


def test_inputs_of_a_join(tmp_path: Path) -> None:
    body = "(stage.output / 'x').write_text(' '.join(f'{k}={v.name}' for k, v in sorted(stage.inputs.items())))"
    done = run(tmp_path, body, env={contract.INPUTS: "left right"})
    assert (done.output / "x").read_text() == "left=left right=right"
    done = run(tmp_path, body)
    assert (done.output / "x").read_text() == "=in"


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        ("raise clara_driver.TemporaryFailure('the server is away')", 75, "the server is away"),
        ("raise clara_driver.TemporaryFailure()", 75, "temporary failure"),
        ("raise clara_driver.FinalFailure('no series\\nin the input \\x1b[31m')", 1, "no series in the input [31m"),
        ("from clara_driver import volume; volume.read(stage.input / 'x.mhd')", 1, None),
        ("import sys; sys.exit('as Python has it')", 1, "as Python has it"),
        ("import sys; sys.exit(3)", 3, ""),
    ],
)
def test_failures(tmp_path: Path, body: str, code: int, error: str | None) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.mhd").write_text("nonsense")
    done = run(tmp_path, body)
    assert done.code == code
    assert "Traceback" not in done.log
    assert done.locks == ["input.lock"]
    assert done.error == error if error is not None else "x.mhd" in done.error
    if error and code != 1:
        assert done.log == f"my-stage: {error}\n"


def test_a_bug_shows_its_traceback_and_one_line_for_people(tmp_path: Path) -> None:
    done = run(tmp_path, "{}['x']")
    assert done.code == 1
    assert "Traceback" in done.log and done.error == "KeyError: 'x'"
    assert done.locks == ["input.lock"]


def test_a_message_is_bounded(tmp_path: Path) -> None:
    done = run(tmp_path, "raise clara_driver.FinalFailure('x' * 10**7)")
    assert len(done.error) == 500 and len(done.log) < 600


def test_leaving_early_with_zero_is_success(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; sys.exit()").locks == ["input.lock", "my-stage.lock"]


def test_another_contract_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "pass", env={contract.CONTRACT: "2"})
    assert done.code == 1 and "CLARA_CONTRACT is 2" in done.error and "same release" in done.error
    assert "a whole number" in run(tmp_path, "pass", env={contract.TIMEOUT: "soon"}).error


def test_full_disk_under_progress_and_logs_is_no_failure(tmp_path: Path) -> None:
    done = run(tmp_path, "stage.progress(1, 2)\nstage.log('x')", env={contract.PROGRESS_FILE: "/dev/full"})
    assert done.code == 0, done.log


def alone(folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "main.py"], cwd=folder, env={"PATH": os.defpath, "PYTHONPATH": str(STAGES)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


ALONE = "(stage.output / 'x').write_text('{} {} {}'.format(stage.study, stage.locks, (stage.input / 'a').read_text()))"


def test_works_alone_with_input_and_output(tmp_path: Path) -> None:
    folder = program(tmp_path, ALONE)
    (folder / "input").mkdir()
    (folder / "input/a").write_text("content")
    done = alone(folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "output/x").read_text() == "None None content"
    (folder / "study").mkdir()
    alone(folder)
    assert (folder / "output/x").read_text() == "study None content"
    assert sorted(path.name for path in folder.iterdir()) == ["input", "main.py", "output", "study"]


def _python38() -> str | None:
    found = shutil.which("python3.8")
    pyenv = sorted((Path.home() / ".pyenv/versions").glob("3.8.*/bin/python3.8"))
    for candidate in [*map(str, pyenv), *([found] if found else [])]:
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def test_runs_on_python_3_8(tmp_path: Path) -> None:
    python = _python38()
    if python is None:
        pytest.skip("no Python 3.8 on this machine; its syntax is checked all the same")
    folder = program(tmp_path, ALONE + "\nfrom clara_driver import publish, callbacks, volume", "import clara_driver")
    (folder / "input").mkdir()
    (folder / "input/a").write_text("content")
    done = alone(folder, python)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(DRIVER.glob("*.py")), ids=lambda path: path.name)
def test_syntax_is_that_of_python_3_8_and_imports_are_standard(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "clara_driver"}


# SIGTERM and callbacks


CALLBACKS = """
import sys, time
import clara_driver
def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")
def prepare(driver):
    note("prepare {} {}".format(driver.stage_name, len(driver.job_id.hex)))
    return eval(sys.argv[2])
def execute(driver, work):
    note("execute {} {}".format(work.input_entries[0].path.name, driver.application_data))
    (work.output_entries[0].path / "x").write_text("1")
    return eval(sys.argv[3])
def cleanup(driver):
    note("cleanup")
    return eval(sys.argv[4])
clara_driver.Driver(prepare, execute, cleanup, application_data="mine").run()
note("after")
"""


def callbacks(root: Path, *results: str) -> tuple[CompletedStage, list[str]]:
    folder = root / "my-stage"
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(CALLBACKS)
    (root / "in").mkdir(exist_ok=True)
    done = run_stage(folder, input=root / "in", args=[str(root / "notes"), *results])
    words = [line.split()[0] for line in (root / "notes").read_text().splitlines()]
    (root / "notes").unlink()
    return done, words


@pytest.mark.parametrize(
    ("prepare", "execute", "cleanup", "code", "words", "error"),
    [
        ("True", "True", "True", 0, "prepare execute cleanup after", ""),
        ("None", "None", "None", 0, "prepare execute cleanup after", ""),
        ("False", "True", "True", 1, "prepare cleanup", "prepare returned False"),
        ("True", "False", "True", 1, "prepare execute cleanup", "execute returned False"),
        ("True", "True", "False", 1, "prepare execute cleanup", "cleanup returned False"),
        ("True", "1/0", "True", 1, "prepare execute cleanup", "ZeroDivisionError: division by zero"),
        ("True", "{}['first']", "1/0", 1, "prepare execute cleanup", "KeyError: 'first'"),
    ],
)
def test_callbacks(tmp_path: Path, prepare: str, execute: str, cleanup: str, code: int, words: str, error: str) -> None:
    done, seen = callbacks(tmp_path, prepare, execute, cleanup)
    assert (done.code, seen, done.error) == (code, words.split(), error), done.log
    assert ("my-stage.lock" in done.locks) == (code == 0)


def test_sigterm_unwinds_and_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "my-stage"
    folder.mkdir()
    (folder / "main.py").write_text(CALLBACKS.replace("return eval(sys.argv[3])", "note('ready'); time.sleep(600)"))
    (folder / "input").mkdir()
    notes = tmp_path / "notes"
    process = subprocess.Popen(
        [sys.executable, "main.py", str(notes), "True", "True", "True"],
        cwd=folder, env={"PATH": os.defpath, "PYTHONPATH": str(STAGES), contract.LOGS: str(tmp_path)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (notes.exists() and "ready" in notes.read_text()):
        assert time.monotonic() < deadline, "the stage never came to its work"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert notes.read_text().split()[-1] == "cleanup"
    assert (tmp_path / contract.ERROR_FILE).read_text() == "ended by SIGTERM\n"


# Publish a study


def write_volume(path: Path, size: tuple[int, int, int] = (2, 3, 4), **header: object) -> None:
    made = volume.Header(size=size, element="MET_UCHAR", **header)  # type: ignore[arg-type]
    volume.write(path, made, bytes(range(made.count)))  # type: ignore[arg-type,unused-ignore]


def test_publish_writes_the_folder_of_the_render_server(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in/ct.mhd", spacing=(1.0, 1.0, 2.5))
    write_volume(tmp_path / "in/mask.mhd", spacing=(1.0, 1.0, 2.5))
    done = run(tmp_path, "stage.publish_study('liver', stage.input / 'ct.mhd', stage.input / 'mask.mhd')")
    assert done.code == 0, done.log
    meta = json.loads((done.publish / "config.meta").read_text())
    assert meta == {
        "name": "liver", "density": "liver.mhd", "settings": "config_render.json", "seg_masks": ["liver.output.mhd"],
    }  # fmt: skip
    header, voxels = volume.read(done.publish / "liver.mhd")
    assert header.spacing == (1.0, 1.0, 2.5) and voxels == bytes(range(24))
    assert volume.read(done.publish / "liver.output.mhd")[1] == bytes(range(24))
    settings = json.loads((done.publish / "config_render.json").read_text())
    components = settings["TransferFunction"]["components"]
    assert [component["activeRegions"] for component in components] == [[0], [1], [2], [3], [4], [5], [6]]
    assert all(0 <= c["range"]["min"] < c["range"]["max"] <= 1 for c in components)
    assert {path.name for path in done.publish.iterdir()} == {
        "config.meta", "config_render.json", "liver.mhd", "liver.raw", "liver.output.mhd", "liver.output.raw",
    }  # fmt: skip


def test_publish_other_settings_and_nifti(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ct.nii.gz").write_bytes(b"nifti")
    done = run(tmp_path, "stage.publish_study('a', stage.input / 'ct.nii.gz', settings={'View': {'mode': 'SLICE'}})")
    assert json.loads((done.publish / "config.meta").read_text())["density"] == "a.nii.gz"
    assert json.loads((done.publish / "config_render.json").read_text()) == {"View": {"mode": "SLICE"}}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("'../x', stage.input / 'ct.mhd'", "a name has 1-64"),
        ("'x', stage.input / 'none.mhd'", "No such file"),
        ("'x', stage.input / 'ct.png'", "is not one of .nii.gz, .nii, .mhd"),
        ("'x', stage.input / 'ct.mhd', stage.input / 'other.mhd'", "the mask has size (2, 2, 2)"),
        ("'x', stage.input / 'ct.mhd', stage.input / 'moved.mhd'", "the mask has origin"),
    ],
)
def test_publish_refuses_by_name(tmp_path: Path, call: str, words: str) -> None:
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in/ct.mhd")
    write_volume(tmp_path / "in/other.mhd", size=(2, 2, 2))
    write_volume(tmp_path / "in/moved.mhd", origin=(0.0, 0.0, 5.0))
    done = run(tmp_path, f"stage.publish_study({call})")
    assert done.code == 1 and words in done.error, done.log
    assert not (done.publish / "config.meta").exists()


def test_publish_once_and_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in/ct.mhd")
    twice = "for _ in range(2): stage.publish_study('x', stage.input / 'ct.mhd')"
    assert "one study a stage" in run(tmp_path, twice).error
    done = run(tmp_path, "stage.publish_study('x', stage.input / 'ct.mhd')", env={contract.PUBLISH: ""})
    assert "publish: true" in done.error

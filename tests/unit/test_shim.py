"""The library `clara` as operators use it: in a process of its own, with clara_driver beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import STAGES, CompletedStage, run_stage

from clara_argo import shim

WAYS = {
    "by keyword": "prepare_handler=prepare, execute_handler=execute, cleanup_handler=cleanup, application_data=data",
    "in short": "prepare=prepare, execute=execute, cleanup=cleanup, application_data=data",
    "by position": "prepare, execute, cleanup, notify, data",
    "data first": "data, prepare, execute, cleanup",
    "with a gap": "prepare, execute, cleanup, None, data",
}
HANDLERS = """
import clara, json, sys
data = ["data"]
def notify(*more): data.append("notify")
def prepare(driver): driver.application_data.append("prepare"); return True
def execute(driver, payload):
    driver.application_data.append("execute")
    with open(payload.output_entries[0].path + "/said", "w") as file: json.dump(driver.application_data, file)
    return True
def cleanup(driver): print("cleanup after", driver.application_data[-1]); return True
"""
THREAD = (
    "import threading; begun, waiting = threading.Event(), threading.Event()\n"
    "thread = threading.Thread(target=driver.start); thread.start(); "
)
RUN = "\ndriver.start()\ndriver.wait_for_completion()\nprint('went on')\n"


def run(root: Path, code: str, **env: str) -> CompletedStage:
    folder = root / "op"
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(code)
    (root / "in").mkdir(exist_ok=True)
    return run_stage(folder, input=root / "in", env={"PYTHONPATH": f"{STAGES}:{shim.folder()}", **env})


def handlers(execute: str, **more: str) -> str:
    """A program whose execute has this body."""
    others = "".join(f"def {name}(driver): {body}\n" for name, body in more.items())
    named = "".join(f", {name}_handler={name}" for name in more)
    driver = f"driver = clara.Driver(execute_handler=execute{named})"
    return f"import clara, sys\n{others}def execute(driver, payload): {execute}\n{driver}{RUN}"


@pytest.mark.parametrize("way", WAYS)
def test_handlers_run_in_order_however_they_are_given(tmp_path: Path, way: str) -> None:
    done = run(tmp_path, f"{HANDLERS}driver = clara.Driver({WAYS[way]}){RUN}")
    assert done.code == 0, done.log
    assert json.loads((done.output / "said").read_text()) == ["data", "prepare", "execute"]
    assert done.log == "cleanup after execute\nwent on\n" and done.error == ""
    assert done.locks == ["input.lock", "op.lock"]


def test_a_handler_alone_is_execute_and_waiting_starts_it(tmp_path: Path) -> None:
    body = "open(payload.output_entries[0].path + '/x', 'w').close()"
    done = run(tmp_path, f"import clara\ndef run(driver, payload): {body}\nclara.Driver(run).wait_for_completion()\n")
    assert done.code == 0 and [path.name for path in done.output.iterdir()] == ["x"], done.log


@pytest.mark.parametrize(
    ("execute", "more", "code", "error", "log"),
    [
        ("return None", {}, 0, "", "went on\n"),
        ("return True", {}, 0, "", "went on\n"),
        ("return False", {}, 1, "execute returned False", "op: execute returned False\n"),
        ("return 0", {}, 1, "execute returned False", "op: execute returned False\n"),
        ("raise ValueError('3 wrong files')", {}, 1, "ValueError: 3 wrong files", "ValueError: 3 wrong files\n"),
        ("print('never')", {"prepare": "return False"}, 1, "prepare returned False", "op: prepare returned False\n"),
        ("return True", {"cleanup": "return False"}, 1, "cleanup returned False", "op: cleanup returned False\n"),
        ("raise ValueError('it')", {"cleanup": "print('cleaned')"}, 1, "ValueError: it", "it\ncleaned\n"),
        ("sys.exit(75)", {}, 75, "", ""),
        ("import clara_driver; raise clara_driver.TemporaryFailure('full')", {}, 75, "full", "op: full\n"),
        ("payload.fastio_context", {}, 1, "Error: payload.fastio_context", "read and write the folders instead\n"),
        ("payload.nothing", {}, 1, "AttributeError: nothing", "AttributeError: nothing\n"),
    ],
)  # fmt: skip
def test_how_it_ends(tmp_path: Path, execute: str, more: dict[str, str], code: int, error: str, log: str) -> None:
    done = run(tmp_path, handlers(execute, **more))
    assert done.code == code, done.log
    assert error in done.error and done.log.endswith(log)
    assert ("op.lock" in done.locks) is (code == 0)
    assert ("cleaned" in done.log) is ("cleaned" in more.get("cleanup", ""))


def test_a_program_that_catches_everything_cannot_turn_a_failure_into_success(tmp_path: Path) -> None:
    code = handlers("raise ValueError('it')").replace("driver.start()", "try: driver.start()\nexcept: print('caught')")
    done = run(tmp_path, code)
    assert (done.code, done.error) == (1, "ValueError: it")
    assert done.log.endswith("caught\n")


def test_nor_one_that_catches_the_waiting_as_well(tmp_path: Path) -> None:
    bye = "import atexit; atexit.register(print, 'bye')\ntry: driver.start(); driver.wait"
    code = handlers("raise ValueError('it')").replace("driver.start()\ndriver.wait", bye)
    done = run(tmp_path, code.replace("()\nprint('went", "()\nexcept: pass\nprint('went"))
    assert (done.code, done.error, done.locks) == (1, "ValueError: it", ["input.lock"])
    assert done.log.endswith("went on\nbye\n")


def test_nor_one_that_starts_it_in_a_thread(tmp_path: Path) -> None:
    code = handlers("return False").replace("driver.start()\ndriver.wait_for_completion()", THREAD + "thread.join()")
    done = run(tmp_path, code)
    assert (done.code, done.error, done.locks) == (1, "execute returned False", ["input.lock"])
    assert "went on\n" in done.log


def test_waiting_is_for_the_handlers_of_another_thread(tmp_path: Path) -> None:
    body = "begun.set(); waiting.wait(30); print('executed')"
    code = handlers(body).replace(
        "driver.start()", THREAD + "begun.wait(30); threading.Timer(0.1, waiting.set).start()"
    )
    done = run(tmp_path, code)
    assert done.code == 0, done.log
    assert done.log == "executed\nwent on\n"


def test_a_handler_does_not_wait_for_itself(tmp_path: Path) -> None:
    done = run(tmp_path, handlers("driver.wait_for_completion()"))
    assert done.code == 1 and "a handler cannot wait for the driver that runs it" in done.error


def test_sigterm_calls_cleanup(tmp_path: Path) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    done = run(tmp_path, handlers(kill, cleanup="print('cleaned', flush=True)"))
    assert (done.code, done.error) == (143, "ended by SIGTERM")
    assert done.log == "cleaned\n"


def test_what_a_driver_is_not_given(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "import clara\n"
        "for values, named in (((), {'exekute': print}), ((print, print), {'execute': print}), ((), {'prepare': 1}),\n"
        "                      ((print,) * 4 + (1, 2), {})):\n"
        "    try: clara.Driver(*values, **named)\n"
        "    except TypeError as error: print(error)\n"
        "driver = clara.Driver()\n"
        "driver.start()\n"
        "try: driver.start()\n"
        "except clara.Error as error: print(error)\n",
    )
    lines = done.log.splitlines()
    assert done.code == 0 and len(lines) == 5, done.log
    assert "no argument 'exekute'; it has prepare_handler, execute_handler" in lines[0]
    assert "'execute_handler' twice" in lines[1] and "'prepare_handler' must be a function" in lines[2]
    assert "at most 5 values" in lines[3] and "started before" in lines[4]


def test_who_it_is_and_where_its_folders_are(tmp_path: Path) -> None:
    code = (
        "import clara, json, uuid\n"
        "def execute(driver, payload):\n"
        "    entries = [[list(entry) for entry in some] for some in (payload.input_entries, payload.output_entries)]\n"
        "    print(json.dumps([before, driver.job_id == before[0], entries]))\n"
        "driver = clara.Driver(execute)\n"
        "assert isinstance(driver.job_id, uuid.UUID)\n"
        f"before = [str(driver.job_id), driver.job_name, driver.stage_name, driver.application_data]{RUN}"
    )
    done = run(tmp_path, code)
    before, _, entries = json.loads(done.log.splitlines()[0])
    assert before == ["01234567-89ab-cdef-0123-456789abcdef", "test", "op", None]
    assert entries == [[["input", str(tmp_path / "in")]], [["output", str(done.output)]]]
    variables = {
        "NVIDIA_CLARA_INPUTPATHS": "ct:/a/b;dcm:/c:d;broken", "NVIDIA_CLARA_OUTPUTPATHS": "seg:/o/seg",
    }  # fmt: skip
    _, _, entries = json.loads(run(tmp_path, code, **variables).log.splitlines()[0])
    assert entries == [[["ct", "/a/b"], ["dcm", "/c:d"]], [["seg", "/o/seg"]]]


def test_a_folder_with_separators_in_its_name_is_not_cut(tmp_path: Path) -> None:
    odd = tmp_path / "ct;a:1"
    odd.mkdir()
    body = "print([list(entry) for entry in payload.input_entries])"
    done = run(tmp_path, handlers(body), CLARA_INPUT=str(odd), NVIDIA_CLARA_INPUTPATHS=f"input:{odd}")
    assert done.log.startswith(f"[['input', '{odd}']]\n")


def test_logging_is_pythons_and_parts_are_timed(tmp_path: Path) -> None:
    code = (
        "import clara.logging.perf_logger\n"
        "from clara.logging import getLogger, INFO, perf_logger\n"
        "import logging\n"
        "assert getLogger('x') is logging.getLogger('x') and INFO == logging.INFO\n"
        "perf_logger.stage_started('setup', 'app setup')\n"
        "perf_logger.stage_ended('setup', 'app setup')\n"
        "perf_logger.stage_ended('never begun', 'a\\nb')\n"
    )
    done = run(tmp_path, code)
    first, second, third = done.log.splitlines()
    assert (first, third) == ("op: setup started: app setup", "op: never begun ended: a b")
    assert second.startswith("op: setup ended: app setup, ") and second.endswith(" s")
    assert len((done.folder / "logs/op.log").read_text().splitlines()) == 3


def test_other_packages_of_that_name_stay_importable(tmp_path: Path) -> None:
    (tmp_path / "site/clara/viz").mkdir(parents=True)
    (tmp_path / "site/clara/viz/__init__.py").write_text("name = 'viz'\n")
    path = f"{STAGES}:{shim.folder()}:{tmp_path / 'site'}"
    done = run(tmp_path, "import clara, clara.viz\nprint(clara.viz.name, clara.Driver.__name__)\n", PYTHONPATH=path)
    assert done.log == "viz Driver\n"


@pytest.mark.parametrize(
    "line",
    [
        "import clara", "import clara as c  # x", "    import clara\r", "import os, clara", "import clara, os",
        "import clara;x", "from clara import Driver", "from\tclara import (", "from clara.logging import perf_logger",
        "import clara.logging", "import clara.logging.perf_logger", "import os; import clara", "try: import clara",
    ],
)  # fmt: skip
def test_code_that_imports_it_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/main.py").write_bytes(b"#!/bin/bash\nimport os\n" + line.encode() + b"\nrest()\n")
    assert shim.wanted(tmp_path)
    (tmp_path / "clara").mkdir()
    assert not shim.wanted(tmp_path), "its own goes first"


def test_a_program_without_a_suffix_is_one_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/usr/bin/env python3\nimport clara\n")
    assert not shim.wanted(tmp_path), "as data are: nobody may execute it"
    (tmp_path / "run").chmod(0o755)
    assert shim.wanted(tmp_path)
    (tmp_path / "run").write_text("#!/bin/sh\nimport clara\n")
    assert not shim.wanted(tmp_path)


@pytest.mark.parametrize(
    ("line", "own"), [("clara==1.0", True), ("Clara", True), ("clara-viz", False), ("# clara", False)]
)
def test_a_package_that_is_required_goes_first(tmp_path: Path, line: str, own: bool) -> None:
    (tmp_path / "main.py").write_text("import clara\n")
    (tmp_path / "requirements.txt").write_text(f"numpy\n{line}\n")
    assert shim.wanted(tmp_path) is not own


@pytest.mark.parametrize(
    "line",
    [
        "import clara_driver", "from clara_driver import stage", "import clara.viz", "from clara.viz.core import x",
        "clara = 1", "# import clara", "important clara", "import claras", "import xclara", "",
    ],
)  # fmt: skip
def test_other_code_does_not_get_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "main.py").write_text(f"{line}\n")
    (tmp_path / "main.txt").write_text("import clara\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/x.py").write_text("import clara\n")
    assert not shim.wanted(tmp_path)


def test_what_is_looked_at_is_bounded_and_broken_links_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.py").mkdir()
    (tmp_path / "c.py").write_text("import " + "a , " * 100_000 + "\nimport clara\n")
    assert shim.wanted(tmp_path)
    monkeypatch.setattr(shim, "MAX_BYTES", 1000)
    assert not shim.wanted(tmp_path)


def test_a_file_that_cannot_be_read_is_nobodys_import(tmp_path: Path) -> None:
    assert shim.beginning(tmp_path / "gone.py") == shim.beginning(tmp_path) == b""


def test_the_folder_holds_the_library_only() -> None:
    assert [path.name for path in shim.folder().iterdir()] == ["clara"]


OPERATOR = (
    "import clara, clara.logging\n"
    "from clara.logging import INFO, basicConfig, getLogger, perf_logger\n"
    "basicConfig(level=INFO)\n"
    "clara.logging.getLogger('op').info('begun')\n"
    "perf_logger.stage_started('all')\n"
    "def execute(driver, payload):\n"
    "    getLogger('op').info('%s %s', driver.job_id, payload.input_entries[0].name)\n"
    "    open(payload.output_entries[0].path + '/x', 'w').close()\n"
    "driver = clara.Driver(execute_handler=execute)" + RUN
)
OLD = ("3.6", "3.7")


def test_it_speaks_the_python_of_old_images() -> None:
    """As far as the grammar can tell; nothing here needs a module that 3.6 has not."""
    code = "import ast, sys; [ast.parse(open(name).read(), name, feature_version=(3, 6)) for name in sys.argv[1:]]"
    packages = (shim.package(), STAGES / "clara_driver")
    files = [str(path) for package in packages for path in sorted(package.rglob("*.py"))]
    assert len(files) == 11
    subprocess.run([sys.executable, "-c", code, *files], check=True, timeout=60)


@pytest.mark.parametrize("version", OLD)
def test_it_runs_on_the_python_of_old_images(tmp_path: Path, version: str) -> None:
    python = old_python(version)
    if not python:
        pytest.skip(f"no Python {version} on this machine; its grammar is checked all the same")
    (tmp_path / "main.py").write_text(OPERATOR)
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    done = subprocess.run(
        [python, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": f"{STAGES}:{shim.folder()}", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert "INFO:op:begun" in done.stderr and "input" in done.stderr and "stage: all started" in done.stderr


def old_python(version: str) -> str:
    places = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python{version}"))
    return next(map(str, places), "") or shutil.which(f"python{version}") or ""

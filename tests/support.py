"""Shared by the tests: run a stage as a process, as a runner would, without importing its insides.

done = run_stage("dicom-reader", input=folder, args=["--series", "1"])
assert done.code == 0, done.log
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clara_driver import contract

ROOT = Path(__file__).resolve().parent.parent
STAGES = ROOT / "stages"
LONG = bool(os.environ.get("CLARA_LONG"))
JOB = "0123456789abcdef0123456789abcdef"
CREATED = "2026-01-31T08:15:30.123Z"


def examples(number: int) -> int:
    """How many examples of Hypothesis: all of them in the long form only."""
    return number if LONG else max(number // 4, 20)


def a_few(values: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of a test: those that are `kept` always (their `name`, where they have one), the others in the long
    form only."""
    return [pytest.param(one, marks=() if getattr(one, "name", one) in kept else pytest.mark.long) for one in values]


class CompletedStage(NamedTuple):
    code: int  # exit code; negative = killed by that signal
    output: Path
    log: str  # what the stage wrote to stdout and stderr
    progress: str  # "done/total", as last written
    error: str  # the reason the driver left for the runner; "" when it left none
    folder: Path  # holds locks, logs, publish and the output

    @property
    def publish(self) -> Path:
        return self.folder / "publish"

    @property
    def locks(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "locks").iterdir())


def run_stage(
    stage: str | Path,
    *,
    input: Path,
    study: Path | None = None,
    args: Sequence[str] = (),
    output: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 280,
) -> CompletedStage:
    """Run `main.py` of a shipped stage (by name) or of a stage folder. `env` adds to, or replaces, the variables.

    `output` is the output folder (made when it is not there); None takes a new one that is removed at exit.
    """
    code = STAGES / stage if isinstance(stage, str) else stage
    work = Path(tempfile.mkdtemp(prefix="clara-stage-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    output = output if output is not None else work / "output"
    for folder in (output, work / "locks", work / "logs", work / "publish", work / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    (work / "locks" / contract.INPUT_LOCK).touch()
    process = subprocess.run(
        [sys.executable, str(code / "main.py"), *args],
        cwd=work / "tmp",
        env={**_variables(code, input, output, study, work), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    log = process.stdout.decode("utf-8", "replace")
    progress, error = _text(work / "progress"), _text(work / "logs" / contract.ERROR_FILE)
    return CompletedStage(process.returncode, output, log, progress, error, work)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def driver_path(folder: Path) -> Path:
    """A folder that holds clara_driver and nothing else: a stage must not import what its container lacks."""
    folder.mkdir(exist_ok=True)
    if not (folder / "clara_driver").exists():
        (folder / "clara_driver").symlink_to(STAGES / "clara_driver", target_is_directory=True)
    return folder


def _variables(code: Path, input: Path, output: Path, study: Path | None, work: Path) -> dict[str, str]:
    variables = {
        "PATH": os.defpath,
        "HOME": str(work / "tmp"),
        "TMPDIR": str(work / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(driver_path(work / "lib")),
        contract.CONTRACT: contract.VERSION,
        contract.INPUT: str(input.resolve()),
        contract.OUTPUT: str(output.resolve()),
        contract.LOCKS: str(work / "locks"),
        contract.LOGS: str(work / "logs"),
        contract.PUBLISH: str(work / "publish"),
        contract.PROGRESS_FILE: str(work / "progress"),
        contract.JOB: JOB,
        contract.WORKFLOW: "test",
        contract.WORKFLOW_DIGEST: "0" * 64,
        contract.STAGE: code.name,
        contract.ATTEMPT: "1",
        contract.TIMEOUT: "300",
        contract.CREATED: CREATED,
    }
    if study is not None:
        variables[contract.STUDY] = str(study.resolve())
    if (code / "models").is_dir():
        variables[contract.MODELS] = str(code / "models")
    return variables

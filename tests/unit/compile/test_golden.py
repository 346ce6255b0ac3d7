"""The shipped workflows compile to the files beside them, byte for byte; CLARA_REGENERATE=1 rewrites these."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clara_argo import compile as compiler
from clara_argo import project, shipped

FOLDER = shipped.folder("templates") / "workflows"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".argo.yaml"))
CASES = [(path, fused) for path in FILES for fused in (False, True)]
ARGO = shutil.which("argo")


def golden(path: Path, fused: bool) -> Path:
    return path.with_name(f"{path.stem}{'.fused' if fused else ''}.argo.yaml")


def ids(value: object) -> str:
    return value.stem if isinstance(value, Path) else "fused" if value else "dag"


@pytest.mark.parametrize("path, fused", CASES, ids=ids)
def test_a_shipped_workflow_compiles_to_its_golden_file(path: Path, fused: bool) -> None:
    text = compiler.as_yaml(compiler.compile_graph(project.graph(path), fused=fused).template)
    if os.environ.get("CLARA_REGENERATE"):
        golden(path, fused).write_text(text, encoding="utf-8")
    assert golden(path, fused).read_text(encoding="utf-8") == text, "see what changed; CLARA_REGENERATE=1 takes it over"


def test_there_is_something_to_compile() -> None:
    assert [path.name for path in FILES] and all(golden(*case).is_file() for case in CASES)


@pytest.mark.skipif(ARGO is None, reason="no argo command: its linter is not asked")
@pytest.mark.parametrize("path, fused", CASES, ids=ids)
def test_argo_lints_the_golden_files(path: Path, fused: bool) -> None:
    command = [str(ARGO), "lint", "--offline", str(golden(path, fused))]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr

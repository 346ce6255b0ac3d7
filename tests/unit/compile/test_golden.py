"""Every shipped workflow compiles to what can run; the reference workflow to the files beside it, byte for byte.

CLARA_REGENERATE=1 rewrites these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clara_argo import compile as compiler
from clara_argo import project, shipped
from clara_argo.compile.check import check_text
from clara_argo.source import Findings

FOLDER = shipped.folder("templates") / "workflows"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".argo.yaml"))
REFERENCE = FOLDER / "ct-organs.yaml"
CASES = [(path, fused) for path in FILES for fused in (False, True)]
GOLDEN = {
    (path, fused): file
    for path, fused in CASES
    if (file := path.with_name(f"{path.stem}{'.fused' if fused else ''}.argo.yaml")).is_file() or path == REFERENCE
}
ARGO = shutil.which("argo")


def ids(value: object) -> str:
    return value.stem if isinstance(value, Path) else "fused" if value else "dag"


@pytest.mark.parametrize("path, fused", CASES, ids=ids)
def test_a_shipped_workflow_compiles(path: Path, fused: bool) -> None:
    compiled = compiler.compile_graph(project.graph(path), fused=fused, strict=True)
    text = compiler.as_yaml(compiled.template)
    golden = GOLDEN.get((path, fused))
    if golden is None:
        findings = Findings(path.name, strict=True)
        check_text(text, findings)
        assert compiled.findings == findings.all == ()
        return
    if os.environ.get("CLARA_REGENERATE"):
        golden.write_text(text, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == text, "see what changed; CLARA_REGENERATE=1 takes it over"


def test_the_reference_workflow_has_golden_files() -> None:
    assert all(GOLDEN[REFERENCE, fused].is_file() for fused in (False, True))


@pytest.mark.skipif(ARGO is None, reason="no argo command: its linter is not asked")
@pytest.mark.parametrize("golden", GOLDEN.values(), ids=lambda path: path.name)
def test_argo_lints_the_golden_files(golden: Path) -> None:
    command = [str(ARGO), "lint", "--offline", str(golden)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr

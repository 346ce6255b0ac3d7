"""hera, the second reader of Argo objects, is imported when there is one to read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clara_argo.compile import structure
from clara_argo.errors import NotInstalled


@pytest.fixture
def not_yet_imported() -> Iterator[None]:
    structure._models.cache_clear()
    yield
    structure._models.cache_clear()


def test_without_hera_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, not_yet_imported: None) -> None:
    monkeypatch.setitem(sys.modules, "hera.workflows.models", None)
    with pytest.raises(NotInstalled, match=r"clara-argo\[argo\]"):
        structure.troubles({"kind": "Workflow"})


def test_what_reads_no_workflow_does_without_hera(tmp_path: Path) -> None:
    """The chart of a platform has none."""
    words = ["cluster", "chart", "--output", str(tmp_path / "chart")]
    code = f"import sys\nfrom clara_argo.cli import main\ntry: main({words!r})\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (tmp_path / "chart" / "Chart.yaml").is_file()
    modules = set(done.stdout.splitlines()[-1].split())
    assert "clara_argo.compile.check.reading" in modules and not modules & {"hera", "pydantic"}

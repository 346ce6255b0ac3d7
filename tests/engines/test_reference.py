"""A shipped workflow with the real images of its stages: podman gives the bytes that processes give."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from cluster import images
from engines import box

from clara_argo.artifacts import tree
from clara_argo.cli import main
from clara_argo.demo import studies

pytestmark = pytest.mark.long
WORKFLOW = images.ROOT / "templates/workflows/ct-organs.yaml"


def test_the_same_bytes(podman: box.Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        archives = images.archives(*images.STAGES)
    except LookupError as error:
        pytest.skip(str(error))
    for archive in archives.values():
        podman.load(archive)
    for name, value in podman.environment().items():
        monkeypatch.setenv(name, value)
    study = tmp_path / "study"
    studies.made_up(study)
    digests = {}
    for engine in ("process", "podman"):
        words = ["run", str(WORKFLOW), "--input", str(study), "--output", str(tmp_path / engine), "--engine", engine]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        digests[engine] = tree.digest(tmp_path / engine)
    assert len(list((tmp_path / "podman").glob("*.dcm"))) >= 1
    assert digests["process"] == digests["podman"]
    assert podman.containers() == []

"""The reference workflow with the real images of its stages: on the cluster it gives what it gives on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from cluster import images, objects
from cluster.conftest import Cluster

from clara_argo.artifacts import tree
from clara_argo.cli import main
from clara_argo.demo import studies

WORKFLOW = images.ROOT / "templates/workflows/ct-organs.yaml"


def test_the_same_bytes_on_the_cluster_as_one_pod_and_here(
    cluster: Cluster, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f"argo: {{registry: {registry}}}\none-pod: {{registry: {registry}, fused: true}}"
    monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(tmp_path, settings))
    study = tmp_path / "study"
    studies.made_up(study)
    digests = {}
    for target in ("local", "argo", "one-pod"):
        output = tmp_path / target
        words = ["run", str(WORKFLOW), "--on", target, "--input", str(study), "--output", str(output), "-o", "json"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        digests[target] = tree.digest(output)
        gone = CliRunner().invoke(main, ["delete", json.loads(done.stdout)["id"]])
        assert gone.exit_code == 0, gone.output
    assert list((tmp_path / "local").glob("*.dcm"))
    assert len(set(digests.values())) == 1, digests

"""Shipped workflows with the real images of their stages: on the cluster they give what they give on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from cluster import images, objects
from cluster.conftest import Cluster

from clara_argo import project
from clara_argo.artifacts import tree
from clara_argo.cli import main
from clara_argo.demo import samples, studies

FOLDER = images.ROOT / "templates/workflows"
# One that ends in DICOM with a report, one that takes volumes, one that takes both, one that gives volumes, a sinogram.
EARLY_ACCESS = ["liver-seg", "ai-only", "dicom-writer-only", "ct-partial", "recon-only"]
# The others are made of the same stages: one of the two ways of a cluster is enough. As one pod recon-ai asks for more
# than two processors.
ONE_WAY = {
    "recon-ai": "argo",
    "ct-ai": "one-pod",
    "organ-seg": "one-pod",
    "dicom-reader-only": "one-pod",
    "dicom-reader-writer": "one-pod",
}
TARGETS = ("local", "argo", "one-pod")


def test_the_same_bytes_on_the_cluster_as_one_pod_and_here(
    cluster: Cluster, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    studies.made_up(study)
    assert list(same_bytes("ct-organs", study, registry, tmp_path, monkeypatch).glob("*.dcm"))


@pytest.mark.parametrize("name", EARLY_ACCESS)
def test_workflows_of_early_access_too(
    name: str, cluster: Cluster, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "input"
    samples.lay(project.graph(FOLDER / f"{name}.yaml"), source)
    assert any(same_bytes(name, source, registry, tmp_path, monkeypatch).iterdir())


@pytest.mark.parametrize("name", ONE_WAY)
def test_the_other_workflows_of_early_access(
    name: str, cluster: Cluster, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "input"
    samples.lay(project.graph(FOLDER / f"{name}.yaml"), source)
    assert any(same_bytes(name, source, registry, tmp_path, monkeypatch, ("local", ONE_WAY[name])).iterdir())


def test_no_shipped_workflow_is_left_out() -> None:
    shipped = {project.graph(path).workflow.name for path in FOLDER.glob("*.yaml") if ".argo." not in path.name}
    assert shipped == {"ct-organs", *EARLY_ACCESS, *ONE_WAY}


def same_bytes(
    name: str,
    source: Path,
    registry: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    targets: Sequence[str] = TARGETS,
) -> Path:
    """Run a workflow here, on the cluster, and there as one pod; returns the result of here, which the others equal."""
    settings = f"argo: {{registry: {registry}}}\none-pod: {{registry: {registry}, fused: true}}"
    monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(folder, settings))
    digests = {}
    for target in targets:
        output, file = folder / target, FOLDER / f"{name}.yaml"
        words = ["run", str(file), "--on", target, "--input", str(source), "--output", str(output), "-o", "json"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        digests[target] = tree.digest(output)
        gone = CliRunner().invoke(main, ["delete", json.loads(done.stdout)["id"]])
        assert gone.exit_code == 0, gone.output
    assert len(set(digests.values())) == 1, digests
    return folder / "local"

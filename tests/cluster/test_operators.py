"""A pipeline of operators on Argo, as a DAG and in one pod: paths of Clara's, a join, the job in a command."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster.conftest import Cluster
from cluster.world import World
from operators_cases import expected, pipeline

from clara_argo import project
from clara_argo.model.job import JobState


@pytest.mark.parametrize("fused", [False, True], ids=["dag", "fused"])
def test_a_pipeline_runs_as_it_is(cluster: Cluster, world: World, tmp_path: Path, fused: bool) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(pipeline(cluster.shell, (world.payload.folder / "a").read_text()))  # a name that is cleared away
    job = world.start(project.graph(path, values={"WORD": "hello"}), fused=fused)
    assert world.end(job).state is JobState.SUCCEEDED
    result = world.runner.result(job, tmp_path / "result")
    assert (result / "all").read_text() == expected((world.payload.folder / "a").read_text(), "hello", job)

"""Parts of the cluster die in the middle of a job and come back: it ends well, nothing is computed for nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster.onenode import OneNode
from cluster.shells import COPY
from cluster.world import World, running

from clara_argo.model.job import JobState

AWAY = 8.0  # seconds that a part is gone


@pytest.mark.parametrize("part", ["workflow-controller", "s3"])
def test_a_part_is_killed_while_a_stage_runs(part: str, world: World, node: OneNode, tmp_path: Path) -> None:
    stage = world.shells.stage
    job = world.start(world.shells.chain(stage("one", "sleep 6; " + COPY), stage("two")))
    world.until(job, running("one"))
    node.stop(part, kill=True)
    time.sleep(AWAY)
    node.start(part)
    assert_done_at_first_try(world, job, tmp_path)


def test_the_api_server_is_killed_under_a_watch(world: World, node: OneNode, tmp_path: Path) -> None:
    stage = world.shells.stage
    job = world.start(world.shells.chain(stage("one", "sleep 6; " + COPY), stage("two")))
    watched = world.runner.watch(job)
    while not next(watched).stage("one").started:
        pass
    node.stop("kube-apiserver", kill=True)
    time.sleep(AWAY)
    node.start("kube-apiserver")
    node.wait_for_api()
    last = list(watched)[-1]
    assert last.state is JobState.SUCCEEDED
    assert_done_at_first_try(world, job, tmp_path)


def assert_done_at_first_try(world: World, job: str, tmp_path: Path) -> None:
    ended = world.end(job)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    assert [run.attempt for run in ended.stages] == [1, 1]
    result = world.runner.result(job, tmp_path / "result")
    assert (result / "trace").read_text() == "one\ntwo\n"

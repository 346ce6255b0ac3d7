"""Parts of the cluster die in the middle of a job and come back: it ends well, nothing is computed for nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster import objects
from cluster.gate import Gate
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


def test_a_server_that_has_just_started_knows_no_rights(world: World, node: OneNode, tmp_path: Path) -> None:
    """Without the binding it says what it says in the first second of its life; the stage has ended by then."""
    space = ("-n", objects.NAMESPACE)
    stage = world.shells.stage
    with Gate(closed=True) as gate:
        job = world.start(world.shells.chain(stage("one", f"wget -q -O - {gate.url}/go; {COPY}"), stage("two")))
        world.until(job, running("one"))
        pod = node.kubectl("get", "pods", *space, "-l", f"workflows.argoproj.io/workflow=clara-{job}", "-o", "name")
        node.kubectl("delete", "rolebinding", "clara-stage", *space)
        try:
            gate.open()
            wait = ("logs", pod.strip(), "-c", "wait", *space)
            node.wait("the refusal", lambda: "is forbidden: User" in node.kubectl(*wait, check=False))
        finally:
            node.apply(*objects.namespace())
    assert_done_at_first_try(world, job, tmp_path)


def assert_done_at_first_try(world: World, job: str, tmp_path: Path) -> None:
    ended = world.end(job)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    assert [run.attempt for run in ended.stages] == [1, 1]
    result = world.runner.result(job, tmp_path / "result")
    assert (result / "trace").read_text() == "one\ntwo\n"

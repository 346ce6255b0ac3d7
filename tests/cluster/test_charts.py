"""A chart on a real cluster, by a real Helm: installed, upgraded, rolled back, taken away; after each a job runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import helm
import pytest
from cluster.conftest import Cluster
from cluster.world import World

from clara_argo import charts
from clara_argo.compile import template_name
from clara_argo.errors import NotFound, Refused
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState
from clara_argo.runners.targets import cluster as cluster_of
from clara_argo.runners.templates import apply

SAY = 'cp -R "$CLARA_INPUT"/. "$CLARA_OUTPUT"/; echo "$CLARA_TIMEOUT" > "$CLARA_OUTPUT"/limit'


class Release:
    """One release of one chart, under the name of the test's workflow."""

    def __init__(self, major: int, name: str, chart: Path, cluster: Cluster) -> None:
        self.major, self.name, self.chart = major, name, chart
        self._env = {**os.environ, **cluster.environment, "HELM_CACHE_HOME": str(chart.parent / "cache")}
        self._space = ("--namespace", cluster.target.namespace)

    def put(self, word: str, *options: str) -> str:
        return self.say(word, self.name, str(self.chart), *options)

    def say(self, word: str, *words: str) -> str:
        return helm.run(self.major, word, *words, *self._space, env=self._env)


@pytest.fixture(params=helm.EACH)
def release(request: pytest.FixtureRequest, cluster: Cluster, world: World, tmp_path: Path) -> Iterator[Release]:
    graph = _graph(world)
    charts.publish(graph, "cluster-test", tmp_path / "chart")
    made = Release(request.param, str(graph.workflow.name), tmp_path / "chart", cluster)
    yield made
    if made.name in made.say("list", "--short"):
        made.say("uninstall", made.name, "--wait")


def _graph(world: World) -> Graph:
    return world.shells.chain(world.shells.stage("one"), world.shells.stage("two", SAY))


def test_installed_upgraded_rolled_back_and_taken_away(release: Release, world: World, tmp_path: Path) -> None:
    """A job by the template's name, and one of the graph: neither changes what Helm put there."""
    graph = _graph(world)
    notes = release.put("install")
    assert f"clara submit {release.name} " in notes
    assert _limit(world, _by_name(world, graph), tmp_path / "1") == "120"
    release.put("upgrade", "--set", "stages.two.timeout=77", "--set", "semaphore.jobs=1")
    assert _limit(world, world.run(graph), tmp_path / "2") == "77"
    target, api = cluster_of("argo")
    with api, pytest.raises(Refused, match=f"Helm release {release.name}"):
        apply(graph, target, api)
    release.say("rollback", release.name, "1", "--wait")
    assert _limit(world, _by_name(world, graph), tmp_path / "3") == "120"
    release.say("uninstall", release.name, "--wait")
    with pytest.raises(NotFound, match="is not there"):
        _by_name(world, graph)
    assert _limit(world, world.run(graph), tmp_path / "4") == "120"  # put there by the submission, no more by Helm


def _by_name(world: World, graph: Graph) -> Job:
    return world.end(world.start_by_name(template_name(graph.workflow.name, fused=False)))


def _limit(world: World, job: Job, into: Path) -> str:
    assert job.state is JobState.SUCCEEDED, job
    return (world.runner.result(job.id, into) / "limit").read_text().strip()

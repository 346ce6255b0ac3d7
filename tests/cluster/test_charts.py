"""A chart on a real cluster, by a real Helm: installed, upgraded, rolled back, taken away; after each a job runs."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import helm
import pytest
from cluster.conftest import Cluster
from cluster.world import World

from clara_argo import charts
from clara_argo.charts import platform as platform_chart
from clara_argo.charts import writing
from clara_argo.compile import template_name
from clara_argo.errors import NotFound, Refused
from clara_argo.graph import Graph
from clara_argo.kubernetes import access
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import CONFIG_MAPS
from clara_argo.model.job import Job, JobState
from clara_argo.runners.targets import cluster as cluster_of
from clara_argo.runners.templates import apply

SAY = 'cp -R "$CLARA_INPUT"/. "$CLARA_OUTPUT"/; echo "$CLARA_TIMEOUT" > "$CLARA_OUTPUT"/limit'


# Also accounts of the release's own: their rights must be enough.
EVERYTHING = (
    "stages.one.timeout=77", "semaphore.jobs=1", "networkPolicy.create=true", "accounts.create=true",
    "accounts.stage={name}-stage", "accounts.collector={name}-gc", "route.create=true", "route.called=CT",
    "route.sources[0].aeTitle=CT1",
)  # fmt: skip


class Release:
    """One release of one chart, under the name of the test's workflow."""

    def __init__(self, major: int, name: str, chart: Path, cluster: Cluster, space: str = "") -> None:
        self.space = space or cluster.target.namespace
        self.major, self.name, self.chart = major, name, chart
        self._env = {**os.environ, **cluster.environment, "HELM_CACHE_HOME": str(chart.parent / "cache")}
        self._space = ("--namespace", self.space)

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
    return world.shells.chain(world.shells.stage("one", SAY))


def test_installed_upgraded_rolled_back_and_taken_away(release: Release, world: World, tmp_path: Path) -> None:
    """A job by the template's name, and one of the graph: neither changes what Helm put there."""
    graph = _graph(world)
    notes = release.put("install")
    assert f"clara submit {release.name} " in notes
    assert _limit(world, _by_name(world, graph), tmp_path / "1") == "120"
    release.put("upgrade", *(word for value in EVERYTHING for word in ("--set", value.format(name=release.name))))
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


SITE = ("--set", "service.type=ClusterIP", "--set", "store.endpoint=10.0.0.1:8333", "--set", "store.accessKey=a")


@pytest.fixture(params=helm.EACH)
def platform(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Release]:
    """In a namespace of its own; nothing serves it, so its adapter has no image and no volume."""
    writing.write(platform_chart.chart(), tmp_path / "chart")
    space = f"t-{secrets.token_hex(4)}"
    yield Release(request.param, "platform", tmp_path / "chart", cluster, space)
    subprocess.run(
        ["kubectl", f"--kubeconfig={cluster.target.kubeconfig}", "delete", "namespace", space, "--wait=false"]
    )


def test_the_platforms_chart(platform: Release, cluster: Cluster) -> None:
    """The API server takes all of it, and each step of it."""
    api = Api(access.find(cluster.target.kubeconfig, ""), platform.space)
    platform.put("install", "--create-namespace", *SITE, "--set", "store.secretKey=c")
    with api:
        told = api.get(CONFIG_MAPS, "artifact-repositories")["data"]["clara-v1"]
        assert "10.0.0.1:8333" in told and "{{workflow.parameters.job}}" in told
        platform.put("upgrade", *SITE, "--set", "store.secretKey=c", "--set", "adapter.create=false")
        assert not _there(api)
        platform.say("rollback", platform.name, "1")
        assert _there(api)
        platform.say("uninstall", platform.name)
        assert not _there(api)


def _there(api: Api) -> bool:
    try:
        return not api.get(CONFIG_MAPS, "clara-adapter")["metadata"].get("deletionTimestamp")
    except NotHere:
        return False


def _by_name(world: World, graph: Graph) -> Job:
    return world.end(world.start_by_name(template_name(graph.workflow.name, fused=False)))


def _limit(world: World, job: Job, into: Path) -> str:
    assert job.state is JobState.SUCCEEDED, job
    return (world.runner.result(job.id, into) / "limit").read_text().strip()

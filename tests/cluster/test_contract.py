"""What every Runner promises, on a real Argo, with a pod a stage and with all stages in one pod."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import objects
from cluster.conftest import Cluster
from cluster.gate import Gate
from cluster.mine import Mine
from cluster.shells import COPY, Shells, payload
from unit.runners.contract import OnePodContract, RunnerContract

from clara_argo.errors import NotFound
from clara_argo.graph import Graph
from clara_argo.kubernetes import access
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import TEMPLATES
from clara_argo.model.job import Payload
from clara_argo.runners import Runner
from clara_argo.runners.targets import open_runner

ASK = 'test "$(busybox wget -q -O - {url}/go)"; '
FAILS = 'test "$(busybox wget -q -O - {url}/first/fails)" = no || {{ echo no luck >&2; exit 1; }}; '


class ContractWorld:
    def __init__(self, runner: Mine, shells: Shells, gate: Gate, given: Payload) -> None:
        self.runner, self.payload = runner, given
        self._shells, self._gate = shells, gate

    def chain(self, *names: str) -> Graph:
        graph = self._shells.chain(*(self._shells.stage(name, self._script(name)) for name in names))
        return replace(graph, workflow=replace(graph.workflow, name="test"))

    def _script(self, name: str) -> str:
        script = ASK.format(url=self._gate.url)
        return script + (FAILS.format(url=self._gate.url) if name == "fails" else "") + COPY

    def release(self) -> None:
        self._gate.open()

    def clean(self) -> None:
        for job in self.runner.jobs:
            try:
                self.runner.runner.stop(job)
                self.runner.runner.delete(job)
            except NotFound:
                continue


Clean = Callable[[ContractWorld], None]


@pytest.fixture(scope="module")
def cleaning(_cluster: Cluster) -> Iterator[Clean]:
    """Jobs are deleted beside the next tests, which have others: Argo takes some seconds for each."""
    done: list[Future[None]] = []
    with ThreadPoolExecutor(3) as pool:
        yield lambda world: done.append(pool.submit(world.clean))
    _forget_templates(_cluster)
    for one in done:
        one.result()


@contextmanager
def _world(runner: Runner, cluster: Cluster, folder: Path, clean: Clean, *, closed: bool) -> Iterator[ContractWorld]:
    name = f"t-{secrets.token_hex(4)}"
    with Gate(closed=closed) as gate:
        given = payload(folder / "input", a=name)
        world = ContractWorld(Mine(runner, name), Shells(cluster.shell, "test"), gate, given)
        try:
            yield world
        finally:
            clean(world)


def _forget_templates(cluster: Cluster) -> None:
    target = cluster.target
    with Api(access.find(target.kubeconfig, target.context), target.namespace) as api:
        for name in ("test", "test-fused"):
            api.delete(TEMPLATES, name)


class TestArgo(RunnerContract):
    """A pod a stage."""

    settings = "{}"

    @pytest.fixture
    def runner(self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
        monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(tmp_path, self.settings))
        with open_runner("argo", apply=True) as found:
            yield found

    @pytest.fixture
    def world(self, runner: Runner, cluster: Cluster, tmp_path: Path, cleaning: Clean) -> Iterator[ContractWorld]:
        with _world(runner, cluster, tmp_path, cleaning, closed=False) as made:
            yield made

    @pytest.fixture
    def held(self, runner: Runner, cluster: Cluster, tmp_path: Path, cleaning: Clean) -> Iterator[ContractWorld]:
        with _world(runner, cluster, tmp_path, cleaning, closed=True) as made:
            yield made


class TestFused(OnePodContract, TestArgo):
    """All stages in one pod: it begins again as a whole."""

    settings = "argo: {fused: true}"

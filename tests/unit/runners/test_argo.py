"""ArgoRunner: the contract of every Runner on a pretended controller; tests/cluster has the same on a real one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from unit.kubernetes.stub import Stub
from unit.runners import graphs
from unit.runners.contract import OnePodContract, RunnerContract
from unit.runners.memory import MemoryStore
from unit.runners.pretend import Failure, Pretend

from clara_argo.graph import Graph
from clara_argo.model.target import Target
from clara_argo.model.workflow import Image, StageSpec
from clara_argo.runners.argo import ArgoRunner

NO_LUCK = {"fails": (Failure(text="no luck"),)}


class ArgoWorld:
    """`runner` is an ArgoRunner on a pretended cluster; `another` a second one, as of another process."""

    def __init__(self, root: Path, stub: Stub, pretend: Pretend, target: Target) -> None:
        self.stub, self.pretend, self.store, self.target = stub, pretend, pretend.store, target
        self.payload = graphs.payload(root)
        self.runner = self.another()

    def another(self, *, apply: bool = True) -> ArgoRunner:
        return ArgoRunner(self.stub.api(), self.store, self.target, apply=apply)

    def chain(self, *names: str, retries: int = 0) -> Graph:
        return graphs.chain(*(stage(name, retries=retries) for name in names))

    def release(self) -> None:
        self.pretend.release()


def stage(name: str, retries: int = 0, **values: object) -> StageSpec:
    image = Image(repository="stages/test", tag="1")
    return StageSpec(**{"name": name, "image": image, "command": ("run",), "retries": retries, **values})  # type: ignore[arg-type]


@contextmanager
def argo(
    root: Path,
    *,
    hold: bool = False,
    fused: bool = False,
    failures: Mapping[str, tuple[Failure, ...]] | None = None,
    waits: Mapping[str, str] | None = None,
    pending: int = 900,
) -> Iterator[ArgoWorld]:
    target = Target(fused=fused, pending=pending)
    with Stub() as stub, Pretend(stub, MemoryStore(), failures=failures, waits=waits, hold=hold) as pretend:
        world = ArgoWorld(root, stub, pretend, target)
        yield world
        world.runner.close()


class TestArgo(RunnerContract):
    """A pod a stage."""

    fused = False

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[ArgoWorld]:
        with argo(tmp_path, failures=NO_LUCK, fused=self.fused) as made:
            yield made

    @pytest.fixture
    def held(self, tmp_path: Path) -> Iterator[ArgoWorld]:
        with argo(tmp_path, hold=True, fused=self.fused) as made:
            yield made


class TestFused(OnePodContract, TestArgo):
    """All stages in one pod: it begins again as a whole."""

    fused = True

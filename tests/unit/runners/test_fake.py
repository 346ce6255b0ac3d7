from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.runners import graphs
from unit.runners.contract import JOB, RunnerContract, end

from clara_argo.graph import Graph
from clara_argo.model.workflow import StageSpec
from clara_argo.runners.fake import FakeRunner, Outcome


class FakeWorld:
    def __init__(self, root: Path, hold: bool) -> None:
        outcomes = {name: Outcome(lines=(f"{name} speaks",)) for name in ("first", "second", "third")}
        self.runner = FakeRunner(outcomes | {"fails": Outcome(failures=("no luck",))}, hold=hold)
        self.payload = graphs.payload(root)

    def chain(self, *names: str) -> Graph:
        return graphs.chain(*(StageSpec(name=name) for name in names))

    def release(self) -> None:
        for job in self.runner.list():
            self.runner.release(job.id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    yield FakeWorld(tmp_path, hold=False)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[FakeWorld]:
    yield FakeWorld(tmp_path, hold=True)


class TestFake(RunnerContract):
    def test_it_remembers_what_was_submitted(self, world: FakeWorld) -> None:
        for _ in range(2):
            world.runner.submit(world.chain("first"), JOB, world.payload)
        assert world.runner.submitted == [(JOB, world.payload)]

    def test_its_result_is_what_it_was_given(self, world: FakeWorld, tmp_path: Path) -> None:
        runner = FakeRunner(result={"a/seg.dcm": b"DICM"})
        runner.submit(world.chain("first"), JOB, world.payload)
        assert (runner.result(JOB, tmp_path / "r") / "a/seg.dcm").read_bytes() == b"DICM"

    def test_as_many_failures_as_written(self, world: FakeWorld) -> None:
        runner = world.runner = FakeRunner({"first": Outcome(failures=("one", "two"))})
        runner.submit(world.chain("first"), JOB, world.payload)
        messages = [end(world).message]
        for _ in range(2):
            runner.retry(JOB)
            messages.append(end(world).message)
        assert messages == ["stage 'first': one", "stage 'first': two", ""]

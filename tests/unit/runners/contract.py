"""What every Runner promises, as tests: subclass `RunnerContract` and give it a `world`.

A world has a runner, a payload, and chains of stages: `first` and `second` succeed and say "<name> speaks"; `fails`
fails the first time with the text "no luck". In a `held` world the stages wait for `release`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from clara_argo.errors import Held, JobFailed, NotFound, UsageError
from clara_argo.graph import Graph
from clara_argo.model.job import Job, JobState, Payload, StageState
from clara_argo.runners import Runner

JOB = "00000000000000000000000000000001"
LATER = "00000000000000000000000000000002"
NOBODY = "ffffffffffffffffffffffffffffffff"


class World(Protocol):
    runner: Runner
    payload: Payload

    def chain(self, *names: str) -> Graph: ...

    def release(self) -> None: ...


def run(world: World, *names: str, job: str = JOB) -> Job:
    world.runner.submit(world.chain(*names), job, world.payload)
    return end(world, job)


def end(world: World, job: str = JOB) -> Job:
    return list(world.runner.watch(job))[-1]


class RunnerContract:
    def test_submit_returns_at_once_and_is_idempotent(self, held: World) -> None:
        graph = held.chain("first", "second")
        job = held.runner.submit(graph, JOB, held.payload)
        assert not job.state.ended
        assert (job.id, job.workflow, job.workflow_digest) == (JOB, "test", graph.digest)
        assert job.payload == held.payload.id
        assert [run.name for run in job.stages] == ["first", "second"]
        assert held.runner.submit(graph, JOB, held.payload).created == job.created
        assert [known.id for known in held.runner.list()] == [JOB]
        held.release()
        ended = end(held)
        assert ended.state is JobState.SUCCEEDED
        assert held.runner.submit(graph, JOB, held.payload) == ended

    def test_a_job_that_succeeds(self, world: World) -> None:
        job = run(world, "first", "second")
        assert job.state is JobState.SUCCEEDED
        assert (job.message, job.attempt) == ("", 1)
        assert job.started is not None and job.finished is not None and job.created <= job.started <= job.finished
        for stage in job.stages:
            assert (stage.state, stage.attempt, stage.exit_code) == (StageState.SUCCEEDED, 1, 0)
            assert stage.started is not None and stage.finished is not None
        assert world.runner.get(JOB) == job
        assert Job.from_json(job.to_json()) == job

    def test_watch_ends_with_the_job(self, held: World) -> None:
        held.runner.submit(held.chain("first"), JOB, held.payload)
        seen = []
        for job in held.runner.watch(JOB):
            if not seen:
                held.release()
            seen.append(job)
        assert not seen[0].state.ended
        assert [job.state.ended for job in seen].count(True) == 1
        assert list(held.runner.watch(JOB)) == [seen[-1]]

    def test_a_job_that_fails(self, world: World, tmp_path: Path) -> None:
        job = run(world, "first", "fails", "second")
        assert job.state is JobState.FAILED
        assert "'fails'" in job.message and "no luck" in job.message
        states = [stage.state for stage in job.stages]
        assert states == [StageState.SUCCEEDED, StageState.FAILED, StageState.SKIPPED]
        assert "no luck" in job.stage("fails").message
        with pytest.raises(JobFailed, match="failed"):
            world.runner.result(JOB, tmp_path / "result")
        assert not (tmp_path / "result").exists()
        assert world.runner.submit(world.chain("first", "fails", "second"), JOB, world.payload) == job

    def test_retry_runs_what_did_not_finish(self, world: World) -> None:
        run(world, "first", "fails", "second")
        world.runner.retry(JOB)
        job = end(world)
        assert job.state is JobState.SUCCEEDED
        assert [stage.attempt for stage in job.stages] == [1, 2, 1]
        assert (job.attempt, job.message) == (2, "")

    def test_retry_from_a_stage(self, world: World) -> None:
        run(world, "first", "second", "third")
        world.runner.retry(JOB, "second")
        job = end(world)
        assert job.state is JobState.SUCCEEDED
        assert [stage.attempt for stage in job.stages] == [1, 2, 2]
        with pytest.raises(NotFound, match="nobody"):
            world.runner.retry(JOB, "nobody")

    def test_a_running_job_is_not_retried(self, held: World) -> None:
        held.runner.submit(held.chain("first"), JOB, held.payload)
        with pytest.raises(Held):
            held.runner.retry(JOB)
        held.runner.stop(JOB)

    def test_stop_and_go_on(self, held: World) -> None:
        graph = held.chain("first", "second")
        held.runner.submit(graph, JOB, held.payload)
        job = held.runner.stop(JOB)
        assert job.state is JobState.STOPPED
        assert StageState.RUNNING not in [stage.state for stage in job.stages]
        assert held.runner.get(JOB) == job
        assert held.runner.stop(JOB) == job
        assert not held.runner.submit(graph, JOB, held.payload).state.ended
        held.release()
        assert end(held).state is JobState.SUCCEEDED

    def test_jobs_are_listed_newest_first(self, world: World) -> None:
        assert world.runner.list() == ()
        run(world, "first")
        run(world, "first", job=LATER)
        assert [job.id for job in world.runner.list()] == [LATER, JOB]

    def test_logs(self, world: World) -> None:
        run(world, "first", "second")
        lines = [(line.stage, line.text) for line in world.runner.logs(JOB)]
        assert lines == [("first", "first speaks"), ("second", "second speaks")]
        assert [line.text for line in world.runner.logs(JOB, "second", follow=True)] == ["second speaks"]
        with pytest.raises(NotFound, match="nobody"):
            list(world.runner.logs(JOB, "nobody"))

    def test_logs_follow_until_the_end(self, held: World) -> None:
        held.runner.submit(held.chain("first", "second"), JOB, held.payload)
        held.release()
        assert [line.stage for line in held.runner.logs(JOB, follow=True)] == ["first", "second"]

    def test_result_is_copied_all_or_nothing(self, world: World, tmp_path: Path) -> None:
        run(world, "first")
        into = tmp_path / "deep" / "result"
        assert world.runner.result(JOB, into) == into
        assert [path.is_file() for path in into.iterdir()].count(True) >= 1
        with pytest.raises(UsageError, match="exists already"):
            world.runner.result(JOB, into)
        empty = tmp_path / "empty"
        empty.mkdir()
        world.runner.result(JOB, empty)
        assert {path.name for path in empty.iterdir()} == {path.name for path in into.iterdir()}
        assert [path.name for path in into.parent.iterdir()] == ["result"]

    def test_a_result_that_was_delivered_is_known(self, world: World, tmp_path: Path) -> None:
        run(world, "first")
        into = world.runner.result(JOB, tmp_path / "result")
        assert world.runner.delivered(JOB, into)
        next(path for path in into.iterdir() if path.is_file()).write_text("changed")
        assert not world.runner.delivered(JOB, into)
        world.runner.collected(JOB)
        assert world.runner.get(JOB).state is JobState.SUCCEEDED

    def test_resume_goes_on_with_a_failed_job(self, world: World) -> None:
        run(world, "first", "fails", "second")
        world.runner.resume(world.chain("first", "fails", "second"), JOB, world.payload)
        assert end(world).state is JobState.SUCCEEDED

    def test_a_deleted_job_is_unknown_and_may_come_again(self, held: World) -> None:
        graph = held.chain("first")
        held.runner.submit(graph, JOB, held.payload)
        with pytest.raises(Held):
            held.runner.delete(JOB)
        held.runner.stop(JOB)
        held.runner.delete(JOB)
        with pytest.raises(NotFound):
            held.runner.get(JOB)
        assert held.runner.list() == ()
        held.runner.submit(graph, JOB, held.payload)
        held.release()
        assert end(held).state is JobState.SUCCEEDED

    @pytest.mark.parametrize("job", [NOBODY, "../etc", "", "ABC"])
    def test_unknown_jobs(self, world: World, tmp_path: Path, job: str) -> None:
        runner = world.runner
        for ask in (
            lambda: runner.get(job),
            lambda: list(runner.watch(job)),
            lambda: list(runner.logs(job)),
            lambda: runner.stop(job),
            lambda: runner.retry(job),
            lambda: runner.result(job, tmp_path / "result"),
            lambda: runner.collected(job),
            lambda: runner.delete(job),
        ):
            with pytest.raises(NotFound):
                ask()
        assert not (tmp_path / "result").exists()


class OnePodContract(RunnerContract):
    """Where all stages share a pod, it begins again as a whole."""

    def test_retry_runs_what_did_not_finish(self, world: World) -> None:
        run(world, "first", "fails", "second")
        world.runner.retry(JOB)
        job = end(world)
        assert (job.state, job.attempt, job.message) == (JobState.SUCCEEDED, 2, "")
        assert [stage.attempt for stage in job.stages] == [2, 2, 1]

    def test_retry_from_a_stage(self, world: World) -> None:
        run(world, "first", "second")
        world.runner.retry(JOB, "second")
        job = end(world)
        assert job.state is JobState.SUCCEEDED
        assert [stage.attempt for stage in job.stages] == [2, 2]

"""ArgoRunner when several look at and steer one job at the same time, some of whom may less, or have another clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from unit.runners import pretend
from unit.runners.contract import JOB, LATER, end, run
from unit.runners.memory import MemoryStore
from unit.runners.test_argo import NO_LUCK, ArgoWorld, argo
from unit.runners.test_argo_status import made

from clara_argo.errors import Held
from clara_argo.kubernetes.kinds import PODS, WORKFLOWS
from clara_argo.model.job import JobState, StageState
from clara_argo.runners.argo import attempts, names, submission, sweep
from clara_argo.runners.argo.reasons import Reasons
from clara_argo.runners.argo.workflow import read

NAME = f"clara-{JOB}"
GPU = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ArgoWorld]:
    with argo(tmp_path, failures=NO_LUCK) as made:
        yield made


def hold(world: ArgoWorld) -> None:
    world.pretend._open = False


class TestTwo:
    def test_a_retry_leaves_the_pods_of_a_faster_one_alone(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(world, "fails")
        hold(world)
        remove, new = world.runner._steering.remove_pods, []

        def meanwhile(*args: Any) -> None:
            world.another().retry(JOB)
            next(job for job in world.another().watch(JOB) if job.stage("fails").state is StageState.RUNNING)
            new.extend(world.stub.list(PODS))
            remove(*args)

        monkeypatch.setattr(world.runner._steering, "remove_pods", meanwhile)
        with pytest.raises(Held, match="is running"):
            world.runner.retry(JOB)
        assert len(new) == 1 and world.stub.list(PODS) == new
        world.release()
        assert end(world).attempt == 2

    def test_a_stopped_job_that_both_submit_goes_on_for_both(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hold(world)
        graph, put = world.chain("first"), submission.put_payload
        world.runner.submit(graph, JOB, world.payload)
        world.runner.stop(JOB)

        def meanwhile(*args: Any) -> None:
            monkeypatch.setattr(submission, "put_payload", put)
            world.another().submit(graph, JOB, world.payload)

        monkeypatch.setattr(submission, "put_payload", meanwhile)
        assert not world.runner.submit(graph, JOB, world.payload).state.ended
        world.release()
        assert end(world).attempt == 2

    @pytest.mark.parametrize("job", [JOB, LATER])
    def test_a_payload_that_is_wanted_while_a_result_is_removed_stays(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch, job: str
    ) -> None:
        """By another job, or by this one, which somebody lets run again."""
        run(world, "first")
        hold(world)
        delete = world.store.delete

        def meanwhile(key: str) -> None:
            monkeypatch.setattr(world.store, "delete", delete)
            delete(key)
            if job == JOB:
                world.another().retry(JOB, "first")
            else:
                world.another().submit(world.chain("first"), LATER, world.payload)

        monkeypatch.setattr(world.store, "delete", meanwhile)
        world.runner.collected(JOB)
        assert world.store.exists(names.payload_key(world.payload.id))
        world.release()
        assert end(world, job).state is JobState.SUCCEEDED

    def test_what_is_stored_for_a_new_job_of_a_deleted_one_stays(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(world, "first")
        hold(world)
        delete = world.runner._api.delete

        def meanwhile(*args: Any) -> None:
            delete(*args)
            world.another().submit(world.chain("first"), JOB, world.payload)

        monkeypatch.setattr(world.runner._api, "delete", meanwhile)
        world.runner.delete(JOB)
        assert world.store.exists(names.payload_key(world.payload.id))
        world.release()
        assert end(world).state is JobState.SUCCEEDED

    def test_a_new_job_waits_for_the_pods_of_one_that_is_just_leaving(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kubernetes deletes pods after their owner, with a grace period; Argo would take them for the new ones."""
        monkeypatch.setattr(submission, "LOOK", 0.05)
        run(world, "fails")
        pod = world.stub.list(PODS)[0]
        leave = threading.Timer(0.5, lambda: world.stub.remove(PODS, pod["metadata"]["name"]))
        at_creation: list[int] = []

        def see(type: str, kind: object, _: object) -> None:
            if (type, kind) == ("DELETED", WORKFLOWS):
                world.stub.put(PODS, pod)
                leave.start()
            if (type, kind) == ("ADDED", WORKFLOWS):
                at_creation.append(len(world.stub.list(PODS)))

        world.stub.on_change(see)
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        world.runner.submit(world.chain("first"), JOB, world.payload)
        leave.join()
        assert at_creation == [0]
        assert end(world).state is JobState.SUCCEEDED

    def test_another_thread_compiles_another_workflow(self, world: ArgoWorld) -> None:
        class Shared(submission.Templates):
            def __setattr__(self, name: str, value: object) -> None:
                super().__setattr__(name, {} if name == "_compiled" else value)

        templates = Shared(world.stub.api(), world.target, apply=True)
        assert templates.of(world.chain("first"))["metadata"]["name"] == "test"


def test_who_may_only_look_sees_a_job_that_has_waited_for_too_long(tmp_path: Path) -> None:
    with argo(tmp_path, waits={"first": GPU}, pending=0) as world:
        world.stub.denied.add(("patch", "workflows"))
        world.runner.submit(world.chain("first"), JOB, world.payload)
        waiting = next(job for job in world.runner.watch(JOB) if job.message)
        assert world.runner.get(JOB) == waiting and world.runner.list() == (waiting,)
        assert waiting.state is JobState.PENDING
        world.stub.denied.clear()
        assert end(world).state is JobState.FAILED


class TestClocks:
    def test_our_clock_ends_no_job_of_the_clusters(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        earlier = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        monkeypatch.setattr(pretend, "now", lambda: earlier)
        with argo(tmp_path, waits={"first": GPU}) as world:
            world.stub.ahead = -3600
            world.runner.submit(world.chain("first"), JOB, world.payload)
            next(job for job in world.runner.watch(JOB) if job.message)
            assert "shutdown" not in world.stub.get(WORKFLOWS, NAME)["spec"]
            world.runner.stop(JOB)

    def test_a_job_was_made_when_the_cluster_says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else all of its times would be the one at which we say it was made: nothing happened before that."""
        monkeypatch.setattr(pretend, "now", lambda: "2026-01-02T03:04:05Z")
        with argo(tmp_path) as world:
            world.stub.ahead = -(datetime.now(UTC) - datetime(2026, 1, 2, 2, 30, tzinfo=UTC)).total_seconds()
            job = run(world, "first")
            assert job.created.startswith("2026-01-02T02:")
            assert job.finished == "2026-01-02T03:04:05.000Z"

    def test_a_deletion_is_as_old_as_the_cluster_says(self, world: ArgoWorld) -> None:
        run(world, "first")
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        world.stub.change(WORKFLOWS, NAME, {"metadata": {"deletionTimestamp": pretend.now()}})
        assert sweep.stuck(world.runner._api) == ()
        world.stub.ahead = 3600
        world.runner._api.ask("GET", "/version")
        assert sweep.stuck(world.runner._api) == (NAME,)


def test_a_reason_is_looked_for_again_when_argo_says_where_it_is() -> None:
    """It says first that a stage failed, then where its logs are."""
    store, early, late = MemoryStore(), made("failed"), read(made("failed"))
    reasons = Reasons(store, lambda *_: "")
    for node in early["status"]["nodes"].values():
        node.pop("outputs", None)
    bare, full = (attempts.of(one)[1].attempts[-1] for one in (read(early), late))
    assert reasons.said(read(early), bare) == ""
    store.objects[full.log_key] = b"no luck\n"
    assert reasons.said(late, full) == "no luck"

"""ArgoRunner when something is not as it should be: replies lost, objects changed or deleted, parts away, no place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.kubernetes.stub import Stub
from unit.runners import graphs
from unit.runners.contract import JOB, LATER, end, run
from unit.runners.pretend import EXECUTOR, GC, Failure, now
from unit.runners.test_argo import NO_LUCK, ArgoWorld, argo, stage

from clara_argo.errors import JobFailed, NotFound, Refused, TryAgain, UsageError
from clara_argo.kubernetes.errors import Away
from clara_argo.kubernetes.kinds import PODS, TEMPLATES, WORKFLOWS
from clara_argo.model.job import JobState, StageState
from clara_argo.model.target import Target
from clara_argo.runners.argo import ArgoRunner, logs, names, reasons, starting, submission, sweep
from clara_argo.runners.argo.workflow import Workflow

NAME = f"clara-{JOB}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ArgoWorld]:
    with argo(tmp_path, failures=NO_LUCK) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Iterator[ArgoWorld]:
    with argo(tmp_path, hold=True) as made:
        yield made


def asked(stub: Stub, method: str, part: str) -> int:
    return sum(one.method == method and part in one.path for one in stub.requests)


class TestSubmit:
    def test_a_reply_that_was_lost_makes_no_second_job(self, held: ArgoWorld) -> None:
        graph = held.chain("first")
        held.runner._templates.of(graph)
        held.stub.lose_reply_next()
        assert held.runner.submit(graph, JOB, held.payload).id == JOB
        assert [made["metadata"]["name"] for made in held.stub.list(WORKFLOWS)] == [NAME]

    def test_another_process_was_faster(self, held: ArgoWorld) -> None:
        graph, answers = held.chain("first"), []
        threads = [
            threading.Thread(
                target=lambda: answers.append(held.another().submit(graph, JOB, held.payload)), daemon=True
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len({job.created for job in answers}) == 1 and len(answers) == 4
        assert len(held.stub.list(WORKFLOWS)) == 1

    def test_a_changed_workflow_needs_a_new_job(self, held: ArgoWorld) -> None:
        held.runner.submit(held.chain("first"), JOB, held.payload)
        for ask in (held.runner.submit, held.runner.resume):
            with pytest.raises(UsageError, match="needs a new job"):
                ask(held.chain("first", "second"), JOB, held.payload)

    def test_the_template_is_applied_where_it_differs(self, held: ArgoWorld) -> None:
        for job in (JOB, LATER):
            held.another().submit(held.chain("first"), job, held.payload)
        assert asked(held.stub, "PATCH", "workflowtemplates") == 1
        held.another().submit(held.chain("first", "second"), "3" * 32, held.payload)
        assert asked(held.stub, "PATCH", "workflowtemplates") == 2

    def test_who_may_not_apply_says_what_to_do(self, held: ArgoWorld) -> None:
        runner, graph = held.another(apply=False), held.chain("first")
        with pytest.raises(Refused, match="is not there.*clara apply"):
            runner.submit(graph, JOB, held.payload)
        held.runner._templates.of(held.chain("second"))
        with pytest.raises(Refused, match="another version.*clara apply"):
            runner.submit(graph, JOB, held.payload)
        held.runner._templates.of(graph)
        assert not runner.submit(graph, JOB, held.payload).state.ended
        assert held.store.puts == [names.payload_key("payload-1")]  # nothing was sent in vain

    def test_pods_of_an_earlier_workflow_must_have_left(self, world: ArgoWorld) -> None:
        """They have the names that the new ones will have."""
        run(world, "fails")
        left = world.stub.list(PODS)[0]
        world.runner.delete(JOB)
        if not world.stub.list(PODS):
            world.stub.put(PODS, left)
        at_creation: list[int] = []
        world.stub.on_change(
            lambda type, kind, _: (
                at_creation.append(len(world.stub.list(PODS))) if (type, kind) == ("ADDED", WORKFLOWS) else None
            )
        )
        leave = threading.Timer(0.3, lambda: world.stub.remove(PODS, left["metadata"]["name"]))
        leave.start()
        world.runner.submit(world.chain("first"), JOB, world.payload)
        leave.join()
        assert at_creation == [0]
        assert end(world).state is JobState.SUCCEEDED

    def test_a_template_by_its_name(self, held: ArgoWorld) -> None:
        with pytest.raises(NotFound, match="clara apply"):
            held.runner.submit_template("test", JOB, held.payload)
        held.runner._templates.of(held.chain("first"))
        assert held.runner.submit_template("test", JOB, held.payload).workflow == "test"
        held.stub.put(TEMPLATES, {"metadata": {"name": "foreign"}, "spec": {}})
        with pytest.raises(NotFound, match="not compiled by clara"):
            held.runner.submit_template("foreign", LATER, held.payload)

    def test_a_payload_is_sent_once(self, world: ArgoWorld) -> None:
        run(world, "first")
        run(world, "first", job=LATER)
        assert world.store.puts.count(names.payload_key("payload-1")) == 1

    def test_a_payload_that_is_not_there(self, held: ArgoWorld) -> None:
        held.payload.folder.joinpath("a").unlink()
        held.payload.folder.rmdir()
        with pytest.raises(NotFound, match="no such folder"):
            held.runner.submit(held.chain("first"), JOB, held.payload)
        assert held.stub.list(WORKFLOWS) == []

    def test_nothing_of_the_payload_is_on_the_cluster(self, held: ArgoWorld) -> None:
        held.payload.folder.joinpath("Doe^John").write_text("Doe^John")
        held.runner.submit(held.chain("first"), JOB, held.payload)
        bodies = [str(one.body) for one in held.stub.requests]
        assert bodies and not any("Doe" in body or str(held.payload.folder) in body for body in bodies)

    def test_argo_is_not_installed(self, held: ArgoWorld) -> None:
        held.stub.kinds -= {WORKFLOWS, TEMPLATES}
        for ask in (
            lambda: held.runner.submit(held.chain("first"), JOB, held.payload),
            lambda: held.runner.get(JOB),
            held.runner.list,
        ):
            with pytest.raises(Refused, match="clara cluster doctor"):
                ask()

    def test_the_cluster_is_away(self, held: ArgoWorld) -> None:
        held.stub.down()
        with pytest.raises(Away):
            held.runner.submit(held.chain("first"), JOB, held.payload)
        held.stub.up()
        assert not held.runner.submit(held.chain("first"), JOB, held.payload).state.ended


class TestLooking:
    def test_a_job_deleted_by_hand(self, held: ArgoWorld) -> None:
        held.runner.submit(held.chain("first"), JOB, held.payload)
        with pytest.raises(NotFound, match="was deleted"):
            watch = held.runner.watch(JOB)
            next(watch)
            held.stub.remove(WORKFLOWS, NAME)
            list(watch)
        with pytest.raises(NotFound):
            held.runner.get(JOB)

    @pytest.mark.parametrize("fault", ["cut", "gone", "down"])
    def test_a_watch_outlives_the_server(self, held: ArgoWorld, fault: str) -> None:
        held.runner.submit(held.chain("first"), JOB, held.payload)
        watch = held.runner.watch(JOB)
        states = [next(watch).state]
        if fault == "cut":
            held.stub.cut_watches()
        elif fault == "gone":
            held.stub.gone()
        else:
            held.stub.down()
        held.release()
        held.stub.up() if fault == "down" else None
        states += [job.state for job in watch]
        assert states[-1] is JobState.SUCCEEDED

    def test_a_workflow_that_somebody_submitted_by_hand(self, world: ArgoWorld) -> None:
        run(world, "first")
        made = world.stub.get(WORKFLOWS, NAME)
        labels = made["metadata"]["labels"] | {names.JOB: LATER}
        meta = {"name": "test-x7k2p", "labels": labels, "annotations": made["metadata"]["annotations"]}
        values = {"job": LATER, "payload": "payload-1", "created": "x"}
        parameters = [{"name": name, "value": value} for name, value in values.items()]
        spec = made["spec"] | {"arguments": {"parameters": parameters}}
        world.stub.put(WORKFLOWS, {"metadata": meta, "spec": spec})
        assert end(world, LATER).state is JobState.SUCCEEDED
        assert {job.id for job in world.runner.list()} == {JOB, LATER}

    def test_what_is_no_job_of_ours_is_not_listed(self, world: ArgoWorld) -> None:
        spec = {"workflowTemplateRef": {"name": "x"}}
        world.stub.put(WORKFLOWS, {"metadata": {"name": "foreign"}, "spec": spec})
        labels = {"app.kubernetes.io/managed-by": "clara-argo", names.JOB: "no-id"}
        world.stub.put(
            WORKFLOWS, {"metadata": {"name": "odd", "labels": labels}, "spec": {"workflowTemplateRef": {"name": "x"}}}
        )
        packed = {"metadata": {"name": "packed", "labels": labels | {names.JOB: LATER}}, "spec": {}}
        world.stub.put(WORKFLOWS, packed | {"status": {"phase": "Failed", "compressedNodes": "KLUv/Q=="}})
        assert world.runner.list() == ()

    def test_the_reason_is_what_the_driver_left(self, tmp_path: Path) -> None:
        failures = {"fails": (Failure(text="last line", error="the CT has no slices"),)}
        with argo(tmp_path, failures=failures) as world:
            assert run(world, "fails").message == "stage 'fails': exit code 1: the CT has no slices"

    def test_a_store_that_is_away_costs_the_reason_only(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reasons, "AGAIN", 0.0)
        run(world, "fails")
        other = world.another()
        world.store.error = TryAgain("the store is away")
        assert other.get(JOB).message == "stage 'fails': exit code 1; see its logs"
        world.store.error = None
        assert other.get(JOB).message == "stage 'fails': exit code 1: no luck"

    def test_a_reason_comes_from_the_pod_where_nothing_was_stored(self, world: ArgoWorld) -> None:
        run(world, "fails")
        world.store.objects.clear()
        assert world.another().get(JOB).message == "stage 'fails': exit code 1: no luck"

    def test_the_executors_lines_are_no_logs(self) -> None:
        lines = [
            "one",
            EXECUTOR.format("x"),
            "two argo=true",
            EXECUTOR.format("sub-process exited"),
            "Error: exit status 1",
        ]
        assert list(logs.own(iter(lines))) == ["one", "two argo=true"]

    def test_a_log_does_not_steer_the_terminal(self, tmp_path: Path) -> None:
        with argo(tmp_path, failures={"fails": (Failure(text="\x1b[2Jred\x07"),)}) as world:
            run(world, "fails")
            assert [line.text for line in world.runner.logs(JOB)] == ["[2Jred"]

    def test_logs_of_every_attempt(self, tmp_path: Path) -> None:
        failures = {"fails": (Failure(text="busy", code=75), Failure(text="still busy", code=75))}
        with argo(tmp_path, failures=failures) as world:
            world.runner.submit(world.chain("fails", retries=2), JOB, world.payload)
            said = [line.text for line in world.runner.logs(JOB, follow=True)]
            assert said == ["busy", "still busy", "fails speaks"]
            assert [line.text for line in world.runner.logs(JOB)] == said
            job = world.runner.get(JOB)
            assert (job.state, job.stage("fails").attempt) == (JobState.SUCCEEDED, 3)


class TestWaiting:
    GPU = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_stage_that_finds_no_place_ends_the_job(self, tmp_path: Path, fused: bool) -> None:
        with argo(tmp_path, waits={"first": self.GPU}, pending=0, fused=fused) as world:
            job = run(world, "first", "second")
            assert job.state is JobState.FAILED
            assert job.message.startswith("stage 'first': it did not start within 0 s: it waits for a free GPU")
            assert [one.state for one in job.stages] == [StageState.FAILED, StageState.SKIPPED]
            assert world.runner.get(JOB) == job
            world.pretend.waits.clear()
            world.runner.retry(JOB)
            assert end(world).state is JobState.SUCCEEDED

    def test_a_container_of_argos_that_cannot_start_is_said_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Argo says only that the pod is being initialised."""
        monkeypatch.setattr(starting, "LATER", 0.0)
        waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "argoexec:v4"'}
        status = {"initContainerStatuses": [{"name": "init", "state": {"waiting": waiting}}]}
        with argo(tmp_path, waits={"first": "PodInitializing"}, pending=0) as world:
            world.stub.on_change(
                lambda type, kind, made: (
                    world.stub.change(PODS, made["metadata"]["name"], {"status": status})
                    if (type, kind) == ("ADDED", PODS)
                    else None
                )
            )
            job = run(world, "first")
            assert job.state is JobState.FAILED
            assert job.message.startswith("stage 'first': it did not start: its image argoexec:v4 cannot be fetched")

    def test_before_that_it_is_said_what_it_waits_for(self, tmp_path: Path) -> None:
        with argo(tmp_path, waits={"first": self.GPU}) as world:
            world.runner.submit(world.chain("first"), JOB, world.payload)
            job = next(job for job in world.runner.watch(JOB) if job.message)
            assert job.state is JobState.PENDING
            assert job.message.startswith("stage 'first': waits for a free GPU (nvidia.com/gpu)")
            world.runner.stop(JOB)

    def test_somebody_with_less_patience_looks_and_ends_nothing(self, tmp_path: Path) -> None:
        with argo(tmp_path, waits={"first": self.GPU}) as world:
            world.runner.submit(world.chain("first"), JOB, world.payload)
            next(job for job in world.runner.watch(JOB) if job.message)
            hasty = ArgoRunner(world.stub.api(), world.pretend.store, Target(pending=0), apply=False)
            with hasty:
                assert [job.state for job in hasty.list()] == [JobState.PENDING]
                assert hasty.get(JOB).state is JobState.PENDING
            world.runner.stop(JOB)


class TestSteering:
    def test_somebody_changes_the_workflow_while_it_is_retried(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(world, "first", "fails")
        remove, calls = world.runner._steering.remove_pods, []

        def meanwhile(*args: object) -> None:
            calls.append(args)
            if len(calls) == 1:
                world.stub.change(WORKFLOWS, NAME, {"metadata": {"labels": {"somebody": "else"}}})
            remove(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(world.runner._steering, "remove_pods", meanwhile)
        world.runner.retry(JOB)
        assert len(calls) == 2
        job = end(world)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)

    def test_what_ended_before_is_kept_and_pods_of_the_rest_are_gone(self, world: ArgoWorld) -> None:
        run(world, "first", "fails")
        assert len(world.stub.list(PODS)) == 1
        world.runner.retry(JOB)
        end(world)
        assert world.stub.list(PODS) == []
        assert [one.attempt for one in world.runner.get(JOB).stages] == [1, 2]

    def test_nothing_to_run_again(self, world: ArgoWorld) -> None:
        job = run(world, "first")
        assert world.runner.retry(JOB) == job

    def test_a_payload_that_was_collected_is_said(self, world: ArgoWorld) -> None:
        graph = world.chain("fails")
        run(world, "fails")
        world.store.delete(names.payload_key("payload-1"))
        with pytest.raises(NotFound, match="no longer in the store; submit the job again"):
            world.runner.retry(JOB)
        world.runner.resume(graph, JOB, world.payload)
        assert end(world).state is JobState.SUCCEEDED

    def test_a_payload_given_up_while_a_job_of_it_is_created_is_there_again(
        self, world: ArgoWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create, key = submission.create, names.payload_key(world.payload.id)

        def given_up_first(*args: Any, **more: Any) -> Workflow:
            world.store.delete(key)
            return create(*args, **more)

        monkeypatch.setattr(submission, "create", given_up_first)
        world.runner.submit(world.chain("first"), JOB, world.payload)
        assert world.store.exists(key)
        assert end(world).state is JobState.SUCCEEDED

    def test_a_job_whose_template_was_gone_begins_when_it_is_back(self, world: ArgoWorld) -> None:
        graph = world.chain("first")
        template = world.runner._templates.of(graph)
        world.stub.remove(TEMPLATES, "test")
        submission.put_payload(world.store, world.payload)
        submission.create(world.stub.api(), world.store, template, JOB, world.payload.id)
        job = end(world)
        assert job.state is JobState.FAILED and "not found" in job.message
        assert world.runner.resume(graph, JOB, world.payload).state is JobState.PENDING
        world.another()._templates.of(graph)
        world.runner.retry(JOB) if end(world).state is JobState.FAILED else None
        assert end(world).state is JobState.SUCCEEDED

    def test_a_branch_that_does_not_depend_on_the_stage_is_kept(self, world: ArgoWorld) -> None:
        read, liver, spleen, both = (stage(name) for name in ("read", "liver", "spleen", "both"))
        graph = graphs.graph(
            graphs.node(read),
            graphs.node(liver, "read"),
            graphs.node(spleen, "read"),
            graphs.node(both, "liver", "spleen"),
        )
        world.runner.submit(graph, JOB, world.payload)
        end(world)
        world.runner.retry(JOB, "liver")
        job = end(world)
        assert job.state is JobState.SUCCEEDED
        assert {one.name: one.attempt for one in job.stages} == {"read": 1, "liver": 2, "spleen": 1, "both": 2}


class TestResults:
    def test_several_are_a_folder_each(self, world: ArgoWorld, tmp_path: Path) -> None:
        one, two = stage("one"), stage("two")
        graph = graphs.graph(graphs.node(one), graphs.node(two), results=("one", "two"))
        world.runner.submit(graph, JOB, world.payload)
        end(world)
        into = world.runner.result(JOB, tmp_path / "result")
        assert {str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()} == {"one/made", "two/made"}
        assert world.runner.delivered(JOB, into)
        (into / "two/made").write_text("changed")
        assert not world.runner.delivered(JOB, into)

    def test_an_empty_one_is_none(self, world: ArgoWorld, tmp_path: Path) -> None:
        """A stage that wrote nothing succeeds for Argo, and fails on a laptop."""
        run(world, "first")
        (tmp_path / "empty").mkdir()
        world.store.put_folder(f"jobs/{JOB}/result", tmp_path / "empty")
        with pytest.raises(JobFailed, match="'first' ended well but wrote nothing"):
            world.runner.result(JOB, tmp_path / "result")
        assert not (tmp_path / "result").exists()

    def test_what_was_collected_is_gone_with_the_payload(self, world: ArgoWorld, tmp_path: Path) -> None:
        run(world, "first")
        into = world.runner.result(JOB, tmp_path / "result")
        world.runner.collected(JOB)
        assert not any("result" in name or "payloads" in name for name in world.store.objects)
        assert world.stub.get(WORKFLOWS, NAME)["metadata"]["labels"][names.DELIVERED] == "true"
        with pytest.raises(JobFailed, match="no result any more"):
            world.runner.result(JOB, tmp_path / "again")
        assert not (tmp_path / "again").exists()
        assert not world.runner.delivered(JOB, into)
        world.runner.collected(JOB)

    def test_a_payload_that_another_job_needs_stays(self, tmp_path: Path) -> None:
        with argo(tmp_path) as world:
            run(world, "first")
            world.pretend._open = False
            world.runner.submit(world.chain("first"), LATER, world.payload)
            world.runner.collected(JOB)
            assert world.store.exists(names.payload_key("payload-1"))
            world.release()
            end(world, LATER)
            world.runner.delete(JOB)
            world.runner.delete(LATER)
            assert world.store.objects == {} and world.stub.list(WORKFLOWS) == []


class TestSweeping:
    def test_a_deletion_that_hangs_is_done_from_here(self, world: ArgoWorld, caplog: pytest.LogCaptureFixture) -> None:
        run(world, "first", "second")
        world.pretend.cleans = False
        with caplog.at_level(logging.INFO):
            world.runner.delete(JOB)
        assert world.store.objects == {} and world.stub.list(WORKFLOWS) == []
        assert "made no pod" in caplog.text

    def test_one_deleted_by_hand_is_swept_and_keeps_its_result(self, world: ArgoWorld) -> None:
        run(world, "first", "second")
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        assert world.stub.get(WORKFLOWS, NAME)["metadata"]["finalizers"] == [GC]
        assert sweep.stuck(world.runner._api) == (NAME,)
        assert world.runner.sweep() == (NAME,)
        assert world.stub.list(WORKFLOWS) == []
        assert sorted(world.store.objects) == [f"jobs/{JOB}/result.tgz", "payloads/payload-1/input.tgz"]

    def test_what_is_not_deleted_is_left_alone(self, world: ArgoWorld) -> None:
        run(world, "first")
        assert world.runner.sweep(0.0) == ()
        assert world.runner.get(JOB).state is JobState.SUCCEEDED

    def test_a_new_job_waits_until_the_old_one_of_its_name_has_left(self, world: ArgoWorld) -> None:
        run(world, "first")
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        world.stub.change(WORKFLOWS, NAME, {"metadata": {"deletionTimestamp": now()}})
        leave = threading.Timer(0.3, lambda: world.stub.change(WORKFLOWS, NAME, {"metadata": {"finalizers": []}}))
        leave.start()
        assert not world.runner.submit(world.chain("first"), JOB, world.payload).state.ended
        leave.join()
        assert end(world).state is JobState.SUCCEEDED

    def test_a_new_job_frees_an_old_one_that_hangs(self, world: ArgoWorld) -> None:
        run(world, "first")
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        assert not world.runner.submit(world.chain("first"), JOB, world.payload).state.ended
        assert end(world).state is JobState.SUCCEEDED

    def test_a_list_frees_what_hangs(self, world: ArgoWorld) -> None:
        run(world, "first")
        world.pretend.cleans = False
        world.stub.remove(WORKFLOWS, NAME)
        assert world.runner.list() == ()
        assert world.stub.list(WORKFLOWS) == []

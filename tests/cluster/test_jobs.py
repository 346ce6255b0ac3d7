"""Jobs of made-up stages on a real Argo: what data stages see, how they fail, wait, are stopped and go on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cluster.conftest import Cluster
from cluster.shells import COPY
from cluster.world import World, running

from clara_argo.errors import NotFound
from clara_argo.graph import Read
from clara_argo.model.job import Job, JobState, StageState
from clara_argo.model.workflow import Image, Resources
from clara_argo.runners import targets
from clara_argo.runners.argo import names
from clara_argo.runners.clusterstore import ClusterStore

DONE, FAILED, SKIPPED, STOPPED = StageState.SUCCEEDED, StageState.FAILED, StageState.SKIPPED, StageState.STOPPED
ONCE = 'test "$CLARA_ATTEMPT" -gt 1 || exit 75; ' + COPY


def states(job: Job) -> list[StageState]:
    return [stage.state for stage in job.stages]


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_branch_and_a_join(world: World, tmp_path: Path) -> None:
    stage = world.shells.stage
    see = (
        'ls "$CLARA_INPUT" > "$CLARA_OUTPUT"/inputs; cat "$CLARA_INPUT"/*/trace > "$CLARA_OUTPUT"/traces; '
        'ls /app/locks > "$CLARA_OUTPUT"/locks; cp "$CLARA_STUDY"/a "$CLARA_OUTPUT"/a'
    )
    graph = world.shells.graph(
        (stage("read"),),
        (stage("liver"), "read"),
        (stage("spleen"), "read"),
        (stage("both", see, study=True), "liver", "spleen"),
    )
    job = world.start(graph)
    assert world.end(job).state is JobState.SUCCEEDED
    found = texts(world.runner.result(job, tmp_path / "result"))
    assert found["inputs"].split() == ["liver", "spleen"]
    assert found["traces"].split() == ["read", "liver", "read", "spleen"]
    assert found["locks"].split() == ["input.lock", "liver.lock", "spleen.lock"]
    assert found["a"] == (world.payload.folder / "a").read_text()


@pytest.mark.parametrize("fused", [False, True], ids=["dag", "fused"])
def test_folders_in_an_output_at_places_of_ones_own(world: World, tmp_path: Path, fused: bool) -> None:
    """As old operators have them: everything of a stage lies outside /app."""
    write = (
        'mkdir -p "$CLARA_OUTPUT"/ct; echo ct > "$CLARA_OUTPUT"/ct/x; echo mask > /masks/y; touch "$CLARA_OUTPUT"/whole'
    )
    see = (
        "find /in1 /in2 /dcm -type f | sort > /out/seen; cat /in2/y >> /out/seen; "
        'echo "$NVIDIA_CLARA_INPUTPATHS" >> /out/seen'
    )
    first = world.shells.stage("first", write, output_paths={"masks": "/masks"})
    second = world.shells.stage("second", see, input_paths=("/in1", "/in2", "/dcm"), output_paths={"": "/out"})
    graph = world.shells.graph((first,), (second, "first", ""))
    reads = (Read("first", "ct", "/in1"), Read("first", "masks", "/in2"), Read("", path="/dcm"))
    graph = replace(
        graph,
        nodes=(graph.nodes[0], replace(graph.nodes[1], reads=reads, waits_for=("first",))),
        results=("second", "first.masks"),
    )
    job = world.start(graph, fused=fused)
    assert world.end(job).state is JobState.SUCCEEDED
    found = texts(world.runner.result(job, tmp_path / "result"))
    assert set(found) == {"second/seen", "first.masks/y"} and found["first.masks/y"] == "mask\n"
    *files, mask, told = found["second/seen"].splitlines()
    assert (files, mask) == (["/dcm/a", "/dcm/b", "/in1/x", "/in2/y"], "mask")
    assert told == "first.ct:/in1;first.masks:/in2;payload:/dcm"


def test_several_results_are_a_folder_each(world: World, tmp_path: Path) -> None:
    stage = world.shells.stage
    graph = world.shells.graph(
        (stage("read"),), (stage("liver"), "read"), (stage("spleen"), "read"), results=["liver", "spleen"]
    )
    job = world.start(graph)
    world.end(job)
    found = texts(world.runner.result(job, tmp_path / "result"))
    assert {"liver/trace", "spleen/trace", "liver/a", "spleen/b"} <= found.keys()


def test_exit_75_is_tried_again_and_anything_else_is_final(world: World) -> None:
    stage = world.shells.stage
    job = world.run(world.shells.chain(stage("again", ONCE, retries=2), stage("final", "echo no luck >&2; exit 3")))
    assert job.state is JobState.FAILED
    assert states(job) == [DONE, FAILED]
    assert [run.attempt for run in job.stages] == [2, 1]
    assert (job.stage("final").exit_code, job.stage("again").exit_code) == (3, 0)
    assert "no luck" in job.message and "'final'" in job.message


def test_a_time_limit_is_final_and_said(world: World) -> None:
    stage = world.shells.stage
    job = world.run(world.shells.chain(stage("slow", "sleep 60", timeout=5, retries=2), stage("next")))
    assert states(job) == [FAILED, SKIPPED]
    assert job.stage("slow").attempt == 1
    assert "time limit of 5 s" in job.message


def test_gpus_are_asked_for_and_shared_in_turn(world: World, cluster: Cluster) -> None:
    if cluster.node is None:
        pytest.skip("the pretended GPU is on our own node only")
    stage = world.shells.stage
    gpu = Resources(gpu=1)
    graph = world.shells.graph(
        (stage("one", COPY, resources=gpu),), (stage("two", COPY, resources=gpu),), results=["one", "two"]
    )
    job = world.run(graph)
    assert states(job) == [DONE, DONE]
    first, second = sorted(job.stages, key=lambda run: run.finished or "")
    assert first.finished is not None and second.finished is not None and first.finished < second.finished


def test_a_gpu_that_nobody_has_fails_the_job_with_the_reason(world: World) -> None:
    stage = world.shells.stage("greedy", COPY, resources=Resources(gpu=7))
    job = world.start(world.shells.chain(stage))
    waiting = world.until(job, lambda seen: "gpu" in seen.stage("greedy").message.lower() or seen.state.ended)
    assert not waiting.state.ended
    assert "gpu" in waiting.stage("greedy").message.lower()
    world.runner.stop(job)


def test_an_image_that_is_not_there_is_named(world: World) -> None:
    missing = replace(world.shells.stage("lost"), image=Image(repository="localhost/nobody-made-this", tag="1"))
    job = world.start(world.shells.chain(missing))
    seen = world.until(job, lambda seen: "nobody-made-this" in seen.stage("lost").message or seen.state.ended)
    assert "nobody-made-this" in seen.stage("lost").message + seen.message
    world.runner.stop(job)


def test_stop_ends_a_stage_that_runs_and_submit_goes_on(world: World) -> None:
    stage = world.shells.stage
    graph = world.shells.chain(stage("first"), stage("long", 'test "$CLARA_ATTEMPT" = 0 || sleep 600'))
    job = world.start(graph)
    world.until(job, running("long"))
    stopped = world.runner.stop(job)
    assert stopped.state is JobState.STOPPED
    assert states(stopped) == [DONE, STOPPED]
    world.runner.retry(job)
    assert world.until(job, running("long")).stage("first").attempt == 1  # not computed twice
    world.runner.stop(job)


def test_retry_from_a_stage_computes_it_and_what_follows(world: World, tmp_path: Path) -> None:
    stage = world.shells.stage
    stamp = COPY + '; cat /proc/sys/kernel/random/uuid > "$CLARA_OUTPUT"/"$CLARA_STAGE"'
    job = world.start(world.shells.chain(stage("one", stamp), stage("two", stamp), stage("three", stamp)))
    world.end(job)
    before = texts(world.runner.result(job, tmp_path / "before"))
    world.runner.retry(job, "two")
    ended = world.end(job)
    after = texts(world.runner.result(job, tmp_path / "after"))
    assert ended.state is JobState.SUCCEEDED
    assert [run.attempt for run in ended.stages] == [1, 2, 2]
    assert (before["one"] == after["one"], before["two"] == after["two"], before["three"] == after["three"]) == (
        True,
        False,
        False,
    )


def test_logs_live_and_after_the_end(world: World) -> None:
    stage = world.shells.stage
    talk = 'echo begin; while [ ! -e /app/logs/x ] && [ "$((n=n+1))" -lt 6 ]; do echo "line $n"; sleep 1; done; ' + COPY
    job = world.start(world.shells.chain(stage("talks", talk), stage("last")))
    live: list[tuple[str, str]] = []
    reader = threading.Thread(
        target=lambda: live.extend((line.stage, line.text) for line in world.runner.logs(job, follow=True)), daemon=True
    )
    reader.start()
    world.end(job)
    reader.join(60)
    assert not reader.is_alive()
    expected = [("talks", text) for text in ("begin", *(f"line {n}" for n in range(1, 6)), "talks speaks")]
    expected.append(("last", "last speaks"))
    assert live == expected
    assert [(line.stage, line.text) for line in world.runner.logs(job)] == expected


def test_twenty_jobs_at_once_lose_nothing(world: World, tmp_path: Path) -> None:
    graph = world.shells.chain(world.shells.stage("one"), world.shells.stage("two"))
    jobs = [world.start(graph) for _ in range(20)]
    ended = [world.end(job) for job in jobs]
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * 20
    for job in jobs:
        assert texts(world.runner.result(job, tmp_path / job))["trace"] == "one\ntwo\n"


def test_a_workflow_deleted_by_hand_is_no_job_any_more(world: World, cluster: Cluster) -> None:
    if cluster.node is None:
        pytest.skip("needs kubectl as an administrator")
    job = world.start(world.shells.chain(world.shells.stage("one", "sleep 30; " + COPY)))
    world.until(job, running("one"))
    where = (f"workflow/clara-{job}", "-n", cluster.target.namespace)
    cluster.node.kubectl("delete", *where, "--wait=false")
    with pytest.raises(NotFound):
        world.end(job)
    world.forget(job)
    # Argo lets the stage end, which puts its result into the store.
    cluster.node.kubectl("wait", "--for=delete", *where, "--timeout=2m")
    target, api = targets.cluster("argo")
    with api:
        store = ClusterStore(api, target, targets.credentials)
        store.delete_below(names.job_prefix(job))
        store.delete(names.payload_key(world.payload.id))


def test_fused_is_one_pod_with_the_same_result(world: World, cluster: Cluster, tmp_path: Path) -> None:
    stage = world.shells.stage
    graph = world.shells.graph(
        (stage("read"),),
        (stage("liver", ONCE, retries=2), "read"),
        (stage("spleen"), "read"),
        (
            stage(
                "both", 'cat "$CLARA_INPUT"/*/trace > "$CLARA_OUTPUT"/traces; ls /app/locks >> "$CLARA_OUTPUT"/traces'
            ),
            "liver",
            "spleen",
        ),
    )
    separate = world.start(graph)
    fused = world.start(graph, fused=True)
    assert world.end(separate).state is JobState.SUCCEEDED
    job = world.end(fused)
    assert job.state is JobState.SUCCEEDED
    assert states(job) == [DONE] * 4
    results = [world.runner.result(one, tmp_path / one) for one in (separate, fused)]
    assert texts(results[0])["traces"].split()[:4] == texts(results[1])["traces"].split()[:4]

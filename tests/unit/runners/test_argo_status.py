"""Workflows as a real Argo 4.1 left them -> jobs. `argo_objects/` holds them, shortened to what is read."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clara_argo.model.job import JOB_ID, Job, JobState, StageState
from clara_argo.runners.argo import attempts, names, pending, status, words
from clara_argo.runners.argo.workflow import Unreadable, Workflow, read

OBJECTS = Path(__file__).parent / "argo_objects"
DONE, RUNNING, WAITS = StageState.SUCCEEDED, StageState.RUNNING, StageState.PENDING
FAILED, STOPPED, SKIPPED = StageState.FAILED, StageState.STOPPED, StageState.SKIPPED


def made(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OBJECTS / f"{name}.json").read_text())
    return found


def seen(workflow: Workflow, said: str = "no luck") -> Job:
    return status.job(workflow, "argo", lambda *_: said)


CASES = {
    "succeeded": (JobState.SUCCEEDED, [DONE, DONE], ""),
    "failed": (JobState.FAILED, [DONE, FAILED, SKIPPED], "stage 'two': exit code 3: no luck"),
    "tried-often": (JobState.FAILED, [FAILED, SKIPPED], "stage 'one': exit code 75: no luck (after 2 attempts)"),
    "out-of-time": (JobState.FAILED, [FAILED, SKIPPED], "stage 'slow': time limit of 5 s reached"),
    "out-of-memory": (JobState.FAILED, [FAILED], "needed more memory than its limit of 32Mi; raise 'memory'"),
    "no-place": (JobState.PENDING, [WAITS, WAITS], "stage 'big': waits for a free GPU (nvidia.com/gpu): 0/1 nodes"),
    "no-image": (JobState.PENDING, [WAITS], "its image localhost/nobody-made-this:1 cannot be fetched"),
    "no-command": (JobState.FAILED, [FAILED], "its command is not in its image"),
    "no-input": (JobState.FAILED, [FAILED], "its input could not be put in place: artifact input failed to load"),
    "running": (JobState.RUNNING, [DONE, RUNNING], ""),
    "stopped": (JobState.STOPPED, [DONE, STOPPED, WAITS], "stopped; it resumes where it was"),
    "stopped-early": (JobState.STOPPED, [STOPPED], "stopped; it resumes where it was"),
    "stopped-between": (JobState.STOPPED, [STOPPED, WAITS], "stopped; it resumes where it was"),
    "job-out-of-time": (JobState.FAILED, [FAILED, SKIPPED], "stage 'one': the time limit of 8 s of the whole job"),
    "fused-job-out-of-time": (JobState.FAILED, [FAILED, SKIPPED], "the time limit of 8 s of the whole job"),
    "fused-tried-often": (JobState.FAILED, [FAILED, SKIPPED], "exit code 75: no luck (after 2 attempts)"),
    "fused-stopped-between": (JobState.STOPPED, [STOPPED, WAITS], "stopped; it resumes where it was"),
    "fused-failed": (JobState.FAILED, [DONE, FAILED, SKIPPED], "stage 'two': exit code 3: no luck"),
    "fused-running": (JobState.RUNNING, [DONE, RUNNING, WAITS], ""),
    "fused-stopped": (JobState.STOPPED, [DONE, STOPPED, WAITS], "stopped; it resumes where it was"),
    "fused-out-of-time": (JobState.FAILED, [FAILED, SKIPPED], "time limit of 8 s of all stages together reached"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_people_see_of_it(name: str) -> None:
    state, stages, text = CASES[name]
    job = seen(read(made(name)))
    assert job.state is state
    assert [run.state for run in job.stages] == stages
    assert text in job.message if text else job.message == ""
    assert Job.from_json(job.to_json()) == job


@pytest.mark.parametrize("name", CASES)
def test_times_and_ids_have_our_form(name: str) -> None:
    job = seen(read(made(name)))
    assert JOB_ID.fullmatch(job.id) and job.workflow_digest and job.payload
    assert job.workflow == f"cap-{name}"
    times = [job.created, *(time for run in job.stages for time in (run.started, run.finished) if time)]
    assert all(time == status.moment(time) and time >= job.created for time in times)
    assert (job.finished is not None) == job.state.ended
    for run in job.stages:
        assert run.finished is None or (run.started is not None and run.started <= run.finished)
        assert "argo" not in run.message.lower()


def test_there_is_a_case_for_every_object() -> None:
    assert {path.stem for path in OBJECTS.iterdir()} == CASES.keys()


def test_exit_codes_and_attempts() -> None:
    tried = seen(read(made("tried-often"))).stage("one")
    assert (tried.attempt, tried.exit_code) == (2, 75)
    done = seen(read(made("succeeded"))).stage("one")
    assert (done.attempt, done.exit_code, done.progress) == (1, 0, "")
    assert seen(read(made("running"))).stage("long").progress == "3/8"
    assert seen(read(made("out-of-time"))).stage("slow").exit_code is None


@pytest.mark.parametrize("name", ["tried-often", "fused-tried-often"])
@pytest.mark.parametrize("code, after", [(75, "; is tried again"), (3, "")])
def test_a_stage_between_two_attempts_is_running(name: str, code: int, after: str) -> None:
    """Argo keeps the node of the stage open, and the attempt that failed is the last one.

    It pauses after every failure, and only then sees whether it is one to try again.
    """
    workflow = json.loads(json.dumps(made(name)).replace("code 75", f"code {code}").replace('"75"', f'"{code}"'))
    workflow["status"] |= {"phase": "Running", "finishedAt": None}
    nodes = workflow["status"]["nodes"].values()
    whole = next(node for node in nodes if node["type"] == "Retry")
    whole |= {"phase": "Running", "finishedAt": None}
    for drop in [node for node in nodes if "(1)" in node["name"]]:
        del workflow["status"]["nodes"][drop["id"]]
    run = seen(read(workflow)).stages[0]
    assert (run.state, run.message) == (RUNNING, f"exit code {code}: no luck{after}")


def test_a_fused_stage_runs_when_those_before_it_have_ended() -> None:
    """Kubernetes says of all containers of a pod that they run."""
    phases = {node["displayName"]: node["phase"] for node in made("fused-running")["status"]["nodes"].values()}
    assert phases["long"] == phases["main"] == "Running"
    job = seen(read(made("fused-running")))
    first, long, last = job.stages
    assert (long.state, last.state) == (RUNNING, WAITS)
    assert first.finished == long.started


def test_what_an_earlier_run_used_up_is_counted() -> None:
    workflow = made("failed")
    before = {"job": 2, "started": "2026-01-01T00:00:00.000Z", "stages": {"two": 3}}
    workflow["metadata"]["annotations"][names.ATTEMPTS] = json.dumps(before)
    job = seen(read(workflow))
    assert job.attempt == 3
    assert [run.attempt for run in job.stages] == [1, 4, 0]
    assert job.started == job.created  # nothing happened before the job was made


@pytest.mark.parametrize("text", ["[]", "nonsense", '{"job": "x", "stages": 3}', '{"stages": {"two": null}}'])
def test_an_annotation_that_somebody_spoilt_is_as_none(text: str) -> None:
    workflow = made("failed")
    workflow["metadata"]["annotations"][names.ATTEMPTS] = text
    assert seen(read(workflow)) == seen(read(made("failed")))


def test_a_job_that_we_ended_has_failed_with_our_reason() -> None:
    workflow = made("stopped")
    ended = {"stage": "long", "message": "it did not start within 9 s: it waits for a free GPU"}
    workflow["metadata"]["annotations"][names.ENDED] = json.dumps(ended)
    job = seen(read(workflow))
    assert job.state is JobState.FAILED
    assert job.message == "stage 'long': it did not start within 9 s: it waits for a free GPU"
    assert [run.state for run in job.stages] == [DONE, FAILED, SKIPPED]


def test_what_ended_an_earlier_run_is_not_said_of_a_later_one() -> None:
    """`argo retry` takes the shutdown away, and does not know our annotation."""
    workflow = made("failed")
    workflow["metadata"]["annotations"][names.ENDED] = json.dumps({"stage": "one", "message": "it did not start"})
    assert seen(read(workflow)) == seen(read(made("failed")))


def test_a_stage_that_failed_by_itself_while_somebody_stopped_the_job() -> None:
    workflow = made("failed")
    workflow["spec"]["shutdown"] = "Terminate"
    assert seen(read(workflow)).state is JobState.FAILED


def test_a_workflow_without_nodes() -> None:
    workflow = made("succeeded")
    del workflow["status"]
    job = seen(read(workflow))
    assert (job.state, job.started, job.finished) == (JobState.PENDING, None, None)
    assert [run.state for run in job.stages] == [WAITS, WAITS]
    workflow["status"] = {"phase": "Error", "message": 'workflow templates.argoproj.io "x" not found'}
    assert seen(read(workflow)).message == 'workflow templates.argoproj.io "x" not found'


def test_unknown_phases_and_fields_are_tolerated() -> None:
    workflow = made("running")
    workflow["status"]["phase"] = "Hibernating"
    for node in workflow["status"]["nodes"].values():
        node |= {"phase": "Dreaming", "newField": [1]}
    job = seen(read(workflow))
    assert not job.state.ended
    assert [run.state for run in job.stages] == [WAITS, WAITS]


def packed(workflow: dict[str, Any], pack: Any = gzip.compress) -> dict[str, Any]:
    state = workflow["status"]
    nodes = state.pop("nodes")
    state["compressedNodes"] = base64.b64encode(pack(json.dumps(nodes).encode())).decode()
    return workflow


def test_compressed_nodes_are_read() -> None:
    assert seen(read(packed(made("failed")))) == seen(read(made("failed")))


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "packed with zstd"),
        (lambda data: b"\x0b" + data, "packed with brotli"),
        (lambda data: gzip.compress(data)[:40], "cannot be read"),
        (lambda data: gzip.compress(b"{"), "cannot be read"),
    ],
)
def test_nodes_that_cannot_be_read_are_said(pack: Any, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(packed(made("failed"), pack))


def test_nodes_in_a_database_are_said() -> None:
    workflow = made("failed")
    workflow["status"] |= {"nodes": None, "offloadNodeStatusVersion": "fnv:1"}
    with pytest.raises(Unreadable, match="nodeStatusOffLoad"):
        read(workflow)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_messages_of_any_kind_are_one_bounded_line(value: Any) -> None:
    workflow = made("failed")
    for node in workflow["status"]["nodes"].values():
        node["message"] = json.dumps(value) + "\x1b[31m\n" * 3
    for run in seen(read(workflow)).stages:
        assert "\n" not in run.message and "\x1b" not in run.message


QUOTA = 'pods "clara-1-big-2" is forbidden: exceeded quota: clara, requested: pods=1, used: pods=9, limited: pods=9'
WAITING = {
    "": "",
    "PodInitializing": "",
    "ContainerCreating": "",
    "Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory.": "processors and free memory",
    "Unschedulable: 0/2 nodes are available: 2 node(s) didn't match Pod's node selector.": "a node that takes it",
    "Unschedulable": "a place on a node",
    'ImagePullBackOff: Back-off pulling image "r/x:1"': "its image r/x:1 cannot be fetched",
    'ErrImagePull: failed to pull "r/x:1": r/x:1: not found': "was not found",
    'ErrImagePull: failed to pull and unpack image "r/x:1": 401 Unauthorized': "name a pull secret",
    'ErrImageNeverPull: Container image "r/x:1" is not present with pull policy of Never': "is not on the node",
    'InvalidImageName: Failed to apply default image tag "R/X": invalid': "has no valid name",
    "Waiting for clara/ConfigMap/limits/inference lock. Lock status: 0/1": "waits for its turn",
    QUOTA: "waits for its turn: exceeded quota: clara, requested: pods=1",
    'CreateContainerConfigError: secret "s" not found': 'its container cannot be made: secret "s" not found',
}


@pytest.mark.parametrize("message", WAITING)
def test_what_a_pod_waits_for_in_plain_words(message: str) -> None:
    said = words.waits_for(message)
    assert WAITING[message] in said
    assert bool(said) == bool(WAITING[message])


def at(workflow: Workflow, seconds: float) -> datetime:
    pod = next(node for node in workflow.nodes.values() if node.type == "Pod")
    return datetime.fromtimestamp(datetime.fromisoformat(pod.started).timestamp() + seconds, UTC)


def test_a_stage_may_wait_for_a_place_for_so_long() -> None:
    workflow = read(made("no-place"))
    waiting = pending.first(workflow, 900, at(workflow, 60))
    assert waiting is not None and (waiting.stage, waiting.left) == ("big", 840)
    late = pending.first(workflow, 900, at(workflow, 901))
    assert late is not None and late.left < 0
    change = pending.change(workflow, late, 900)
    assert change["spec"] == {"shutdown": "Terminate"}
    assert "within 900 s: it waits for a free GPU" in change["metadata"]["annotations"][names.ENDED]


def test_what_waiting_cannot_mend_is_not_waited_for() -> None:
    workflow = made("no-image")
    pod = next(node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod")
    pod["message"] = "ErrImageNeverPull: no"
    found = read(workflow)
    waiting = pending.first(found, 900, at(found, pending.HOPELESS + 1))
    assert waiting is not None and waiting.left < 0


@pytest.mark.parametrize("name", ["running", "fused-running", "stopped", "succeeded"])
def test_a_job_whose_pods_run_does_not_wait(name: str) -> None:
    workflow = read(made(name))
    assert pending.first(workflow, 1, datetime.now(UTC)) is None


@pytest.mark.parametrize("message", ["Waiting for clara/ConfigMap/limits/inference lock. Lock status: 0/1", QUOTA])
def test_a_turn_is_waited_for_as_long_as_it_takes(message: str) -> None:
    workflow = made("no-place")
    pod = next(node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod")
    pod["message"] = message
    assert pending.first(read(workflow), 1, datetime.now(UTC)) is None
    assert seen(read(workflow)).message.startswith("stage 'big': waits for its turn")


def test_a_job_that_argo_puts_off_says_so() -> None:
    workflow = made("no-place")
    workflow["status"] = {"phase": "Pending", "message": "Workflow processing has been postponed"}
    job = seen(read(workflow))
    assert (job.state, job.message) == (JobState.PENDING, "Workflow processing has been postponed")


def test_the_first_stage_stands_for_a_pod_of_all() -> None:
    workflow = copy.deepcopy(made("fused-running"))
    for node in workflow["status"]["nodes"].values():
        node |= {"phase": "Pending", "message": "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."}
    found = read(workflow)
    waiting = pending.first(found, 10, at(found, 11))
    assert waiting is not None and waiting.stage == "one" and waiting.left < 0
    job = seen(found)
    assert job.stage("one").message.startswith("waits for free processors")
    assert [run.state for run in job.stages] == [WAITS] * 3


def test_logs_are_known_by_their_keys() -> None:
    (one, two) = attempts.of(read(made("succeeded")))
    assert one.attempts[0].log_key.endswith("/main.log") and two.attempts[0].log_key.endswith("/main.log")
    keys = [attempt.log_key for stage in attempts.of(read(made("fused-failed"))) for attempt in stage.attempts]
    assert [key.rpartition("/")[2] for key in keys] == ["one.log", "two.log"]

"""Workflow -> Job, the value that all runners give. Pure: what a stage said about its failure is looked up by `said`.

A job that waits for its first pod is pending; a stage between two attempts is running, as on a laptop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from clara_argo import compile as compiler
from clara_argo.compile.template import TEMPORARY
from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners.argo import attempts, names, words
from clara_argo.runners.argo.attempts import Attempt, StageNodes
from clara_argo.runners.argo.workflow import Node, Workflow, annotated
from clara_driver.driver import one_line

Said = Callable[[Workflow, Attempt], str]
STOPPED = "stopped; it resumes where it was"


def nothing(workflow: Workflow, attempt: Attempt) -> str:
    return ""


def job(workflow: Workflow, target: str, said: Said = nothing) -> Job:
    before = annotated(workflow.annotations, names.ATTEMPTS)
    # Of an earlier run when it is not shut down any more: Argo's own retry does not know our annotations.
    ended = annotated(workflow.annotations, names.ENDED) if workflow.shutdown else {}
    runs = _runs(workflow, said)
    state, message = _state(workflow, runs, ended)
    runs = tuple(_counted(run, attempts_before(workflow)) for run in runs)
    runs = tuple(_at_the_end(run, state, message, ended) for run in runs)
    created = moment(workflow.parameters.get("created", "")) or moment(workflow.made) or ""
    known = str(before.get("started") or "")
    started = min(filter(None, [known, *(run.started or "" for run in runs), _begin(workflow, state)]), default=None)
    found = Job(
        id=workflow.job,
        workflow=workflow.annotations.get(compiler.WORKFLOW, "") or workflow.labels.get("clara.dev/workflow", ""),
        workflow_digest=workflow.annotations.get(compiler.WORKFLOW_DIGEST, ""),
        payload=workflow.payload,
        state=state,
        created=created,
        started=started,
        finished=(moment(workflow.finished) or started) if state.ended else None,
        attempt=_whole(before.get("job")) + 1,
        message=message,
        target=target,
        stages=runs,
    )
    return _not_before(found)


def _state(workflow: Workflow, runs: tuple[StageRun, ...], ended: dict[str, object]) -> tuple[JobState, str]:
    if not workflow.ended:
        waiting = next((f"stage '{run.name}': {run.message}" for run in runs if _waits(run)), "")
        if workflow.phase == "Pending":  # of Argo's own limits, for example on Workflows at once
            waiting = waiting or one_line(workflow.message)
        going = any(run.state is not StageState.PENDING or run.attempt > 1 for run in runs)
        return (JobState.RUNNING if going else JobState.PENDING), waiting
    if workflow.phase == "Succeeded":
        return JobState.SUCCEEDED, ""
    if ended:
        stage, text = str(ended.get("stage") or ""), str(ended.get("message") or "ended")
        return JobState.FAILED, f"stage '{stage}': {text}" if stage else text
    failed = next((run for run in runs if run.state is StageState.FAILED), None)
    if workflow.shutdown and failed is None:
        return JobState.STOPPED, STOPPED
    if failed is not None:
        return JobState.FAILED, f"stage '{failed.name}': {failed.message}"
    return JobState.FAILED, one_line(workflow.message) or _why(workflow)


def _why(workflow: Workflow) -> str:
    """Argo gives a job that ran out of time no message at all."""
    said = next((node.message for node in workflow.nodes.values() if "deadline" in node.message), "")
    limit = f" of {workflow.limit} s" if workflow.limit else ""
    return f"the time limit{limit} of the whole job was reached" if said else "it failed without a word"


def _waits(run: StageRun) -> bool:
    return run.state is StageState.PENDING and bool(run.message)


def _runs(workflow: Workflow, said: Said) -> tuple[StageRun, ...]:
    found = attempts.of(workflow)
    if workflow.fused:
        return _fused_runs(workflow, found, said)
    return tuple(_run(workflow, one, said) for one in found)


def _run(workflow: Workflow, nodes: StageNodes, said: Said) -> StageRun:
    run = StageRun(name=nodes.stage, attempt=len(nodes.attempts))
    whole = nodes.whole
    if whole is None:
        return run
    if not nodes.attempts:
        skipped = whole.phase in ("Skipped", "Omitted")
        return replace(run, state=StageState.SKIPPED if skipped else StageState.PENDING)
    last = nodes.attempts[-1]
    run = _of_attempt(workflow, last, run, said)
    if run.state is StageState.FAILED and not whole.over:
        return _between(run, last.pod)
    if run.state is StageState.FAILED and words.is_shutdown(whole.message):
        return replace(run, state=StageState.STOPPED, message="")  # between two attempts
    if run.state is StageState.FAILED and len(nodes.attempts) > 1:
        return replace(run, message=f"{run.message} (after {len(nodes.attempts)} attempts)")
    return run


def _of_attempt(workflow: Workflow, attempt: Attempt, run: StageRun, said: Said) -> StageRun:
    node = attempt.node
    run = replace(run, started=moment(node.started), progress=_progress(node))
    if node.well:
        done = moment(node.finished) or run.started
        return replace(run, state=StageState.SUCCEEDED, finished=done, exit_code=0)
    if node.phase in ("Failed", "Error"):
        code = words.exit_code(attempt)
        run = replace(run, finished=moment(node.finished) or run.started, exit_code=code)
        if _was_stopped(workflow, node, code):
            return replace(run, state=StageState.STOPPED)
        return replace(run, state=StageState.FAILED, message=words.reason(workflow, attempt, said(workflow, attempt)))
    if node.phase == "Running":
        return replace(run, state=StageState.RUNNING)
    # Pending, or a phase that a newer Argo has: it did not start, as far as we know.
    return replace(run, started=None, progress="", message=words.waits_for(node.message))


def _was_stopped(workflow: Workflow, node: Node, code: int | None) -> bool:
    return words.is_shutdown(node.message) or (bool(workflow.shutdown) and code in (137, 143))


def _fused_runs(workflow: Workflow, found: tuple[StageNodes, ...], said: Said) -> tuple[StageRun, ...]:
    """Containers say how their stages went; a pod that never started them speaks for the first that is not done."""
    pods = attempts.pods(workflow)
    if not pods:
        return tuple(StageRun(name=one.stage) for one in found)
    pod, blamed = pods[-1], False
    runs: list[StageRun] = []
    for one in found:
        of_pod = [attempt for attempt in one.attempts if attempt.pod.id == pod.id]
        run = StageRun(name=one.stage, attempt=len(one.attempts))
        if of_pod:
            run = _of_attempt(workflow, of_pod[-1], run, said)
            if run.state is StageState.FAILED:
                run = _fused_failed(run, found[0].whole, pods)
        elif not blamed and pod.phase in ("Failed", "Error") and not any(_bad(other) for other in runs):
            run = _of_attempt(workflow, _whole_pod(one, pod), replace(run, attempt=max(1, run.attempt)), said)
        elif not blamed and pod.phase == "Pending":
            run = replace(run, message=words.waits_for(pod.message))
        blamed = blamed or run.state is not StageState.SUCCEEDED
        runs.append(run)
    if all(run.state is StageState.SUCCEEDED for run in runs) and pod.phase in ("Failed", "Error"):
        last = _whole_pod(found[-1], pod)  # all stages went well, but the result could not be stored
        runs[-1] = _of_attempt(workflow, last, replace(runs[-1], exit_code=None), said)
    return tuple(runs)


def _between(run: StageRun, pod: Node) -> StageRun:
    """The next attempt starts after a pause, or is just being made. Argo pauses also when there will be none."""
    final = pod.phase == "Failed" and ("deadline" in pod.message or run.exit_code not in (None, *TEMPORARY))
    message = run.message if final else f"{run.message}; is tried again"
    return replace(run, state=StageState.RUNNING, finished=None, message=message)


def _fused_failed(run: StageRun, whole: Node | None, pods: Sequence[Node]) -> StageRun:
    """As with a pod of its own: the pod is tried again, or was, or somebody stopped the job between two attempts."""
    if whole is not None and not whole.over:
        return _between(run, pods[-1])
    if whole is not None and words.is_shutdown(whole.message):
        return replace(run, state=StageState.STOPPED, message="")
    return replace(run, message=f"{run.message} (after {len(pods)} attempts)") if len(pods) > 1 else run


def _bad(run: StageRun) -> bool:
    return run.state in (StageState.FAILED, StageState.STOPPED, StageState.RUNNING)


def _whole_pod(nodes: StageNodes, pod: Node) -> Attempt:
    return Attempt(stage=nodes.stage, number=1, node=pod, pod=pod, container=nodes.template)


def _at_the_end(run: StageRun, state: JobState, message: str, ended: dict[str, object]) -> StageRun:
    """What has not run: after a failure it never will, after a stop it may. What we ended ourselves has failed."""
    if state.ended and ended and run.name == ended.get("stage"):
        return replace(run, state=StageState.FAILED, message=str(ended.get("message") or ""))
    if state is JobState.FAILED and run.state in (StageState.PENDING, StageState.RUNNING):
        return replace(run, state=StageState.SKIPPED, message="")
    if state is JobState.STOPPED:
        left = {StageState.SKIPPED: StageState.PENDING, StageState.RUNNING: StageState.STOPPED}
        return replace(run, state=left.get(run.state, run.state), message="")
    return run


def attempts_before(workflow: Workflow) -> dict[str, int]:
    """Stage -> attempts at it before the last `retry` of the job."""
    stages = annotated(workflow.annotations, names.ATTEMPTS).get("stages")
    return {str(name): _whole(count) for name, count in stages.items()} if isinstance(stages, dict) else {}


def _counted(run: StageRun, before: dict[str, int]) -> StageRun:
    """Attempts at a stage over all runs of the job."""
    return replace(run, attempt=run.attempt + before.get(run.name, 0))


def _begin(workflow: Workflow, state: JobState) -> str:
    """A job that ended before its first stage began at least to be looked at."""
    return (moment(workflow.started) or "") if state.ended else ""


def _not_before(job: Job) -> Job:
    """Argo's times have no fractions, and its clock is another one: nothing happened before the job was made."""

    def later(time: str | None) -> str | None:
        return None if time is None else max(time, job.created)

    stages = tuple(replace(run, started=later(run.started), finished=later(run.finished)) for run in job.stages)
    return replace(job, started=later(job.started), finished=later(job.finished), stages=stages)


def _progress(node: Node) -> str:
    """`0/1` and `1/1` are what Argo writes by itself."""
    return "" if node.progress in ("0/1", "1/1") else node.progress


def moment(text: str) -> str | None:
    """A time of Argo's or a person's, as ours are written: UTC with milliseconds. None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return written(found if found.tzinfo is not None else found.replace(tzinfo=UTC))


def written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0

"""`clara run`, `clara jobs`, `clara describe`, `clara logs`: jobs on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clara_argo.cli import talk

if TYPE_CHECKING:
    from clara_argo.graph import Graph
    from clara_argo.model.job import Job, Payload
    from clara_argo.runners.local import LocalRunner

FORMAT = click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="What to print.")
FILLED = "exists already and is not an empty folder; name a new folder with --output"
SHORT = 12  # digits of a job's id that tables show


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Folder with the study.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for the result; new or empty.")
@click.option("--workflow", help="Name or id, when FILE holds several workflows.")
@click.option("--jobs", type=click.IntRange(min=1), help="Stages at the same time; as many as processors otherwise.")
@click.option("--job", "name", help="Id of the job, 32 hex digits; a new one otherwise. With --resume: also a prefix.")
@click.option("--resume", is_flag=True, help="Go on with a job: only what did not finish or has changed runs.")
@FORMAT
def run(
    file: Path,
    source: Path,
    output: Path,
    workflow: str | None,
    jobs: int | None,
    name: str | None,
    resume: bool,
    form: str,
) -> None:
    """Run the workflow in FILE on this machine.

    Stages are processes; what they wrote and said stays in CLARA_HOME (~/.local/state/clara-argo). Ctrl-C ends
    everything and leaves a job that resumes.

    \b
    Examples:
      clara run ct-organs.yaml --input CT --output result
      clara run ct-organs.yaml --input CT --output result --jobs 2
      clara run ct-organs.yaml --input CT --output result --resume
    """
    from clara_argo import project
    from clara_argo.errors import NotFound
    from clara_argo.model.job import JobState
    from clara_argo.runners.local import LocalRunner

    if not file.is_file():
        raise NotFound(f"{file}: no such workflow file")
    payload = _payload(source)
    _check_output(output, payload.folder, resume)
    graph = project.graph(file, name=workflow)
    for finding in graph.findings:
        talk(str(finding))
    _on_signals()
    with LocalRunner(jobs=jobs) as runner:
        job, earlier = _start(runner, graph, payload, output, name, resume)
        again = _again(file, source, output, workflow, job)
        if form == "text":
            talk(f"job {job}")
        ended = _watch(runner, job, again)
        if ended.state is JobState.SUCCEEDED:
            _deliver(runner, job, output, earlier)
    _report(ended, output, form, again)


def _again(file: Path, source: Path, output: Path, workflow: str | None, job: str) -> str:
    """The command that goes on with the job, for people to copy."""
    import shlex

    words = ["clara", "run", str(file), "--input", str(source), "--output", str(output)]
    return shlex.join([*words, *(["--workflow", workflow] if workflow else []), "--job", job, "--resume"])


def _payload(source: Path) -> Payload:
    """The same folder is the same payload; the id does not tell which."""
    import uuid

    from clara_argo.errors import NotFound
    from clara_argo.model.job import Payload

    if not source.is_dir():
        raise NotFound(f"{source}: no such folder; --input names the folder with the study")
    folder = source.absolute()
    return Payload(id=uuid.uuid5(uuid.NAMESPACE_URL, folder.resolve().as_uri()).hex, folder=folder)


def _check_output(output: Path, source: Path, resume: bool) -> None:
    """What would be found out only after the work is found out before it. `resume`: the result may be there already."""
    from clara_argo.errors import UsageError

    if _filled(output) and not (resume and output.is_dir()):
        raise UsageError(f"{output} {FILLED}")
    here = output.resolve()
    if here == source.resolve() or here.is_relative_to(source.resolve()):
        raise UsageError(f"{output} lies in the input folder and would be part of the next input; name another folder")
    above = next(folder for folder in here.parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{above} cannot be written to; name another folder with --output")


def _filled(output: Path) -> bool:
    return output.exists() and (not output.is_dir() or any(output.iterdir()))


def _on_signals() -> None:
    """To be asked to end is the same as Ctrl-C; once is enough. Under `nohup` the end of the terminal is no reason."""
    asked = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def _start(
    runner: LocalRunner, graph: Graph, payload: Payload, output: Path, name: str | None, resume: bool
) -> tuple[str, str]:
    """Returns the job's id, and the digest of its earlier result when that fills `output`."""
    import uuid

    from clara_argo.artifacts import tree
    from clara_argo.errors import NotFound, UsageError

    if resume:
        job = find(runner, name) if name else _last(runner, graph, payload)
        if _filled(output) and not runner.delivered(job, output):
            raise UsageError(f"{output} {FILLED}")
        earlier = tree.digest(output) if _filled(output) else ""
        runner.resume(graph, job, payload)
        return job, earlier
    job = uuid.uuid4().hex if name is None else name.replace("-", "").lower()
    if name is not None:
        from clara_argo.model.job import JOB_ID

        if not JOB_ID.fullmatch(job):
            raise UsageError(f"--job {name!r}: a job id is 32 hex digits")
        try:
            known = runner.get(job)
        except NotFound:
            known = None
        if known is not None and known.state.ended:
            raise UsageError(f"job {job} exists ({known.state}); add --resume to go on with it, or leave --job out")
    runner.submit(graph, job, payload)
    return job, ""


def _last(runner: LocalRunner, graph: Graph, payload: Payload) -> str:
    """The newest job of this workflow on this input."""
    from clara_argo.errors import NotFound

    for job in runner.list():
        if (job.workflow, job.payload) == (graph.workflow.name, payload.id):
            return job.id
    raise NotFound(
        f"there is no job of workflow '{graph.workflow.name}' on this input; leave --resume out to start one"
    )


def _watch(runner: LocalRunner, job: str, again: str) -> Job:
    """Show the job until it has ended. Ctrl-C ends it; a second one does not wait for that."""
    from clara_argo.errors import Interrupted
    from clara_argo.runners import display

    try:
        return display.follow(runner, job, sys.stderr)
    except KeyboardInterrupt:
        stopped = Interrupted(f"job {job} stopped; go on with: {again}")
    try:
        talk("ending the stages")
        runner.stop(job)
    except KeyboardInterrupt:
        raise stopped from None
    raise stopped


def _deliver(runner: LocalRunner, job: str, output: Path, earlier: str) -> None:
    """Put the result into `output`. A result of the same job that was there before makes room, if it is unchanged."""
    from clara_argo.artifacts import tree

    if not _filled(output):
        runner.result(job, output)
        return
    if runner.delivered(job, output):
        return
    if not earlier or tree.digest(output) != earlier:
        from clara_argo.errors import UsageError

        raise UsageError(f"{output} {FILLED}; the job is done and keeps its result")
    new = output.with_name(f".{output.name[:100]}.{job[:SHORT]}.new")
    tree.remove(new)  # of a run that was killed before it could
    runner.result(job, new)
    tree.remove(output)
    tree.move(new, output)


def _report(ended: Job, output: Path, form: str, again: str) -> None:
    from clara_argo.errors import Interrupted, JobFailed
    from clara_argo.model.job import JobState

    job = ended.id
    text = json.dumps(ended.to_json(), indent=1) if form == "json" else ""
    if ended.state is JobState.SUCCEEDED:
        click.echo(text or f"result in {output}")
        return
    if text:
        _print(text)
    if ended.state is JobState.STOPPED:
        raise Interrupted(f"job {job} was stopped; go on with: {again}")
    raise JobFailed(f"job {job} failed: {ended.message}\n  what it wrote: clara logs {job[:SHORT]}\n  again: {again}")


def _print(text: str) -> None:
    """On stdout; that nobody reads it does not make a failed job a success."""
    try:
        click.echo(text)
    except BrokenPipeError:
        return


def find(runner: LocalRunner, prefix: str) -> str:
    """The id of the one job that begins so. Raises NotFound, UsageError when there are several."""
    from clara_argo.errors import NotFound, UsageError

    wanted = prefix.replace("-", "").lower()
    found = [job.id for job in runner.list() if wanted and job.id.startswith(wanted)]
    if not found:
        raise NotFound(f"no job {prefix!r}; see 'clara jobs'")
    if len(found) > 1:
        some = ", ".join(job[: len(wanted) + 4] for job in found[:4])
        raise UsageError(f"{len(found)} jobs begin with {prefix!r}: {some}; write more digits")
    return found[0]


def _runner() -> LocalRunner:
    from clara_argo.runners.local import LocalRunner

    return LocalRunner()


@click.command()
@FORMAT
def jobs(form: str) -> None:
    """List the jobs of this machine, newest first.

    \b
    Examples:
      clara jobs
      clara jobs -o json
    """
    found = _runner().list()
    if form == "json":
        click.echo(json.dumps({"schema": 1, "jobs": [job.to_json() for job in found]}, indent=1))
        return
    if not found:
        click.echo("no jobs yet; start one with 'clara run'", err=True)
        return
    rows = [("JOB", "STATE", "CREATED", "SECONDS", "WORKFLOW", "MESSAGE")]
    rows += [
        (job.id[:SHORT], job.state.value, _when(job.created), _took(job), job.workflow, job.message) for job in found
    ]
    _table(rows)


@click.command()
@click.argument("job")
@FORMAT
def describe(job: str, form: str) -> None:
    """Show one job: its stages, times and messages. JOB is an id or its first digits.

    \b
    Examples:
      clara describe 3f2a
      clara describe 3f2a -o json
    """
    runner = _runner()
    known = runner.get(find(runner, job))
    if form == "json":
        click.echo(json.dumps(known.to_json(), indent=1))
        return
    facts = [
        ("job", known.id),
        ("workflow", known.workflow),
        ("state", known.state.value),
        ("message", known.message),
        ("created", _when(known.created)),
        ("seconds", _took(known)),
        ("attempt", str(known.attempt)),
        ("payload", known.payload),
        ("folder", str(runner.home / "jobs" / known.id)),
    ]
    for name, value in facts:
        if value:
            click.echo(f"{name + ':':<10}{value}")
    click.echo()
    rows = [("STAGE", "STATE", "ATTEMPT", "SECONDS", "EXIT", "PROGRESS", "MESSAGE")]
    for stage in known.stages:
        code = "" if stage.exit_code is None else str(stage.exit_code)
        attempt = str(stage.attempt or "")
        rows.append((stage.name, stage.state.value, attempt, _took(stage), code, stage.progress, stage.message))
    _table(rows)


def _took(value: Any) -> str:
    from datetime import UTC, datetime

    from clara_argo.runners.display import seconds

    return f"{seconds(value, datetime.now(UTC)):.1f}" if value.started else ""


def _when(text: str) -> str:
    return text[:19].replace("T", " ") + " UTC" if text else ""


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # whole lines for programs
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        click.echo(line if most is None or len(line) <= most else line[: most - 1] + "…")


@click.command()
@click.argument("job")
@click.argument("stage", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(job: str, stage: str | None, follow: bool) -> None:
    """Print what the stages of a job wrote, or one STAGE of it. JOB is an id or its first digits.

    \b
    Examples:
      clara logs 3f2a
      clara logs 3f2a ct-organ-seg -f
    """
    runner = _runner()
    for line in runner.logs(find(runner, job), stage, follow):
        sys.stdout.write(f"{line.text}\n" if stage else f"{line.stage} | {line.text}\n")
        if follow:
            sys.stdout.flush()

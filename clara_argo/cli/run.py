"""`clara run`: a workflow on this machine or on a cluster, from the study to the result, in one command."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clara_argo.cli import delivery, talk
from clara_argo.cli.common import ENGINE, FORMAT, SET, Found, find, new_id, remember, remembering

if TYPE_CHECKING:
    from clara_argo.graph import Graph
    from clara_argo.model.job import Job, Payload
    from clara_argo.runners.protocol import Runner


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Folder with the study.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for the result; new or empty.")
@click.option("--on", "target", metavar="TARGET", default="local", help="Where: local, argo, or a target of your own.")
@ENGINE
@SET
@click.option("--workflow", help="Name or id, when FILE holds several workflows.")
@click.option("--jobs", type=click.IntRange(min=1), help="Stages at the same time; as many as processors otherwise.")
@click.option("--job", "name", help="Id of the job, 32 hex digits; a new one otherwise. With --resume: also a prefix.")
@click.option("--resume", is_flag=True, help="Go on with a job: only what did not finish or has changed runs.")
@FORMAT
def run(
    file: Path,
    source: Path,
    output: Path,
    target: str,
    engine: str | None,
    values: dict[str, str],
    workflow: str | None,
    jobs: int | None,
    name: str | None,
    resume: bool,
    form: str,
) -> None:
    """Run the workflow in FILE on this machine, or on a cluster.

    On this machine stages are processes, or run each in its image with --engine podman or docker (docs/engines.md);
    what they wrote and said stays in CLARA_HOME (~/.local/state/clara-argo).
    On a cluster they are pods of Argo Workflows: the template is put there when it is new or has changed, the study
    goes through the cluster's store, and the store's copies of study and result go once the result lies in --output.
    Ctrl-C ends everything, there too, and leaves a job that resumes.

    \b
    Examples:
      clara run ct-organs.yaml --input CT --output result
      clara run ct-organs.yaml --input CT --output result --jobs 2
      clara run ct-organs.yaml --input CT --output result --engine podman
      clara run ct-organs.yaml --input CT --output result --on argo
      clara run ct-organs.yaml --input CT --output result --resume
      clara run pipeline.yaml --input CT --output result --engine podman --set THRESHOLD=0.5
    """
    from clara_argo import project
    from clara_argo.errors import NotFound
    from clara_argo.model.job import JobState
    from clara_argo.runners import targets

    if not file.is_file():
        raise NotFound(f"{file}: no such workflow file")
    work = payload(source, target)
    delivery.check(output, work.folder, resume=resume)
    graph = project.graph(file, name=workflow, values=values)
    for finding in graph.findings:
        talk(str(finding))
    end_on_signals()
    with targets.open_runner(target, jobs=jobs, apply=True, engine=engine) as runner:
        found, before = _start(runner, graph, work, output, target, name, resume)
        again = _again(file, source, output, target, workflow, found.job, values)
        if form == "text":
            talk(f"job {found.job}")
        ended = watch(found, again)
        if ended.state is JobState.SUCCEEDED:
            delivery.deliver(found, output, before)
    delivery.report(ended, f"result in {output}", form, again)


def _again(
    file: Path, source: Path, output: Path, target: str, workflow: str | None, job: str, values: dict[str, str]
) -> str:
    """The command that goes on with the job, for people to copy."""
    from clara_argo.model.target import LOCAL

    words = ["clara", "run", str(file), "--input", str(source), "--output", str(output)]
    words += ["--on", target] if target != LOCAL else []
    words += [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return shlex.join([*words, *(["--workflow", workflow] if workflow else []), "--job", job, "--resume"])


def payload(source: Path, target: str) -> Payload:
    """Here the same folder is the same payload, whatever happens in it; on a cluster the same content is, so that it is
    sent once. The id does not tell which."""
    import uuid

    from clara_argo.artifacts import tree
    from clara_argo.errors import NotFound, UsageError
    from clara_argo.model.job import Payload
    from clara_argo.model.target import LOCAL

    if not source.is_dir():
        raise NotFound(f"{source}: no such folder; --input names the folder with the study")
    folder = source.absolute()
    if target == LOCAL:
        return Payload(id=uuid.uuid5(uuid.NAMESPACE_URL, folder.resolve().as_uri()).hex, folder=folder)
    try:
        return Payload(id=tree.digest(folder, follow=True)[:32], folder=folder)
    except OSError as error:
        where = tree.printable(str(error.filename or folder))
        raise UsageError(f"{where}: {error.strerror}; everything in --input must be there and readable") from None


def end_on_signals() -> None:
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
    runner: Runner, graph: Graph, work: Payload, output: Path, target: str, name: str | None, resume: bool
) -> tuple[Found, str]:
    """Returns the job, and the digest of its earlier result when that fills `output`."""
    if resume:
        found = Found(runner, find(runner, name) if name else _last(runner, graph, work), target)
        before = delivery.earlier(found, output)
        remember(found.job, target)
        runner.resume(graph, found.job, work)
        return found, before
    found = Found(runner, _not_ended(runner, name), target)
    with remembering(found.job, target):
        runner.submit(graph, found.job, work)
    return found, ""


def _not_ended(runner: Runner, name: str | None) -> str:
    """The id that was asked for, of a job that has not ended yet; else a new one. Raises UsageError."""
    from clara_argo.errors import NotFound, UsageError

    job = new_id(name)
    if name is None:
        return job
    try:
        known = runner.get(job)
    except NotFound:
        return job
    if known.state.ended:
        raise UsageError(f"job {job} exists ({known.state}); add --resume to go on with it, or leave --job out")
    return job


def _last(runner: Runner, graph: Graph, work: Payload) -> str:
    """The newest job of this workflow on this input."""
    from clara_argo.errors import NotFound

    for job in runner.list():
        if (job.workflow, job.payload) == (graph.workflow.name, work.id):
            return job.id
    raise NotFound(
        f"there is no job of workflow '{graph.workflow.name}' on this input; leave --resume out to start one"
    )


def watch(found: Found, again: str) -> Job:
    """Show the job until it has ended. Ctrl-C ends it; a second one does not wait for that."""
    from clara_argo.errors import Interrupted

    try:
        return delivery.follow(found)
    except KeyboardInterrupt:
        stopped = Interrupted(f"job {found.job} stopped; go on with: {again}")
    try:
        talk("ending the stages")
        found.runner.stop(found.job)
    except KeyboardInterrupt:
        raise stopped from None
    raise stopped

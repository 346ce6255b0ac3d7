"""`clara-wf test_workflow`: a workflow runs once, on input that is made for it or on a study of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import delivery, talk
from clara_argo.cli.common import FORMAT, SHORT, Found, new_id, remembering

if TYPE_CHECKING:
    from clara_argo.graph import Graph

RECON_ONLY = "613e3fce-0d96-495a-a760-f43e68deefd8"
FIRST_JOB = "00000000-0000-0000-0000-000000000000"
ARGO = "argo"
ENGINES = ("process", "podman", "docker", ARGO)


@click.command()
@click.argument("workflow", metavar="[WORKFLOW_ID]", default=RECON_ONLY)
@click.argument("job", metavar="[JOB_ID]", default=FIRST_JOB)
@click.option(
    "--input", "source", type=click.Path(path_type=Path), help="Folder with the study; one is made otherwise."
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the result; a new one here otherwise.")
@click.option(
    "--engine", type=click.Choice(ENGINES), default=ENGINES[0], show_default=True, help="What runs the stages."
)
@FORMAT
def test_workflow(workflow: str, job: str, source: Path | None, output: Path | None, engine: str, form: str) -> None:
    """Run a workflow, by its id or name, as one job; its result goes into a folder.

    Without words it is the workflow recon-only and the job 0. A job of that id that has ended makes room, so that a
    test can be typed again. Input that is made is of a made-up patient, and the same each time.

    \b
    Examples:
      clara-wf test_workflow
      clara-wf test 7b413e24-d018-4689-8c41-73272f6649d4
      clara-wf test user-workflow --input CT --output result --engine argo
    """
    from clara_argo import home, project
    from clara_argo.cli.run import end_on_signals, payload, watch
    from clara_argo.model.job import JobState
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import engines, targets

    target = ARGO if engine == ARGO else LOCAL
    graph = project.workflow(project.find_root(Path.cwd()), workflow)
    for finding in graph.findings:
        talk(str(finding))
    name = new_id(job, "JOB_ID")
    end_on_signals()
    with targets.open_runner(target, apply=True, engine=None if engine == ARGO else engine) as runner:
        found = Found(runner, name, target)
        into = output or _new_folder(str(graph.workflow.name))
        delivery.check(into, source)
        with _alone(name):
            # what is wrong with the input, the stages or the engine is said before the last job goes
            work = payload(source, target) if source else None
            if target == LOCAL:
                engines.ready(engine, graph, home.state())
            _make_room(found)
            work = work or payload(_made(graph, name), target)
            with remembering(name, target):
                runner.submit(graph, name, work)
        again = f"clara retry {name[:SHORT]}"
        if form == "text":
            talk(f"workflow {graph.workflow.name}, job {name}")
        ended = watch(found, again)
        if ended.state is JobState.SUCCEEDED:
            delivery.deliver(found, into)
    delivery.report(ended, f"result in {into}", form, again)


def _new_folder(workflow: str) -> Path:
    """`test-NAME` here, with a number when that is there already."""
    name = "test-" + (re.sub(r"[^\w.-]+", "-", workflow)[:100] or "workflow")
    folder, number = Path(name), 2
    while folder.exists():
        folder, number = Path(f"{name}-{number}"), number + 1
    return folder


@contextmanager
def _alone(job: str) -> Iterator[None]:
    """One test of this id at a time, from the look at the last job to the start of this one: its input is made anew.

    Raises Held for the second.
    """
    import fcntl

    from clara_argo import home
    from clara_argo.errors import Held

    lock = home.state() / "samples" / f".{job}.lock"
    with _written():
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"job {job} is being started by another clara-wf"
            raise Held(f"{message}; try again when it has ended, or name another JOB_ID") from None
        yield


@contextmanager
def _written() -> Iterator[None]:
    """Raises UsageError or TryAgain in place of what the system says when it takes no file."""
    from clara_argo import home
    from clara_argo.artifacts import tree

    try:
        yield
    except OSError as error:
        hint = "jobs and their input are kept there: set CLARA_HOME to a folder that can be written to"
        raise tree.unwritable(error, home.state(), hint) from None


def _make_room(found: Found) -> None:
    """Forget the job of this id when it has ended, also where it is not run now: the id must mean one job from here.

    Raises Held while it runs.
    """
    from clara_argo import home
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import remembered, targets

    _forget(found)
    remembered.forget(home.state(), found.job)  # a job of that id on another target is found there, with --on
    if found.target != LOCAL:
        with targets.open_runner(LOCAL) as here:
            _forget(Found(here, found.job, LOCAL))


def _forget(found: Found) -> None:
    from clara_argo.errors import Held, NotFound

    try:
        known = found.runner.get(found.job)
    except NotFound:
        return
    if not known.state.ended:
        short = found.job[:SHORT]
        raise Held(f"job {found.job} is {known.state}; wait, end it with 'clara stop {short}', or name another JOB_ID")
    found.runner.delete(found.job)


def _made(graph: Graph, job: str) -> Path:
    """Input made for the workflow. It stays while the job is known, which may be run again with it."""
    from clara_argo import home
    from clara_argo.artifacts import tree
    from clara_argo.demo import samples

    folder = home.state() / "samples" / job
    with _written():
        tree.remove(folder)
        told = samples.lay(graph, folder)
    talk(f"{told}, in {folder}")
    return folder

"""`clara submit`: start a job on a cluster, and leave it there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import delivery, talk
from clara_argo.cli.common import FORMAT, SET, SHORT, Found, new_id, print_json, remembering

if TYPE_CHECKING:
    from clara_argo.graph import Graph
    from clara_argo.model.job import Job, Payload
    from clara_argo.runners.targets import ClusterRunner

SUFFIXES = (".yaml", ".yml")


@click.command()
@click.argument("workflow")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Folder with the study.")
@click.option("--on", "target", metavar="TARGET", default="argo", show_default=True, help="The cluster.")
@click.option("--wait", is_flag=True, help="Show the job until it has ended.")
@click.option("--output", type=click.Path(path_type=Path), help="Wait, then put the result there; new or empty.")
@SET
@click.option("--workflow", "name", metavar="NAME", help="Name or id, when a file holds several workflows.")
@click.option(
    "--job", "job_id", metavar="ID", help="Id of the job, 32 hex digits: one that exists is not started again."
)
@FORMAT
def submit(
    workflow: str,
    source: Path,
    target: str,
    wait: bool,
    output: Path | None,
    values: dict[str, str],
    name: str | None,
    job_id: str | None,
    form: str,
) -> None:
    """Start a job of WORKFLOW on a cluster; prints its id.

    WORKFLOW is a file, the name or id of a workflow of this project or of a shipped one, or else the name of a
    template that is on the cluster. Ctrl-C while waiting leaves the job alone.

    \b
    Examples:
      clara submit ct-organs --input CT
      clara submit workflow.yaml --input CT --output result
      clara submit ct-organs --input CT --on hospital --wait -o json
    """
    from clara_argo.cli.run import end_on_signals, payload
    from clara_argo.model.job import JobState
    from clara_argo.model.target import LOCAL

    if target == LOCAL:
        from clara_argo.errors import UsageError

        raise UsageError("a job of this machine lasts as long as its command: use 'clara run'")
    job = new_id(job_id)
    work = payload(source, target)
    if output is not None:
        delivery.check(output, work.folder)
    graph, unknown = _graph(workflow, name, values)
    for finding in graph.findings if graph is not None else ():
        talk(str(finding))
    end_on_signals()
    from clara_argo.runners import targets

    with targets.open_cluster(target, apply=True) as runner:
        with remembering(job, target):
            if graph is not None:
                started = runner.submit(graph, job, work)
            else:
                started = _of_template(runner, workflow, job, work, unknown)
        if not (wait or output):
            print_json(started.to_json()) if form == "json" else click.echo(job)
            return
        if form == "text":
            talk(f"job {job}")
        from clara_argo.cli.control import until_ended

        found = Found(runner, job, target)
        ended = until_ended(found)
        if output is not None and ended.state is JobState.SUCCEEDED:
            delivery.deliver(found, output)
    said = f"result in {output}" if output else f"{job}\nits result: clara result {job[:SHORT]} --output DIR"
    delivery.report(ended, said, form, f"clara retry {job[:SHORT]} --wait")


def _graph(workflow: str, name: str | None, values: dict[str, str]) -> tuple[Graph | None, str]:
    """Of a file, else of a workflow that is called so. None when only the cluster may know it, and why."""
    from clara_argo import project
    from clara_argo.errors import NotFound

    path = Path(workflow)
    if path.is_file():
        return project.graph(path, name=name, values=values), ""
    if "/" in workflow or workflow.endswith(SUFFIXES):
        raise NotFound(f"{workflow}: no such workflow file")
    try:
        return project.workflow(project.find_root(Path.cwd()), workflow, values=values), ""
    except NotFound as error:
        return None, str(error)


def _of_template(runner: ClusterRunner, name: str, job: str, work: Payload, unknown: str) -> Job:
    from clara_argo.errors import NotFound

    try:
        return runner.submit_template(name, job, work)
    except NotFound as error:
        raise NotFound(f"{unknown}\n  on the cluster: {error}") from None

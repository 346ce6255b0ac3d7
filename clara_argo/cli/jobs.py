"""`clara jobs`, `clara describe`, `clara logs`: looking at jobs, here and on clusters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from clara_argo.cli.common import FORMAT, ON, SCHEMA, SHORT, Found, opened, print_facts, print_json, print_table

if TYPE_CHECKING:
    from clara_argo.model.job import Job


@click.command()
@click.option("--on", "target", metavar="TARGET", default="local", help="Whose: local, argo, or a target of your own.")
@FORMAT
def jobs(target: str, form: str) -> None:
    """List the jobs of this machine, or of a cluster, newest first.

    \b
    Examples:
      clara jobs
      clara jobs --on argo
      clara jobs -o json
    """
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import targets

    with targets.open_runner(target) as runner:
        found = runner.list()
    if form == "json":
        print_json({"schema": SCHEMA, "jobs": [job.to_json() for job in found]})
        return
    if not found:
        where = "" if target == LOCAL else f" in namespace '{targets.find(target).namespace}' of target '{target}'"
        click.echo(f"no jobs yet{where}; start one with 'clara run'", err=True)
        return
    rows = [("JOB", "STATE", "CREATED", "SECONDS", "WORKFLOW", "MESSAGE")]
    rows += [
        (job.id[:SHORT], job.state.value, _when(job.created), _took(job), job.workflow, _message(job)) for job in found
    ]
    print_table(rows)


def _message(job: Job) -> str:
    """What is said of the job, else what its first waiting stage waits for."""
    from clara_argo.model.job import StageState

    if job.message or job.state.ended:
        return job.message
    waiting = (run for run in job.stages if run.state is StageState.PENDING and run.message)
    return next((f"stage '{run.name}': {run.message}" for run in waiting), "")


@click.command()
@click.argument("job")
@ON
@FORMAT
def describe(job: str, on: str | None, form: str) -> None:
    """Show one job: its stages, times and messages. JOB is an id or its first digits.

    \b
    Examples:
      clara describe 3f2a
      clara describe 3f2a --on argo
      clara describe 3f2a -o json
    """
    with opened(job, on) as found:
        known = found.runner.get(found.job)
    if form == "json":
        print_json(known.to_json())
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
    ]
    print_facts([*facts, *_place(found)])
    click.echo()
    rows = [("STAGE", "STATE", "ATTEMPT", "SECONDS", "EXIT", "PROGRESS", "MESSAGE")]
    for stage in known.stages:
        code = "" if stage.exit_code is None else str(stage.exit_code)
        attempt = str(stage.attempt or "")
        rows.append((stage.name, stage.state.value, attempt, _took(stage), code, stage.progress, stage.message))
    print_table(rows)


def _place(found: Found) -> list[tuple[str, str]]:
    """Here a folder, on a cluster a namespace."""
    from clara_argo import home
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import targets

    if found.target == LOCAL:
        return [("folder", str(home.jobs(home.state()) / found.job))]
    return [("target", found.target), ("namespace", targets.find(found.target).namespace)]


def _took(value: Any) -> str:
    from datetime import UTC, datetime

    from clara_argo.runners.display import seconds

    return f"{seconds(value, datetime.now(UTC)):.1f}" if value.started else ""


def _when(text: str) -> str:
    return text[:19].replace("T", " ") + " UTC" if text else ""


@click.command()
@click.argument("job")
@click.argument("stage", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@ON
def logs(job: str, stage: str | None, follow: bool, on: str | None) -> None:
    """Print what the stages of a job wrote, or one STAGE of it. JOB is an id or its first digits.

    \b
    Examples:
      clara logs 3f2a
      clara logs 3f2a ct-organ-seg -f
    """
    with opened(job, on) as found:
        for line in found.runner.logs(found.job, stage, follow):
            sys.stdout.write(f"{line.text}\n" if stage else f"{line.stage} | {line.text}\n")
            if follow:
                sys.stdout.flush()

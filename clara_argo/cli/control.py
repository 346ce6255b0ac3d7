"""`clara stop`, `clara retry`, `clara result`, `clara delete`: what is done to a job that exists."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import delivery, talk
from clara_argo.cli.common import FORMAT, ON, SCHEMA, SHORT, Found, opened, plain, print_json

if TYPE_CHECKING:
    from clara_argo.model.job import Job


@click.command()
@click.argument("job")
@ON
@FORMAT
def stop(job: str, on: str | None, form: str) -> None:
    """End a job and wait until it has ended. Its finished stages stay: 'clara retry' goes on. JOB may be a prefix.

    \b
    Examples:
      clara stop 3f2a
      clara stop 3f2a --on argo
    """
    with opened(job, on) as found:
        ended = found.runner.stop(found.job)
    if form == "json":
        print_json(ended.to_json())
    else:
        click.echo(f"job {ended.id}: {ended.state}")


@click.command()
@click.argument("job")
@click.option("--from", "stage", metavar="STAGE", help="Run this stage again, and everything after it.")
@click.option("--wait", is_flag=True, help="Show the job until it has ended; on this machine always so.")
@ON
@FORMAT
def retry(job: str, stage: str | None, wait: bool, on: str | None, form: str) -> None:
    """Go on with a job that failed or was stopped: what finished is kept. JOB is an id or its first digits.

    On this machine the job runs as long as the command. Exit code 5: it is running.

    \b
    Examples:
      clara retry 3f2a
      clara retry 3f2a --from ct-organ-seg --wait
      clara retry 3f2a && clara result 3f2a --output result
    """
    from clara_argo.cli.run import end_on_signals
    from clara_argo.model.target import LOCAL

    end_on_signals()
    with opened(job, on) as found:
        again = found.runner.retry(found.job, stage)
        if not wait and found.target != LOCAL:
            if form == "json":
                print_json(again.to_json())
            else:
                click.echo(f"job {again.id} goes on")
            return
        ended = until_ended(found)
    said = f"job {ended.id} succeeded; its result: clara result {ended.id[:SHORT]} --output DIR"
    delivery.report(ended, said, form, f"clara retry {ended.id[:SHORT]}")


def until_ended(found: Found) -> Job:
    """Show the job until it has ended. Ctrl-C leaves a cluster's job alone; one of this machine ends with us."""
    from clara_argo.errors import Interrupted
    from clara_argo.model.target import LOCAL

    try:
        return delivery.follow(found)
    except KeyboardInterrupt:
        short = found.job[:SHORT]
        if found.target == LOCAL:
            talk("ending the stages")
            with suppress(KeyboardInterrupt):
                found.runner.stop(found.job)
            raise Interrupted(f"job {found.job} stopped; go on with: clara retry {short}") from None
        raise Interrupted(
            f"job {found.job} goes on, on target '{found.target}'; look: clara describe {short} · "
            f"its result: clara result {short} --wait --output DIR · end it: clara stop {short}"
        ) from None


@click.command()
@click.argument("job")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for the result; new or empty.")
@click.option("--wait", is_flag=True, help="Show the job until it has ended.")
@ON
@FORMAT
def result(job: str, output: Path, wait: bool, on: str | None, form: str) -> None:
    """Put the result of a job into a folder. JOB is an id or its first digits.

    A cluster's store keeps a result until it was fetched once: then its copy goes. Exit code 4: the job has none.

    \b
    Examples:
      clara result 3f2a --output result
      clara result 3f2a --output result --wait
    """
    delivery.check(output, resume=True)
    with opened(job, on) as found:
        ended = until_ended(found) if wait else found.runner.get(found.job)
        delivery.deliver(found, output, delivery.earlier(found, output))  # says why when there is none
    delivery.report(ended, f"result in {output}", form, f"clara retry {ended.id[:SHORT]}")


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@ON
@FORMAT
def delete(jobs: tuple[str, ...], on: str | None, form: str) -> None:
    """Forget jobs that have ended, with everything stored for them. JOB is an id or its first digits.

    Exit code 5: it is running; stop it first.

    \b
    Examples:
      clara delete 3f2a
      clara delete 3f2a 77c0 --on argo
    """
    deleted = []
    for job in jobs:
        deleted.append(_delete(job, on))
        if form == "text":  # at once: the next one may not be deleted
            click.echo(f"job {deleted[-1]} deleted")
    if form == "json":
        print_json({"schema": SCHEMA, "deleted": deleted})


def _delete(prefix: str, on: str | None) -> str:
    """One that the cluster does not know any more is forgotten here, too."""
    from clara_argo import home
    from clara_argo.errors import NotFound
    from clara_argo.runners import remembered

    try:
        with opened(prefix, on) as found:
            found.runner.delete(found.job)
    except NotFound:
        known = remembered.recall(home.state(), plain(prefix))
        if len(known) == 1 and on in (None, *known.values()):
            remembered.forget(home.state(), *known)
        raise
    remembered.forget(home.state(), found.job)
    return found.job

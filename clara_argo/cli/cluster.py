"""`clara cluster`: say what a cluster lacks for our jobs, and install it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clara_argo.cli.common import FORMAT, SCHEMA, print_json

if TYPE_CHECKING:
    from clara_argo.platform.doctor import Check

TARGET = click.option("--on", "on", metavar="TARGET", default="argo", show_default=True, help="Which cluster.")
COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "blue"}


@click.group()
def cluster() -> None:
    """A Kubernetes cluster for workflows: look at it, and put there what it lacks.

    \b
    Examples:
      clara cluster install --overlay kind --context kind-clara
      clara cluster doctor
    """


@cluster.command()
@TARGET
@click.option("--sweep", is_flag=True, help="Free deleted Workflows that do not go, and what is stored for them.")
@FORMAT
@click.pass_context
def doctor(ctx: click.Context, on: str, sweep: bool, form: str) -> None:
    """Look at everything that jobs need, and say how to mend what is wrong.

    `ok`; `warn`: jobs run, but slower or less safely; `fail`: jobs do not run; `unknown`: not looked at, because this
    account may not or because there is nothing of it. A Workflow without a pod and a folder in the store are made for a
    moment. Exit code 2 when something fails, 75 when what fails does not answer now.

    \b
    Examples:
      clara cluster doctor
      clara cluster doctor --on hospital -o json
      clara cluster doctor --sweep
    """
    from clara_argo.errors import DefinitionError, TryAgain
    from clara_argo.platform.doctor import Level

    checks = []
    for check in _examine(on, sweep):
        checks.append(check)
        if form == "text":
            _print(check)
    failed = [check for check in checks if check.level is Level.FAIL]
    if form == "json":
        print_json({"schema": SCHEMA, "target": on, "checks": [asdict(check) for check in checks]})
    else:
        counts = [f"{sum(check.level is level for check in checks)} {level}" for level in Level]
        click.echo(", ".join(counts), err=True)
    if failed:
        ctx.exit(TryAgain.exit_code if all(check.away for check in failed) else DefinitionError.exit_code)


def _examine(on: str, sweep: bool) -> Iterator[Check]:
    from clara_argo.platform import doctor as platform
    from clara_argo.runners import targets
    from clara_argo.runners.clusterstore import ClusterStore

    target, api = targets.cluster(on)
    with api:
        store = ClusterStore(api, target, targets.credentials)
        yield from platform.examine(platform.Site(api=api, target=target, store=store, sweep=sweep))


def _print(check: Check) -> None:
    click.echo(f"{click.style(f'{check.level:<7}', fg=COLORS[check.level])}  {check.part}: {check.said}")
    if check.hint:
        click.echo(f"         -> {check.hint}")

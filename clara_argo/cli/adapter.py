"""`clara adapter`: serve the DICOM node of a configuration file, or check that file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clara_adapter.plan import Plan

CONFIG = click.option(
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The adapter's configuration, a dicom-server-config.yaml or an appsettings.json.",
)


@click.group()
def adapter() -> None:
    """The DICOM adapter: receive studies, return results.

    \b
    Examples:
      clara adapter check --config adapter.yaml --echo
      clara adapter serve --config adapter.yaml
    """


@adapter.command()
@CONFIG
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead; 0 takes a free port.")
def serve(file: Path, port: int | None) -> None:
    """Receive studies and return results until SIGTERM or Ctrl-C.

    The configuration, the workflows and the definitions of their stages are read once, at the start: end it and start
    it again after a change. What was received, and jobs that are not done, go on then.

    The log goes to stderr: text on a terminal, JSON lines in a service. Exit code 5: another adapter has the spool.

    \b
    Examples:
      clara adapter serve --config adapter.yaml
      clara adapter serve --config adapter.yaml --port 11113
    """
    from clara_adapter import log, main, plan

    planned = plan.read(file)
    planned.check()
    log.set_up()
    main.serve(planned, port)


@adapter.command()
@CONFIG
@click.option("--echo", is_flag=True, help="Ask each destination with a C-ECHO, and a cluster what it lacks.")
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="Format of the result.")
def check(file: Path, echo: bool, strict: bool, form: str) -> None:
    """Say everything that is wrong, and who may send what to whom.

    Looks at the spool and the address on this machine and as this user, and leaves nothing behind. Exit code 2
    when the adapter would not start, 75 when a destination does not answer its C-ECHO, or a cluster lacks something:
    receiving would work, and what was asked for would wait.

    \b
    Examples:
      clara adapter check --config adapter.yaml
      clara adapter check --config adapter.yaml --echo -o json
    """
    from clara_adapter import machine, plan
    from clara_argo.errors import DefinitionError, TryAgain

    planned = machine.examine(plan.read(file, strict=strict), strict=strict)
    answers = plan.echo(planned) if echo else {}
    cluster = plan.ask(planned) if echo else {}
    click.echo(_json(planned, answers, cluster) if form == "json" else _text(planned, answers, cluster))
    if planned.failed:
        click.get_current_context().exit(DefinitionError.exit_code)  # every finding is printed already
    if silent := [name for name, answer in answers.items() if answer != plan.ANSWERS]:
        raise TryAgain(f"no good answer from {', '.join(silent)}; is it running, and does it know our AE title?")
    if lacking := [what for what, answer in cluster.items() if answer != plan.READY]:
        raise TryAgain(f"not ready on the cluster: {', '.join(lacking)}; jobs wait for it")


def _text(planned: Plan, answers: dict[str, str], cluster: dict[str, str]) -> str:
    return "\n".join([*map(str, planned.findings), *planned.lines(answers, cluster)])


def _json(planned: Plan, answers: dict[str, str], cluster: dict[str, str]) -> str:
    import json

    return json.dumps(planned.to_json(answers, cluster), indent=1)


@adapter.command()
@CONFIG
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="Format of the result.")
def status(file: Path, form: str) -> None:
    """List held studies, jobs and deliveries, with what went wrong. Works while the adapter runs.

    \b
    Examples:
      clara adapter status --config adapter.yaml
      clara adapter status --config adapter.yaml -o json
    """
    import json

    from clara_adapter import overview, plan

    store = overview.open_store(plan.spool(file))
    try:
        found = overview.overview(store)
    finally:
        store.close()
    click.echo(json.dumps(found, indent=1) if form == "json" else "\n".join(overview.lines(found)))


@adapter.command()
@CONFIG
@click.argument("job", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that has failed or was stopped.")
def retry(file: Path, job: str | None, everything: bool) -> None:
    """Ask again for a failed or stopped JOB, or for its failed deliveries. Works while the adapter runs.

    What had finished is kept. Mend first what the message of 'clara adapter status' names.

    \b
    Examples:
      clara adapter retry --config adapter.yaml 6f1c…
      clara adapter retry --config adapter.yaml --all
    """
    from clara_adapter import overview, plan
    from clara_argo.errors import UsageError

    if (job is None) is not everything:
        raise UsageError("name one JOB, or say --all")
    store = overview.open_store(plan.spool(file))
    try:
        done = overview.retry_all(store) if job is None else overview.retry(store, job)
    finally:
        store.close()
    click.echo("\n".join(done) or "nothing has failed")

"""`clara apply`: a workflow file becomes a template on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli.common import FORMAT, SCHEMA, SET, print_json

if TYPE_CHECKING:
    from clara_argo.runners.templates import Applied


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", "target", metavar="TARGET", default="argo", show_default=True, help="The cluster.")
@click.option("--workflow", "name", metavar="NAME", help="Name or id, when the file holds several workflows.")
@SET
@click.option("--fused", is_flag=True, help="All stages in one pod, without hops through the store.")
@click.option("--dry-run", is_flag=True, help="Ask the cluster whether it would take it; change nothing.")
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
@FORMAT
def apply(
    file: Path,
    target: str,
    name: str | None,
    values: dict[str, str],
    fused: bool,
    dry_run: bool,
    strict: bool,
    form: str,
) -> None:
    """Put the template of a workflow on a cluster, and say what changes there.

    Jobs that run keep the template they started with. 'clara run --on' and 'clara submit' of a file do the same first.

    \b
    Examples:
      clara apply workflow.yaml
      clara apply workflow.yaml --on hospital --dry-run
      clara apply workflow.yaml --fused -o json
    """
    from clara_argo import project
    from clara_argo.cli.workflows import print_findings
    from clara_argo.errors import NotFound
    from clara_argo.runners import targets, templates

    if not file.is_file():
        raise NotFound(f"{file}: no such workflow file")
    graph = project.graph(file, name=name, strict=strict, values=values)
    where, api = targets.cluster(target)
    applied = templates.apply(graph, where, api, fused=fused, dry_run=dry_run)
    print_findings((*graph.findings, *applied.findings), err=True)
    if form == "json":
        print_json({"schema": SCHEMA, **applied.to_json()})
    else:
        click.echo("\n".join(_lines(applied)))


def _lines(applied: Applied) -> list[str]:
    where = f"template {applied.template} in namespace {applied.namespace}"
    said = {"created": "would be created", "changed": "would change"} if applied.dry_run else {}
    return [f"{where}: {said.get(applied.state, applied.state)}", *(f"  {change}" for change in applied.changes)]

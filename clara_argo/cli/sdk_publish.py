"""`clara-wf publish_chart`: a workflow becomes a Helm chart."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("workflow", metavar="WORKFLOW_ID")
@click.argument("name", metavar="WORKFLOW_NAME")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--fused", is_flag=True, help="All stages in one pod, without hops through the store.")
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
def publish_chart(workflow: str, name: str, folder: Path, fused: bool, strict: bool) -> None:
    """Write the Helm chart WORKFLOW_NAME of a workflow, by its id or name, into the folder OUT.

    OUT is new, empty, or a chart that this command wrote: that is renewed, and other files in it stay. With its default
    values the chart is what 'clara compile' writes; its values.yaml says what else can be. Helm 3 and 4 take it.

    \b
    Examples:
      clara-wf publish_chart 0fcdcdea-89c6-456f-b20a-bc7379c54ef2 ct-ai charts/ct-ai
      clara-wf publish 7b413e24-d018-4689-8c41-73272f6649d4 user-workflow charts/user-workflow
      helm install user-workflow charts/user-workflow --namespace clara
    """
    import shlex

    from clara_argo import charts, project
    from clara_argo.cli.workflows import print_findings

    graph = project.workflow(project.find_root(Path.cwd()), workflow, strict=strict)
    made = charts.publish(graph, name, folder, fused=fused, strict=strict)
    print_findings((*graph.findings, *made.findings), err=True)
    click.echo(f"{folder}/")
    for path in sorted(made.files):
        click.echo(f"  {path}")
    click.echo(f"\nNext:\n  helm install {name} {shlex.quote(str(folder))} --namespace clara", err=True)

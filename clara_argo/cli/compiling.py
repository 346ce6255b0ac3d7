"""`clara compile`, `clara check`: a workflow file becomes the objects that Argo runs; such objects are judged."""

from __future__ import annotations

from pathlib import Path

import click

from clara_argo.cli.common import SET


def _namespace(_: click.Context, __: click.Parameter, value: str) -> str:
    from clara_argo.graph import DNS_LABEL

    if not DNS_LABEL.fullmatch(value):
        raise click.BadParameter("lower-case letters, digits and '-', at most 63")
    return value


@click.command("compile")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--fused", is_flag=True, help="All stages in one pod, without hops through the store.")
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Write two files there, not to stdout.")
@click.option("--workflow", "name", metavar="NAME", help="Name or id, when the file holds several workflows.")
@SET
@click.option("--namespace", default="clara", show_default=True, callback=_namespace, help="Where it will run.")
@click.option("--registry", metavar="PREFIX", default="", help="Goes before images that name no registry.")
@click.option("--pull-secret", "secrets", metavar="NAME", multiple=True, help="For the registry; may be repeated.")
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
@click.option("-o", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def compile_(
    file: Path,
    fused: bool,
    output: Path | None,
    name: str | None,
    values: dict[str, str],
    namespace: str,
    registry: str,
    secrets: tuple[str, ...],
    strict: bool,
    form: str,
) -> None:
    """Write the Argo objects of a workflow: a WorkflowTemplate; with --output also a Workflow that submits it.

    Needs no network and no cluster; the same file gives the same bytes. --fused is for workflows whose stages are
    short: requests of all stages add up, and a retry begins with the first one.

    \b
    Examples:
      clara compile workflow.yaml | kubectl apply --server-side -f -
      clara compile workflow.yaml --registry registry.example:5000/team --output compiled
      clara compile workflow.yaml --fused --namespace imaging
      argo submit -n clara --from workflowtemplate/NAME -p job=ID -p payload=ID -p created=2026-01-31T12:00:00Z
    """
    from clara_argo import compile as compiler
    from clara_argo import project
    from clara_argo.cli.workflows import print_findings

    graph = project.graph(file, name=name, strict=strict, values=values)
    cluster = compiler.Cluster(namespace=namespace, registry=registry, pull_secrets=secrets)
    made = compiler.compile_graph(graph, cluster, fused=fused, strict=strict)
    print_findings((*graph.findings, *made.findings), err=True)
    write = compiler.as_json if form == "json" else compiler.as_yaml
    if output is None:
        click.echo(write(made.template), nl=False)
        return
    for kind, text in (("template", write(made.template)), ("workflow", write(made.workflow))):
        click.echo(_save(output, f"{made.name}.{kind}.{form}", text))


def _save(folder: Path, name: str, text: str) -> str:
    from clara_argo.artifacts import tree

    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise tree.unwritable(error, folder, "name another folder with --output") from None
    return str(path)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(files: tuple[Path, ...], strict: bool, form: str) -> int:
    """Say what is wrong with Argo objects, compiled or edited by hand, without a cluster.

    Reads Workflows and WorkflowTemplates: structure, names, the graph, tags, artifacts, mounts, and rules of our own
    (docs/argo.md). Exit code 2 when there is an error; warnings alone are 0, unless --strict.

    \b
    Examples:
      clara check compiled/ct-organs.template.yaml
      clara compile workflow.yaml --output compiled && clara check compiled/*.yaml
      clara check -o json compiled/*.yaml
    """
    from clara_argo.cli import workflows
    from clara_argo.compile.check import check as judged
    from clara_argo.errors import DefinitionError, Level, NotFound

    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise NotFound(f"{', '.join(missing)}: no such file")
    found = {str(path): judged(path, strict=strict) for path in files}
    everything = [finding for findings in found.values() for finding in findings]
    if form == "json":
        some = {name: list(map(workflows.as_json, findings)) for name, findings in found.items()}
        workflows.print_json({"schema": workflows.SCHEMA, "files": some})
    else:
        workflows.print_findings(everything)
        workflows.print_summary(everything, len(files))
    return DefinitionError.exit_code if any(one.level is Level.ERROR for one in everything) else 0

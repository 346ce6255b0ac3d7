"""`clara init`, `clara lint`, `clara graph`: make, check and show workflow files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import shown
from clara_argo.cli.common import SET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clara_argo.errors import Finding

SCHEMA = 1
COLORS = {"error": "red", "warning": "yellow", "notice": "blue"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--sdk", is_flag=True, help="The folders and files of Clara's first version, for clara-wf.")
def init(folder: Path, sdk: bool) -> None:
    """Make FOLDER with a workflow, a stage and an adapter configuration that run as they are.

    FOLDER must not exist, or be empty. With --sdk it has the places that Clara's first version had:
    clara-reference-workflow/charts/clara-workflow/values.yaml for stages and workflows, and
    clara-platform/files/dicom-server-config.yaml for the adapter.

    \b
    Examples:
      clara init my-workflows
      clara init --sdk my-sdk
    """
    from clara_argo import project

    if sdk:
        from clara_argo.sdk import folder as folders
        from clara_argo.sdk.layout import CHARTS

        made = folders.init(folder)
        follow = (f"cd {_quoted(folder / CHARTS[0])}", "clara-wf cs my-ai", "clara-wf")
    else:
        made = project.init(folder)
        follow = (
            f"cd {_quoted(folder)}",
            "clara run workflow.yaml --input DICOM-FOLDER --output result",
            "clara adapter serve --config adapter.yaml",
        )
    width = max(18, *map(len, made))
    click.echo(f"{folder}/")
    for name, what in made.items():
        click.echo(f"  {name:<{width}} {what}")
    click.echo("\nNext:\n  " + "\n  ".join(follow))


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@SET
def lint(files: tuple[Path, ...], strict: bool, form: str, values: dict[str, str]) -> int:
    """Say everything that is wrong with workflow files: where, what, and what to do next.

    Also checks stage definitions (stage.yaml) and adapter configurations. Exit code 2 when there is an error;
    warnings alone are 0, unless --strict. With --set a parameter without a value is an error, as it is for a run.

    \b
    Examples:
      clara lint workflow.yaml
      clara lint --strict workflows/*.yaml stages/*/stage.yaml
      clara lint -o json workflow.yaml
      clara lint pipeline.yaml --set THRESHOLD=0.5
    """
    from clara_argo import project
    from clara_argo.errors import DefinitionError, NotFound

    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise NotFound(f"{', '.join(missing)}: no such file")
    found = {str(path): _check(path, strict, values) for path in files}
    everything = [finding for findings in found.values() for finding in findings]
    if form == "json":
        print_json({"schema": SCHEMA, "files": {name: list(map(as_json, some)) for name, some in found.items()}})
    else:
        print_findings(everything)
        print_summary(everything, len(files))
    return DefinitionError.exit_code if project.has_errors(everything) else 0


def _check(path: Path, strict: bool, values: dict[str, str]) -> tuple[Finding, ...]:
    from clara_argo import project

    findings = project.check(path, strict=strict, values=values or None)
    if not project.is_configuration(findings):
        return findings
    from clara_adapter import plan

    return plan.read(path, strict=strict).findings


def print_findings(findings: Sequence[Finding], *, err: bool = False) -> None:
    for finding in findings:
        level = finding.level.value
        where = f"{finding.where}: " if finding.where else ""
        hint = f"; {finding.hint}" if finding.hint else ""
        told = shown(f"{finding.message}{hint} [{finding.code}]")
        click.echo(f"{shown(where)}{click.style(level, fg=COLORS[level])}: {told}", err=err)


def print_summary(findings: Sequence[Finding], files: int) -> None:
    counts = [(sum(finding.level.value == level for finding in findings), level) for level in COLORS]
    parts = [f"{count} {level}{'s' if count != 1 else ''}" for count, level in counts if count]
    click.echo(f"{files} file{'s' if files != 1 else ''}: {', '.join(parts) or 'nothing to say'}", err=True)


def as_json(finding: Finding) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(finding)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "form", type=click.Choice(["text", "mermaid", "dot", "json"]), default="text", show_default=True)
@click.option("--workflow", "name", metavar="NAME", help="Name or id, when the file holds several workflows.")
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
@SET
def graph(file: Path, form: str, name: str | None, strict: bool, values: dict[str, str]) -> None:
    """Show what the stages of a workflow read and wait for.

    \b
    Examples:
      clara graph workflow.yaml
      clara graph workflow.yaml -o mermaid > workflow.mmd
      clara graph workflow.yaml -o dot | dot -Tsvg > workflow.svg
    """
    from clara_argo import picture, project

    found = project.graph(file, name=name, strict=strict, values=values or None)
    if form == "json":
        value = {**picture.as_json(found), "findings": list(map(as_json, found.findings))}
        print_json({"schema": SCHEMA, **value})
        return
    print_findings(found.findings, err=True)
    if form == "text":
        plain = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
        click.echo(picture.as_text(found, ascii_only=plain))
    else:
        click.echo(picture.as_mermaid(found) if form == "mermaid" else picture.as_dot(found))

"""`clara-wf list_stages`, `create_stage`, `delete_stage`: the stages of an SDK folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import shown, talk
from clara_argo.cli.common import FORMAT, SCHEMA

if TYPE_CHECKING:
    from clara_argo.model.workflow import Image
    from clara_argo.sdk.layout import Layout

SHIPPED = "comes with clara-argo"


def _layout() -> Layout:
    from clara_argo.sdk import layout

    return layout.find(Path.cwd())


def _shown(path: Path) -> str:
    return os.path.relpath(path)


@click.command()
@FORMAT
def list_stages(form: str) -> int:
    """List the stages that a workflow of this SDK folder may use: its own, then the shipped ones.

    One a line: the name, and where its program is. Exit code 2 when the file is not right: what can be read is listed.

    \b
    Examples:
      clara-wf list_stages
      clara-wf ls -o json
    """
    from clara_argo.errors import DefinitionError, Level
    from clara_argo.sdk import stages
    from clara_argo.sdk.layout import stage_folders

    layout = _layout()
    _, specs, findings = stages.read(layout)
    for finding in findings.all:
        if finding.level is Level.ERROR:
            talk(str(finding))
    folders = stage_folders(layout.root)
    rows = [_row(spec.name, layout, folders.get(spec.image.repository or spec.name), spec.image) for spec in specs]
    listed = {row["name"] for row in rows}
    rows += [_row(name, layout, folder) for name, folder in folders.items() if name not in listed]
    if form == "json":
        click.echo(json.dumps({"schema": SCHEMA, "stages": rows}, indent=1))
    else:
        lines = [(shown(str(row["name"])), shown(str(row["where"]))) for row in rows]
        width = max(len(name) for name, _ in lines)
        for name, where in lines:
            click.echo(f"{name:<{width}}  {where}")
    return DefinitionError.exit_code if findings.failed else 0


def _row(name: str, layout: Layout, folder: Path | None, image: Image | None = None) -> dict[str, object]:
    """`folder`: of its program; a stage without one is only an image. `image`: of its block, where it has one."""
    where = "in its image only"
    if folder is not None:
        where = _shown(folder) if folder.is_relative_to(layout.root) else SHIPPED
    return {"name": str(name), "image": str(image or ""), "where": where, "block": image is not None}


@click.command()
@click.argument("name")
def create_stage(name: str) -> None:
    """Make the stage NAME: its block in values.yaml, and a program in stages/NAME that runs as it is.

    The program marks bone in a CT, to be changed into your own. NAME is what Kubernetes takes: lower-case letters,
    digits and '-'. A program that is there already is kept.

    \b
    Examples:
      clara-wf create_stage user-ai
      clara-wf cs user-ai
    """
    from clara_argo.sdk import stages
    from clara_argo.sdk.layout import shipped_stages

    layout = _layout()
    made = stages.create(layout, name, shipped_stages())
    folder = shown(_shown(made.folder))
    click.echo(f"stage {name}: between ##BEGIN_{name}## and ##END_{name}## in {shown(_shown(layout.values))}")
    click.echo(f"its program: {folder}{' (was there, and is kept)' if made.kept else '/main.py'}")


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also while a workflow uses it.")
def delete_stage(name: str, force: bool) -> None:
    """Take the block of the stage NAME out of values.yaml. Its program in stages/NAME stays: it is yours.

    Refused while a workflow of the file uses the stage.

    \b
    Examples:
      clara-wf delete_stage user-ai
      clara-wf ds user-ai --force
    """
    from clara_argo.sdk import stages
    from clara_argo.sdk.layout import shipped_stages

    layout = _layout()
    left = stages.delete(layout, name, shipped_stages(), force=force)
    click.echo(shown(f"stage {name}: deleted from {_shown(layout.values)}"))
    if left is not None:
        click.echo(f"its program stays in {shown(_shown(left))}; remove the folder when you do not need it any more")

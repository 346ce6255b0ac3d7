"""`clara migrate`: files of old Clara installations become files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli.common import SET

if TYPE_CHECKING:
    from clara_argo.migrate import Migration


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Write there: new, or empty.")
@click.option("--check", is_flag=True, help="Write and print no files, only what would become of each key.")
@SET
@click.option("--strict", is_flag=True, help="Warnings and repairs are errors.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def migrate(
    files: tuple[Path, ...], folder: Path | None, check: bool, values: dict[str, str], strict: bool, form: str
) -> int:
    """Turn files of old Clara installations into files of ours, and say what became of each key.

    Reads values.yaml and dicom-server-config.yaml of early access, pipelines of operators, the JSON configuration of
    the DICOM adapter, and what kubectl prints of its AE titles, sources and destinations; several files make one
    project. With --output they are written into DIR, all or none; otherwise they go to stdout and the table of keys to
    stderr. Exit code 2 when something is refused: then nothing is written.

    \b
    Examples:
      clara migrate --check values.yaml
      clara migrate values.yaml dicom-server-config.yaml --output migrated
      clara migrate appsettings.json aetitles.yaml pipeline.yaml --output migrated
    """
    from clara_argo import migrate as package
    from clara_argo.errors import DefinitionError, UsageError

    if check and folder is not None:
        raise UsageError("--check writes nothing; leave out --output, or --check")
    made = package.migrate(files, strict=strict, values=values)
    if folder is not None and not made.failed:
        made.write(folder)
    if form == "json":
        _print_json(made, folder)
    else:
        _print(made, folder, check)
    return DefinitionError.exit_code if made.failed else 0


def _print(made: Migration, folder: Path | None, check: bool) -> None:
    from clara_argo.cli.workflows import print_findings
    from clara_argo.migrate import rows

    on_stdout = folder is None and not check and not made.failed
    if on_stdout:
        click.echo(_documents(made), nl=False)
    click.echo("\n".join(rows.lines(made.rows)), err=on_stdout)
    print_findings([finding for finding in made.findings if not rows.is_told(finding)], err=True)
    if made.failed:
        click.echo("nothing is written: mend what is refused, or leave its file out", err=True)
    elif folder is not None:
        _print_next(made, folder)


def _documents(made: Migration) -> str:
    """The files one after the other, each below a comment with its name."""
    from clara_argo.terminal import printable

    parts = [f"# {name}\n{text}" for name, text in made.texts.items()]
    copied = "".join(f"# {printable(name)} is a copy of {printable(str(path))}\n" for name, path in made.copies.items())
    return "---\n".join(parts) + copied


def _print_next(made: Migration, folder: Path) -> None:
    import shlex

    from clara_argo.terminal import printable

    click.echo(f"\n{folder}/")
    for name in (*made.texts, *made.copies):
        click.echo(f"  {printable(name)}")
    workflows = [name for name in made.texts if name.startswith("workflow")]
    click.echo(f"\nNext:\n  cd {shlex.quote(str(folder))}")
    for name in workflows[:1]:
        click.echo(f"  clara graph {name}\n  clara run {name} --input DICOM-FOLDER --output result")
    if "adapter.yaml" in (*made.texts, *made.copies):
        click.echo("  clara adapter check --config adapter.yaml")


def _print_json(made: Migration, folder: Path | None) -> None:
    from dataclasses import asdict

    from clara_argo.cli.workflows import SCHEMA, as_json, print_json

    value = {
        "schema": SCHEMA,
        "failed": made.failed,
        "output": None if folder is None or made.failed else str(folder),
        "files": dict(made.texts),
        "copies": {name: str(path) for name, path in made.copies.items()},
        "keys": [asdict(row) for row in made.rows],
        "findings": list(map(as_json, made.findings)),
    }
    print_json(value)

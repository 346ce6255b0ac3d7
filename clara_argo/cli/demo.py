"""`clara demo`: a real CT leaves a PACS, becomes a segmentation, and comes back."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clara_argo.demo.loop import Summary
    from clara_argo.model.job import Job


class _Report:
    """Talk goes to stderr, so that stdout holds only the result."""

    def __init__(self) -> None:
        from clara_argo.runners.display import Display

        self._display = Display(sys.stderr)

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def job(self, job: Job) -> None:
        self._display.show(job)


@click.command()
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a CT study of your own, in place of the demo's data.",
)
@click.option(
    "--data", type=click.Choice(["auto", "lidc", "phantom"]), default="auto", help="auto: phantom if need be."
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Result folder."
)
@click.option(
    "--pacs", type=click.Choice(["auto", "dcmtk", "python"]), default="auto", help="auto: dcmtk if installed."
)
@click.option(
    "--return-port", type=click.IntRange(1, 65535), help="Send results to this port instead: see it fail when closed."
)
@click.option("--keep", is_flag=True, help="Keep the PACS's files, the adapter's spool and the logs in OUTPUT/room.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="What to print.")
def demo(
    source: Path | None, data: str, output: Path, pacs: str, return_port: int | None, keep: bool, form: str
) -> None:
    """The whole loop on this machine: PACS, adapter, workflow, and back to the PACS; then it is judged.

    Exit code 0 only if what came back is right: patient and study of the input, a segmentation that an independent
    reader decodes to the stage's label map voxel for voxel, and Dice above the floors where the truth is known.

    \b
    Examples:
      clara demo
      clara demo --data phantom --keep
      clara demo --input my-ct --output my-demo
    """
    try:
        from clara_argo.demo import loop
    except ImportError as error:
        from clara_argo.errors import NotInstalled

        raise NotInstalled(f"{error.name} is not installed; pip install 'clara-argo[local]'") from None
    options = loop.Options(output=output, input=source, data=data, pacs=pacs, return_port=return_port, keep=keep)
    summary = loop.run(options, _Report())
    click.echo(json.dumps(asdict(summary), indent=1) if form == "json" else _text(summary, output, keep))


def _text(summary: Summary, output: Path, keep: bool) -> str:
    classes = ", ".join(f"{count} {name}" for name, count in summary.sop_classes.items())
    lines = [
        f"sent {summary.sent} instances, returned {summary.returned} ({classes}) in {summary.seconds:.1f} s",
        "checked: patient and study are the input's; the segmentation is the stage's label map, voxel for voxel",
    ]
    if summary.dice:
        lines.append("Dice against the known organs: " + ", ".join(f"{k} {v:.2f}" for k, v in summary.dice.items()))
    lines += [f"picture: {output / 'result.png'}", f"summary: {output / 'summary.json'}"]
    if keep:
        lines.append(f"kept:    {output / 'room'}")
    return "\n".join([*lines, summary.notice + "."])

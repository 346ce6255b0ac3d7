"""The folder that a result is put into: checked before the work, filled after it, never overwritten by accident."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import talk
from clara_argo.cli.common import SHORT, Found, print_anyway, remember

if TYPE_CHECKING:
    from clara_argo.model.job import Job

FILLED = "exists already and is not an empty folder; name a new folder with --output"


def check(output: Path, source: Path | None = None, *, resume: bool = False) -> None:
    """What would be found out only after the work is found out before it. `resume`: the result may be there already."""
    from clara_argo.artifacts import tree
    from clara_argo.errors import UsageError

    if tree.filled(output) and not (resume and output.is_dir()):
        raise UsageError(f"{output} {FILLED}")
    here = output.resolve()
    if source is not None and (here == source.resolve() or here.is_relative_to(source.resolve())):
        raise UsageError(f"{output} lies in the input folder and would be part of the next input; name another folder")
    above = next(folder for folder in here.parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{above} cannot be written to; name another folder with --output")


def earlier(found: Found, output: Path) -> str:
    """The digest of a result of this job that lies in `output`; "" when that is empty. Raises UsageError."""
    from clara_argo.artifacts import tree
    from clara_argo.errors import UsageError

    if not tree.filled(output):
        return ""
    if not found.runner.delivered(found.job, output) and not _fetched(found.job, output):
        raise UsageError(f"{output} {FILLED}")
    return tree.digest(output)


def _fetched(job: str, output: Path) -> bool:
    """Does `output` hold the result as it was fetched from a cluster, unchanged?"""
    from clara_argo import home
    from clara_argo.artifacts import tree
    from clara_argo.runners import remembered

    digest = remembered.fetched(home.state(), job)
    try:
        return bool(digest) and digest == tree.digest(output)
    except tree.Unusable:  # somebody put a link there
        return False


def deliver(found: Found, output: Path, before: str = "") -> None:
    """Put the result into `output`. A result of the same job that was there before makes room, if it is unchanged."""
    from clara_argo.artifacts import tree

    if not tree.filled(output):
        found.runner.result(found.job, output)
    elif not found.runner.delivered(found.job, output) and not _replace(found, output, before):
        return
    remember(found.job, found.target, tree.digest(output))
    _collect(found)


def _collect(found: Found) -> None:
    """What the store keeps after the result was fetched is untidy, and no failure of the job."""
    from clara_argo.errors import NotFound, Refused, TryAgain

    try:
        found.runner.collected(found.job)
    except (NotFound, Refused, TryAgain) as error:
        talk(f"the store keeps its copy of the result of job {found.job}: {error}")


def _replace(found: Found, output: Path, before: str) -> bool:
    """False when there is nothing newer: a store gives a result once, and it was fetched already."""
    from clara_argo.artifacts import tree
    from clara_argo.errors import JobFailed, UsageError

    if not before or tree.digest(output) != before:
        raise UsageError(f"{output} {FILLED}; the job is done and keeps its result")
    new = output.with_name(f".{output.name[:100]}.{found.job[:SHORT]}.new")
    tree.remove(new)  # of a run that was killed before it could
    try:
        found.runner.result(found.job, new)
    except JobFailed:
        if _fetched(found.job, output):
            return False
        raise
    tree.remove(output)
    tree.move(new, output)
    return True


def follow(found: Found) -> Job:
    """Show the job on stderr until it has ended.

    Raises KeyboardInterrupt, TryAgain when its engine is away, Refused when that does not let us any more.
    """
    from clara_argo.errors import Refused, TryAgain
    from clara_argo.runners import display

    try:
        return display.follow(found.runner, found.job, sys.stderr)
    except (TryAgain, Refused) as error:
        hint = f"job {found.job} is not lost; look again with: clara describe {found.job[:SHORT]}"
        kind = TryAgain if isinstance(error, TryAgain) else Refused
        raise kind(f"{error}\n  {hint}") from None


def report(ended: Job, said: str, form: str, again: str) -> None:
    """How the job ended: its JSON, or what was `said` of a success. Raises JobFailed, or Interrupted when stopped."""
    from clara_argo.errors import Interrupted, JobFailed
    from clara_argo.model.job import JobState

    job = ended.id
    text = json.dumps(ended.to_json(), indent=1) if form == "json" else ""
    if ended.state is JobState.SUCCEEDED:
        click.echo(text or said)
        return
    if text:
        print_anyway(text)
    if ended.state is JobState.STOPPED:
        raise Interrupted(f"job {job} was stopped; go on with: {again}")
    raise JobFailed(f"job {job} failed: {ended.message}\n  what it wrote: clara logs {job[:SHORT]}\n  again: {again}")

"""What the commands about jobs share: options, which job is meant and where it is, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from clara_argo.runners.protocol import Runner

SCHEMA = 1
SHORT = 12  # digits of a job's id that tables show
FORMAT = click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="What to print.")
ON = click.option("--on", metavar="TARGET", help="Where the job is; otherwise this machine, then jobs started here.")

ENGINE = click.option(
    "--engine",
    type=click.Choice(["process", "podman", "docker"]),
    help="What runs a stage on this machine: a process, unless said, or its image; a job resumes with what it had.",
)


def _values(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _value in pairs:
        if not name or not equals:
            raise click.BadParameter(f"{name!r} is not NAME=VALUE")
    return {name: value for name, _equals, value in pairs}


SET = click.option(
    "--set",
    "values",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_values,
    help="A parameter of a pipeline of operators; may be repeated.",
)


class Found(NamedTuple):
    """A job, the runner that has it, and the name of its target."""

    runner: Runner
    job: str
    target: str


@contextmanager
def opened(prefix: str, on: str | None) -> Iterator[Found]:
    """The one job that begins so. Raises NotFound, and UsageError when there are several.

    Without a target: this machine, then what was started from it; no cluster is asked for its jobs.
    """
    from clara_argo.runners import targets

    target, wanted = (on, prefix) if on is not None else _where(prefix)
    with targets.open_runner(target) as runner:
        yield Found(runner, find(runner, wanted), target)


def _where(prefix: str) -> tuple[str, str]:
    """Target and id."""
    from clara_argo import home
    from clara_argo.errors import NotFound
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import remembered, targets

    wanted = plain(prefix)
    with targets.open_runner() as runner:
        found = {job.id: LOCAL for job in runner.list() if wanted and job.id.startswith(wanted)}
    if wanted:
        found = remembered.recall(home.state(), wanted) | found
    if not found:
        raise NotFound(f"no job {prefix!r} was started here; see 'clara jobs', or say --on TARGET for one on a cluster")
    job = _only(prefix, wanted, list(found))
    return found[job], job


def plain(text: str) -> str:
    """A job's id as people may write it, with dashes or capitals."""
    return text.replace("-", "").lower()


def new_id(text: str | None, what: str = "--job") -> str:
    """The id that was asked for, else a new one. `what`: where it was said. Raises UsageError."""
    import uuid

    from clara_argo.errors import UsageError
    from clara_argo.model.job import JOB_ID

    job = uuid.uuid4().hex if text is None else plain(text)
    if not JOB_ID.fullmatch(job):
        raise UsageError(f"{what} {text!r}: a job id is 32 hex digits")
    return job


def find(runner: Runner, prefix: str) -> str:
    """The id of the one job that begins so. Raises NotFound, UsageError when there are several."""
    from clara_argo.errors import NotFound
    from clara_argo.model.job import JOB_ID

    wanted = plain(prefix)
    if JOB_ID.fullmatch(wanted):
        return runner.get(wanted).id
    found = [job.id for job in runner.list() if wanted and job.id.startswith(wanted)]
    if not found:
        raise NotFound(f"no job {prefix!r}; see 'clara jobs'")
    return _only(prefix, wanted, found)


def _only(prefix: str, wanted: str, found: Sequence[str]) -> str:
    from clara_argo.errors import UsageError

    if len(found) > 1:
        some = ", ".join(job[: len(wanted) + 4] for job in found[:4])
        raise UsageError(f"{len(found)} jobs begin with {prefix!r}: {some}; write more digits")
    return found[0]


def remember(job: str, target: str, fetched: str = "") -> None:
    """So that the job's id is enough for later commands; `fetched`: digest of its result. Raises UsageError."""
    from clara_argo import home
    from clara_argo.errors import UsageError
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import remembered

    if target == LOCAL:
        return
    try:
        remembered.remember(home.state(), job, target, fetched)
    except OSError as error:
        text = f"{error.filename or home.state()} cannot be written: {error.strerror}"
        raise UsageError(f"{text}; set CLARA_HOME to a folder that can be written to") from None


@contextmanager
def remembering(job: str, target: str) -> Iterator[None]:
    """Around starting a job. Remembered first, because the answer may be lost; forgotten when it was refused."""
    from clara_argo import home
    from clara_argo.errors import DefinitionError, NotFound, NotInstalled, TryAgain, UsageError
    from clara_argo.model.target import LOCAL
    from clara_argo.runners import remembered

    if target == LOCAL:
        yield
        return
    before = remembered.recall(home.state(), job)
    remember(job, target)
    try:
        yield
    except (DefinitionError, NotFound, NotInstalled, UsageError):
        if not before:
            remembered.forget(home.state(), job)
        raise
    except TryAgain as error:
        raise TryAgain(f"{error}\n  so that it is not started twice, try again with --job {job}") from None


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1))


def print_anyway(text: str) -> None:
    """On stdout; that nobody reads it does not make a failed job a success."""
    try:
        click.echo(text)
    except BrokenPipeError:
        return


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Those that are known, one a line."""
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        if value:
            click.echo(f"{name + ':':<{width}}{value}")


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """The first row is the heading. Whole lines for programs, cut ones on a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    most = _columns() if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        click.echo(line if most is None or len(line) <= most else line[: most - 1] + "…")


def _columns() -> int:
    from shutil import get_terminal_size  # brings compression; most commands print no table

    return get_terminal_size().columns

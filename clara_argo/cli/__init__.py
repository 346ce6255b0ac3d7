"""The `clara` command. Each command reads its arguments, calls one function and prints one result.

Commands are loaded when they are called: `clara --help` costs Python, click and the table below.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TextIO

import click

from clara_argo import __version__
from clara_argo.errors import ClaraError, Interrupted, TryAgain, UsageError
from clara_argo.terminal import printable


class Entry(NamedTuple):
    module: str
    attribute: str
    summary: str


COMMANDS = {
    "init": Entry("workflows", "init", "Make a folder with a workflow, a stage and an adapter configuration."),
    "lint": Entry("workflows", "lint", "Check workflow files; every finding with file, line and column."),
    "graph": Entry("workflows", "graph", "Show a workflow's stages and what they wait for."),
    "workflows": Entry("listing", "workflows", "List the workflows that can be run by name, or show one."),
    "stages": Entry("listing", "stages", "List the stages that a workflow may use, or show one."),
    "migrate": Entry("migrating", "migrate", "Turn files of old Clara installations into ours."),
    "compile": Entry("compiling", "compile_", "Write the Argo objects of a workflow."),
    "check": Entry("compiling", "check", "Check Argo objects without a cluster; each finding with its place."),
    "cluster": Entry("cluster", "cluster", "Say what a cluster lacks for workflows, and install it."),
    "images": Entry("images", "images", "Build the container images of stages and adapter."),
    "run": Entry("run", "run", "Run a workflow, on this machine or on a cluster, and fetch its result."),
    "apply": Entry("applying", "apply", "Put a workflow's template on a cluster; says what changes."),
    "submit": Entry("submit", "submit", "Start a job on a cluster and leave it there."),
    "jobs": Entry("jobs", "jobs", "List jobs."),
    "describe": Entry("jobs", "describe", "Show one job: its stages, times and messages."),
    "logs": Entry("jobs", "logs", "Print what the stages of a job wrote."),
    "stop": Entry("control", "stop", "End a job."),
    "retry": Entry("control", "retry", "Go on with a job that failed or was stopped."),
    "result": Entry("control", "result", "Fetch the result of a job."),
    "delete": Entry("control", "delete", "Forget a job, with everything stored for it."),
    "adapter": Entry("adapter", "adapter", "The DICOM adapter: receive studies, return results."),
    "demo": Entry("demo", "demo", "A real CT leaves a PACS, becomes a segmentation, and comes back."),
    "completion": Entry("completion", "completion", "Print the shell completion script."),
}

NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG)


class Main(click.Group):
    """The top group: lazy commands, one place that turns errors into exit codes."""

    program: ClassVar[str] = "clara"
    entries: ClassVar[Mapping[str, Entry]] = COMMANDS
    aliases: ClassVar[Mapping[str, str]] = {}  # other words for a command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(self.aliases.get(cmd_name, cmd_name))
        if entry is None:
            return None
        command = getattr(importlib.import_module(f"clara_argo.cli.{entry.module}"), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        words = [*self.entries, *self.aliases]
        wrong = args and not args[0].startswith("-") and args[0] not in words
        if wrong and not ctx.resilient_parsing:  # a shell that completes words is told nothing
            from difflib import get_close_matches

            near = get_close_matches(args[0].lower(), words, n=1)
            ctx.fail(f"no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        extra["standalone_mode"] = False
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":  # https://no-color.org
            extra["color"] = False
        _open_streams()
        try:
            code = super().main(args, prog_name, **extra)
        except ClaraError as error:
            talk(f"{self.program}: {error}")
            code = error.exit_code
        except click.UsageError as error:
            error.show()
            code = UsageError.exit_code
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            talk(f"{self.program}: interrupted")
            code = Interrupted.exit_code
        except OSError as error:
            if error.errno == errno.ENOENT and _is_nowhere():
                talk(f"{self.program}: the folder that you are in is gone; go to another one: cd")
                sys.exit(UsageError.exit_code)
            code = self._of_the_system(error)
        _flush()
        sys.exit(code if isinstance(code, int) else 0)

    def _of_the_system(self, error: OSError) -> int:
        """What the system refused, said; the exit code. Raises what is nothing but our mistake."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            talk(f"{self.program}: {error.filename or 'output'}: {error.strerror}; make room and try again")
            return TryAgain.exit_code
        if error.errno not in NOT_OURS or error.filename is None:
            raise error
        hint = "change its permissions, or name another one"
        talk(f"{self.program}: {error.filename}: {error.strerror}; {hint}")
        return UsageError.exit_code

    def invoke(self, ctx: click.Context) -> Any:
        """The reader of our output may go away, `clara jobs | head -1`: no failure. (click would make it one.)"""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _nobody_reads(sys.stdout)
            return 0
        return code


def _is_nowhere() -> bool:
    from pathlib import Path

    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def talk(text: str) -> None:
    """To stderr. What is done matters more than whether somebody listens: a pipe without reader is no failure."""
    try:
        click.echo(shown(text), err=True)
    except OSError:
        _nobody_reads(sys.stderr)


def shown(text: str) -> str:
    """A message of several lines, which no name in it breaks or steers."""
    return printable(text, keep="\n\t")


def _flush() -> None:
    """What nobody takes any more must not become Python's complaint, and its exit code, at the end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _nobody_reads(stream)


def _nobody_reads(stream: TextIO) -> None:
    """What is still buffered, and what comes, goes nowhere: Python would complain when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _open_streams() -> None:
    """A caller may have closed them (`>&-`); files opened later must not take their numbers.

    What a terminal of old, or the name of a file, cannot have as a letter is written as `\\u2026`: no failure.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="clara")
def main() -> None:
    """From PACS to AI and back: Clara workflows on this machine and on a cluster.

    \b
    Examples:
      clara demo                                    the whole loop, on a real CT
      clara init my-workflows                       a place for your own stages
      clara lint my-workflows/workflow.yaml
      clara run my-workflows/workflow.yaml --input ct --output result
      clara run my-workflows/workflow.yaml --input ct --output result --on argo
      clara adapter serve --config my-workflows/adapter.yaml

    Exit codes: 0 done, 2 definition wrong, 3 something is not installed, 4 job failed, 5 held by another process,
    6 not found, 64 usage, 75 try again, 130 interrupted.
    """

"""The `clara-wf` command: the words of Clara's first version, over the same files, runners and errors as `clara`."""

from __future__ import annotations

from typing import Any, ClassVar

import click

from clara_argo import __version__
from clara_argo.cli import Entry, Main

WORDS: dict[str, tuple[str, ...]] = {  # as the article prints them: first the command, then its short forms
    "list_stages": ("list", "ls"),
    "create_stage": ("create", "cs"),
    "delete_stage": ("delete", "ds"),
    "publish_chart": ("publish",),
    "test_workflow": ("test",),
    "set_ngc_api_key": ("setkey",),
}
ARGUMENTS = {
    "create_stage": "NAME",
    "delete_stage": "NAME",
    "publish_chart": "WORKFLOW_ID WORKFLOW_NAME OUT",
    "test_workflow": "[WORKFLOW_ID] [JOB_ID]",
}
ABSENT = ("install_trtis", "uninstall_trtis")  # of the article
COMMANDS = {
    "list_stages": Entry("sdk_stages", "list_stages", "List the stages."),
    "create_stage": Entry("sdk_stages", "create_stage", "Make a stage and its program."),
    "delete_stage": Entry("sdk_stages", "delete_stage", "Delete a stage; its program stays."),
    "publish_chart": Entry("sdk_publish", "publish_chart", "Write a Helm chart of a workflow."),
    "test_workflow": Entry("sdk_test", "test_workflow", "Run a workflow on made-up input, or on yours."),
    "set_ngc_api_key": Entry("sdk_key", "set_ngc_api_key", "Keep an NGC API key."),
}


class Words(Main):
    """As `clara`, with several words for each command."""

    program: ClassVar = "clara-wf"
    entries: ClassVar = COMMANDS
    aliases: ClassVar = {short: word for word, others in WORDS.items() for short in others}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(usage(word), entry.summary) for word, entry in self.entries.items()], col_max=48)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] in ABSENT and not ctx.resilient_parsing:
            ctx.fail(f"there is no {args[0]}: no inference server is needed; a stage loads its model itself")
        return super().resolve_command(ctx, args)

    def main(self, *arguments: Any, **more: Any) -> Any:
        more["prog_name"] = self.program
        return super().main(*arguments, **more)


def usage(word: str) -> str:
    """`create_stage | create | cs NAME`."""
    return f"{' | '.join((word, *WORDS[word]))} {ARGUMENTS.get(word, '')}".rstrip()


@click.group(
    cls=Words,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=Words.program)
@click.pass_context
def main(context: click.Context) -> None:
    """Stages and workflows in the SDK folder that this folder lies in.

    \b
    Examples:
      clara init --sdk my-sdk && cd my-sdk/clara-reference-workflow
      clara-wf cs my-ai
      clara-wf ls
      clara-wf test 7b413e24-d018-4689-8c41-73272f6649d4

    Exit codes: 0 done, 2 definition wrong, 3 something is not installed, 4 job failed, 5 held by another process,
    6 not found, 64 usage, 75 try again, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


if __name__ == "__main__":
    main()

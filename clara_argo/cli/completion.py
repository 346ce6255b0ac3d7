"""`clara completion`: the script a shell needs to complete our commands."""

from __future__ import annotations

import click

PROGRAMS = ("clara", "clara-wf")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.argument("program", type=click.Choice(PROGRAMS), default=PROGRAMS[0])
def completion(shell: str, program: str) -> None:
    """Print the completion script for SHELL, of clara or of clara-wf.

    \b
    Examples:
      clara completion bash > ~/.local/share/bash-completion/completions/clara
      clara completion bash clara-wf > ~/.local/share/bash-completion/completions/clara-wf
      clara completion zsh  > ~/.zfunc/_clara
      clara completion zsh clara-wf > ~/.zfunc/_clara-wf
      clara completion fish > ~/.config/fish/completions/clara.fish
      clara completion fish clara-wf > ~/.config/fish/completions/clara-wf.fish
    """
    from click.shell_completion import get_completion_class

    from clara_argo.cli import clara_wf, main

    kind = get_completion_class(shell)
    assert kind is not None
    root = clara_wf.main if program == clara_wf.Words.program else main
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    click.echo(kind(root, {}, program, variable).source())

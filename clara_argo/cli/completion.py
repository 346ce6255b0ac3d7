"""`clara completion`: the script a shell needs to complete our commands."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      clara completion bash > ~/.local/share/bash-completion/completions/clara
      clara completion zsh  > ~/.zfunc/_clara
      clara completion fish > ~/.config/fish/completions/clara.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    root = ctx.find_root().command
    assert kind is not None
    click.echo(kind(root, {}, "clara", "_CLARA_COMPLETE").source())

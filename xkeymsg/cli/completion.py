"""`xkeymsg completion SHELL`: the script that a shell loads to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ("completion",)

_PROGRAMS = ("xkeymsg", "xkeymsg-receiver", "xkeymsg-sender")


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, for all three programs.

    \b
    bash, in ~/.bashrc:                  eval "$(xkeymsg completion bash)"
    zsh, in ~/.zshrc:                    eval "$(xkeymsg completion zsh)"
    fish, in ~/.config/fish/config.fish: xkeymsg completion fish | source
    """  # noqa: D301 - click needs \b as a character
    script = get_completion_class(shell)
    if script is None:
        raise click.ClickException(f"no completion for {shell}")
    for program in _PROGRAMS:
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        click.echo(script(context.find_root().command, {}, program, variable).source())

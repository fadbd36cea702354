"""The command line: what `--help` prints, for each command of a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from xkeymsg.cli.command import command
from xkeymsg.daemons.receiver.command import command as receiver
from xkeymsg.daemons.sender.command import command as sender

__all__ = ("PROGRAMS", "WIDTH", "commands", "contexts")

PROGRAMS: Final[dict[str, click.Command]] = {
    "xkeymsg": command,
    "xkeymsg-receiver": receiver,
    "xkeymsg-sender": sender,
}

WIDTH: Final = 88
"""Characters of a line."""


def contexts(program: str) -> Iterator[click.Context]:
    """Yield a context for a program, and for each of its commands, in the order of `--help`."""
    yield from _below(_context(PROGRAMS[program], program))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    settings = {"terminal_width": WIDTH, **command.context_settings}
    return click.Context(command, parent, name, **settings)


def _below(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(group := context.command, click.Group):
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if found is not None and not found.hidden:
                yield from _below(_context(found, name, context))


def commands(program: str) -> str:
    """Return a section for each command of a program."""
    return "\n\n".join(
        f"{'#' * (1 + len(each.command_path.split()))} {each.command_path}\n\n"
        f"```text\n{each.get_help()}\n```"
        for each in contexts(program)
    )

"""`xkeymsg VERB`: keys, peers, sealing and opening of files and pipes, and document policies."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

import xkeymsg
from xkeymsg.cli.completion import completion
from xkeymsg.cli.inspect import inspect
from xkeymsg.cli.keys import keygen, pub
from xkeymsg.cli.messages import open_, seal
from xkeymsg.cli.peers import peers
from xkeymsg.cli.policy import policy
from xkeymsg.daemons.common.terminal import EXIT_CODES

__all__ = ("command",)


_LAZY: Final = {
    "config": "xkeymsg.cli.config",
    "doctor": "xkeymsg.cli.doctor.command",
    "key": "xkeymsg.cli.stores",
    "permissions": "xkeymsg.cli.permissions",
    "quarantine": "xkeymsg.cli.quarantine",
    "stream": "xkeymsg.cli.stream",
}
"""The modules of verbs that use NATS or configuration files, imported on lookup.

Importing nats-py or pydantic takes as long as everything else, and most verbs need neither.
"""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(_LAZY[cmd_name]), cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:  # click would suggest only imported verbs
            names = self.list_commands(ctx)
            raise click.NoSuchCommand(error.command_name, possibilities=names, ctx=ctx) from None


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES
)
@click.version_option(xkeymsg.__version__, prog_name="xkeymsg")
def command() -> None:
    """End-to-end message encryption for NATS: keys, and sealing and opening files and pipes."""


for verb in (keygen, pub, seal, open_, inspect, policy, peers, completion):
    command.add_command(verb)

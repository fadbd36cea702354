"""`xkeymsg VERB`: keys, peers, sealing and opening of files and pipes, and document policies."""

from __future__ import annotations

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


class _Verbs(click.Group):
    """The verbs. Those that use NATS are imported on lookup.

    Importing nats-py takes as long as everything else, and most verbs do not need it.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), "doctor", "quarantine"})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        match cmd_name:
            case "doctor":
                from xkeymsg.cli.doctor.command import doctor  # noqa: PLC0415

                return doctor
            case "quarantine":
                from xkeymsg.cli.quarantine import quarantine  # noqa: PLC0415

                return quarantine
            case _:
                return super().get_command(ctx, cmd_name)


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES
)
@click.version_option(xkeymsg.__version__, prog_name="xkeymsg")
def command() -> None:
    """End-to-end message encryption for NATS: keys, and sealing and opening files and pipes."""


for verb in (keygen, pub, seal, open_, inspect, policy, peers, completion):
    command.add_command(verb)

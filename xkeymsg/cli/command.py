"""`xkeymsg VERB`: keys, peers, sealing and opening of files and pipes, and document policies."""

from __future__ import annotations

from typing import Final

import click

import xkeymsg
from xkeymsg.cli.completion import completion
from xkeymsg.cli.inspect import inspect
from xkeymsg.cli.keys import keygen, pub
from xkeymsg.cli.lazy import LazyGroup
from xkeymsg.cli.messages import open_, seal
from xkeymsg.cli.peers import peers
from xkeymsg.cli.policy import policy
from xkeymsg.daemons.common.terminal import EXIT_CODES

__all__ = ("command",)


_LAZY: Final = {
    "config": "xkeymsg.cli.config",
    "directory": "xkeymsg.cli.directory",
    "doctor": "xkeymsg.cli.doctor.command",
    "key": "xkeymsg.cli.stores",
    "permissions": "xkeymsg.cli.permissions",
    "quarantine": "xkeymsg.cli.quarantine",
    "stream": "xkeymsg.cli.stream",
    "trust": "xkeymsg.cli.trust.command:trust",
}
"""The modules of verbs that are imported on lookup."""


@click.group(
    cls=LazyGroup,
    lazy=_LAZY,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(xkeymsg.__version__, prog_name="xkeymsg")
def command() -> None:
    """End-to-end message encryption for NATS: keys, and sealing and opening files and pipes."""


for verb in (keygen, pub, seal, open_, inspect, policy, peers, completion):
    command.add_command(verb)

"""`xkeymsg VERB`: keys, sealing and opening files and pipes, and policies of documents."""

from __future__ import annotations

import click

import xkeymsg
from xkeymsg.cli.completion import completion
from xkeymsg.cli.doctor.command import doctor
from xkeymsg.cli.inspect import inspect
from xkeymsg.cli.keys import keygen, pub
from xkeymsg.cli.messages import open_, seal
from xkeymsg.cli.peers import peers
from xkeymsg.cli.policy import policy
from xkeymsg.cli.quarantine import quarantine
from xkeymsg.daemons.common.terminal import EXIT_CODES

__all__ = ("command",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(xkeymsg.__version__, prog_name="xkeymsg")
def command() -> None:
    """End-to-end message encryption for NATS: keys, and sealing and opening files and pipes."""


for verb in (keygen, pub, seal, open_, inspect, policy, peers, quarantine, doctor, completion):
    command.add_command(verb)

"""`xkeymsg VERB`: keys, peers, sealing and opening of files and pipes, and document policies."""

from __future__ import annotations

from typing import Final

import click

import xkeymsg
from xkeymsg.cli.lazy_group import LazyGroup
from xkeymsg.daemons.common.command import version_flag
from xkeymsg.daemons.common.terminal import COMPLETION, EXIT_CODES

__all__ = ("command",)


_LAZY: Final = {
    "completion": "xkeymsg.cli.completion",
    "config": "xkeymsg.cli.config",
    "console": "xkeymsg.cli.console.command",
    "decode": "xkeymsg.cli.decode",
    "directory": "xkeymsg.cli.directory",
    "doctor": "xkeymsg.cli.doctor.command",
    "explain": "xkeymsg.cli.explain",
    "inspect": "xkeymsg.cli.inspect",
    "key": "xkeymsg.cli.stores",
    "keygen": "xkeymsg.cli.keys",
    "object": "xkeymsg.cli.object:object_",
    "kv": "xkeymsg.cli.kv",
    "open": "xkeymsg.cli.messages:open_",
    "peers": "xkeymsg.cli.peers",
    "permissions": "xkeymsg.cli.permissions",
    "policy": "xkeymsg.cli.policy",
    "pub": "xkeymsg.cli.keys",
    "quarantine": "xkeymsg.cli.quarantine",
    "reseal": "xkeymsg.cli.reseal",
    "rotate": "xkeymsg.cli.rotate",
    "seal": "xkeymsg.cli.messages",
    "stream": "xkeymsg.cli.stream",
    "tls": "xkeymsg.cli.tls",
    "trust": "xkeymsg.cli.trust.command:trust",
}
"""The modules of verbs that are imported on lookup."""


@click.group(
    cls=LazyGroup,
    lazy=_LAZY,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{EXIT_CODES}\n\n{COMPLETION}",
)
@version_flag("xkeymsg", xkeymsg.__version__)
def command() -> None:
    """End-to-end message encryption for NATS: keys, and sealing and opening files and pipes."""

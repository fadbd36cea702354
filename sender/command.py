"""The command line of the sender."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from sender.agent import send
from xkeymsg.daemons.common.command import check_flag, config_flag, only_config, version_flag
from xkeymsg.daemons.common.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemons.common.parameters import SUBJECT, XKEY
from xkeymsg.daemons.common.terminal import EXIT_CODES_UNOPENED, failing, say
from xkeymsg.daemons.sender.command import run_file
from xkeymsg.keys import XKey

__all__ = ("command",)

_PROGRAM = "sender"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES_UNOPENED)
@version_flag(f"xkeymsg-{_PROGRAM}")
@click.argument("recipient", type=XKEY, metavar="RECIPIENT", required=False)
@click.argument("text", required=False)
@config_flag()
@check_flag
@click.option("--to", "others", type=XKEY, multiple=True, help="Another recipient; implies --xkm1.")
@click.option(
    "--xkm1",
    is_flag=True,
    help="Use xkm1 (authenticates subject and time); Go receivers cannot read it.",
)
@click.option(
    "--subject",
    type=SUBJECT,
    default="secure.data",
    show_default=True,
    help="The subject to publish to.",
)
@seed_flag
@connection_flags
@failing(_PROGRAM)
def command(
    *,
    recipient: XKey | None,
    text: str | None,
    config_file: Path | None,
    check: bool,
    others: tuple[XKey, ...],
    xkm1: bool,
    subject: str,
    seed_file: Path | None,
    **flags: Any,
) -> int:
    """Seal TEXT to RECIPIENT, a public key X…, and publish it. Without TEXT, seal stdin.

    With --config it runs as a daemon or a job that seals messages from files or from a trusted
    server; `xkeymsg config describe sender` explains the file.
    """
    if config_file is not None or check:
        return run_file(only_config(config_file), check=check)
    if recipient is None:
        raise click.MissingParameter(param_hint="'RECIPIENT'", param_type="argument")
    options = connection_options(_PROGRAM, flags)
    pair = load_pair(_PROGRAM, seed_file)
    data = sys.stdin.buffer.read() if text is None else text.encode("utf-8", "surrogateescape")
    transmit = partial(send, xkm1=xkm1 or bool(others))
    size = anyio.run(transmit, options, pair, (recipient, *others), subject, data)
    to = ", ".join(map(str, (recipient, *others)))
    say(_PROGRAM, f"sent {size} bytes on {subject} from {pair.public} to {to}")
    return 0

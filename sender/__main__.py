"""`python -m sender X… "Hello Secure World"`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from sender.tutorial import send
from xkeymsg.daemon.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemon.parameters import SUBJECT, XKEY
from xkeymsg.daemon.terminal import run, say
from xkeymsg.keys import XKey

__all__ = ("main",)

_PROGRAM = "sender"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipient", type=XKEY, metavar="RECIPIENT")
@click.argument("text", required=False)
@click.option("--to", "others", type=XKEY, multiple=True, help="A further reader; implies --xkm1.")
@click.option("--xkm1", is_flag=True, help="Bind subject, time and sender; not for Go receivers.")
@click.option(
    "--subject", type=SUBJECT, default="secure.data", show_default=True, help="Where to publish."
)
@seed_flag
@connection_flags
def _command(
    *,
    recipient: XKey,
    text: str | None,
    others: tuple[XKey, ...],
    xkm1: bool,
    subject: str,
    seed_file: Path | None,
    **flags: Any,
) -> None:
    """Seal TEXT to RECIPIENT, a public key X…, and publish it. Without TEXT, seal stdin."""
    options = connection_options(_PROGRAM, flags)
    pair = load_pair(_PROGRAM, seed_file)
    data = sys.stdin.buffer.read() if text is None else text.encode("utf-8", "surrogateescape")
    transmit = partial(send, xkm1=xkm1 or bool(others))
    size = anyio.run(transmit, options, pair, (recipient, *others), subject, data)
    to = ", ".join(map(str, (recipient, *others)))
    say(_PROGRAM, f"sent {size} bytes on {subject} from {pair.public} to {to}")


def main() -> None:
    """Run the sender and end the process."""
    sys.exit(run(_command, _PROGRAM))


if __name__ == "__main__":
    main()

"""`python -m receiver`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from receiver.output import OUTPUTS
from receiver.tutorial import receive
from xkeymsg.daemon.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemon.parameters import DURATION, SUBJECT, SUBJECT_PATTERN
from xkeymsg.daemon.terminal import EXIT_NOT_OPENED, run, say

__all__ = ("main",)

_PROGRAM = "receiver"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default="secure.data",
    show_default=True,
    help="What to listen on; * and > as in NATS.",
)
@click.option("--queue", type=SUBJECT, metavar="NAME", help="Share messages with a queue group.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option("--wait", type=DURATION, help="Stop after so long; fail if --count is not reached.")
@click.option("--json", "mode", flag_value="json", help="One JSON object a line.")
@click.option("--raw", "mode", flag_value="raw", help="The opened bytes and nothing else.")
@seed_flag
@connection_flags
def _command(
    *,
    subject: str,
    queue: str | None,
    count: int | None,
    wait: float | None,
    mode: str | None,
    seed_file: Path | None,
    **flags: Any,
) -> int:
    """Listen on a NATS subject and show what is sealed to this receiver's key."""
    options = connection_options(_PROGRAM, flags)
    pair = load_pair(_PROGRAM, seed_file)
    say(_PROGRAM, "any sender is admitted, and xkv1 too: it binds no subject and can be replayed")
    listen = partial(receive, subject=subject, queue=queue or "", count=count, wait=wait)
    all_opened = anyio.run(listen, options, pair, OUTPUTS[mode or "text"]())
    return EXIT_NOT_OPENED if count is not None and not all_opened else 0


def main() -> None:
    """Run the receiver and end the process."""
    sys.exit(run(_command, _PROGRAM))


if __name__ == "__main__":
    main()

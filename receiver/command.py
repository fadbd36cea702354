"""The command line of the receiver."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from receiver.agent import receive
from receiver.printer import OUTPUTS
from xkeymsg.daemons.common.command import check_flag, config_flag, only_config, version_flag
from xkeymsg.daemons.common.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemons.common.parameters import DURATION, SUBJECT, SUBJECT_PATTERN
from xkeymsg.daemons.common.terminal import EXIT_CODES, EXIT_NOT_OPENED, say
from xkeymsg.daemons.receiver.command import run_file

__all__ = ("command",)

_PROGRAM = "receiver"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@version_flag(f"xkeymsg-{_PROGRAM}")
@config_flag()
@check_flag
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default="secure.data",
    show_default=True,
    help="The subject to listen on; * and > as in NATS.",
)
@click.option("--queue", type=SUBJECT, metavar="NAME", help="Share messages with a queue group.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option("--wait", type=DURATION, help="Stop after this time; fail if --count is not reached.")
@click.option("--json", "mode", flag_value="json", help="Print one JSON object per line.")
@click.option("--raw", "mode", flag_value="raw", help="Print the opened bytes and nothing else.")
@seed_flag
@connection_flags
def command(
    *,
    config_file: Path | None,
    check: bool,
    subject: str,
    queue: str | None,
    count: int | None,
    wait: float | None,
    mode: str | None,
    seed_file: Path | None,
    **flags: Any,
) -> int:
    """Listen on a NATS subject and print messages sealed to this receiver's key.

    With --config it runs as a daemon that opens messages of subjects and streams, and forwards them
    to files, programs and servers; `xkeymsg config describe receiver` explains the file.
    """
    if config_file is not None or check:
        return run_file(only_config(config_file), check=check)
    options = connection_options(_PROGRAM, flags)
    pair = load_pair(_PROGRAM, seed_file)
    why = "xkv1 authenticates neither subject nor time, and can be replayed"
    say(_PROGRAM, f"any sender is admitted, also with xkv1; {why}")
    listen = partial(receive, subject=subject, queue=queue or "", count=count, wait=wait)
    all_opened = anyio.run(listen, options, pair, OUTPUTS[mode or "text"]())
    return EXIT_NOT_OPENED if count is not None and not all_opened else 0

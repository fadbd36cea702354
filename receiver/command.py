"""The command line of the receiver."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click
from click.core import ParameterSource

from receiver.output import OUTPUTS
from receiver.tutorial import receive
from xkeymsg.daemon.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemon.parameters import DURATION, SUBJECT, SUBJECT_PATTERN
from xkeymsg.daemon.terminal import EXIT_CODES, EXIT_FAILED, EXIT_NOT_OPENED, say
from xkeymsg.errors import ConfigurationError

__all__ = ("command",)

_PROGRAM = "receiver"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="xkeymsg", prog_name=f"xkeymsg-{_PROGRAM}")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Run as a daemon, as FILE says; with --check, and no other flag.",
)
@click.option("--check", is_flag=True, help="Look whether --config FILE is right, and end.")
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
    """Listen on a NATS subject and show what is sealed to this receiver's key.

    With --config it is a daemon, which opens messages of subjects and streams and hands them on to
    files, programs and servers: docs/receiver.md explains the file.
    """
    if config_file is not None or check:
        return _daemon(config_file, check=check)
    options = connection_options(_PROGRAM, flags)
    pair = load_pair(_PROGRAM, seed_file)
    say(_PROGRAM, "any sender is admitted, and xkv1 too: it binds no subject and can be replayed")
    listen = partial(receive, subject=subject, queue=queue or "", count=count, wait=wait)
    all_opened = anyio.run(listen, options, pair, OUTPUTS[mode or "text"]())
    return EXIT_NOT_OPENED if count is not None and not all_opened else 0


def _daemon(config_file: Path | None, *, check: bool) -> int:
    context = click.get_current_context()
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if config_file is None:
        raise click.UsageError("--check looks at a file: --config FILE")
    if given - {"config_file", "check"}:
        raise click.UsageError("--config FILE goes with --check, and with no other flag")
    # What only a daemon needs is not loaded for the tutorial.
    from receiver import config, daemon  # noqa: PLC0415

    try:
        loaded = config.load(config_file)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            say(_PROGRAM, f"configuration: {line}")
        return EXIT_FAILED
    if check:
        say(_PROGRAM, f"{config_file} is right")
        return 0
    return daemon.run(loaded)

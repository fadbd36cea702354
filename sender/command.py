"""The command line of the sender."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click
from click.core import ParameterSource

from sender.tutorial import send
from xkeymsg.daemon.flags import (
    connection_flags,
    connection_options,
    load_pair,
    seed_flag,
)
from xkeymsg.daemon.parameters import SUBJECT, XKEY
from xkeymsg.daemon.terminal import EXIT_CODES, EXIT_FAILED, say
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKey

__all__ = ("command",)

_PROGRAM = "sender"


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="xkeymsg", prog_name=f"xkeymsg-{_PROGRAM}")
@click.argument("recipient", type=XKEY, metavar="RECIPIENT", required=False)
@click.argument("text", required=False)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Run as a daemon, as FILE says; with --check, and nothing else.",
)
@click.option("--check", is_flag=True, help="Look whether --config FILE is right, and end.")
@click.option("--to", "others", type=XKEY, multiple=True, help="A further reader; implies --xkm1.")
@click.option("--xkm1", is_flag=True, help="Bind subject, time and sender; not for Go receivers.")
@click.option(
    "--subject", type=SUBJECT, default="secure.data", show_default=True, help="Where to publish."
)
@seed_flag
@connection_flags
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

    With --config it is a daemon, or a job, which seals what comes from files or from a trusted
    server: docs/sender.md explains the file.
    """
    if config_file is not None or check:
        return _daemon(config_file, check_only=check)
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


def _daemon(config_file: Path | None, *, check_only: bool) -> int:
    context = click.get_current_context()
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if config_file is None:
        raise click.UsageError("--check looks at a file: --config FILE")
    if given - {"config_file", "check"}:
        raise click.UsageError("--config FILE goes with --check, and with nothing else")
    # What only a daemon needs is not loaded for the tutorial.
    from sender import config, daemon  # noqa: PLC0415

    try:
        loaded = config.load(config_file)
        daemon.check(loaded)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            say(_PROGRAM, f"configuration: {line}")
        return EXIT_FAILED
    if check_only:
        say(_PROGRAM, f"{config_file} is right")
        return 0
    return daemon.run(loaded)

"""`xkeymsg console`: web pages about the fleet, who can read what, and refused messages."""

from __future__ import annotations

from pathlib import Path

import click

from xkeymsg.daemons.common.command import check_flag, config_flag, start

__all__ = ("console",)


@click.command(short_help="Serve web pages: who can read what, fleet, refusals.")
@config_flag(required=True)
@check_flag
def console(*, config_file: Path, check: bool) -> int:
    """Serve web pages about who can read what, daemons, refused messages, keys and streams.

    \b
    xkeymsg console --config console.toml

    It is read-only, and holds no key that opens messages. It listens on 127.0.0.1:8480 unless
    FILE says otherwise; `xkeymsg config describe console` explains it.
    """  # noqa: D301 - click reads the character
    from xkeymsg.cli.console import config, service  # noqa: PLC0415 - --help needs neither

    return start("console", config_file, config.load, service.run, check=check)

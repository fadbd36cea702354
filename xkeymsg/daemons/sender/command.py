"""The command line of the sender."""

from __future__ import annotations

from pathlib import Path

from xkeymsg.daemons.common import hangups
from xkeymsg.daemons.common.command import daemon_command, start

__all__ = ("command", "run_file")

_PROGRAM = "sender"


@daemon_command(_PROGRAM)
def command(*, config_file: Path, check: bool) -> int:
    """Seal messages from files or from a trusted NATS server, and publish them.

    It runs as a daemon, or as a job that ends with its files; `xkeymsg config init sender`
    writes a configuration, and `xkeymsg config describe sender` explains it.
    """
    return run_file(config_file, check=check)


def run_file(config_file: Path, *, check: bool) -> int:
    """Run the sender with a configuration file, or only check the file; return the exit code."""
    hangups.hold()
    from xkeymsg.daemons.sender import daemon  # noqa: PLC0415 - --help does not need it

    return start(_PROGRAM, config_file, daemon.load, daemon.run, check=check)

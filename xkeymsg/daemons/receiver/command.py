"""The command line of the receiver."""

from __future__ import annotations

from pathlib import Path

from xkeymsg.daemons.common import hangups
from xkeymsg.daemons.common.command import daemon_command, start

__all__ = ("command", "run_file")

_PROGRAM = "receiver"


@daemon_command(_PROGRAM)
def command(*, config_file: Path, check: bool) -> int:
    """Open sealed messages from NATS subjects and streams, and forward them.

    They go to files, programs and servers; `xkeymsg config init receiver` writes a configuration,
    and `xkeymsg config describe receiver` explains it.
    """
    return run_file(config_file, check=check)


def run_file(config_file: Path, *, check: bool) -> int:
    """Run the receiver with a configuration file, or only check the file; return the exit code."""
    hangups.hold()
    from xkeymsg.daemons.receiver import config, daemon  # noqa: PLC0415 - --help needs neither

    return start(_PROGRAM, config_file, config.load, daemon.run, check=check)

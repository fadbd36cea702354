"""Entry point of `xkeymsg-sender`."""

from __future__ import annotations

from xkeymsg.daemons.common import hangups
from xkeymsg.daemons.common.extras import run_program

__all__ = ("main",)


def main() -> None:
    """Run the sender and end the process."""
    hangups.hold()
    run_program("sender", "xkeymsg.daemons.sender.command")


if __name__ == "__main__":
    main()

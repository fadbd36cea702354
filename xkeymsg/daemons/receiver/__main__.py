"""Entry point of `xkeymsg-receiver`."""

from __future__ import annotations

from xkeymsg.daemons.common import hangups
from xkeymsg.daemons.common.extras import run_program

__all__ = ("main",)


def main() -> None:
    """Run the receiver and end the process."""
    hangups.hold()
    run_program("receiver", "xkeymsg.daemons.receiver.command")


if __name__ == "__main__":
    main()

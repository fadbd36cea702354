"""Entry point of `xkeymsg-sender`."""

from __future__ import annotations

import sys

from xkeymsg.daemons.common.extras import needed

__all__ = ("main",)


def main() -> None:
    """Run the sender and end the process."""
    with needed("sender"):
        from xkeymsg.daemons.common.terminal import run  # noqa: PLC0415 - imports an extra
        from xkeymsg.daemons.sender.command import command  # noqa: PLC0415

        sys.exit(run(command, "sender"))


if __name__ == "__main__":
    main()

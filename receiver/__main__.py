"""Entry point of `python -m receiver`."""

from __future__ import annotations

import sys

from xkeymsg.daemons.common.extras import needed

__all__ = ("main",)


def main() -> None:
    """Run the receiver and end the process."""
    with needed("receiver"):
        from receiver.command import command  # noqa: PLC0415 - imports an extra
        from xkeymsg.daemons.common.terminal import run  # noqa: PLC0415

        sys.exit(run(command, "receiver"))


if __name__ == "__main__":
    main()

"""`python -m xkeymsg.cli`; what it does is in `command`."""

from __future__ import annotations

import sys

from xkeymsg.daemons.common.extras import needed

__all__ = ("main",)


def main() -> None:
    """Run the command and end the process."""
    with needed("xkeymsg"):
        from xkeymsg.cli.command import command  # noqa: PLC0415 - it imports what may be missing
        from xkeymsg.daemons.common.terminal import run  # noqa: PLC0415

        sys.exit(run(command, "xkeymsg"))


if __name__ == "__main__":
    main()

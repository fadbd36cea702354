"""Entry point of `xkeymsg` and `python -m xkeymsg.cli`."""

from __future__ import annotations

import sys

from xkeymsg.daemons.common.extras import needed

__all__ = ("main",)


def main() -> None:
    """Run the command and end the process."""
    with needed("xkeymsg"):
        from xkeymsg.cli.command import command  # noqa: PLC0415 - imports an extra
        from xkeymsg.daemons.common.terminal import run  # noqa: PLC0415

        sys.exit(run(command, "xkeymsg"))


if __name__ == "__main__":
    main()

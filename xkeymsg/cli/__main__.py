"""Entry point of `xkeymsg` and `python -m xkeymsg.cli`."""

from __future__ import annotations

from xkeymsg.daemons.common.extras import run_program

__all__ = ("main",)


def main() -> None:
    """Run the command and end the process."""
    run_program("xkeymsg", "xkeymsg.cli.command")


if __name__ == "__main__":
    main()

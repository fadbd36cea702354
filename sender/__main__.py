"""Entry point of `python -m sender`."""

from __future__ import annotations

from xkeymsg.daemons.common.extras import run_program

__all__ = ("main",)


def main() -> None:
    """Run the sender and end the process."""
    run_program("sender", "sender.command")


if __name__ == "__main__":
    main()

"""Entry point of `python -m receiver`."""

from __future__ import annotations

from xkeymsg.daemons.common.extras import run_program

__all__ = ("main",)


def main() -> None:
    """Run the receiver and end the process."""
    run_program("receiver", "receiver.command")


if __name__ == "__main__":
    main()

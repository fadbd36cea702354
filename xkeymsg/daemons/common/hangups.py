"""SIGHUP before a daemon has begun: it reloads later, and does not end the process."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType

__all__ = ("hold", "take")

_held = False


def hold() -> None:
    """Note SIGHUP from now on, instead of ending the process; `take` returns it."""
    with contextlib.suppress(ValueError):  # not the main thread: nothing to hold
        signal.signal(signal.SIGHUP, _note)


def take() -> bool:
    """Return whether SIGHUP arrived since `hold` or the last call."""
    global _held
    found, _held = _held, False
    return found


def _note(_number: int, _frame: FrameType | None) -> None:
    global _held  # noqa: PLW0603 - signals are of the process
    _held = True

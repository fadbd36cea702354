"""Callers that wait for a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ("settle",)


def settle(waiting: Iterable[asyncio.Future[None]], error: Exception | None) -> None:
    """End the wait of callers that still wait, with an error or successfully."""
    for each in waiting:
        if each.done():
            continue
        if error is None:
            each.set_result(None)
        else:
            each.set_exception(error)

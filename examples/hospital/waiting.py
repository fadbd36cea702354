"""Waiting for what other programs do, which tell nobody when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ("PATIENCE", "becomes")

PATIENCE = 60.0
"""Seconds to wait for another program."""
TICK = 0.01


async def becomes(condition: Callable[[], object]) -> bool:
    """Wait until a condition holds; return whether it does within `PATIENCE` seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - the other program has no event for it
                await asyncio.sleep(TICK)
    except TimeoutError:
        return False
    return True

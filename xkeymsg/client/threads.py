"""Calls that take long, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ("in_thread",)

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call something in a thread, and return what it returns.

    Raises:
        RuntimeError: If it raises StopIteration, as a careless `next` in a program's trust does: in
            Python 3.11 no future takes that, and whoever waits would wait for ever.
        Exception: As it does.
    """

    def called() -> _T:
        try:
            return call(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError("StopIteration was raised") from error

    return await asyncio.to_thread(called)

"""Calls of what is the program's own, or takes long: whatever it raises is an error of the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ("guarded", "in_thread")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def guarded(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function of the program's, in which nothing is awaited, and return what it returns.

    Raises:
        RuntimeError: If it raises what would be taken for something else further up: StopIteration,
            as a careless `next` does, which in Python 3.11 no future takes; CancelledError, where
            nobody has cancelled; SystemExit and others that are no Exception.
        Exception: As it does; KeyboardInterrupt too.
    """
    try:
        return call(*args, **kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(f"{type(error).__name__} was raised") from error


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call something in a thread, and return what it returns.

    Raises:
        RuntimeError: As `guarded`: whoever waits would else wait for ever, or be cancelled.
        Exception: As it does.
    """
    return await asyncio.to_thread(lambda: guarded(call, *args, **kwargs))

"""Calls of application code and of slow functions, whose exceptions stay ordinary errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ("check_handler", "guarded", "in_thread")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def check_handler(handler: object) -> None:
    """Refuse a handler that is not an async function; its first message would fail.

    Raises:
        TypeError: If it is not an async function, a `partial` of one, or an object with an async
            `__call__`.
    """
    inner = handler
    while isinstance(inner, partial):
        inner = inner.func
    called = getattr(type(inner), "__call__", None)  # noqa: B004 - not only whether there is one
    if not (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called)):
        name = getattr(inner, "__name__", type(inner).__name__)
        raise TypeError(f"a handler must be an async function: define {name:.80} with `async def`")


def guarded(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a synchronous function of the application, and return its result.

    Raises:
        RuntimeError: If it raises an exception that callers would misinterpret: StopIteration, as a
            careless `next` does, which futures of Python 3.11 do not accept; CancelledError without
            a cancellation; SystemExit and others that are not an Exception.
        Exception: As the function does; KeyboardInterrupt also propagates.
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
    """Call a function in a thread, and return its result.

    Raises:
        RuntimeError: As `guarded`: otherwise the caller would wait forever, or be cancelled.
        Exception: As the function does.
    """
    return await asyncio.to_thread(lambda: guarded(call, *args, **kwargs))

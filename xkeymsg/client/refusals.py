"""`refusing` for coroutine functions; see `xkeymsg.refusals`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from xkeymsg.refusals import redact

__all__ = ("refusing",)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def refusing(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Decorate a coroutine function that takes secrets: remove them from its errors."""

    @wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await function(*args, **kwargs)
        except Exception as error:
            redact(error)
            raise

    return call

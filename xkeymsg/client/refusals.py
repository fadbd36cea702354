"""`refusing` for coroutine functions; see `xkeymsg.refusals`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from xkeymsg.errors import XKeyMsgError
from xkeymsg.refusals import bare, clear_frames

__all__ = ("refusing",)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def refusing(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Decorate a coroutine function that takes secrets: remove them from its errors."""

    @wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await function(*args, **kwargs)
        except XKeyMsgError as error:
            del args, kwargs  # this frame stays in the traceback
            raise bare(error) from None
        except Exception as error:
            del args, kwargs
            clear_frames(error)
            own = error.__traceback__ and error.__traceback__.tb_next
            if own is not None:
                own.tb_frame.clear()  # the frame of the coroutine itself, which has ended
            raise

    return call

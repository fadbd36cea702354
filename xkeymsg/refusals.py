"""Refusals leave the package without the frames and errors that led to them.

Local variables of inner frames hold plaintext, keys and seeds, and error reporters collect them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from xkeymsg.errors import XKeyMsgError

__all__ = ("bare", "refusing")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_E = TypeVar("_E", bound=BaseException)


def bare(error: _E) -> _E:
    """Return an error without the frames and errors that led to it.

    A public function that is called for each message raises its refusals as
    `raise bare(error) from None`, and deletes its secret arguments before; others use `refusing`.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def refusing(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a public function that takes secrets: its refusals leave without inner frames."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except XKeyMsgError as error:
            del args, kwargs  # this frame stays in the traceback
            raise bare(error) from None

    return call

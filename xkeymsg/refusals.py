"""Removes plaintext, keys and seeds from the frames of errors that leave the package.

Error reporters collect the local variables of every frame of a traceback. A refusal is raised
without inner frames. Other errors, such as a TypeError for a wrong argument, keep their frames,
which help to locate a bug, but not the variables in them.

A public function is decorated with `refusing`. One that is called for every message has a `try`
with `redact` in its body instead, which costs nothing unless there is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from gc import get_referents
from types import FrameType
from typing import ParamSpec, TypeVar

from xkeymsg.errors import XKeyMsgError

__all__ = ("bare", "redact", "refusing")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_E = TypeVar("_E", bound=BaseException)


def bare(error: _E) -> _E:
    """Return an error without the frames and errors that led to it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def redact(error: BaseException) -> None:
    """Remove the secrets behind an error in the `except` block that caught it.

    The block has to end with a bare `raise`. The frame with the block still runs, with all its
    variables: it is removed from the traceback, and a bare `raise` does not add it again. Of other
    errors than refusals, the frames before it stay, without their variables.

    Only frames that have ended are cleared: a coroutine that handed the error over and is suspended
    now would end.
    """
    if isinstance(error, XKeyMsgError):
        bare(error)
    caught = error.__traceback__ and error.__traceback__.tb_frame
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += [each.__cause__, each.__context__]
        entry = each.__traceback__
        if entry is not None and entry.tb_frame is caught:
            each.__traceback__ = entry = entry.tb_next
        while entry is not None:
            if _has_ended(entry.tb_frame):
                entry.tb_frame.clear()
            entry = entry.tb_next


def _has_ended(frame: FrameType) -> bool:
    """Return whether a frame owns its variables: before its end, a thread or a generator does."""
    return any(each is frame.f_code for each in get_referents(frame))


def refusing(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Remove secrets from the errors of a public function; a decorator."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            redact(error)
            raise

    return call

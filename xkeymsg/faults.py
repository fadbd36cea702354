"""Finds the first value that a document cannot hold, and its place (F-2 to F-6).

It only explains the fault: `fields.split` has already refused the document, and still refuses it
if nothing is found here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.values import encode_ext, is_native
from xkeymsg.limits import Limits
from xkeymsg.places import located
from xkeymsg.text import is_unicode

__all__ = ("check",)

_SCALARS: Final = frozenset({type(None), bool, bytes})


def check(document: Any, limits: Limits) -> None:
    """Check a document; errors name the place of the fault.

    Raises:
        MalformedError: If it holds an unsupported value (F-2 to F-4).
        LimitExceededError: If a number has too many digits (F-5), or it is too deep or too large
            (F-6).
    """
    checker = _Checker(limits)
    try:
        checker.check(document)
    except (MalformedError, LimitExceededError) as error:
        raise located(error, checker.path) from None


class _Checker:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0
        self.path: list[str | int] = []
        """The current place; after an error, the place of the fault."""

    def check(self, value: Any) -> None:
        """Check a value recursively."""
        items: Iterable[tuple[Any, Any]]
        if type(value) is dict:
            self._enter(2 * len(value))
            items = value.items()
        elif type(value) is list:
            self._enter(len(value))
            items = enumerate(value)
        else:
            _check_scalar(value)
            return
        for name, item in items:
            if type(value) is dict:
                if type(name) is not str:
                    raise MalformedError(f"a dict key must be a str, not {type(name).__name__}")
                _check_scalar(name)
            self.path.append(name)
            self.check(item)
            self.path.pop()

    def _enter(self, nodes: int) -> None:
        """Count the items of a container: one that is shared many times is small in memory."""
        depth = len(self.path)
        if depth >= self._limits.depth:
            raise LimitExceededError("depth of a document", depth + 1, self._limits.depth)
        self._nodes += nodes
        if self._nodes > self._limits.nodes:
            raise LimitExceededError("number of values", self._nodes, self._limits.nodes)


def _check_scalar(value: Any) -> None:
    kind = type(value)
    if kind is str:
        if not is_unicode(value):
            raise MalformedError("text with a lone surrogate")
    elif kind is float:
        if not math.isfinite(value):
            raise MalformedError("a float must be finite")
    elif kind not in _SCALARS and not (kind is int and is_native(value)):
        encode_ext(value)

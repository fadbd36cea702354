"""What a document cannot hold: the first such thing, in the order of the document (F-2 to F-6)."""

from __future__ import annotations

import math
from typing import Any, Final

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.values import encode_ext, is_native
from xkeymsg.limits import Limits

__all__ = ("check",)

_SCALARS: Final = frozenset({type(None), bool, bytes})


def check(document: Any, limits: Limits) -> None:
    """Check a document.

    Raises:
        MalformedError: If it holds what a document cannot hold (F-2 to F-4).
        LimitExceededError: If a number has too many digits (F-5), or it is too deep or too large
            (F-6).
    """
    _Checker(limits).check(document, 0)


class _Checker:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0

    def check(self, value: Any, depth: int) -> None:
        """Check a value with everything in it."""
        if type(value) is dict:
            self._enter(2 * len(value), depth)
            for name, item in value.items():
                _check_name(name)
                self.check(item, depth + 1)
        elif type(value) is list:
            self._enter(len(value), depth)
            for item in value:
                self.check(item, depth + 1)
        else:
            _check_scalar(value)

    def _enter(self, nodes: int, depth: int) -> None:
        """Count what is in a container: one that stands at many places may be small in memory."""
        if depth >= self._limits.depth:
            raise LimitExceededError("depth of a document", depth + 1, self._limits.depth)
        self._nodes += nodes
        if self._nodes > self._limits.nodes:
            raise LimitExceededError("number of values", self._nodes, self._limits.nodes)


def _check_scalar(value: Any) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is float:
        if not math.isfinite(value):
            raise MalformedError("a float that is not finite")
    elif kind not in _SCALARS and not (kind is int and is_native(value)):
        encode_ext(value)


def _check_name(name: object) -> None:
    if type(name) is not str:
        raise MalformedError(f"a map with a name that is a {type(name).__name__}")
    _check_text(name)


def _check_text(text: str) -> None:
    """Refuse lone surrogates, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        broken = True
    else:
        broken = False
    if broken:  # raised out here: what Python raises would hold the text
        raise MalformedError("text with a lone surrogate")

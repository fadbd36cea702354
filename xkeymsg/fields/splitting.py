"""Splitting a document into parts, one for each set of permissions (spec, "Splitting")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from xkeymsg.errors import FieldDeniedError, LimitExceededError, MalformedError
from xkeymsg.fields.pattern import pointer
from xkeymsg.fields.plaintext import Pair, pack
from xkeymsg.fields.policy import NO_RULE, Policy, State
from xkeymsg.fields.scan import Counts, scan
from xkeymsg.fields.values import encode_ext, is_native
from xkeymsg.limits import Limits

__all__ = ("Part", "check_holes", "split")

_DENIED: Final = -1
"""In the place of a set's number where no rule matches."""
_SCALARS: Final = frozenset({type(None), bool, bytes})


class Part(NamedTuple):
    """The fields of a document that one set of permissions may read."""

    permissions: frozenset[str]
    plaintext: bytes
    pairs: list[Pair]


def split(document: Any, policy: Policy, limits: Limits) -> list[Part]:
    """Split a document.

    Raises:
        MalformedError: If it holds what a document cannot hold (F-2 to F-4).
        LimitExceededError: If it is too deep or too large (F-5, F-6).
        FieldDeniedError: If no rule matches a field (F-32).
    """
    splitter = _Splitter(policy, limits)
    result = splitter.visit(document, policy.start, ())
    if splitter.denied:
        raise FieldDeniedError(tuple(splitter.denied))
    placed = result if isinstance(result, list) else [(result, (), document)]
    groups: dict[int, list[Pair]] = {}
    for number, path, value in placed:
        groups.setdefault(number, []).append((path, value))
    parts = [Part(policy.sets[number], pack(pairs), pairs) for number, pairs in groups.items()]
    _check_size(parts, limits)
    return parts


def _check_size(parts: Sequence[Part], limits: Limits) -> None:
    """Check what a reader of everything would count."""
    fields = sum(len(part.pairs) for part in parts)
    if fields > limits.fields:
        raise LimitExceededError("number of fields", fields, limits.fields)
    # Every node has a byte of its own at least.
    if sum(len(part.plaintext) for part in parts) > limits.nodes:
        counts = Counts()
        for part in parts:
            scan(part.plaintext, limits, counts)


def check_holes(parts: Iterable[Part], limits: Limits) -> None:
    """Check that a reader of these parts would find no more holes in lists than it takes.

    Raises:
        LimitExceededError: If there are more (F-6).
    """
    lists: dict[tuple[str | int, ...], set[int]] = {}
    for part in parts:
        for path, _ in part.pairs:
            for at, segment in enumerate(path):
                if type(segment) is int:
                    lists.setdefault(tuple(path[:at]), set()).add(segment)
    holes = sum(max(indices) + 1 - len(indices) for indices in lists.values())
    if holes > limits.holes:
        raise LimitExceededError("positions that a reader may not see", holes, limits.holes)


_Placed = list[tuple[int, Sequence[str | int], Any]]
"""For each largest subtree: the number of its set, its path, and the subtree."""


class _Splitter:
    """Visits a document once, along with the states of a policy."""

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self._set_of = policy.set_of
        self._limits = limits
        self._nodes = 0
        self.denied: list[str] = []

    def visit(self, value: Any, state: State, path: tuple[str | int, ...]) -> int | _Placed:
        """Return the set of everything in `value`, or where it differs the pieces."""
        kind = type(value)
        if (kind is not dict and kind is not list) or not value:
            self._check(value, len(path))
            return self._set(state.leaf, path)
        if state.below is not None:
            self._check(value, len(path))
            if state.below == NO_RULE:
                self._deny(value, path)
            return self._set_of[state.below] if state.below != NO_RULE else _DENIED
        self._enter(value, len(path))
        return self._children(value, state, path)

    def _children(self, value: Any, state: State, path: tuple[str | int, ...]) -> int | _Placed:
        items: list[Any] = []
        if type(value) is dict:
            for name, item in value.items():
                _check_name(name)
                items.append((name, item, self.visit(item, state.child(name), (*path, name))))
        else:
            digits = any(map(str.isdigit, state.names))
            items = [
                (
                    index,
                    item,
                    self.visit(
                        item, state.child(str(index)) if digits else state.other, (*path, index)
                    ),
                )
                for index, item in enumerate(value)
            ]
        first: int | _Placed = items[0][2]
        if not isinstance(first, list) and all(result == first for _, _, result in items):
            return first
        placed: _Placed = []
        for segment, item, result in items:
            if isinstance(result, list):
                placed += result
            else:
                placed.append((result, (*path, segment), item))
        return placed

    def _set(self, rule: int, path: tuple[str | int, ...]) -> int:
        if rule == NO_RULE:
            self.denied.append(pointer(path))
            return _DENIED
        return self._set_of[rule]

    def _deny(self, value: Any, path: tuple[str | int, ...]) -> None:
        """Note every field of a subtree that no rule matches."""
        items: Iterable[tuple[str | int, Any]] = ()
        if type(value) is dict:
            items = value.items()
        elif type(value) is list:
            items = enumerate(value)
        empty = True
        for segment, item in items:
            empty = False
            self._deny(item, (*path, segment))
        if empty:
            self.denied.append(pointer(path))

    def _check(self, value: Any, depth: int) -> None:
        """Check a value with everything in it."""
        kind = type(value)
        if kind is dict:
            self._enter(value, depth)
            for name, item in value.items():
                if type(name) is not str or not name.isascii():
                    _check_name(name)
                if type(item) is not str or not item.isascii():
                    self._check(item, depth + 1)
        elif kind is list:
            self._enter(value, depth)
            for item in value:
                if type(item) is not str or not item.isascii():
                    self._check(item, depth + 1)
        else:
            _check_scalar(value)

    def _enter(self, value: dict[str, Any] | list[Any], depth: int) -> None:
        """Count what is in a container: one that stands at many places may be small in memory."""
        if depth >= self._limits.depth:
            raise LimitExceededError("depth of a document", depth + 1, self._limits.depth)
        self._nodes += 2 * len(value) if type(value) is dict else len(value)
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

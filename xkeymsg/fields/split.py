"""Splitting of a document into one part per set of permissions (spec, "Splitting").

One visit finds the set of every field and makes the checks that the encoder does not. It stops at
any fault; `faults` then finds the first one in document order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any, Final, NamedTuple
from uuid import UUID

from xkeymsg.errors import FieldDeniedError, LimitExceededError, MalformedError
from xkeymsg.faults import check
from xkeymsg.fields.matching import DENIED, State
from xkeymsg.fields.plaintext import Pair, pack
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.scan import Counts, scan
from xkeymsg.limits import Limits
from xkeymsg.places import first_places

__all__ = ("Part", "Split", "check_size", "split")

_ENCODED: Final = frozenset({type(None), bool, int, bytes, Decimal, datetime, UUID})
"""Types that the encoder checks, as it does text."""
_CONTAINERS: Final = {dict, list}
_TEXT: Final = {str}


class Part(NamedTuple):
    """The fields of a document that one set of permissions may read."""

    permissions: frozenset[str]
    plaintext: bytes
    pairs: list[Pair]

    def __repr__(self) -> str:
        return "<Part>"  # a NamedTuple would show the plaintext


class Split(NamedTuple):
    """A document in parts."""

    parts: list[Part]
    sets: tuple[int, ...]
    """For each part, the number of its set of permissions in the policy."""
    positions: int
    """Items of the lists that span several parts: an upper bound of any reader's holes."""


def split(document: Any, policy: Policy, limits: Limits) -> Split:
    """Split a document; call `check_size` afterwards.

    Raises:
        MalformedError: If it holds an unsupported value (F-2 to F-4).
        LimitExceededError: If it is too deep or too large (F-5, F-6).
        FieldDeniedError: If no rule matches a field (F-32), or a field is ambiguous (F-63, F-64).
    """
    try:
        return _split(document, policy, limits)
    except Exception:  # noqa: BLE001, S110 - `check` and `walk` report the first fault, in order
        pass
    check(document, limits)
    walk = policy.walk(document, limits)
    denied, count = first_places(path for path, state in walk if state.leaf_set == DENIED)
    if denied:
        raise FieldDeniedError(denied, count)
    return _split(document, policy, limits, careful=False)


def _split(document: Any, policy: Policy, limits: Limits, *, careful: bool = True) -> Split:
    splitter = _Splitter(limits, careful=careful)
    groups: defaultdict[int, list[Pair]] = defaultdict(list)
    for number, pair in splitter.visit(document, policy.start):
        groups[number].append(pair)
    parts = [Part(policy.sets[number], pack(pairs), pairs) for number, pairs in groups.items()]
    return Split(parts, tuple(groups), splitter.positions)


class _OddError(MalformedError):
    """A field that no rule matches, or an unsupported value."""


_Placed = list[tuple[int, Pair]]
"""Largest subtrees with one set of permissions: the number of the set, and the pair."""


class _Splitter:
    """One visit of a document, along with the states of a policy."""

    def __init__(self, limits: Limits, *, careful: bool) -> None:
        self._careful = careful
        """Whether a name that looks like one in the policy stops the visit."""
        self._depth = limits.depth
        self._left = limits.nodes
        self.positions = 0

    def visit(self, document: Any, start: State) -> _Placed:
        """Return the pieces of a document."""
        if type(document) in _CONTAINERS and document and start.below_set is None:
            result = self._children(document, start, ())
        else:
            result = self._whole(document, start, 0)
        return result if isinstance(result, list) else [(result, [[], document])]

    def _whole(self, value: Any, state: State, depth: int) -> int:
        """Return the one set of a value that the policy decides as a whole."""
        kind = type(value)
        number = state.leaf_set
        if kind is dict or kind is list:
            if value and state.below_set is not None:
                number = state.below_set
            self._left = _check(value, self._depth - depth, self._left)
        elif kind is not str and kind not in _ENCODED:
            _check_float(value)
        if value is None and state.tested:  # it may stand for a model
            number = state.settle(None).leaf_set
        if number == DENIED:
            raise _OddError
        return number

    def _settle(self, value: Any, state: State, path: tuple[str | int, ...]) -> int | _Placed:
        """Test the filters of a container, and return its set or its pieces."""
        state = state.settle(value, path)
        if state.below_set is not None or not value:
            return self._whole(value, state, len(path))
        return self._children(value, state, path)

    def _children(self, value: Any, state: State, path: tuple[str | int, ...]) -> int | _Placed:
        """Return the set of everything in a container, or its pieces if sets differ."""
        depth = len(path) + 1
        self._left -= len(value)
        if depth > self._depth or self._left < 0:
            raise _OddError
        segments: Any = range(len(value))
        states: Iterable[State]
        if type(value) is dict:
            segments = tuple(value)
            states = state.members.get(segments) or state.learn(segments, careful=self._careful)
            items: Any = value.values()
        else:
            states, items = state.items(len(value), careful=self._careful), value
        results: list[int | _Placed] = []
        for segment, item, child in zip(segments, items, states):  # noqa: B905 - of one length
            kind = type(item)
            if kind is str:
                results.append(child.leaf_set)
            elif (
                (kind is dict or kind is list)
                and child.below_set is None
                and (item or child.tested)
            ):
                visit = self._settle if child.tested else self._children
                results.append(visit(item, child, (*path, segment)))
            else:
                results.append(self._whole(item, child, depth))
        first = results[0]
        if not isinstance(first, list) and first != DENIED and results.count(first) == len(results):
            return first
        if items is value:
            self.positions += len(value)
        return _placed(segments, items, results, path)


def _check(value: Any, depth: int, left: int) -> int:
    """Check a container that has one set, with everything in it.

    Args:
        value: The container.
        depth: Levels of containers that it may have.
        left: Nodes that it may have; one that is shared many times is small in memory.

    Returns:
        The rest of `left`.
    """
    left -= len(value)
    if depth < 1 or left < 0:
        raise _OddError
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value)):
            raise _OddError
        value = value.values()
    for item in value:
        kind = type(item)
        if kind is not str:
            if kind is dict or kind is list:
                left = _check(item, depth - 1, left)
            elif kind not in _ENCODED:
                _check_float(item)
    return left


def _check_float(value: Any) -> None:
    if type(value) is not float or not isfinite(value):
        raise _OddError


def _placed(
    segments: Iterable[str | int],
    items: Iterable[Any],
    results: list[int | _Placed],
    path: tuple[str | int, ...],
) -> _Placed:
    """Return the pieces of a container from the results of its items."""
    if DENIED in results:
        raise _OddError
    placed: _Placed = []
    for segment, item, result in zip(segments, items, results, strict=True):
        if isinstance(result, list):
            placed += result
        else:
            placed.append((result, [[*path, segment], item]))
    return placed


def check_size(split: Split, views: Sequence[Sequence[int]], limits: Limits) -> None:
    """Check the limits that readers enforce: a reader of all parts, and the reader of each view.

    Raises:
        LimitExceededError: If there are too many fields, nodes, or holes in lists (F-6).
    """
    parts = split.parts
    fields = size = 0
    for _, plaintext, pairs in parts:
        fields += len(pairs)
        size += len(plaintext)
    if fields > limits.fields:
        raise LimitExceededError("number of fields", fields, limits.fields)
    if size > limits.nodes:  # every node has at least one byte of its own
        counts = Counts()
        for part in parts:
            scan(part.plaintext, limits, counts)
    if split.positions > limits.holes:
        for view in views:
            _check_holes([parts[number] for number in view if number < len(parts)], limits)


def _check_holes(parts: Iterable[Part], limits: Limits) -> None:
    lists: dict[tuple[str | int, ...], set[int]] = {}
    for part in parts:
        for path, _ in part.pairs:
            for at, segment in enumerate(path):
                if type(segment) is int:
                    lists.setdefault(tuple(path[:at]), set()).add(segment)
    holes = sum(max(indices) + 1 - len(indices) for indices in lists.values())
    if holes > limits.holes:
        raise LimitExceededError("number of withheld list positions", holes, limits.holes)

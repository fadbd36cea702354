"""Matching: which pattern of a policy decides about a place of a document (spec, "Rules").

Patterns are compiled once into a tree and, while documents are split, step by step into states. A
state holds all patterns that can still match below a place. There are few states, they are
remembered, and each knows where a name leads, so matching does not grow with the number of rules. A
subtree about which all patterns agree is not matched at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import repeat
from json import dumps
from typing import Any, Final

from xkeymsg.errors import FieldAmbiguousError
from xkeymsg.fields.pattern import Filter, Segment, fold
from xkeymsg.places import short_pointer
from xkeymsg.shown import cut

__all__ = ("DENIED", "NO_PATTERN", "State", "compile_patterns")

NO_PATTERN: Final = 1 << 30
"""Stands for the number of a pattern where none matches."""
DENIED: Final = -1
"""Stands for the number of a set of permissions where nobody may read."""

_STATES: Final = 10_000
"""How many states and lists of names are remembered."""
_NAMES: Final = 1024
"""Characters of a list of names that is remembered."""
_TEXT: Final = {str}
_NUMBERS: Final = {int, float, Decimal}

_LISTED: Final = "a list where a filter expects a map (its items are at /*)"

_Path = tuple[str | int, ...]
_Looks = tuple[str, object]
_Alike = dict[_Looks, list[tuple[str, type, Any]]]


class _Node:
    """A place in the tree of patterns."""

    __slots__ = (
        "any", "deep", "filters", "folded", "indexed", "least", "loops", "named", "number", "rule",
        "tests",
    )  # fmt: skip

    def __init__(self, number: int, *, loops: bool = False) -> None:
        self.number = number
        self.loops = loops
        """Whether it is behind a `**`, and so remains however deep a place is."""
        self.named: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.deep: _Node | None = None
        self.filters: list[tuple[Filter, set[_Looks]]] = []
        """What the map here must have, each with what looks like it."""
        self.tests: dict[frozenset[Filter], _Node] = {}
        """The same place, by what its map must have."""
        self.folded: dict[str, list[str]] = {}
        """The names, by what they look like."""
        self.indexed = False
        """Whether a name looks like an index."""
        self.rule = NO_PATTERN
        """The first pattern that ends here."""
        self.least = NO_PATTERN
        """The first pattern that ends here, or anywhere below without one of the tests here."""

    def add(self, segment: Segment, number: int) -> _Node:
        """Return the place that a segment leads to, before its filters; `number` is for a new."""
        if segment.deep:
            self.deep = self.deep or _Node(number, loops=True)
            return self.deep
        if segment.name is None:
            self.any = self.any or _Node(number)
            return self.any
        if segment.name not in self.named:
            folded = fold(segment.name)
            self.folded.setdefault(folded, []).append(segment.name)
            self.indexed = self.indexed or folded.isdecimal()
            self.named[segment.name] = _Node(number)
        return self.named[segment.name]


class State:
    """All that patterns can still say at one place of a document."""

    __slots__ = (
        "_made", "_nodes", "_other", "_paths", "_tests", "_wanted", "below_set", "leaf_set",
        "members", "rule",
    )  # fmt: skip

    def __init__(
        self, made: _States, nodes: tuple[_Node, ...], rule: int, tests: tuple[_Node, ...]
    ) -> None:
        self._made = made
        self._nodes = nodes
        self._tests = tests
        self._wanted = [each for node in tests for each, _ in node.filters]
        self._paths: dict[str, State] = {}
        self._other: State | None = None
        self.members: dict[tuple[str, ...], tuple[State, ...]] = {}
        """By all names of a map: most maps have the names of an earlier one."""
        self.rule = rule
        """The pattern that decides here, and below as far as no earlier pattern does."""
        self.leaf_set = made.set_of(rule)
        """The number of its set of permissions."""
        self.below_set = None if nodes or tests else self.leaf_set
        """The same if it decides about everything below, else None."""

    def child(self, name: str) -> State:
        """Return the state of a member, or of an item by its index as text."""
        known = self._paths.get(name)
        if known is None:
            if any(name in node.named for node in self._nodes):
                known = self._paths[name] = self._made.step(self._nodes, self.rule, name)
            else:
                known = self.other
        return known

    @property
    def other(self) -> State:
        """The state of a member that no pattern names."""
        known = self._other
        if known is None:
            known = self._other = self._made.step(self._nodes, self.rule, None)
        return known

    def learn(self, names: tuple[str, ...], *, careful: bool) -> tuple[State, ...]:
        """Return the states of all members of a map, and remember them in `members`.

        Raises:
            TypeError: If a name is not text.
            ValueError: If `careful`, and a name looks like one of a pattern.
        """
        if names and {*map(type, names)} != _TEXT:
            raise TypeError("a name that is not text")
        states = tuple(map(self.child, names))
        if any(map(self.twins, names)):
            if careful:
                raise ValueError("a look-alike")
        elif sum(map(len, names)) <= _NAMES:
            self._made.keep()
            self.members[names] = states
        return states

    def items(self, count: int, *, careful: bool) -> Iterable[State]:
        """Return the states of the items of a list; raises as `learn` does."""
        if any(node.indexed for node in self._nodes):
            return self.learn(tuple(map(str, range(count))), careful=careful)
        return repeat(self.other, count)

    def twins(self, name: str) -> list[str]:
        """Return the names in patterns that a name looks like, and is not (F-64).

        Those are left out that certainly have the same readers.
        """
        if not self._nodes or any(self._is_live(node.named.get(name)) for node in self._nodes):
            return []
        folded = fold(name)
        alike = [each for node in self._nodes for each in node.folded.get(folded, ())]
        same = self.child(name).below_set if alike else None
        return [each for each in alike if same is None or self.child(each).below_set != same]

    def _is_live(self, node: _Node | None) -> bool:
        """Tell whether an earlier pattern than the one here can match at a node or below."""
        return node is not None and any(
            each.least < self.rule for each in (node, *node.tests.values())
        )

    def settle(self, value: Any, path: _Path = ()) -> State:
        """Return the state of a place after the filters there have tested its value.

        Raises:
            FieldAmbiguousError: If a filter cannot be decided (F-63).
        """
        if not self._tests:
            return self
        rule, held, doubt, reason = self.rule, [], NO_PATTERN, ""
        members = value if type(value) is dict else {}
        alike = _by_looks(members)
        for node in self._tests:
            if node.least >= rule:
                break
            result = self._test(node, members, alike) if type(value) is not list else _LISTED
            if result is True:
                rule = min(rule, node.rule)
                held.append(node)
            elif result and doubt == NO_PATTERN:
                doubt, reason = node.least, result
        if doubt < rule:
            raise FieldAmbiguousError(short_pointer(path), reason)
        return self._made.make(held, rule, self._nodes)

    def _test(self, node: _Node, members: dict[str, Any], alike: _Alike) -> bool | str:
        """Return whether a map has the members that filters want, or why that is open (F-63)."""
        held = True
        for (name, kind, wanted), looks in node.filters:
            item = members.get(name)
            if type(item) is kind and item == wanted and name in members:
                continue
            held = False
            for each in looks:
                # A member that another filter here wants is what it looks like.
                if any(member not in self._wanted for member in alike.get(each, ())):
                    return f"{dumps(cut(name))} of a filter there has another spelling or kind"
        return held

    def first(self, name: str) -> int:
        """Return the first pattern that has this name for a member of the place."""
        nodes = [node.named[name] for node in self._nodes if name in node.named]
        return min([each.least for node in nodes for each in (node, *node.tests.values())])

    @property
    def tested(self) -> bool:
        """Whether there are filters, so that `settle` has to come first."""
        return bool(self._tests)

    def forget(self) -> None:
        """Forget the states of what is below."""
        self._paths, self.members, self._other = {}, {}, None


class _States:
    """Makes states, each once, and bounds what they remember."""

    def __init__(self, patterns: Sequence[Sequence[Segment]], sets: Sequence[int]) -> None:
        self._sets = sets
        self._known: dict[tuple[tuple[int, ...], int, tuple[int, ...]], State] = {}
        self._kept = 0
        self.start = self.make([self._tree(patterns)], NO_PATTERN)

    def set_of(self, rule: int) -> int:
        """Return the number of a pattern's set of permissions."""
        return DENIED if rule == NO_PATTERN else self._sets[rule]

    def keep(self) -> None:
        """Count what is remembered; at a bound, forget it all, to be made again."""
        self._kept += 1
        if self._kept > _STATES:
            self._kept = 0
            self._known = {}
            self.start.forget()

    def make(self, fresh: Iterable[_Node], rule: int, old: tuple[_Node, ...] = ()) -> State:
        """Return the state of nodes that were reached, and of old ones at the same place."""
        nodes = [each for node in fresh for each in (node, node.deep) if each is not None]
        rule = min([rule, *(node.rule for node in nodes)])
        live = tuple([node for node in (*old, *nodes) if node.least < rule])
        tests = [each for node in nodes for each in node.tests.values() if each.least < rule]
        tests.sort(key=lambda node: node.least)
        key = tuple([each.number for each in live]), rule, tuple([each.number for each in tests])
        state = self._known.get(key)
        if state is None:
            state = State(self, live, rule, tuple(tests))
            if self._known:  # the first is where every document begins
                self.keep()
            self._known[key] = state
        return state

    def step(self, nodes: tuple[_Node, ...], rule: int, name: str | None) -> State:
        following = [node.named[name] for node in nodes if name is not None and name in node.named]
        following += [node.any for node in nodes if node.any is not None]
        return self.make(following, rule, tuple([node for node in nodes if node.loops]))

    def _tree(self, patterns: Sequence[Sequence[Segment]]) -> _Node:
        root, count = _Node(0), 0
        for number, pattern in enumerate(patterns):
            node, path = root, [root]
            for segment in pattern:
                count += 2
                node = node.add(segment, count)
                if segment.filters:
                    node = node.tests.setdefault(segment.filters, _Node(count + 1))
                    node.filters = [
                        (each, _looks(each.name, each.value))
                        for each in sorted(segment.filters, key=str)
                    ]
                path.append(node)
            node.rule = min(node.rule, number)
            for node in path:
                node.least = min(node.least, number)
        return root


def compile_patterns(patterns: Sequence[Sequence[Segment]], sets: Sequence[int]) -> State:
    """Return the state of a document's root.

    Args:
        patterns: In the order of the policy.
        sets: Of each pattern the number of its set of permissions.
    """
    return _States(patterns, sets).start


def _by_looks(members: dict[str, Any]) -> _Alike:
    """Return the members of a map, by what could be taken for them."""
    alike: _Alike = {}
    for name, item in members.items():
        for looks in _looks(name, item):
            alike.setdefault(looks, []).append((name, type(item), item))
    return alike


def _looks(name: str, value: Any) -> set[_Looks]:
    """Return what is the same for members that differ only in spelling or kind."""
    folded = fold(str(name))
    return {(folded, each) for each in _looks_of(value)}


def _looks_of(value: Any) -> set[object]:
    if type(value) is list:
        return {looks for each in value if type(each) is not list for looks in _looks_of(each)}
    if type(value) is dict:
        return set()
    looks: set[object] = {fold(_text(value))}
    return {*looks, value} if type(value) in _NUMBERS else looks


def _text(value: Any) -> str:
    if value is None or type(value) is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) is int:
        return str(value) if value.bit_length() < 1024 else ""
    return value.decode(errors="replace") if type(value) is bytes else str(value)

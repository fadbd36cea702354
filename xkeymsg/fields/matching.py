"""Pattern matching: finds the pattern that decides a place in a document (spec, "Rules").

Patterns are compiled once into a tree, and lazily into the states of an automaton while documents
are split. A state holds all patterns that can still match below a place. States and their
transitions are few and cached, so matching does not slow down with the number of rules. A subtree
that is decided as a whole is not matched further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from itertools import repeat
from json import dumps
from typing import Any, Final

from xkeymsg.display import cut
from xkeymsg.errors import FieldAmbiguousError
from xkeymsg.fields.pattern import EMPTY, Filter, Segment, fold, number_of
from xkeymsg.places import short_pointer
from xkeymsg.text import masked

__all__ = ("DENIED", "NO_PATTERN", "STATES", "State", "States")

NO_PATTERN: Final = 1 << 30
"""The pattern number if no pattern matches."""
DENIED: Final = -1
"""The number of the empty set of permissions."""

STATES: Final = 10_000
"""Maximum number of cached states and name lists."""
_NAMES: Final = 1024
"""Maximum characters of a cached name list."""
_TEXT: Final = {str}
_NUMBERS: Final = {bool, int, float, Decimal}
_EMPTY: Final = {type(None), dict, list}
_WANTED: Final = {str, int, bool, type(None)}
"""The types of filter values."""

_LISTED: Final = "a filter expects a map, but this is a list (match its items with /*)"

_Path = tuple[str | int, ...]
_Member = tuple[str, type, Any]


class _Node:
    """A node of the pattern tree."""

    __slots__ = (
        "any", "deep", "filters", "folded", "indexed", "least", "loops", "named", "number", "rule",
        "tests",
    )  # fmt: skip

    def __init__(self, number: int, *, loops: bool = False) -> None:
        self.number = number
        self.loops = loops
        """Whether it follows a `**`, and so stays active at any depth."""
        self.named: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.deep: _Node | None = None
        self.filters: frozenset[Filter] = frozenset()
        """The members that the map here must have."""
        self.tests: dict[frozenset[Filter], _Node] = {}
        """Nodes for the same place, by their filters."""
        self.folded: dict[str, list[str]] = {}
        """The names in `named`, by their folded form."""
        self.indexed = False
        """Whether a name looks like an index."""
        self.rule = NO_PATTERN
        """The first pattern that ends here."""
        self.least = NO_PATTERN
        """The first pattern that ends here or below, other than through `tests`."""

    def add(self, segment: Segment, number: int) -> _Node:
        """Return the node that a segment leads to, before filters; a new one gets `number`."""
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
    """The patterns that can still match at or below one place of a document."""

    __slots__ = (
        "_indexed", "_made", "_nodes", "_other", "_paths", "_tests", "below_set", "leaf_set",
        "members", "rule", "tested",
    )  # fmt: skip

    def __init__(
        self, made: States, nodes: tuple[_Node, ...], rule: int, tests: Sequence[_Node]
    ) -> None:
        self._made = made
        self._nodes = nodes
        self._indexed = any(node.indexed for node in nodes)
        """Whether a pattern names items of a list by their index."""
        self._tests = _Tests(tests) if tests else None
        self.tested = bool(tests)
        """Whether there are filters, so that `settle` must be called first."""
        self._paths: dict[str, State] = {}
        self._other: State | None = None
        self.members: dict[tuple[str, ...], tuple[State, ...]] = {}
        """Member states by the names of a map: most maps have the names of an earlier one."""
        self.rule = rule
        """The pattern that decides here, and below unless an earlier pattern matches."""
        self.leaf_set = made.sets[rule]
        """The number of its set of permissions."""
        self.below_set = None if nodes or tests else self.leaf_set
        """`leaf_set` if it applies to everything below, else None."""

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
        """Return the states of all members of a map, and cache them in `members`.

        Raises:
            TypeError: If a name is not text.
            ValueError: If `careful`, and a name looks like one of a pattern.
        """
        if names and {*map(type, names)} != _TEXT:
            raise TypeError("a name is not text")
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
        if self._indexed:
            return self.learn(tuple(map(str, range(count))), careful=careful)
        return repeat(self.other, count)

    def twins(self, name: str) -> list[str]:
        """Return the pattern names that `name` resembles but does not equal (F-64).

        Omits names that certainly have the same readers.
        """
        if not self._nodes or any(self._is_live(node.named.get(name)) for node in self._nodes):
            return []
        folded = fold(name)
        alike = [each for node in self._nodes for each in node.folded.get(folded, ())]
        same = self.child(name).below_set if alike else None
        return [each for each in alike if same is None or self.child(each).below_set != same]

    def _is_live(self, node: _Node | None) -> bool:
        """Return whether a pattern before the deciding one can match at a node or below."""
        return node is not None and any(n.least < self.rule for n in (node, *node.tests.values()))

    def settle(self, value: Any, path: _Path = ()) -> State:
        """Return the state of a place after its filters have tested the value there.

        Raises:
            FieldAmbiguousError: If a filter cannot be decided (F-63).
        """
        if self._tests is None:
            return self
        held, doubt, name = self._tests.decide(value)
        rule = min([self.rule, *(node.rule for node in held)])
        if doubt < rule:
            why = f"a filter tests {dumps(cut(masked(name)))}; here its spelling or type differs"
            raise FieldAmbiguousError(short_pointer(path), _LISTED if type(value) is list else why)
        return self._made.make(held, rule, self._nodes)

    def first(self, name: str) -> int:
        """Return the first pattern that names this member of the place."""
        nodes = [node.named[name] for node in self._nodes if name in node.named]
        return min([each.least for node in nodes for each in (node, *node.tests.values())])

    def forget(self) -> None:
        """Clear the cached states below."""
        self._paths, self.members, self._other = {}, {}, None


class _Tests:
    """The filters at one place, indexed by member, so that other members of a map cost nothing."""

    def __init__(self, nodes: Sequence[_Node]) -> None:
        """Index nodes, which are ordered by their first pattern."""
        self._least = {each: node.least for node in reversed(nodes) for each in node.filters}
        """The first pattern with each filter."""
        self._nodes: dict[_Member, list[_Node]] = {}
        """The nodes by their rarest filter."""
        self._alike: dict[str, dict[object, list[Filter]]] = {}
        """The filters by folded name, and then by the forms that `_looks` gives their values."""
        self._listed = min([NO_PATTERN, *(n.least for n in nodes if EMPTY not in n.filters)])
        """The first pattern with a filter that cannot be decided for a list."""
        count = Counter(each for node in nodes for each in node.filters)
        for node in nodes:
            self._nodes.setdefault(min(node.filters, key=count.__getitem__), []).append(node)
        for each in count:
            by_looks = self._alike.setdefault(fold(each.name), {})
            for looks in _looks(each.value, wanted=True):
                by_looks.setdefault(looks, []).append(each)

    def decide(self, value: Any) -> tuple[list[_Node], int, str]:
        """Return the nodes whose filters hold, and the first undecided pattern and its member."""
        met: set[_Member] = {EMPTY} if not value and type(value) in _EMPTY else set()
        alike: list[Filter] = []
        for name, item in value.items() if type(value) is dict else ():
            member = name, type(item), item
            if type(item) in _WANTED and member in self._least:
                met.add(member)  # what it resembles is then a filter here, too
            elif (by_looks := self._alike.get(fold(name))) is not None:
                for looks in _looks(item, wanted=False):
                    alike += by_looks.get(looks, ())
        held = [node for each in met for node in self._nodes.get(each, ()) if node.filters <= met]
        held.sort(key=lambda node: node.least)
        if type(value) is list:
            return held, self._listed, ""
        open_ = [(self._least[each], each.name) for each in alike if each not in met]
        return held, *min(open_, default=(NO_PATTERN, ""))


class States:
    """Creates each state once, and bounds the caches of all states."""

    def __init__(self, patterns: Sequence[Sequence[Segment]], sets: Sequence[int]) -> None:
        """Compile patterns.

        Args:
            patterns: The patterns, in policy order.
            sets: For each pattern, the number of its set of permissions.
        """
        self.sets = {**dict(enumerate(sets)), NO_PATTERN: DENIED}
        """The number of the set of permissions, by pattern."""
        self._known: dict[tuple[tuple[int, ...], int, tuple[int, ...]], State] = {}
        self._kept = 0
        self.start = self.make([self._tree(patterns)], NO_PATTERN)
        """The state of a document's root."""

    def keep(self) -> None:
        """Count a cache entry; clear all caches at the bound."""
        self._kept += 1
        if self._kept > STATES:
            self._kept = 0
            self._known = {}
            self.start.forget()

    def make(self, fresh: Iterable[_Node], rule: int, old: tuple[_Node, ...] = ()) -> State:
        """Return the state of newly reached nodes, with `old` ones that stay active."""
        nodes = [each for node in fresh for each in (node, node.deep) if each is not None]
        rule = min([rule, *(node.rule for node in nodes)])
        live = tuple([node for node in (*old, *nodes) if node.least < rule])
        tests = [each for node in nodes for each in node.tests.values() if each.least < rule]
        tests.sort(key=lambda node: node.least)
        key = tuple([each.number for each in live]), rule, tuple([each.number for each in tests])
        state = self._known.get(key)
        if state is None:
            state = State(self, live, rule, tests)
            if self._known:  # the first is the start state, which stays
                self.keep()
            self._known[key] = state
        return state

    def step(self, nodes: tuple[_Node, ...], rule: int, name: str | None) -> State:
        """Return the state of a member; `name` is None if no pattern names it."""
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
                    node.filters = segment.filters
                path.append(node)
            node.rule = min(node.rule, number)
            for node in path:
                node.least = min(node.least, number)
        return root


def _looks(value: Any, *, wanted: bool) -> Collection[object]:
    """Return keys that a filter value has in common with every member value like it (F-63).

    A key is a folded text, or the type of the filter value and a number: a text and a number are
    alike if the text writes that number, but two texts that write one number are not.
    """
    if type(value) is list:
        items = [each for each in value if type(each) is not list]
        # Not a set: whoever writes the document could choose numbers with equal hashes.
        return [looks for each in items for looks in _looks(each, wanted=wanted)]
    if type(value) is dict:
        return set()
    if type(value) in _NUMBERS:
        numbers = {value, Decimal(repr(value))} if type(value) is float else {value}
        return {(kind, each) for each in numbers for kind in ((int,) if wanted else (int, str))}
    text = "null" if value is None else value
    text = fold(text.decode(errors="replace") if type(text) is bytes else str(text))
    number = number_of(text)
    return {text} if number is None else {text, (str if wanted else int, number)}

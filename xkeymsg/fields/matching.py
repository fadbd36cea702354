"""Matching: which rule of a policy decides about a place of a document (spec, "Patterns", "Rules").

Patterns are compiled once into a tree, and while documents are split, step by step, into states: a
state is all the patterns that can still match below a place. There are few, they are remembered,
and each says at once what a name leads to; so that matching does not grow with the number of rules,
and a subtree about which all patterns agree is not matched at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final

from xkeymsg.fields.pattern import ANY, BELOW, parse_pattern

__all__ = ("DENIED", "NO_RULE", "State", "compile_patterns")

NO_RULE: Final = 1 << 30
"""In the place of a rule's number where none matches."""
DENIED: Final = -1
"""In the place of the number of a set of permissions, there."""

_STATES: Final = 10_000
"""How many states and lists of names are remembered."""
_NAMES: Final = 1024
"""Characters of a list of names that is remembered."""
_TEXT: Final = {str}


class _Node:
    """A place in the tree of patterns."""

    __slots__ = ("any", "below", "here", "least", "named", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.named: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.here = NO_RULE
        """The first rule whose pattern ends here."""
        self.below = NO_RULE
        """The first rule whose pattern is this place and everything below."""
        self.least = NO_RULE
        """The first rule that ends here or anywhere below."""


class State:
    """All that patterns can still say at one place of a document."""

    __slots__ = (
        "_digits", "_make", "_nodes", "_other", "_paths", "below", "below_set", "best", "leaf",
        "leaf_set", "members",
    )  # fmt: skip

    def __init__(self, make: _States, nodes: tuple[_Node, ...], best: int) -> None:
        self._make = make
        self._nodes = nodes
        self._paths: dict[str, State] = {}
        self._other: State | None = None
        self.members: dict[tuple[str, ...], tuple[State, ...]] = {}
        """By all names of a map: most maps have those of one before."""
        self._digits = any(name.isdigit() for node in nodes for name in node.named)
        self.best = best
        """The first rule that holds for everything here and below."""
        self.leaf = min([best, *(node.here for node in nodes)])
        """The rule for a field that is here."""
        live = any(node.least < best and (node.named or node.any) for node in nodes)
        self.below = None if live else best
        """The rule for every field below, or None where that depends."""
        self.leaf_set = make.set_of(self.leaf)
        self.below_set = None if live else make.set_of(best)
        """The numbers of their sets of permissions."""

    def learn(self, names: tuple[str, ...]) -> tuple[State, ...]:
        """Return the states of all members of a map, and remember them in `members`.

        Raises:
            TypeError: If a name is not text.
        """
        if {*map(type, names)} != _TEXT:
            raise TypeError("a name that is not text")
        states = tuple(map(self.child, names))
        if sum(map(len, names)) <= _NAMES:
            self._make.keep()
            self.members[names] = states
        return states

    def forget(self) -> None:
        """Forget the states of what is below."""
        self._paths, self.members, self._other = {}, {}, None

    def items(self, count: int) -> Iterable[State]:
        """Return the states of the items of a list."""
        if self._digits:
            return [self.child(str(index)) for index in range(count)]
        return repeat(self.other, count)

    def child(self, name: str) -> State:
        """Return the state of a member, or of an item by its index as text."""
        known = self._paths.get(name)
        if known is None:
            if any(name in node.named for node in self._nodes):
                known = self._paths[name] = self._make.step(self._nodes, self.best, name)
            else:
                known = self.other
        return known

    @property
    def other(self) -> State:
        """The state of whatever no pattern names."""
        known = self._other
        if known is None:
            known = self._other = self._make.step(self._nodes, self.best, None)
        return known


class _States:
    """Makes states, each once, and bounds what they remember."""

    def __init__(self, root: _Node, sets: tuple[int, ...]) -> None:
        self._sets = sets
        self._known: dict[tuple[tuple[int, ...], int], State] = {}
        self._kept = 0
        self.start = self.make([root], NO_RULE)

    def set_of(self, rule: int) -> int:
        """Return the number of a rule's set of permissions."""
        return DENIED if rule == NO_RULE else self._sets[rule]

    def keep(self) -> None:
        """Count what is remembered; at so many, forget all, which is made again."""
        self._kept += 1
        if self._kept > _STATES:
            self._kept = 0
            self._known = {}
            self.start.forget()

    def make(self, nodes: Iterable[_Node], best: int) -> State:
        live = tuple(nodes)
        best = min([best, *(node.below for node in live)])
        live = tuple(node for node in live if node.least < best)
        key = tuple(node.number for node in live), best
        state = self._known.get(key)
        if state is None:
            state = State(self, live, best)
            if self._known:  # the first is where every document begins
                self.keep()
            self._known[key] = state
        return state

    def step(self, nodes: tuple[_Node, ...], best: int, name: str | None) -> State:
        following = [node.named[name] for node in nodes if name is not None and name in node.named]
        following += [node.any for node in nodes if node.any is not None]
        return self.make(following, best)


def _tree(patterns: Sequence[str]) -> _Node:
    """Build the tree of patterns."""
    root, count = _Node(0), 1
    for number, pattern in enumerate(patterns):
        node, path = root, [root]
        below = False
        for name, wildcard in parse_pattern(pattern):
            if wildcard and name == BELOW:
                below = True
                break
            following = node.any if wildcard and name == ANY else node.named.get(name)
            if following is None:
                following = _Node(count)
                count += 1
                if wildcard:
                    node.any = following
                else:
                    node.named[name] = following
            node = following
            path.append(node)
        if below:
            node.below = min(node.below, number)
        else:
            node.here = min(node.here, number)
        for each in path:
            each.least = min(each.least, number)
    return root


def compile_patterns(patterns: Sequence[str], sets: tuple[int, ...]) -> State:
    """Return the state of a document's root.

    Args:
        patterns: Of each rule.
        sets: Of each rule the number of its set of permissions.
    """
    return _States(_tree(patterns), sets).start

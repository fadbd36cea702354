"""Policies: which permissions may read which field (spec, "Policy").

A policy is compiled once into a tree of patterns, and while documents are split, step by step, into
states: a state is all the patterns that can still match below a place. There are few, they are
remembered, and each says at once what a name leads to; so that matching does not grow with the
number of rules, and a subtree about which all patterns agree is not looked into at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from xkeymsg.errors import LimitExceededError, PolicyError
from xkeymsg.fields.annotations import rules_of
from xkeymsg.fields.pattern import ANY, BELOW, parse_pattern, pointer
from xkeymsg.limits import Limits

__all__ = ("NO_RULE", "Decision", "Policy", "Rule", "State")

NO_RULE: Final = 1 << 30
"""In the place of a rule's number where none matches."""

_PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
_STATES: Final = 10_000
_CONTAINERS: Final = {dict, list}


class Rule(NamedTuple):
    """A pattern, and who may read what it matches."""

    pattern: str
    permissions: tuple[str, ...]


class Decision(NamedTuple):
    """What a policy says of one field."""

    pointer: str
    rule: int
    """Counted from 1."""
    pattern: str
    permissions: tuple[str, ...]


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

    __slots__ = ("_make", "_nodes", "_other", "_paths", "below", "best", "leaf")

    def __init__(self, make: _States, nodes: tuple[_Node, ...], best: int) -> None:
        self._make = make
        self._nodes = nodes
        self._paths: dict[str, State] = {}
        self._other: State | None = None
        self.best = best
        """The first rule that holds for everything here and below."""
        self.leaf = min([best, *(node.here for node in nodes)])
        """The rule for a field that is here."""
        live = any(node.least < best and (node.named or node.any) for node in nodes)
        self.below = None if live else best
        """The rule for every field below, or None where that depends."""

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
        if self._other is None:
            self._other = self._make.step(self._nodes, self.best, None)
        return self._other

    @property
    def names(self) -> set[str]:
        """The names that patterns have for what is below."""
        return {name for node in self._nodes for name in node.named}


class _States:
    """Makes states, each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], int], State] = {}

    def make(self, nodes: Iterable[_Node], best: int) -> State:
        live = tuple(nodes)
        best = min([best, *(node.below for node in live)])
        live = tuple(node for node in live if node.least < best)
        key = tuple(node.number for node in live), best
        state = self._known.get(key)
        if state is None:
            if len(self._known) >= _STATES:  # forgotten and made again: never unbounded
                self._known = {}
            state = self._known[key] = State(self, live, best)
        return state

    def step(self, nodes: tuple[_Node, ...], best: int, name: str | None) -> State:
        following = [node.named[name] for node in nodes if name is not None and name in node.named]
        following += [node.any for node in nodes if node.any is not None]
        return self.make(following, best)


class Policy:
    """Ordered rules, pattern to permissions; the first that matches a field decides.

        policy = Policy([("/patient/name", ["clinic", "billing"]), ("/**", ["clinic"])])

    Immutable; made once and used for every document. Thread-safe.
    """

    def __init__(
        self,
        rules: Iterable[tuple[str, Iterable[str]]],
        *,
        allow_unread: Iterable[str] = (),
    ) -> None:
        """Take the rules.

        Args:
            rules: Patterns, each with the permissions that may read what it matches.
            allow_unread: Permissions that may be without readers.

        Raises:
            PolicyError: If a pattern or a permission is none, or a rule has no permission.
        """
        self.rules = tuple(_rule(number, rule) for number, rule in enumerate(rules, 1))
        self.permissions = frozenset(each for rule in self.rules for each in rule.permissions)
        """Every permission that the policy names."""
        self.allow_unread = frozenset(allow_unread)
        if not self.rules:
            raise PolicyError("a policy without rules")
        unknown = sorted(self.allow_unread - self.permissions)
        if unknown:
            raise PolicyError(f"allow_unread names {unknown[0]!r}, which no rule does")
        sets = {frozenset(rule.permissions): None for rule in self.rules}
        self.sets = tuple(sets)
        """The distinct sets of permissions."""
        self.set_of = tuple(self.sets.index(frozenset(rule.permissions)) for rule in self.rules)
        """By rule, from 0: the number of its set."""
        root = _compile(self.rules)
        self.start = _States().make([root], NO_RULE)
        """The state of a document's root."""

    @classmethod
    def of(cls, model: type, *, allow_unread: Iterable[str] = ()) -> Self:
        """Return what the `Readers` in the annotations of a model say.

        Raises:
            PolicyError: If a field has none, or the model cannot be used; names the field.
        """
        return cls(rules_of(model), allow_unread=allow_unread)

    def readers_of(self, pointer: str) -> tuple[str, ...]:
        """Return the permissions that may read the field at a pointer, or none.

        Raises:
            PolicyError: If it is no pointer.
        """
        state = self.start
        for name, wildcard in parse_pattern(pointer):
            if wildcard:
                raise PolicyError(f"{pointer!r} is a pattern and no pointer")
            state = state.child(name)
        return () if state.leaf == NO_RULE else self.rules[state.leaf].permissions

    def explain(self, document: Any, limits: Limits | None = None) -> list[Decision]:
        """Say for each field of a document, in its order, which rule decides, and for whom.

        A field that no rule matches has rule 0, and nobody.

        Raises:
            LimitExceededError: If it is too deep, as a cycle is, or too large to be sealed.
        """
        limits = limits or Limits()
        decisions, nodes = [], 0
        open_: list[tuple[tuple[str | int, ...], Any, State]] = [((), document, self.start)]
        while open_:
            path, value, state = open_.pop()
            items: list[tuple[str | int, Any]] = []
            if type(value) is dict:
                items = list(value.items())
            elif type(value) is list:
                items = list(enumerate(value))
            nodes += len(items)
            if nodes > limits.nodes:
                raise LimitExceededError("number of values", nodes, limits.nodes)
            if len(path) >= limits.depth and type(value) in _CONTAINERS:
                raise LimitExceededError("depth of a document", len(path) + 1, limits.depth)
            for segment, item in reversed(items):
                open_.append(((*path, segment), item, state.child(str(segment))))
            if not items:
                decisions.append(self._decide(path, state.leaf))
        return decisions

    def _decide(self, path: tuple[str | int, ...], rule: int) -> Decision:
        if rule == NO_RULE:
            return Decision(pointer(path), 0, "", ())
        return Decision(pointer(path), rule + 1, *self.rules[rule])

    def unreachable(self) -> tuple[int, ...]:
        """Return the rules, counted from 1, that can never match: rules before them do.

        Exact: every state that any document can lead to is looked at.
        """
        reached, seen, open_ = set[int](), {id(self.start)}, [self.start]
        keep = [self.start]
        while open_:
            state = open_.pop()
            reached.add(state.leaf)
            following = [*map(state.child, sorted(state.names)), state.other]
            for each in following:
                if id(each) not in seen:
                    seen.add(id(each))
                    keep.append(each)
                    open_.append(each)
        return tuple(number + 1 for number in range(len(self.rules)) if number not in reached)

    def lint(self, readers: Mapping[str, object] | None = None) -> list[str]:
        """Return what is questionable: rules that no field can reach, permissions nobody holds."""
        said = [
            f"rule {number} ({self.rules[number - 1].pattern!r}) can never match: "
            "rules before it do"
            for number in self.unreachable()
        ]
        if readers is not None:
            held = {name for name, keys in readers.items() if keys}
            said += [
                f"permission {name!r} has no readers"
                for name in sorted(self.permissions - held - self.allow_unread)
            ]
        return said

    def __repr__(self) -> str:
        return f"<Policy of {len(self.rules)} rules>"


def _rule(number: int, rule: tuple[str, Iterable[str]]) -> Rule:
    pattern, permissions = rule
    try:
        parse_pattern(pattern)
    except PolicyError as error:
        raise PolicyError(f"rule {number}: {error}") from None
    if isinstance(permissions, str):
        raise PolicyError(f"rule {number}: permissions are a list of texts")
    names: tuple[Any, ...] = tuple(dict.fromkeys(permissions))
    for name in names:
        if not isinstance(name, str) or not _PERMISSION.fullmatch(name):
            raise PolicyError(f"rule {number}: {name!r} is no permission: a-z 0-9 . _ -")
    if not names:
        raise PolicyError(f"rule {number}: a rule without permissions")
    return Rule(pattern, names)


def _compile(rules: tuple[Rule, ...]) -> _Node:
    """Build the tree of patterns."""
    root, count = _Node(0), 1
    for number, rule in enumerate(rules):
        node, path = root, [root]
        below = False
        for name, wildcard in parse_pattern(rule.pattern):
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

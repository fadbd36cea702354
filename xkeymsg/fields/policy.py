"""Policies: which permissions may read which field (spec, "Policy")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

from xkeymsg.errors import LimitExceededError, PolicyError
from xkeymsg.fields.matching import NO_RULE, State, compile_patterns
from xkeymsg.fields.pattern import BELOW, parse_pattern, pointer
from xkeymsg.limits import Limits
from xkeymsg.models.annotations import rules_of
from xkeymsg.refusals import refusing
from xkeymsg.shown import SafeRepr

__all__ = ("PERMISSION", "Decision", "Policy", "Rule")

PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
"""What permissions may be called."""

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


class Policy(SafeRepr):
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
        held = [frozenset(rule.permissions) for rule in self.rules]
        numbers = {each: number for number, each in enumerate(dict.fromkeys(held))}
        self.sets = tuple(numbers)
        """The distinct sets of permissions."""
        self.set_of = tuple(numbers[each] for each in held)
        """By rule, from 0: the number of its set."""
        self.start = compile_patterns([rule.pattern for rule in self.rules], self.set_of)
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

    @refusing
    def explain(self, document: Any, limits: Limits | None = None) -> list[Decision]:
        """Say for each field of a document, in its order, which rule decides, and for whom.

        A field that no rule matches has rule 0, and nobody.

        Raises:
            LimitExceededError: If it is too deep, as a cycle is, or too large to be sealed.
        """
        return [self._decide(*each) for each in self.walk(document, limits or Limits())]

    def walk(self, document: Any, limits: Limits) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Yield the path of each field of a document, in its order, and the rule for it.

        Raises:
            LimitExceededError: As `explain`.
        """
        nodes = 0
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
                yield path, state.leaf

    def _decide(self, path: tuple[str | int, ...], rule: int) -> Decision:
        if rule == NO_RULE:
            return Decision(pointer(path), 0, "", ())
        return Decision(pointer(path), rule + 1, *self.rules[rule])

    def unreachable(self) -> tuple[int, ...]:
        """Return the rules, counted from 1, that can never match: rules before them do.

        Exact: where no field with a name of its own in the place of each `*` reaches a rule, none
        does. A rule that takes such a field has `*` or `**` there itself, and takes all others.
        """
        longest = 1 + max(len(parse_pattern(rule.pattern)) for rule in self.rules)
        return tuple(
            number
            for number, rule in enumerate(self.rules, 1)
            if number - 1 not in self._leaves(parse_pattern(rule.pattern), longest)
        )

    def _leaves(self, pattern: tuple[tuple[str, bool], ...], longest: int) -> Iterator[int]:
        """Yield, for each length up to `longest`, the rule for a field that a pattern matches.

        Its name is one that no pattern has wherever the pattern leaves that open.
        """
        state = self.start
        for name, wildcard in pattern:
            if wildcard and name == BELOW:
                break
            state = state.other if wildcard else state.child(name)
        else:
            yield state.leaf
            return
        for _ in range(longest):
            yield state.leaf
            if state.below is not None:
                yield state.below
                return
            state = state.other

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
        if not isinstance(name, str) or not PERMISSION.fullmatch(name):
            raise PolicyError(f"rule {number}: {name!r} is no permission: a-z 0-9 . _ -")
    if not names:
        raise PolicyError(f"rule {number}: a rule without permissions")
    return Rule(pattern, names)

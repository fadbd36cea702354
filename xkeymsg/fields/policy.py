"""Policies, which assign permissions to the fields of a document (spec, "Policy")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from json import dumps
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from xkeymsg.display import SafeRepr, cut
from xkeymsg.errors import FieldAmbiguousError, LimitExceededError, PolicyError
from xkeymsg.faults import check
from xkeymsg.fields.files import check_permissions, parse_policy
from xkeymsg.fields.matching import DENIED, NO_PATTERN, State, States
from xkeymsg.fields.pattern import EMPTY, Segment, parse_pattern, pointer
from xkeymsg.files import read_text
from xkeymsg.limits import Limits
from xkeymsg.models.annotations import rules_of
from xkeymsg.places import Path as Place
from xkeymsg.places import items_of, short_pointer
from xkeymsg.refusals import refusing
from xkeymsg.spelling import quoted
from xkeymsg.text import masked, path_text

__all__ = ("Decision", "Policy", "Rule")

_NAMED: Final = 5
"""Maximum number of hiding rules that an error names."""


class Rule(NamedTuple):
    """Patterns, and the permissions that may read the fields they match."""

    patterns: tuple[str, ...]
    permissions: tuple[str, ...]


class Decision(NamedTuple):
    """The decision of a policy about one field."""

    pointer: str
    rule: int
    """Counted from 1."""
    pattern: str
    permissions: tuple[str, ...]


class Policy(SafeRepr):
    """Ordered rules from pattern to permissions; the first rule that matches a field decides.

        policy = Policy([("/patient/name", ["clinic", "billing"]), ("", ["clinic"])])
        policy = Policy.load("policy.toml")

    A pattern covers its place and everything below. Immutable and thread-safe; create it once and
    use it for every document.
    """

    @refusing
    def __init__(
        self,
        rules: Iterable[tuple[str | Sequence[str], Iterable[str]]],
        *,
        allow_unread: Iterable[str] = (),
        _model: bool = False,
    ) -> None:
        """Compile the rules.

        Args:
            rules: Pairs of a pattern, or several, and the permissions that may read its fields.
            allow_unread: Permissions that do not need a reader.
            _model: Whether to allow rules without permissions, whose fields are refused, and
                patterns that end in "[]", which cover their place only if it is empty.

        Raises:
            PolicyError: If a pattern or permission is invalid, a rule has no permission, or a
                pattern can never match; names the rule.
        """
        parsed = [
            _rule(number, pattern, permissions, model=_model)
            for number, (pattern, permissions) in enumerate(rules, 1)
        ]
        self.rules = tuple([rule for rule, _ in parsed])
        self.permissions = frozenset(each for rule in self.rules for each in rule.permissions)
        """All permissions in the policy."""
        self.allow_unread = frozenset(check_permissions(allow_unread, "allow_unread"))
        if not self.rules:
            raise PolicyError("a policy requires at least one rule")
        unknown = sorted(self.allow_unread - self.permissions)
        if unknown:
            raise PolicyError(f"allow_unread names {cut(unknown[0])!r}, but no rule does")
        held = [frozenset(rule.permissions) for rule in self.rules]
        numbers = {each: number for number, each in enumerate(dict.fromkeys(filter(None, held)))}
        self.sets = tuple(numbers)
        """The distinct sets of permissions."""
        self._patterns = [
            (number, text) for number, rule in enumerate(self.rules, 1) for text in rule.patterns
        ]
        patterns = [segments for _, patterns in parsed for segments in patterns]
        sets = [numbers.get(held[number - 1], DENIED) for number, _ in self._patterns]
        self.start = States(patterns, sets).start
        """The state of a document's root."""
        self._longest = max(map(len, patterns))
        for number, segments in enumerate(patterns):
            self._refuse_dead(number, segments)

    @classmethod
    @refusing
    def load(cls, path: str | Path) -> Self:
        """Load a policy file, which must not be world-writable; other modes are accepted.

        Raises:
            PolicyError: If it cannot be read or is invalid; names the file, line and rule.
        """
        return cls.parse(read_text(Path(path), PolicyError), source=path_text(path))

    @classmethod
    @refusing
    def parse(cls, text: str, source: str = "policy") -> Self:
        """Parse a policy in TOML.

        Raises:
            PolicyError: If it is invalid; names `source`, the line and the rule (F-37, F-39).
        """
        file = parse_policy(text, source)
        try:
            return cls(file.rules, allow_unread=file.allow_unread)
        except PolicyError as error:
            raise file.located(error) from None

    @classmethod
    def of(cls, model: type, *, allow_unread: Iterable[str] = ()) -> Self:
        """Return the policy given by the `Readers` annotations of a model.

        Raises:
            PolicyError: If a field has no `Readers`, or could hold values that cannot be sealed and
                read back; names the field.
            TypeError: If it is not a dataclass, pydantic model or msgspec Struct.
        """
        return cls(rules_of(model), allow_unread=allow_unread, _model=True)

    def readers_of(self, pointer: str) -> tuple[str, ...]:
        """Return the permissions that may read the field at a pointer; empty if no rule matches.

        Filters in the pointer give members of the maps on its path: `/telecom/0[system="email"]`.
        Names are taken as written, even if sealing would refuse them as look-alikes (F-64).

        Raises:
            PolicyError: If it is not a valid pointer, or a filter cannot be decided.
        """
        segments = parse_pattern(pointer)
        if any(segment.name is None for segment in segments):
            raise PolicyError(f"{quoted(pointer)} is a pattern, not a pointer")
        for state in self.reach(segments):
            return self.decide((), state.rule).permissions
        raise PolicyError(f"{quoted(pointer)}: a filter of the policy cannot be decided there")

    @refusing
    def explain(self, document: Any, limits: Limits | None = None) -> list[Decision]:
        """Return the deciding rule and the readers of each field, in document order.

        A field that no rule matches has rule 0 and no permissions.

        Raises:
            FieldAmbiguousError: If a name looks like one in a pattern, or a filter cannot be
                decided, so that the document could not be sealed.
            MalformedError: If the document holds an unsupported value.
            LimitExceededError: If it is too large to be sealed, or too deep (for example, a cycle).
        """
        limits = limits or Limits()
        check(document, limits)
        return [self.decide(path, state.rule) for path, state in self.walk(document, limits)]

    def walk(self, document: Any, limits: Limits) -> Iterator[tuple[tuple[str | int, ...], State]]:
        """Yield the path and state of each field, in document order.

        `faults.check` must have accepted the document.

        Raises:
            FieldAmbiguousError: As for `explain`.
            LimitExceededError: If look-alikes require more comparisons than `limits.nodes`.
        """
        compared = 0
        open_: list[tuple[tuple[str | int, ...], Any, State]] = [((), document, self.start)]
        while open_:
            path, value, state = open_.pop()
            items = items_of(value)
            state = state.settle(value, path)
            for segment, item in items:
                for _ in self._refuse_twins((*path, segment), item, state):
                    compared += 1
                    if compared > limits.nodes:
                        raise LimitExceededError("look-alikes", compared, limits.nodes)
            for segment, item in reversed(items):
                open_.append(((*path, segment), item, state.child(str(segment))))
            if not items:
                yield path, state

    def _refuse_twins(self, path: Place, value: Any, above: State) -> Iterator[None]:
        """Refuse a name that looks like one in a pattern with other readers (F-64).

        Yields once for each value that it compares.
        """
        name = str(path[-1])
        for twin in above.twins(name):
            for differs in _compare(above.child(name), above.child(twin), value):
                if differs:
                    names = f"{dumps(cut(masked(name)))} looks like {dumps(cut(masked(twin)))} of "
                    names += f"{self._named(above.first(twin))}, which has other readers"
                    raise FieldAmbiguousError(short_pointer(path), names)
                yield

    def decide(self, path: Iterable[str | int], pattern: int) -> Decision:
        """Return the decision of the pattern with this number about a place."""
        if pattern == NO_PATTERN:
            return Decision(pointer(path), 0, "", ())
        number, text = self._patterns[pattern]
        return Decision(pointer(path), number, text, self.rules[number - 1].permissions)

    def reach(
        self, segments: Sequence[Segment], start: State | None = None, at: int = 0
    ) -> Iterator[State]:
        """Yield states of places that a pattern matches, and as few other patterns as possible.

        Names that the pattern leaves open are in no pattern, maps hold only the members that its
        filters require, and `**` stands for 0, 1 and more segments, up to one more than matters.
        Yields nothing if the filters contradict each other, or an earlier one is undecided.
        """
        state = start or self.start
        for number in range(at, len(segments)):
            name, filters, deep = segments[number]
            if deep:
                for _ in range(self._longest + 2):
                    yield from self.reach(segments, state, number + 1)
                    state = state.other.settle({})
                return
            state = state.other if name is None else state.child(name)
            filters -= {EMPTY}  # an empty map passes it
            wanted = {each.name: each.value for each in filters}
            rest = segments[number + 1 : number + 3]
            is_scalar = bool(rest) and rest[0].name in wanted
            if len(wanted) < len(filters) or (is_scalar and (rest[0].filters or rest[1:])):
                return  # a member has one value, and a scalar no members
            try:
                state = state.settle(wanted)
            except FieldAmbiguousError:
                return
        yield state

    def _refuse_dead(self, number: int, segments: Sequence[Segment]) -> None:
        """Refuse a pattern that can never match, because earlier ones hide it (F-62).

        Exact: a pattern that matches all places of `reach` has `*` or `**` where names are open,
        and requires no more members, so it matches every place that this one does.
        """
        hiding = dict[int, None]()
        for state in self.reach(segments):
            if state.rule == number:
                return
            hiding[state.rule] = None
        reason = f"hidden by {', '.join(map(self._named, islice(hiding, _NAMED)))}"
        if not hiding:
            reason = "its filters contradict each other or those of earlier rules"
        rule, text = self._patterns[number]
        earlier = [self._patterns[each] for each in hiding]
        if any(one < rule and same == text for one, same in earlier):
            reason += "; only the first matching rule applies: list all readers in it"
        raise PolicyError(f"rule {rule}: {quoted(text)} can never match: {reason}")

    def _named(self, pattern: int) -> str:
        number, text = self._patterns[pattern]
        return f"rule {number} ({quoted(text)})"

    def __repr__(self) -> str:
        return f"<Policy of {len(self.rules)} rules>"


def _compare(one: State, other: State, value: Any) -> Iterator[bool]:
    """Yield for each nested value whether its readers differ between the two states."""
    left = [(one, other, value)]
    while left:
        *states, value = left.pop()
        first, second = (_settled(state, value) for state in states)
        if first is None or second is None:
            yield first is not second
            continue
        items = items_of(value) if first is not second else ()
        if not items or (first.below_set is not None and second.below_set is not None):
            yield first.leaf_set != second.leaf_set
            continue
        yield False
        left += [(first.child(str(name)), second.child(str(name)), item) for name, item in items]


def _settled(state: State, value: Any) -> State | None:
    try:
        return state.settle(value)
    except FieldAmbiguousError:
        return None


def _rule(
    number: int, pattern: str | Sequence[str], permissions: Iterable[str], *, model: bool
) -> tuple[Rule, list[tuple[Segment, ...]]]:
    patterns = tuple(pattern) if isinstance(pattern, list | tuple) else (pattern,)
    try:
        parsed = [_parse(each, model=model) for each in patterns]
    except PolicyError as error:
        raise PolicyError(f"rule {number}: {error}") from None
    if not patterns:
        raise PolicyError(f"rule {number}: a rule requires a pattern")
    names = check_permissions(permissions, f"rule {number}")
    if not names and not model:
        raise PolicyError(f"rule {number}: a rule requires at least one permission")
    return Rule(patterns, names), parsed


def _parse(pattern: str, *, model: bool) -> tuple[Segment, ...]:
    if model and pattern.endswith("[]"):
        *above, last = parse_pattern(pattern[:-2])
        return (*above, last._replace(filters=frozenset({EMPTY})))
    return parse_pattern(pattern)

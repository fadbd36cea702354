"""Who can read what: each subject, its patterns, and the services that may read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.config import SubjectSection
from xkeymsg.cli.console.people import People
from xkeymsg.cli.covering import PatternOf, contains, patterns_of
from xkeymsg.cli.matrix import Column, Matrix, make_matrix
from xkeymsg.client.threads import in_thread
from xkeymsg.errors import PolicyError, XKeyMsgError
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("Access", "AccessChange", "AccessComparison", "Accesses", "ReadingService", "compare")

_MOST: Final = 300
"""Patterns of both policies that are compared."""
_EVERY: Final = 3.0
"""Seconds between two looks at the policies."""
_LONGEST: Final = 5.0
"""Seconds for a comparison."""


class ReadingService(NamedTuple):
    """Readers with the same permissions, by name."""

    names: tuple[str, ...]
    permissions: tuple[str, ...]


class Access(NamedTuple):
    """Who can read messages on a subject."""

    subject: str
    policy: str
    """The file of the policy; empty without one."""
    matrix: Matrix | None
    """Patterns against groups of readers; None without a policy."""
    services: tuple[ReadingService, ...]
    """The readers of each column of the matrix; or the recipients of whole messages."""
    problems: tuple[str, ...]


class AccessChange(NamedTuple):
    """What another policy changes about the places of a pattern."""

    pattern: str
    before: tuple[str, ...]
    """Permissions; empty if no rule matches."""
    after: tuple[str, ...]
    gains: tuple[str, ...]
    """The services that may read it only afterwards."""
    loses: tuple[str, ...]
    is_denied_before: bool
    is_denied_after: bool


class AccessComparison(NamedTuple):
    """What another policy changes."""

    changes: tuple[AccessChange, ...]
    same: int
    """The number of patterns for which nothing changes."""
    findings: tuple[str, ...]
    """Findings of `lint` in the other policy."""


def _holders_of(
    policy: Policy, section: SubjectSection, people: People
) -> tuple[dict[str, tuple[Recipient, ...]], list[str]]:
    """Return the holders of each permission of a policy, as the sender does, and what is wrong."""
    holders, problems = {}, []
    for permission in sorted(policy.permissions):
        names = section.readers.get(permission, ())
        if not section.readers:
            names = (PERMISSION + permission,)
        found, faults = people.resolve(names)
        holders[permission] = tuple(dict.fromkeys((*found, *people.always_to()))) if found else ()
        problems += faults if permission not in policy.allow_unread else []
    return holders, problems


def _read(section: SubjectSection, people: People) -> Access:
    """Return who can read the messages on a subject."""
    if section.policy is None:
        found, problems = people.resolve(section.recipients)
        names = {people.name_of_reader(each) for each in (*found, *people.always_to())}
        whole = ReadingService(tuple(sorted(names)), ())
        return Access(section.subject, "", None, (whole,), tuple(problems))
    try:
        policy = Policy.load(section.policy)
        holders, problems = _holders_of(policy, section, people)
        matrix = make_matrix(policy, None, holders)
    except XKeyMsgError as error:
        fault = (str(error)[:500],)
        return Access(section.subject, str(section.policy), None, (), fault)
    services = tuple(_service(column, people) for column in matrix.columns)
    return Access(section.subject, str(section.policy), matrix, services, tuple(problems))


def _service(column: Column, people: People) -> ReadingService:
    names = tuple(sorted(set(map(people.name_of_reader, column.readers))))
    return ReadingService(names, column.permissions)


def compare(
    before: Policy, after: Policy, section: SubjectSection, people: People
) -> AccessComparison:
    """Compare two policies: for each pattern of either, who may read the places that it matches.

    A pattern stands for what it matches and no more special pattern before it does: that one has a
    line of its own.

    Raises:
        PolicyError: If they have too many patterns.
    """
    end = monotonic() + _LONGEST
    old, new = patterns_of(before), patterns_of(after)
    if len(old) + len(new) > _MOST:
        raise PolicyError(f"{len(old)} and {len(new)} patterns: at most {_MOST} can be compared")
    names = {
        permission: {people.name_of_reader(each) for each in found}
        for policy in (before, after)
        for permission, found in _holders_of(policy, section, people)[0].items()
    }
    changes, same = [], 0
    unique = {each.text: each for each in (*new, *old)}
    for pattern in unique.values():
        was, will = _deciding(old, pattern, end), _deciding(new, pattern, end)
        one, other = _permissions(was), _permissions(will)
        if one == other:
            same += 1
            continue
        readers, later = _readers(one, names), _readers(other, names)
        gains, loses = tuple(sorted(later - readers)), tuple(sorted(readers - later))
        changes.append(
            AccessChange(pattern.text, one, other, gains, loses, was is None, will is None)
        )
    found = make_matrix(after, None, _holders_of(after, section, people)[0]).findings
    return AccessComparison(tuple(changes), same, found)


def _deciding(patterns: Sequence[PatternOf], inner: PatternOf, end: float) -> PatternOf | None:
    """Return the first pattern that matches everything that another one does."""
    for each in patterns:
        if monotonic() > end:
            raise PolicyError(f"the policies take more than {_LONGEST:g} s to compare")
        if each.text == inner.text or contains(each, inner):
            return each
    return None


def _permissions(pattern: PatternOf | None) -> tuple[str, ...]:
    return () if pattern is None else tuple(sorted(pattern.readers))


def _readers(permissions: Sequence[str], names: Mapping[str, set[str]]) -> set[str]:
    return set().union(*(names.get(each, set()) for each in permissions))


class Accesses:
    """Who can read what on all configured subjects, kept current.

    Args:
        sections: The subjects.
        people: Who holds which permissions.
        changes: Is told about changes of the page `/`.
    """

    def __init__(
        self, sections: Sequence[SubjectSection], people: People, changes: Changes
    ) -> None:
        self._sections, self._people, self._changes = sections, people, changes
        self._is_comparing = False
        self.all: list[Access] = []
        self.comparisons: dict[str, AccessComparison | str] = {}
        """By subject, what the configured other policies change, or why that is unknown."""

    @property
    def subjects(self) -> list[str]:
        """The subjects with a policy."""
        return [each.subject for each in self._sections if each.policy is not None]

    async def run(self) -> None:
        """Read the policies until cancelled."""
        while True:
            found, compared = await in_thread(self._read_all)
            if (found, compared) != (self.all, self.comparisons):
                self.all, self.comparisons = found, compared
                self._changes.note("/")
            await asyncio.sleep(_EVERY)

    def _read_all(self) -> tuple[list[Access], dict[str, AccessComparison | str]]:
        found = [_read(each, self._people) for each in self._sections]
        compared = {}
        for each in self._sections:
            if each.compare is not None:
                compared[each.subject] = self._compare(each, partial(Policy.load, each.compare))
        return found, compared

    async def compare_text(self, subject: str, text: str) -> AccessComparison | str:
        """Compare the policy of a subject with that in a text; return why if that fails.

        One comparison runs at a time; another one is refused meanwhile.
        """
        section = next((each for each in self._sections if each.subject == subject), None)
        if section is None or section.policy is None:
            return "choose a subject with a policy"
        if self._is_comparing:
            return "another comparison is running: try again"
        self._is_comparing = True
        try:
            return await in_thread(
                self._compare, section, partial(Policy.parse, text, source="the other policy")
            )
        finally:
            self._is_comparing = False

    def _compare(
        self, section: SubjectSection, other: Callable[[], Policy]
    ) -> AccessComparison | str:
        try:
            assert section.policy is not None  # noqa: S101 - checked by the callers
            return compare(Policy.load(section.policy), other(), section, self._people)
        except XKeyMsgError as error:
            return str(error)[:500]

"""Who can read what: each subject, its patterns, and the services that may read them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.config import SubjectSection
from xkeymsg.cli.console.differences import differences
from xkeymsg.cli.console.people import People
from xkeymsg.cli.matrix import Column, Matrix, make_matrix
from xkeymsg.client.threads import in_thread
from xkeymsg.errors import XKeyMsgError
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Recipient
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("Access", "AccessChange", "AccessComparison", "Accesses", "ReadingService", "compare")

_MOST_ROWS: Final = 1000
_MOST_SERVICES: Final = 40
"""Rows and columns of a table."""
_MOST_TEXT: Final = 1 << 17
"""Characters of a policy in the form."""
_PART: Final = r"""(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|(?<![\w-])[\w-]++)"""
_DEEP: Final = re.compile(rf"(?:{_PART}[ \t]*+\.[ \t]*+){{32}}")
"""Finds a key of many parts, for which `tomllib` needs time that grows with their cube."""
_EVERY: Final = 3.0
"""Seconds between two looks at the policies."""


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
    """What another policy changes about some places."""

    patterns: tuple[str, ...]
    """One pattern, or two where both match."""
    before: tuple[str, ...] | None
    """Permissions; None if no rule matches."""
    after: tuple[str, ...] | None
    gains: tuple[str, ...]
    """The services that may read it only afterwards."""
    loses: tuple[str, ...]


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
    if len(matrix.rows) > _MOST_ROWS or len(matrix.columns) > _MOST_SERVICES:
        size = f"{len(matrix.rows)} patterns and {len(matrix.columns)} groups of services"
        problems.append(f"{size}: only the first {_MOST_ROWS} and {_MOST_SERVICES} are shown")
        rows, columns = matrix.rows[:_MOST_ROWS], matrix.columns[:_MOST_SERVICES]
        matrix = matrix._replace(rows=rows, columns=columns)
    services = tuple(_service(column, people) for column in matrix.columns)
    return Access(section.subject, str(section.policy), matrix, services, tuple(problems))


def _service(column: Column, people: People) -> ReadingService:
    names = tuple(sorted(set(map(people.name_of_reader, column.readers))))
    return ReadingService(names, column.permissions)


def compare(
    before: Policy, after: Policy, section: SubjectSection, people: People
) -> AccessComparison:
    """Compare two policies: who gains or loses access, and where.

    Raises:
        PolicyError: If they have too many patterns.
    """
    found, same = differences(before, after)
    names = {
        permission: {people.name_of_reader(each) for each in holders}
        for policy in (before, after)
        for permission, holders in _holders_of(policy, section, people)[0].items()
    }
    changes = []
    for patterns, was, will in found:
        readers, later = _readers(was or (), names), _readers(will or (), names)
        gains, loses = tuple(sorted(later - readers)), tuple(sorted(readers - later))
        changes.append(AccessChange(patterns, was, will, gains, loses))
    lint = make_matrix(after, None, _holders_of(after, section, people)[0]).findings
    return AccessComparison(tuple(changes), same, lint)


def _readers(permissions: Sequence[str], names: Mapping[str, set[str]]) -> set[str]:
    return set().union(*(names.get(each, set()) for each in permissions))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Accesses:
    """Who can read what on all configured subjects, kept current.

    Args:
        sections: The subjects.
        people: Who holds which permissions.
        changes: Is notified of changes of the page `/`.
    """

    def __init__(
        self, sections: Sequence[SubjectSection], people: People, changes: Changes
    ) -> None:
        self._sections, self._people, self._changes = sections, people, changes
        self._is_comparing = False
        self._state: object = None
        self.has_read = False
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
            if not self.has_read or (found, compared) != (self.all, self.comparisons):
                self.all, self.comparisons, self.has_read = found, compared, True
                self._changes.note("/")
            await asyncio.sleep(_EVERY)

    def _read_all(self) -> tuple[list[Access], dict[str, AccessComparison | str]]:
        """Read all policies, unless neither they nor the people have changed."""
        files = [path for each in self._sections for path in (each.policy, each.compare) if path]
        state = [_content(path) for path in files], self._people.all, self._people.always_to()
        if state == self._state:
            return self.all, self.comparisons
        found = [_read(each, self._people) for each in self._sections]
        compared = {}
        for each in self._sections:
            if each.compare is not None:
                compared[each.subject] = self._compare(each, partial(Policy.load, each.compare))
        self._state = state  # not before: after an error, all are read again
        return found, compared

    async def compare_text(self, subject: str, text: str) -> AccessComparison | str:
        """Compare the policy of a subject with that in a text; return why if that fails.

        One comparison runs at a time; another one is refused meanwhile.
        """
        section = next((each for each in self._sections if each.subject == subject), None)
        if section is None or section.policy is None:
            return "choose a subject with a policy"
        if len(text) > _MOST_TEXT or _DEEP.search(text):
            return f"expected at most {_MOST_TEXT:,} characters, and keys of at most 32 parts"
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

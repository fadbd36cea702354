"""Rollback marks: the newest claims seen, so that nobody can bring back an older one.

The rules, T-11 to T-16 in docs/spec/trust.md:

- **Newest.** Among the claims about one subject by issuers that may issue it, those of unscoped
  issuers come before those of scoped ones: the holder of a scoped key must not displace another's
  user. Then the greatest `iat` counts. All claims of that `iat` count together; more than eight are
  refused (T-11).
- **A mark** is kept per subject *and issuer*: the greatest `iat` admitted. A claim below the
  greatest mark of an issuer that may *still* issue it, in the same order, is refused. Without the
  issuer, the thief of a signing key could mint newer claims for all users, and removing the key
  would lock out everybody (T-12).
- **No anchor is in a mark**: a new operator identity does not reset the marks of accounts (T-13).
- **Certificates** have one mark per user: the greatest `nbf` that has come. With a mark per xkey, a
  directory could show a retired, stolen xkey as the current one (T-14).
- **Merging** two sets of marks takes the maximum of each, so merging never forgets (T-15).
- **Clocks.** A mark in the future means that this clock is or was wrong: `ahead` names those
  subjects, and `forget` drops them on an administrator's order (T-16).

Marks are written only after a claim was admitted: `chain` reads them, and its results list the
claims seen, which the caller records before using the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from xkeymsg.errors import ConfigurationError, ConflictError, RollbackError

__all__ = ("Marks", "Seen")

_MOST_EQUALS: Final = 8
_KEY: Final = re.compile(r"[AOU][A-Z2-7]{55}")
_VERSION: Final = 1


class Seen(NamedTuple):
    """An admitted claim, to be recorded."""

    subject: str
    issuer: str
    issued: int


Candidate = TypeVar("Candidate")


class Marks:
    """The rollback marks of one reader. Not thread-safe; no I/O."""

    __slots__ = ("_certified", "_issued")

    def __init__(self) -> None:
        self._issued: dict[str, dict[str, int]] = {}
        self._certified: dict[str, int] = {}

    def newest(
        self,
        subject: str,
        candidates: Iterable[tuple[str, int, Candidate]],
        issuers: Mapping[str, bool],
    ) -> tuple[Candidate, ...]:
        """Return the claims about a subject that count.

        Args:
            subject: The key that the claims are about.
            candidates: Issuer, `iat` and claim; each issuer is one of `issuers`.
            issuers: The keys that may issue them now, and whether they are unscoped.

        Raises:
            ConflictError: If more than eight have the newest `iat`.
            RollbackError: If all are older than a claim admitted before.
        """
        newest = False, 0
        kept: list[Candidate] = []
        for issuer, mark in tuple(self._issued.get(subject, {}).items()):  # others may add
            if issuer in issuers:
                newest = max(newest, (issuers[issuer], mark))
        for issuer, issued, claim in candidates:
            rank = issuers[issuer], issued
            if rank > newest:
                newest, kept = rank, []
            if rank == newest:
                kept.append(claim)
        if not kept:
            raise RollbackError(f"{subject}: a newer claim was admitted before")
        if len(kept) > _MOST_EQUALS:
            raise ConflictError(f"{subject}: more than {_MOST_EQUALS} claims with the same `iat`")
        return tuple(kept)

    def admitted(self, claim: Seen) -> bool:
        """Return whether a claim, or a newer one by its issuer, was admitted before."""
        return claim.issued <= self._issued.get(claim.subject, {}).get(claim.issuer, 0)

    def certified(self, user: str) -> int:
        """Return the greatest `nbf` of a user's certificates that were current, or 0."""
        return self._certified.get(user, 0)

    def record(self, seen: Iterable[Seen]) -> bool:
        """Raise the marks of admitted claims; return whether any changed."""
        changed = False
        for subject, issuer, issued in seen:
            marks = self._issued.setdefault(subject, {})
            if issued > marks.get(issuer, 0):
                marks[issuer] = issued
                changed = True
        return changed

    def record_certificate(self, user: str, not_before: int) -> bool:
        """Raise the mark of a user's current certificate; return whether it changed."""
        if changed := not_before > self.certified(user):
            self._certified[user] = not_before
        return changed

    def merge(self, other: Marks) -> None:
        """Merge other marks: keep the maximum of each."""
        for subject, marks in other._issued.items():
            self.record(Seen(subject, issuer, issued) for issuer, issued in marks.items())
        for user, not_before in other._certified.items():
            self.record_certificate(user, not_before)

    def ahead(self, limit: int) -> tuple[str, ...]:
        """Return the subjects with a mark above `limit`, which is our clock plus the skew."""
        issued = {subject for subject, marks in self._issued.items() if max(marks.values()) > limit}
        certified = {user for user, mark in self._certified.items() if mark > limit}
        return tuple(sorted(issued | certified))

    def forget(self, subject: str) -> bool:
        """Drop all marks of a subject, which permits a rollback; return whether there were any."""
        dropped = self._issued.pop(subject, None), self._certified.pop(subject, None)
        return dropped != (None, None)

    def dump(self) -> str:
        """Return the marks as JSON text for `load`."""
        content = {"version": _VERSION, "issued": self._issued, "certified": self._certified}
        return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"

    @classmethod
    def load(cls, text: str) -> Marks:
        """Read the text of `dump`.

        Raises:
            ConfigurationError: If it is anything else: a damaged file must not count as empty.
        """
        try:
            content = json.loads(text)
            issued, certified = content["issued"], content["certified"]
            marks = cls()
            marks._issued = {_key(subject): _times(each) for subject, each in issued.items()}
            marks._certified = _times(certified)
            if (
                content["version"] != _VERSION
                or len(content) != 3
                or not all(marks._issued.values())
            ):
                raise ValueError  # noqa: TRY301 - one way out
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigurationError("rollback marks: damaged, or unknown version") from None
        return marks


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError
    return text


def _times(value: Mapping[str, Any]) -> dict[str, int]:
    if not all(type(time) is int and time > 0 for time in value.values()):
        raise ValueError
    return {_key(key): time for key, time in value.items()}

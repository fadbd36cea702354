"""Sender admission (spec, Sender admission and identity)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Verdict(NamedTuple):
    users: frozenset[bytes] = frozenset()
    """User keys known for S."""
    admitted: bool = True
    """Whether the message is reported as admitted; ANYONE also accepts other senders."""
    signs: bool = False
    """Whether trust states that this sender always signs."""


class Admission(Protocol):
    @property
    def can_demand_signatures(self) -> bool:
        """Whether it can know user keys, without which no message counts as signed (E-66)."""

    def judge(self, s_public: bytes, subject: str) -> Verdict | None:
        """Return None if S is not admitted for this sealed subject."""


@dataclass(frozen=True)
class Anyone:
    can_demand_signatures = False

    def judge(self, s_public: bytes, subject: str) -> Verdict | None:
        return Verdict(admitted=False)


@dataclass(frozen=True)
class Only:
    """A set of xkeys."""

    xkeys: Collection[bytes]
    can_demand_signatures = False

    def judge(self, s_public: bytes, subject: str) -> Verdict | None:
        return Verdict() if s_public in self.xkeys else None


@dataclass(frozen=True)
class Mapped:
    """A mapping from xkey to user key."""

    user_of: Mapping[bytes, bytes]
    can_demand_signatures = True

    def judge(self, s_public: bytes, subject: str) -> Verdict | None:
        if s_public not in self.user_of:
            return None
        return Verdict(users=frozenset({self.user_of[s_public]}))


@dataclass(frozen=True)
class Trust:
    """Peers or a directory: a function that returns a verdict, or None."""

    verdict: Callable[[bytes, str], Verdict | None]
    can_demand_signatures = True

    def judge(self, s_public: bytes, subject: str) -> Verdict | None:
        return self.verdict(s_public, subject)

"""Time and replay: the memories of one scope under each policy (spec, Time and replay)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from tests.reference.head import Head
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError

FRESHNESS: Final = 13
MARK: Final = 15
RECENT: Final = 1024  # nonces that live keeps per session


class Position(NamedTuple):
    """Where a stream holds the message."""

    stream: str
    sequence: int
    stored_at: int


class Memory(Protocol):
    """The memory of one scope; each scope has its own (E-70)."""

    def fresh(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        """Step 13, behind the expiry."""

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        """Step 15: test and mark as one (E-72)."""


class FileMemory:
    """Policy *file*: neither freshness nor replay."""

    def fresh(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        pass

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        pass


@dataclass
class Session:
    admitted: bool
    counters: set[int] = field(default_factory=set)
    recent: dict[int, bytes] = field(default_factory=dict)
    greatest: int = 0


@dataclass
class LiveMemory:
    """Policy *live*.

    Budgets count marked counters: how many bytes one takes is not in the specification.
    """

    started: int
    limits: Limits = field(default_factory=Limits)
    complete: bool = False
    """It holds every mark made before `started` (E-74)."""
    per_sender: int = 2**19
    total: int = 2**23
    of_unadmitted: int = 2**17
    sessions: dict[tuple[bytes, bytes], Session] = field(default_factory=dict)
    floors: dict[bytes, int] = field(default_factory=dict)
    unadmitted_floor: int = 0

    def floor(self, s_public: bytes, *, admitted: bool) -> int:
        """A sender that becomes admitted starts with the floor of the unadmitted."""
        if not admitted:
            return max(self.unadmitted_floor, self.floors.get(s_public, 0))
        was_unadmitted = any(
            of == s_public and not session.admitted for (of, _), session in self.sessions.items()
        )
        start = self.unadmitted_floor if was_unadmitted else 0
        return max(start, self.floors.get(s_public, 0))

    def above_floor(self, head: Head, *, admitted: bool, step: int) -> None:
        if head.created_ms <= self.floor(head.S, admitted=admitted):
            raise RefusalError("stale", step, "E-75")

    def fresh(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        if not now - self.limits.max_age <= head.created_ms <= now + self.limits.skew:
            raise RefusalError("stale", FRESHNESS, "E-73")
        if head.created_ms < self.started - self.limits.skew and not self.complete:
            raise RefusalError("stale", FRESHNESS, "E-74")
        self.above_floor(head, admitted=admitted, step=FRESHNESS)

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        self.above_floor(head, admitted=admitted, step=MARK)
        session = self.sessions.get((head.S, head.E))
        if session is not None and head.counter in session.counters:
            if session.recent.get(head.counter, head.nonce_tail) != head.nonce_tail:
                raise RefusalError("session_cloned", MARK, "E-71")
            raise RefusalError("replay", MARK, "E-76")
        if admitted:
            self.adopt(head.S)
        session = self.sessions.setdefault((head.S, head.E), Session(admitted))
        session.counters.add(head.counter)
        session.greatest = max(session.greatest, head.created_ms)
        session.recent[head.counter] = head.nonce_tail
        if len(session.recent) > RECENT:
            del session.recent[next(iter(session.recent))]
        self.shrink((head.S, head.E), admitted=admitted, now=now)

    def adopt(self, s_public: bytes) -> None:
        """What was remembered of a sender as unadmitted stays known now that it is admitted."""
        self.floors[s_public] = self.floor(s_public, admitted=True)
        for (of, _), session in self.sessions.items():
            if of == s_public:
                session.admitted = True

    def shrink(self, marked: tuple[bytes, bytes], *, admitted: bool, now: int) -> None:
        """E-78, E-79: first what any replay of is stale, then the least recent over a budget."""
        horizon = now - self.limits.max_age - self.limits.skew
        for key in [key for key, session in self.sessions.items() if session.greatest < horizon]:
            if key != marked:
                del self.sessions[key]
        group = [key for key, session in self.sessions.items() if session.admitted == admitted]
        if not admitted:
            self.keep_within(group, marked, self.of_unadmitted)
            return
        self.keep_within([key for key in group if key[0] == marked[0]], marked, self.per_sender)
        self.keep_within([key for key in group if key in self.sessions], marked, self.total)

    def keep_within(
        self, group: list[tuple[bytes, bytes]], marked: tuple[bytes, bytes], budget: int
    ) -> None:
        """Drop the session with the least greatest created_ms, never the one just marked."""
        size = sum(len(self.sessions[key].counters) for key in group)
        for key in sorted(group, key=lambda key: self.sessions[key].greatest):
            if size > budget and key != marked:
                session = self.sessions.pop(key)
                size -= len(session.counters)
                self.raise_floor(key[0], session)

    def raise_floor(self, s_public: bytes, session: Session) -> None:
        if session.admitted:
            self.floors[s_public] = max(self.floors.get(s_public, 0), session.greatest)
        else:
            self.unadmitted_floor = max(self.unadmitted_floor, session.greatest)


Triple = tuple[bytes, bytes, int]


@dataclass
class StreamMark:
    position: Position
    created_ms: int
    nonce_tail: bytes
    pending: bool = True


@dataclass
class StreamMemory:
    """Policy *stream*."""

    limits: Limits = field(default_factory=Limits)
    bound: int = 100_000
    marks: dict[Triple, StreamMark] = field(default_factory=dict)
    floor: int = 0
    horizon: int = 0

    def fresh(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        assert position is not None, "the stream policy needs the position"
        earliest = position.stored_at - self.limits.max_age
        latest = position.stored_at + self.limits.skew
        in_time = earliest <= head.created_ms <= latest
        if not in_time or position.stored_at > now + self.limits.skew:
            raise RefusalError("stale", FRESHNESS, "E-81")

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        assert position is not None, "the stream policy needs the position"
        triple = (head.S, head.E, head.counter)
        known = self.marks.get(triple)
        if known is None:
            if head.created_ms <= self.floor:
                raise RefusalError("stale", MARK, "E-86")
            self.marks[triple] = StreamMark(position, head.created_ms, head.nonce_tail)
            self.horizon = max(self.horizon, position.stored_at)
            self.shrink()
            return
        if known.nonce_tail != head.nonce_tail:
            raise RefusalError("session_cloned", MARK, "E-71")
        if known.position[:2] != position[:2]:
            raise RefusalError("replay", MARK, "E-83", pending=known.pending)

    def answered(self, head: Head) -> None:
        """The message was acknowledged or terminated: its mark is final."""
        self.marks[head.S, head.E, head.counter].pending = False

    def shrink(self) -> None:
        """E-85."""
        order = sorted(
            self.marks.items(), key=lambda item: (item[1].pending, item[1].position.stored_at)
        )
        for triple, mark in order[: max(0, len(order) - self.bound)]:
            del self.marks[triple]
            if mark.created_ms >= self.horizon - self.limits.max_age - self.limits.skew:
                self.floor = max(self.floor, mark.created_ms)

"""Time and replay: the memories of one scope under each policy (spec, Time and replay)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from tests.reference.head import Head
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError

FRESHNESS: Final = 13
MARK: Final = 15
PAGE: Final = 1024
HOUR: Final = 3600
STRANGERS: Final = b""
"""All unadmitted senders count as one."""


class Position(NamedTuple):
    """The position of the message in a stream."""

    stream: str
    sequence: int
    stored_at: int


class Memory(Protocol):
    """The memory of one scope; each scope has its own (E-70)."""

    def fresh(self, head: Head, *, now: int, position: Position | None) -> None:
        """Check freshness, after the expiry (step 13)."""

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        """Test and mark in one step (step 15, E-72)."""


class FileMemory:
    """Policy *file*: neither freshness nor replay is checked."""

    def fresh(self, head: Head, *, now: int, position: Position | None) -> None:
        pass

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        pass


Session = tuple[bytes, bytes]
PageName = tuple[bytes, bytes, int]
Triple = tuple[bytes, bytes, int]


def triple(head: Head) -> Triple:
    return head.S, head.E, head.counter


def tag(tail: bytes) -> int:
    return 1 + int.from_bytes(tail, "big") % 255


class Mark(NamedTuple):
    tag: int
    created: int


@dataclass
class Marks:
    """Marks and floors, recomputed as a whole each time; slow."""

    budget: int
    budget_of_strangers: int
    marks: dict[Triple, Mark] = field(default_factory=dict)
    pages: dict[PageName, float] = field(default_factory=dict)
    """Pages in order of creation, with the time of the last new mark."""
    session_floors: dict[Session, int] = field(default_factory=dict)
    floors: dict[bytes, int] = field(default_factory=lambda: {STRANGERS: 0})
    """Floors of the strangers and of every sender with a record, in the order of their records."""

    def owner(self, sender: bytes) -> bytes:
        return sender if sender in self.floors else STRANGERS

    def check(self, head: Head) -> None:
        mark = self.marks.get(triple(head))
        if mark is not None:
            if mark.tag != tag(head.nonce_tail):
                raise RefusalError("session_cloned", MARK, "E-71")
            raise RefusalError("replay", MARK, "E-76")
        floor = self.session_floors.get((head.S, head.E), self.floors[self.owner(head.S)])
        if head.created_ms <= floor:
            raise RefusalError("stale", MARK, "E-75")

    def add(self, head: Head, created: int, *, admitted: bool, at: float) -> None:
        if admitted and head.S not in self.floors:
            self.floors[head.S] = self.floors[STRANGERS]
        page = (head.S, head.E, head.counter // PAGE)
        self.session_floors.setdefault((head.S, head.E), self.floors[self.owner(head.S)])
        self.marks[triple(head)] = Mark(tag(head.nonce_tail), created)
        self.pages[page] = at
        if self.owner(head.S) == STRANGERS:
            self.shrink([STRANGERS], self.budget_of_strangers, page, at)
        else:
            admitted_ones = [one for one in self.floors if one != STRANGERS]
            self.shrink(admitted_ones, self.budget, page, at)

    def pages_of(self, owner: bytes) -> list[PageName]:
        return [page for page in self.pages if self.owner(page[0]) == owner]

    def in_page(self, page: PageName) -> list[Triple]:
        s, e, number = page
        return [one for one in self.marks if one[:2] == (s, e) and one[2] // PAGE == number]

    def charge(self, owner: bytes) -> int:
        sessions = [one for one in self.session_floors if self.owner(one[0]) == owner]
        pages = [440 + min(PAGE, 5 * len(self.in_page(page))) for page in self.pages_of(owner)]
        return 600 + 320 * len(sessions) + sum(pages)

    def shrink(self, owners: list[bytes], budget: int, keep: PageName, at: float) -> None:
        """Drop pages until the budgets are met (E-79)."""
        if sum(map(self.charge, owners)) <= budget:
            return
        idle = [page for one in owners for page in self.pages_of(one)]
        idle = [page for page in idle if self.pages[page] <= at - HOUR]
        while sum(map(self.charge, owners)) > budget * 15 // 16:
            holders = sorted(owners, key=self.charge, reverse=True)
            order = [page for one in holders for page in self.pages_of(one) if page != keep]
            if not order:
                self.forget_senders(owners)
                return
            self.drop(idle.pop(0) if idle else order[0])

    def drop(self, page: PageName) -> None:
        """Forget a page (E-78)."""
        session, owner = page[:2], self.owner(page[0])
        newest = max(self.marks[one].created for one in self.in_page(page))
        self.session_floors[session] = max(self.session_floors[session], newest)
        for one in self.in_page(page):
            del self.marks[one]
        del self.pages[page]
        if all(other[:2] != session for other in self.pages):
            self.floors[owner] = max(self.floors[owner], self.session_floors.pop(session))

    def forget_senders(self, owners: list[bytes]) -> None:
        """Forget senders without sessions: their records fill the budget."""
        for one in owners:
            if one != STRANGERS and not any(session[0] == one for session in self.session_floors):
                self.floors[STRANGERS] = max(self.floors[STRANGERS], self.floors.pop(one))

    def sweep(self, horizon: int) -> None:
        """Forget pages that are stale in any case, as a live reader may."""
        for page in list(self.pages):
            if max(self.marks[one].created for one in self.in_page(page)) < horizon:
                self.drop(page)


@dataclass
class LiveMemory:
    """Policy *live*."""

    started: int
    limits: Limits = field(default_factory=Limits)
    complete: bool = False
    """Whether it holds every mark made before `started` (E-74)."""
    sweeps: bool = False
    at: float = 0.0
    """Seconds of the reader's monotonic clock."""

    def __post_init__(self) -> None:
        self.marks = Marks(self.limits.replay, self.limits.replay_unadmitted)

    def fresh(self, head: Head, *, now: int, position: Position | None) -> None:
        if not now - self.limits.max_age <= head.created_ms <= now + self.limits.skew:
            raise RefusalError("stale", FRESHNESS, "E-73")
        if head.created_ms < self.started - self.limits.skew and not self.complete:
            raise RefusalError("stale", FRESHNESS, "E-74")

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        self.marks.check(head)
        self.marks.add(head, head.created_ms, admitted=admitted, at=self.at)
        if self.sweeps:
            self.marks.sweep(now - self.limits.max_age - self.limits.skew)


@dataclass
class Pending:
    place: tuple[str, int]
    tail: bytes
    created: int
    admitted: bool
    in_hand: bool
    turn: int
    """An event counter: a lower value was opened or released earlier."""


@dataclass
class StreamMemory:
    """Policy *stream*."""

    limits: Limits = field(default_factory=Limits)
    at: float = 0.0
    turn: int = 0
    pending: dict[Triple, Pending] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.marks = Marks(self.limits.replay, self.limits.replay_unadmitted)

    def fresh(self, head: Head, *, now: int, position: Position | None) -> None:
        assert position is not None, "the stream policy needs the position"
        earliest = position.stored_at - self.limits.max_age
        latest = position.stored_at + self.limits.skew
        in_time = earliest <= head.created_ms <= latest
        if not in_time or position.stored_at > now + self.limits.skew:
            raise RefusalError("stale", FRESHNESS, "E-81")

    def mark(self, head: Head, *, admitted: bool, now: int, position: Position | None) -> None:
        assert position is not None, "the stream policy needs the position"
        known = self.pending.get(triple(head))
        created = head.created_ms
        if known is None:
            self.marks_check(head)
        elif known.tail != head.nonce_tail:
            raise RefusalError("session_cloned", MARK, "E-71")
        elif known.place != position[:2]:
            raise RefusalError("replay", MARK, "E-83", pending=True)
        else:
            created = max(created, known.created)
        self.turn += 1
        self.pending[triple(head)] = Pending(
            position[:2], head.nonce_tail, created, admitted, True, self.turn
        )
        if len(self.pending) > self.limits.pending:
            oldest = min(self.pending, key=lambda one: self.order(self.pending[one]))
            del self.pending[oldest]

    def marks_check(self, head: Head) -> None:
        try:
            self.marks.check(head)
        except RefusalError as refused:
            if refused.rule == "E-76":  # at any place
                raise RefusalError("replay", MARK, "E-83", pending=False) from None
            raise

    @staticmethod
    def order(one: Pending) -> tuple[bool, int]:
        """Sort key for forgetting: waiting messages before those in hand (E-86)."""
        return one.in_hand, one.turn

    def settle(self, head: Head, *, handled: bool) -> None:
        """Mark the message, or forget it without a mark (E-85)."""
        known = self.pending.get(triple(head))
        if known is None or known.tail != head.nonce_tail:
            return
        del self.pending[triple(head)]
        if handled:
            self.marks.add(head, known.created, admitted=known.admitted, at=self.at)

    def release(self, head: Head) -> None:
        known = self.pending.get(triple(head))
        if known is not None and known.in_hand and known.tail == head.nonce_tail:
            self.turn += 1
            known.in_hand, known.turn = False, self.turn

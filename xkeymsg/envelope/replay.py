"""What a reader remembers, so that nothing opens twice (spec, "Time and replay").

Two memories, for two kinds of source. Both are bounded; where something has to be forgotten, a
floor rises below which everything is refused: forgetting never lets a copy in. Each is one scope:
what is shared between two scopes (E-70) is nothing.

`mark` is the atomic test and mark of E-72: under a lock, as the last check before release.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from heapq import nsmallest
from struct import Struct
from threading import Lock
from typing import Final, NamedTuple, NoReturn

from xkeymsg import primitives
from xkeymsg.ambient import after_fork
from xkeymsg.envelope.head import Head
from xkeymsg.errors import ReplayError, SessionClonedError, StaleError
from xkeymsg.limits import Limits

__all__ = ("LiveMemory", "StreamMemory", "StreamPosition")

_MILLISECOND: Final = timedelta(milliseconds=1)
_TAILS: Final = 1024
"""How many counters' random bytes a session keeps, to tell a clone from a replay."""
_SESSION_COST: Final = 600
_TAIL_COST: Final = 130
"""What CPython takes for an entry, measured; budgets are in bytes."""

_SWEEP: Final = 10_000
"""Milliseconds between two looks for what can be forgotten."""

_ADVICE: Final = "a position in a stream, or the replay policy 'file', would open it"
_FORGOTTEN: Final = f"sealed before what had to be forgotten; {_ADVICE}"

_Key = tuple[bytes, bytes]
"""A session: S and E."""


class StreamPosition(NamedTuple):
    """Where JetStream keeps a message; from the delivery's metadata, never from a header (E-80)."""

    stream: str
    sequence: int
    stored_ms: int
    """When the stream took it, in milliseconds since 1970."""


class _Session:
    """What one session (S, E) has shown: every counter, and the last ones' random bytes.

    A counter becomes a bit only when its random bytes are forgotten. A bitmap of all of them would
    be 128 KiB from one message with the last counter on, and eight such messages of a stranger
    would fill the budget of all.
    """

    __slots__ = ("bits", "cost", "newest_ms", "tails")

    def __init__(self) -> None:
        self.bits = bytearray()
        self.cost = _SESSION_COST
        self.newest_ms = 0
        self.tails: dict[int, bytes] = {}

    def add(self, counter: int, tail: bytes, created_ms: int) -> None:
        """Mark a counter; in any order and at any distance (E-77).

        Raises:
            SessionClonedError: If it was marked with other random bytes (E-71).
            ReplayError: If it was marked (E-76).
        """
        tails, place = self.tails, counter >> 3
        known = tails.get(counter)
        if known is None and place < len(self.bits) and self.bits[place] >> (counter & 7) & 1:
            known = tail  # no longer kept: it counts as the same message
        if known is not None:
            _refuse(known, tail)
        self.newest_ms = max(self.newest_ms, created_ms)
        tails[counter] = tail
        if len(tails) <= _TAILS:
            self.cost += _TAIL_COST
        else:
            oldest = next(iter(tails))
            del tails[oldest]
            self._set_bit(oldest)

    def _set_bit(self, counter: int) -> None:
        place = counter >> 3
        if place >= len(self.bits):
            # In steps, so that a session that counts up does not grow with every eighth message.
            more = (place | 63) + 1 - len(self.bits)
            self.bits.extend(bytes(more))
            self.cost += more
        self.bits[place] |= 1 << (counter & 7)


def _refuse(known: bytes, tail: bytes, *, pending: bool = False) -> NoReturn:
    """Refuse a message whose number was seen, by whether it is the same message."""
    if known != tail:
        raise SessionClonedError("another message has this number: the sender's state was copied")
    raise ReplayError("opened here before", pending=pending)


class _Budget:
    """Sessions that share an amount of memory and a floor."""

    __slots__ = ("cost", "floor", "sessions")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self.cost = 0
        self.sessions: dict[_Key, _Session] = {}

    def drop(self, key: _Key) -> None:
        """Forget a session; the floor rises, so that no copy of it opens (E-78).

        Also where every copy is stale anyway: no honest message is below that floor, and a clock
        that is set back later makes none of them fresh again.
        """
        session = self.sessions.pop(key)
        self.cost -= session.cost
        self.floor = max(self.floor, session.newest_ms)


class LiveMemory:
    """The policy for core NATS: fresh messages, each once.

    What every copy of has become stale is forgotten, so that a reader at work keeps the sessions of
    the last minutes, whatever it has opened before; budgets bound those.

    All that are not admitted share one budget and one floor: they can make each other's messages
    stale, not those of an admitted sender that was met before (E-79).
    """

    def __init__(self, limits: Limits, started_ms: int) -> None:
        self._limits = limits
        self._max_age = limits.max_age // _MILLISECOND
        self._skew = limits.skew // _MILLISECOND
        self._started_ms = started_ms
        self._swept_ms = started_ms
        self._admitted: dict[bytes, _Budget] = {}
        self._total = 0  # the cost of all admitted: a sum each time would grow with the senders
        self._strangers = _Budget()
        self._lock = Lock()
        after_fork(self)

    def check_fresh(self, head: Head, *, now_ms: int) -> None:
        """Check the time of sealing.

        Raises:
            StaleError: If it is not recent (E-73), from before this memory began (E-74), or not
                above the floor (E-75). The message says what would open it.
        """
        created = head.created_ms
        if not now_ms - self._max_age <= created <= now_ms + self._skew:
            raise StaleError(f"sealed too long ago, or in the future; {_ADVICE}")
        if created < self._started_ms - self._skew:
            raise StaleError(f"sealed before this reader began; {_ADVICE}")
        if created <= self._admitted.get(head.sender, self._strangers).floor:
            raise StaleError(_FORGOTTEN)

    def mark(self, head: Head, *, admitted: bool, now_ms: int) -> None:
        """Remember a message, as the last thing before it is released.

        Raises:
            ReplayError: If it was opened here before (E-76).
            SessionClonedError: If another message has its number (E-71).
            StaleError: If the floor has risen above it meanwhile (E-75).
        """
        sender, ephemeral, nonce, created_ms, *_ = head
        key = sender, ephemeral
        with self._lock:
            budget = self._admitted.get(sender)
            # The same budget in which it is marked: a sender that was admitted before keeps its own
            # floor where anyone may send, or what was forgotten of it would open there again.
            if created_ms <= (budget or self._strangers).floor:
                raise StaleError(_FORGOTTEN)
            budget = budget or self._budget(sender, admitted=admitted)
            session = budget.sessions.get(key)
            before = 0 if session is None else session.cost
            if session is None:
                session = budget.sessions[key] = _Session()
            session.add(int.from_bytes(nonce[:4], "big"), nonce[4:], created_ms)
            grown = session.cost - before
            if grown:  # mostly it is one bit, of a byte that is there
                budget.cost += grown
                if budget is not self._strangers:
                    self._total += grown
                if abs(now_ms - self._swept_ms) >= _SWEEP:  # a clock may be set back
                    self._sweep(now_ms)
                self._shrink(key, budget)

    def _budget(self, sender: bytes, *, admitted: bool) -> _Budget:
        """Return where a sender's sessions are kept.

        One that was admitted once stays where it is, and one that becomes admitted takes what it
        had, and the strangers' floor, along: no mark is lost by a change of mind.
        """
        budget = self._admitted.get(sender)
        if budget is None and admitted:
            budget = self._admitted[sender] = _Budget(self._strangers.floor)
            for key in [key for key in self._strangers.sessions if key[0] == sender]:
                session = budget.sessions[key] = self._strangers.sessions.pop(key)
                self._strangers.cost -= session.cost
                budget.cost += session.cost
                self._total += session.cost
        return budget or self._strangers

    def _sweep(self, now_ms: int) -> None:
        """Forget the sessions of which every copy is stale (E-78)."""
        self._swept_ms = now_ms
        useful_ms = now_ms - self._max_age - self._skew
        for budget in (self._strangers, *self._admitted.values()):
            before, sessions = budget.cost, budget.sessions
            for key in [key for key, each in sessions.items() if each.newest_ms < useful_ms]:
                budget.drop(key)
            if budget is not self._strangers:
                self._total -= before - budget.cost

    def _shrink(self, current: _Key, budget: _Budget) -> None:
        """Forget what is over a budget, the oldest first, and never the session just marked."""
        own = self._limits.live_unadmitted
        if budget is not self._strangers:
            own, total = self._limits.live_sender, self._limits.live_total
            if self._total > total:
                self._total = _drop_oldest(self._admitted.values(), current, self._total, total)
        if budget.cost > own:
            before = budget.cost
            after = _drop_oldest([budget], current, before, own)
            if budget is not self._strangers:
                self._total -= before - after

    def _after_fork(self) -> None:
        self._lock = Lock()  # another thread may have held it; what is marked stays


def _drop_oldest(budgets: Iterable[_Budget], current: _Key, cost: int, limit: int) -> int:
    """Forget sessions until a quarter of the limit is free, so that this is not done each time.

    Returns:
        The cost of what is left.
    """
    order = sorted(
        (session.newest_ms, key, budget)
        for budget in budgets
        for key, session in budget.sessions.items()
        if key != current
    )
    for _, key, budget in order:
        if cost <= limit * 3 // 4:
            break
        cost -= budget.sessions[key].cost
        budget.drop(key)
    return cost


_NAME: Final = primitives.label(b"xkm1/mark")
_MARK: Final = Struct("!?qq8s")
"""Whether it is pending, when it was stored and when sealed, and its last random bytes. Where it
was stored stands behind. As one object of bytes a mark takes 200 bytes, and not 500."""
_FINAL: Final = Struct("!?").pack(False)
_ORDER: Final = Struct("!?q").size
"""So much of a mark decides which one goes first: as bytes they are in the same order."""


def _name(head: Head) -> bytes:
    """Return what stands for S, E and counter; to find another triple for it is 2^128 hashes."""
    triple = head.sender + head.ephemeral + head.nonce[:4]
    return primitives.digest(_NAME, triple, size=16)


def _where(position: StreamPosition) -> bytes:
    return b"%x %b" % (position.sequence, position.stream.encode("utf-8", "surrogatepass"))


class StreamMemory:
    """The policy for JetStream: a redelivery is no replay, a second copy in the stream is one."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.stream_marks
        self._max_age = limits.max_age // _MILLISECOND
        self._skew = limits.skew // _MILLISECOND
        self._marks: dict[bytes, bytes] = {}
        self._floor = 0
        self._horizon = 0
        self._lock = Lock()
        after_fork(self)

    def check_fresh(self, head: Head, position: StreamPosition, *, now_ms: int) -> None:
        """Check that a message was sealed shortly before the stream took it; now does not count.

        Raises:
            StaleError: If it was not (E-81).
        """
        stored = position.stored_ms
        fresh = stored - self._max_age <= head.created_ms <= stored + self._skew
        if not fresh or stored > now_ms + self._skew:
            raise StaleError("not sealed shortly before the stream stored it")

    def mark(self, head: Head, position: StreamPosition) -> None:
        """Remember a message as pending, until `settle`.

        Raises:
            ReplayError: If it was opened at another position (E-83).
            SessionClonedError: If another message has its number (E-71).
            StaleError: If it is below what had to be forgotten (E-86).
        """
        name, tail, where = _name(head), head.nonce[4:], _where(position)
        with self._lock:
            known = self._marks.get(name)
            if known is None:
                if head.created_ms <= self._floor:
                    raise StaleError("sealed before what had to be forgotten")
                stored = position.stored_ms
                self._marks[name] = _MARK.pack(True, stored, head.created_ms, tail) + where
                self._horizon = max(self._horizon, stored)
                if len(self._marks) > self._limit:
                    self._shrink()
                return
        pending, _, _, kept = _MARK.unpack_from(known)
        if kept != tail or known[_MARK.size :] != where:
            _refuse(kept, tail, pending=pending)

    def settle(self, head: Head) -> None:
        """Make a mark final: the message was acknowledged or terminated."""
        name = _name(head)
        with self._lock:
            mark = self._marks.get(name)
            if mark is not None:
                self._marks[name] = _FINAL + mark[len(_FINAL) :]

    def _shrink(self) -> None:
        """Forget a sixteenth, final ones first and the oldest of them first (E-85)."""
        marks = self._marks
        most = max(1, self._limit // 16)
        for name in nsmallest(most, marks, key=lambda name: marks[name][:_ORDER]):
            _, _, created_ms, _ = _MARK.unpack_from(marks.pop(name))
            if created_ms >= self._horizon - self._max_age - self._skew:
                self._floor = max(self._floor, created_ms)
        self._marks = dict(marks)  # one that only forgets and takes grows to twice the size

    def _after_fork(self) -> None:
        self._lock = Lock()

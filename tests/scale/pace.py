"""Many messages, and what the replay memory does to those of others: openers with a driven clock.

Nothing here waits: a second of the driven clock passes when its messages are opened. The rates
are messages for each second of that clock, which is the one that ages and floors are made of.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Literal

from tests.scale.clock import Clock, driven
from tests.scale.outcome import Outcome, counted
from xkeymsg import Limits, Message, Opener, Sealer, StreamPosition, XKeyMsgError, XKeyPair

__all__ = ("flood", "rate")

Policy = Literal["live", "stream"]
POLICIES: tuple[Policy, ...] = ("live", "stream")

_TO = "orders.new"
_LATE = 25_000
"""Milliseconds by which the slow sender's messages are behind."""
_AHEAD = 29_000
"""Milliseconds by which the hostile sender's messages are dated ahead; within the skew."""
_IN_HAND = 256
"""Messages of a stream that are opened and not yet settled."""


class _Reader:
    """One opener under one policy. In a stream it settles as a worker does: some later."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        senders: list[XKeyPair],
        limits: Limits | None = None,
    ) -> None:
        self.key = XKeyPair.generate()
        self.policy = policy
        trusted = {pair.public for pair in senders}
        self.opener = Opener(self.key, senders=trusted, limits=limits)
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._sequence = 0
        self._in_hand: deque[Message] = deque()

    def sealed(self, sealer: Sealer, offset_ms: int) -> bytes:
        """Seal a message that is dated so far from now."""
        now = self._clock.ms
        self._clock.ms = now + offset_ms
        try:
            return sealer.seal(b"x", to=[self.key.public], subject=_TO)
        finally:
            self._clock.ms = now

    def opens(self, envelope: bytes) -> bool:
        """Open a message that arrives now, at the next place; count why it is refused."""
        position = None
        if self.policy == "stream":
            self._sequence += 1
            position = StreamPosition("ORDERS", self._sequence, self._clock.ms)
        try:
            message = self.opener.open(envelope, subject=_TO, position=position)
        except XKeyMsgError as error:
            self.refused[error.code] += 1
            return False
        if position is not None:
            self._in_hand.append(message)
            if len(self._in_hand) > _IN_HAND:
                self.opener.settle(self._in_hand.popleft())
        return True

    def settle_all(self) -> None:
        """Settle what is in hand."""
        while self._in_hand:
            self.opener.settle(self._in_hand.popleft())

    @property
    def dropped(self) -> int:
        """Pages that were dropped for room."""
        return self.opener.replay_state().dropped


def rate(*, per_second: int = 10_000, seconds: int = 40) -> Outcome:
    """One sender fills the memory; another one's messages arrive 25 s after they were sealed."""
    outcome = Outcome()
    for policy in POLICIES:
        busy, slow = XKeyPair.generate(), XKeyPair.generate()
        started = time.monotonic()
        with driven() as clock:
            reader = _Reader(policy, clock, [busy, slow])
            fast, late = Sealer(busy), Sealer(slow)
            opened: Counter[str] = Counter()
            for _ in range(100 * seconds):
                clock.ms += 10
                for _ in range(per_second // 100):
                    opened["busy"] += reader.opens(reader.sealed(fast, 0))
                opened["slow"] += reader.opens(reader.sealed(late, -_LATE))
        outcome.expect(f"{policy}, refused", "none", counted(reader.refused))
        outcome.expect(f"{policy}, busy sender opened", per_second * seconds, opened["busy"])
        outcome.expect(f"{policy}, slow sender opened", 100 * seconds, opened["slow"])
        outcome.note(f"{policy}: {seconds} s of the clock in {time.monotonic() - started:.1f} s")
    return outcome


def flood(*, most: int = 400_000, others: int = 1000, limits: Limits | None = None) -> Outcome:
    """One admitted sender overflows the memory with sessions dated ahead; others lose nothing.

    Each of its messages begins a session, which costs the memory most. It goes on until pages
    were dropped for room, and as long again as a tenth of that took.
    """
    outcome = Outcome()
    for policy in POLICIES:
        hostile, honest = XKeyPair.generate(), XKeyPair.generate()
        with driven() as clock:
            reader = _Reader(policy, clock, [hostile, honest], limits)
            sealer = Sealer(honest)
            before = [reader.sealed(sealer, -_LATE) for _ in range(others)]
            outcome.expect(f"{policy}, opened before", others, sum(map(reader.opens, before)))
            reader.settle_all()
            sessions, some = _overflow(reader, hostile, clock, most)
            reader.settle_all()
            outcome.note(
                f"{policy}: {sessions:,} hostile sessions, {reader.dropped:,} pages dropped"
            )
            if not reader.dropped:
                outcome.errors.append(f"{policy}: the memory did not overflow")
            reader.refused.clear()
            after = [reader.sealed(sealer, -_LATE if n % 2 else 0) for n in range(others)]
            outcome.expect(f"{policy}, opened after", others, sum(map(reader.opens, after)))
            reader.settle_all()
            outcome.expect(f"{policy}, honest ones refused", "none", counted(reader.refused))
            again = sum(map(reader.opens, [*before, *after, *some]))
            outcome.expect(f"{policy}, opened twice", 0, again)
    return outcome


def _overflow(
    reader: _Reader, hostile: XKeyPair, clock: Clock, most: int
) -> tuple[int, list[bytes]]:
    """Open hostile sessions; return how many, and every thousandth message."""
    some, count, end = list[bytes](), 0, most
    while count < end:
        count += 1
        if count % 100 == 0:
            clock.ms += 1
        envelope = reader.sealed(Sealer(hostile), _AHEAD)
        reader.opens(envelope)
        if count % 1000 == 0:
            some.append(envelope)
            if end == most and reader.dropped:
                end = min(most, count + count // 10)
    return count, some

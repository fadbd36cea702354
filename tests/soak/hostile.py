"""Strangers who publish to the stream while honest messages flow: everything that anybody can."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import NamedTuple

from tests.soak.journal import Journal
from tests.transport.raw import hpub, pub, publisher
from xkeymsg import Sealer, XKeyPair
from xkeymsg.client.jetstream.api import parse_puback
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import DeliveryError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription


class Shot(NamedTuple):
    """One hostile message."""

    kind: str
    data: bytes
    frame: bytes | None = None
    """What goes over the wire by hand; without it a client of good manners sends the data."""
    headers: bytes = b""
    around: tuple[bytes, bytes] | None = None
    """Garbage in the same frame, before it and behind it, where the stream can say of itself
    nothing: if it has both, it has what is in between."""


class Hostile:
    """Publishes at random; knows what may have been stored."""

    def __init__(
        self, random: Random, link: Link, url: str, journal: Journal, to: XKey, alice: XKeyPair
    ) -> None:
        self.shots: dict[bytes, str] = {}
        """What may have been stored, replays aside, and of which kind it is."""
        self.replayed: Counter[str] = Counter()
        """How often an honest message was published again."""
        self.copies: dict[bytes, str] = {}
        """These as they were sealed, and their ids."""
        self._acked: dict[bytes, int] = {}
        self.places_around: dict[bytes, tuple[bytes, bytes]] = {}
        self._by_number: dict[bytes, bytes] = {}
        self._seen: deque[bytes] | None = None
        self._random = random
        self._link = link
        self._url = url
        self._journal = journal
        self._to = [to]
        self._eve = Sealer(XKeyPair.generate())
        self._alice = Sealer(alice)
        self._alice_public = alice.public

    async def run(self, rate: float, *, capture: bool = False) -> None:
        """Publish so many a second, until cancelled.

        Args:
            rate: How many.
            capture: Whether to take what is published again from the wire; else it is from what the
                sender has written down, and may come before its first.
        """
        kinds: list[Callable[[], Shot | None]] = [
            self._garbage, self._cut_off, self.altered, self._unadmitted, self._borrowed_header,
            self._replay, self._elsewhere, self._expired, self._bad_subject, self._bare_block,
            self._status, self.bad_reply, self._bad_header,
        ]  # fmt: skip
        acks = await self._link.subscribe("_SHOTS.*")
        listening = [asyncio.create_task(self._listen(acks))]
        if capture:
            self._seen = deque(maxlen=64)
            orders = await self._link.subscribe("orders.>")
            listening.append(asyncio.create_task(self._watch(orders)))
        try:
            while True:
                await asyncio.sleep(self._random.expovariate(rate))
                if shot := self._random.choice(kinds)():
                    await self._fire(shot)
        finally:
            await asyncio.sleep(0.2)  # what comes later is counted if it is in quarantine
            for task in listening:
                task.cancel()
            for ended in await asyncio.gather(*listening, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), "nobody listened any more"

    def places(self) -> dict[bytes, range]:
        """Return where the stream keeps what it has said that it keeps."""
        places = {data: range(at, at + 1) for data, at in self._acked.items()}
        for data, (before, behind) in self.places_around.items():
            if before in self._acked and behind in self._acked:
                places[data] = range(self._acked[before] + 1, self._acked[behind])
        return places

    async def _listen(self, acks: RawSubscription) -> None:
        """Take the stream's word for what was sent by hand."""
        async for raw in acks:
            if (data := self._by_number.get(raw.subject)) is not None:
                self.note_acked(data, raw.data)

    async def _watch(self, orders: RawSubscription) -> None:
        """Capture what goes by."""
        assert self._seen is not None
        async for raw in orders:
            if raw.data not in self.shots:
                self._seen.append(raw.data)

    def note_acked(self, data: bytes, answer: bytes) -> None:
        with contextlib.suppress(DeliveryError):  # it does not keep it, and says so
            self._acked[data] = parse_puback(answer).sequence

    def _number(self, data: bytes) -> bytes:
        """Return where the stream's word on something sent by hand will come."""
        subject = b"_SHOTS.%d" % len(self._by_number)
        self._by_number[subject] = data
        return subject

    async def _fire(self, shot: Shot) -> None:
        if shot.kind == "replay":
            name = self.copies[shot.data] = message_id(shot.data).hex()
            self.replayed[name] += 1
        else:
            self.shots[shot.data] = shot.kind
        if shot.around is not None:
            self.places_around[shot.data] = shot.around
            self.shots |= dict.fromkeys(shot.around, "garbage")
        with contextlib.suppress(XKeyMsgError, OSError, TimeoutError, AssertionError):
            if shot.frame is not None:
                async with publisher(self._url) as hand:
                    await hand.send(shot.frame)
                return  # the stream's word comes to `_listen`
            subject, headers = "orders.1", shot.headers
            answer = await self._link.request(subject, shot.data, headers=headers, timeout=2)
            if shot.kind != "replay":
                self.note_acked(shot.data, answer.data)

    def _noise(self, size: int = 0) -> bytes:
        return self._random.randbytes(size or self._random.randrange(16, 400))

    def _captured(self) -> bytes | None:
        if self._seen is not None:
            return self._seen[0] if self._seen else None
        return self._journal.last_sent()

    # --- what they try ----------------------------------------------------------------------------

    def _garbage(self) -> Shot:
        return Shot("garbage", self._noise())

    def _cut_off(self) -> Shot | None:
        if (sealed := self._captured()) is None:
            return None
        return Shot("cut off", sealed[: self._random.randrange(1, len(sealed))] + os.urandom(2))

    def altered(self) -> Shot | None:
        if (sealed := self._captured()) is None:
            return None
        at = self._random.randrange(len(sealed))
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        # The same one twice would be two messages, at two places, that nobody could tell apart.
        return None if altered in self.shots else Shot("altered", altered)

    def _unadmitted(self) -> Shot:
        sealed = self._eve.seal(self._noise(), to=self._to, subject="orders.1")
        return Shot("not admitted", sealed)

    def _borrowed_header(self) -> Shot:
        """Sealed by Eve, with Alice's name on it, and the marks of a server and of a quarantine."""
        sealed = self._eve.seal(self._noise(), to=self._to, subject="orders.1")
        headers = {
            "sender": str(self._alice_public), "Nats-Sequence": "1", "Nats-Stream": "ORDERS",
            "Xkm-Stream": "ORDERS", "Xkm-Sequence": "1", "Xkm-Reason": "handler",
        }  # fmt: skip
        return Shot("borrowed header", sealed, headers=encode_block(headers))

    def _replay(self) -> Shot | None:
        return None if (sealed := self._captured()) is None else Shot("replay", sealed)

    def _elsewhere(self) -> Shot:
        sealed = self._alice.seal(self._noise(), to=self._to, subject="payments.1")
        return Shot("for elsewhere", sealed)

    def _expired(self) -> Shot:
        sealed = self._alice.seal(self._noise(), to=self._to, subject="orders.1", expires=0.001)
        time.sleep(0.005)  # or it may still be opened in time
        return Shot("expired", sealed)

    def _bad_subject(self) -> Shot:
        data = self._noise()
        return Shot("bad subject", data, pub(b"orders.\xff\xfe", data, self._number(data)))

    def _bare_block(self) -> Shot:
        data = self._noise()
        return Shot(
            "bare header block", data, hpub(b"orders.1", b"NATS/1.0", data, self._number(data))
        )

    def _status(self) -> Shot:
        data = self._noise()
        return Shot(
            "status line",
            data,
            hpub(b"orders.1", b"NATS/1.0 404\r\n\r\n", data, self._number(data)),
        )

    def bad_reply(self) -> Shot:
        before, data, behind = self._noise(), self._noise(), self._noise()
        frame = pub(b"orders.1", before, self._number(before))
        frame += pub(b"orders.1", data, b"_INBOX.\xff")
        frame += pub(b"orders.1", behind, self._number(behind))
        return Shot("bad reply", data, frame, around=(before, behind))

    def _bad_header(self) -> Shot:
        data = self._noise()
        block = b"NATS/1.0\r\nNats-Msg-Id: \xff\xff%d\r\n\r\n" % self._random.randrange(1 << 60)
        return Shot("header not UTF-8", data, hpub(b"orders.1", block, data, self._number(data)))

"""A stream of a real server, with more messages than a memory of positions would hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import xkeymsg
from tests.running import DEADLINE
from tests.scale.outcome import Outcome, counted
from xkeymsg import Client, DurableOptions, Message, XKeyPair
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.testing import NATSServer

__all__ = ("recreated", "rewound", "takeover")

_STREAM, _DURABLE, _SUBJECT = "ORDERS", "workers", "orders.new"
_LONG = 3600.0
"""Seconds of `ack_wait` in which no message of a run comes again by itself."""
_CHUNK = 2000
_QUIET = 300.0
"""Seconds without progress after which a check gives up."""


@dataclass
class _Scene:
    """A server, its stream, a sender, and a reader that counts what it handles."""

    server: NATSServer
    alice: XKeyPair
    bob: XKeyPair
    sender: Client
    reader: Client
    handled: Counter[int] = field(default_factory=Counter)
    total: int = 0

    @property
    def api(self) -> Any:
        return self.reader.js.api

    async def publish(self, first: int, count: int) -> None:
        """Seal so many numbers into the stream."""
        for start in range(first, first + count, _CHUNK):
            numbers = range(start, min(start + _CHUNK, first + count))
            await asyncio.gather(*[await self._publish(number) for number in numbers])

    async def _publish(self, number: int) -> Awaitable[object]:
        data = number.to_bytes(4, "big")
        return await self.sender.js.publish_async(
            _SUBJECT, data, to=[self.bob.public], timeout=_QUIET
        )

    async def handle(self, message: Message) -> None:
        self.handled[int.from_bytes(message.data, "big")] += 1
        self.total += 1

    def consumer(self) -> Consumer[Any]:
        return self.reader.js.consume(_STREAM, _DURABLE, self.handle, workers=4)

    async def create_durable(self, action: str = "create", ack_wait: float = _LONG) -> None:
        config = DurableOptions(ack_wait=ack_wait).config(_DURABLE)
        body = {"stream_name": _STREAM, "config": config, "action": action}
        await self.api.request(f"CONSUMER.CREATE.{_STREAM}.{_DURABLE}", body)

    async def unanswered(self) -> tuple[int, int]:
        """How many messages are delivered and unanswered, and how many are to be delivered."""
        info = await self.api.request(f"CONSUMER.INFO.{_STREAM}.{_DURABLE}")
        return info["num_ack_pending"], info["num_pending"]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until something is so; return False if nothing is handled any more meanwhile."""
        last, since = self.total, time.monotonic()
        while not await condition():
            if self.total != last:
                last, since = self.total, time.monotonic()
            elif time.monotonic() - since > _QUIET:
                return False
            await asyncio.sleep(0.1)
        return True

    async def answered(self, held: int = 0) -> bool:
        """Wait until everything is delivered, and all but so many messages are answered."""

        async def condition() -> bool:
            return await self.unanswered() == (held, 0)

        return await self.until(condition)

    async def quarantined(self) -> int:
        found = 0
        for stream in ("XKM_PROVEN", "XKM_UNPROVEN"):
            found += (await self.api.request(f"STREAM.INFO.{stream}"))["state"]["messages"]
        return found


@contextlib.asynccontextmanager
async def _scene() -> AsyncIterator[_Scene]:
    alice, bob = XKeyPair.generate(), XKeyPair.generate()
    with NATSServer(jetstream=True) as server:
        async with (
            xkeymsg.connect(server.url, key=alice, trust={bob.public}, timeout=DEADLINE) as sender,
            xkeymsg.connect(server.url, key=bob, trust={alice.public}, timeout=DEADLINE) as reader,
        ):
            scene = _Scene(server, alice, bob, sender, reader)
            scene.api.timeout = DEADLINE
            await create_quarantine(scene.api)
            body = {"name": _STREAM, "subjects": ["orders.>"], "storage": "memory"}
            await scene.api.request(f"STREAM.CREATE.{_STREAM}", body)
            await scene.create_durable()
            yield scene


async def takeover(*, held: int = 50, others: int = 130_000) -> Outcome:
    """A worker dies with messages in hand; another handles many more, then these."""
    outcome = Outcome()
    async with _scene() as scene:
        await scene.publish(0, held)
        await _die_with(scene, held)
        await scene.publish(held, others)
        async with scene.consumer() as consumer:
            started = time.monotonic()
            if not await scene.answered(held):
                outcome.errors.append(f"it stands still with {scene.total:,} handled")
            took = time.monotonic() - started
            outcome.note(
                f"{scene.total:,} others in {took:.1f} s, {scene.total / took:,.0f} a second"
            )
            outcome.expect("of the others handled", others, len(scene.handled))
            # A shorter time to answer in: the server delivers what the dead worker has at once.
            await scene.create_durable("update", ack_wait=1)
            if not await scene.answered():
                outcome.errors.append("the dead worker's messages are not answered")
            outcome.expect(
                "of the dead worker's handled",
                held,
                sum(number < held for number in scene.handled),
            )
            await _judge(scene, consumer, outcome, Counter(dict.fromkeys(range(held + others), 1)))
    return outcome


async def _die_with(scene: _Scene, held: int) -> None:
    """Have a worker of another process take so many messages, and kill it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.scale.worker", stdin=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        sender = str(scene.alice.public)
        words = scene.server.url, scene.bob.seed(), sender, _STREAM, _DURABLE, held
        process.stdin.write(json.dumps(words).encode() + b"\n")
        if not await scene.answered(held):
            raise RuntimeError("the worker takes no messages")
    finally:
        process.kill()
        await process.wait()


async def rewound(*, messages: int = 200_000) -> Outcome:
    """The durable of a working consumer is reset to its beginning: everything again."""
    return await _twice(messages, _reset)


async def recreated(*, messages: int = 200_000) -> Outcome:
    """The durable of a working consumer is deleted and made again: everything again."""
    return await _twice(messages, _recreate)


async def _reset(scene: _Scene) -> None:
    await scene.api.request(f"CONSUMER.RESET.{_STREAM}.{_DURABLE}", {"seq": 1})


async def _recreate(scene: _Scene) -> None:
    await scene.api.request(f"CONSUMER.DELETE.{_STREAM}.{_DURABLE}")
    await scene.create_durable()


async def _twice(messages: int, again: Callable[[_Scene], Awaitable[None]]) -> Outcome:
    outcome = Outcome()
    async with _scene() as scene:
        await scene.publish(0, messages)
        async with scene.consumer() as consumer:
            for before in (0, messages):
                started = time.monotonic()
                if not await scene.answered():
                    outcome.errors.append(f"it stands still with {scene.total:,} handled")
                took, handled = time.monotonic() - started, scene.total - before
                outcome.note(f"{handled:,} in {took:.1f} s, {handled / took:,.0f} a second")
                if before == 0:
                    outcome.expect("handled before", messages, handled)
                    await again(scene)
            outcome.expect("new scopes", 1, consumer.counts["rewound"])
            await _judge(scene, consumer, outcome, Counter(dict.fromkeys(range(messages), 2)))
    return outcome


async def _judge(
    scene: _Scene, consumer: Consumer[Any], outcome: Outcome, expected: Counter[int]
) -> None:
    """Compare what was handled, and how often; look for what was refused or kept."""
    fewer, more = (expected - scene.handled).total(), (scene.handled - expected).total()
    outcome.expect("too few times handled", 0, fewer)
    outcome.expect("too many times handled", 0, more)
    good = ("handled", "redelivered", "rewound")
    refused = {name: count for name, count in consumer.counts.items() if name not in good}
    outcome.expect("events", "none", counted(refused))
    outcome.expect("in quarantine", 0, await scene.quarantined())

"""A sender that may be killed at any moment: `python -m tests.soak.feeder SETTINGS`.

What it seals it writes down before it sends it, and what the stream acknowledges after that. When
it is started again, it sends the same bytes of what was not acknowledged, under the same id.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.running import DEADLINE
from tests.soak.journal import Journal
from xkeymsg import Sealer, XKey
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import read_seed

IN_FLIGHT = 128
SUBJECTS = 16
ENOUGH = "enough"
"""The file that says that enough faults have happened."""


def payload(number: int, size: int) -> bytes:
    """Return what a message says: its number, and what makes it long enough."""
    return json.dumps({"n": number, "pad": "x" * (number * 7919 % max(size, 1))}).encode()


async def numbers(
    first: int, messages: int, rate: float, enough: Callable[[], bool]
) -> AsyncIterator[int]:
    """Yield numbers at a rate; the second half slowly, and the last one not, before it is enough.

    A fault has to meet a run that has not ended: on a slow machine the daemons are ready late, and
    without this nothing would be left to send.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(first, messages):
        late = begun + (number - first) / rate - loop.time() if rate else 0
        if late > 0:
            await asyncio.sleep(late)
        while number >= messages // 2 and not enough():
            await asyncio.sleep(0.2)
            if number < messages - 1:
                break
        yield number


class Feeder:
    """Sends numbers, from where it stopped."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        folder = Path(settings["folder"])
        self._sealer = Sealer(read_seed(folder / "alice.seed"))
        self._to = [XKey.parse(settings["to"])]
        self._journal = Journal(folder)
        self._enough = folder / ENOUGH
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._headers = {"sender": str(self._sealer.public)}

    async def run(self) -> None:
        """Send what is missing; return when all of it is acknowledged."""
        sent, acked = self._journal.sent(), self._journal.acked()
        servers = tuple(self._settings["servers"])
        options = ConnectOptions(servers=servers, timeout=DEADLINE)
        async with open_link(options) as link:
            publisher = StreamPublisher(API(link), in_flight=IN_FLIGHT)
            async with asyncio.TaskGroup() as group:
                for number, envelope in sent.items():
                    if number not in acked:
                        await self._room.acquire()
                        group.create_task(self._send(publisher, number, envelope))
                first, settings = max(sent, default=-1) + 1, self._settings
                async for number in numbers(
                    first, settings["messages"], settings["rate"], self._enough.exists
                ):
                    await self._room.acquire()
                    subject = f"orders.{number % SUBJECTS}"
                    envelope = self._sealer.seal(
                        payload(number, self._settings["size"]), to=self._to, subject=subject
                    )
                    self._journal.note_sent(number, envelope)
                    group.create_task(self._send(publisher, number, envelope))
            await publisher.close()

    async def _send(self, publisher: StreamPublisher, number: int, envelope: bytes) -> None:
        name = base64.urlsafe_b64encode(message_id(envelope)).decode()[:22]
        headers = encode_block(self._headers | {"Nats-Msg-Id": name})
        subject = f"orders.{number % SUBJECTS}"
        try:
            while True:
                with contextlib.suppress(DeliveryError):
                    ack: PubAck = await (
                        await publisher.submit(subject, envelope, headers, timeout=10, known=True)
                    )
                    break
                await asyncio.sleep(0.1)
        finally:
            self._room.release()
        self._journal.note_acked(number, ack.sequence)


if __name__ == "__main__":
    asyncio.run(Feeder(json.loads(sys.argv[1])).run())

"""Numbers in a stream of plaintext, which a sender daemon seals, and what has become of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.soak.arena import Plan
from tests.soak.feeder import SUBJECTS, numbers, payload
from tests.soak.ledger import Ledger
from tests.soak.sinks import says
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.errors import DeliveryError, XKeyMsgError
from xkeymsg.transport.headers import encode_block

_MEANWHILE: Final = 64
"""How many a sender has under way."""


class Places:
    """Publishes numbers, and remembers which were under way at a fault."""

    def __init__(self, api: API) -> None:
        self._api = api
        self._acked: dict[int, int] = {}  # by its place in the stream, the number
        self._marks: list[tuple[int, int, int]] = []

    async def publish(self, plan: Plan, enough: Callable[[], bool]) -> None:
        """Have the source's stream keep all numbers, at the plan's rate, each once."""
        publisher, room = StreamPublisher(self._api, in_flight=128), asyncio.Semaphore(128)

        async def send(number: int) -> None:
            subject, data = f"plain.{number % SUBJECTS}", payload(number, plan.size)
            headers = encode_block({"Nats-Msg-Id": str(number)})
            try:
                while True:
                    with contextlib.suppress(DeliveryError):
                        ack: PubAck = await (
                            await publisher.submit(subject, data, headers, timeout=10, known=True)
                        )
                        self._acked[ack.sequence] = number
                        return
                    await asyncio.sleep(0.1)
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            async for number in numbers(0, plan.messages, plan.rate, enough):
                await room.acquire()
                group.create_task(send(number))
        await publisher.close()

    def published(self) -> int:
        """Return how many the source's stream has acknowledged."""
        return len(self._acked)

    async def mark(self) -> None:
        """Take note of what the sender has, at a fault."""
        with contextlib.suppress(XKeyMsgError):
            info = await self._api.request("CONSUMER.INFO.PLAIN.sealing")
            floor, last = info["ack_floor"]["stream_seq"], info["delivered"]["stream_seq"]
            self._marks.append((floor, last, info["num_ack_pending"]))

    async def sealed(self, most: int = 0) -> None:
        """Wait until the sender has no more than so many to do."""
        while True:
            with contextlib.suppress(XKeyMsgError):
                info = await self._api.request("CONSUMER.INFO.PLAIN.sealing")
                if info["num_pending"] + info["num_ack_pending"] <= most:
                    return
            await asyncio.sleep(0.1)

    def read(self, ledger: Ledger, folder: Path, plan: Plan) -> None:
        """Read the files, by numbers: a message that is sealed again has another id."""
        ledger.sent = {str(number): number for number in range(plan.messages)}
        ledger.acked = set(map(str, self._acked.values()))
        numbers: dict[str, str] = {}
        for path in folder.glob("*.json"):
            record = json.loads(path.read_bytes())
            number = json.loads(record["data"])["n"]
            ledger.altered += not says(ledger, record, number, plan.size)
            ledger.delivered[str(number)] += 1
            numbers[record["id"]] = str(number)
        # What was copied is known by its id, and one that nobody delivered stays known by it.
        for counts in (ledger.aside, ledger.replayed):
            by_id = dict(counts)
            counts.clear()
            for name, count in by_id.items():
                counts[numbers.get(name, name)] += count
        # What was not acknowledged, and what went by between the question and the kill.
        ledger.at_most = sum(pending + _MEANWHILE for _, _, pending in self._marks)
        for floor, last, _ in self._marks:
            for sequence in range(floor + 1 - _MEANWHILE, last + 1 + _MEANWHILE):
                if sequence in self._acked:
                    ledger.in_flight[str(self._acked[sequence])] += 1

"""A stream, those who publish sealed messages into it, and those who consume it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.running import DEADLINE
from xkeymsg.client.jetstream import quarantine
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.events import ConsumerEvent
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine import Quarantine, create_quarantine
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.message import Message
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

ALICE, BOB, EVE = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
QUICK = FailurePolicy(backoff=0.05, key_delay=0.2, patience=1.0)


def options(server: NATSServer, **more: Any) -> ConnectOptions:
    return ConnectOptions(servers=(server.url,), timeout=DEADLINE, **more)


@dataclass
class Stage:
    """One server with a stream `S` of `h.>`, and a connection of everybody's."""

    server: NATSServer
    link: Link
    api: API
    sealer: Sealer = field(default_factory=lambda: Sealer(ALICE))
    handled: list[bytes] = field(default_factory=list)
    events: list[ConsumerEvent] = field(default_factory=list)
    _change: asyncio.Condition = field(default_factory=asyncio.Condition)

    @staticmethod
    def durable() -> DurableOptions:
        return DurableOptions()

    def seal(self, data: bytes, subject: str = "h.a", to: XKeyPair = BOB) -> bytes:
        return self.sealer.seal(data, to=[to.public], subject=subject)

    async def send(
        self, data: bytes, subject: str = "h.a", headers: dict[str, str] | None = None
    ) -> None:
        """Have the stream store something."""
        block = encode_block(headers or {})
        raw = await self.link.request(subject, data, headers=block, timeout=DEADLINE)
        assert b'"seq"' in raw.data, raw.data

    async def publish(self, *data: bytes, subject: str = "h.a") -> None:
        """Have the stream store sealed messages."""
        for each in data:
            await self.send(self.seal(each, subject), subject)

    async def pour(self, *envelopes: bytes, subject: str = "h.a") -> None:
        """Have the stream store many messages, without an answer for each."""
        before = await self.messages()
        for each in envelopes:
            await self.link.publish(subject, each)
        async with asyncio.timeout(60):
            while await self.messages() < before + len(envelopes):  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.02)

    async def handle(self, message: Message) -> None:
        self.handled.append(message.data)
        await self.changed()

    def note(self, event: ConsumerEvent) -> None:
        self.events.append(event)
        asyncio.get_running_loop().create_task(self.changed())

    async def changed(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def until(self, condition: Callable[[], object], seconds: float = DEADLINE) -> None:
        """Wait until something is so; it is looked at whenever something happened."""
        async with asyncio.timeout(seconds):
            while not condition():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05), self._change:
                        await self._change.wait()

    def kinds(self, kind: str) -> list[str]:
        """The codes of all events of a kind."""
        return [event.code for event in self.events if event.kind == kind]

    def consumer(
        self,
        handler: Callable[[Message], Awaitable[object]] | None = None,
        *,
        durable: str = "d",
        reader: XKeyPair = BOB,
        senders: Any = None,
        create: DurableOptions | None = None,
        link: Link | None = None,
        limits: Limits | None = None,
        opening: Callable[[], Any] | None = None,
        rate: float = 500.0,
        **more: Any,
    ) -> Consumer[Message]:
        # A server that is starting can leave a request without a reply, for as long as this.
        api = API(link or self.link, timeout=DEADLINE / 6)
        whom = ClientTrust({ALICE.public} if senders is None else senders)
        settings: dict[str, Any] = {"policy": QUICK, "heartbeat": 0.3, "expires": 2.0} | more
        return Consumer(
            api,
            "S",
            durable,
            handler or self.handle,
            new_opening=opening
            or (lambda: OpeningScope(Keyring(reader), whom, subjects="h.>", limits=limits)),
            new_quarantine=lambda tell: Quarantine(api, b"k" * 32, rate=rate, on_blocked=tell),
            create=create or DurableOptions(),
            on_event=self.note,
            **settings,
        )

    async def info(self, durable: str = "d") -> dict[str, Any]:
        return await self.api.request(f"CONSUMER.INFO.S.{durable}")

    async def pending(self, durable: str = "d") -> tuple[int, int]:
        """What is out, and what is still to be delivered."""
        info = await self.info(durable)
        return info["num_ack_pending"], info["num_pending"]

    async def messages(self, stream: str = "S") -> int:
        """How many messages a stream holds."""
        state = (await self.api.request(f"STREAM.INFO.{stream}"))["state"]
        assert isinstance(state["messages"], int)
        return state["messages"]

    async def settled(self, durable: str = "d", seconds: float = DEADLINE) -> None:
        """Wait until the server has an answer to everything."""
        async with asyncio.timeout(seconds):
            while await self.pending(durable) != (0, 0):  # noqa: ASYNC110 - the server's, not ours
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def on_stage(
    server: NATSServer, *, quarantine: bool = True, **config: Any
) -> AsyncIterator[Stage]:
    async with open_link(options(server)) as link:
        api = API(link, timeout=DEADLINE)
        await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["h.>"], **config})
        if quarantine:
            await create_quarantine(api)
        yield Stage(server, link, api)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarantine that answers late still takes records."""
    monkeypatch.setattr(quarantine, "UNPROVEN_TIMEOUT", DEADLINE)
    monkeypatch.setattr(quarantine, "PROVEN_TIMEOUT", DEADLINE)


@pytest.fixture
async def stage(jetstream_server: NATSServer) -> AsyncIterator[Stage]:
    async with on_stage(jetstream_server) as stage:
        yield stage

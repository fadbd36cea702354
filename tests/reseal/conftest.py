"""Alice writes, Rita reads and reseals, Carol and Dave get copies, Eve is nobody's peer."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE
from xkeymsg import (
    Message,
    Opener,
    Policy,
    ResealReport,
    Sealer,
    XKey,
    XKeyPair,
    reseal_bucket,
    reseal_stream,
)
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import Stored
from xkeymsg.envelope.inspect import message_id
from xkeymsg.limits import AtRest
from xkeymsg.testing import NATSServer
from xkeymsg.testing.pytest_plugin import peers_of
from xkeymsg.transport.headers import encode_block

ALICE, RITA, CAROL, DAVE, EVE = (XKeyPair.generate() for _ in range(5))
PAIRS = {"alice": ALICE, "rita": RITA, "carol": CAROL, "dave": DAVE}
PEERS = peers_of(PAIRS)


class Place:
    """A server with the stream `ORDERS`, and Rita's connection."""

    def __init__(self, server: NATSServer, client: Client, folder: Path) -> None:
        self.server, self.client, self.folder = server, client, folder
        self.api = client.js.api
        self.sealer = Sealer(ALICE)

    def seal(self, data: bytes, subject: str = "orders.new", **more: Any) -> bytes:
        return self.sealer.seal(data, to=[RITA.public], subject=subject, **more)

    async def store(
        self, envelope: bytes, subject: str = "orders.new", headers: dict[str, str] | None = None
    ) -> None:
        block = encode_block(headers or {})
        raw = await self.api.link.request(subject, envelope, headers=block, timeout=DEADLINE)
        assert b'"seq"' in raw.data, raw.data

    async def fill(self, count: int, *, since: int = 0) -> list[str]:
        """Store messages, and return their ids."""
        names = []
        for number in range(since, since + count):
            envelope = self.seal(b"%d" % number)
            await self.store(envelope)
            names.append(base64.urlsafe_b64encode(message_id(envelope))[:22].decode())
        return names

    async def reseal(self, **more: Any) -> ResealReport:
        given: dict[str, Any] = {"into": "COPIES", "to": "carol", "create": True}
        given["ledger"] = self.folder / "ledger"
        return await reseal_stream(self.client, more.pop("stream", "ORDERS"), **given | more)

    async def reseal_bucket(self, **more: Any) -> ResealReport:
        given: dict[str, Any] = {"to": ["rita", "carol"], "ledger": self.folder / "ledger"}
        return await reseal_bucket(self.client, "config", **given | more)

    async def stored(self, stream: str = "COPIES") -> list[Stored]:
        found, at = [], 1
        while (each := await self.api.next_message(stream, at, ">")) is not None:
            found.append(each)
            at = each.sequence + 1
        return found

    async def ids(self, stream: str = "COPIES") -> list[str]:
        """The ids of the originals of all copies."""
        names = [dict(each.headers)["Nats-Msg-Id"] for each in await self.stored(stream)]
        assert all(name.endswith(f".{RITA.public}") for name in names)
        return [name.split(".")[1] for name in names]

    async def add_bucket(self, history: int = 1) -> None:
        await self.api.request(
            "STREAM.CREATE.KV_config",
            {
                "name": "KV_config",
                "subjects": ["$KV.config.>"],
                "max_msgs_per_subject": history,
                "storage": "file",
                "discard": "new",
                "allow_rollup_hdrs": True,
                "deny_delete": True,
            },
        )

    async def put(self, key: str, data: bytes, **more: Any) -> None:
        subject = f"$KV.config.{key}"
        await self.store(self.seal(data, subject, **more), subject)


def opened(data: bytes, reader: XKeyPair = CAROL, sender: XKey = RITA.public) -> Message:
    return Opener(reader, {sender}, replay=AtRest()).open(data, subject=">")


def everything() -> Policy:
    return Policy([("/**", ["all"])])


@pytest.fixture
async def place(jetstream_server: NATSServer, tmp_path: Path) -> AsyncIterator[Place]:
    async with xkeymsg.connect(
        jetstream_server.url, key=RITA, trust=PEERS, timeout=DEADLINE
    ) as client:
        await client.js.add_stream("ORDERS", "orders.>")
        yield Place(jetstream_server, client, tmp_path)

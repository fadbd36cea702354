"""A writer, two readers and a broker that does whatever it likes with one bucket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

import xkeymsg
from tests.client.conftest import nothing_is_left_behind
from tests.running import DEADLINE
from xkeymsg import Client, ObjectStore, XKeyPair
from xkeymsg.objects.names import metadata_subject
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block

ALICE, BOB, CAROL, EVE = (XKeyPair.generate() for _ in range(4))
BUCKET = "scans"


@dataclass
class Scene:
    """Alice writes, for herself, Bob and Carol; `broker` is a connection without restrictions."""

    server: NATSServer
    alice: Client
    bob: Client
    carol: Client
    writer: ObjectStore
    reader: ObjectStore

    @property
    def api(self) -> Any:
        return self.alice.js.api

    async def entry(self, name: str, bucket: str = BUCKET) -> dict[str, Any]:
        """The entry of an object as it is stored."""
        stored = await self.api.last_message(f"OBJ_{bucket}", metadata_subject(bucket, name))
        found = json.loads(stored.data)
        assert isinstance(found, dict)
        return found

    async def publish(self, subject: str, data: bytes, **headers: str) -> None:
        block = encode_block({name.replace("_", "-"): value for name, value in headers.items()})
        raw = await self.api.link.request(subject, data, headers=block, timeout=DEADLINE)
        assert b'"error"' not in raw.data

    async def replace_entry(self, name: str, entry: Any, bucket: str = BUCKET) -> None:
        """Store another entry, as a broker or anyone with the permission can."""
        data = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
        await self.publish(metadata_subject(bucket, name), data, Nats_Rollup="sub")

    async def chunks(self, name: str, bucket: str = BUCKET) -> list[bytes]:
        """The chunks of an object as they are stored."""
        subject = f"$O.{bucket}.C.{(await self.entry(name, bucket))['nuid']}"
        return await self.messages(subject, bucket)

    async def messages(self, subject: str, bucket: str = BUCKET) -> list[bytes]:
        found, sequence = [], 1
        while stored := await self.api.next_message(f"OBJ_{bucket}", sequence, subject):
            found.append(stored.data)
            sequence = stored.sequence + 1
        return found

    async def replace_chunks(self, name: str, chunks: list[bytes]) -> None:
        """Store other chunks instead of those of an object."""
        subject = f"$O.{BUCKET}.C.{(await self.entry(name))['nuid']}"
        await self.api.request(f"STREAM.PURGE.OBJ_{BUCKET}", {"filter": subject})
        for chunk in chunks:
            await self.publish(subject, chunk)

    async def stored(self, bucket: str = BUCKET) -> int:
        """The number of messages in the bucket."""
        state = (await self.api.request(f"STREAM.INFO.OBJ_{bucket}"))["state"]
        return int(state["messages"])


@contextlib.asynccontextmanager
async def scene_on(server: NATSServer, bucket: str = BUCKET) -> AsyncIterator[Scene]:
    writers = {ALICE.public}
    async with (
        xkeymsg.connect(server.url, key=ALICE, trust=writers, timeout=DEADLINE) as alice,
        xkeymsg.connect(server.url, key=BOB, trust=writers, timeout=DEADLINE) as bob,
        xkeymsg.connect(server.url, key=CAROL, trust=writers, timeout=DEADLINE) as carol,
    ):
        for client in (alice, bob, carol):
            client.js.api.timeout = DEADLINE
        to = [pair.public for pair in (ALICE, BOB, CAROL)]
        writer = alice.objects(bucket, to=to)
        await writer.init(storage="memory")
        yield Scene(server, alice, bob, carol, writer, bob.objects(bucket))


@pytest.fixture
async def scene(jetstream_server: NATSServer) -> AsyncIterator[Scene]:
    async with scene_on(jetstream_server) as made:
        yield made


__all__ = ("ALICE", "BOB", "BUCKET", "CAROL", "EVE", "Scene", "nothing_is_left_behind", "scene_on")

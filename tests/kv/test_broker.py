"""A broker that answers with other entries than those asked for, or with ever more; lost acks."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.kv.conftest import ALICE, BOB, BUCKET, PEERS, Pair, taken, writer
from tests.kv.test_attacks import codes
from xkeymsg import (
    ConfigurationError,
    DeliveryError,
    LimitExceededError,
    RollbackMemory,
    Sealer,
    XKeyPair,
    connect,
)
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.errors import WrongRevisionError
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.names import BlindNames
from xkeymsg.testing import MemoryNATS, NATSServer
from xkeymsg.testing.kv import MemoryBucket


def delivering(
    patch: pytest.MonkeyPatch, *entries: StoredEntry, forever: bool = False, different: bool = False
) -> None:
    """The broker delivers these entries to whoever asks for any."""

    async def follow(
        _: MemoryBucket, _pattern: str, _deliver: str
    ) -> AsyncGenerator[StoredEntry | None]:
        number = 0
        while True:
            for each in entries:
                number += 1
                key = f"{each.key}{number}" if different else each.key
                yield each._replace(revision=number, key=key)
                await asyncio.sleep(0)
            if not forever:
                yield None
                await asyncio.Event().wait()

    patch.setattr(MemoryBucket, "follow", follow)


@pytest.fixture
async def memory_pair() -> AsyncGenerator[tuple[MemoryBucket, Pair]]:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        yield nats.bucket(BUCKET), (alice, bob)


MemoryPair = tuple[MemoryBucket, Pair]


async def test_k5_entries_of_another_key_are_refused_in_a_history_and_a_watch(
    memory_pair: MemoryPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-5: an entry that is at its own place is not an answer for another one."""
    bucket, (alice, bob) = memory_pair
    await writer(alice).put("door.back", b"shut")
    back = await bucket.last("door.back")
    await writer(alice).put("door.front", b"open")
    front = await bucket.last("door.front")
    assert front is not None
    assert back is not None
    reader = bob.kv(BUCKET)
    with monkeypatch.context() as patch:
        delivering(patch, front)
        [entry] = await reader.history("door.back")
        async with reader.watch("door.back") as watch:
            [seen, _] = await taken(watch, 2)
        for each in (entry, seen):
            assert each is not None
            assert (each.operation, each.value) == ("refused", None)
            assert getattr(each.error, "code", None) == "subject_mismatch"
        assert await reader.keys("door.back") == []
    assert (await reader.get("door.back")).value == b"shut"  # the mark is not that of the front


async def test_a_history_without_end_is_refused(
    memory_pair: MemoryPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, (alice, bob) = memory_pair
    await writer(alice).put("k", b"1")
    entry = await bucket.last("k")
    assert entry is not None
    delivering(monkeypatch, entry, forever=True)
    with pytest.raises(LimitExceededError):
        await bob.kv(BUCKET).history("k")


async def test_keys_without_end_are_refused(
    memory_pair: MemoryPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (_, bob) = memory_pair
    delivering(monkeypatch, StoredEntry("k", 1, b"", b"junk"), forever=True, different=True)
    with pytest.raises(LimitExceededError):
        await bob.kv(BUCKET, memory=RollbackMemory(keys=100)).keys()


async def test_a_watch_does_not_remember_ever_more_keys_of_strangers(
    memory_pair: MemoryPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (_, bob) = memory_pair
    delivering(monkeypatch, StoredEntry("k", 1, b"", b"junk"), forever=True, different=True)
    async with bob.kv(BUCKET, memory=RollbackMemory(keys=10)).watch() as watch:
        await taken(watch, 50)
        assert repr(watch) == "<KVWatch of 10 keys>"
    delivering(monkeypatch, StoredEntry("k" * 300, 1, b"", b"junk"), forever=True)
    async with bob.kv(BUCKET).watch() as watch:
        await taken(watch, 5)
        assert repr(watch) == "<KVWatch of 0 keys>"


@pytest.mark.parametrize("key", ["_xkm.other", "é", "a..b", "a b"])
async def test_k3_an_entry_with_an_invalid_key_is_refused(
    memory_pair: MemoryPair, key: str
) -> None:
    """K-3: an admitted sender with a program of its own has sealed it."""
    bucket, (_, bob) = memory_pair
    envelope = b"xkm1"
    if " " not in key and ".." not in key:
        envelope = Sealer(ALICE).seal(b"1", to=[BOB.public], subject=f"$KV.{BUCKET}.{key}")
    await bucket.store(key, envelope)
    async with bob.kv(BUCKET).watch() as watch:
        [entry, _] = await taken(watch, 2)
    assert entry is not None
    assert getattr(entry.error, "code", None) == "malformed"


@pytest.mark.parametrize("key", ["_xkm.names", "a b", "a\x1b[31m", "", "a..b"])
async def test_k3_an_entry_with_an_invalid_sealed_key_is_refused(
    memory_pair: MemoryPair, key: str
) -> None:
    """K-3, with blinded names."""
    bucket, (alice, bob) = memory_pair
    wards = alice.kv(BUCKET, to=["alice", "bob"], blind=True)
    await wards.init()
    names = (await wards.codec()).names
    assert isinstance(names, BlindNames)
    name = names.blind(key)
    headers = TransportHeaders([("xkm-kv-key", key)])
    subject = f"$KV.{BUCKET}.{name}"
    sealed = Sealer(ALICE).seal(b"1", to=[BOB.public], subject=subject, headers=headers)
    await bucket.store(name, sealed)
    async with bob.kv(BUCKET, blind=True).watch() as watch:
        [entry, _] = await taken(watch, 2)
    assert entry is not None
    assert getattr(entry.error, "code", None) == "malformed"


# --- arguments that would switch a check off ------------------------------------------------------


@pytest.mark.parametrize("age", [math.nan, math.inf, 0, -1])
async def test_a_greatest_age_that_is_none_is_refused(memory_pair: MemoryPair, age: float) -> None:
    _, (_, bob) = memory_pair
    with pytest.raises(ConfigurationError, match="max_age"):
        bob.kv(BUCKET, max_age=age)


async def test_a_revision_is_a_number(memory_pair: MemoryPair) -> None:
    """It becomes a header for the server: a text could add others."""
    _, (alice, _) = memory_pair
    bucket: Any = writer(alice)
    revision = await bucket.create("k", b"1")
    for last in (f"{revision}\r\nNats-Rollup: all", str(revision), True, 1.0):
        with pytest.raises(TypeError):
            await bucket.update("k", b"2", last)
    with pytest.raises(ConfigurationError):
        await bucket.update("k", b"2", -1)
    with pytest.raises(TypeError):
        await bucket.get("k", "1")
    for duration in (math.nan, math.inf):
        assert await codes(bucket.put("k", b"2", expires=duration)) == ["configuration"]
        assert await codes(bucket.init(ttl=duration)) == ["configuration"]


# --- honest brokers and writers -------------------------------------------------------------------


async def test_create_over_a_tombstone_is_not_refused_because_a_replica_lags(
    memory_pair: MemoryPair,
) -> None:
    bucket, (alice, bob) = memory_pair
    await writer(alice).put("k", b"old")
    old = await bucket.last("k")
    await writer(alice).delete("k")
    bucket.lagging["k"] = old
    await alice.kv(BUCKET, to=["alice", "bob"]).create("k", b"new")
    del bucket.lagging["k"]
    assert (await bob.kv(BUCKET).get("k")).value == b"new"


async def test_k17_two_bucket_objects_of_one_client_write_in_the_order_of_sealing(
    memory_pair: MemoryPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-17: a client is one writer, whose entries have one order."""
    bucket, (alice, bob) = memory_pair
    store, late = MemoryBucket.store, [0.2, 0.0]

    async def slowly(self: MemoryBucket, *arguments: Any) -> int:
        await asyncio.sleep(late.pop(0))
        return await store(self, *arguments)

    monkeypatch.setattr(MemoryBucket, "store", slowly)
    reader = bob.kv(BUCKET)
    async with reader.watch() as watch:
        await taken(watch, 1)
        await asyncio.gather(writer(alice).put("k", b"1"), writer(alice).put("k", b"2"))
        entries = await taken(watch, 2)
    assert [each.value for each in entries if each] == [b"1", b"2"]
    gc.collect(1)
    assert len(bucket.entries) == 1


async def test_an_update_that_another_writer_may_have_replaced_is_not_reported_as_refused(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An increment that is stored, and repeated after wrong_revision, would count twice."""
    url = jetstream_server.url
    async with (
        connect(url, key=ALICE, trust=PEERS) as alice,
        connect(url, key=BOB, trust=PEERS) as bob,
    ):
        bucket, other = writer(alice), writer(bob)
        await bucket.init()
        revision = await bucket.create("k", b"1")
        link, sent = alice.js.api.link, 0
        genuine = link.request

        async def losing(subject: str, data: bytes, **more: Any) -> Any:
            nonlocal sent
            if not subject.startswith("$KV."):
                return await genuine(subject, data, **more)
            sent += 1
            answer = await genuine(subject, data, **more)
            if sent > 1:
                return answer
            await other.put("k", b"3")
            raise DeliveryError("no answer")

        monkeypatch.setattr(link, "request", losing)
        with pytest.raises(DeliveryError, match="may or may not") as caught:
            await bucket.update("k", b"2", revision)
        assert not isinstance(caught.value, WrongRevisionError)
        with pytest.raises(WrongRevisionError):
            await bucket.update("k", b"2", revision)


async def test_values_of_many_writers_of_one_key_at_a_time_are_no_rollbacks() -> None:
    nats, count, reader = MemoryNATS(), 40, XKeyPair.generate()
    nats.bucket(BUCKET).history = 64
    writers = [XKeyPair.generate() for _ in range(count)]
    trust = {pair.public for pair in writers}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(nats.connect(key=reader, trust=trust))
        buckets = []
        for pair in writers:
            each = await stack.enter_async_context(nats.connect(key=pair, trust=trust))
            buckets.append(each.kv(BUCKET, to=[reader.public]))
        async with client.kv(BUCKET).watch("k") as watch:
            await taken(watch, 1)
            for _ in range(3):
                await asyncio.gather(*(each.put("k", b"1") for each in buckets))
            entries = await taken(watch, 3 * count)
    assert {each.operation for each in entries if each} == {"put"}

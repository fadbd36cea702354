"""What a broker, a stranger and a dismissed writer try with a bucket; each has its own code."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kv.conftest import ALICE, BOB, BUCKET, EVE, PEERS, Broker, Pair, taken, writer
from xkeymsg import (
    KeyDeletedError,
    KVBucket,
    NotSealedError,
    Peers,
    RollbackMemory,
    Sealer,
    SenderNotAdmittedError,
    StaleError,
    SubjectMismatchError,
    UnauthenticatedDeletionError,
    UnsupportedVersionError,
    ValueRollbackError,
    XKeyMsgError,
)
from xkeymsg.client.client import Client
from xkeymsg.client.outgoing import Room
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.testing import MemoryNATS


async def codes(*calls: Any) -> list[str]:
    """The codes of the errors that calls raise."""
    found = []
    for call in calls:
        with pytest.raises(XKeyMsgError) as caught:
            await call
        found.append(caught.value.code)
    return found


# --- moved ----------------------------------------------------------------------------------------


async def test_k5_a_value_moved_to_another_key_is_refused(broker: Broker, pair: Pair) -> None:
    """K-5."""
    alice, bob = pair
    await writer(alice).put("door.front", b"open")
    moved = await broker.stored(alice, "door.front")
    await broker.store(alice, "door.back", moved.data)
    with pytest.raises(SubjectMismatchError) as caught:
        await bob.kv(BUCKET).get("door.back")
    assert caught.value.code == "subject_mismatch"


async def test_k5_a_value_moved_to_another_bucket_is_refused(broker: Broker, pair: Pair) -> None:
    """K-5."""
    alice, bob = pair
    await writer(alice).put("door", b"open")
    await alice.kv("other").init()
    await broker.store(alice, "door", (await broker.stored(alice, "door")).data, bucket="other")
    with pytest.raises(SubjectMismatchError):
        await bob.kv("other").get("door")


# --- rolled back ----------------------------------------------------------------------------------


async def rolled_back(broker: Broker, alice: Client, later: Any = None) -> None:
    """Write twice, reading each; then the broker stores the first value again."""
    bucket = writer(alice)
    await bucket.put("k", b"old")
    old = await broker.stored(alice, "k")
    if later is not None:
        await later()
    await bucket.put("k", b"new")
    if later is not None:
        await later()
    await broker.store(alice, "k", old.data)


async def test_k10_a_value_stored_again_is_a_rollback(broker: Broker, pair: Pair) -> None:
    """K-10."""
    alice, bob = pair
    reader = bob.kv(BUCKET)
    await rolled_back(broker, alice, lambda: reader.get("k"))
    for _ in range(2):
        with pytest.raises(ValueRollbackError) as caught:
            await reader.get("k")
        assert caught.value.code == "value_rollback"
    with pytest.raises(ValueRollbackError):
        await reader.history("k")


async def test_k10_the_writer_itself_notices_a_rollback(broker: Broker, pair: Pair) -> None:
    """K-10."""
    alice, _ = pair
    await rolled_back(broker, alice)
    bucket = writer(alice)
    assert (await bucket.get("k")).value == b"old"  # another memory: a fresh reader
    await bucket.put("k", b"newer")
    newer = await broker.stored(alice, "k")
    await bucket.put("k", b"newest")
    await broker.store(alice, "k", newer.data)
    with pytest.raises(ValueRollbackError):
        await bucket.get("k")


async def test_a_fresh_reader_cannot_know(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    await rolled_back(broker, alice)
    assert (await bob.kv(BUCKET).get("k")).value == b"old"


async def test_k14_a_rollback_is_noticed_after_a_restart(
    broker: Broker, pair: Pair, tmp_path: Path
) -> None:
    """K-14."""
    alice, bob = pair
    with RollbackMemory(tmp_path / "marks") as memory:
        reader = bob.kv(BUCKET, memory=memory)
        await rolled_back(broker, alice, lambda: reader.get("k"))
    with (
        RollbackMemory(tmp_path / "marks") as memory,
        pytest.raises(ValueRollbackError),
    ):
        await bob.kv(BUCKET, memory=memory).get("k")


async def test_a_rollback_in_a_watch_is_yielded_as_refused(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    async with bob.kv(BUCKET).watch() as watch:
        await taken(watch, 1)
        await rolled_back(broker, alice)
        *_, last = await taken(watch, 3)
    assert last is not None
    assert last.value is None
    assert last.operation == "refused"
    assert isinstance(last.error, ValueRollbackError)
    assert bob.stats.refused == {"value_rollback": 1}


async def test_k13_a_recreated_bucket_is_no_rollback(broker: Broker, pair: Pair) -> None:
    """K-13: the revision is the broker's word; it begins with 1 again."""
    alice, bob = pair
    reader = bob.kv("other")
    await alice.kv("other").init()
    bucket = alice.kv("other", to=["bob"])
    for _ in range(5):
        await bucket.put("k", b"1")
    await reader.get("k")
    if broker.server is not None:
        await alice.js.api.request("STREAM.DELETE.KV_other")
    await alice.kv("other").init()
    await bucket.put("k", b"2")
    assert (await reader.get("k")).value == b"2"


async def test_k16_a_value_from_the_future_is_refused(
    broker: Broker, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-16: it would make all honest values of the key a rollback."""
    alice, bob = pair
    monkeypatch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() + 60 * 10**9)
    await writer(alice).put("k", b"1")
    with pytest.raises(StaleError):
        await bob.kv(BUCKET).get("k")


async def test_k17_a_writer_with_a_slow_clock_waits_or_refuses(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-17: readers would refuse what it seals."""
    alice, bob = pair
    reader, bucket = bob.kv(BUCKET), writer(alice)
    slow = bob.kv(BUCKET, to=["alice", "bob"], memory=reader.memory)
    monkeypatch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() + 200_000_000)
    await bucket.put("k", b"fast")
    await reader.get("k")
    monkeypatch.setattr("xkeymsg.sealer.now_ns", time.time_ns)
    await slow.put("k", b"slow")
    assert (await bucket.get("k")).value == b"slow"
    monkeypatch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() + 20 * 10**9)
    await bucket.put("k", b"fast")
    await reader.get("k")
    monkeypatch.setattr("xkeymsg.sealer.now_ns", time.time_ns)
    with pytest.raises(StaleError, match="clock"):
        await slow.put("k", b"slow")


# --- deletions ------------------------------------------------------------------------------------

MARKERS = [
    {"KV-Operation": "DEL"},
    {"KV-Operation": "PURGE", "Nats-Rollup": "sub"},
    {"Nats-Marker-Reason": "MaxAge"},
]


@pytest.mark.parametrize("headers", MARKERS, ids=["delete", "purge", "expiry"])
async def test_k15_a_deletion_by_the_broker_is_not_authenticated(
    broker: Broker, pair: Pair, headers: dict[str, str]
) -> None:
    """K-15."""
    if broker.server is not None:
        headers = {name: value for name, value in headers.items() if name != "Nats-Rollup"}
    alice, bob = pair
    reader = bob.kv(BUCKET)
    await writer(alice).put("k", b"1")
    for seen in (False, True):
        await broker.store(alice, "k", b"", headers)
        with pytest.raises(UnauthenticatedDeletionError) as caught:
            await reader.get("k")
        assert not isinstance(caught.value, KeyDeletedError)
        assert caught.value.code == "unauthenticated_deletion"
        if not seen:
            await writer(alice).put("k", b"2")
            await reader.get("k")
    [*_, marker] = await reader.history("k")
    assert marker.operation == "marker"
    assert await reader.keys() == []


async def test_k15_a_value_that_vanishes_is_noticed(broker: Broker, pair: Pair) -> None:
    """K-15."""
    alice, bob = pair
    reader, bucket = bob.kv(BUCKET), writer(alice)
    await bucket.put("k", b"1")
    await reader.get("k")
    if broker.server is None:
        broker.memory.bucket(BUCKET).entries.clear()
    else:
        await alice.js.api.request(f"STREAM.DELETE.KV_{BUCKET}")
        await alice.kv(BUCKET).init(history=8)
    assert await codes(reader.get("k"), reader.history("k")) == ["unauthenticated_deletion"] * 2
    assert await codes(bucket.create("k", b"2")) == ["unauthenticated_deletion"]


async def test_a_vanished_value_that_has_expired_is_not_found(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    reader = bob.kv(BUCKET)
    await writer(alice).put("k", b"1", expires=0.3)
    await reader.get("k")
    await broker.store(alice, "k", b"", {"Nats-Marker-Reason": "MaxAge"})
    await asyncio.sleep(0.4)
    assert await codes(reader.get("k")) == ["key_not_found"]


async def test_k8_a_tombstone_cannot_pass_as_a_value_nor_the_reverse(
    broker: Broker, pair: Pair
) -> None:
    """K-8: the sealed operation counts, not the header that the broker can write."""
    alice, bob = pair
    bucket = writer(alice)
    await bucket.put("value", b"1")
    await broker.store(
        alice, "value", (await broker.stored(alice, "value")).data, {"KV-Operation": "DEL"}
    )
    assert (await bob.kv(BUCKET).get("value")).value == b"1"
    await bucket.put("gone", b"1")
    await bucket.delete("gone")
    await broker.store(alice, "gone", (await broker.stored(alice, "gone")).data)
    assert await codes(bob.kv(BUCKET).get("gone")) == ["key_deleted"]


async def test_k10_a_tombstone_replayed_to_a_recreated_key_is_a_rollback(
    broker: Broker, pair: Pair
) -> None:
    """K-10."""
    alice, bob = pair
    bucket, reader = writer(alice), bob.kv(BUCKET)
    await bucket.put("k", b"1")
    await bucket.delete("k")
    tombstone = await broker.stored(alice, "k")
    await bucket.create("k", b"2")
    assert (await reader.get("k")).value == b"2"
    await broker.store(alice, "k", tombstone.data, {"KV-Operation": "DEL"})
    assert await codes(reader.get("k")) == ["value_rollback"]


async def test_k10_a_value_replayed_after_its_deletion_is_a_rollback(
    broker: Broker, pair: Pair
) -> None:
    """K-10."""
    alice, bob = pair
    bucket, reader = writer(alice), bob.kv(BUCKET)
    await bucket.put("k", b"1")
    value = await broker.stored(alice, "k")
    await bucket.delete("k")
    assert await codes(reader.get("k")) == ["key_deleted"]
    await broker.store(alice, "k", value.data)
    assert await codes(reader.get("k")) == ["value_rollback"]


async def test_a_deleted_key_stays_deleted_when_the_tombstone_vanishes(
    broker: Broker, pair: Pair
) -> None:
    alice, bob = pair
    if broker.server is not None:
        pytest.skip("a server keeps the tombstone")
    await writer(alice).put("k", b"1")
    await writer(alice).delete("k")
    reader = bob.kv(BUCKET)
    assert await codes(reader.get("k")) == ["key_deleted"]
    broker.memory.bucket(BUCKET).entries.clear()
    assert await codes(reader.get("k")) == ["key_deleted"]


# --- strangers ------------------------------------------------------------------------------------


async def test_k7_a_sender_who_may_not_write_the_key_is_refused(broker: Broker, pair: Pair) -> None:
    """K-7."""
    _, bob = pair
    async with broker.connect(EVE) as eve:
        await eve.kv(BUCKET, to=[BOB.public]).put("k", b"1")
        with pytest.raises(SenderNotAdmittedError) as caught:
            await bob.kv(BUCKET).get("k")
        assert caught.value.code == "sender_not_admitted"
    trust = Peers.parse(
        f'peers.alice = {{ xkey = "{ALICE.public}", subjects = ["$KV.{BUCKET}.a.>"] }}\n'
    )
    async with broker.connect(ALICE) as alice, broker.connect(BOB, trust) as strict:
        for key in ("a.x", "b.x"):
            await alice.kv(BUCKET, to=[BOB.public]).put(key, b"1")
        assert (await strict.kv(BUCKET).get("a.x")).value == b"1"
        assert await codes(strict.kv(BUCKET).get("b.x")) == ["sender_not_admitted"]


async def test_k7_a_tombstone_by_a_stranger_deletes_nothing(broker: Broker, pair: Pair) -> None:
    """K-7."""
    alice, bob = pair
    await writer(alice).put("k", b"1")
    async with broker.connect(EVE) as eve:
        await eve.kv(BUCKET, to=[BOB.public]).delete("k")
    assert await codes(bob.kv(BUCKET).get("k")) == ["sender_not_admitted"]


@pytest.mark.parametrize(
    "data", [b"", b"plain", b"xkm", b"xkm1", b"xkm2....", b"xkv1....", b"\0" * 300]
)
async def test_k6_a_plaintext_entry_is_refused(broker: Broker, pair: Pair, data: bytes) -> None:
    """K-6."""
    alice, bob = pair
    await broker.store(alice, "k", data)
    reader = bob.kv(BUCKET)
    with pytest.raises(XKeyMsgError) as caught:
        await reader.get("k")
    assert isinstance(caught.value, NotSealedError) == (not data.startswith((b"xkm", b"xkv1")))
    if data.startswith((b"xkm2", b"xkv1")):
        assert isinstance(caught.value, UnsupportedVersionError)
    assert (await codes(writer(alice).create("k", b"1"))) == ["wrong_revision"]
    async with reader.watch() as watch:
        [entry, end] = await taken(watch, 2)
    assert entry is not None
    assert (entry.operation, end) == ("refused", None)


async def test_a_publisher_cannot_choose_revision_or_key(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    await writer(alice).put("k", b"1")
    stored = await broker.stored(alice, "k")
    headers = {"Nats-Sequence": "999", "Nats-Subject": f"$KV.{BUCKET}.other", "Nats-Stream": "X"}
    revision = await broker.store(alice, "k", stored.data, headers)
    assert (await bob.kv(BUCKET).get("k")).revision == revision


# --- watches that skip ----------------------------------------------------------------------------


async def test_k17_a_watch_that_skips_a_replaced_revision_is_noticed() -> None:
    """K-18."""
    nats = MemoryNATS()
    async with nats.connect(key=ALICE, trust=PEERS) as alice:
        async with nats.connect(key=BOB, trust=PEERS) as bob:
            bucket, broker = writer(alice), nats.bucket(BUCKET)
            broker.history = 8
            first = await bucket.create("k", b"1")
            async with bob.kv(BUCKET).watch() as watch:
                await taken(watch, 2)
                broker.hidden.add(first + 1)
                second = await bucket.update("k", b"2", first)
                await bucket.update("k", b"3", second)
                [gap, entry] = await taken(watch, 2)
                assert gap is not None
                assert entry is not None
                assert (gap.operation, gap.value) == ("gap", None)
                assert getattr(gap.error, "code", None) == "watch_gap"
                assert (entry.value, entry.replaces) == (b"3", second)


async def test_k17_a_broker_that_ignores_compare_and_set_is_noticed() -> None:
    """K-18: two writers replaced one revision; the later ignores the earlier."""
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        bucket, store = writer(alice), nats.bucket(BUCKET)
        first = await bucket.create("k", b"1")
        async with bob.kv(BUCKET).watch() as watch:
            await taken(watch, 2)
            await bucket.update("k", b"2", first)
            await taken(watch, 1)
            codec = await bucket.codec()
            await store.store("k", codec.envelope("k", "k", b"3", Room(0, 0), replaces=first))
            [gap, _] = await taken(watch, 2)
            assert gap is not None
            assert (gap.operation, getattr(gap.error, "code", None)) == ("gap", "watch_gap")


async def test_honest_updates_are_no_gap(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    revision = await bucket.create("k", b"0")
    async with bob.kv(BUCKET).watch() as watch:
        await taken(watch, 2)
        for number in range(5):
            revision = await bucket.update("k", b"%d" % number, revision)
        revision = await bucket.delete("k", revision)
        await bucket.create("k", b"again")
        await bucket.create("new", b"")
        entries = await taken(watch, 8)
    assert [each.operation for each in entries if each] == ["put"] * 5 + ["delete", "put", "put"]


# --- the rest -------------------------------------------------------------------------------------


async def test_two_keys_of_one_memory_file_do_not_mix(pair: Pair, tmp_path: Path) -> None:
    alice, bob = pair
    with RollbackMemory(tmp_path / "marks") as memory:
        bucket, reader = writer(alice), bob.kv(BUCKET, memory=memory)
        await bucket.put("a", b"1")
        await bucket.put("b", b"2")
        assert (await reader.get("b")).value == b"2"
        assert (await reader.get("a")).value == b"1"


async def test_an_error_shows_nothing_of_the_value(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    await broker.store(alice, "k", b"a secret that was stored as plaintext")
    with pytest.raises(NotSealedError) as caught:
        await bob.kv(BUCKET).get("k")
    assert "secret" not in str(caught.value) + repr(caught.value)
    assert "secret" not in repr(StoredEntry("k", 1, b"", b"secret"))


async def test_k9_an_invalid_tombstone_is_refused(broker: Broker, pair: Pair) -> None:
    """K-9: an admitted sender seals an unknown operation, or a tombstone with content."""
    alice, bob = pair
    alices = Sealer(ALICE)
    for operation, data, headers in (
        ("delete", b"x", []),
        ("destroy", b"", []),
        ("", b"", []),
        ("delete", b"", [("xkm-kv-replaces", "-1")]),
        ("delete", b"", [("xkm-kv-replaces", "9" * 30)]),
    ):
        pairs = TransportHeaders([("xkm-kv", operation), *headers])
        envelope = alices.seal(data, to=[BOB.public], subject=f"$KV.{BUCKET}.k", headers=pairs)
        await broker.store(alice, "k", envelope)
        assert await codes(bob.kv(BUCKET).get("k")) == ["malformed"]


async def test_a_broker_that_announces_entries_and_delivers_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KVBucket, "patience", 0.2)
    nats = MemoryNATS()
    async with nats.connect(key=ALICE, trust=PEERS) as alice:
        bucket, broker = writer(alice), nats.bucket(BUCKET)
        await bucket.put("k", b"1")
        broker.silent = True
        assert await codes(bucket.keys(), bucket.history("k")) == ["delivery"] * 2


async def test_a_watch_that_is_cancelled_at_its_start_leaves_no_task() -> None:
    nats = MemoryNATS()
    async with nats.connect(key=ALICE, trust=PEERS) as alice:
        bucket, broker = writer(alice), nats.bucket(BUCKET)
        await bucket.put("k", b"1")
        broker.silent = True
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), bucket.watch(updates_only=True):
                pytest.fail("it has started")
        assert asyncio.all_tasks() == before


# --- honest brokers -------------------------------------------------------------------------------


async def test_a_replica_that_lags_is_no_rollback() -> None:
    nats = MemoryNATS()
    async with nats.connect(key=ALICE, trust=PEERS) as alice:
        bucket, broker = writer(alice), nats.bucket(BUCKET)
        await bucket.put("k", b"old")
        old = await broker.last("k")
        await bucket.put("k", b"new")
        for lagging in (old, None):
            broker.lagging["k"] = lagging
            assert (await bucket.get("k")).value == b"new"


async def test_a_watch_that_lags_behind_a_write_is_no_rollback(pair: Pair) -> None:
    alice, _ = pair
    bucket = writer(alice)
    await bucket.put("k", b"0")
    async with bucket.watch() as watch:
        for number in range(1, 50):
            await bucket.put("k", b"%d" % number)
            await bucket.get("k")
        operations, value = set(), b""
        while value != b"49":
            [entry] = await taken(watch, 1)
            if entry is not None:
                operations.add(entry.operation)
                value = entry.value or b""
    assert operations == {"put"}


async def test_a_watch_that_begins_with_a_value_known_to_be_old_refuses_it(
    broker: Broker, pair: Pair
) -> None:
    alice, bob = pair
    reader = bob.kv(BUCKET)
    await rolled_back(broker, alice, lambda: reader.get("k"))
    async with reader.watch() as watch:
        [entry, _] = await taken(watch, 2)
    assert entry is not None
    assert entry.operation == "refused"
    assert isinstance(entry.error, ValueRollbackError)


async def test_what_a_watch_has_seen_is_remembered(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    reader, bucket = bob.kv(BUCKET), writer(alice)
    await bucket.put("k", b"old")
    old = await broker.stored(alice, "k")
    await bucket.put("k", b"new")
    assert await reader.keys() == ["k"]
    await broker.store(alice, "k", old.data)
    assert await codes(reader.get("k")) == ["value_rollback"]

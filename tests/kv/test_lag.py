"""Replicas that lag: nothing honest is refused or missing, and a rollback is still refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

import xkeymsg
from tests.client.jetstream.test_cluster import SHORT, insist, three_servers
from tests.kv.conftest import ALICE, BOB, BUCKET, EVE, PEERS, taken, writer
from tests.running import DEADLINE, until
from tests.transport.raw import frozen
from xkeymsg import (
    DeliveryError,
    KVBucket,
    KVEntry,
    UnauthenticatedDeletionError,
    ValueRollbackError,
    XKeyMsgError,
)
from xkeymsg.client.client import Client
from xkeymsg.client.jetstream.api import API
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.jetstream import JetStreamStore
from xkeymsg.testing import MemoryNATS, NATSServer
from xkeymsg.testing.kv import MemoryBucket


class Lag:
    """A bucket with three revisions of a key, opened by a reader, and a replica with the first."""

    def __init__(self, nats: MemoryNATS, alice: Client, bob: Client) -> None:
        self.nats, self.alice, self.bob = nats, alice, bob
        self.broker = nats.bucket(BUCKET)
        self.broker.history = 8
        self.bucket, self.reader = writer(alice), bob.kv(BUCKET)

    @property
    def revisions(self) -> list[StoredEntry]:
        return [each for each in self.broker.entries if each.key == "k"]

    async def begin(self) -> None:
        revision = await self.bucket.create("k", b"1")
        for value in (b"2", b"3"):
            revision = await self.bucket.update("k", value, revision)
        assert (await self.reader.get("k")).value == b"3"
        self.broker.lagging["k"] = self.revisions[0]


@pytest.fixture
async def lag() -> AsyncIterator[Lag]:
    nats = MemoryNATS()
    async with nats.connect(key=ALICE, trust=PEERS) as alice:
        async with nats.connect(key=BOB, trust=PEERS) as bob:
            made = Lag(nats, alice, bob)
            await made.begin()
            yield made


@contextlib.contextmanager
def delivering(monkeypatch: pytest.MonkeyPatch, *entries: StoredEntry | None) -> Iterator[None]:
    """Watches get these entries."""

    async def follow(*_: Any) -> AsyncGenerator[StoredEntry | None]:
        for entry in entries:
            yield entry
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBucket, "follow", follow)
        yield


# --- honest brokers -------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [False, True])
async def test_a_history_is_read_from_the_leader_before_it_is_refused(
    lag: Lag, nothing: bool
) -> None:
    if nothing:
        lag.broker.lagging["k"] = None
    assert [each.value for each in await lag.reader.history("k")] == [b"1", b"2", b"3"]
    assert lag.bob.stats.refused == {}


async def test_a_history_that_is_read_twice_counts_what_it_refuses_once(lag: Lag) -> None:
    """A past revision that no admitted sender has sealed, behind a replica that lags."""
    first, *others = lag.revisions
    plain = first._replace(revision=0, data=b"plain")
    lag.broker.entries, lag.broker.lagging["k"] = [plain, first, *others], first
    entries = await lag.reader.history("k")
    assert [each.value for each in entries] == [None, b"1", b"2", b"3"]
    assert lag.bob.stats.refused == {"not_sealed": 1}


def puts(entries: Sequence[KVEntry | None]) -> list[object]:
    """Return the values of entries that must all be of `put`."""
    found = [each for each in entries if each is not None]
    assert {each.operation for each in found} == {"put"}
    return [each.value for each in found]


async def test_keys_of_a_replica_that_lags_are_not_missing(lag: Lag) -> None:
    assert await lag.reader.keys() == ["k"]
    await lag.bucket.delete("k")
    deleted = lag.revisions[-1]
    await lag.bucket.create("k", b"5")
    await lag.reader.get("k")
    lag.broker.lagging["k"] = deleted
    assert await lag.reader.keys() == ["k"]
    lag.broker.lagging["k"] = StoredEntry("k", 1, b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", b"")
    assert await lag.reader.keys() == ["k"]
    assert lag.bob.stats.refused == {}


async def test_a_watch_of_a_replica_that_lags_yields_the_newest_entry_once(lag: Lag) -> None:
    """K-18: and no gap, when the replica delivers what was between them."""
    async with lag.reader.watch() as watch:
        assert [each and each.value for each in await taken(watch, 2)] == [b"3", None]
        lag.broker.lagging.clear()
        await lag.bucket.update("k", b"4", 3)
        await lag.bucket.update("k", b"5", 4)
        entries = await taken(watch, 2)
    assert puts(entries) == [b"4", b"5"]
    assert lag.bob.stats.refused == {}


async def test_a_key_that_a_replica_did_not_have_is_yielded_once(lag: Lag) -> None:
    """K-18."""
    lag.broker.lagging["k"] = None
    async with lag.reader.watch() as watch:
        assert await taken(watch, 1) == [None]
        lag.broker.lagging.clear()
        await lag.bucket.update("k", b"4", 3)
        entries = await taken(watch, 2)
    assert puts(entries) == [b"3", b"4"]
    assert lag.bob.stats.refused == {}


async def test_a_watch_gets_no_gap_if_a_replica_skips_what_was_replaced(lag: Lag) -> None:
    """K-18: with a history of 1, a replica that catches up no longer has what was replaced."""
    lag.broker.hidden.update((2, 3))
    async with lag.reader.watch() as watch:
        assert [each and each.value for each in await taken(watch, 2)] == [b"3", None]
        lag.broker.lagging.clear()
        await lag.bucket.update("k", b"4", 3)
        [entry] = await taken(watch, 1)
    assert entry is not None
    assert (entry.operation, entry.value) == ("put", b"4")


async def test_what_was_read_before_a_watch_began_is_not_a_gap(lag: Lag) -> None:
    """K-18: the replica did not have the key, and no longer has what was replaced."""
    lag.broker.lagging["k"] = None
    lag.broker.hidden.update((1, 2))
    async with lag.reader.watch() as watch:
        assert await taken(watch, 1) == [None]
        lag.broker.lagging.clear()
        await lag.bucket.update("k", b"4", 3)
        entries = await taken(watch, 2)
    assert puts(entries) == [b"3", b"4"]


async def test_a_replica_that_catches_up_during_the_start_repeats_nothing(
    lag: Lag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaces an entry before that is delivered is delivered among the existing ones."""
    lag.broker.lagging.clear()
    with delivering(monkeypatch, *lag.revisions, None):
        async with lag.reader.watch() as watch:
            entries = await taken(watch, 2)
    assert [each and each.value for each in entries] == [b"3", None]


async def test_a_history_of_a_server_is_read_from_the_leader(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with xkeymsg.connect(
        jetstream_server.url, key=ALICE, trust=PEERS, timeout=DEADLINE
    ) as alice:
        bucket = writer(alice)
        await bucket.init(history=8)
        await bucket.put("k", b"1")
        old = await JetStreamStore(alice.js.api, BUCKET).last("k")
        await bucket.put("other", b"2")
        await bucket.put("k", b"3")

        async def follow(*_: Any) -> AsyncGenerator[StoredEntry | None]:
            yield old
            yield None

        monkeypatch.setattr(JetStreamStore, "follow", follow)
        entries = await bucket.history("k")
    assert [(each.revision, each.value) for each in entries] == [(1, b"1"), (3, b"3")]


# --- hostile brokers ------------------------------------------------------------------------------


async def refused(lag: Lag, error: type[XKeyMsgError] = ValueRollbackError) -> None:
    """Nothing of the key is accepted, and all of it reported."""
    with pytest.raises(error):
        await lag.reader.history("k")
    assert await lag.reader.keys() == []
    async with lag.reader.watch() as watch:
        entries = await taken(watch, 1)
    assert [each.operation for each in entries if each] in (["refused"], ["marker"], [])


async def test_a_rollback_at_the_leader_too_is_refused(lag: Lag) -> None:
    """K-10: at its old revision, at a new one, and behind a replica that lags even more."""
    old, replaced, _ = lag.revisions
    lag.broker.lagging.clear()
    for entries in ([old], [old, replaced], [old, replaced._replace(revision=9)], []):
        lag.broker.entries = [*entries]
        await refused(lag, ValueRollbackError if entries else UnauthenticatedDeletionError)
    lag.broker.entries, lag.broker.lagging["k"] = [old, replaced], old
    await refused(lag)


@pytest.mark.parametrize("leader", ["silent", "plain", "stranger", "moved", "marker", "nothing"])
async def test_what_a_leader_says_has_to_be_proven(
    lag: Lag, leader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lag.bucket.put("other", b"1")
    old, newest = lag.revisions[0], lag.revisions[-1]
    other = await lag.broker.last("other")
    assert other is not None
    async with lag.nats.connect(key=EVE, trust=PEERS) as eve:
        await eve.kv(BUCKET, to=[BOB.public]).put("k", b"9")
    answers = {
        "plain": newest._replace(revision=9, data=b"9"),
        "stranger": lag.revisions[-1],
        "moved": other._replace(key="k", revision=9),
        "marker": StoredEntry("k", 9, b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", b""),
        "nothing": None,
    }
    last = MemoryBucket.last

    async def answer(self: MemoryBucket, name: str, *, leader: bool = False) -> Any:
        if not leader:
            return await last(self, name)
        if said == "silent":
            raise DeliveryError("no answer")
        return answers[said]

    async def past(self: MemoryBucket, name: str) -> AsyncGenerator[StoredEntry | None]:
        yield old
        if said == "silent":
            raise DeliveryError("no answer")
        yield None

    said = leader
    monkeypatch.setattr(MemoryBucket, "last", answer)
    monkeypatch.setattr(MemoryBucket, "revisions", past)
    lag.broker.lagging["k"] = old
    with pytest.raises(ValueRollbackError):
        await lag.reader.history("k")
    async with lag.reader.watch("k") as watch:
        [entry, _] = await taken(watch, 2)
    assert entry is not None
    assert (entry.operation, entry.revision) == ("refused", old.revision)
    assert isinstance(entry.error, ValueRollbackError)
    assert await lag.reader.keys("k") == []


async def test_a_value_stored_again_is_reported_although_a_newer_one_follows(lag: Lag) -> None:
    """A publisher did that, and no replica lags: the revision says so."""
    lag.broker.lagging.clear()
    async with lag.reader.watch() as watch:
        await taken(watch, 2)
        await lag.broker.store("k", lag.revisions[0].data)
        await lag.bucket.put("k", b"4")
        again, entry = await taken(watch, 2)
    assert again is not None
    assert entry is not None
    assert (again.operation, entry.value) == ("refused", b"4")
    assert lag.bob.stats.refused == {"value_rollback": 1}


@pytest.mark.parametrize("lags", [False, True])
async def test_what_a_watch_leaves_out_hides_no_revision(
    lag: Lag, lags: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-18: an entry that is not delivered does not count, whatever revision the broker claims."""
    lag.broker.lagging.clear()
    first, _, newest = lag.revisions
    await lag.bucket.update("k", b"4", 3)
    await lag.bucket.update("k", b"5", 4)
    last, reader = lag.revisions[-1], lag.reader
    begin, again = first, newest._replace(revision=4)
    if not lags:
        newest, reader = newest._replace(revision=1000), lag.bob.kv(BUCKET)
        begin, again = newest, first._replace(revision=4)
    lag.broker.entries = [newest]
    with delivering(monkeypatch, begin, None, again, last):
        async with reader.watch() as watch:
            entries = await taken(watch, 4)
    assert [each and (each.operation, each.value) for each in entries] == [
        ("put", b"3"),
        None,
        ("gap", None),
        ("put", b"5"),
    ]


async def test_a_revision_hidden_after_a_lag_is_a_gap(lag: Lag) -> None:
    """K-18."""
    async with lag.reader.watch() as watch:
        await taken(watch, 2)
        lag.broker.lagging.clear()
        lag.broker.hidden.add(4)
        await lag.bucket.update("k", b"4", 3)
        await lag.bucket.update("k", b"5", 4)
        gap, entry = await taken(watch, 2)
    assert gap is not None
    assert entry is not None
    assert (gap.operation, entry.value) == ("gap", b"5")


# --- three servers --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_server_that_lags_costs_neither_a_history_nor_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A follower is frozen while a key is written; a consumer on it delivers the old entries."""
    asked = dict.fromkeys(("history", "keys"), 0)
    genuine_last, genuine_past = JetStreamStore.last, JetStreamStore.revisions

    async def last(self: JetStreamStore, name: str, *, leader: bool = False) -> Any:
        asked["keys"] += leader
        return await genuine_last(self, name, leader=leader)

    def past(self: JetStreamStore, name: str) -> AsyncGenerator[StoredEntry | None]:
        asked["history"] += 1
        return genuine_past(self, name)

    with three_servers() as servers:
        url = servers[0].url
        async with (
            xkeymsg.connect(url, key=ALICE, trust=PEERS, timeout=SHORT) as alice,
            xkeymsg.connect(url, key=BOB, trust=PEERS, timeout=SHORT) as bob,
        ):
            bucket, reader = writer(alice), bob.kv(BUCKET)
            await insist(partial(bucket.init, history=5, replicas=3))
            await bucket.put("k", b"first", timeout=DEADLINE)
            monkeypatch.setattr(JetStreamStore, "revisions", past)
            for number in range(10):
                follower = await follower_of(servers, alice.js.api)
                await lagging(follower, bucket, reader, b"%d" % number)
                with monkeypatch.context() as patch:
                    patch.setattr(JetStreamStore, "last", last)
                    for _ in range(20):
                        [*_, newest] = await insist(partial(reader.history, "k"))
                        assert newest.value == b"%d" % number
                        assert await insist(partial(reader.keys, "k")) == ["k"]
                if all(asked.values()):
                    break
            assert bob.stats.refused == {}
    if not all(asked.values()):
        pytest.skip("no consumer was on a server that lags")


async def follower_of(servers: list[NATSServer], api: API) -> NATSServer:
    """Return a server that neither leads the bucket nor has our connections."""
    info = await insist(partial(api.request, f"STREAM.INFO.KV_{BUCKET}"))
    leader = info["cluster"]["leader"]
    return next(each for number, each in enumerate(servers) if f"n{number}" not in ("n0", leader))


async def lagging(follower: NATSServer, bucket: KVBucket, reader: KVBucket, value: bytes) -> None:
    """Write while a follower is frozen, so that it has much to catch up on."""
    with frozen(follower):
        for number in range(60):
            await bucket.put(f"large.{number}", bytes(400_000), timeout=DEADLINE)
        await bucket.put("k", value, timeout=DEADLINE)

        async def has_read() -> bool:
            with contextlib.suppress(DeliveryError):  # the frozen server has got the request
                return (await reader.get("k")).value == value
            return False

        await until(has_read)

"""`reseal_bucket` and deleted keys: what was sealed is resealed, and nothing else is sealed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kv.conftest import taken
from tests.reseal.conftest import ALICE, CAROL, DAVE, EVE, PEERS, RITA, Place
from xkeymsg import (
    KeyDeletedError,
    KVBucket,
    RollbackMemory,
    Sealer,
    UnauthenticatedDeletionError,
    ValueRollbackError,
    WrongRevisionError,
    XKeyPair,
    connect,
)
from xkeymsg.client.jetstream.api import Stored
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.memory import mark_name
from xkeymsg.envelope.content import TransportHeaders

TO = ["alice", "rita"]
MARKERS = [
    {"KV-Operation": "DEL"},
    {"KV-Operation": "PURGE"},
    {"Nats-Marker-Reason": "MaxAge"},
]


@contextlib.asynccontextmanager
async def bucket_of(place: Place, pair: XKeyPair, **options: Any) -> AsyncIterator[KVBucket]:
    async with connect(place.server.url, key=pair, trust=PEERS) as client:
        yield client.kv("config", **options)


async def deleted(place: Place, operation: str = "delete", **options: Any) -> None:
    """Alice writes and deletes a key; only she and Rita can read the tombstone."""
    async with bucket_of(place, ALICE, to=TO, **options) as bucket:
        await bucket.init(history=5, purge=True)
        await bucket.put("a", b"1")
        await getattr(bucket, operation)("a")


async def newest(place: Place) -> Stored:
    return (await place.stored("KV_config"))[-1]


def of_the_broker(stored: Stored) -> dict[str, str]:
    """The clear headers that the broker or other clients act on."""
    prefixes = ("KV-", "Nats-Rollup", "Nats-Expected", "Nats-TTL")
    return {name: value for name, value in stored.headers if name.startswith(prefixes)}


# --- what a new recipient gets --------------------------------------------------------------------


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("operation", ["delete", "purge"])
async def test_a_new_recipient_reads_that_a_key_was_deleted(
    place: Place, operation: str, blind: bool
) -> None:
    """R-13: by `get`, `watch` and `history`; and it may create the key again."""
    await deleted(place, operation, blind=blind)
    report = await place.reseal_bucket(to=["rita", "carol"])
    assert (report.resealed, report.skipped, report.refused) == (1 + blind, {}, {})
    async with bucket_of(place, CAROL, to=["carol"], blind=blind) as bucket:
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")
        assert await bucket.keys() == []
        async with bucket.watch() as watch:
            [entry] = await taken(watch, 1)
        assert entry is not None
        assert (entry.key, entry.operation, entry.sender) == ("a", operation, RITA.public)
        assert entry.message is not None
        assert entry.message.resealed is not None
        assert [each.sender for each in entry.message.resealed.origins] == [ALICE.public]
        assert (await bucket.history("a"))[-1].operation == operation
        await bucket.create("a", b"2")


@pytest.mark.parametrize(
    ("operation", "marker"), [("delete", {"KV-Operation": "DEL"}), ("purge", MARKERS[1])]
)
async def test_other_clients_see_a_deletion_and_nothing_else_is_deleted(
    place: Place, operation: str, marker: dict[str, str]
) -> None:
    """R-13: by the sealed operation, and without a rollup."""
    await deleted(place, operation)
    before = await place.stored("KV_config")
    await place.reseal_bucket()
    *others, copy = await place.stored("KV_config")
    assert others == before
    last = {"Nats-Expected-Last-Subject-Sequence": str(before[-1].sequence)}
    assert of_the_broker(copy) == last | marker


async def test_tombstones_are_resealed_in_buckets_of_documents(place: Place) -> None:
    """R-13: a tombstone is a payload, whatever is done with documents."""
    await deleted(place)
    assert (await place.reseal_bucket(documents="refuse")).resealed == 1
    async with bucket_of(place, CAROL, documents=True) as bucket:
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")


async def test_a_reader_of_both_takes_the_copy_for_newer(place: Place) -> None:
    """R-11: a watch of the old recipients gets no rollback and no gap."""
    await deleted(place)
    async with bucket_of(place, RITA) as bucket, bucket.watch() as watch:
        first, _ = await taken(watch, 2)
        await place.reseal_bucket()
        [copy] = await taken(watch, 1)
    assert first is not None
    assert copy is not None
    assert (copy.operation, copy.replaces, copy.error) == ("delete", first.revision, None)


async def test_a_second_call_counts_a_copy_and_seals_nothing(place: Place) -> None:
    await deleted(place)
    first = await place.reseal_bucket()
    copy = await newest(place)
    assert await place.reseal_bucket() == first
    assert await newest(place) == copy
    for number in range(8):
        report = await place.reseal_bucket(ledger=place.folder / f"{number}")
    assert (report.resealed, report.refused) == (0, {"limit_exceeded": 1})


# --- resurrected ----------------------------------------------------------------------------------


async def test_a_value_that_was_resealed_is_not_resurrected(place: Place, tmp_path: Path) -> None:
    """The broker stores an earlier copy again, which Carol can read, in place of a tombstone."""
    async with bucket_of(place, ALICE, to=TO) as bucket:
        await bucket.init(history=5)
        await bucket.put("a", b"1")
        await place.reseal_bucket()
        value = await newest(place)
        await bucket.delete("a")
    with RollbackMemory(tmp_path / "marks") as memory:
        async with bucket_of(place, CAROL, memory=memory) as bucket:
            await place.reseal_bucket(ledger=place.folder / "second")
            with pytest.raises(KeyDeletedError):
                await bucket.get("a")
    await place.store(value.data, value.subject)
    with RollbackMemory(tmp_path / "marks") as memory:
        async with bucket_of(place, CAROL, memory=memory) as bucket:
            with pytest.raises(ValueRollbackError):
                await bucket.get("a")
            assert await bucket.keys() == []


async def test_a_key_created_meanwhile_is_not_deleted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-11: compare-and-set, as for a value."""
    await deleted(place)
    submit = StreamPublisher.submit

    async def late(publisher: StreamPublisher, *arguments: Any, **more: Any) -> Any:
        async with bucket_of(place, ALICE, to=TO) as bucket:
            await bucket.create("a", b"2")
        return await submit(publisher, *arguments, **more)

    monkeypatch.setattr(StreamPublisher, "submit", late)
    assert (await place.reseal_bucket()).skipped == {"changed": 1}
    async with bucket_of(place, ALICE) as bucket:
        assert (await bucket.get("a")).value == b"2"


# --- laundered ------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", MARKERS, ids=["delete", "purge", "expiry"])
async def test_a_deletion_that_nobody_has_sealed_is_refused(
    place: Place, marker: dict[str, str]
) -> None:
    """R-13: the resealer would vouch for it. The key stays deleted, and nobody says by whom."""
    await place.add_bucket(history=5)
    await place.put("a", b"1")
    await place.store(b"", "$KV.config.a", headers=marker)
    refused: list[tuple[int, str]] = []
    report = await place.reseal_bucket(
        on_refused=lambda revision, error: refused.append((revision, error.code))
    )
    assert (report.resealed, report.refused) == (0, {"unauthenticated_deletion": 1})
    assert refused == [(2, "unauthenticated_deletion")]
    assert (await newest(place)).data == b""
    for pair in (CAROL, RITA):
        async with bucket_of(place, pair) as bucket:
            with pytest.raises(UnauthenticatedDeletionError):
                await bucket.get("a")
    async with bucket_of(place, ALICE, to=TO) as bucket:  # what the error advises
        await bucket.delete("a")
    assert (await place.reseal_bucket(ledger=place.folder / "second")).resealed == 1


async def test_an_empty_entry_is_not_a_deletion(place: Place) -> None:
    await place.add_bucket()
    await place.store(b"", "$KV.config.a")
    assert (await place.reseal_bucket()).refused == {"malformed": 1}


async def test_a_tombstone_of_another_key_or_bucket_or_of_a_stranger_is_refused(
    place: Place,
) -> None:
    """R-11, R-13: bound and admitted like a value; K-9: and nothing but a tombstone."""
    await place.add_bucket(history=5)

    async def seal(
        key: str, subject: str, pair: XKeyPair = ALICE, operation: str = "delete", data: bytes = b""
    ) -> None:
        await place.put(key, b"1")
        headers = TransportHeaders([("xkm-kv", operation)])
        sealed = Sealer(pair).seal(data, to=[RITA.public], subject=subject, headers=headers)
        await place.store(sealed, f"$KV.config.{key}", headers={"KV-Operation": "DEL"})

    await seal("moved", "$KV.config.other")
    await seal("copied", "$KV.other.copied")
    await seal("strange", "$KV.config.strange", EVE)
    await seal("full", "$KV.config.full", data=b"value")
    await seal("unknown", "$KV.config.unknown", operation="erase")
    before = await place.stored("KV_config")
    report = await place.reseal_bucket()
    assert (report.resealed, report.skipped) == (0, {})
    assert report.refused == {"subject_mismatch": 2, "sender_not_admitted": 1, "malformed": 2}
    assert await place.stored("KV_config") == before


@pytest.mark.parametrize(("operation", "data"), [("delete", b""), (None, b"value")])
async def test_an_entry_with_an_invalid_replaced_revision_is_refused(
    place: Place, operation: str | None, data: bytes
) -> None:
    """K-9, R-11: the copy replaces the header, and readers would accept it."""
    await place.add_bucket(history=5)
    pairs = [("xkm-kv-replaces", "-1")] + ([("xkm-kv", operation)] if operation else [])
    headers = TransportHeaders(pairs)
    sealed = Sealer(ALICE).seal(data, to=[RITA.public], subject="$KV.config.a", headers=headers)
    await place.store(sealed, "$KV.config.a")
    report = await place.reseal_bucket()
    assert (report.resealed, report.refused) == (0, {"malformed": 1})


# --- reordered and replayed -----------------------------------------------------------------------


async def recreated(place: Place, bucket: KVBucket) -> Stored:
    """Alice deletes a key and creates it again; return the tombstone."""
    await bucket.init(history=5)
    await bucket.put("a", b"1")
    await bucket.delete("a")
    tombstone = await newest(place)
    await bucket.create("a", b"2")
    return tombstone


async def test_an_old_tombstone_is_refused_by_a_resealer_with_a_memory(
    place: Place, tmp_path: Path
) -> None:
    """R-11: its copy would delete the key for all who have opened the newer value."""
    async with bucket_of(place, ALICE, to=TO) as bucket:
        tombstone = await recreated(place, bucket)
        with RollbackMemory(tmp_path / "marks") as memory:
            assert (await place.client.kv("config", memory=memory).get("a")).value == b"2"
            await place.store(tombstone.data, tombstone.subject)
            report = await place.reseal_bucket(memory=memory)
            assert (report.resealed, report.refused) == (0, {"value_rollback": 1})
            await bucket.put("a", b"3")
            report = await place.reseal_bucket(ledger=place.folder / "second", memory=memory)
    assert (report.resealed, report.refused) == (1, {})


async def test_a_value_is_refused_once_its_tombstone_is_remembered(
    place: Place, tmp_path: Path
) -> None:
    """R-11: the memory learns of deletions from a reseal, too."""
    await deleted(place)
    value = (await place.stored("KV_config"))[0]
    with RollbackMemory(tmp_path / "marks") as memory:
        assert (await place.reseal_bucket(memory=memory)).resealed == 1
        mark = memory.mark(mark_name(value.subject))
        assert mark is not None
        assert not mark.live
        await place.store(value.data, value.subject)
        again = await place.reseal_bucket(ledger=place.folder / "second", memory=memory)
    assert (again.resealed, again.refused) == (0, {"value_rollback": 1})


async def test_a_tombstone_stored_long_after_it_was_sealed_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-1: as any message of a stream."""
    with monkeypatch.context() as patch:
        patch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() - 600 * 10**9)
        await deleted(place)
    assert (await place.reseal_bucket()).refused == {"stale": 1}


async def test_the_original_is_a_rollback_after_its_copy(place: Place) -> None:
    """R-11: a copy is newer than its original, for all readers."""
    await deleted(place)
    value, tombstone = await place.stored("KV_config")
    async with bucket_of(place, RITA) as bucket:
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")
        await place.reseal_bucket()
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")
        for old in (tombstone, value):
            await place.store(old.data, old.subject)
            with pytest.raises(ValueRollbackError):
                await bucket.get("a")


@pytest.mark.parametrize(("ahead", "resealed"), [(1, 1), (20, 0)])
async def test_a_copy_is_not_older_than_the_tombstone(
    place: Place, ahead: int, resealed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-11: with an older copy, the tombstone would no longer supersede the value."""
    async with bucket_of(place, ALICE, to=TO) as bucket:
        await bucket.init()
        with monkeypatch.context() as patch:
            patch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() + ahead * 10**9)
            await bucket.delete("a")
    async with bucket_of(place, RITA) as bucket:
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")
        report = await place.reseal_bucket()
        assert (report.resealed, report.refused) == (resealed, {} if resealed else {"stale": 1})
        with pytest.raises(KeyDeletedError):
            await bucket.get("a")


async def test_who_is_left_out_cannot_create_a_deleted_key(place: Place) -> None:
    """As for a value: it cannot know whether the key has one."""
    await deleted(place)
    await place.reseal_bucket(to=["carol"])
    async with bucket_of(place, DAVE, to=["dave"]) as bucket:
        with pytest.raises(WrongRevisionError, match="cannot be opened"):
            await bucket.create("a", b"2")

"""`reseal_bucket` and the client's own buckets: tombstones, blinded names, parts of documents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.reseal.conftest import ALICE, CAROL, DAVE, PEERS, RITA, Place
from xkeymsg import (
    ConfigurationError,
    DeliveryError,
    KeyDeletedError,
    Policy,
    RollbackMemory,
    connect,
    reseal_bucket,
)
from xkeymsg.reseal.reader import Begin, stored_messages

POLICY = Policy([("/name", ["desk"]), ("/blood", ["ward"])])


async def moved(place: Place, key: str, headers: bytes = b"") -> None:
    """Store the current entry of a key again, with other headers of the broker."""
    stored = [each for each in await place.stored("KV_config") if each.subject.endswith(f".{key}")]
    await place.api.link.request(f"$KV.config.{key}", stored[-1].data, headers=headers, timeout=60)


@pytest.mark.parametrize("blind", [False, True])
async def test_a_sealed_deletion_without_the_brokers_header_stays_one(
    place: Place, blind: bool
) -> None:
    """R-2, R-11: the header that makes it a deletion is sealed; the broker can remove its own."""
    async with connect(place.server.url, key=ALICE, trust=PEERS) as alice:
        writer = alice.kv("config", to=["alice", "rita", "carol"], blind=blind)
        await writer.init(history=5)
        await writer.put("a", b"1")
        await writer.delete("a")
        await moved(place, (await place.stored("KV_config"))[-1].subject.rpartition(".")[2])
    report = await place.reseal_bucket(to=["alice", "rita", "carol"])
    assert (report.resealed, report.skipped, report.refused) == (1 + blind, {}, {})
    async with connect(place.server.url, key=CAROL, trust=PEERS) as carol:
        with pytest.raises(KeyDeletedError):
            await carol.kv("config", blind=blind).get("a")


async def test_a_deletion_that_only_the_broker_claims_hides_no_value(place: Place) -> None:
    await place.add_bucket(history=5)
    await place.put("a", b"1")
    await moved(place, "a", b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n")
    assert (await place.reseal_bucket()).resealed == 1


async def test_blinded_names_are_resealed_with_their_values(place: Place) -> None:
    """R-2."""
    async with connect(place.server.url, key=ALICE, trust=PEERS) as alice:
        writer = alice.kv("config", to=["alice", "rita"], blind=True)
        await writer.init()
        await writer.put("a.b", b"1")
    report = await place.reseal_bucket(to=["carol"])
    assert (report.resealed, report.refused) == (2, {})
    async with connect(place.server.url, key=CAROL, trust=PEERS) as carol:
        entry = await carol.kv("config", blind=True).get("a.b")
    assert (entry.key, entry.value) == ("a.b", b"1")
    assert entry.message is not None
    assert entry.message.resealed is not None
    assert entry.message.resealed.by == RITA.public


async def test_a_resealed_value_names_the_revision_that_it_replaces(place: Place) -> None:
    """R-11."""
    await place.add_bucket()
    await place.put("a", b"1")
    await place.reseal_bucket()
    entry = await place.client.kv("config").get("a")
    assert (entry.revision, entry.replaces) == (2, 1)


async def test_a_value_that_would_lose_parts_is_not_replaced(place: Place) -> None:
    """R-12."""
    await place.add_bucket()
    readers = {"desk": [RITA.public], "ward": [DAVE.public]}
    for key, document in (("a", {"name": "Ann", "blood": "AB"}), ("b", {"name": "Ann"})):
        subject = f"$KV.config.{key}"
        sealed = place.sealer.seal_document(
            document, policy=POLICY, readers=readers, subject=subject
        )
        await place.store(sealed, subject)
    report = await place.reseal_bucket(documents="part")
    assert (report.resealed, report.refused) == (1, {"content_type": 1})
    async with connect(place.server.url, key=DAVE, trust=PEERS) as dave:
        entry = await dave.kv("config", documents=True).get("a")
    assert entry.document == {"blood": "AB"}


async def test_a_value_older_than_the_resealer_remembers_is_refused(
    place: Place, tmp_path: Path
) -> None:
    """R-11: its copy would be newer than all that other readers have opened."""
    await place.add_bucket(history=5)
    await place.put("a", b"old")
    [old] = await place.stored("KV_config")
    await place.put("a", b"new")
    with RollbackMemory(tmp_path / "marks") as memory:
        assert (await place.client.kv("config", memory=memory).get("a")).value == b"new"
        await place.store(old.data, old.subject)
        refused: list[str] = []
        report = await place.reseal_bucket(
            memory=memory, on_refused=lambda _, error: refused.append(error.code)
        )
    assert (report.resealed, report.refused) == (0, {"value_rollback": 1})
    assert refused == ["value_rollback"]


@pytest.mark.parametrize(("ahead", "resealed"), [(1, 1), (20, 0)])
async def test_a_copy_is_not_older_than_the_value(
    place: Place, ahead: int, resealed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-11: readers of the value would take it for a rollback."""
    await place.add_bucket()
    with monkeypatch.context() as patch:
        patch.setattr("xkeymsg.sealer.now_ns", lambda: time.time_ns() + ahead * 10**9)
        await place.put("a", b"1")
    reader = place.client.kv("config")
    before = await reader.get("a")
    report = await place.reseal_bucket()
    assert (report.resealed, report.refused) == (resealed, {} if resealed else {"stale": 1})
    after = await reader.get("a")
    assert after.value == b"1"
    assert before.created is not None
    assert after.created is not None
    assert after.created >= before.created


async def test_a_server_cannot_choose_where_a_copy_is_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-11: it delivers a message of another stream as a value of the bucket."""
    await place.add_bucket()
    await place.fill(1)
    genuine = stored_messages

    def other(api: Any, _stream: str, _begin: Any, **_: Any) -> Any:
        return genuine(api, "ORDERS", Begin())

    monkeypatch.setattr("xkeymsg.reseal.bucket.stored_messages", other)
    with pytest.raises(DeliveryError, match="other subjects"):
        await place.reseal_bucket()
    assert len(await place.stored("ORDERS")) == 1


async def test_mirrors_and_objects_are_refused(place: Place) -> None:
    await place.add_bucket()
    await place.api.request(
        "STREAM.CREATE.KV_copy", {"name": "KV_copy", "mirror": {"name": "KV_config"}}
    )
    with pytest.raises(ConfigurationError, match="mirror"):
        await reseal_bucket(place.client, "copy", to="carol", ledger=place.folder / "copy")
    await place.client.objects("scans").init()
    with pytest.raises(ConfigurationError, match="objects"):
        await place.reseal(stream="OBJ_scans")

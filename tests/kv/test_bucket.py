"""A bucket, as an application uses it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kv.conftest import ALICE, BOB, BUCKET, CAROL, Broker, Pair, taken, writer
from xkeymsg import (
    ConfigurationError,
    ExpiredError,
    KeyDeletedError,
    KeyNotFoundError,
    MalformedError,
    NotARecipientError,
    PayloadTooLargeError,
    Policy,
    StaleError,
    WrongRevisionError,
)


async def test_a_value_is_read_by_its_recipients_only(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    revision = await writer(alice).put("lamps.hall", b"on", headers={"A": "1"}, content_type="t/x")
    entry = await bob.kv(BUCKET).get("lamps.hall")
    assert (entry.key, entry.value, entry.revision) == ("lamps.hall", b"on", revision)
    assert (entry.bucket, entry.operation, entry.sender) == (BUCKET, "put", ALICE.public)
    assert entry.message is not None
    assert (entry.message.headers["A"], entry.message.content_type) == ("1", "t/x")
    assert entry.created is not None
    async with broker.connect(CAROL) as carol:
        with pytest.raises(NotARecipientError):
            await carol.kv(BUCKET).get("lamps.hall")
    stored = await broker.stored(alice, "lamps.hall")
    assert b"on" not in stored.data[-40:]
    assert stored.data.startswith(b"xkm1")


async def test_compare_and_set(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    first = await bucket.create("k", b"1")
    for refused in (bucket.create("k", b"x"), bucket.update("k", b"x", first + 1)):
        with pytest.raises(WrongRevisionError):
            await refused
    second = await bucket.update("k", b"2", first)
    with pytest.raises(WrongRevisionError):
        await bucket.delete("k", first)
    assert (await bob.kv(BUCKET).get("k")).replaces == first
    third = await bucket.delete("k", second)
    assert third > second
    with pytest.raises(KeyDeletedError):
        await bob.kv(BUCKET).get("k")
    assert await bucket.create("k", b"3") > third  # over a tombstone
    assert (await bob.kv(BUCKET).get("k")).value == b"3"


async def test_a_missing_key_is_not_found(pair: Pair) -> None:
    with pytest.raises(KeyNotFoundError) as caught:
        await pair[1].kv(BUCKET).get("nothing")
    assert caught.value.code == "key_not_found"


async def test_past_revisions_and_history(pair: Pair) -> None:
    alice, bob = pair
    bucket, reader = writer(alice), bob.kv(BUCKET)
    revisions = [await bucket.put("k", b"%d" % number) for number in range(3)]
    revisions.append(await bucket.delete("k"))
    assert (await reader.get("k", revisions[1])).value == b"1"
    with pytest.raises(KeyDeletedError):
        await reader.get("k", revisions[3])
    other = await bucket.put("other", b"")
    for missing in (other, other + 1):
        with pytest.raises(KeyNotFoundError):
            await reader.get("k", missing)
    history = await reader.history("k")
    assert [(each.revision, each.operation) for each in history] == [
        *zip(revisions, ["put", "put", "put", "delete"], strict=True)
    ]
    assert [each.value for each in history] == [b"0", b"1", b"2", None]
    with pytest.raises(KeyNotFoundError):
        await reader.history("nothing")


async def test_keys_lists_values_that_can_be_opened(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    for key in ("b", "a.x", "a.y", "gone"):
        await bucket.put(key, b"")
    await bucket.delete("gone")
    await alice.kv(BUCKET, to=["alice"]).put("mine", b"")
    await broker.store(alice, "plain", b"hello")
    reader = bob.kv(BUCKET)
    assert await reader.keys() == ["a.x", "a.y", "b"]
    assert await reader.keys("a.*") == ["a.x", "a.y"]
    assert await reader.keys("z.>") == []
    assert bob.stats.refused == {"not_a_recipient": 1, "not_sealed": 1}


async def test_a_watch_yields_what_is_there_and_then_what_is_written(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    await bucket.put("a.x", b"1")
    await bucket.put("b", b"")
    async with bob.kv(BUCKET).watch("a.>") as watch:
        [present, end] = await taken(watch, 2)
        assert present is not None
        assert (present.key, present.value, end) == ("a.x", b"1", None)
        await bucket.put("a.x", b"2")
        await bucket.put("b", b"")
        await bucket.delete("a.x")
        [changed, deleted] = await taken(watch, 2)
        assert changed is not None
        assert deleted is not None
        assert (changed.value, deleted.operation, deleted.value) == (b"2", "delete", None)


async def test_a_watch_of_updates_begins_with_the_next_one(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    await bucket.put("k", b"1")
    async with bob.kv(BUCKET).watch(updates_only=True) as watch:
        assert await taken(watch, 1) == [None]
        await bucket.put("k", b"2")
        [entry] = await taken(watch, 1)
        assert entry is not None
        assert entry.value == b"2"


async def test_a_cancelled_iteration_loses_nothing(pair: Pair) -> None:
    alice, bob = pair
    async with bob.kv(BUCKET).watch() as watch:
        assert await taken(watch, 1) == [None]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(watch)
        await writer(alice).put("k", b"1")
        [entry] = await taken(watch, 1)
        assert entry is not None
        assert entry.value == b"1"


async def test_a_watch_starts_once_and_with_async_with(pair: Pair) -> None:
    watch = pair[1].kv(BUCKET).watch()
    with pytest.raises(ConfigurationError):
        await anext(watch)
    async with watch:
        with pytest.raises(ConfigurationError):
            await watch.__aenter__()


async def test_a_missing_bucket_is_an_error(broker: Broker, pair: Pair) -> None:
    broker.memory.bucket("other").exists = False
    reader = pair[1].kv("other")
    for call in (reader.get("k"), reader.keys(), reader.history("k"), reader.status()):
        with pytest.raises(Exception, match="bucket") as caught:
            await call
        assert getattr(caught.value, "code", None) == "delivery"


async def test_documents_give_each_reader_its_part(broker: Broker, pair: Pair) -> None:
    alice, bob = pair
    policy = Policy([("/name", ["shop", "audit"]), ("/price", ["shop"])])
    readers = {"shop": [ALICE.public], "audit": [BOB.public]}
    bucket = alice.kv(BUCKET, policy=policy, readers=readers)
    await bucket.put("lamp", {"name": "lamp", "price": 7})
    assert (await bucket.get("lamp")).document == {"name": "lamp", "price": 7}
    reader = bob.kv(BUCKET, documents=True)
    entry = await reader.get("lamp")
    assert (entry.document, entry.value) == ({"name": "lamp"}, None)
    await bucket.delete("lamp")
    with pytest.raises(KeyDeletedError):
        await reader.get("lamp")
    await writer(alice).put("plain", b"payload")
    with pytest.raises(Exception, match="payload") as caught:
        await reader.get("plain")
    assert getattr(caught.value, "code", None) == "content_type"


async def test_a_value_expires_by_the_readers_clock(pair: Pair) -> None:
    alice, bob = pair
    await writer(alice).put("k", b"1", expires=0.05)
    await asyncio.sleep(0.1)
    with pytest.raises(ExpiredError):
        await bob.kv(BUCKET).get("k")


async def test_max_age_refuses_old_values_for_a_fresh_reader(pair: Pair) -> None:
    alice, bob = pair
    await writer(alice).put("k", b"1")
    await asyncio.sleep(0.1)
    reader = bob.kv(BUCKET, max_age=0.05)
    with pytest.raises(StaleError):
        await reader.get("k")
    assert (await bob.kv(BUCKET, max_age=300).get("k")).value == b"1"
    [entry] = await reader.history("k")
    assert entry.value == b"1"


@pytest.mark.parametrize("key", ["-/_=.aZ0", "a", "0/1=2"])
async def test_keys_that_other_clients_permit(pair: Pair, key: str) -> None:
    alice, bob = pair
    await writer(alice).put(key, b"1")
    assert (await bob.kv(BUCKET).get(key)).value == b"1"


@pytest.mark.parametrize(
    "key", ["", ".a", "a.", "a..b", "a b", "a*", "a.>", "ä", "a\r\nb", "_xkm", "_xkm.names"]
)
async def test_k3_k4_invalid_keys_are_refused(pair: Pair, key: str) -> None:
    """K-3, K-4."""
    alice, _ = pair
    bucket = writer(alice)
    for call in (bucket.put(key, b""), bucket.get(key), bucket.delete(key), bucket.history(key)):
        with pytest.raises(MalformedError):
            await call


async def test_arguments_are_checked(pair: Pair) -> None:
    alice, _ = pair
    wrong: Any = 5
    for call in (
        lambda: alice.kv(wrong),
        lambda: alice.kv(BUCKET, memory=wrong),
        lambda: alice.kv(BUCKET).watch(wrong),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ConfigurationError):
        alice.kv("a.b")
    with pytest.raises(ConfigurationError):
        alice.kv(BUCKET, to="bob", policy=Policy([("/a", ["b"])]))
    with pytest.raises(ConfigurationError, match="recipients"):
        await alice.kv(BUCKET).put("k", b"")
    with pytest.raises(TypeError):
        await writer(alice).put("k", "text")


async def test_a_value_of_any_size(pair: Pair) -> None:
    alice, bob = pair
    data = bytes(range(256)) * 2000  # opened in a thread
    await writer(alice).put("k", data)
    assert (await bob.kv(BUCKET).get("k")).value == data
    with pytest.raises(PayloadTooLargeError):
        await writer(alice).put("k", bytes(1 << 20))


async def test_concurrent_writes_of_one_key_keep_their_order(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    await asyncio.gather(*(bucket.put("k", b"%d" % number) for number in range(20)))
    async with asyncio.timeout(60):
        history = await bob.kv(BUCKET).history("k")
    values = [int(each.value or b"") for each in history]
    assert values == sorted(values)
    assert (await bob.kv(BUCKET).get("k")).value == b"19"


async def test_reprs_show_no_content(pair: Pair) -> None:
    alice, bob = pair
    bucket = writer(alice)
    await bucket.put("k", b"secret")
    entry = await bob.kv(BUCKET).get("k")
    codec = await bucket.codec()
    for each in (entry, bucket, bucket.memory, codec, bucket.watch(), await bucket.status()):
        assert "secret" not in repr(each)
    assert BOB.seed() not in repr(bob.kv(BUCKET))

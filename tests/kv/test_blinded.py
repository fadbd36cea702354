"""Blinded names: the broker sees hashes, readers the keys."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.cases import for_each
from tests.kv.conftest import ALICE, BOB, BUCKET, CAROL, Broker, Pair, taken, writer
from xkeymsg import (
    ConfigurationError,
    KeyNotFoundError,
    KVBucket,
    MalformedError,
    NotARecipientError,
    Policy,
    SubjectMismatchError,
    UnauthenticatedDeletionError,
)
from xkeymsg.kv.names import BlindNames

KEY = "ward.7.bed.3"


@pytest.fixture
async def bucket(pair: Pair) -> KVBucket:
    """Alice's bucket with blinded names."""
    made = writer(pair[0], blind=True)
    await made.init(history=8)
    return made


async def test_the_broker_sees_no_names(broker: Broker, pair: Pair, bucket: KVBucket) -> None:
    alice, bob = pair
    await bucket.put(KEY, b"free")
    name = (await bucket.codec()).name_of(KEY)
    assert re.fullmatch(r"([A-Za-z0-9_-]{22}\.){3}[A-Za-z0-9_-]{22}", name)
    stored = await broker.stored(alice, name)
    assert b"ward" not in stored.data
    assert b"bed" not in stored.headers + stored.data
    entry = await bob.kv(BUCKET, blind=True).get(KEY)
    assert (entry.key, entry.value) == (KEY, b"free")
    [past] = await bob.kv(BUCKET, blind=True).history(KEY)
    assert past.key == KEY
    with pytest.raises(KeyNotFoundError):
        await bob.kv(BUCKET).get(KEY)


async def test_keys_and_watches_by_prefix(pair: Pair, bucket: KVBucket) -> None:
    reader = pair[1].kv(BUCKET, blind=True)
    for key in ("a.x", "a.y.z", "b.x", "a"):
        await bucket.put(key, b"")
    await bucket.delete("b.x")
    assert await reader.keys() == ["a", "a.x", "a.y.z"]
    assert await reader.keys("a.>") == ["a.x", "a.y.z"]
    assert await reader.keys("a.*") == ["a.x"]
    assert await reader.keys("*.*") == ["a.x"]
    async with reader.watch("a.*") as watch:
        await taken(watch, 2)
        await bucket.put("b.y", b"")
        await bucket.put("a.new", b"")
        [entry] = await taken(watch, 1)
    assert entry is not None
    assert entry.key == "a.new"
    with pytest.raises(ConfigurationError, match="wildcard"):
        await reader.keys("*.x")


async def test_k21_a_value_stored_under_another_blinded_name_is_refused(
    broker: Broker, pair: Pair, bucket: KVBucket
) -> None:
    """K-22: also if an admitted sender seals another key than the name stands for."""
    alice, bob = pair
    codec = await bucket.codec()
    reader = bob.kv(BUCKET, blind=True)
    await bucket.put("a", b"1")
    moved = (await broker.stored(alice, codec.name_of("a"))).data
    await broker.store(alice, codec.name_of("b"), moved)
    with pytest.raises(SubjectMismatchError):
        await reader.get("b")
    plain = writer(alice)
    await plain.put(codec.name_of("c"), b"2")  # without a sealed key
    with pytest.raises(SubjectMismatchError):
        await reader.get("c")


async def test_k19_the_secret_is_sealed_and_is_created_once(
    broker: Broker, pair: Pair, bucket: KVBucket
) -> None:
    """K-20."""
    alice, bob = pair
    await bucket.put(KEY, b"1")
    for _ in range(2):
        again = writer(alice, blind=True)
        await again.init(history=8)
        assert (await again.get(KEY)).value == b"1"
    async with broker.connect(CAROL) as carol:
        with pytest.raises(NotARecipientError):
            await carol.kv(BUCKET, blind=True).get(KEY)
    assert await bob.kv(BUCKET, blind=True).keys() == [KEY]


async def test_k19_without_a_secret_nothing_is_written(pair: Pair) -> None:
    """K-20: a writer never makes another secret by itself."""
    bucket = writer(pair[0], blind=True)
    for call in (bucket.put("k", b""), bucket.get("k"), bucket.keys(), bucket.codec()):
        with pytest.raises(KeyNotFoundError, match="init"):
            await call


async def test_k19_a_secret_that_the_broker_deletes_is_noticed(
    broker: Broker, pair: Pair, bucket: KVBucket
) -> None:
    """K-20."""
    alice, _ = pair
    await broker.store(alice, "_xkm.names", b"", {"KV-Operation": "DEL"})
    fresh = writer(alice, blind=True, memory=bucket.memory)
    with pytest.raises(UnauthenticatedDeletionError):
        await fresh.get(KEY)
    with pytest.raises(UnauthenticatedDeletionError):
        await fresh.init(history=8)


async def test_documents_with_blinded_names(pair: Pair) -> None:
    alice, bob = pair
    policy = Policy([("/name", ["all"])])
    bucket: Any = alice.kv(
        BUCKET, policy=policy, readers={"all": [ALICE.public, BOB.public]}, blind=True
    )
    await bucket.init(history=8)
    await bucket.put(KEY, {"name": "x"})
    entry = await bob.kv(BUCKET, documents=True, blind=True).get(KEY)
    assert (entry.key, entry.document) == (KEY, {"name": "x"})
    await bucket.delete(KEY)
    assert await bob.kv(BUCKET, documents=True, blind=True).keys() == []


def test_k18_equal_tokens_look_different_below_different_parents() -> None:
    """K-19."""
    names = BlindNames(bytes(range(32)))
    one, other = names.blind("a.x").split("."), names.blind("b.x").split(".")
    assert len({*one, *other}) == 4
    assert names.blind("a.x.y").startswith(names.blind("a.x") + ".")
    assert names.blind("a.a") != BlindNames(bytes(32)).blind("a.a")


@for_each(
    ("pattern", "fixed"), [(">", 0), ("*", 0), ("a.>", 1), ("a.*.*", 1), ("a.b", 2), ("*.>", 0)]
)
def test_k20_patterns_keep_their_wildcards(pattern: str, fixed: int) -> None:
    """K-21."""
    names = BlindNames(bytes(32))
    blinded = names.blind_pattern(pattern).split(".")
    tokens = pattern.split(".")
    assert blinded[fixed:] == tokens[fixed:]
    if fixed:
        assert ".".join(blinded[:fixed]) == names.blind(".".join(tokens[:fixed]))


def test_a_secret_has_32_bytes() -> None:
    for secret in (b"", bytes(31), bytes(33)):
        with pytest.raises(MalformedError):
            BlindNames(secret)
    assert bytes(32).hex() not in repr(BlindNames(bytes(32)))

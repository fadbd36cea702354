"""Buckets in JetStream: other clients, mirrors, domains, expiry, lost consumers."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.js.errors import KeyDeletedError as NatsDeletedError
from nats.js.errors import KeyNotFoundError as NatsNotFoundError
from nats.js.errors import KeyWrongLastSequenceError

from tests.kv.conftest import ALICE, BOB, BUCKET, PEERS, Broker, taken, writer
from tests.running import DEADLINE, until
from tests.servers import needs_server
from xkeymsg import (
    ConfigurationError,
    ConflictError,
    DeliveryError,
    KeyDeletedError,
    KeyNotFoundError,
    KVBucket,
    NotSealedError,
    SubjectMismatchError,
    UnauthenticatedDeletionError,
    WrongRevisionError,
    connect,
)
from xkeymsg.client.client import Client
from xkeymsg.kv.jetstream import JetStreamStore
from xkeymsg.testing import NATSServer
from xkeymsg.transport.raw import Raw


@asynccontextmanager
async def both(server: NATSServer, **options: Any) -> AsyncIterator[tuple[Client, Client]]:
    broker = Broker(server)
    async with broker.connect(ALICE, **options) as alice, broker.connect(BOB, **options) as bob:
        yield alice, bob


@asynccontextmanager
async def stock(server: NATSServer, **options: Any) -> AsyncIterator[Any]:
    """The context of stock nats-py."""
    client = await nats.connect(server.url)
    try:
        yield client.jetstream(**options)
    finally:
        await client.close()


# --- other clients --------------------------------------------------------------------------------


async def test_nats_py_sees_ciphertext_and_our_deletions(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, _), stock(jetstream_server) as js:
        bucket = writer(alice)
        await bucket.init(history=3)
        await bucket.put("k", b"a plain value")
        plain = await js.key_value(BUCKET)
        found = await plain.get("k")
        assert found.value.startswith(b"xkm1")
        assert b"plain" not in found.value
        assert await plain.keys() == ["k"]
        await bucket.delete("k")
        with pytest.raises(NatsNotFoundError):
            await plain.get("k")
        [_, last] = await plain.history("k")
        assert (last.operation, b"plain" in last.value) == ("DEL", False)


async def test_entries_of_nats_py_are_refused(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob), stock(jetstream_server) as js:
        plain = await js.create_key_value(bucket=BUCKET, history=5)
        reader = bob.kv(BUCKET)
        await plain.put("k", b"hello")
        with pytest.raises(NotSealedError):
            await reader.get("k")
        await writer(alice).put("k", b"sealed")
        assert (await reader.get("k")).value == b"sealed"
        for remove in (plain.delete, plain.purge):
            await remove("k")
            with pytest.raises(UnauthenticatedDeletionError):
                await reader.get("k")


async def test_purge_where_the_bucket_permits_it(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob), stock(jetstream_server) as js:
        await js.create_key_value(bucket=BUCKET, history=5)
        bucket = writer(alice)
        for number in range(3):
            await bucket.put("k", b"%d" % number)
        await bucket.purge("k")
        [only] = await bob.kv(BUCKET).history("k")
        assert only.operation == "purge"
        with pytest.raises(KeyDeletedError):
            await bob.kv(BUCKET).get("k")
        with pytest.raises(NatsNotFoundError) as caught:
            await (await js.key_value(BUCKET)).get("k")
        assert not isinstance(caught.value, NatsDeletedError)
        assert (await bucket.status()).rollups
        other = alice.kv("other", to=["bob"])
        await other.init()
        assert not (await other.status()).rollups
        with pytest.raises(DeliveryError, match="rollups"):
            await other.purge("k")


async def test_the_codec_works_with_nats_py(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob), stock(jetstream_server) as js:
        await writer(alice).init()
        plain = await js.key_value(BUCKET)
        sealing, opening = await writer(alice).codec(), await bob.kv(BUCKET).codec()
        revision = await plain.put(*sealing.seal("k", b"1"))
        with pytest.raises(KeyWrongLastSequenceError):
            await plain.create(*sealing.seal("k", b"2"))
        entry = opening.open(await plain.get("k"))
        assert (entry.key, entry.value, entry.revision) == ("k", b"1", revision)
        assert (await bob.kv(BUCKET).get("k")).value == b"1"
        await plain.put("other", (await plain.get("k")).value)
        with pytest.raises(SubjectMismatchError):
            opening.open(await plain.get("other"))


@pytest.mark.skipif(shutil.which("nats") is None, reason="the nats CLI is not installed")
async def test_the_nats_cli_sees_ciphertext(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, _):
        await writer(alice).init()
        await writer(alice).put("k", b"a plain value")
        command = ["nats", "-s", jetstream_server.url, "kv", "get", BUCKET, "k", "--raw"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, timeout=DEADLINE, check=True
        )
        assert done.stdout.startswith(b"xkm1")
        assert b"plain" not in done.stdout


# --- placements -----------------------------------------------------------------------------------


async def test_a_mirror_and_a_copy_are_read_with_their_origin(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        await writer(alice).init(history=3)
        await writer(alice).put("k", b"1")
        mirror = {"name": "KV_mirror", "mirror": {"name": f"KV_{BUCKET}"}, "allow_direct": True}
        transform = [{"src": f"$KV.{BUCKET}.>", "dest": "$KV.copy.>"}]
        source = {"name": f"KV_{BUCKET}", "subject_transforms": transform}
        copy = {
            "name": "KV_copy", "subjects": ["$KV.copy.>"], "sources": [source],
            "allow_direct": True, "max_msgs_per_subject": 3,
        }  # fmt: skip
        for config in (mirror, copy):
            await alice.js.api.request(f"STREAM.CREATE.{config['name']}", config)
            name = str(config["name"]).removeprefix("KV_")

            async def arrived(name: str = name) -> bool:
                return (await bob.kv(name).status()).values > 0

            await until(arrived)
            reader = bob.kv(name, origin=BUCKET)
            assert (await reader.get("k")).value == b"1"
            assert [each.value for each in await reader.history("k")] == [b"1"]
            assert await reader.keys() == ["k"]
            with pytest.raises(SubjectMismatchError):
                await bob.kv(name).get("k")
            with pytest.raises(ConfigurationError, match="read-only"):
                await alice.kv(name, origin=BUCKET, to=["bob"]).put("k", b"2")
        assert (await bob.kv("mirror").status()).mirror == BUCKET
        assert (await bob.kv("copy").status()).sources == (BUCKET,)


async def test_a_bucket_in_a_domain() -> None:
    config = 'jetstream { store_dir: "{dir}/js", domain: hub }\n'
    with NATSServer(config) as server:
        async with both(server, jetstream_domain="hub") as (alice, bob):
            bucket, reader = writer(alice), bob.kv(BUCKET)
            await bucket.init()
            revision = await bucket.create("k", b"1")
            await bucket.update("k", b"2", revision)
            assert (await reader.get("k")).value == b"2"
            async with reader.watch() as watch:
                [entry, _] = await taken(watch, 2)
                assert entry is not None
                assert entry.value == b"2"


async def test_a_bucket_without_direct_get(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        config = {"name": f"KV_{BUCKET}", "subjects": [f"$KV.{BUCKET}.>"]}
        await alice.js.api.request(f"STREAM.CREATE.KV_{BUCKET}", config)
        bucket, reader = writer(alice), bob.kv(BUCKET)
        first = await bucket.create("k", b"1")
        await bucket.put("k", b"2")
        assert (await reader.get("k")).value == b"2"
        assert (await reader.get("k", first)).value == b"1"
        for call in (reader.get("nothing"), reader.get("k", 99)):
            with pytest.raises(KeyNotFoundError):
                await call
        await bucket.delete("k")
        with pytest.raises(KeyDeletedError):
            await reader.get("k")


@needs_server(2, 11, "entries that expire")
async def test_an_entry_expires_in_the_bucket(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        bucket, reader = writer(alice), bob.kv(BUCKET)
        await bucket.init(entry_ttl=True)
        await bucket.put("k", b"1", expires=1)
        assert (await reader.get("k")).value == b"1"

        async def gone() -> bool:
            return (await reader.status()).values == 0

        await until(gone)
        with pytest.raises(KeyNotFoundError):
            await reader.get("k")
        await bucket.create("k", b"2")
        assert (await reader.get("k")).value == b"2"


async def test_init_twice_and_with_other_settings(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, _):
        bucket = alice.kv(BUCKET)
        for _ in range(2):
            await bucket.init(history=3, ttl=60, max_bytes=1 << 20, storage="memory")
        status = await bucket.status()
        assert (status.history, status.ttl, status.storage) == (3, 60, "memory")
        with pytest.raises(DeliveryError):
            await bucket.init(history=3, storage="file")
        for wrong in ({"history": 0}, {"history": 65}, {"ttl": 0}, {"storage": "x"}):
            with pytest.raises(ConfigurationError):
                await bucket.init(**wrong)


async def test_another_stream_cannot_take_the_keys(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, _):
        config = {"name": "THIEF", "subjects": ["$KV.>"]}
        await alice.js.api.request("STREAM.CREATE.THIEF", config)
        with pytest.raises(ConfigurationError, match="another stream"):
            await writer(alice).put("k", b"1")


# --- watches --------------------------------------------------------------------------------------


async def consumers(client: Client) -> list[str]:
    answer = await client.js.api.request(f"CONSUMER.NAMES.KV_{BUCKET}")
    return [*answer["consumers"]]


async def test_a_watch_continues_after_its_consumer_is_lost(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JetStreamStore, "patience", 0.5)
    async with both(jetstream_server) as (alice, bob):
        bucket: KVBucket = writer(alice)
        await bucket.init(history=5)
        revision = await bucket.create("k", b"0")
        async with bob.kv(BUCKET).watch() as watch:
            await taken(watch, 2)
            for number in (1, 2):
                for name in await consumers(bob):
                    await bob.js.api.request(f"CONSUMER.DELETE.KV_{BUCKET}.{name}")
                revision = await bucket.update("k", b"%d" % number, revision)
                [entry] = await taken(watch, 1)
                assert entry is not None
                assert (entry.operation, entry.value) == ("put", b"%d" % number)


async def test_a_watch_continues_on_a_restarted_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JetStreamStore, "patience", 0.5)
    with NATSServer(jetstream=True) as server:
        async with both(server) as (alice, bob):
            bucket = writer(alice)
            await bucket.init(history=5)
            await bucket.put("k", b"0")
            async with bob.kv(BUCKET).watch() as watch:
                await taken(watch, 2)
                await asyncio.to_thread(server.restart)
                await bucket.put("k", b"1", timeout=50)
                [entry] = await taken(watch, 1)
                assert entry is not None
                assert entry.value == b"1"


async def test_a_watch_of_a_recreated_bucket_begins_again(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JetStreamStore, "patience", 0.5)
    async with both(jetstream_server) as (alice, bob):
        bucket = writer(alice)
        await bucket.init()
        for _ in range(5):
            await bucket.put("k", b"0")
        async with bob.kv(BUCKET).watch() as watch:
            await taken(watch, 2)
            await alice.js.api.request(f"STREAM.DELETE.KV_{BUCKET}")
            await bucket.init()
            await bucket.put("k", b"1")
            [entry] = await taken(watch, 1)
            assert entry is not None
            assert entry.value == b"1"


async def test_a_watch_of_a_deleted_bucket_ends_with_an_error(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JetStreamStore, "patience", 0.5)
    async with both(jetstream_server) as (alice, bob):
        await writer(alice).init()
        async with bob.kv(BUCKET).watch() as watch:
            await taken(watch, 1)
            await alice.js.api.request(f"STREAM.DELETE.KV_{BUCKET}")
            with pytest.raises(DeliveryError, match="no bucket"):
                await taken(watch, 1)
            with pytest.raises(StopAsyncIteration):
                await anext(watch)


async def test_a_slow_watch_gets_every_update(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        bucket = writer(alice)
        await bucket.init(history=64)
        async with bob.kv(BUCKET).watch() as watch:
            await taken(watch, 1)
            await asyncio.gather(*(bucket.put(f"k{n % 16}", b"%d" % n) for n in range(1000)))
            entries = await taken(watch, 1000)
        assert sorted(int(each.value or b"") for each in entries if each) == [*range(1000)]


async def test_compare_and_set_survives_a_lost_acknowledgement(
    jetstream_server: NATSServer,
) -> None:
    """The server refuses a retry, because it compares the revision before the message's id."""
    async with both(jetstream_server) as (alice, bob):
        bucket = writer(alice)
        await bucket.init()
        with losing_the_first(alice):
            assert await bucket.create("k", b"1") == 1
        with pytest.raises(WrongRevisionError):
            await bucket.create("k", b"2")
        assert (await bob.kv(BUCKET).get("k")).value == b"1"


@contextlib.contextmanager
def losing_the_first(client: Client, instead: str = "", other: bytes = b"") -> Iterator[None]:
    """Lose the acknowledgement of the first entry; store it under another key, or other bytes."""
    link, lost = client.js.api.link, False
    genuine = link.request

    async def request(subject: str, data: bytes, **more: Any) -> Raw:
        nonlocal lost
        if lost or not subject.startswith("$KV."):
            return await genuine(subject, data, **more)
        lost = True
        await genuine(instead or subject, other or data, **more)
        raise DeliveryError("no answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "request", request)
        yield
    assert lost


async def test_a_writer_who_may_not_read_knows_what_it_can_know() -> None:
    """With the permission to write alone; a retry is acknowledged as a duplicate."""
    config = f"""authorization {{ users: [
        {{ user: admin, password: admin }}
        {{ user: alice, password: alice, permissions: {{
            publish: ["$KV.{BUCKET}.>"], subscribe: ["_INBOX.>"] }} }} ] }}"""
    with NATSServer(config, jetstream=True) as server:
        options: Any = {"trust": PEERS, "timeout": DEADLINE}
        async with (
            connect(server.url, key=ALICE, user="admin", password="admin", **options) as admin,
            connect(server.url, key=ALICE, user="alice", password="alice", **options) as alice,
        ):
            await writer(admin).init()
            bucket = writer(alice)
            with losing_the_first(alice):
                assert await bucket.put("k", b"1") == 1
            with pytest.raises(WrongRevisionError):
                await bucket.update("k", b"x", 7)
            with losing_the_first(alice), pytest.raises(DeliveryError, match="may or may not"):
                await bucket.update("k", b"2", 1)
            assert (await writer(admin).get("k")).value == b"2"


@pytest.mark.parametrize("direct", [True, False])
async def test_another_key_under_the_id_of_an_entry_is_no_acknowledgement(
    jetstream_server: NATSServer, direct: bool
) -> None:
    """Whoever sees an entry before the stream has it can store its bytes elsewhere."""
    async with both(jetstream_server) as (alice, _):
        config = {"name": f"KV_{BUCKET}", "subjects": [f"$KV.{BUCKET}.>"], "allow_direct": direct}
        await alice.js.api.request(f"STREAM.CREATE.KV_{BUCKET}", config)
        with losing_the_first(alice, f"$KV.{BUCKET}.other"), pytest.raises(ConflictError):
            await writer(alice).put("k", b"1")
        with losing_the_first(alice, other=b"other"), pytest.raises(ConflictError):
            await writer(alice).put("k", b"1")


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        ("Nats-Msg-Id: 1", ConflictError),
        ("Nats-Expected-Last-Subject-Sequence: 0", WrongRevisionError),
    ],
)
async def test_the_first_attempt_is_no_retry(
    jetstream_server: NATSServer, header: str, refusal: type[Exception]
) -> None:
    """Somebody else has stored the same bytes."""
    async with both(jetstream_server) as (alice, _):
        await writer(alice).init()
        store, block = JetStreamStore(alice.js.api, BUCKET), f"NATS/1.0\r\n{header}\r\n\r\n"
        assert await store.put("k", b"1", block.encode(), timeout=DEADLINE)
        with pytest.raises(refusal):
            await store.put("k", b"1", block.encode(), timeout=DEADLINE)


async def test_a_watch_of_updates_misses_none_while_its_consumer_is_lost(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JetStreamStore, "patience", 0.5)
    async with both(jetstream_server) as (alice, bob):
        bucket = writer(alice)
        await bucket.init(history=5)
        await bucket.put("k", b"0")
        async with bob.kv(BUCKET).watch(updates_only=True) as watch:
            assert await taken(watch, 1) == [None]
            [name] = await consumers(bob)
            await bob.js.api.request(f"CONSUMER.DELETE.KV_{BUCKET}.{name}")
            await bucket.put("k", b"1")
            [entry] = await taken(watch, 1)
            assert entry is not None
            assert entry.value == b"1"


async def test_a_watch_of_updates_misses_none_after_its_start(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        bucket = writer(alice)
        await bucket.init(history=5)
        await bucket.put("k", b"0")
        for number in range(20):
            async with bob.kv(BUCKET).watch(updates_only=True) as watch:
                await bucket.put("k", b"%d" % number)
                [start, entry] = await taken(watch, 2)
                assert start is None
                assert entry is not None
                assert entry.value == b"%d" % number


async def test_a_watch_of_updates_that_cannot_start_says_so_when_it_is_read(
    jetstream_server: NATSServer,
) -> None:
    async with both(jetstream_server) as (_, bob):
        async with bob.kv("nowhere").watch(updates_only=True) as watch:
            with pytest.raises(DeliveryError):
                await anext(watch)


async def test_reading_leaves_no_subscription(jetstream_server: NATSServer) -> None:
    async with both(jetstream_server) as (alice, bob):
        bucket, reader = writer(alice), bob.kv(BUCKET)
        await bucket.init()
        await bucket.put("k", b"1")
        for _ in range(3):
            await reader.keys()
            await reader.history("k")
            async with reader.watch() as watch:
                await taken(watch, 2)

        async def nothing_is_bound() -> bool:
            answer = await bob.js.api.request(f"CONSUMER.NAMES.KV_{BUCKET}")
            names: list[str] = answer["consumers"]
            infos = [
                await bob.js.api.request(f"CONSUMER.INFO.KV_{BUCKET}.{name}") for name in names
            ]
            return not any(info.get("push_bound") for info in infos)

        await until(nothing_is_bound)

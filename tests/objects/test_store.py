"""Objects are stored, read, listed, watched and deleted, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

import xkeymsg
from tests.objects.conftest import ALICE, BOB, BUCKET, CAROL, Scene, scene_on
from tests.running import DEADLINE, until
from xkeymsg import ObjectStore, XKeyMsgError
from xkeymsg.ambient import random_bytes
from xkeymsg.client.jetstream.api import PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.objects.feed import Feed
from xkeymsg.testing import NATSServer

CHUNK = 128 * 1024
DATA = random_bytes(3 * CHUNK + 5)


@pytest.fixture
async def small() -> AsyncIterator[Scene]:
    """A server whose `max_payload` is smaller than a usual chunk."""
    with NATSServer("max_payload: 4096", jetstream=True) as server:
        async with scene_on(server) as made:
            yield made


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7])
async def test_data_of_any_length_comes_back(scene: Scene, size: int) -> None:
    data = random_bytes(size)
    info = await scene.writer.put("a", data)
    assert (info.size, info.chunks) == (size, max(1, -(-size // CHUNK)))
    got = await scene.reader.get("a")
    assert got.data == data
    assert got.info == await scene.reader.info("a")


async def pieces(data: bytes, sizes: Iterator[int]) -> AsyncIterator[bytes]:
    while data:
        size = next(sizes)
        yield data[:size]
        data = data[size:]


def source(kind: str, tmp_path: Path) -> Any:
    match kind:
        case "bytes":
            return DATA
        case "bytearray":
            return bytearray(DATA)
        case "memoryview":
            return memoryview(DATA).cast("I") if not len(DATA) % 4 else memoryview(DATA)
        case "file":
            (tmp_path / "data").write_bytes(DATA)
            return (tmp_path / "data").open("rb")
        case "memory file":
            return io.BytesIO(DATA)
        case "small pieces":
            return pieces(DATA, iter([1, 0, 7, *[1000] * 1000]))
        case _:
            return pieces(DATA, iter([10**9]))


@pytest.mark.parametrize(
    "kind",
    ["bytes", "bytearray", "memoryview", "file", "memory file", "small pieces", "large piece"],
)
async def test_data_is_taken_from(kind: str, scene: Scene, tmp_path: Path) -> None:
    given = source(kind, tmp_path)
    try:
        await scene.writer.put("a", given)
    finally:
        if kind == "file":
            given.close()
    assert (await scene.reader.get("a")).data == DATA


@pytest.mark.parametrize("wrong", ["text", None, 5, ["a"]])
async def test_data_of_another_type_is_a_type_error(scene: Scene, wrong: Any) -> None:
    with pytest.raises(TypeError):
        await scene.writer.put("a", wrong)
    with pytest.raises(TypeError):
        await scene.writer.put("a", io.StringIO("text"))  # type: ignore[arg-type]
    assert await scene.stored() == 0


async def test_data_is_written_into_a_file(scene: Scene, tmp_path: Path) -> None:
    data = random_bytes(5 << 20)
    await scene.writer.put("a", data)
    with (tmp_path / "out").open("wb") as file:
        result = await scene.reader.get("a", into=file)
    assert (tmp_path / "out").read_bytes() == data
    assert result.data == b""


async def test_an_object_above_the_limit_is_not_returned(scene: Scene) -> None:
    await scene.writer.put("a", DATA)
    with pytest.raises(xkeymsg.LimitExceededError):
        await scene.reader.get("a", max_bytes=1000)


async def test_headers_and_content_type_are_sealed(scene: Scene) -> None:
    await scene.writer.put("a", b"x", headers={"Ward": "7"}, content_type="image/tiff")
    info = await scene.reader.info("a")
    assert (info.headers["Ward"], info.content_type) == ("7", "image/tiff")
    assert (info.sender, info.admitted, info.signer) == (ALICE.public, True, None)
    assert "Ward" not in json.dumps(await scene.entry("a"))


@pytest.mark.parametrize("name", ["a", "../x", "ä/ö", "a b*>", "\x00", "x" * 150])
async def test_a_name_may_be_any_text(scene: Scene, name: str) -> None:
    await scene.writer.put(name, b"x")
    assert [info.name for info in await scene.reader.list()] == [name]
    assert (await scene.reader.get(name)).data == b"x"


@pytest.mark.parametrize(
    ("name", "error"), [("", "malformed"), ("\ud800", "malformed"), ("x" * 200, "limit_exceeded")]
)
async def test_an_invalid_name_is_refused(scene: Scene, name: str, error: str) -> None:  # B-9
    with pytest.raises(XKeyMsgError) as caught:
        await scene.writer.put(name, b"x")
    assert caught.value.code == error


async def test_without_recipients_nothing_is_stored(scene: Scene) -> None:
    with pytest.raises(xkeymsg.ConfigurationError, match="no recipients"):
        await scene.reader.put("a", b"x")
    with pytest.raises(xkeymsg.UnknownKeyError):
        await scene.writer.put("a", b"x", to="nobody")
    assert await scene.stored() == 0


@pytest.mark.parametrize("bucket", ["", "a.b", "a b", "*", "x" * 65])
async def test_an_invalid_bucket_is_refused(scene: Scene, bucket: str) -> None:
    with pytest.raises(xkeymsg.ConfigurationError):
        scene.alice.objects(bucket)


async def test_wrong_headers_are_refused_before_anything_is_stored(scene: Scene) -> None:
    for wrong, error in (({"xkm-a": "b"}, XKeyMsgError), (5, TypeError)):
        more: Any = {"headers": wrong}
        with pytest.raises(error):
            await scene.writer.put("a", DATA, **more)
    assert await scene.stored() == 0


async def test_an_entry_that_the_server_refuses_leaves_no_chunks(scene: Scene) -> None:
    async def sealing() -> AsyncIterator[bytes]:
        yield DATA
        info = await scene.api.request(f"STREAM.INFO.OBJ_{BUCKET}")
        change = info["config"] | {"allow_rollup_hdrs": False}
        await scene.api.request(f"STREAM.UPDATE.OBJ_{BUCKET}", change)

    with pytest.raises(xkeymsg.DeliveryError, match="roll"):
        await scene.writer.put("a", sealing())
    assert await scene.stored() == 0


async def test_an_entry_that_others_keep_replacing_leaves_no_chunks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-25
    monkeypatch.setattr("xkeymsg.objects.bucket.ATTEMPTS", 3)
    genuine = scene.api.link.request

    async def late(subject: str, data: bytes, **more: Any) -> Any:
        if ".M." in subject:
            await genuine(subject, b"junk", headers=b"", timeout=DEADLINE)
        return await genuine(subject, data, **more)

    monkeypatch.setattr(scene.api.link, "request", late)
    with pytest.raises(xkeymsg.DeliveryError) as caught:
        await scene.writer.put("a", DATA)
    assert caught.value.err_code is not None
    assert await scene.stored() == 3, "only the junk is there"


# --- limits of servers ----------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [1, 20, 200, 1000])
async def test_chunks_and_lists_fit_a_small_server(small: Scene, chunks: int) -> None:  # B-3, B-10
    data = random_bytes(2048 * chunks - 1)
    assert (await small.writer.put("a", data)).chunks == chunks
    assert (await small.reader.get("a")).data == data
    await small.writer.put("a", b"x")
    assert await small.stored() == 2, "the old list of hashes is still there"


async def test_hashes_that_are_too_many_for_a_manifest_are_a_list(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-7, B-10
    monkeypatch.setattr("xkeymsg.objects.writer.INLINE", 100)
    monkeypatch.setattr("xkeymsg.objects.writer.LARGEST", 1024)
    data = random_bytes(1024 * 3000)
    await scene.writer.put("a", data)
    subject = f"$O.{BUCKET}.C.{(await scene.entry('a'))['nuid']}.*"
    stored = await scene.messages(subject)
    assert len(stored) == -(-3000 * 32 // 1024)
    assert (await scene.reader.get("a")).data == data


async def test_an_altered_list_of_hashes_is_refused(small: Scene) -> None:  # B-12
    await small.writer.put("a", random_bytes(2048 * 500))
    nuid = (await small.entry("a"))["nuid"]
    stored = await small.messages(f"$O.{BUCKET}.C.{nuid}.*")
    found = await small.api.next_message(f"OBJ_{BUCKET}", 1, f"$O.{BUCKET}.C.{nuid}.*")
    for chunks, code in (
        ([stored[1], stored[0], *stored[2:]], "chunk_order"),
        ([bytes(len(stored[0])), *stored[1:]], "chunk_replaced"),
        (stored[:-1], "object_truncated"),
    ):
        await small.api.request(f"STREAM.PURGE.OBJ_{BUCKET}", {"filter": found.subject})
        for chunk in chunks:
            await small.publish(found.subject, chunk)
        with pytest.raises(XKeyMsgError) as caught:
            await small.reader.get("a")
        assert caught.value.code == code


async def test_too_many_recipients_for_a_small_server_are_an_error(small: Scene) -> None:
    to = [xkeymsg.XKeyPair.generate().public for _ in range(100)]
    with pytest.raises(xkeymsg.PayloadTooLargeError):
        await small.writer.put("a", b"x", to=to)
    with pytest.raises(xkeymsg.ObjectNotFoundError):
        await small.writer.info("a")


# --- replacing and deleting -----------------------------------------------------------------------


async def test_a_new_object_replaces_the_old_one_and_its_chunks(scene: Scene) -> None:
    for size in (10 * CHUNK, CHUNK + 1):
        await scene.writer.put("a", random_bytes(size))
    assert await scene.stored() == 2 + 1


async def test_the_old_object_stays_until_the_new_manifest_is_stored(scene: Scene) -> None:
    await scene.writer.put("a", b"old")

    async def slow() -> AsyncIterator[bytes]:
        yield DATA
        assert (await scene.reader.get("a")).data == b"old"
        yield DATA

    await scene.writer.put("a", slow())
    assert (await scene.reader.get("a")).data == DATA * 2


async def test_a_source_that_fails_leaves_nothing(scene: Scene) -> None:  # B-24
    await scene.writer.put("a", b"old")

    async def failing() -> AsyncIterator[bytes]:
        yield DATA
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        await scene.writer.put("a", failing())
    assert (await scene.reader.get("a")).data == b"old"
    assert await scene.stored() == 2


async def test_a_cancelled_put_leaves_nothing(scene: Scene) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield DATA
            begun.set()
            await asyncio.sleep(0.001)

    task = asyncio.create_task(scene.writer.put("a", endless()))
    async with asyncio.timeout(DEADLINE):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await scene.reader.list() == []
    assert await scene.stored() == 0


WRITER = """
import asyncio, sys
import xkeymsg
url, seed, to = sys.argv[1:]
async def data():
    while True:
        yield bytes(200_000)
        print("stored", flush=True)
async def main():
    key = xkeymsg.XKeyPair.from_seed(seed)
    async with xkeymsg.connect(url, key=key, trust={key.public}) as client:
        await client.objects("scans").put("a", data(), to=xkeymsg.XKey.parse(to))
asyncio.run(main())
"""


async def test_a_killed_writer_leaves_no_object_and_its_chunks_can_be_purged(
    scene: Scene,
) -> None:  # B-24
    await scene.writer.put("a", b"old")
    await scene.writer.put("b", DATA)
    words = [sys.executable, "-c", WRITER, scene.server.url, ALICE.seed(), str(BOB.public)]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            for _ in range(50):
                assert await process.stdout.readline() == b"stored\n"
    finally:
        process.kill()
        await process.wait()
    await until(lambda: more_than(scene, 10))
    assert (await scene.reader.get("a")).data == b"old"
    assert {info.name for info in await scene.reader.list()} == {"a", "b"}
    assert await scene.writer.purge_leftovers() == 0, "the writer could still be at work"
    assert await scene.writer.purge_leftovers(older_than=0) == 1
    assert await scene.stored() == 2 + 5
    assert await scene.writer.purge_leftovers(older_than=0) == 0
    assert (await scene.reader.get("b")).data == DATA


async def more_than(scene: Scene, messages: int) -> bool:
    return await scene.stored() > messages


async def test_a_list_of_hashes_is_no_leftover(small: Scene) -> None:
    data = random_bytes(2048 * 500)
    await small.writer.put("a", data)
    assert await small.writer.purge_leftovers(older_than=0) == 0
    assert (await small.reader.get("a")).data == data


async def test_of_several_writers_at_a_time_one_wins_and_nothing_is_left(scene: Scene) -> None:
    """B-25."""
    stores = [scene.alice.objects(BUCKET, to=[BOB.public]) for _ in range(6)]
    contents = [random_bytes(CHUNK + number) for number in range(6)]
    await asyncio.gather(
        *(store.put("a", data) for store, data in zip(stores, contents, strict=True))
    )
    assert (await scene.reader.get("a")).data in contents
    assert await scene.stored() == 1 + (await scene.reader.info("a")).chunks


async def test_a_deleted_object_is_gone(scene: Scene) -> None:
    await scene.writer.put("a", DATA)
    await scene.writer.delete("a")
    with pytest.raises(xkeymsg.ObjectNotFoundError):
        await scene.reader.get("a")
    with pytest.raises(xkeymsg.ObjectNotFoundError):
        await scene.writer.delete("a")
    with pytest.raises(xkeymsg.ObjectNotFoundError):
        await scene.writer.delete("never")
    assert await scene.reader.list() == []
    [info] = await scene.reader.list(ignore_deletes=False)
    assert (info.deleted, info.sender) == (True, ALICE.public)
    assert await scene.stored() == 1
    await scene.writer.put("a", b"again")
    assert (await scene.reader.get("a")).data == b"again"


async def test_an_object_replaced_while_it_is_read_is_an_error_to_try_again(scene: Scene) -> None:
    await scene.writer.put("a", random_bytes(100 * CHUNK))
    async with scene.reader.open("a") as reader:
        await anext(reader)
        await scene.writer.put("a", b"new")
        with pytest.raises(xkeymsg.DeliveryError, match="replaced or deleted") as caught:
            async for _ in reader:
                pass
    assert caught.value.retryable


async def test_an_object_from_a_clock_ahead_is_not_replaced(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers would take the new object for a rollback."""
    await scene.writer.put("a", b"x")
    info = await scene.reader.info("a")
    assert info.created is not None
    behind = (info.created.timestamp() - 3600) * 10**9
    monkeypatch.setattr("xkeymsg.objects.bucket.now_ns", lambda: int(behind))
    with pytest.raises(xkeymsg.ConflictError, match="compare clocks"):
        await scene.writer.put("a", b"y")


@pytest.mark.parametrize("arrives", [True, False])
async def test_an_entry_whose_acknowledgement_is_lost_is_stored_once(
    scene: Scene, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-25
    link, lost = scene.api.link, 0
    genuine = link.request

    async def losing(subject: str, data: bytes, **more: Any) -> Any:
        nonlocal lost
        if ".M." not in subject or lost:
            return await genuine(subject, data, **more)
        lost += 1
        if arrives:
            await genuine(subject, data, **more)
        raise xkeymsg.DeliveryError("no answer within 5 s")

    await scene.writer.put("a", b"old")
    monkeypatch.setattr(link, "request", losing)
    await scene.writer.put("a", DATA)
    assert lost == 1
    assert (await scene.reader.get("a")).data == DATA
    assert await scene.stored() == 1 + 4


@pytest.mark.parametrize("arrives", [True, False])
async def test_an_entry_that_another_writer_may_have_replaced_is_not_written_again(
    scene: Scene, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-25: the other writer has deleted its chunks
    link, other = scene.api.link, scene.alice.objects(scene.writer.bucket, to=[BOB.public])
    genuine, lost = link.request, 0

    async def losing(subject: str, data: bytes, **more: Any) -> Any:
        nonlocal lost
        if ".M." not in subject or lost:
            return await genuine(subject, data, **more)
        lost += 1
        if arrives:
            await genuine(subject, data, **more)
        await other.put("a", b"other")
        raise xkeymsg.DeliveryError("no answer within 5 s")

    await scene.writer.put("a", b"old")
    monkeypatch.setattr(link, "request", losing)
    with pytest.raises(xkeymsg.DeliveryError, match="no answer") as caught:
        await scene.writer.put("a", DATA)
    assert caught.value.err_code is None
    assert (await scene.reader.get("a")).data == b"other"


# --- watching, and the bucket ---------------------------------------------------------------------


async def test_a_list_names_an_object_once_that_is_replaced_meanwhile(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Feed.next

    async def late(feed: Feed) -> Any:
        arrival = await genuine(feed)
        if arrival is not None and ".M." in arrival.subject and not replaced:
            replaced.append(True)
            await scene.writer.put("a", b"22")
            await scene.writer.put("b", b"333")
        return arrival

    replaced: list[bool] = []
    await scene.writer.put("a", b"1")
    await scene.writer.put("b", b"1")
    monkeypatch.setattr(Feed, "next", late)
    names = [each.name for each in await scene.reader.list()]
    assert sorted(names) == ["a", "b"]


async def test_a_list_without_end_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.writer.put("a", b"1")
    genuine, kept = Feed.next, list[Any]()

    async def again(feed: Feed) -> Any:
        if not kept:
            kept.append(await genuine(feed))
        return kept[0]._replace(sequence=kept[0].sequence + 1)

    monkeypatch.setattr(Feed, "next", again)
    monkeypatch.setattr("xkeymsg.objects.store.MOST_ENTRIES", 10)
    with pytest.raises(xkeymsg.LimitExceededError):
        await scene.reader.list()


@pytest.mark.parametrize("updates_only", [True, False])
async def test_a_watch_continues_when_the_bucket_was_created_again(
    scene: Scene, updates_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xkeymsg.objects.feed.SILENCE", 0.2)
    monkeypatch.setattr("xkeymsg.objects.feed.EXPIRES", 0.2)
    for number in range(3):
        await scene.writer.put("a", bytes(number))
    watch = scene.reader.watch(updates_only=updates_only)
    async with watch, asyncio.timeout(DEADLINE):
        if not updates_only:
            assert (await anext(watch)).size == 2
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0.5)
        await scene.api.request(f"STREAM.DELETE.OBJ_{BUCKET}")
        await scene.writer.init(storage="memory")
        await scene.writer.put("b", bytes(9))
        assert (await waiting).name == "b"


async def test_a_watch_that_lags_behind_other_reads_refuses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-22
    arrived, go = asyncio.Event(), asyncio.Event()
    genuine = Feed.next

    async def late(feed: Feed) -> Any:
        arrival = await genuine(feed)
        if arrival is not None and ".M." in arrival.subject:
            arrived.set()
            await go.wait()
        return arrival

    await scene.writer.put("a", b"1")
    monkeypatch.setattr(Feed, "next", late)
    async with scene.reader.watch() as watch, asyncio.timeout(DEADLINE):
        first = asyncio.create_task(anext(watch))
        await arrived.wait()
        await scene.writer.put("a", b"22")
        assert (await scene.reader.get("a")).data == b"22"
        go.set()
        assert [(await first).size, (await anext(watch)).size] == [1, 2]
    assert not scene.bob.stats.refused
    await scene.replace_entry("a", await scene.entry("a"))
    assert (await scene.reader.get("a")).data == b"22"


async def test_a_watch_yields_what_is_there_and_what_changes(scene: Scene) -> None:
    await scene.writer.put("a", b"1")
    seen: list[tuple[str, int, bool]] = []
    async with scene.reader.watch() as changes, asyncio.timeout(DEADLINE):
        async for info in changes:
            seen.append((info.name, info.size, info.deleted))
            match len(seen):
                case 1:
                    await scene.writer.put("b", b"22")
                case 2:
                    await scene.writer.put("a", b"333")
                case 3:
                    await scene.replace_entry("c", b"junk")
                    await scene.writer.delete("b")
                case 4:
                    break
    assert seen == [("a", 1, False), ("b", 2, False), ("a", 3, False), ("b", 0, True)]
    assert scene.bob.stats.refused == {"malformed": 1}


async def test_a_watch_of_updates_begins_with_the_next_one(scene: Scene) -> None:
    await scene.writer.put("a", b"1")
    async with scene.reader.watch(updates_only=True) as changes, asyncio.timeout(DEADLINE):
        await scene.writer.put("b", b"2")
        await scene.writer.put("c", b"3")
        assert [(await anext(changes)).name for _ in range(2)] == ["b", "c"]


async def test_a_watch_of_no_bucket_is_an_error_at_once(scene: Scene) -> None:
    with pytest.raises(xkeymsg.DeliveryError):
        async with scene.bob.objects("nowhere").watch(updates_only=True):
            pytest.fail("it has started")


async def test_a_watch_continues_when_its_consumer_has_expired(scene: Scene) -> None:
    async with scene.reader.watch(updates_only=True) as changes, asyncio.timeout(DEADLINE):
        await scene.writer.put("a", b"1")
        [name] = (await scene.api.request(f"CONSUMER.NAMES.OBJ_{BUCKET}"))["consumers"]
        # As the server does by itself, after a minute without a request.
        await scene.api.request(f"CONSUMER.DELETE.OBJ_{BUCKET}.{name}")
        assert (await anext(changes)).name == "a"


async def test_a_watch_of_a_bucket_that_is_deleted_after_its_start_is_an_error(
    scene: Scene,
) -> None:
    async with scene.reader.watch(updates_only=True) as changes, asyncio.timeout(DEADLINE):
        await scene.api.request(f"STREAM.DELETE.OBJ_{BUCKET}")
        with pytest.raises(xkeymsg.DeliveryError):
            await anext(changes)


async def test_a_sealed_bucket_takes_nothing_more(scene: Scene) -> None:
    await scene.writer.put("a", DATA)
    status = await scene.writer.status()
    assert (status.bucket, status.sealed, status.storage, status.ttl) == (
        BUCKET, False, "memory", None,
    )  # fmt: skip
    assert status.size > len(DATA)
    await scene.writer.seal()
    assert (await scene.writer.status()).sealed
    with pytest.raises(xkeymsg.DeliveryError):
        await scene.writer.put("b", b"x")
    assert (await scene.reader.get("a")).data == DATA


async def test_a_bucket_that_is_not_there_is_an_error(scene: Scene) -> None:
    store = scene.alice.objects("nowhere", to=[BOB.public])
    for call in (store.info("a"), store.list(), store.status(), store.get("a")):
        with pytest.raises(xkeymsg.DeliveryError):
            await call
    await store.init(ttl=60, storage="memory")
    assert (await store.status()).ttl == 60


# --- lost connections -----------------------------------------------------------------------------


async def restart(server: NATSServer) -> None:
    await asyncio.to_thread(server.restart)


@pytest.fixture
async def filed(jetstream_server: NATSServer) -> AsyncIterator[tuple[Scene, ObjectStore]]:
    """A bucket on disk, which survives a restart."""
    async with scene_on(jetstream_server) as made:
        store = made.alice.objects("filed", to=[BOB.public, CAROL.public])
        await store.init()
        yield made, store


async def test_a_put_survives_a_restart_of_the_server(filed: tuple[Scene, ObjectStore]) -> None:
    scene, store = filed

    async def data() -> AsyncIterator[bytes]:
        for number in range(20):
            if number == 10:
                await restart(scene.server)
            yield DATA

    try:
        await store.put("a", data())
    except xkeymsg.DeliveryError:  # chunks could be out of order: then nothing is stored
        assert await scene.bob.objects("filed").list() == []
        await store.put("a", DATA * 20)
    assert (await scene.bob.objects("filed").get("a")).data == DATA * 20


async def test_reading_survives_a_restart_of_the_server(filed: tuple[Scene, ObjectStore]) -> None:
    scene, store = filed
    await store.put("a", DATA * 20)
    got = bytearray()
    async with scene.bob.objects("filed").open("a") as reader:
        async for piece in reader:
            got += piece
            if len(got) == 10 * CHUNK:
                await restart(scene.server)
    assert got == DATA * 20


async def test_a_watch_survives_a_restart_of_the_server(filed: tuple[Scene, ObjectStore]) -> None:
    scene, store = filed
    for client in (scene.alice, scene.bob):
        client.js.api.timeout = 3.0  # after which what was lost with the connection is asked again
    seen = []
    async with scene.bob.objects("filed").watch(updates_only=True) as changes:
        waiting = asyncio.create_task(anext(changes))
        await until(lambda: is_waiting(scene))
        await restart(scene.server)
        for name in ("a", "b"):
            await until(lambda name=name: put_small(store, name))  # type: ignore[misc]
            async with asyncio.timeout(DEADLINE):
                seen.append((await waiting).name)
            waiting = asyncio.create_task(anext(changes))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert seen == ["a", "b"]


async def is_waiting(scene: Scene) -> bool:
    """Tell whether a watch has begun: its consumer exists, and it has asked for messages."""
    found = (await scene.api.request("CONSUMER.LIST.OBJ_filed"))["consumers"]
    return any(each["num_waiting"] for each in found or ())


async def put_small(store: ObjectStore, name: str) -> bool:
    try:
        await store.put(name, b"x")
    except xkeymsg.DeliveryError:
        return False
    return True


class Reordered(StreamPublisher):
    """Reports one position for the first two chunks, as if they were not in order."""

    left = 2

    async def submit(self, *args: Any, **more: Any) -> asyncio.Future[PubAck]:
        genuine = await super().submit(*args, **more)
        if not Reordered.left:
            return genuine
        Reordered.left -= 1
        wrong: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        wrong.set_result(PubAck(f"OBJ_{BUCKET}", 1, False))
        return wrong


@pytest.mark.parametrize("again", [True, False])
async def test_chunks_out_of_order_are_put_again_if_the_data_can_be_read_again(
    scene: Scene, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-24
    monkeypatch.setattr("xkeymsg.objects.store.StreamPublisher", Reordered)
    monkeypatch.setattr(Reordered, "left", 2)
    if again:
        file = io.BytesIO(b"before" + DATA)
        file.seek(6)
        await scene.writer.put("a", file)
        assert (await scene.reader.get("a")).data == DATA
        return
    with pytest.raises(xkeymsg.DeliveryError, match="order"):
        await scene.writer.put("a", pieces(DATA, iter([10**9])))
    assert await scene.reader.list() == []


# --- foreign clients ------------------------------------------------------------------------------


async def test_nats_py_lists_and_copies_the_ciphertext(scene: Scene) -> None:  # B-26
    await scene.writer.put("a", DATA)
    await scene.writer.put("empty", b"")
    foreign = await nats.connect(scene.server.url)
    try:
        store = await foreign.jetstream().object_store(BUCKET)
        listed = {info.name: info for info in await store.list()}
        assert set(listed) == {"a", "empty"}
        assert (listed["a"].size, listed["a"].chunks) == (len(DATA) + 4 * 16, 4)
        copied = await store.get("a")  # which checks the digest
        assert copied.data == b"".join(await scene.chunks("a"))
        assert DATA[:1000] not in (copied.data or b"")
        assert len((await store.get("empty")).data or b"") == 16
        await store.put("plain", b"plaintext")
        with pytest.raises(xkeymsg.NotSealedError):
            await scene.reader.get("plain")
        await store.delete("a")
        with pytest.raises(xkeymsg.UnauthenticatedDeletionError):
            await scene.reader.get("a")
    finally:
        await foreign.close()


@pytest.mark.skipif(shutil.which("nats") is None, reason="the nats CLI is not installed")
async def test_the_nats_cli_lists_and_copies_the_ciphertext(
    scene: Scene, tmp_path: Path
) -> None:  # B-26
    await scene.writer.put("a", DATA)

    def call(*words: str) -> str:
        command = ["nats", "-s", scene.server.url, "object", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)
        return done.stdout

    assert "a" in await asyncio.to_thread(call, "ls", BUCKET, "--names")
    assert "xkm1" in await asyncio.to_thread(call, "info", BUCKET, "a")
    copy = tmp_path / "copy"
    await asyncio.to_thread(call, "get", BUCKET, "a", "--output", str(copy), "--no-progress")
    assert copy.read_bytes() == b"".join(await scene.chunks("a"))
    await asyncio.to_thread(call, "rm", BUCKET, "a", "--force")
    with pytest.raises(xkeymsg.UnauthenticatedDeletionError):
        await scene.reader.get("a")

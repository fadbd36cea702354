"""What a broker, a co-recipient or an outsider can do to stored objects is refused, by code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

import xkeymsg
from tests.objects.conftest import ALICE, BOB, BUCKET, CAROL, EVE, Scene
from tests.running import DEADLINE
from xkeymsg import RollbackMemory, XKeyMsgError, primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.limits import AtRest
from xkeymsg.nkey import Prefix, UserKey, encode_seed
from xkeymsg.objects.chunks import ChunkSealer, draw_key
from xkeymsg.objects.manifest import Manifest, encode_manifest, parse_manifest
from xkeymsg.objects.names import metadata_subject
from xkeymsg.opener import Opener
from xkeymsg.sealer import Sealer

CHUNK = 128 * 1024
DATA = random_bytes(3 * CHUNK + 5)


async def refused(scene: Scene, name: str = "a") -> str:
    """Read an object; return the code of the refusal."""
    with pytest.raises(XKeyMsgError) as caught:
        await scene.reader.get(name)
    assert str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value.code


# --- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 3])
async def test_a_truncated_object_is_refused(scene: Scene, left: int) -> None:  # B-11
    await scene.writer.put("a", DATA)
    await scene.replace_chunks("a", (await scene.chunks("a"))[:left])
    assert await refused(scene) == "object_truncated"


async def test_only_verified_data_is_released(scene: Scene) -> None:  # B-12
    await scene.writer.put("a", DATA)
    chunks = await scene.chunks("a")
    await scene.replace_chunks("a", [*chunks[:2], random_bytes(CHUNK + 16), chunks[3]])
    async with scene.reader.open("a") as reader:
        assert await anext(reader) + await anext(reader) == DATA[: 2 * CHUNK]
        with pytest.raises(xkeymsg.ChunkReplacedError):
            await anext(reader)
        with pytest.raises(xkeymsg.ObjectError):  # and reading does not go on after it
            await anext(reader)


async def test_reordered_chunks_are_refused(scene: Scene) -> None:  # B-12
    await scene.writer.put("a", DATA)
    one, two, *rest = await scene.chunks("a")
    await scene.replace_chunks("a", [two, one, *rest])
    assert await refused(scene) == "chunk_order"


async def test_a_repeated_chunk_is_refused(scene: Scene) -> None:  # B-12
    await scene.writer.put("a", DATA)
    one, _, *rest = await scene.chunks("a")
    await scene.replace_chunks("a", [one, one, *rest])
    assert await refused(scene) == "chunk_order"


async def test_chunks_of_another_object_are_refused(scene: Scene) -> None:  # B-12
    await scene.writer.put("a", DATA)
    await scene.writer.put("b", DATA)
    await scene.replace_chunks("a", await scene.chunks("b"))
    assert await refused(scene) == "chunk_replaced"


@pytest.mark.parametrize("at", [0, CHUNK, CHUNK + 15])
async def test_an_altered_chunk_is_refused(scene: Scene, at: int) -> None:  # B-12
    await scene.writer.put("a", DATA)
    one, *rest = await scene.chunks("a")
    altered = bytearray(one)
    altered[at] ^= 1
    await scene.replace_chunks("a", [bytes(altered), *rest])
    assert await refused(scene) == "chunk_replaced"


async def test_more_chunks_than_the_object_has_are_not_read(scene: Scene) -> None:  # B-11
    await scene.writer.put("a", DATA)
    await scene.replace_chunks("a", [*await scene.chunks("a"), b"more"])
    assert (await scene.reader.get("a")).data == DATA


async def test_a_chunk_that_a_recipient_has_sealed_is_refused(scene: Scene) -> None:  # B-12
    """Carol knows the content key, as every recipient does."""
    await scene.writer.put("a", DATA)
    manifest = await opened_manifest(scene, CAROL)
    forger = ChunkSealer(manifest.content_key, manifest.id)
    forged, _ = forger.seal(bytes(CHUNK), last=False)
    _, *rest = await scene.chunks("a")
    await scene.replace_chunks("a", [forged, *rest])
    assert await refused(scene) == "chunk_replaced"


async def test_a_forged_entry_from_the_future_does_not_block_writers(scene: Scene) -> None:  # B-25
    """Eve may publish, and is not admitted; honest writers take no notice of her time."""
    await scene.writer.put("a", DATA)
    late = time.time_ns() + 3600 * 10**9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xkeymsg.sealer.now_ns", lambda: late)
        await store_manifest(scene, b"", EVE)
    assert await refused(scene) == "sender_not_admitted"
    await scene.writer.put("a", b"again")
    assert (await scene.reader.get("a")).data == b"again"


# --- manifests ------------------------------------------------------------------------------------


async def opened_manifest(scene: Scene, pair: xkeymsg.XKeyPair, name: str = "a") -> Manifest:
    opener = Opener(pair, {ALICE.public}, replay=AtRest())
    envelope = base64.b64decode((await scene.entry(name))["metadata"]["xkm1"])
    manifest = parse_manifest(opener.open(envelope, subject="$O.>").data)
    assert manifest is not None
    return manifest


async def store_manifest(
    scene: Scene, data: bytes, writer: xkeymsg.XKeyPair = ALICE, name: str = "a"
) -> None:
    """Store the entry of a writer who has sealed other content as a manifest."""
    sealed = Sealer(writer).seal(data, to=[BOB.public], subject=metadata_subject(BUCKET, name))
    entry = await scene.entry(name)
    entry["metadata"]["xkm1"] = base64.b64encode(sealed).decode()
    await scene.replace_entry(name, entry)


async def test_an_altered_manifest_is_refused(scene: Scene) -> None:  # B-4
    await scene.writer.put("a", DATA)
    entry = await scene.entry("a")
    envelope = bytearray(base64.b64decode(entry["metadata"]["xkm1"]))
    envelope[-200] ^= 1  # not in the wrap of another recipient
    entry["metadata"]["xkm1"] = base64.b64encode(envelope).decode()
    await scene.replace_entry("a", entry)
    assert await refused(scene) == "authentication"


async def test_a_manifest_of_a_recipient_is_refused(scene: Scene) -> None:  # B-4
    """Carol may read, and is not admitted as a writer."""
    await scene.writer.put("a", DATA)
    manifest = await opened_manifest(scene, CAROL)
    await store_manifest(scene, encode_manifest(manifest), CAROL)
    assert await refused(scene) == "sender_not_admitted"


async def test_an_object_for_others_is_refused(scene: Scene) -> None:  # B-4
    await scene.writer.put("a", DATA, to=[CAROL.public])
    assert await refused(scene) == "not_a_recipient"


async def test_an_entry_moved_to_another_name_is_refused(scene: Scene) -> None:  # B-19
    await scene.writer.put("a", DATA)
    await scene.replace_entry("b", await scene.entry("a"))
    assert await refused(scene, "b") == "subject_mismatch"


async def test_a_manifest_moved_to_another_name_is_refused(scene: Scene) -> None:  # B-4
    await scene.writer.put("a", DATA)
    await scene.replace_entry("b", await scene.entry("a") | {"name": "b"})
    assert await refused(scene, "b") == "subject_mismatch"


async def test_an_object_moved_to_another_bucket_is_refused(scene: Scene) -> None:  # B-4, B-19
    await scene.writer.put("a", DATA)
    other = scene.bob.objects("other")
    await other.init(storage="memory")
    for entry in (await scene.entry("a"), await scene.entry("a") | {"bucket": "other"}):
        await scene.replace_entry("a", entry, "other")
        with pytest.raises(xkeymsg.SubjectMismatchError):
            await other.info("a")


@pytest.mark.parametrize("member", ["nuid", "size", "chunks"])
async def test_an_entry_that_mixes_two_objects_is_refused(scene: Scene, member: str) -> None:
    """B-20."""
    await scene.writer.put("a", DATA)
    await scene.writer.put("b", DATA + bytes(CHUNK))
    other = await scene.entry("b")
    await scene.replace_entry("a", await scene.entry("a") | {member: other[member]})
    assert await refused(scene) == "object_mixed"


async def test_the_manifest_of_another_version_of_the_object_is_refused(scene: Scene) -> None:
    """B-20."""
    await scene.writer.put("a", DATA)
    old = await scene.entry("a")
    await scene.writer.put("a", DATA)
    await scene.replace_entry("a", await scene.entry("a") | {"metadata": old["metadata"]})
    assert await refused(scene) == "object_mixed"


async def test_an_older_object_is_refused_by_who_has_opened_a_newer_one(scene: Scene) -> None:
    """B-22."""
    await scene.writer.put("a", b"old")
    old = await scene.entry("a")
    await scene.writer.put("a", b"new")
    assert (await scene.reader.info("a")).size == 3
    await scene.replace_entry("a", old)
    assert await refused(scene) == "value_rollback"
    with pytest.raises(xkeymsg.ValueRollbackError):  # the writer also knows
        await scene.writer.info("a")
    fresh = scene.bob.objects(BUCKET)
    assert (await fresh.info("a")).size == 3  # a new reader cannot know


async def test_a_deleted_object_does_not_come_back(scene: Scene) -> None:  # B-22
    await scene.writer.put("a", b"old")
    old = await scene.entry("a")
    await scene.writer.delete("a")
    with pytest.raises(xkeymsg.ObjectNotFoundError, match=f"by {ALICE.public}"):
        await scene.reader.get("a")
    await scene.replace_entry("a", old)
    assert await refused(scene) == "value_rollback"


async def test_a_copy_of_the_newest_object_is_no_rollback(scene: Scene) -> None:  # B-22
    await scene.writer.put("a", b"x")
    await scene.reader.get("a")
    await scene.replace_entry("a", await scene.entry("a"))
    assert (await scene.reader.get("a")).data == b"x"


async def test_a_new_reader_can_demand_a_recent_object(scene: Scene) -> None:  # B-21
    await scene.writer.put("a", b"x")
    await asyncio.sleep(0.05)
    demanding = scene.bob.objects(BUCKET, max_age=0.001)
    with pytest.raises(xkeymsg.StaleError, match="max_age"):
        await demanding.info("a")
    assert (await scene.bob.objects(BUCKET, max_age=3600).info("a")).size == 1


async def test_an_object_from_the_future_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:  # B-21
    await scene.writer.put("a", b"x")
    created = (await scene.reader.info("a")).created
    assert created is not None
    early = (created - timedelta(minutes=5)).timestamp()
    monkeypatch.setattr("xkeymsg.objects.entry_opener.now_ns", lambda: int(early * 10**9))
    assert await refused(scene) == "stale"


# --- what is not a sealed object ------------------------------------------------------------------


async def test_a_plain_object_is_refused(scene: Scene) -> None:  # B-18
    await scene.writer.put("a", DATA)
    entry = await scene.entry("a")
    del entry["metadata"]
    await scene.replace_entry("a", entry)
    assert await refused(scene) == "not_sealed"


@pytest.mark.parametrize("link", [{"bucket": BUCKET, "name": "b"}, {"bucket": "other"}, {}])
async def test_a_link_is_refused(scene: Scene, link: dict[str, str]) -> None:  # B-17
    await scene.writer.put("a", DATA)
    await scene.writer.put("b", DATA)
    entry = await scene.entry("a") | {"options": {"link": link}}
    await scene.replace_entry("a", entry)
    assert await refused(scene) == "object_link"


async def test_an_unsealed_deletion_is_refused(scene: Scene) -> None:
    """B-23."""
    await scene.writer.put("a", DATA)
    for entry in (
        {"name": "a", "bucket": BUCKET, "nuid": "x", "deleted": True},  # as nats-py writes it
        await scene.entry("a") | {"deleted": True, "size": 0, "chunks": 0},  # as nats.go does
    ):
        await scene.replace_entry("a", entry)
        assert await refused(scene) == "unauthenticated_deletion"
        assert await refused(scene) == "unauthenticated_deletion"
        [info] = await scene.reader.list(ignore_deletes=False)
        assert info.deleted
        assert info.sender is None


async def test_an_object_that_was_opened_does_not_vanish(scene: Scene, tmp_path: Path) -> None:
    """B-23."""
    await scene.writer.put("a", b"x")
    await scene.writer.put("b", b"x")
    with RollbackMemory(tmp_path / "marks") as memory:
        store = scene.bob.objects(BUCKET, memory=memory)
        await store.get("a")
        await scene.writer.delete("b")
        with pytest.raises(xkeymsg.ObjectNotFoundError, match="deleted by"):
            await store.get("b")
    for name in ("a", "b"):
        subject = metadata_subject(BUCKET, name)
        await scene.api.request(f"STREAM.PURGE.OBJ_{BUCKET}", {"filter": subject})
    with RollbackMemory(tmp_path / "marks") as memory:
        store = scene.bob.objects(BUCKET, memory=memory)
        with pytest.raises(xkeymsg.UnauthenticatedDeletionError):
            await store.get("a")
        with pytest.raises(xkeymsg.ObjectNotFoundError, match="was deleted"):
            await store.get("b")
    assert await refused(scene) == "object_not_found"  # this reader has opened nothing


async def test_the_memory_on_disk_outlasts_the_reader(scene: Scene, tmp_path: Path) -> None:
    """B-22: of buckets of both kinds."""
    await scene.writer.put("a", b"old")
    old = await scene.entry("a")
    await scene.writer.put("a", b"new")
    with RollbackMemory(tmp_path / "marks") as memory:
        assert await scene.bob.objects(BUCKET, memory=memory).list()
    await scene.replace_entry("a", old)
    with RollbackMemory(tmp_path / "marks") as memory:
        store = scene.bob.objects(BUCKET, memory=memory)
        with pytest.raises(xkeymsg.ValueRollbackError):
            await store.get("a")
        assert await store.list() == []
        with pytest.raises(TypeError):
            scene.bob.objects(BUCKET, memory=tmp_path)  # type: ignore[arg-type]


async def test_a_tombstone_does_not_become_an_object(scene: Scene) -> None:  # B-20
    await scene.writer.put("a", DATA)
    live = await scene.entry("a")
    await scene.writer.delete("a")
    dead = await scene.entry("a")
    await scene.replace_entry("a", live | {"metadata": dead["metadata"]})
    assert await refused(scene) == "object_mixed"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"\xff", "malformed"),
        (b"{}", "not_sealed"),
        (b'{"metadata": 1}', "not_sealed"),
        (b'{"metadata": {"xkm1": 1}, "name": "a", "bucket": "scans"}', "malformed"),
        (b'{"metadata": {"xkm1": "?"}, "name": "a", "bucket": "scans"}', "malformed"),
        (b'{"metadata": {"xkm1": "AAAA"}, "name": "a", "bucket": "scans"}', "malformed"),
        (b'{"metadata": {"xkm1": ""}, "name": "a", "bucket": "scans"}', "not_sealed"),
        (b'{"metadata": {"xkm1": "AAAA"}, "name": 1, "bucket": null}', "subject_mismatch"),
        (json.dumps({"metadata": {"xkm1": "eGttMg=="}, "name": "a", "bucket": "scans"}).encode(),
         "unsupported_version"),
    ],
)  # fmt: skip
async def test_an_invalid_entry_is_refused(scene: Scene, entry: bytes, code: str) -> None:
    """B-15, B-16, B-18."""
    await scene.replace_entry("a", entry)
    assert await refused(scene) == code


async def test_a_refused_entry_does_not_hide_others(scene: Scene) -> None:
    await scene.writer.put("a", DATA)
    await scene.writer.put("c", DATA)
    await scene.replace_entry("b", b"junk")
    await scene.publish(f"$O.{BUCKET}.M.!!", b"junk")
    assert [info.name for info in await scene.reader.list()] == ["a", "c"]
    assert scene.bob.stats.refused == {"malformed": 2}


async def test_an_id_from_the_bucket_purges_nothing_else(scene: Scene) -> None:  # B-24
    """A replaced entry names the chunks to delete: it must not name those of all objects."""
    await scene.writer.put("a", b"x")
    await scene.writer.put("b", b"y")
    for nuid in (">", "*", "a.b", "", 7, "x" * 1000):
        await scene.replace_entry("a", await scene.entry("a") | {"nuid": nuid})
        await scene.writer.put("a", b"z")
        assert (await scene.reader.get("b")).data == b"y"


@pytest.mark.parametrize("copied", [("nuid",), ("nuid", "metadata")])
async def test_an_entry_with_the_id_of_another_object_purges_nothing(
    scene: Scene, copied: tuple[str, ...]
) -> None:  # B-24
    """Eve may publish one entry only, and names the chunks of an object that she may not touch."""
    await scene.writer.put("b", DATA)
    foreign = await scene.entry("b")
    for replace in (lambda: scene.writer.put("a", b"new"), lambda: scene.writer.delete("a")):
        await scene.writer.put("a", b"old")
        await scene.replace_entry(
            "a", await scene.entry("a") | {each: foreign[each] for each in copied}
        )
        await replace()
        assert (await scene.reader.get("b")).data == DATA
    assert await scene.writer.purge_leftovers(older_than=0) == 2, "the old objects"
    assert await scene.stored() == 4 + 2
    assert (await scene.reader.get("b")).data == DATA


@pytest.mark.parametrize("salt", [None, 7, [], "", "?" * 22, "A" * 21, "A" * 24, "\u00e4" * 22])
async def test_an_entry_with_an_invalid_salt_purges_nothing(scene: Scene, salt: object) -> None:
    await scene.writer.put("a", b"old")  # B-24
    entry = await scene.entry("a")
    await scene.replace_entry("a", entry | {"metadata": entry["metadata"] | {"xkm1-salt": salt}})
    await scene.writer.put("a", b"new")
    assert await scene.stored() == 2 + 1
    assert await scene.writer.purge_leftovers(older_than=0) == 1
    assert (await scene.reader.get("a")).data == b"new"


async def test_chunks_of_a_plain_object_stay_until_leftovers_are_purged(scene: Scene) -> None:
    await scene.publish(f"$O.{BUCKET}.C.plain", b"data")  # B-24
    await scene.replace_entry("a", {"name": "a", "bucket": BUCKET, "nuid": "plain"})
    await scene.writer.put("a", b"new")
    assert await scene.messages(f"$O.{BUCKET}.C.plain") == [b"data"]
    assert await scene.writer.purge_leftovers(older_than=0) == 1
    assert (await scene.reader.get("a")).data == b"new"


async def test_the_id_of_an_object_is_bound_to_its_name(scene: Scene) -> None:  # B-1
    await scene.writer.put("a", DATA)
    entry = await scene.entry("a")
    salt = entry["metadata"]["xkm1-salt"]
    label = b"xkm1/object-id".ljust(16, b"\0")
    data = label + (salt + metadata_subject(BUCKET, "a")).encode()
    expected = hashlib.blake2b(data, digest_size=16).digest()
    assert entry["nuid"] == base64.urlsafe_b64encode(expected)[:22].decode()
    assert len(salt) == 22


async def test_a_writer_that_cannot_open_an_object_deletes_its_chunks(scene: Scene) -> None:
    await scene.writer.put("a", DATA, to=BOB.public)  # B-24
    await scene.alice.objects(BUCKET, to=BOB.public).put("a", b"new")
    assert await scene.stored() == 1 + 1


async def test_an_entry_that_names_the_chunks_being_written_purges_none(scene: Scene) -> None:
    """B-24: an attacker sees the subjects of chunks as they are written."""
    await scene.writer.put("a", b"old")

    async def data() -> AsyncIterator[bytes]:
        yield DATA
        info = await scene.api.request(
            f"STREAM.INFO.OBJ_{BUCKET}", {"subjects_filter": f"$O.{BUCKET}.C.>"}
        )
        subjects = sorted(info["state"]["subjects"], key=info["state"]["subjects"].get)
        await scene.replace_entry(
            "a", await scene.entry("a") | {"nuid": subjects[-1].split(".")[3]}
        )
        yield DATA

    await scene.writer.put("a", data())
    assert (await scene.reader.get("a")).data == DATA * 2


async def test_an_unsigned_object_is_refused_where_signatures_are_required(scene: Scene) -> None:
    user = UserKey(encode_seed(Prefix.USER, random_bytes(32)))
    trust = {ALICE.public: user.public}
    async with (
        xkeymsg.connect(scene.server.url, key=ALICE, trust=trust, signer=user) as signing,
        xkeymsg.connect(scene.server.url, key=ALICE, trust=trust, identity=user.public) as naming,
        xkeymsg.connect(scene.server.url, key=BOB, trust=trust) as bob,
    ):
        store = bob.objects(BUCKET, require_signature=True)
        await naming.objects(BUCKET, to=BOB.public).put("a", b"x")
        with pytest.raises(xkeymsg.SignatureMissingError):
            await store.info("a")
        await signing.objects(BUCKET, to=BOB.public).put("a", b"x")
        assert (await store.info("a")).signer == user.public


async def test_a_stranger_may_write_and_is_not_believed(scene: Scene) -> None:  # B-4
    async with xkeymsg.connect(
        scene.server.url, key=EVE, trust={ALICE.public}, timeout=DEADLINE
    ) as eve:
        await eve.objects(BUCKET).put("a", b"evil", to=[BOB.public])
    assert await refused(scene) == "sender_not_admitted"


def test_a_restored_snapshot_draws_another_key(monkeypatch: pytest.MonkeyPatch) -> None:  # B-2
    """The system's generator may repeat; then the clock differs."""
    monkeypatch.setattr("xkeymsg.objects.chunks.random_bytes", bytes)
    assert draw_key() != draw_key()
    assert len(draw_key()) == 32


async def test_the_same_data_is_sealed_under_another_key(scene: Scene) -> None:  # B-1
    seen = set()
    for _ in range(2):
        await scene.writer.put("a", DATA)
        manifest = await opened_manifest(scene, BOB)
        seen |= {manifest.id, manifest.content_key, *await scene.chunks("a")}
    assert len(seen) == 2 * (2 + 4)


async def test_no_error_shows_a_key_or_data(scene: Scene) -> None:
    await scene.writer.put("a", DATA)
    manifest = await opened_manifest(scene, BOB)
    assert manifest.content_key.hex() not in repr(manifest)
    del manifest
    await scene.replace_chunks("a", [b"x"])
    with pytest.raises(xkeymsg.ObjectError) as caught:
        await scene.reader.get("a")
    entry = caught.value.__traceback__
    while entry is not None:
        for value in entry.tb_frame.f_locals.values():
            assert not isinstance(value, Manifest | ChunkSealer)
        entry = entry.tb_next
    assert caught.value.__context__ is None


def test_the_key_of_chunks_depends_on_key_and_id() -> None:  # B-1
    from xkeymsg.envelope.derive import object_key  # noqa: PLC0415

    expected = primitives.digest(b"xkm1/object\0\0\0\0\0", bytes(16), key=bytes(32), size=32)
    assert object_key(bytes(32), bytes(16)) == expected
    assert object_key(bytes(32), b"\1" * 16) != expected != object_key(b"\1" * 32, bytes(16))

"""Makes vectors/objects.json with the reference's functions; `tests.vectors.generate` calls it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from tests.reference import crypto
from tests.reference.encoding import array, binary, uint
from tests.vectors.builder import Scene
from tests.vectors.people import ALICE, BOB, CAROL, MALLORY, Draw, Person, to
from tests.vectors.vector import NOW

__all__ = ("JSON", "as_json", "main", "objects")

JSON: Final = Path(__file__).parent.parent.parent / "vectors" / "objects.json"
CHUNK: Final = 1024


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def sealed_chunks(ck: bytes, number: bytes, data: bytes, chunk: int = CHUNK) -> list[bytes]:
    """The ciphertexts of all chunks (B-1)."""
    key = crypto.H("xkm1/object", number, key=ck, n=32)
    blocks = [data[at : at + chunk] for at in range(0, len(data), chunk)] or [b""]
    return [
        crypto.seal(key, i.to_bytes(11, "big") + bytes([i == len(blocks) - 1]), block, b"")
        for i, block in enumerate(blocks)
    ]


def hashes(chunks: list[bytes]) -> bytes:
    return b"".join(map(crypto.sha256, chunks))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object in all its parts, before it is written down; `replace` makes it wrong."""

    name: str = "scan.tif"
    bucket: str = "scans"
    draw: str = "object"
    data: bytes = b""
    chunk: int = CHUNK
    listed: bool = False
    tombstone: bool = False
    created: int = NOW
    sender: Person = ALICE
    sealed_for: str = ""
    manifest: Callable[[list[bytes]], bytes] = array
    chunks: Callable[[list[bytes]], list[bytes]] = list
    list_chunks: Callable[[list[bytes]], list[bytes]] = list
    fields: Callable[[list[bytes]], list[bytes]] = list
    entry: dict[str, Any] = field(default_factory=dict)

    def numbers(self) -> tuple[bytes, bytes, bytes]:
        draw = Draw(f"objects/{self.draw}")
        return draw.take(16), draw.take(32), draw.take(16)

    def subject(self) -> str:
        return f"$O.{self.bucket}.M.{b64(self.name.encode())}"

    def made(self) -> dict[str, Any]:
        number, ck, list_number = self.numbers()
        chunks = sealed_chunks(ck, number, self.data, self.chunk)
        known, listed = hashes(chunks), list[bytes]()
        if self.listed:
            listed = sealed_chunks(ck, list_number, known, self.chunk)
            known = hashes(listed)
        parts = [
            binary(number),
            binary(ck),
            uint(len(self.data)),
            uint(self.chunk),
            binary(known),
            binary(list_number) if self.listed else b"\xc0",
        ]
        content = array([]) if self.tombstone else self.manifest(self.fields(parts))
        scene = Scene(f"objects/{self.draw}/{self.created}", "")
        envelope = scene.payload(
            content,
            subject=self.sealed_for or self.subject(),
            sender=self.sender,
            created=self.created,
            to=[to(BOB), to(CAROL)],
        ).envelope
        info: dict[str, Any] = {
            "name": self.name,
            "bucket": self.bucket,
            "nuid": b64(number)[:22],
            "size": sum(map(len, chunks)),
            "chunks": len(chunks),
            "digest": f"SHA-256={b64(crypto.sha256(b''.join(chunks)))}",
            "metadata": {"xkm1": base64.b64encode(envelope).decode()},
        }
        if self.tombstone:
            info |= {"size": 0, "chunks": 0, "deleted": True}
        info = {name: value for name, value in (info | self.entry).items() if value is not None}
        return {
            "entry": json.dumps(info),
            "chunks": [each.hex() for each in self.chunks(chunks)],
            "list": [each.hex() for each in self.list_chunks(listed)],
        }


DATA: Final = Draw("objects/data").take(2500)
PLAIN: Final = Stored(data=DATA)
OTHER: Final = replace(PLAIN, draw="other")
LISTED: Final = replace(PLAIN, data=Draw("objects/long").take(33 * CHUNK), listed=True)
SUCCESS: Final = "success"
OF_CHUNKS: Final = {"B-11", "B-12", "B-13", "B-14"}


def swapped(items: list[bytes]) -> list[bytes]:
    return [items[1], items[0], *items[2:]]


def altered(items: list[bytes]) -> list[bytes]:
    return [items[0][:-1] + bytes([items[0][-1] ^ 1]), *items[1:]]


def at(place: int, value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda items: [*items[:place], value, *items[place + 1 :]]


def by_recipient(items: list[bytes]) -> list[bytes]:
    """A chunk under the object's own key, which every recipient can derive."""
    number, ck, _ = PLAIN.numbers()
    return [*sealed_chunks(ck, number, bytes(2500))[:1], *items[1:]]


def rows() -> Iterator[tuple[str, str, str, str, Stored]]:
    """Name, ids, expected code, comment, and what is stored."""
    yield "three_chunks", "B-1 B-4 B-5 B-8 B-26", SUCCESS, "the last chunk is shorter", PLAIN
    for name, size in (("empty", 0), ("one_byte", 1), ("one_chunk", 1024), ("two_full", 2048)):
        stored = replace(PLAIN, data=DATA[:size], draw=name)
        yield name, "B-1 B-14", SUCCESS, f"{size} bytes", stored
    yield "list_of_hashes", "B-10", SUCCESS, "33 hashes in two chunks of a list", LISTED
    yield (
        "name_in_utf8", "B-9", SUCCESS, "any text can be a name",
        replace(PLAIN, name="Röntgen 7/a.tif"),
    )  # fmt: skip

    cut = {"no_chunks": 0, "first_chunk_only": 1, "last_chunk_missing": 2}
    for name, left in cut.items():
        stored = replace(PLAIN, chunks=itemgetter(slice(left)))
        yield name, "B-11", "object_truncated", "chunks are missing", stored
    yield (
        "more_chunks", "B-11", SUCCESS, "a message after the last chunk is not read",
        replace(PLAIN, chunks=lambda items: [*items, b"more"]),
    )  # fmt: skip
    yield "reordered", "B-12", "chunk_order", "two chunks swapped", replace(PLAIN, chunks=swapped)
    yield (
        "repeated", "B-12", "chunk_order", "the first chunk twice",
        replace(PLAIN, chunks=lambda items: [items[0], items[0], items[2]]),
    )  # fmt: skip
    yield "altered", "B-12", "chunk_replaced", "one bit", replace(PLAIN, chunks=altered)
    yield (
        "chunk_of_another_object", "B-12", "chunk_replaced", "at the same position",
        replace(PLAIN, chunks=lambda items: [
            bytes.fromhex(OTHER.made()["chunks"][0]), *items[1:]]),
    )  # fmt: skip
    yield (
        "chunk_by_a_recipient", "B-12", "chunk_replaced",
        "sealed under the object's key, which every recipient knows: only the hash tells",
        replace(PLAIN, chunks=by_recipient),
    )  # fmt: skip
    yield (
        "reordered_list", "B-12", "chunk_order", "the chunks of the list swapped",
        replace(LISTED, list_chunks=swapped),
    )  # fmt: skip
    yield (
        "truncated_list", "B-11", "object_truncated", "the list lacks its last chunk",
        replace(LISTED, list_chunks=lambda items: items[:1]),
    )  # fmt: skip
    yield (
        "tag_fails", "B-13", "authentication", "the sender lists the hash of a chunk that fails",
        _relisted(lambda chunk: chunk[:-1] + bytes([chunk[-1] ^ 1])),
    )  # fmt: skip
    yield (
        "wrong_length", "B-14", "malformed", "a chunk with fewer bytes than its position has",
        replace(PLAIN, fields=at(2, uint(2501)), entry={"size": 2501 + 48}),
    )  # fmt: skip

    for name, place, value, ids in (
        ("id_of_15_bytes", 0, binary(bytes(15)), "B-5"),
        ("key_of_31_bytes", 1, binary(bytes(31)), "B-5"),
        ("size_is_nil", 2, b"\xc0", "B-5"),
        ("chunk_length_not_a_power_of_two", 3, uint(1000), "B-3 B-6"),
        ("chunk_length_512", 3, uint(512), "B-3 B-6"),
        ("chunk_length_256_KiB", 3, uint(1 << 18), "B-3 B-6"),
        ("size_of_2_to_53", 2, uint(1 << 53), "B-6"),
        ("two_hashes", 4, binary(bytes(64)), "B-8"),
        ("four_hashes", 4, binary(bytes(128)), "B-8"),
        ("half_a_hash", 4, binary(bytes(80)), "B-8"),
        ("list_with_three_hashes", 5, binary(bytes(16)), "B-8"),
        ("list_id_of_8_bytes", 5, binary(bytes(8)), "B-5"),
    ):
        stored = replace(PLAIN, fields=at(place, value))
        yield name, ids, "malformed", "one field of the manifest", stored
    yield (
        "list_has_the_id_of_the_object", "B-10", "malformed", "keys and nonces would repeat",
        replace(LISTED, fields=at(5, binary(LISTED.numbers()[0]))),
    )  # fmt: skip
    yield (
        "too_many_hashes", "B-7", "limit_exceeded", "the header announces 16,001 hashes",
        replace(PLAIN, fields=at(4, b"\xc6" + (16_001 * 32).to_bytes(4, "big"))),
    )  # fmt: skip
    yield (
        "five_fields", "B-5", "malformed", "the last field is missing",
        replace(PLAIN, fields=lambda items: items[:5]),
    )  # fmt: skip
    yield (
        "seven_fields", "B-5", "unsupported_version", "a field of a later version",
        replace(PLAIN, fields=lambda items: [*items, b"\xc0"]),
    )  # fmt: skip
    yield (
        "bytes_after_the_manifest", "B-5", "malformed", "one byte more",
        replace(PLAIN, manifest=lambda items: array(items) + b"\xc0"),
    )  # fmt: skip

    subject = f"$O.scans.M.{b64(b'other')}"
    yield (
        "manifest_of_another_name", "B-4", "subject_mismatch", "sealed for another object",
        replace(PLAIN, sealed_for=subject),
    )  # fmt: skip
    yield (
        "manifest_of_another_bucket", "B-4", "subject_mismatch", "sealed for another bucket",
        replace(PLAIN, sealed_for=PLAIN.subject().replace("scans", "other")),
    )  # fmt: skip
    yield (
        "stranger", "B-4", "sender_not_admitted", "the writer is not admitted",
        replace(PLAIN, sender=MALLORY),
    )  # fmt: skip

    changes: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("plain", "B-18", "not_sealed", {"metadata": None}),
        ("empty_envelope", "B-18", "not_sealed", {"metadata": {"xkm1": ""}}),
        ("link", "B-17", "object_link", {"options": {"link": {"bucket": "b", "name": "n"}}}),
        ("bucket_link", "B-17", "object_link", {"options": {"link": {"bucket": "b"}}}),
        ("other_name", "B-19", "subject_mismatch", {"name": "other"}),
        ("other_bucket", "B-19", "subject_mismatch", {"bucket": "other"}),
        ("no_base64", "B-16", "malformed", {"metadata": {"xkm1": "!"}}),
        ("other_nuid", "B-20", "object_mixed", {"nuid": b64(OTHER.numbers()[0])[:22]}),
        ("other_size", "B-20", "object_mixed", {"size": 2548 + 16}),
        ("other_count", "B-20", "object_mixed", {"chunks": 4}),
    )
    for name, ids, code, change in changes:
        yield name, ids, code, "the public entry is changed", replace(PLAIN, entry=change)
    dead = replace(PLAIN, tombstone=True)
    yield "deleted", "B-23", "object_not_found", "a sealed tombstone", dead
    yield (
        "tombstone_as_an_object", "B-20", "object_mixed", "the entry says nothing of a deletion",
        replace(dead, entry={"deleted": None}),
    )  # fmt: skip
    yield (
        "unsealed_deletion", "B-23", "unauthenticated_deletion", "only the server says so",
        replace(PLAIN, entry={"deleted": True, "metadata": None}),
    )  # fmt: skip
    yield (
        "future", "B-21", "stale", "31 seconds ahead of the reader's clock",
        replace(PLAIN, created=NOW + 31_000),
    )  # fmt: skip


def _relisted(spoil: Callable[[bytes], bytes]) -> Stored:
    """An object whose sender lists the hashes of spoilt chunks."""
    number, ck, _ = PLAIN.numbers()
    chunks = [spoil(each) for each in sealed_chunks(ck, number, DATA)]
    return replace(PLAIN, chunks=lambda _: chunks, fields=at(4, binary(hashes(chunks))))


def vector(name: str, ids: str, code: str, comment: str, stored: Stored) -> dict[str, Any]:
    made = {
        "name": name,
        "spec": ids.split(),
        "comment": comment,
        "bucket": stored.bucket,
        "object": stored.name,
        "identity": BOB.seed_text,
        "sender": ALICE.xkey_text,
        "now": NOW,
        "expect": code,
        **stored.made(),
    }
    if code == SUCCESS:
        made["data"] = stored.data.hex()
    elif not OF_CHUNKS & set(ids.split()):  # refused before any of them is read
        made |= {"chunks": [], "list": []}
    return made


def rollback() -> Iterator[dict[str, Any]]:
    """What was opened before decides."""
    old, new = replace(PLAIN, draw="old", created=NOW - 1000), replace(PLAIN, draw="new")
    for name, code, first, then in (
        ("newer_object", SUCCESS, old, new),
        ("older_object", "value_rollback", new, old),
        ("same_object_again", SUCCESS, new, new),
        ("object_after_its_deletion", "value_rollback", replace(new, tombstone=True), old),
    ):
        made = vector(name, "B-22", code, "the reader has opened another one before", then)
        yield made | {"opened_before": first.made()["entry"]}


def objects() -> list[dict[str, Any]]:
    found = [*(vector(*row) for row in rows()), *rollback()]
    number, ck, _ = PLAIN.numbers()
    found[0] |= {
        "id": number.hex(),
        "content_key": ck.hex(),
        "chunk_key": crypto.H("xkm1/object", number, key=ck, n=32).hex(),
        "nonces": ["00" * 12, "00" * 10 + "0100", "00" * 10 + "0201"],
    }
    return found


def as_json() -> str:
    return json.dumps(objects(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    text = as_json()
    JSON.write_text(text)
    print(f"{len(objects())} vectors, {len(text):,} bytes")

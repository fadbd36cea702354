"""Makes vectors/kv.json; `python -m tests.vectors.generate` calls it.

Envelopes come from the reference implementation in tests/reference, and blinded names from the
formula of the specification: nothing here uses the package.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.reference.content import MessageArray
from tests.reference.seal import Part
from tests.vectors.builder import Scene
from tests.vectors.builder import fields as one_field
from tests.vectors.people import ALICE, BOB, CAROL, MALLORY, to
from tests.vectors.vector import NOW

__all__ = ("JSON", "as_json", "main")

JSON: Final = Path(__file__).parent.parent.parent / "vectors/kv.json"
SECRET: Final = bytes(range(32))
DELETE: Final = {"KV-Operation": "DEL"}


def blinded(key: str, secret: bytes = SECRET) -> str:
    tokens = key.split(".")
    names = []
    for count in range(1, len(tokens) + 1):
        path = ".".join(tokens[:count]).encode()
        label = b"xkm1/kv-name".ljust(16, b"\0")
        digest = hashlib.blake2b(label + path, key=secret, digest_size=16).digest()
        names.append(base64.urlsafe_b64encode(digest).decode().rstrip("="))
    return ".".join(names)


def names() -> dict[str, Any]:
    keys = ("a", "b", "a.a", "a.b", "b.a", "ward.7.bed.3", "-/_=.aZ0")
    return {
        "name": "blinded names",
        "spec": ["K-19"],
        "secret": SECRET.hex(),
        "names": {key: blinded(key) for key in keys},
    }


def entry(
    name: str,
    spec: list[str],
    expect: str,
    *,
    payload: bytes = b"",
    sealed: Mapping[str, str] = {},
    envelope: bytes | None = None,
    origin: str = "config",
    key: str = "lamps.hall",
    sealed_for: str | None = None,
    secret: bytes | None = None,
    opened: str | None = None,
    replaces: int | None = None,
    headers: Mapping[str, str] = {},
    documents: bool = False,
    document: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """An entry that Alice seals for Bob, if no envelope is given."""
    if envelope is None:
        scene = Scene(f"kv/{name}", name)
        options.setdefault("subject", f"$KV.config.{sealed_for or key}")
        options.setdefault("to", [to(BOB), to(CAROL)])
        array = MessageArray(headers=tuple(sealed.items())).encode()
        if document:
            made = scene.sealed(Part(1, one_field("a", "1")), **options)
        elif sealed:
            made = scene.message(array, payload, **options)
        else:
            made = scene.payload(payload, **options)
        envelope = made.envelope
    vector: dict[str, Any] = {
        "name": name,
        "spec": spec,
        "identity": BOB.seed_text,
        "sender": ALICE.xkey_text,
        "origin": origin,
        "key": key,
        "secret": None if secret is None else secret.hex(),
        "documents": documents,
        "now": NOW,
        "headers": dict(headers),
        "entry": envelope.hex(),
        "expect": expect,
    }
    if expect in ("put", "delete", "purge"):
        vector |= {"opened": opened or key, "value": payload.hex(), "replaces": replaces}
    return vector


def entries() -> Iterator[dict[str, Any]]:
    kv, after, true = "xkm-kv", "xkm-kv-replaces", "xkm-kv-key"
    yield entry("a value", ["K-2"], "put", payload=b"on")
    yield entry("an empty value", ["K-8"], "put")
    yield entry(
        "a value that replaces a revision",
        ["K-18"],
        "put",
        payload=b"on",
        sealed={after: "7"},
        replaces=7,
    )
    yield entry(
        "a value with the broker's header of a deletion",
        ["K-8"],
        "put",
        payload=b"on",
        headers=DELETE,
    )
    for operation in ("delete", "purge"):
        yield entry(f"a tombstone, {operation}", ["K-8"], operation, sealed={kv: operation})
    yield entry(
        "a tombstone among documents", ["K-8"], "delete", sealed={kv: "delete"}, documents=True
    )
    yield entry("a payload among documents", ["K-8"], "content_type", payload=b"on", documents=True)
    yield entry("a document among payloads", ["K-8"], "content_type", document=True)
    yield entry(
        "a tombstone with content", ["K-9"], "malformed", payload=b"x", sealed={kv: "delete"}
    )
    yield entry("an unknown operation", ["K-9"], "malformed", sealed={kv: "DELETE"})
    for number in ("", "-1", "+1", "1.0", "9223372036854775808", "\u0661"):
        yield entry(f"an invalid number {number!a}", ["K-9"], "malformed", sealed={after: number})
    yield entry(
        "a value of another key",
        ["K-5"],
        "subject_mismatch",
        payload=b"on",
        sealed_for="lamps.door",
    )
    yield entry(
        "a value of another bucket", ["K-5"], "subject_mismatch", payload=b"on", origin="other"
    )
    yield entry(
        "a value of a longer key",
        ["K-5"],
        "subject_mismatch",
        payload=b"on",
        sealed_for="lamps.hall.x",
    )
    yield entry(
        "a sender that is not admitted",
        ["K-7"],
        "sender_not_admitted",
        payload=b"on",
        sender=MALLORY,
    )
    yield entry("plaintext", ["K-6"], "not_sealed", envelope=b"on")
    yield entry("nothing", ["K-6"], "not_sealed", envelope=b"")
    yield entry(
        "plaintext with the header of a deletion",
        ["K-6", "K-15"],
        "not_sealed",
        envelope=b"on",
        headers=DELETE,
    )
    yield entry("xkv1", ["K-6"], "unsupported_version", envelope=b"xkv1" + bytes(60))
    yield entry("another version", ["K-6"], "unsupported_version", envelope=b"xkm2" + bytes(60))
    yield entry("a marker", ["K-15"], "unauthenticated_deletion", envelope=b"", headers=DELETE)
    yield entry(
        "a marker of the server",
        ["K-15"],
        "unauthenticated_deletion",
        envelope=b"",
        headers={"Nats-Marker-Reason": "MaxAge"},
    )
    yield entry(
        "as far in the future as permitted", ["K-16"], "put", payload=b"on", created=NOW + 30_000
    )
    yield entry("in the future", ["K-16"], "stale", payload=b"on", created=NOW + 30_001)
    hidden = blinded("lamps.hall")
    yield entry(
        "a blinded name",
        ["K-19", "K-22"],
        "put",
        payload=b"on",
        key=hidden,
        sealed={true: "lamps.hall"},
        secret=SECRET,
        opened="lamps.hall",
    )
    yield entry(
        "a blinded name of another key",
        ["K-22"],
        "subject_mismatch",
        payload=b"on",
        key=hidden,
        sealed={true: "lamps.door"},
        secret=SECRET,
    )
    yield entry(
        "a blinded name without its key",
        ["K-22"],
        "subject_mismatch",
        payload=b"on",
        key=hidden,
        secret=SECRET,
    )
    yield entry(
        "a name blinded with another secret",
        ["K-22"],
        "subject_mismatch",
        payload=b"on",
        key=blinded("lamps.hall", bytes(32)),
        sealed={true: "lamps.hall"},
        secret=SECRET,
    )


def scenario(
    name: str, spec: list[str], *steps: tuple[str, int, int, int, str | None]
) -> dict[str, Any]:
    return {
        "name": name,
        "spec": spec,
        "skew": 5000,
        "steps": [
            {
                "session": f"session{session}".encode().hex(),
                "counter": counter,
                "created": NOW + created,
                "revision": revision,
                "expect": code or "success",
            }
            for session, counter, created, revision, code in steps
        ],
    }


def scenarios() -> Iterator[dict[str, Any]]:
    back = "value_rollback"
    yield scenario(
        "one session",
        ["K-10"],
        ("1", 5, 0, 9, None),
        ("1", 5, 0, 3, None),
        ("1", 4, 0, 10, back),
        ("1", 4, 99_999, 10, back),
        ("1", 6, 0, 10, None),
        ("1", 5, 0, 11, back),
    )
    yield scenario(
        "a clock that went back",
        ["K-11"],
        ("1", 1, 0, 1, None),
        ("1", 2, -5000, 2, None),
        ("1", 3, -5001, 3, back),
    )
    yield scenario(
        "a slow clock of another session",
        ["K-11"],
        ("1", 1, 0, 10, None),
        ("2", 1, -5001, 11, back),
        ("2", 1, -5000, 10, back),
        ("2", 1, -5000, 11, None),
        ("1", 1, 0, 12, back),
        ("3", 1, -5001, 13, back),
        ("2", 1, -5000, 14, None),
    )
    yield scenario(
        "the same millisecond",
        ["K-11"],
        ("1", 1, 0, 10, None),
        ("2", 1, 0, 10, back),
        ("2", 1, 0, 11, None),
        ("1", 2, 0, 11, back),
        ("1", 2, 0, 12, None),
    )
    yield scenario(
        "a later time at a lower revision",
        ["K-13"],
        ("1", 1, 0, 10, None),
        ("2", 1, 1, 1, None),
        ("1", 1, 0, 11, back),
    )
    yield scenario(
        "sessions older than the skew are forgotten",
        ["K-12"],
        ("1", 1, 0, 1, None),
        ("2", 1, 6000, 2, None),
        ("1", 1, 0, 3, back),
        ("1", 2, 6000, 3, None),
    )


def as_json() -> str:
    vectors = [names(), *entries(), *scenarios()]
    assert len({each["name"] for each in vectors}) == len(vectors)
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    JSON.write_text(as_json())

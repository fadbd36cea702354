"""The accumulated test (spec, Accumulated test): 10,000 envelopes from one stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from tests.reference.content import (
    FIELDS,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    MessageArray,
    pad,
    recommended_z,
)
from tests.reference.crypto import pub
from tests.reference.ed25519 import public as ed25519_public
from tests.reference.encoding import binary
from tests.reference.seal import Inputs, Part, Recipient, view_grants

CASES: Final = 10_000
HASHES: Final = {
    500: "118b3e4680d9f614b327438be7c6857c6be19aa0a2e82d49267098515528e2d6",
    CASES: "3ce7dfb9554e5ad3ddb5d3578c1eb6e2de7e639d6ea5e3d0a45ae6182d49b741",
}
"""SHA-256 of the first envelopes and of all, as in the specification."""
COUNT: Final = int(os.environ.get("XKEYMSG_ACCUMULATED", "500"))
"""Number of envelopes that the tests seal; `make vectors` seals all."""


class Stream:
    """The output of SHAKE-128 for one input, read from front to back."""

    def __init__(self, seed: bytes) -> None:
        self._shake = hashlib.shake_128(seed)
        self._buffer = self._shake.digest(4096)
        self._at = 0

    def take(self, k: int) -> bytes:
        end = self._at + k
        if end > len(self._buffer):
            self._buffer = self._shake.digest(2 * end)
        self._at = end
        return self._buffer[end - k : end]

    def u(self, k: int) -> int:
        return int.from_bytes(self.take(k), "big")

    def b(self) -> int:
        return self.u(1)

    def text(self, k: int) -> str:
        return bytes(0x61 + x % 26 for x in self.take(k)).decode()


class World:
    """The numbers drawn once, before the first case."""

    def __init__(self, stream: Stream) -> None:
        self.r: list[bytes] = []
        self.U: list[bytes] = []
        for i in range(40):
            self.r.append(stream.take(32))
            u = stream.take(32)
            self.U.append(bytes(32) if i % 2 else u)
        self.R = [pub(r) for r in self.r]
        self.s: list[bytes] = []
        self.a: list[bytes] = []
        for _ in range(4):
            self.s.append(stream.take(32))
            self.a.append(stream.take(32))
        self.identity = [ed25519_public(a) for a in self.a]


class Flags:
    def __init__(self, f: int) -> None:
        self.signed = bool(f & 1)
        self.named = bool(f & 2)
        self.has_revision = bool(f & 4)
        self.has_expiry = bool(f & 8)
        self.document = bool(f & 16)
        self.padded = bool(f & 32)
        self.has_array = bool(f & 64)
        self.no_type = bool(f & 128)


def draw_contents(stream: Stream, flags: Flags) -> list[bytes]:
    """Draw the contents of the parts (step 10)."""
    if not flags.document:
        y = stream.u(2)
        return [stream.take(y + 300 if y >= 65_280 else y % 1024)]
    contents = []
    for j in range(1 + stream.b() % 20):
        x = stream.take(stream.b())
        contents.append(b"\x91\x92\x91\xa1" + bytes([0x61 + j]) + binary(x))
    return contents


def draw_array(stream: Stream, flags: Flags) -> bytes:
    """Draw the message array (step 11)."""
    content_type = None if flags.no_type else stream.text(stream.b() % 40)
    headers = []
    for _ in range(stream.b() % 20):
        name = stream.text(stream.b() % 40)
        headers.append((name, stream.text(stream.b())))
    return MessageArray(content_type, tuple(headers)).encode()


def make_parts(flags: Flags, contents: list[bytes], encoded_array: bytes) -> tuple[Part, ...]:
    """Return the parts (step 12)."""
    if flags.document:
        parts = [Part(FIELDS, content) for content in contents]
        if flags.has_array:
            parts.append(Part(METADATA, encoded_array))
    else:
        kind = MESSAGE if flags.has_array else PAYLOAD
        parts = [Part(kind, encoded_array + contents[0])]
    if flags.padded:
        parts = [
            Part(PADDED + kind, pad(content, recommended_z(len(content))))
            for kind, content in parts
        ]
    return tuple(parts)


def draw_case(stream: Stream, world: World) -> Inputs:
    flags = Flags(stream.b())
    sender = stream.b() % 4
    first = stream.b() % 40
    c = stream.b()
    n = 33 if c == 255 else 1 + c % 8
    e = stream.take(32)
    counter = 1 + stream.u(4) % 2**20
    nonce = counter.to_bytes(4, "big") + stream.take(8)
    created_ms = 1_600_000_000_000 + stream.u(4)
    subject = stream.text(1 + stream.b() % 255)
    revision = None
    if flags.has_revision:
        x = stream.u(8)
        y = stream.b()
        revision = (x >> 11) >> (y % 53)
    expires_ms = created_ms + 1 + stream.u(4) if flags.has_expiry else None
    identity = world.identity[sender] if flags.signed or flags.named else None
    contents = draw_contents(stream, flags)
    encoded_array = draw_array(stream, flags) if flags.has_array else b""
    parts = make_parts(flags, contents, encoded_array)
    recipients = []
    for k in range(n):
        grants = frozenset({0})
        if len(parts) > 1:
            has_metadata = parts[-1].type % PADDED == METADATA
            f = len(parts) - has_metadata
            m = stream.u(4) % 2**f | 1 | (2**f if has_metadata else 0)
            grants = frozenset(j for j in range(len(parts)) if m >> j & 1)
        i = (first + k) % 40
        recipients.append(Recipient(R=world.R[i], U=world.U[i], grants=grants))
    content_keys = tuple(stream.take(32) for _ in parts)
    views = view_grants(recipients) if len(parts) > 1 else []
    return Inputs(
        s=world.s[sender],
        e=e,
        nonce=nonce,
        created_ms=created_ms,
        subject=subject,
        recipients=tuple(recipients),
        parts=parts,
        content_keys=content_keys,
        view_keys=tuple(stream.take(32) for _ in views),
        revision=revision,
        identity=identity,
        expires_ms=expires_ms,
        signing_seed=world.a[sender] if flags.signed else None,
    )


def cases(count: int = COUNT) -> Iterator[tuple[World, Inputs]]:
    stream = Stream(b"xkm1 accumulated vectors")
    world = World(stream)
    for _ in range(count):
        yield world, draw_case(stream, world)

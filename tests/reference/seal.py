"""Sealing with all numbers given (spec, Sealing order). The vectors and the tests draw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.reference import crypto
from tests.reference.body import read_body
from tests.reference.content import FIELDS, PADDED
from tests.reference.encoding import Cursor, array, bh, binary
from tests.reference.head import ARRAY_OF_6, MAGIC, Head, read_head, read_magic
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError

NO_USER: Final = crypto.ZERO32
WHOLE: Final = frozenset({0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A pair (R, U), and the positions of its granted parts."""

    R: bytes
    U: bytes = NO_USER
    grants: frozenset[int] = WHOLE


class Part(NamedTuple):
    """A part before encryption; for a padded type, the plaintext is already padded."""

    type: int
    plaintext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that determines an envelope: equal inputs give equal bytes."""

    s: bytes
    e: bytes
    nonce: bytes
    created_ms: int
    subject: str
    recipients: tuple[Recipient, ...]
    parts: tuple[Part, ...]
    content_keys: tuple[bytes, ...]
    view_keys: tuple[bytes, ...] = ()
    revision: int | None = None
    identity: bytes | None = None
    expires_ms: int | None = None
    signing_seed: bytes | None = None

    @property
    def head(self) -> Head:
        return Head(
            S=crypto.pub(self.s),
            E=crypto.pub(self.e),
            nonce=self.nonce,
            created_ms=self.created_ms,
            subject=self.subject,
            revision=self.revision,
            identity=self.identity,
            expires_ms=self.expires_ms,
        )


def merge(recipients: tuple[Recipient, ...], parts: tuple[Part, ...]) -> list[Recipient]:
    """Merge recipients, and drop those without a field (E-28; sealing order, step 1)."""
    merged: dict[tuple[bytes, bytes], Recipient] = {}
    for one in recipients:
        if not crypto.is_sound(one.R):
            raise RefusalError("bad_key", 0, "E-1")
        known = merged.get((one.R, one.U), one)
        merged[one.R, one.U] = replace(known, grants=known.grants | one.grants)
    if len(parts) == 1:
        useful = {0}
    else:
        useful = {j for j, part in enumerate(parts) if part.type % PADDED == FIELDS}
    kept = [one for one in merged.values() if one.grants & useful]
    if not kept:
        raise RefusalError("malformed", 0, "E-31")
    return kept


def view_grants(recipients: list[Recipient]) -> list[frozenset[int]]:
    """Return the distinct sets of granted parts, in order of first appearance."""
    return list(dict.fromkeys(one.grants for one in recipients))


@lru_cache(maxsize=4096)
def static_keys(s: bytes, s_public: bytes, r_public: bytes, u: bytes) -> tuple[bytes, bytes]:
    """Return tag_key and auth_key, cached (spec, Pair keys)."""
    dh_s = crypto.x25519(s, r_public)
    if dh_s == crypto.ZERO32:
        raise RefusalError("bad_key", 0, "E-2")
    return crypto.pair_keys(dh_s, s_public, r_public, u)


@dataclass(frozen=True, slots=True)
class Row:
    """One recipient of the envelope: its tag, K, and the content of its wrap."""

    tag: bytes
    K: bytes
    index: int
    key: bytes

    def wrap(self, nonce: bytes, t: bytes) -> bytes:
        return crypto.seal(self.K, nonce, bytes([self.index]) + self.key, t)


def rows(inputs: Inputs, head: Head, recipients: list[Recipient]) -> list[Row]:
    """Return one row per recipient, sorted by tag (sealing order, step 3)."""
    grants = view_grants(recipients)
    result = []
    for one in recipients:
        tag_key, auth_key = static_keys(inputs.s, head.S, one.R, one.U)
        dh_e = crypto.x25519(inputs.e, one.R)
        if dh_e == crypto.ZERO32:
            raise RefusalError("bad_key", 0, "E-2")
        index = grants.index(one.grants) if len(inputs.parts) > 1 else 0
        key = inputs.view_keys[index] if len(inputs.parts) > 1 else inputs.content_keys[0]
        k = crypto.wrap_key(auth_key, dh_e, head.E, one.R)
        result.append(Row(crypto.tag_of(tag_key, head.E), k, index, key))
    result.sort(key=lambda row: row.tag)
    if len({row.tag for row in result}) < len(result):
        raise ValueError("equal tags: begin a new session (E-29)")
    return result


def seal_part(part: Part, ck: bytes, head: Head, j: int) -> bytes:
    enc_key, commit = crypto.part_keys(ck, head.E, head.nonce, j)
    return bytes([part.type]) + commit + crypto.seal(enc_key, crypto.ZERO12, part.plaintext, b"")


def view_list(grants: frozenset[int], content_keys: tuple[bytes, ...]) -> bytes:
    return b"".join(bytes([j]) + content_keys[j] for j in sorted(grants))


def seal_view(entries: bytes, vk: bytes, head: Head, v: int) -> bytes:
    view_key, commit = crypto.view_keys(vk, head.E, head.nonce, v)
    return commit + crypto.seal(view_key, crypto.ZERO12, entries, b"")


def sign(seed: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def seal_envelope(inputs: Inputs) -> bytes:
    """Seal inputs that a sealer accepts (E-1, E-2, E-9, E-28, E-29)."""
    recipients = merge(inputs.recipients, inputs.parts)
    head = inputs.head
    table = rows(inputs, head, recipients)
    views = []
    if len(inputs.parts) > 1:
        lists = [view_list(grants, inputs.content_keys) for grants in view_grants(recipients)]
        views = [
            seal_view(entries, inputs.view_keys[v], head, v) for v, entries in enumerate(lists)
        ]
    parts = [
        seal_part(part, inputs.content_keys[j], head, j) for j, part in enumerate(inputs.parts)
    ]
    envelope = MAGIC + ARRAY_OF_6
    envelope += binary(head.encode())
    envelope += binary(b"".join(row.tag for row in table))
    envelope += array(map(binary, views))
    envelope += array(map(binary, parts))
    signature = b""
    if inputs.signing_seed is not None:
        message = crypto.signed_message(crypto.sha256(envelope))
        signature = sign(inputs.signing_seed, message)
    envelope += binary(signature)
    q = len(envelope)
    wraps_header = binary(bytes(49 * len(table)))[: bh(49 * len(table))]
    envelope += wraps_header
    t = crypto.sha256(envelope)
    envelope += b"".join(row.wrap(head.nonce, t) for row in table)
    check_form(envelope, q)
    return envelope


def check_form(envelope: bytes, q: int) -> None:
    """Refuse inputs whose envelope's form a reader would refuse, with the reader's code (E-9)."""
    limits = Limits(envelope=len(envelope))
    read_magic(envelope)
    head, at = read_head(envelope, limits)
    tags = Cursor(envelope, 5, at=at)
    if len(tags.binary()) > 8 * limits.recipients:
        raise RefusalError("limit_exceeded", 5, "E-30")
    read_body(envelope, tags.at, q, head, limits)
    if head.expires_ms is not None and head.expires_ms <= head.created_ms:
        raise RefusalError("expired", 13, "E-9")


def length(
    *, n: int, head: int, views: list[int], parts: list[int], signature: int
) -> int:  # fmt: skip
    """Compute the length from lengths only (spec, Envelope)."""

    def ah(x: int) -> int:
        return 1 if x <= 15 else 3

    return (
        5 + bh(head) + head + bh(8 * n) + 8 * n
        + ah(len(views)) + sum(bh(v) + v for v in views)
        + ah(len(parts)) + sum(bh(p) + p for p in parts)
        + 2 + signature + bh(49 * n) + 49 * n
    )  # fmt: skip

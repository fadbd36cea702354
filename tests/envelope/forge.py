"""Envelopes that no sealer makes.

`Rogue` is a malicious sender or a key thief: every element can be given, and the wraps always
verify, so that a test reaches the check it is about and not an earlier one. `Pieces` takes an
envelope apart and reassembles it, as an attacker in transit can.

The formulas are those of `tests.reference`, which shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from tests.envelope.cast import ALICE, BOB, NOW, SUBJECT, pair, raw_secret, to
from tests.reference import crypto
from tests.reference.encoding import NIL, Cursor, array, binary, header, string, uint
from tests.reference.head import Head, decode_head
from tests.reference.limits import Limits
from tests.reference.seal import sign
from xkeymsg import Recipient, XKey, XKeyPair

FRONT: Final = b"xkm1\x96"
CONTENT_KEYS: Final = tuple(bytes([0xC0, j]) * 16 for j in range(256))
VIEW_KEYS: Final = tuple(bytes([0xD0, v]) * 16 for v in range(256))
EPHEMERAL: Final = pair(2**70)
PAYLOAD, FIELDS, MESSAGE, METADATA, PADDED = 0, 1, 2, 3, 16


class Pieces(NamedTuple):
    """The six elements of an envelope."""

    head: bytes
    tags: bytes
    views: tuple[bytes, ...]
    parts: tuple[bytes, ...]
    signature: bytes
    wraps: bytes

    @classmethod
    def of(cls, envelope: bytes) -> Self:
        assert envelope[:5] == FRONT
        cursor = Cursor(envelope, 0, at=5)
        head, tags = cursor.binary(), cursor.binary()
        views = tuple(cursor.binary() for _ in range(cursor.header("array")))
        parts = tuple(cursor.binary() for _ in range(cursor.header("array")))
        pieces = cls(head, tags, views, parts, cursor.binary(), cursor.binary())
        assert pieces.join() == envelope
        return pieces

    def join(self) -> bytes:
        return FRONT + binary(self.head) + binary(self.tags) + self.body() + binary(self.wraps)

    def body(self) -> bytes:
        """Return the bytes between the tags and the wraps."""
        parts = array(map(binary, self.parts))
        return array(map(binary, self.views)) + parts + binary(self.signature)

    def wrap(self, place: int) -> bytes:
        return self.wraps[49 * place : 49 * place + 49]


class Key(NamedTuple):
    """The keys shared by the sender and one recipient in a session."""

    tag: bytes
    K: bytes


@dataclass(frozen=True, kw_only=True)
class Rogue:
    """A sender with a static secret and its own ephemeral key."""

    S: XKey = ALICE.public
    """The claimed sender."""
    secret: XKeyPair = ALICE
    """The sender's key pair; for a thief, the pair of the recipient."""
    ephemeral: XKeyPair = EPHEMERAL
    counter: int = 1
    tail: bytes = b"random.."
    created_ms: int = NOW
    subject: str = SUBJECT
    revision: int | None = None
    identity: bytes | None = None
    expires_ms: int | None = None
    to: tuple[Recipient, ...] = to(BOB)
    """The recipients; each has one wrap, in the order of the tags."""

    @property
    def E(self) -> bytes:  # noqa: N802 - as the specification has it
        return bytes(self.ephemeral.public)

    @property
    def nonce(self) -> bytes:
        return self.counter.to_bytes(4, "big") + self.tail

    def fields(self) -> list[bytes]:
        """Return the six encodings of the head."""
        return [
            binary(bytes(self.S)),
            binary(self.E),
            binary(self.nonce),
            uint(self.created_ms),
            string(self.subject),
            array(self.attributes()),
        ]

    def attributes(self) -> list[bytes]:
        return [
            NIL if self.revision is None else uint(self.revision),
            NIL if self.identity is None else binary(self.identity),
            NIL if self.expires_ms is None else uint(self.expires_ms),
        ]

    def key(self, recipient: Recipient) -> Key:
        """Return tag and K, computed as the sender or as a thief of the recipient's secret."""
        r_public = bytes(recipient.key)
        is_thief = self.secret.public != self.S
        other = bytes(self.S) if is_thief else r_public
        dh_s = crypto.x25519(raw_secret(self.secret), other)
        tag_key, auth_key = crypto.pair_keys(dh_s, bytes(self.S), r_public, recipient.user)
        dh_e = crypto.x25519(raw_secret(self.ephemeral), r_public)
        return Key(
            crypto.tag_of(tag_key, self.E), crypto.wrap_key(auth_key, dh_e, self.E, r_public)
        )

    def rows(self) -> list[Key]:
        """Return the keys of all recipients in the order of their tags."""
        return sorted((self.key(recipient) for recipient in self.to), key=lambda key: key.tag)

    def part(
        self, index: int, plaintext: bytes, kind: int = PAYLOAD, key: bytes | None = None
    ) -> bytes:
        keys = crypto.part_keys(key or CONTENT_KEYS[index], self.E, self.nonce, index)
        return bytes([kind]) + keys[1] + crypto.seal(keys[0], crypto.ZERO12, plaintext, b"")

    def view(self, index: int, grants: bytes, key: bytes | None = None) -> bytes:
        keys = crypto.view_keys(key or VIEW_KEYS[index], self.E, self.nonce, index)
        return keys[1] + crypto.seal(keys[0], crypto.ZERO12, grants, b"")

    def envelope(
        self,
        data: bytes = b"",
        *,
        parts: Sequence[bytes] | None = None,
        views: Sequence[bytes] = (),
        signature: bytes = b"",
        grants: Sequence[bytes] | None = None,
        body: bytes | None = None,
        head: bytes | None = None,
    ) -> bytes:
        """Return an envelope whose wraps verify over any content.

        Args:
            data: The payload, if no parts are given.
            parts: The parts, encrypted.
            views: The views, encrypted.
            signature: The content of its element.
            grants: The content of each wrap, in the order of the tags: an index and a key.
            body: All bytes between tags and wraps, instead of the three above.
            head: The bytes of the head.
        """
        chosen = [self.part(0, data)] if parts is None else parts
        keys = self.rows()
        first = bytes([0]) + (VIEW_KEYS if views else CONTENT_KEYS)[0]
        tags = b"".join(key.tag for key in keys)
        pieces = Pieces(b"", tags, tuple(views), tuple(chosen), signature, b"")
        front = FRONT + binary(array(self.fields()) if head is None else head) + binary(tags)
        front += (pieces.body() if body is None else body) + header("bin", 49 * len(keys))
        return self.wrapped(front, grants or [first] * len(keys))

    def wrapped(self, front: bytes, grants: Sequence[bytes]) -> bytes:
        """Append the wraps to the bytes that they authenticate."""
        transcript = crypto.sha256(front)
        return front + b"".join(
            crypto.seal(key.K, self.nonce, grant, transcript)
            for key, grant in zip(self.rows(), grants, strict=True)
        )

    def signed(self, seed: bytes, data: bytes = b"") -> bytes:
        """Return an envelope with a valid signature made with `seed`."""
        return self.envelope(data, signature=self.signature(seed, [self.part(0, data)]))

    def signature(self, seed: bytes, parts: Sequence[bytes], views: Sequence[bytes] = ()) -> bytes:
        return sign(seed, crypto.signed_message(self.digest(parts, views)))

    def digest(self, parts: Sequence[bytes], views: Sequence[bytes] = ()) -> bytes:
        """Return D, the hash that a signature covers."""
        tags = b"".join(key.tag for key in self.rows())
        front = FRONT + binary(array(self.fields())) + binary(tags)
        return crypto.sha256(front + array(map(binary, views)) + array(map(binary, parts)))

    def document(self, contents: Sequence[bytes], granted: Sequence[Sequence[int]]) -> bytes:
        """Return a document of parts, with one view per recipient in the order of the tags."""
        parts = [self.part(j, content, FIELDS) for j, content in enumerate(contents)]
        views = [self.view(v, grant_list(indices)) for v, indices in enumerate(granted)]
        grants = [bytes([v]) + VIEW_KEYS[v] for v in range(len(granted))]
        return self.envelope(parts=parts, views=views, grants=grants)

    def but(self, **changes: object) -> Rogue:
        return replace(self, **changes)  # type: ignore[arg-type]


def grant_list(indices: Sequence[int]) -> bytes:
    """Return the plaintext of a view."""
    return b"".join(bytes([j]) + CONTENT_KEYS[j] for j in indices)


def thief_of(own: XKeyPair, of: XKey = ALICE.public) -> Rogue:
    """Return a thief of a recipient's secret who impersonates `of`."""
    return Rogue(S=of, secret=own, to=(Recipient(own.public),))


def head_of(envelope: bytes) -> Head:
    return decode_head(Pieces.of(envelope).head, Limits())


def key_of(own: XKeyPair, envelope: bytes, user: bytes = bytes(32)) -> Key:
    """Compute the tag and K of an envelope, as only a recipient and the sender can."""
    head = head_of(envelope)
    r_public = bytes(own.public)
    secret = raw_secret(own)
    tag_key, auth_key = crypto.pair_keys(crypto.x25519(secret, head.S), head.S, r_public, user)
    dh_e = crypto.x25519(secret, head.E)
    return Key(crypto.tag_of(tag_key, head.E), crypto.wrap_key(auth_key, dh_e, head.E, r_public))


def grant_of(own: XKeyPair, envelope: bytes) -> bytes:
    """Return the content of a wrap: the index, and CK or VK."""
    pieces, key = Pieces.of(envelope), key_of(own, envelope)
    place = pieces.tags.index(key.tag) // 8
    grant = crypto.unseal(key.K, nonce_of(envelope), pieces.wrap(place), transcript_of(envelope))
    assert grant is not None
    return grant


def nonce_of(envelope: bytes) -> bytes:
    return head_of(envelope).nonce


def transcript_of(envelope: bytes) -> bytes:
    """Return T."""
    return crypto.sha256(envelope[: len(envelope) - len(Pieces.of(envelope).wraps)])

"""The key derivations of the format (spec, "Pair keys", "Views", "Parts", "Signature").

Each has its own label and hashes an input of fixed length, so that no two hash the same input.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from xkeymsg import primitives
from xkeymsg.errors import BadKeyError
from xkeymsg.keys import XKey, XKeyPair

__all__ = (
    "ZERO_NONCE",
    "PairKeys",
    "message_id",
    "object_key",
    "pair_keys",
    "part_keys",
    "signed_bytes",
    "view_keys",
    "wrap_key",
)

ZERO_NONCE: Final = bytes(12)
"""The nonce for keys that encrypt only once."""

_PAIR: Final = primitives.label(b"xkm1/pair")
_TAG: Final = primitives.label(b"xkm1/tag")
_WRAP: Final = primitives.label(b"xkm1/wrap")
_PART: Final = primitives.label(b"xkm1/part")
_VIEW: Final = primitives.label(b"xkm1/view")
_ID: Final = primitives.label(b"xkm1/id")
_OBJECT: Final = primitives.label(b"xkm1/object")
_INDEX: Final = tuple(bytes((index,)) for index in range(256))

_SIGN: Final = b"\xffxkm1/sign\x00"


class PairKeys(NamedTuple):
    """The keys derived from the static keys of a sender and a recipient, in one direction."""

    tag_key: bytes
    auth_key: bytes

    def __repr__(self) -> str:
        return "<PairKeys>"  # a NamedTuple would show them in logs of local variables

    def tag(self, ephemeral: bytes) -> bytes:
        """Return the 8-byte recipient tag, which locates the recipient's wrap in a session."""
        return primitives.digest(_TAG, ephemeral, key=self.tag_key, size=8)


def pair_keys(dh_s: bytes | None, sender: bytes, recipient: bytes, user: bytes) -> PairKeys:
    """Derive the keys of a pair from its static shared secret.

    Both sides put the sender before the recipient: A's message to B cannot be reflected to A as
    B's.

    Raises:
        BadKeyError: If the shared secret is all zeros (E-2).
    """
    if dh_s is None:
        raise BadKeyError("a shared secret is all zeros")
    both = primitives.digest(_PAIR, dh_s + sender + recipient + user, size=64)
    return PairKeys(both[:32], both[32:])


def wrap_key(own: XKeyPair, peer: XKey, ephemeral: bytes, recipient: bytes, auth: bytes) -> bytes:
    """Derive K, the key of a wrap, from the X25519 of the ephemeral and the recipient's key.

    Args:
        own: The ephemeral pair (sealing) or the recipient's (opening).
        peer: The public key of the other side.
        ephemeral: E.
        recipient: R.
        auth: The pair's `auth_key`: deriving it takes the static secret of the sender or of the
            recipient, so that K authenticates the sender to the recipient.

    Raises:
        BadKeyError: If the shared secret is all zeros (E-2).
    """
    dh_e = own._dh(peer)  # noqa: SLF001 - private to the package
    if dh_e is None:
        raise BadKeyError("a shared secret is all zeros")
    return primitives.digest(_WRAP, dh_e + ephemeral + recipient, key=auth, size=32)


def part_keys(content_key: bytes, ephemeral: bytes, nonce: bytes, index: int) -> bytes:
    """Derive the encryption key of a part, followed by its commitment (64 bytes)."""
    data = b"".join((_PART, ephemeral, nonce, _INDEX[index]))
    return primitives.Hash(data, key=content_key).digest()


def view_keys(view_key: bytes, ephemeral: bytes, nonce: bytes, index: int) -> bytes:
    """Derive the encryption key of a view, followed by its commitment (64 bytes)."""
    data = b"".join((_VIEW, ephemeral, nonce, _INDEX[index]))
    return primitives.Hash(data, key=view_key).digest()


def signed_bytes(digest: bytes) -> bytes:
    """Return the bytes to sign, given the SHA-256 of the envelope up to the signature.

    At login, an nkey also signs any text that a broker sends; no UTF-8 text begins with 0xFF.
    """
    return _SIGN + digest


def message_id(sender: bytes, ephemeral: bytes, nonce: bytes) -> bytes:
    """Return the 16-byte id of a message."""
    return primitives.digest(_ID, sender + ephemeral + nonce, size=16)


def object_key(content_key: bytes, id: bytes) -> bytes:  # noqa: A002 - the term of the spec
    """Derive the key of the chunks with a 16-byte id, of an object (docs/spec/objects.md)."""
    return primitives.digest(_OBJECT, id, key=content_key, size=32)

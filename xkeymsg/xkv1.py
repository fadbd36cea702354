"""xkv1: NATS' own box from one key to one other, for programs that know no other format.

WARNING: prefer `Sealer` and `Opener`, which protect far more. By construction, xkv1 has these
limits:

- It authenticates neither subject nor time: a broker can deliver the bytes under another subject,
  again, or years later.
- It permits reflection: the pair key has no direction, so Alice's box to Bob also opens as Bob's
  box to Alice.
- It is not a signature: Bob, or a thief of Bob's key, can forge a box from Alice.
- It has no forward secrecy: either stolen secret key opens everything ever sealed between the two.

Only the holders of the two secret keys can read or alter the data. The format is that of `Seal` and
`Open` of nkeys in Go, JavaScript, Rust and .NET (source: github.com/nats-io/nkeys, xkeys.go):

    sealed = "xkv1" || nonce (24 random bytes) || XSalsa20-Poly1305(pair key, nonce, data)

with the pair key of NaCl's `crypto_box`.
"""

from __future__ import annotations

from typing import Final

from xkeymsg import primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.errors import AuthenticationError, MalformedError, UnsupportedVersionError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.refusals import refusing

__all__ = ("OVERHEAD", "open", "seal")

_MAGIC: Final = b"xkv1"
_NONCE_END: Final = len(_MAGIC) + primitives.BOX_NONCE_SIZE

OVERHEAD: Final = _NONCE_END + primitives.BOX_TAG_SIZE
"""Bytes that xkv1 adds to the data: 44."""


@refusing
def seal(data: Buffer, *, key: XKeyPair, to: XKey) -> bytes:
    """Seal data from one key to one other; see the warning above.

    Args:
        data: The data.
        key: The sender's key pair.
        to: The recipient's public key.

    Raises:
        TypeError: If an argument has the wrong type.
    """
    return _seal(as_bytes("data", data), key, to, random_bytes(primitives.BOX_NONCE_SIZE))


@refusing
def open(sealed: Buffer, *, key: XKeyPair, sender: XKey) -> bytes:  # noqa: A001 - read as `xkv1.open`
    """Open data that `sender` sealed to `key`; see the warning above.

    Args:
        sealed: The received bytes; they need not be trusted.
        key: The recipient's key pair.
        sender: The sender's public key.

    Raises:
        AuthenticationError: If the data was altered, or was not sealed between these two keys.
        MalformedError: If the bytes are not xkv1.
        UnsupportedVersionError: If they are another version of xkv1, or xkm1.
        TypeError: If an argument has the wrong type.
    """
    box, pair_key = as_bytes("sealed", sealed), _pair_key(key, "sender", sender)
    if box[:4] != _MAGIC:
        if box[:2] == b"xk" and len(box) >= OVERHEAD:
            raise UnsupportedVersionError("not xkv1: another version of it, or xkm1")
        raise MalformedError("not xkv1: bad magic")
    if len(box) < OVERHEAD:
        raise MalformedError(f"xkv1: {len(box)} bytes, less than {OVERHEAD}")
    data = primitives.box_open(box[_NONCE_END:], box[4:_NONCE_END], pair_key)
    if data is None:
        raise AuthenticationError
    return data


def _seal(data: bytes, key: XKeyPair, to: XKey, nonce: bytes) -> bytes:
    """Seal with a given nonce, for test vectors only: a nonce must never be reused."""
    return _MAGIC + nonce + primitives.box_seal(data, nonce, _pair_key(key, "to", to))


def _pair_key(key: XKeyPair, name: str, peer: XKey) -> bytes:
    if not isinstance(key, XKeyPair):
        raise TypeError(f"key must be an XKeyPair, not {type(key).__name__}")
    if not isinstance(peer, XKey):
        raise TypeError(f"{name} must be an XKey, not {type(peer).__name__}")
    return key._pair_key(bytes(peer))  # noqa: SLF001 - cached there

"""The cryptographic primitives.

No other module imports PyNaCl; `cryptography` is also imported by `key_stores.certificates`, for
X.509. Callers have checked that arguments are `bytes` of the right length. `box_open` returns None
on an authentication failure, so that the caller chooses the error.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings
from nacl.exceptions import CryptoError

__all__ = (
    "AEAD",
    "AEAD_TAG_SIZE",
    "BOX_NONCE_SIZE",
    "BOX_TAG_SIZE",
    "KEY_SIZE",
    "LABEL_SIZE",
    "Hash",
    "InvalidTag",
    "argon2id",
    "box_key_of",
    "box_open",
    "box_pair_key",
    "box_seal",
    "digest",
    "ed25519_verify",
    "equal",
    "is_safe_point",
    "keyed_hash",
    "label",
    "sha256",
    "sha512_256",
    "x25519",
    "x25519_public",
)

KEY_SIZE: Final = 32
LABEL_SIZE: Final = 16
BOX_NONCE_SIZE: Final = 24
BOX_TAG_SIZE: Final = 16
AEAD_TAG_SIZE: Final = 16

AEAD = ChaCha20Poly1305
"""ChaCha20-Poly1305 (RFC 8439) under one key: `AEAD(key).encrypt(nonce, data, aad)`. From
`cryptography`: PyNaCl's takes five times as long for a small message. Creating the object costs as
much as using it, so frequently used ones are cached."""

_P: Final = 2**255 - 19

_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_SALSA_ROUNDS: Final = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),  # columns
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),  # rows
)  # fmt: skip
"""The quarter-rounds of a double round of Salsa20, by the places of their words."""

# The canonical u-coordinates of points of small order, on Curve25519 or its twist: 0, 1, the two of
# order 8, and p - 1. The shared secret with one of them is zero, whatever the other side's key.
_SMALL_ORDER: Final = frozenset(
    u.to_bytes(KEY_SIZE, "little")
    for u in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
    )
)


def is_safe_point(raw: bytes) -> bool:
    """Return whether 32 bytes are a canonical X25519 public key that is not of small order.

    RFC 7748 has implementations accept non-canonical u-coordinates (>= p, or with the high bit
    set), and does not require them to refuse small-order points. Both are refused here: the former
    give one key several encodings, the latter give everybody the same shared secret.
    """
    # Only p .. 2^255 - 1 and the high bit are not canonical: the last byte usually decides.
    canonical = raw[31] < 0x7F or int.from_bytes(raw, "little") < _P
    return canonical and raw not in _SMALL_ORDER


def x25519_public(secret: bytes) -> bytes:
    """Return the public key of an X25519 secret key (RFC 7748, section 5)."""
    return bindings.crypto_scalarmult_base(secret)


def x25519(secret: bytes, public: bytes) -> bytes | None:
    """Return the shared secret of two X25519 keys, or None if it is all zeros (E-2)."""
    try:
        shared = bindings.crypto_scalarmult(secret, public)
    except CryptoError:  # libsodium's own check for zeros
        return None
    return shared if any(shared) else None


def box_pair_key(public: bytes, secret: bytes) -> bytes:
    """Return the key of NaCl's box for a pair: HSalsa20 of one X25519.

    `public` has passed `is_safe_point`, so libsodium's check for an all-zero secret cannot fire.
    """
    return bindings.crypto_box_beforenm(public, secret)


def box_key_of(shared: bytes) -> bytes:
    """Return the key of NaCl's box for an X25519 shared secret that a key store has computed.

    HSalsa20 of the secret and 16 zero bytes; PyNaCl has it only together with the X25519.
    """
    key = struct.unpack("<8I", shared)
    state = [_SIGMA[0], *key[:4], _SIGMA[1], 0, 0, 0, 0, _SIGMA[2], *key[4:], _SIGMA[3]]
    for _ in range(10):
        for a, b, c, d in _SALSA_ROUNDS:
            for to, left, right, shift in (
                (b, a, d, 7),
                (c, b, a, 9),
                (d, c, b, 13),
                (a, d, c, 18),
            ):
                total = state[left] + state[right] & 0xFFFFFFFF
                state[to] ^= (total << shift | total >> 32 - shift) & 0xFFFFFFFF
    return struct.pack("<8I", *(state[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


def box_seal(data: bytes, nonce: bytes, pair_key: bytes) -> bytes:
    """Seal `data` as XSalsa20-Poly1305 under a pair's key: the tag, then the ciphertext."""
    return bindings.crypto_box_easy_afternm(data, nonce, pair_key)


def box_open(sealed: bytes, nonce: bytes, pair_key: bytes) -> bytes | None:
    """Open a box from `box_seal`, or return None if it does not authenticate."""
    try:
        return bindings.crypto_box_open_easy_afternm(sealed, nonce, pair_key)
    except CryptoError:
        return None


def argon2id(passphrase: bytes, salt: bytes, *, passes: int, kib: int) -> bytes | None:
    """Return 32 bytes of Argon2id (RFC 9106) with one lane, or None without enough memory."""
    algorithm = bindings.crypto_pwhash_ALG_ARGON2ID13
    try:
        return bindings.crypto_pwhash_alg(KEY_SIZE, passphrase, salt, passes, kib * 1024, algorithm)
    except RuntimeError:  # PyNaCl's own class is one
        return None


def label(text: bytes) -> bytes:
    """Return a label for `digest`: zero-padded to 16 bytes, so that none is a prefix of another."""
    return text.ljust(LABEL_SIZE, b"\0")


def digest(label: bytes, data: bytes, *, key: bytes = b"", size: int) -> bytes:
    """Return the BLAKE2b (RFC 7693) of a `label` and the data, `size` bytes long.

    The label separates this use of a key or hash from all others.
    """
    return hashlib.blake2b(label + data, key=key, digest_size=size).digest()


Hash = hashlib.blake2b
"""An incremental hash with `copy`, `update` and `digest`; 64 bytes by default."""


def keyed_hash(label: bytes, key: bytes) -> Hash:
    """Begin a 64-byte `digest` under one label and key, to copy for many messages.

    The key and the label are hashed only once, which saves half of the work for short data.
    """
    return hashlib.blake2b(label, key=key, digest_size=64)


def sha256(data: bytes | memoryview) -> bytes:
    """Return the SHA-256 (FIPS 180-4) of the data."""
    return hashlib.sha256(data).digest()


def sha512_256(data: bytes) -> bytes:
    """Return the SHA-512/256 (FIPS 180-4) of the data; not every `hashlib` has it."""
    digest = hashes.Hash(hashes.SHA512_256())
    digest.update(data)
    return digest.finalize()


equal: Final = hmac.compare_digest
"""`equal(left, right)`: compare bytes in constant time."""


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a 64-byte signature is valid (spec, E-3 to E-5).

    libsodium, up to 1.0.22, implements the whole rule: it refuses s >= L, a public key or R of
    small order and a non-canonical public key, and compares R byte for byte without the cofactor.
    The vectors have each case, because later releases may differ. OpenSSL, which `cryptography`
    uses, accepts one signature for every message under a key of small order.
    """
    try:
        bindings.crypto_sign_open(signature + message, public)
    except CryptoError:
        return False
    return True

"""The functions of the spec's section Cryptographic functions, under the same names."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ZERO12: Final = bytes(12)
ZERO32: Final = bytes(32)
P: Final = 2**255 - 19
LOW_ORDER: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


def sha256(x: bytes) -> bytes:
    return hashlib.sha256(x).digest()


def pad16(label: str) -> bytes:
    raw = label.encode("ascii")
    assert len(raw) <= 16
    return raw + bytes(16 - len(raw))


def H(label: str, data: bytes, *, n: int, key: bytes = b"") -> bytes:  # noqa: N802
    return hashlib.blake2b(pad16(label) + data, digest_size=n, key=key).digest()


def split64(x: bytes) -> tuple[bytes, bytes]:
    assert len(x) == 64
    return x[:32], x[32:]


def seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def unseal(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    """`Open` of the spec; return None if the tag differs."""
    if len(sealed) < 16:
        return None
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None


def x25519(k: bytes, u: bytes) -> bytes:
    """X25519(k, u); 32 zero bytes if u has a low order, which the caller has to refuse (E-2)."""
    secret = X25519PrivateKey.from_private_bytes(k)
    point = X25519PublicKey.from_public_bytes(u)
    try:
        return secret.exchange(point)
    except ValueError:  # the library refuses exactly the all-zero shared secret
        return ZERO32


def pub(k: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(k).public_key().public_bytes_raw()


def is_sound(key: bytes) -> bool:
    return len(key) == 32 and int.from_bytes(key, "little") < P and key not in LOW_ORDER


def pair_keys(dh_s: bytes, s_public: bytes, r_public: bytes, u: bytes) -> tuple[bytes, bytes]:
    """Return tag_key and auth_key (spec, Pair keys)."""
    return split64(H("xkm1/pair", dh_s + s_public + r_public + u, n=64))


def tag_of(tag_key: bytes, e_public: bytes) -> bytes:
    return H("xkm1/tag", e_public, key=tag_key, n=8)


def wrap_key(auth_key: bytes, dh_e: bytes, e_public: bytes, r_public: bytes) -> bytes:
    """Return K (spec, Pair keys)."""
    return H("xkm1/wrap", dh_e + e_public + r_public, key=auth_key, n=32)


def view_keys(vk: bytes, e_public: bytes, nonce: bytes, v: int) -> tuple[bytes, bytes]:
    """Return view_key and view_commit (spec, Views)."""
    return split64(H("xkm1/view", e_public + nonce + bytes([v]), key=vk, n=64))


def part_keys(ck: bytes, e_public: bytes, nonce: bytes, j: int) -> tuple[bytes, bytes]:
    """Return enc_key and commit (spec, Parts)."""
    return split64(H("xkm1/part", e_public + nonce + bytes([j]), key=ck, n=64))


def signed_message(d: bytes) -> bytes:
    """Return the signed message of 43 bytes (spec, Signature)."""
    return b"\xff" + b"xkm1/sign" + b"\x00" + d


def message_id(s_public: bytes, e_public: bytes, nonce: bytes) -> bytes:
    return H("xkm1/id", s_public + e_public + nonce, n=16)

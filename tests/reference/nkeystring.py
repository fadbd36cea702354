"""The strings of nkeys: X25519 seeds (SX) and public keys (X), Ed25519 user keys (U)."""

from __future__ import annotations

import base64
from typing import Final

from tests.reference.crypto import is_sound

SEED: Final = 18 << 3
CURVE: Final = 23 << 3
USER: Final = 20 << 3


def crc16(data: bytes) -> int:
    """Return the CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x1021 if crc & 0x8000 else 0)
        crc &= 0xFFFF
    return crc


def to_text(raw: bytes) -> str:
    return base64.b32encode(raw + crc16(raw).to_bytes(2, "little")).decode().rstrip("=")


def from_text(text: str, prefix: bytes) -> bytes:
    """Return the 32 bytes of a key; raise ValueError unless the text is its canonical string."""
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    key = raw[len(prefix) : -2]
    if len(key) != 32 or to_text(prefix + key) != text:
        raise ValueError(f"not a key: {text[:2]}…")
    return key


SEED_PREFIX: Final = bytes([SEED | CURVE >> 5, (CURVE & 31) << 3])
USER_SEED_PREFIX: Final = bytes([SEED | USER >> 5, (USER & 31) << 3])
CURVE_PREFIX: Final = bytes([CURVE])
USER_PREFIX: Final = bytes([USER])


def seed_text(secret: bytes) -> str:
    return to_text(SEED_PREFIX + secret)


def xkey_text(public: bytes) -> str:
    return to_text(CURVE_PREFIX + public)


def user_text(public: bytes) -> str:
    return to_text(USER_PREFIX + public)


def user_seed_text(secret: bytes) -> str:
    return to_text(USER_SEED_PREFIX + secret)


def seed(text: str) -> bytes:
    return from_text(text, SEED_PREFIX)


def user_seed(text: str) -> bytes:
    return from_text(text, USER_SEED_PREFIX)


def xkey(text: str) -> bytes:
    """Return a public xkey; raise ValueError also if it is not sound (E-92)."""
    key = from_text(text, CURVE_PREFIX)
    if not is_sound(key):
        raise ValueError(f"not a sound key: {text[:2]}…")
    return key


def user(text: str) -> bytes:
    return from_text(text, USER_PREFIX)

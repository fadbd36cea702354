"""Ed25519 signatures that libraries judge differently; each function signs one message."""

from __future__ import annotations

import hashlib
from typing import Final

from tests.reference.ed25519 import (
    NEUTRAL,
    SMALL_ORDER,
    B,
    L,
    P,
    Point,
    add,
    challenge,
    decode,
    encode,
    expand,
    multiply,
)
from tests.vectors.people import ALICE

SECRET: Final = expand(ALICE.signing_seed)[0]

# Encodings that are not canonical, of the two points of small order where a third party can make
# signatures: y = p and p + 1, and x = 0 with its sign bit set.
NOT_CANONICAL: Final = {
    "y_is_p": P.to_bytes(32, "little"),
    "y_is_p_and_sign": (P | 1 << 255).to_bytes(32, "little"),
    "y_is_p_plus_1": (P + 1).to_bytes(32, "little"),
    "y_is_p_plus_1_and_sign": (P + 1 | 1 << 255).to_bytes(32, "little"),
    "x_is_minus_0": (1 | 1 << 255).to_bytes(32, "little"),
    "x_is_minus_0_at_the_bottom": (P - 1 | 1 << 255).to_bytes(32, "little"),
}


def lenient(data: bytes) -> Point:
    """The point that a lax decoder takes an encoding for."""
    number = int.from_bytes(data, "little")
    y = (number & (1 << 255) - 1) % P
    sign = number >> 255 if y not in (1, P - 1) else 0
    point = decode((y | sign << 255).to_bytes(32, "little"))
    assert point is not None
    return point


def torsion(order: int) -> Point:
    """A point of this order, which divides 8."""
    for data in SMALL_ORDER:
        point = lenient(data)
        multiples = [encode(multiply(k, point)) for k in (1, 2, 4, 8)]
        if multiples.index(SMALL_ORDER[0]) == (1, 2, 4, 8).index(order):
            return point
    raise AssertionError


def with_torsion(point: Point, order: int) -> bytes:
    return encode(add(point, torsion(order)))


def mixed_key(order: int) -> bytes:
    """Alice's key, and a point of small order added."""
    return with_torsion(multiply(SECRET, B), order)


def number(attempt: int, message: bytes) -> int:
    """A nonce scalar; another for each attempt."""
    digest = hashlib.sha512(attempt.to_bytes(2, "big") + message).digest()
    return int.from_bytes(digest, "little") % L


def join(rs: bytes, sigma: int) -> bytes:
    return rs + sigma.to_bytes(32, "little")


def is_neutral(point: Point) -> bool:
    return encode(point) == encode(NEUTRAL)


def by_small_order_key(key: bytes, message: bytes) -> bytes:
    """Holds for [s]B - [k]A = R without any secret, where [k]A is neutral."""
    for attempt in range(1000):
        sigma = number(attempt, message)
        rs = encode(multiply(sigma, B))
        if is_neutral(multiply(challenge(rs, key, message), lenient(key))):
            return join(rs, sigma)
    raise AssertionError


def with_neutral_r(rs: bytes, message: bytes) -> bytes:
    """R is the neutral element in some encoding: s = ka."""
    return join(rs, challenge(rs, ALICE.user, message) * SECRET % L)


def by_mixed_key(order: int, message: bytes, *, cofactorless: bool) -> bytes:
    """By a key of mixed order: valid without the cofactor where k is a multiple of the order."""
    key = mixed_key(order)
    for attempt in range(1000):
        r = number(attempt, message)
        rs = encode(multiply(r, B))
        k = challenge(rs, key, message)
        if (k % order == 0) == cofactorless:
            return join(rs, (r + k * SECRET) % L)
    raise AssertionError


def with_mixed_r(order: int, message: bytes) -> bytes:
    """R has a part of small order: valid only with the cofactor."""
    r = number(0, message)
    rs = with_torsion(multiply(r, B), order)
    return join(rs, (r + challenge(rs, ALICE.user, message) * SECRET) % L)


def with_mixed_r_by_mixed_key(message: bytes) -> bytes:
    """The parts of small order in R and in [k]A cancel: valid without the cofactor."""
    key, point = mixed_key(8), torsion(8)
    for attempt in range(1000):
        r = number(attempt, message)
        rs = encode(add(multiply(r, B), point))
        k = challenge(rs, key, message)
        if k % 8 == 7:
            return join(rs, (r + k * SECRET) % L)
    raise AssertionError


def with_small_order_r(rs: bytes, message: bytes) -> bytes | None:
    """R has a small order, and [s]B - [k]A is R: by a mixed key, for one message in eight."""
    key = mixed_key(8)
    k = challenge(rs, key, message)
    if encode(multiply(k, -torsion(8))) != rs:
        return None
    return join(rs, k * SECRET % L)

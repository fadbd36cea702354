"""Ed25519 in plain integers: signs by RFC 8032, verifies by E-3 to E-5. Not for secrets."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1: Final = pow(2, (P - 1) // 4, P)

SMALL_ORDER: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)


class Point(NamedTuple):
    """Extended coordinates: x = X/Z, y = Y/Z, x*y = T/Z."""

    X: int
    Y: int
    Z: int
    T: int

    def __neg__(self) -> Point:
        return Point(-self.X % P, self.Y, self.Z, -self.T % P)


NEUTRAL: Final = Point(0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    """Add two points (RFC 8032, section 5.1.4); the formula is complete, so it also doubles."""
    a = (p.Y - p.X) * (q.Y - q.X) % P
    b = (p.Y + p.X) * (q.Y + q.X) % P
    c = 2 * D * p.T * q.T % P
    d = 2 * p.Z * q.Z % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return Point(e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(k: int, p: Point) -> Point:
    """Return [k]p for k >= 0, without reducing k: p may have any order."""
    result = NEUTRAL
    while k:
        if k & 1:
            result = add(result, p)
        p = add(p, p)
        k >>= 1
    return result


def encode(p: Point) -> bytes:
    z = pow(p.Z, -1, P)
    x, y = p.X * z % P, p.Y * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """Return the point of a canonical encoding, or None (E-4)."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_1 % P
    if x * x % P != square or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return Point(x, y, 1, x * y % P)


def base_point() -> Point:
    point = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


B: Final = base_point()


def expand(seed: bytes) -> tuple[int, bytes]:
    """Return the secret scalar and the prefix (RFC 8032, section 5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    return scalar, digest[32:]


def challenge(rs: bytes, a_public: bytes, m: bytes) -> int:
    return int.from_bytes(hashlib.sha512(rs + a_public + m).digest(), "little") % L


def public(seed: bytes) -> bytes:
    return encode(multiply(expand(seed)[0], B))


def sign(seed: bytes, m: bytes) -> bytes:
    scalar, prefix = expand(seed)
    r = int.from_bytes(hashlib.sha512(prefix + m).digest(), "little") % L
    rs = encode(multiply(r, B))
    sigma = (r + challenge(rs, public(seed), m) * scalar) % L
    return rs + sigma.to_bytes(32, "little")


def fault(a_public: bytes, m: bytes, signature: bytes) -> str | None:
    """Return the first of E-3, E-4, E-5 that a signature breaks, or None if it is valid."""
    rs, sigma = signature[:32], int.from_bytes(signature[32:], "little")
    if sigma >= L:
        return "E-3"
    a, r = decode(a_public), decode(rs)
    if a is None or r is None or a_public in SMALL_ORDER or rs in SMALL_ORDER:
        return "E-4"
    k = challenge(rs, a_public, m)
    if encode(add(multiply(sigma, B), multiply(k, -a))) != rs:
        return "E-5"
    return None

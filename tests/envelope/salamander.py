"""One ciphertext that opens under two keys, which ChaCha20-Poly1305 does not exclude.

Poly1305 is a polynomial over the ciphertext's blocks modulo 2^130 - 5. With both keys, an attacker
has one linear equation in each, and chooses the first two blocks so that both give the same tag.
(Source: Dodis et al., "Fast Message Franking: From Invisible Salamanders to Encryptment", 2018;
CVE-2020-8897.)
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tests.reference import crypto

P = 2**130 - 5
FULL = 2**128


def one_time_key(key: bytes) -> tuple[int, int]:
    """Return r, clamped, and s: the first 32 bytes of the keystream for the zero nonce."""
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(32))
    r = int.from_bytes(stream[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    return r, int.from_bytes(stream[16:], "little")


def blocks(rest: bytes, size: int) -> list[int]:
    """Return the Poly1305 input after the first two blocks, for a ciphertext of `size` bytes."""
    padded = rest + bytes(-len(rest) % 16) + bytes(8) + size.to_bytes(8, "little")
    return [
        int.from_bytes(padded[at : at + 16], "little") + FULL for at in range(0, len(padded), 16)
    ]


def salamander(first: bytes, second: bytes, rest: bytes = b"") -> bytes:
    """Return a ciphertext with its tag that opens under both keys; it ends with `rest`."""
    size = 32 + len(rest)
    tail = blocks(rest, size)
    (r1, s1), (r2, s2) = one_time_key(first), one_time_key(second)
    for tag in range(FULL):
        for lift in range(16):  # the sum modulo 2^130 - 5 is one of four values for each key
            sums = ((tag - s1) % FULL + lift % 4 * FULL, (tag - s2) % FULL + lift // 4 * FULL)
            solved = solve((r1, r2), sums, tail)
            if solved is not None:
                sealed = b"".join(each.to_bytes(16, "little") for each in solved) + rest
                return sealed + tag.to_bytes(16, "little")
    raise AssertionError("no tag fits")


def solve(r: tuple[int, int], sums: tuple[int, int], tail: list[int]) -> list[int] | None:
    """Return the first two blocks with these sums under both keys, if they fit 16 bytes each."""
    exponent = len(tail)
    knowns = [
        total - sum(block * pow(key, exponent - at, P) for at, block in enumerate(tail))
        for key, total in zip(r, sums, strict=True)
    ]
    # x * r^(exponent + 2) + y * r^(exponent + 1) = known, for both keys
    (a, b), (c, d) = ((pow(key, exponent + 2, P), pow(key, exponent + 1, P)) for key in r)
    inverse = pow(a * d - b * c, -1, P)
    x = (knowns[0] * d - b * knowns[1]) * inverse % P - FULL
    y = (a * knowns[1] - c * knowns[0]) * inverse % P - FULL
    return [x, y] if 0 <= x < FULL and 0 <= y < FULL else None


def opens(key: bytes, sealed: bytes) -> bytes | None:
    return crypto.unseal(key, crypto.ZERO12, sealed, b"")

"""Writes and reads the five kinds of values of the envelope (spec, Encoding), byte by byte."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tests.reference.refusal import RefusalError

NIL: Final = b"\xc0"

# kind -> first byte, and number of values that fit into the first byte
SMALL: Final = {"uint": (0x00, 2**7), "str": (0xA0, 2**5), "array": (0x90, 2**4)}
# kind -> first byte, and size of the integer after it, shortest first
WIDE: Final = {
    "uint": {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8},
    "str": {0xD9: 1, 0xDA: 2, 0xDB: 4},
    "bin": {0xC4: 1, 0xC5: 2, 0xC6: 4},
    "array": {0xDC: 2, 0xDD: 4},
}


def header(kind: str, k: int) -> bytes:
    """Return the shortest header of a str, bin or array of k bytes or items, or all of a uint."""
    base, count = SMALL.get(kind, (0, 0))
    if k < count:
        return bytes([base + k])
    for first, width in WIDE[kind].items():
        if k < 256**width:
            return bytes([first]) + k.to_bytes(width, "big")
    raise ValueError(f"{k} does not fit into a {kind}")


def uint(v: int) -> bytes:
    return header("uint", v)


def string(x: bytes | str) -> bytes:
    raw = x.encode() if isinstance(x, str) else x
    return header("str", len(raw)) + raw


def binary(x: bytes) -> bytes:
    return header("bin", len(x)) + x


def array(items: Iterable[bytes]) -> bytes:
    """Return an array of encoded items."""
    encoded = list(items)
    return header("array", len(encoded)) + b"".join(encoded)


def bh(x: int) -> int:
    """Return the length of the header of a bin of x bytes."""
    return len(header("bin", x))


class Limit(NamedTuple):
    """A bound on the announced size of a header, and the requirement that states it."""

    bound: int
    rule: str


class Cursor:
    """Reads data[at:end] from left to right, for one step of the opening order."""

    def __init__(self, data: bytes, step: int, *, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end
        self.step = step

    def malformed(self, rule: str) -> RefusalError:
        return RefusalError("malformed", self.step, rule)

    def peek(self) -> int:
        if self.at >= self.end:
            raise self.malformed("E-8")
        return self.data[self.at]

    def take(self, k: int, rule: str = "E-8") -> bytes:
        if self.end - self.at < k:
            raise self.malformed(rule)
        self.at += k
        return self.data[self.at - k : self.at]

    def header(self, kind: str, limit: Limit | None = None) -> int:
        """Read a header in shortest form (E-6), then check its limit (E-8)."""
        start = self.at
        first = self.peek()
        base, count = SMALL.get(kind, (0, 0))
        if base <= first < base + count:
            self.take(1)
            value = first - base
        elif first in WIDE[kind]:
            self.take(1)
            value = int.from_bytes(self.take(WIDE[kind][first]), "big")
        else:
            raise self.malformed("E-6")
        if self.data[start : self.at] != header(kind, value):
            raise self.malformed("E-6")
        if limit is not None and value > limit.bound:
            raise RefusalError("limit_exceeded", self.step, limit.rule)
        return value

    def uint(self) -> int:
        return self.header("uint")

    def binary(self, limit: Limit | None = None, *, rule: str = "E-8") -> bytes:
        return self.take(self.header("bin", limit), rule)

    def text(self, limit: Limit | None = None) -> str:
        raw = self.take(self.header("str", limit))
        try:
            return raw.decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise self.malformed("E-7") from None

    def nil(self) -> bool:
        """Return whether nil is next; if so, read it."""
        if self.peek() != NIL[0]:
            return False
        self.take(1)
        return True

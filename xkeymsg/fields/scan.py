"""A validation pass over a part's plaintext that builds no objects (spec, F-20 to F-29).

It reads from left to right, with a stack bounded by the depth limit, and checks each object in the
order of F-29, so that it reports the first fault.
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.values import DECODERS, check_ext
from xkeymsg.limits import Limits
from xkeymsg.text import is_unicode

__all__ = ("Counts", "scan")


class Counts:
    """The numbers of nodes and pairs in all granted parts of a document."""

    def __init__(self) -> None:
        self.nodes = self.pairs = 0


class _Form(NamedTuple):
    kind: str
    width: int
    """Bytes after the first byte that hold the length, or an integer."""
    fixed: int
    """The length or integer if `width` is 0."""


def _forms() -> dict[int, _Form]:
    forms = {byte: _Form("int", 0, byte) for byte in range(0x80)}
    forms |= {byte: _Form("int", 0, byte - 256) for byte in range(0xE0, 0x100)}
    forms |= {0x80 + size: _Form("map", 0, size) for size in range(16)}
    forms |= {0x90 + size: _Form("array", 0, size) for size in range(16)}
    forms |= {0xA0 + size: _Form("str", 0, size) for size in range(32)}
    forms |= {byte: _Form("plain", 0, 0) for byte in (0xC0, 0xC2, 0xC3)}
    forms |= {0xC4 + n: _Form("bin", 1 << n, 0) for n in range(3)}
    forms |= {0xC7 + n: _Form("ext", 1 << n, 0) for n in range(3)}
    forms |= {0xCA: _Form("float", 0, 4), 0xCB: _Form("float", 0, 8)}
    forms |= {0xCC + n: _Form("uint", 1 << n, 0) for n in range(4)}
    forms |= {0xD0 + n: _Form("sint", 1 << n, 0) for n in range(4)}
    forms |= {0xD4 + n: _Form("ext", 0, 1 << n) for n in range(5)}
    forms |= {0xD9 + n: _Form("str", 1 << n, 0) for n in range(3)}
    forms |= {0xDC + n: _Form("array", 2 << n, 0) for n in range(2)}
    forms |= {0xDE + n: _Form("map", 2 << n, 0) for n in range(2)}
    return forms


_FORMS: Final = _forms()
_INTEGERS: Final = ("int", "uint", "sint")
_FLOATS: Final = {4: ">f", 8: ">d"}


def scan(plaintext: bytes, limits: Limits, counts: Counts) -> None:
    """Validate the plaintext of a part.

    Raises:
        MalformedError: If it is invalid.
        LimitExceededError: If it exceeds a limit, together with the parts before it.
    """
    scanner = _Scanner(plaintext, limits, counts)
    scanner.part()
    if scanner.at != len(plaintext):
        raise MalformedError("trailing bytes after the pairs of a part")


class _Scanner:
    def __init__(self, data: bytes, limits: Limits, counts: Counts) -> None:
        self.at = 0
        self._data = data
        self._limits = limits
        self._counts = counts

    def part(self) -> None:
        count = self._array("the pairs of a part", None)
        if not count:
            raise MalformedError("a part has no pairs")
        self._counts.pairs += count
        self._nodes(1 + count)
        if self._counts.pairs > self._limits.fields:
            raise LimitExceededError("number of fields", self._counts.pairs, self._limits.fields)
        self._fits(count)
        for _ in range(count):
            self._nodes(self._array("a pair", 2))
            self._fits(2)
            self._value(self._path())

    def _path(self) -> int:
        """Read a path and return its length."""
        count = self._array("a path", None)
        if count > self._limits.depth:
            raise LimitExceededError("depth of a path", count, self._limits.depth)
        self._nodes(count)
        self._fits(count)
        for _ in range(count):
            kind, value = self._header()
            if kind == "str":
                self._text(value)
            elif kind not in _INTEGERS or value < 0:
                raise MalformedError("a path segment is neither a name nor an index")
        return count

    def _value(self, depth: int) -> None:
        """Read a value and everything below it; `depth` containers enclose it."""
        # One entry per open container: the items left, and for a map the names seen.
        open_: list[tuple[int, set[bytes] | None]] = []
        while True:
            entered = self._one(depth + len(open_), open_)
            if not entered:
                while open_ and not open_[-1][0]:
                    open_.pop()
            if not open_:
                return
            left, names = open_[-1]
            open_[-1] = left - 1, names
            if names is not None:
                self._name(names)

    def _one(self, depth: int, open_: list[tuple[int, set[bytes] | None]]) -> bool:
        """Read one object; if it is a non-empty container, push it and return True."""
        kind, value = self._header()
        if kind in ("array", "map"):
            if depth >= self._limits.depth:
                raise LimitExceededError("depth of a document", depth + 1, self._limits.depth)
            announced = value if kind == "array" else 2 * value
            self._nodes(announced)
            self._fits(announced)
            if value:
                open_.append((value, set() if kind == "map" else None))
            return bool(value)
        if kind == "str":
            self._text(value)
        elif kind == "bin":
            self._skip(value)
        elif kind == "float":
            self._float(value)
        elif kind == "ext":
            self._ext(value)
        return False

    def _name(self, names: set[bytes]) -> None:
        kind, size = self._header()
        if kind != "str":
            raise MalformedError("a name is not text")
        name = self._text(size)
        if name in names:
            raise MalformedError("duplicate name in a map")
        names.add(name)

    def _header(self) -> tuple[str, int]:
        """Read the header of an object; return its kind, and its length or integer value."""
        if self.at >= len(self._data):
            raise MalformedError("truncated")
        form = _FORMS.get(self._data[self.at])
        if form is None:
            raise MalformedError("invalid first byte of an object")
        start = self.at + 1
        self.at = start + form.width
        if self.at > len(self._data):
            raise MalformedError("truncated")
        if not form.width:
            return form.kind, form.fixed
        signed = form.kind == "sint"
        return form.kind, int.from_bytes(self._data[start : self.at], "big", signed=signed)

    def _array(self, what: str, wanted: int | None) -> int:
        kind, count = self._header()
        if kind != "array" or (wanted is not None and count != wanted):
            raise MalformedError(f"expected {what}")
        return count

    def _nodes(self, more: int) -> None:
        self._counts.nodes += more
        if self._counts.nodes > self._limits.nodes:
            raise LimitExceededError("number of values", self._counts.nodes, self._limits.nodes)

    def _fits(self, size: int) -> None:
        if size > len(self._data) - self.at:
            raise MalformedError("truncated")

    def _skip(self, size: int) -> bytes:
        self._fits(size)
        self.at += size
        return self._data[self.at - size : self.at]

    def _text(self, size: int) -> bytes:
        text = self._skip(size)
        if not is_unicode(text):
            raise MalformedError("text is not valid UTF-8")
        return text

    def _float(self, size: int) -> None:
        [number] = struct.unpack(_FLOATS[size], self._skip(size))
        if not math.isfinite(number):
            raise MalformedError("a float must be finite")

    def _ext(self, size: int) -> None:
        if self.at >= len(self._data):
            raise MalformedError("truncated")
        code = self._data[self.at]
        self.at += 1
        check_ext(code, size)
        DECODERS[code](self._skip(size))

"""The five msgpack types of an envelope, each in its shortest form only (spec, "Encoding").

Values are read left to right from possibly hostile bytes. Of each header, the form is checked
first, then the limit, then that the announced bytes exist, all before anything is allocated for
them (E-6, E-7, E-8). Accepted values re-encode to the same bytes.
"""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import Final

from xkeymsg.errors import LimitExceededError, MalformedError

__all__ = (
    "NIL",
    "WireReader",
    "array_header",
    "bin_header",
    "encode_bin",
    "encode_str",
    "encode_uint",
    "read_bin",
)

NIL: Final = b"\xc0"


def encode_uint(value: int) -> bytes:
    """Encode an unsigned integer below 2^64."""
    if value < 0x80:
        return bytes([value])
    for tag, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        if value < 1 << 8 * size:
            return bytes([tag]) + value.to_bytes(size, "big")
    raise LimitExceededError("an unsigned integer", value, 2**64 - 1)


def _header(size: int, tags: tuple[tuple[int, int], ...]) -> bytes:
    for tag, width in tags:
        if size < 1 << 8 * width:
            return bytes([tag]) + size.to_bytes(width, "big")
    raise LimitExceededError("bytes or items of one value", size, 2**32 - 1)


_SHORT_BINS: Final = tuple(bytes((0xC4, size)) for size in range(256))
_bin_16: Final = Struct(">BH").pack


def bin_header(size: int) -> bytes:
    """Return the header of a bin of `size` bytes."""
    if size < 256:
        return _SHORT_BINS[size]
    return _bin_16(0xC5, size) if size < 65536 else _header(size, ((0xC6, 4),))


def array_header(count: int) -> bytes:
    """Return the header of an array of `count` items."""
    return bytes([0x90 | count]) if count < 16 else _header(count, ((0xDC, 2), (0xDD, 4)))


def encode_bin(data: bytes) -> bytes:
    """Encode bytes as a bin."""
    return bin_header(len(data)) + data


def encode_str(data: bytes) -> bytes:
    """Encode text, given as UTF-8, as a str."""
    size = len(data)
    if size < 32:
        return bytes([0xA0 | size]) + data
    return _header(size, ((0xD9, 1), (0xDA, 2), (0xDB, 4))) + data


_Forms = dict[int, tuple[int, int]]
"""Maps the first byte to the width of the length or value, and the least value that needs it."""

_UNKNOWN: Final = (0, 0)
_BIN_8: Final = 0xC4
_BIN: Final[_Forms] = {0xC4: (1, 0), 0xC5: (2, 1 << 8), 0xC6: (4, 1 << 16)}
_STR: Final[_Forms] = {0xD9: (1, 32), 0xDA: (2, 1 << 8), 0xDB: (4, 1 << 16)}
_ARRAY: Final[_Forms] = {0xDC: (2, 16), 0xDD: (4, 1 << 16)}
_UINT: Final[_Forms] = {
    0xCC: (1, 1 << 7),
    0xCD: (2, 1 << 8),
    0xCE: (4, 1 << 16),
    0xCF: (8, 1 << 32),
}


def read_bin(
    data: bytes, at: int, end: int, what: str, limit: int | None = None
) -> tuple[int, int]:
    """Return the span of the content of the bin at `at`; see `WireReader.read_bin`."""
    start = at + 2
    if start <= end and data[at] == _BIN_8:
        size = data[at + 1]
    else:
        width, least = _BIN.get(data[at], _UNKNOWN) if at < end else _UNKNOWN
        start = at + 1 + width
        size = int.from_bytes(data[at + 1 : start], "big")
        if not width or start > end or size < least:
            raise MalformedError("not a bin in its shortest form")
    if limit is not None and size > limit:
        raise LimitExceededError(f"bytes of {what}", size, limit)
    if size > end - start:
        raise MalformedError("cut short")
    return start, start + size


class WireReader:
    """Reads successive values from `data[at:end]`."""

    __slots__ = ("_data", "at", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self.at = at
        self.end = end

    def _take(self, size: int) -> int:
        """Skip `size` bytes and return their start."""
        start = self.at
        if size > self.end - start:
            raise MalformedError("cut short")
        self.at = start + size
        return start

    def _announced(self, size: int) -> int:
        """Skip the bytes that a header announced; subclasses check a limit here."""
        return self._take(size)

    def _next(self) -> int:
        """Return the next byte without consuming it."""
        if self.at >= self.end:
            raise MalformedError("cut short")
        return self._data[self.at]

    def _number(self, forms: _Forms, kind: str) -> int:
        """Read the number in a header or uint; refuse a form that is longer than necessary."""
        width, least = forms.get(self._next(), _UNKNOWN)
        if not width:
            raise MalformedError(f"not a {kind} in its shortest form")
        start = self._take(1 + width) + 1
        value = int.from_bytes(self._data[start : start + width], "big")
        if value < least:
            raise MalformedError(f"not a {kind} in its shortest form")
        return value

    def read_bin(self, what: str, limit: int | None = None) -> tuple[int, int]:
        """Skip a bin and return the span of its content.

        Raises:
            MalformedError: If the next value is not a bin in its shortest form, or is cut short.
            LimitExceededError: If it announces more than `limit` bytes.
        """
        span = read_bin(self._data, self.at, self.end, what, limit)
        self.at = span[1]
        return span

    def read_array(self, what: str, limit: int | None = None) -> int:
        """Read the header of an array and return the number of its items.

        Raises:
            MalformedError: If the next value is not an array in its shortest form.
            LimitExceededError: If it announces more than `limit` items.
        """
        tag = self._next()
        if tag & 0xF0 == 0x90:
            self.at += 1
            count = tag & 15
        else:
            count = self._number(_ARRAY, "array")
        if limit is not None and count > limit:
            raise LimitExceededError(f"number of {what}", count, limit)
        return count

    def read_str(self, what: str, limit: int | None = None) -> bytes:
        """Read a str and return its bytes, which are valid UTF-8.

        Raises:
            MalformedError: If the next value is not a str in its shortest form, is cut short, or is
                not UTF-8.
            LimitExceededError: If it announces more than `limit` bytes.
        """
        tag = self._next()
        if tag & 0xE0 == 0xA0:
            self.at += 1
            size = tag & 31
        else:
            size = self._number(_STR, "str")
        if limit is not None and size > limit:
            raise LimitExceededError(f"bytes of {what}", size, limit)
        text = self.raw(self._announced(size), self.at)
        with suppress(UnicodeDecodeError):
            text.decode()
            return text
        # Raised outside of the block: as our error's context, Python's would hold the plaintext.
        raise MalformedError("invalid UTF-8")

    def read_uint(self) -> int:
        """Read an unsigned integer in its shortest form.

        Raises:
            MalformedError: If the next value is not a uint in its shortest form.
        """
        if (tag := self._next()) < 0x80:
            self.at += 1
            return tag
        return self._number(_UINT, "uint")

    def read_nil(self) -> bool:
        """Skip nil, and return whether it was the next value."""
        if self.at < self.end and self._data[self.at] == 0xC0:
            self.at += 1
            return True
        return False

    def raw(self, start: int, end: int) -> bytes:
        """Return the bytes of a span."""
        return self._data[start:end]

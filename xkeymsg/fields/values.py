"""Values of a document, and the encoding of types that msgpack lacks (spec, "Documents").

The Python types are `None`, `bool`, `int`, `float`, `str`, `bytes`, `Decimal`, `datetime` with an
offset, `UUID`, `list` and `dict`. Subclasses are refused, so that exact types round-trip.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from xkeymsg.errors import LimitExceededError, MalformedError

__all__ = (
    "DECODERS",
    "EXT_SIZES",
    "MAX_DIGITS",
    "WITHHELD",
    "check_ext",
    "encode_ext",
    "is_native",
)

MAX_DIGITS: Final = 4300
MAX_EXPONENT: Final = 6176
_MOST: Final = 10**MAX_DIGITS

INTEGER, DECIMAL, TIME, IDENTIFIER = 1, 2, 3, 4

EXT_SIZES: Final = {INTEGER: 1786, DECIMAL: 4307, TIME: 12, IDENTIFIER: 16}
"""The maximum or, for fixed sizes, the exact bytes of data, by ext code."""

_DECIMAL: Final = re.compile(rb"-?(0|[1-9][0-9]*)E(0|-?[1-9][0-9]*)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999
_MAX_OFFSET: Final = 86_399
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)


class _Withheld:
    """A singleton that replaces a list item that this reader may not see."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "WITHHELD"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "WITHHELD"


WITHHELD: Final = _Withheld()
"""Replaces an item of an opened list that this reader may not see (F-56, F-57)."""


def is_native(value: int) -> bool:
    """Return whether an integer has a native msgpack type."""
    return -(1 << 63) <= value < 1 << 64


def encode_ext(value: Any) -> tuple[int, bytes]:
    """Return the ext code and data of a value without a native msgpack type.

    Raises:
        MalformedError: If a document cannot hold the value (F-2 to F-4).
        LimitExceededError: If a number has too many digits (F-5).
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise MalformedError(f"a document cannot hold a {type(value).__name__}")
    return encoder(value)


def _encode_integer(value: int) -> tuple[int, bytes]:
    if not -_MOST < value < _MOST:
        raise LimitExceededError("digits of an integer", MAX_DIGITS + 1, MAX_DIGITS)
    return INTEGER, value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


def _encode_decimal(value: Decimal) -> tuple[int, bytes]:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise MalformedError("a Decimal must be finite")
    text = "".join(map(str, digits)).lstrip("0") or "0"
    if len(text) > MAX_DIGITS:
        raise LimitExceededError("digits of a Decimal", len(text), MAX_DIGITS)
    if abs(exponent) > MAX_EXPONENT:
        raise LimitExceededError("exponent of a Decimal", abs(exponent), MAX_EXPONENT)
    return DECIMAL, f"{'-' * sign}{text}E{exponent}".encode()


def _encode_time(value: datetime) -> tuple[int, bytes]:
    offset = value.utcoffset()
    if offset is None:
        raise MalformedError("a time requires a UTC offset")
    seconds, rest = divmod(offset, _SECOND)
    if rest or abs(seconds) > _MAX_OFFSET:
        raise MalformedError("the UTC offset of a time must be whole seconds, and less than a day")
    # Not through UTC, which Python cannot represent for the first and last day of its range.
    wall = (value.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
    instant = wall - seconds * 1_000_000
    if not _FIRST_US <= instant <= _LAST_US:
        raise MalformedError("a time must be within the years 1 to 9999")
    return TIME, instant.to_bytes(8, "big", signed=True) + seconds.to_bytes(4, "big", signed=True)


_ENCODERS: Final[dict[type, Callable[[Any], tuple[int, bytes]]]] = {
    int: _encode_integer,
    Decimal: _encode_decimal,
    datetime: _encode_time,
    UUID: lambda value: (IDENTIFIER, value.bytes),
}


def check_ext(code: int, size: int) -> None:
    """Check the header of an ext: its code, and the announced size of its data.

    Raises:
        MalformedError: If the code is unknown (F-8), or the size is invalid (F-13, F-17, F-19).
        LimitExceededError: If it is too large (F-14, F-15).
    """
    most = EXT_SIZES.get(code)
    if most is None:
        raise MalformedError("unknown extension type")
    if (code in (TIME, IDENTIFIER) and size != most) or (code == INTEGER and size < 9):
        raise MalformedError("invalid length for an extension type")
    if size > most:
        raise LimitExceededError("bytes of a number", size, most)


def _decode_integer(data: bytes) -> int:
    value = int.from_bytes(data, "big", signed=True)
    # If the first nine bits are equal, the first byte is redundant.
    if is_native(value) or (data[0] in (0, 255) and data[0] >> 7 == data[1] >> 7):
        raise MalformedError("an integer is not in its shortest form")
    if not -_MOST < value < _MOST:
        raise LimitExceededError("digits of an integer", MAX_DIGITS + 1, MAX_DIGITS)
    return value


def _decode_decimal(data: bytes) -> Decimal:
    if not _DECIMAL.fullmatch(data):
        raise MalformedError("invalid encoding of a Decimal")
    digits, _, exponent = data.decode().partition("E")
    count = len(digits.lstrip("-"))
    if count > MAX_DIGITS:
        raise LimitExceededError("digits of a Decimal", count, MAX_DIGITS)
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        raise LimitExceededError("digits of an exponent", len(exponent), 4)
    sign = digits.startswith("-")
    return Decimal((int(sign), tuple(map(int, digits.lstrip("-"))), int(exponent)))


def _decode_time(data: bytes) -> datetime:
    instant = int.from_bytes(data[:8], "big", signed=True)
    seconds = int.from_bytes(data[8:], "big", signed=True)
    wall = instant + seconds * 1_000_000
    if abs(seconds) > _MAX_OFFSET or not (
        _FIRST_US <= instant <= _LAST_US and _FIRST_US <= wall <= _LAST_US
    ):
        raise MalformedError("a time or its offset is out of range")
    zone = timezone(timedelta(seconds=seconds)) if seconds else UTC
    return (_EPOCH + timedelta(microseconds=wall)).replace(tzinfo=zone)


DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    INTEGER: _decode_integer,
    DECIMAL: _decode_decimal,
    TIME: _decode_time,
    IDENTIFIER: lambda data: UUID(bytes=data),
}
"""Decoders by ext code, for data whose size `check_ext` has accepted."""

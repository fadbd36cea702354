"""The ext types of docs/spec/fields.md: long integers, Decimals, times and UUIDs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final
from uuid import UUID

from tests.reference.fields_model import (
    EARLIEST,
    LATEST,
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_OFFSET,
    TOO_BIG,
    exceeded,
    malformed,
)

INTEGER: Final = 1
DECIMAL: Final = 2
TIME: Final = 3
IDENTIFIER: Final = 4
MIN_INTEGER_BYTES: Final = 9
MAX_INTEGER_BYTES: Final = 1_786
MAX_DECIMAL_BYTES: Final = 4_307

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
DECIMAL_FORM: Final = re.compile(rb"(-?)(0|[1-9][0-9]*)E(0|-?[1-9][0-9]*)")


def check_length(code: int, k: int) -> None:
    """Check the header of an ext alone: code and fixed length, then limits (F-29)."""
    if code not in (INTEGER, DECIMAL, TIME, IDENTIFIER):
        raise malformed("F-8")
    if code == INTEGER and k < MIN_INTEGER_BYTES:
        raise malformed("F-13")
    if code == TIME and k != 12:
        raise malformed("F-17")
    if code == IDENTIFIER and k != 16:
        raise malformed("F-19")
    if code == INTEGER and k > MAX_INTEGER_BYTES:
        raise exceeded("F-14")
    if code == DECIMAL and k > MAX_DECIMAL_BYTES:
        raise exceeded("F-15")


def integer(data: bytes) -> int:
    value = int.from_bytes(data, "big", signed=True)
    if int.from_bytes(data[:2], "big") >> 7 in (0, 0x1FF):
        raise malformed("F-13")
    if -(2**63) <= value < 2**64:
        raise malformed("F-13")
    if abs(value) >= TOO_BIG:
        raise exceeded("F-14")
    return value


def integer_data(value: int) -> bytes:
    size = 9
    while not -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
        size += 1
    return value.to_bytes(size, "big", signed=True)


def decimal(data: bytes) -> Decimal:
    form = DECIMAL_FORM.fullmatch(data)
    if form is None:
        raise malformed("F-16")
    sign, digits, exponent = form.groups()
    if len(digits) > MAX_DIGITS or len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        raise exceeded("F-15")
    return Decimal((int(bool(sign)), tuple(byte - 0x30 for byte in digits), int(exponent)))


def decimal_data(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    return f"{'-' * sign}{''.join(map(str, digits))}E{exponent}".encode()


def in_range(instant: int, offset: int) -> bool:
    wall = instant + offset * 10**6
    return (
        abs(offset) <= MAX_OFFSET and EARLIEST <= instant <= LATEST and EARLIEST <= wall <= LATEST
    )


def time(data: bytes) -> datetime:
    instant = int.from_bytes(data[:8], "big", signed=True)
    offset = int.from_bytes(data[8:], "big", signed=True)
    if not in_range(instant, offset):
        raise malformed("F-18")
    wall = EPOCH + (instant + offset * 10**6) * MICROSECOND
    return wall.replace(tzinfo=timezone(timedelta(seconds=offset)))


def instant_and_offset(value: datetime) -> tuple[int, int]:
    """Return a time that may be sealed as its instant and offset (F-4)."""
    offset = value.utcoffset()
    if offset is None or offset % timedelta(seconds=1):
        raise malformed("F-4")
    seconds = offset // timedelta(seconds=1)
    wall = (value.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
    instant = wall - seconds * 10**6
    if not in_range(instant, seconds):
        raise malformed("F-4")
    return instant, seconds


def time_data(value: datetime) -> bytes:
    instant, offset = instant_and_offset(value)
    return instant.to_bytes(8, "big", signed=True) + offset.to_bytes(4, "big", signed=True)


def identifier(data: bytes) -> UUID:
    return UUID(bytes=data)


READ: Final[dict[int, Callable[[bytes], object]]] = {
    INTEGER: integer,
    DECIMAL: decimal,
    TIME: time,
    IDENTIFIER: identifier,
}

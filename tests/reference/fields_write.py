"""Writes values and plaintexts in the shortest forms (docs/spec/fields.md, Encoding of values)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from tests.reference import fields_scalars as scalars
from tests.reference.encoding import array, binary, string, uint
from tests.reference.fields_model import Document, Pair, Path

FIXED_EXT: Final = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}


def integer(value: int) -> bytes:
    if not -(2**63) <= value < 2**64:
        return ext(scalars.INTEGER, scalars.integer_data(value))
    if value >= 0:
        return uint(value)
    if value >= -32:
        return value.to_bytes(1, "big", signed=True)
    first, width = next(
        (first, width)
        for first, width in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8))
        if value >= -(1 << 8 * width - 1)
    )
    return bytes([first]) + value.to_bytes(width, "big", signed=True)


def ext(code: int, data: bytes) -> bytes:
    """Write an ext of any code and data in shortest form."""
    k = len(data)
    behind = bytes([code & 0xFF]) + data
    if k in FIXED_EXT:
        return bytes([FIXED_EXT[k]]) + behind
    first, width = next(
        (first, width) for first, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)) if k < 256**width
    )
    return bytes([first]) + k.to_bytes(width, "big") + behind


def map_of(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write a map of encoded names and values."""
    encoded = [name + value for name, value in members]
    k = len(encoded)
    if k < 16:
        head = bytes([0x80 + k])
    elif k < 2**16:
        head = b"\xde" + k.to_bytes(2, "big")
    else:
        head = b"\xdf" + k.to_bytes(4, "big")
    return head + b"".join(encoded)


SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"\xc0",
    bool: lambda value: b"\xc3" if value else b"\xc2",
    int: integer,
    float: lambda value: b"\xcb" + struct.pack(">d", value),
    str: string,
    bytes: binary,
    Decimal: lambda value: ext(scalars.DECIMAL, scalars.decimal_data(value)),
    datetime: lambda value: ext(scalars.TIME, scalars.time_data(value)),
    UUID: lambda value: ext(scalars.IDENTIFIER, value.bytes),
}


def scalar(value: object) -> bytes:
    return SCALARS[type(value)](value)


def encode(value: Document) -> bytes:
    """Write a value that has been checked."""
    if isinstance(value, list):
        return array(map(encode, value))
    if isinstance(value, dict):
        return map_of((string(name), encode(item)) for name, item in value.items())
    return scalar(value)


def path_of(path: Path) -> bytes:
    return array(map(scalar, path))


def plaintext(pairs: Iterable[Pair]) -> bytes:
    """Write the plaintext of a part."""
    return array(array([path_of(path), encode(value)]) for path, value in pairs)

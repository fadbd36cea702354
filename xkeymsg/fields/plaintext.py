"""The plaintext of a part: pairs of path and value, in msgpack (spec, "The plaintext of a part").

The only module that imports msgpack. What is read may be hostile, though its sender is proven:
`scan` goes over the bytes and builds nothing, so that what is built afterwards is bounded (F-27). A
short plaintext whose headers cannot announce much is built at once; what is wrong with it, if
anything, is then found by the scan, in the order that the specification gives (F-29).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from xkeymsg.errors import XKeyMsgError
from xkeymsg.fields.scan import Counts, scan
from xkeymsg.fields.values import DECODERS, check_ext, encode_ext, is_native
from xkeymsg.limits import Limits

__all__ = ("Pair", "pack", "unpack")

Pair = tuple[Sequence[str | int], Any]
"""A path and the value at its end."""

_PER_BYTE: Final = 30
"""How many nodes one byte announces at most, if it is no header of a long container."""
_LONG: Final = 4096
"""How many items a long container has at most, in what is built without a scan."""

_LONG_HEADERS: Final = re.compile(rb"[\xdc-\xdf]")
_NO_VALUE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|[\xd6\xd7]\xff|\xc7\x0c\xff")
"""What might be a float that is not finite, or a timestamp of msgpack, which is no value (F-8)."""
_BIN: Final = re.compile(rb"[\xc4-\xc6]")
"""What might be a bin, which cannot be a name."""
_TEXT: Final = {str}
_NESTED: Final = {dict, list}
_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))


def pack(pairs: Sequence[Pair]) -> bytes:
    """Encode the pairs of a part; their values have been checked.

    Raises:
        MalformedError: If a value is of no kind that a document can hold.
        LimitExceededError: If a number has too many digits.
    """
    try:
        packed = msgpack.packb(pairs, default=_pack_ext, strict_types=False)
    except OverflowError:  # an integer beyond 64 bits, which msgpack does not ask about
        packed = msgpack.packb(_with_ext(list(pairs)), default=_pack_ext)
    return bytes(packed)


def _pack_ext(value: object) -> msgpack.ExtType:
    return msgpack.ExtType(*encode_ext(value))


def _with_ext(value: Any) -> Any:
    """Copy a value with what msgpack cannot hold as ext."""
    match value:
        case dict():
            return {name: _with_ext(member) for name, member in value.items()}
        case list() | tuple():
            return [_with_ext(item) for item in value]
        case bool():
            return value
        case int() if not is_native(value):
            return _pack_ext(value)
    return value


def unpack(plaintexts: Sequence[bytes], limits: Limits) -> list[list[Pair]]:
    """Decode the plaintexts of all granted parts, in ascending order; their bytes are the sender's.

    Raises:
        MalformedError: If one of them is not the plaintext of a part.
        LimitExceededError: If they are together more than the limits allow.
    """
    # Every node has a byte of its own at least.
    if sum(map(len, plaintexts)) <= limits.nodes:
        parts = [_unpack_short(plaintext, limits) for plaintext in plaintexts]
        sure = [pairs for pairs in parts if pairs is not None]
        if len(sure) == len(parts) and sum(map(len, sure)) <= limits.fields:
            return sure
    counts = Counts()
    for plaintext in plaintexts:
        scan(plaintext, limits, counts)
    return [_build(plaintext, len(plaintext)) for plaintext in plaintexts]


def _unpack_short(plaintext: bytes, limits: Limits) -> list[Pair] | None:
    """Build at once what is small and plainly right; None where that is not certain."""
    announced = _PER_BYTE * len(plaintext)
    if announced > limits.nodes:
        return None
    announced += 2 * _LONG * len(_LONG_HEADERS.findall(plaintext))
    if announced > limits.nodes or _NO_VALUE.search(plaintext):
        return None
    try:
        pairs: Any = _build(plaintext, _LONG)
        # What encodes to the same bytes has no name twice: one of the two would be gone.
        same = type(pairs) is list and bool(pairs) and pack(pairs) == plaintext
    except (XKeyMsgError, ValueError, RecursionError):
        return None
    if not same or not all(map(_is_pair, pairs)):
        return None
    # One byte is one container at most, so that few of these bytes are no deep nesting.
    containers = len(plaintext) - len(plaintext.translate(None, _CONTAINERS))
    longest = max(len(path) for path, _ in pairs)
    if containers + longest <= limits.depth and not _BIN.search(plaintext):
        return list(pairs)
    return list(pairs) if _is_sound(pairs, limits.depth) else None


def _build(plaintext: bytes, longest: int) -> Any:
    return msgpack.unpackb(
        plaintext,
        strict_map_key=True,
        ext_hook=_unpack_ext,
        max_array_len=longest,
        max_map_len=longest,
    )


def _unpack_ext(code: int, data: bytes) -> Any:
    check_ext(code, len(data))
    return DECODERS[code](data)


def _is_pair(pair: object) -> bool:
    if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not list:
        return False
    return all(
        type(segment) is str or (type(segment) is int and 0 <= segment < 1 << 64)
        for segment in pair[0]
    )


def _is_sound(pairs: list[Pair], depth: int) -> bool:
    """Tell whether nothing is deeper than the limit, and every name is text; level by level."""
    for path, value in pairs:
        level, left = [value], depth - len(path)
        while level := [each for each in level if type(each) in _NESTED]:
            left -= 1
            names = [name for each in level if type(each) is dict for name in each]
            if left < 0 or not {*map(type, names)} <= _TEXT:
                return False
            level = [
                item for each in level for item in (each.values() if type(each) is dict else each)
            ]
        if len(path) > depth:
            return False
    return True

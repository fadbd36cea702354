"""The plaintext of a part: pairs of path and value, in msgpack (spec, "The plaintext of a part").

The only module that imports msgpack. Input may be hostile, although its sender is authenticated:
`scan` checks the bytes without building objects, so that decoding is bounded afterwards (F-27). A
plaintext whose headers cannot announce much is decoded at once; if anything in it is suspicious,
the scan decides, and finds faults in the order that the specification gives (F-29).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain
from sys import getrefcount
from typing import Any, Final

import msgpack

from xkeymsg.errors import XKeyMsgError
from xkeymsg.fields.scan import Counts, scan
from xkeymsg.fields.values import DECODERS, check_ext, encode_ext
from xkeymsg.limits import Limits

__all__ = ("Pair", "pack", "unpack")

Pair = list[Any]
"""Two items: a path, which is a list of names and indices, and the value at its end."""

_PER_BYTE: Final = 30
"""Maximum nodes announced by one byte that may be a short container header."""
_LONG: Final = 4096
"""Maximum items of a long container that is decoded without a scan."""

_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
_ODD: Final = b"\x7f\xff\xdc\xdd\xde\xdf"
"""Long containers, non-finite floats and msgpack timestamps contain at least one of these bytes."""
_LONG_HEADERS: Final = (b"\xdc", b"\xdd", b"\xde", b"\xdf")
_EMPTY_BIN: Final = b"\xc4\x00"
_TIMESTAMPS: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""Possible headers of a msgpack timestamp, which is not a valid value (F-8)."""
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_LISTS: Final = {list}
_TWO: Final = {2}
_TEXTS: Final = {str}
_PAST_INDEX: Final = 1 << 64
_MAPS: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
_ARRAYS: Final = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
_STRS: Final = frozenset((*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB))
"""First bytes of maps, arrays and texts."""
_IMMORTAL: Final = 1 << 30
"""Reference counts above this belong to objects that are never freed."""

_MOST_KEPT: Final = 1 << 18

_packers: list[msgpack.Packer] = []
"""Idle packers: a packer serves one thread at a time."""


def pack(pairs: Sequence[Pair]) -> bytes:
    """Encode the pairs of a part; containers and floats must have been checked.

    Raises:
        MalformedError: If a value has an unsupported type.
        LimitExceededError: If a number has too many digits.
        UnicodeEncodeError: If a text or a name has a lone surrogate.
    """
    try:
        packer = _packers.pop()
    except IndexError:
        packer = msgpack.Packer(default=_pack_ext, strict_types=True)
    packed: bytes = packer.pack(pairs)
    if len(packed) <= _MOST_KEPT:  # its buffer never shrinks
        _packers.append(packer)
    return packed


def _pack_ext(value: object) -> msgpack.ExtType:
    """Encode a value without a native msgpack type, such as an integer beyond 64 bits."""
    return msgpack.ExtType(*encode_ext(value))


def unpack(plaintexts: Sequence[bytes], limits: Limits) -> list[list[Pair]]:
    """Decode the untrusted plaintexts of all granted parts, in ascending order.

    Raises:
        MalformedError: If a plaintext is invalid.
        LimitExceededError: If all plaintexts together exceed a limit.
    """
    # Every node has at least one byte of its own.
    if sum(map(len, plaintexts)) <= limits.nodes:
        sure: list[list[Pair]] = []
        for plaintext in plaintexts:
            pairs = _unpack_short(plaintext, limits)
            if pairs is None:
                break
            sure.append(pairs)
        if len(sure) == len(plaintexts) and sum(map(len, sure)) <= limits.fields:
            return sure
    counts = Counts()
    for plaintext in plaintexts:
        scan(plaintext, limits, counts)
    return [_build(plaintext) for plaintext in plaintexts]


def _unpack_short(plaintext: bytes, limits: Limits) -> list[Pair] | None:
    """Decode a small plaintext that is certainly valid without a scan; else return None."""
    size = len(plaintext)
    odd = size - len(plaintext.translate(None, _ODD))
    containers = size - len(plaintext.translate(None, _CONTAINERS))
    if not _is_bounded(plaintext, containers, odd, limits.nodes):
        return None
    try:
        pairs, bins = _read_short(plaintext)
        # If it encodes to the same bytes, no name is duplicate: decoding drops one of two.
        same = type(pairs) is list and pack(pairs) == plaintext
    except (XKeyMsgError, ValueError, RecursionError):
        return None
    longest = _longest_path(pairs) if same else None
    if longest is None or longest > limits.depth:
        return None
    # One byte is at most one container; the outer array, pairs and paths are not in values.
    may_be_deep = longest + containers - 1 - 2 * len(pairs) > limits.depth
    suspect = bins or (odd and _is_suspect(plaintext))
    if (may_be_deep and not _are_shallow(pairs, limits.depth)) or (
        suspect and not _is_sound(pairs)
    ):
        return None
    return pairs


def _read_short(plaintext: bytes) -> tuple[list[Pair], bool]:
    """Decode a plaintext; also return whether it may contain bytes, which must not be names."""
    try:
        return _build_without_bins(plaintext), _EMPTY_BIN in plaintext
    except ValueError:
        return _build_short(plaintext), True


def _is_bounded(plaintext: bytes, containers: int, odd: int, nodes: int) -> bool:
    """Return whether the headers cannot announce more than `nodes` nodes."""
    left = nodes - _PER_BYTE * containers
    # Assume that all odd bytes are headers of long containers; count those only if necessary.
    return 2 * _LONG * odd <= left or 2 * _LONG * sum(map(plaintext.count, _LONG_HEADERS)) <= left


def _is_suspect(plaintext: bytes) -> bool:
    """Return whether msgpack might decode an invalid value: a timestamp or non-finite float."""
    if b"\xff" not in plaintext and b"\x7f" not in plaintext:
        return False
    times = any(map(plaintext.__contains__, _TIMESTAMPS))
    return times or _NOT_FINITE.search(plaintext) is not None


def _longest_path(pairs: list[Any]) -> int | None:
    """Return the length of the longest path; None if the pairs or paths are invalid."""
    # Sets and builtins instead of loops, for speed: a document may have dozens of pairs.
    if {*map(type, pairs)} != _LISTS or {*map(len, pairs)} != _TWO:
        return None
    paths = [path for path, _ in pairs]
    if {*map(type, paths)} != _LISTS:
        return None
    names_only = _TEXTS.issuperset(map(type, chain.from_iterable(paths)))
    return max(map(len, paths)) if names_only or all(map(_is_path, paths)) else None


def _is_path(path: list[Any]) -> bool:
    for segment in path:
        if type(segment) is not str and not (type(segment) is int and 0 <= segment < _PAST_INDEX):
            return False
    return True


def _are_shallow(pairs: list[Pair], depth: int) -> bool:
    """Return whether containers, including those of the path, nest at most `depth` deep."""
    for path, value in pairs:
        left = depth - len(path)
        level = [value] if type(value) is dict or type(value) is list else []
        while level:
            if not left:
                return False
            left -= 1
            level = [
                each
                for above in level
                for each in (above.values() if type(above) is dict else above)
                if type(each) is dict or type(each) is list
            ]
    return True


def _is_sound(value: Any) -> bool:
    """Return whether all names and values in a value of bounded depth are valid."""
    kind = type(value)
    if kind is dict:
        return _TEXTS.issuperset(map(type, value)) and all(map(_is_sound, value.values()))
    if kind is list:
        return all(map(_is_sound, value))
    return math.isfinite(value) if kind is float else kind is not msgpack.Timestamp


def _unpack_ext(code: int, data: bytes) -> Any:
    check_ext(code, len(data))
    return DECODERS[code](data)


def _unpack_apart(packed: bytes, **options: Any) -> Any:
    """Decode like `msgpack.unpackb`, but read map names one by one, so that none is interned.

    Raises:
        ValueError: As for `unpackb`.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(packed), 1), **options)
    unpacker.feed(packed)
    try:
        value = _next_apart(unpacker, packed)
    except (msgpack.OutOfData, IndexError):
        value = unpacker = None
    if unpacker is None or unpacker.tell() != len(packed):
        raise ValueError("truncated, or trailing bytes")
    return value


def _next_apart(unpacker: msgpack.Unpacker, packed: bytes) -> Any:
    first = packed[unpacker.tell()]
    if first in _MAPS:
        members = {}
        for _ in range(unpacker.read_map_header()):
            if packed[unpacker.tell()] not in _STRS:
                raise ValueError("a name is not text")
            name = unpacker.unpack()
            members[name] = _next_apart(unpacker, packed)
        return members
    if first in _ARRAYS:
        return [_next_apart(unpacker, packed) for _ in range(unpacker.read_array_header())]
    return unpacker.unpack()


def _interns_forever() -> bool:
    """Return whether map names decoded by `unpackb` stay in memory until the process ends.

    It interns them, and CPython 3.12 and free-threaded builds never free interned strings: any
    admitted sender could exhaust a reader's memory.
    """
    [name] = msgpack.unpackb(b"\x81\xafxkm1 not a name\xc0")
    return getrefcount(name) > _IMMORTAL


_unpackb: Final = _unpack_apart if _interns_forever() else msgpack.unpackb
_build: Final = partial(_unpackb, strict_map_key=True, ext_hook=_unpack_ext)
_build_short: Final = partial(_build, max_array_len=_LONG, max_map_len=_LONG)
_build_without_bins: Final = partial(_build_short, max_bin_len=0)
"""Raises ValueError if the plaintext contains non-empty bytes."""

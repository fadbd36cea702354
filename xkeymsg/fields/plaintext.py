"""The plaintext of a part: pairs of path and value, in msgpack (spec, "The plaintext of a part").

The only module that imports msgpack. What is read may be hostile, though its sender is proven:
`scan` goes over the bytes and builds nothing, so that what is built afterwards is bounded (F-27). A
plaintext whose headers cannot announce much is built at once; where anything is odd about it,
what is wrong, if anything, is found by the scan, in the order that the specification gives (F-29).
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
"""How many nodes a byte announces at most that may be the header of a container, no long one."""
_LONG: Final = 4096
"""How many items a long container has at most, in what is built without a scan."""

_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
_ODD: Final = b"\x7f\xff\xdc\xdd\xde\xdf"
"""Without these bytes there is no long container, no float that is not finite, and no timestamp of
msgpack."""
_LONG_HEADERS: Final = (b"\xdc", b"\xdd", b"\xde", b"\xdf")
_EMPTY_BIN: Final = b"\xc4\x00"
_TIMESTAMPS: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""What might be a timestamp of msgpack, which is no value (F-8)."""
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
"""References that no object has, but one that is never freed."""

_MOST_KEPT: Final = 1 << 18

_packers: list[msgpack.Packer] = []
"""Those that nobody uses just now: a packer serves one thread at a time."""


def pack(pairs: Sequence[Pair]) -> bytes:
    """Encode the pairs of a part, of which containers and floats have been checked.

    Raises:
        MalformedError: If a value is of no kind that a document can hold.
        LimitExceededError: If a number has too many digits.
        UnicodeEncodeError: If a text or a name has a lone surrogate.
    """
    try:
        packer = _packers.pop()
    except IndexError:
        packer = msgpack.Packer(default=_pack_ext, strict_types=True)
    packed: bytes = packer.pack(pairs)
    if len(packed) <= _MOST_KEPT:  # its buffer stays as large as its largest plaintext
        _packers.append(packer)
    return packed


def _pack_ext(value: object) -> msgpack.ExtType:
    """Encode what msgpack has no type for: integers beyond 64 bits among it."""
    return msgpack.ExtType(*encode_ext(value))


def unpack(plaintexts: Sequence[bytes], limits: Limits) -> list[list[Pair]]:
    """Decode the plaintexts of all granted parts, in ascending order; their bytes are the sender's.

    Raises:
        MalformedError: If one of them is not the plaintext of a part.
        LimitExceededError: If they are together more than the limits allow.
    """
    # Every node has a byte of its own at least.
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
    """Build at once what is small and plainly right; None where that is not certain."""
    size = len(plaintext)
    odd = size - len(plaintext.translate(None, _ODD))
    containers = size - len(plaintext.translate(None, _CONTAINERS))
    if not _is_bounded(plaintext, containers, odd, limits.nodes):
        return None
    try:
        pairs, bins = _read_short(plaintext)
        # What encodes to the same bytes has no name twice: one of the two would be gone.
        same = type(pairs) is list and pack(pairs) == plaintext
    except (XKeyMsgError, ValueError, RecursionError):
        return None
    longest = _longest_path(pairs) if same else None
    if longest is None or longest > limits.depth:
        return None
    # One byte is one container at most; the outer array, pairs and paths are not in values.
    may_be_deep = longest + containers - 1 - 2 * len(pairs) > limits.depth
    suspect = bins or (odd and _is_suspect(plaintext))
    if (may_be_deep and not _are_shallow(pairs, limits.depth)) or (
        suspect and not _is_sound(pairs)
    ):
        return None
    return pairs


def _read_short(plaintext: bytes) -> tuple[list[Pair], bool]:
    """Build a plaintext, and tell whether bytes are in it, which cannot be names."""
    try:
        return _build_without_bins(plaintext), _EMPTY_BIN in plaintext
    except ValueError:
        return _build_short(plaintext), True


def _is_bounded(plaintext: bytes, containers: int, odd: int, nodes: int) -> bool:
    """Tell whether the headers, whatever they announce, announce no more than so many nodes."""
    left = nodes - _PER_BYTE * containers
    # Of the odd bytes, all might be headers of long containers; only if that is too much, count.
    return 2 * _LONG * odd <= left or 2 * _LONG * sum(map(plaintext.count, _LONG_HEADERS)) <= left


def _is_suspect(plaintext: bytes) -> bool:
    """Tell whether there might be what is built, but is no value."""
    if b"\xff" not in plaintext and b"\x7f" not in plaintext:
        return False
    times = any(map(plaintext.__contains__, _TIMESTAMPS))
    return times or _NOT_FINITE.search(plaintext) is not None


def _longest_path(pairs: list[Any]) -> int | None:
    """Return the length of the longest path; None unless there are pairs, each with a path."""
    # By sets, and with loops written out: a document may have dozens of pairs.
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
    """Tell whether at most `depth` containers are one in another, those of the path included."""
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
    """Tell whether names are text, and values values, where nothing is too deep."""
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
    """Decode like `msgpack.unpackb`, but read the names in maps apart, which are not interned then.

    Raises:
        ValueError: As `unpackb`.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(packed), 1), **options)
    unpacker.feed(packed)
    try:
        value = _next_apart(unpacker, packed)
    except (msgpack.OutOfData, IndexError):
        value = unpacker = None
    if unpacker is None or unpacker.tell() != len(packed):
        raise ValueError("incomplete, or something follows")
    return value


def _next_apart(unpacker: msgpack.Unpacker, packed: bytes) -> Any:
    first = packed[unpacker.tell()]
    if first in _MAPS:
        members = {}
        for _ in range(unpacker.read_map_header()):
            if packed[unpacker.tell()] not in _STRS:
                raise ValueError("a name that is not text")
            name = unpacker.unpack()
            members[name] = _next_apart(unpacker, packed)
        return members
    if first in _ARRAYS:
        return [_next_apart(unpacker, packed) for _ in range(unpacker.read_array_header())]
    return unpacker.unpack()


def _interns_forever() -> bool:
    """Tell whether names in maps that `unpackb` decodes stay in memory until the process ends.

    It interns them, and CPython 3.12, and builds without the GIL, never free what is interned:
    everybody who may send would make a reader grow.
    """
    [name] = msgpack.unpackb(b"\x81\xafxkm1 not a name\xc0")
    return getrefcount(name) > _IMMORTAL


_unpackb: Final = _unpack_apart if _interns_forever() else msgpack.unpackb
_build: Final = partial(_unpackb, strict_map_key=True, ext_hook=_unpack_ext)
_build_short: Final = partial(_build, max_array_len=_LONG, max_map_len=_LONG)
_build_without_bins: Final = partial(_build_short, max_bin_len=0)
"""Raises ValueError where bytes are in it that are not empty."""

"""The outer form of an envelope: the places of its elements (spec, "Envelope").

    "xkm1" || 0x96 || bin(head) || bin(tags) || array(views) || array(parts)
           || bin(signature) || bin(wraps)

A reader parses it in two steps: first the head, the tags and the place of the wraps, which suffice
to verify its wrap; then, only if that wrap verified, the views, parts and signature (E-40).
"""

from __future__ import annotations

import operator
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from xkeymsg import wire
from xkeymsg.envelope.content import PADDED, PartType
from xkeymsg.errors import LimitExceededError, MalformedError, UnsupportedVersionError
from xkeymsg.limits import MAX_HEAD, Limits

__all__ = (
    "COMMIT_SIZE",
    "GRANT_SIZE",
    "KINDS",
    "MAGIC",
    "ONE_PART",
    "PART_OVERHEAD",
    "TAG_SIZE",
    "UNSIGNED",
    "VIEW_OVERHEAD",
    "WRAP_SIZE",
    "Body",
    "FramePart",
    "Span",
    "find_tag",
    "locate_head",
    "locate_wraps",
    "parse_body",
)

MAGIC: Final = b"xkm1"
_START: Final = MAGIC + b"\x96"
TAG_SIZE: Final = 8
WRAP_SIZE: Final = 49
COMMIT_SIZE: Final = 32
PART_OVERHEAD: Final = 49
"""Type, commitment and tag of a part."""
VIEW_OVERHEAD: Final = 48
"""Commitment and tag of a view."""
GRANT_SIZE: Final = 33
"""Index and content key of one part in a view."""

_new: Final = tuple.__new__
"""`_new(Class, (…))` makes a NamedTuple in half of the time; every message needs some."""

Span = tuple[int, int]
"""Start and end of an element in the envelope."""

ONE_PART: Final = wire.array_header(0) + wire.array_header(1)
"""No views, and one part."""
UNSIGNED: Final = wire.encode_bin(b"")
KINDS: Final = {kind + pad: PartType(kind) for kind in PartType for pad in (0, PADDED)}
_PAYLOADS: Final = {
    byte: kind for byte, kind in KINDS.items() if kind in (PartType.PAYLOAD, PartType.MESSAGE)
}


def locate_head(data: bytes, limits: Limits) -> Span:
    """Return the span of the head.

    Raises:
        LimitExceededError: If the envelope, or the head, is too long (E-10, E-14).
        UnsupportedVersionError: If it is another version of the format (E-11).
        MalformedError: If the magic is wrong (E-12).
    """
    if len(data) > limits.envelope:
        raise LimitExceededError("bytes of the envelope", len(data), limits.envelope)
    if not data.startswith(_START):
        if data[:3] == MAGIC[:3] and len(data) >= 4 and data[3:4] != MAGIC[3:]:
            raise UnsupportedVersionError("another version of the xkm format")
        raise MalformedError("not an xkm1 envelope: bad magic")
    return wire.read_bin(data, len(_START), len(data), "the head", MAX_HEAD)


def locate_wraps(data: bytes, at: int, limits: Limits) -> tuple[bytes, int, int, int]:
    """Read the tags, which follow the head at `at`, and find the wraps from the end.

    Returns:
        The tags, the start and the end of the body, and the start of the wraps, which authenticate
        everything before it.

    Raises:
        LimitExceededError: If there are too many recipients (E-30).
        MalformedError: If the tags are malformed (E-31, E-32), or the wraps do not match them
            (E-33, E-34).
    """
    start, end = wire.read_bin(data, at, len(data), "the tags", TAG_SIZE * limits.recipients)
    tags = data[start:end]
    size, header = _wraps_of(tags)
    wraps = len(data) - size
    body_end = wraps - len(header)
    if body_end < end or data[body_end:wraps] != header:
        raise MalformedError("the wraps do not match the tags")
    return tags, end, body_end, wraps


@lru_cache(maxsize=256)
def _wraps_of(tags: bytes) -> tuple[int, bytes]:
    """Return the size of the wraps for these tags, and their header; cached, as tags repeat.

    The tags must be strictly ascending (E-32): two equal ones would be two wraps under one key and
    nonce, and the order hides the order in which the sender named the recipients.
    """
    count, rest = divmod(len(tags), TAG_SIZE)
    if rest or not count:
        raise MalformedError("the length of the tags is not a positive multiple of 8")
    numbers = struct.unpack(f">{count}Q", tags)
    if not all(map(operator.lt, numbers, numbers[1:])):
        raise MalformedError("the tags are not in strictly ascending order")
    return WRAP_SIZE * count, wire.bin_header(WRAP_SIZE * count)


def find_tag(tags: bytes, tag: bytes) -> int | None:
    """Return the index of a tag in `tags`, or None."""
    at = tags.find(tag)
    while at >= 0:
        if at % TAG_SIZE == 0:
            return at // TAG_SIZE
        at = tags.find(tag, at + 1)  # the match spanned two tags
    return None


class FramePart(NamedTuple):
    """The type and place of a part."""

    kind: PartType
    padded: bool
    start: int
    """The start of its commitment."""
    end: int


class Body(NamedTuple):
    """The elements between the tags and the wraps."""

    views: tuple[Span, ...]
    parts: tuple[FramePart, ...]
    signature: Span
    signed_end: int
    """The end of the signed bytes: the start of the signature element."""
    metadata: bool = False
    """Whether there is a metadata part."""


def parse_body(data: bytes, start: int, end: int, limits: Limits) -> Body:
    """Parse the elements between the end of the tags and the header of the wraps.

    Raises:
        MalformedError: If their form is invalid (E-41, E-43, E-44, E-46, E-48, E-49).
        LimitExceededError: If there are too many views or parts (E-42, E-45).
        UnsupportedVersionError: If a part is of an unknown type (E-47).
    """
    # Most bodies consist of no views, one payload and no signature. As the end is known, the part
    # can only have one length, and thus one header.
    stop = end - 2
    size = stop - start - 2
    size -= 2 if size < 258 else 3 if size < 65_539 else 5
    first = stop - size
    if PART_OVERHEAD <= size < 1 << 32 and data[start:first] == ONE_PART + wire.bin_header(size):
        byte = data[first]
        kind = _PAYLOADS.get(byte)
        if kind is not None and data[stop:end] == UNSIGNED:
            part = _new(FramePart, (kind, byte >= PADDED, first + 1, stop))
            return _new(Body, ((), (part,), (end, end), stop, False))
    reader = wire.WireReader(data, start, end)
    count = reader.read_array("views", limits.views)
    views = tuple([reader.read_bin("a view") for _ in range(count)])
    count = reader.read_array("parts", limits.parts)
    parts = tuple([_read_part(data, reader) for _ in range(count)])
    signed_end = reader.at
    signature = reader.read_bin("the signature")
    if signature[1] - signature[0] not in (0, 64) or reader.at != end:
        raise MalformedError("the signature must have 0 or 64 bytes, and end at the wraps")
    kinds = [part[0] for part in parts]
    if views or len(parts) != 1 or kinds[0] not in _PAYLOADS.values():
        _check_together(views, kinds)
    return Body(views, parts, signature, signed_end, PartType.METADATA in kinds)


def _read_part(data: bytes, reader: wire.WireReader) -> FramePart:
    first, last = reader.read_bin("a part")
    if last - first < PART_OVERHEAD:
        raise MalformedError("a part is too short")
    kind = KINDS.get(data[first])
    if kind is None:
        raise UnsupportedVersionError("a part has an unknown type")
    return _new(FramePart, (kind, data[first] >= PADDED, first + 1, last))


def _check_together(views: tuple[Span, ...], kinds: list[PartType]) -> None:
    """Check rules across elements, on which all readers must agree."""
    for first, last in views:
        count, rest = divmod(last - first - VIEW_OVERHEAD, GRANT_SIZE)
        if rest or not 1 <= count <= len(kinds):
            raise MalformedError("invalid view length")
    if bool(views) != (len(kinds) > 1):
        raise MalformedError("views are present if and only if there is more than one part")
    fields, metadata = kinds.count(PartType.FIELDS), kinds.count(PartType.METADATA)
    if not fields or metadata > 1 or fields + metadata != len(kinds):
        raise MalformedError("the parts are neither one payload nor one document")

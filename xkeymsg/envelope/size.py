"""How long an envelope becomes (spec, "Envelope"): known before anything is encrypted."""

from __future__ import annotations

from collections.abc import Iterable

from xkeymsg import wire
from xkeymsg.envelope.frame import (
    GRANT_SIZE,
    MAGIC,
    PART_OVERHEAD,
    TAG_SIZE,
    VIEW_OVERHEAD,
    WRAP_SIZE,
)
from xkeymsg.envelope.head import encode_prefix, encode_rest

__all__ = ("envelope_size",)

_HEAD = len(encode_prefix(bytes(32), bytes(32)) + encode_rest(bytes(12), 0, b"", b""))
"""Bytes of a head without subject and attributes."""


def envelope_size(
    contents: Iterable[int],
    views: Iterable[int],
    *,
    recipients: int,
    subject: bytes,
    attributes: bytes,
    signed: bool,
) -> int:
    """Return the length of an envelope in bytes.

    Args:
        contents: Bytes of what each part holds, padding included.
        views: How many parts each view grants.
        recipients: How many there are; equal ones count once.
        subject: The subject, encoded.
        attributes: The attributes, encoded.
        signed: Whether there is a signature.
    """
    parts = [_bin(PART_OVERHEAD + content) for content in contents]
    groups = [_bin(VIEW_OVERHEAD + GRANT_SIZE * granted) for granted in views]
    return (
        len(MAGIC)
        + 1
        + _bin(_HEAD + len(subject) + len(attributes))
        + _bin(TAG_SIZE * recipients)
        + len(wire.array_header(len(groups)))
        + sum(groups)
        + len(wire.array_header(len(parts)))
        + sum(parts)
        + _bin(64 if signed else 0)
        + _bin(WRAP_SIZE * recipients)
    )


def _bin(size: int) -> int:
    return len(wire.bin_header(size)) + size

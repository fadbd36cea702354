"""Reads the public contents of an envelope: without a key, and without verifying anything."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from xkeymsg import nkey
from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.head import decode_head, from_milliseconds
from xkeymsg.errors import MalformedError
from xkeymsg.keys import XKey
from xkeymsg.limits import Limits

__all__ = ("InspectedPart", "Inspection", "inspect", "message_id", "sender_of")


class InspectedPart(NamedTuple):
    """One encrypted part."""

    kind: str
    padded: bool
    size: int
    """Bytes of the plaintext, padding included."""


class Inspection(NamedTuple):
    """Everything that an outsider can read from an envelope: its claims, unverified."""

    size: int
    message_id: str
    """Hexadecimal."""
    sender: XKey
    session: XKey
    """The ephemeral key; messages of one session share it."""
    counter: int
    created: datetime
    subject: str
    revision: int | None
    identity: str | None
    expires: datetime | None
    tags: list[str]
    """One per recipient, hexadecimal; only a recipient can recognize its own."""
    parts: list[InspectedPart]
    views: list[int]
    """The number of parts in each view."""
    signed: bool


def inspect(envelope: Buffer, limits: Limits | None = None) -> Inspection:
    """Read the public contents of an xkm1 envelope, without a key.

    Raises:
        EnvelopeError: If the envelope is not well-formed.
        TypeError: If `envelope` is not a buffer of bytes.
    """
    envelope, limits = as_bytes("an envelope", envelope), limits or Limits()
    head = decode_head(envelope, *(span := frame.locate_head(envelope, limits)))
    tags, start, end, _ = frame.locate_wraps(envelope, span[1], limits)
    body = frame.parse_body(envelope, start, end, limits)
    identity, expires = head.identity, head.expires_ms
    return Inspection(
        size=len(envelope),
        message_id=derive.message_id(head.sender, head.ephemeral, head.nonce).hex(),
        sender=XKey(head.sender),
        session=XKey(head.ephemeral),
        counter=head.counter,
        created=from_milliseconds(head.created_ms),
        subject=head.subject,
        revision=head.revision,
        identity=None if identity is None else nkey.encode_public(nkey.Prefix.USER, identity),
        expires=None if expires is None else from_milliseconds(expires),
        tags=[tags[at : at + frame.TAG_SIZE].hex() for at in range(0, len(tags), frame.TAG_SIZE)],
        parts=[
            InspectedPart(kind.name.lower(), padded, end + 1 - start - frame.PART_OVERHEAD)
            for kind, padded, start, end in body.parts
        ],
        views=[
            (last - first - frame.VIEW_OVERHEAD) // frame.GRANT_SIZE for first, last in body.views
        ],
        signed=body.signature[0] != body.signature[1],
    )


_ANY_SIZE: Final = Limits(envelope=2**62)


def message_id(envelope: bytes) -> bytes:
    """Return the 16-byte id of the message in an envelope, without checking the rest.

    Raises:
        EnvelopeError: If the bytes do not begin like an envelope.
    """
    start = _head(envelope)
    keys, nonce = envelope[start : start + 71], envelope[start + 71 : start + 83]
    return derive.message_id(keys[3:35], keys[37:69], nonce)


def sender_of(envelope: bytes) -> bytes:
    """Return the raw sender key that an envelope states, without checking the rest.

    Raises:
        EnvelopeError: If the bytes do not begin like an envelope.
    """
    start = _head(envelope)
    return envelope[start + 3 : start + 35]


def _head(envelope: bytes) -> int:
    """Return the start of a head that is long enough to hold keys and nonce."""
    start, end = frame.locate_head(envelope, _ANY_SIZE)
    if end - start < 83:
        raise MalformedError("head: cut short")
    return start

"""Format of a quarantine record: the original ciphertext, and its origin.

The data of a record is that of the message, byte for byte. The headers describe it:

    Xkm-Stream, Xkm-Consumer    the stream and consumer that delivered it
    Xkm-Sequence, Xkm-Stored    its sequence, and when it was stored, in milliseconds since 1970
    Xkm-Subject                 the subject on the wire; special bytes as %xx
    Xkm-Reason                  undecryptable, refused or handler
    Xkm-Headers                 its header block in base64, unless it is large
    Xkm-Part                    i/n, if the message is too large for one record and takes n

Only receivers may publish records. A reader of the quarantine trusts the position in a record
(docs/spec/envelope.md, E-80); such headers on any other message are never trusted.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple, cast
from urllib.parse import quote, unquote_to_bytes

from xkeymsg import primitives
from xkeymsg.client.jetstream.api import Stored
from xkeymsg.client.jetstream.failures import Reason
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.errors import MalformedError
from xkeymsg.transport.headers import encode_block

__all__ = ("Fragment", "Frame", "QuarantineRecord", "encode_record", "parse_record", "record_id")

_LABEL: Final = primitives.label(b"xkm1/quarantine")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_PART: Final = re.compile(r"([1-9][0-9]?)/([1-9][0-9]?)")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_REASONS: Final = ("undecryptable", "refused", "handler")
_LARGEST_BLOCK: Final = 8192
"""Limit of a stored header block in bytes; xkm1 can be opened without it."""
_LARGEST_SUBJECT: Final = 2048
_SAFE: Final = "!#$&'()*+,/:;<=>?@[]^`{|}~\""


class QuarantineRecord(NamedTuple):
    """A message in quarantine."""

    stream: str
    consumer: str
    sequence: int
    stored_ms: int
    subject: bytes
    reason: Reason
    headers: bytes
    """The message's header block; empty if it was absent, or large."""
    data: bytes

    @property
    def position(self) -> StreamPosition:
        """Its position in the original stream."""
        return StreamPosition(self.stream, self.sequence, self.stored_ms)

    def __repr__(self) -> str:
        return f"<QuarantineRecord of {self.stream} {self.sequence}, {self.reason}>"


class Frame(NamedTuple):
    """A message to publish."""

    subject: str
    headers: bytes
    data: bytes


class Fragment(NamedTuple):
    """The part of a record in one stored message: usually all of it."""

    record: QuarantineRecord
    part: int
    parts: int


def record_id(key: bytes, record: QuarantineRecord) -> str:
    """Return the name of a record: the same for each attempt to write it, and unguessable.

    Anyone who could guess it could write something else under it first, and the stream would refuse
    the record as a duplicate.
    """
    place = f"{record.stream}\0{record.consumer}\0{record.sequence}\0{record.stored_ms}".encode()
    digest = primitives.digest(_LABEL, place, key=key, size=16)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def encode_record(record: QuarantineRecord, name: str, quarantine: str, limit: int) -> list[Frame]:
    """Encode a record for publishing: as one message, or several if it is too large.

    Args:
        record: The record.
        name: Its `record_id`.
        quarantine: The quarantine stream.
        limit: The server's `max_payload`.
    """
    kept = record.headers if len(record.headers) <= _LARGEST_BLOCK else b""
    headers = {
        "Xkm-Stream": record.stream,
        "Xkm-Consumer": record.consumer,
        "Xkm-Sequence": str(record.sequence),
        "Xkm-Stored": str(record.stored_ms),
        "Xkm-Subject": quote(record.subject[:_LARGEST_SUBJECT], safe=_SAFE),
        "Xkm-Reason": record.reason,
    }
    if kept:
        headers["Xkm-Headers"] = base64.b64encode(kept).decode()
    subject = f"{quarantine}.{record.stream}.{record.consumer}.{name}"
    whole = encode_block({"Nats-Msg-Id": f"{record.reason}.{name}", **headers})
    if len(whole) + len(record.data) <= limit or limit <= 0:
        return [Frame(subject, whole, record.data)]
    step = max(limit - len(whole) - 64, 1024)
    pieces = [record.data[at : at + step] for at in range(0, len(record.data), step)]
    return [
        Frame(
            f"{subject}.{number}",
            encode_block(
                {
                    "Nats-Msg-Id": f"{record.reason}.{name}.{number}",
                    **headers,
                    "Xkm-Part": f"{number}/{len(pieces)}",
                }
            ),
            piece,
        )
        for number, piece in enumerate(pieces, 1)
    ]


def parse_record(stored: Stored) -> Fragment:
    """Parse a message of a quarantine stream.

    Raises:
        MalformedError: If it is not a valid record.
    """
    headers = {name: value for name, value in stored.headers if name.startswith("Xkm-")}
    if len(headers) != sum(name.startswith("Xkm-") for name, _ in stored.headers):
        raise MalformedError("quarantine record: duplicate header")
    numbers = headers.get("Xkm-Sequence", ""), headers.get("Xkm-Stored", "")
    names = headers.get("Xkm-Stream", ""), headers.get("Xkm-Consumer", "")
    reason = headers.get("Xkm-Reason", "")
    part = _PART.fullmatch(headers.get("Xkm-Part", "1/1"))
    if not (
        all(map(_NUMBER.fullmatch, numbers))
        and all(map(_NAME.fullmatch, names))
        and reason in _REASONS
        and part is not None
        and int(part[1]) <= int(part[2])
    ):
        raise MalformedError("not a valid quarantine record")
    try:
        block = base64.b64decode(headers.get("Xkm-Headers", ""), validate=True)
        subject = unquote_to_bytes(headers.get("Xkm-Subject", ""))
    except (binascii.Error, ValueError):  # a UnicodeError, for a surrogate, is a ValueError
        raise MalformedError("not a valid quarantine record") from None
    record = QuarantineRecord(
        names[0],
        names[1],
        int(numbers[0]),
        int(numbers[1]),
        subject,
        cast(Reason, reason),
        block,
        stored.data,
    )
    return Fragment(record, int(part[1]), int(part[2]))

"""The head: sender, session, time of sealing, subject and attributes (spec, "Head")."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Final, NamedTuple

from xkeymsg import primitives, wire
from xkeymsg.envelope.subject import is_subject
from xkeymsg.errors import BadKeyError, MalformedError, UnsupportedVersionError
from xkeymsg.limits import MAX_SUBJECT

__all__ = (
    "FIRST_MS",
    "HEAD_SIZE",
    "MAX_COUNTER",
    "PAST_MS",
    "Attributes",
    "Head",
    "decode_head",
    "encode_prefix",
    "encode_time",
    "from_milliseconds",
    "milliseconds",
)

FIRST_MS: Final = 2**32
"""The least time, in 1970: every time is encoded in nine bytes."""
PAST_MS: Final = 2**53
"""Times and revisions are below this, so that every language represents them exactly."""
MAX_COUNTER: Final = 2**20
"""Messages of a session."""

# The headers of the fields at their fixed places: array of 6, then bin 32, bin 32, bin 12, and a
# uint of eight bytes.
_ARRAY: Final = b"\x96\xc4\x20"
_BIN_32: Final = b"\xc4\x20"
_BIN_12: Final = b"\xc4\x0c"
_UINT_64: Final = 0xCF
_NO_TIME: Final = (0, 0, 0)
_TIME: Final = 83
HEAD_SIZE: Final = 92
"""Bytes of a head without subject and attributes."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """Return milliseconds since 1970 as an aware datetime; the last one for years past 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


class Attributes(NamedTuple):
    """Optional head attributes; None means absent."""

    revision: int | None = None
    """The directory's revision at which the sender resolved the recipients."""
    identity: bytes | None = None
    """The sender's raw user key."""
    expires_ms: int | None = None
    """The time from which readers refuse the message."""

    def encode(self) -> bytes:
        """Encode the attributes as an array of three."""
        revision, identity, expires = self
        return b"".join(
            (
                wire.array_header(3),
                wire.NIL if revision is None else wire.encode_uint(revision),
                wire.NIL if identity is None else wire.encode_bin(identity),
                wire.NIL if expires is None else wire.encode_uint(expires),
            )
        )


class Head(NamedTuple):
    """A decoded head; `subject` is text, all other fields are as on the wire."""

    sender: bytes
    ephemeral: bytes
    nonce: bytes
    created_ms: int
    subject: str
    revision: int | None
    identity: bytes | None
    expires_ms: int | None

    @property
    def counter(self) -> int:
        """The number of the message in its session."""
        return int.from_bytes(self.nonce[:4], "big")


def encode_prefix(sender: bytes, ephemeral: bytes) -> bytes:
    """Return the header prefix shared by the heads of a session, up to the nonce's bytes."""
    return _ARRAY + sender + _BIN_32 + ephemeral + _BIN_12


encode_time: Final = partial(struct.Struct(">BQ").pack, _UINT_64)
"""`encode_time(created_ms)`: the time of sealing, which follows the nonce."""
_counter_and_time: Final = struct.Struct(">I8xBQ").unpack_from
_new: Final = tuple.__new__


def decode_head(data: bytes, start: int, end: int) -> Head:
    """Decode the head `data[start:end]`: first its form, left to right, then its values.

    Raises:
        MalformedError: If it is not a head in its only encoding (E-15), or a value is out of range
            (E-19, E-20).
        LimitExceededError: If the subject has more than 255 bytes (E-16).
        UnsupportedVersionError: If there are more than three attributes (E-17).
        BadKeyError: If S or E is not a sound key (E-18).
    """
    # The bytes before the nonce are the same for all messages of a session, and those after the
    # time usually for all of a subject: the results for both are cached by their bytes.
    keys = _decode_keys(data[start : start + 71])
    if keys is None or end - start < _TIME:
        raise MalformedError("head: invalid keys, or cut short")
    sender, ephemeral, sound = keys
    nonce, rest = data[start + 71 : start + _TIME], start + HEAD_SIZE
    counter, form, created_ms = _counter_and_time(data, start + 71) if rest <= end else _NO_TIME
    if form != _UINT_64 or created_ms < FIRST_MS:
        # The time is not in nine bytes. Any other uint is an invalid value, which is only reported
        # after the form of everything that follows, and after S and E (E-88).
        reader = wire.WireReader(data, start + _TIME, end)
        created_ms, rest = reader.read_uint(), reader.at
    (subject, revision, identity, expires_ms), in_range = _decode_rest(data[rest:end])
    if not sound:
        raise BadKeyError("head: a key of small order, or not canonical")
    if not (in_range and 0 < counter <= MAX_COUNTER and FIRST_MS <= created_ms < PAST_MS):
        raise MalformedError("head: value out of range, or invalid subject")
    fields = sender, ephemeral, nonce, created_ms, subject, revision, identity, expires_ms
    return _new(Head, fields)


class _Keys(NamedTuple):
    sender: bytes
    ephemeral: bytes
    sound: bool


@lru_cache(maxsize=1024)
def _decode_keys(prefix: bytes) -> _Keys | None:
    """Read the header prefix, up to the nonce's bytes; return None if it has another form."""
    sender, ephemeral = prefix[3:35], prefix[37:69]
    if len(prefix) != 71 or prefix != encode_prefix(sender, ephemeral):
        return None
    sound = primitives.is_safe_point(sender) and primitives.is_safe_point(ephemeral)
    return _Keys(sender, ephemeral, sound)


@lru_cache(maxsize=1024)
def _decode_rest(rest: bytes) -> tuple[tuple[str, int | None, bytes | None, int | None], bool]:
    """Decode the subject and attributes, and return whether their values are in range."""
    reader = wire.WireReader(rest, 0, len(rest))
    subject = reader.read_str("the subject", MAX_SUBJECT)
    attributes = _decode_attributes(reader)
    in_range = attributes.expires_ms in _TIMES and attributes.revision in _REVISIONS
    return (subject.decode(), *attributes), in_range and is_subject(subject)


class _Range:
    """The integers from `first` up to 2^53 - 1, and None."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __contains__(self, value: int | None) -> bool:
        return value is None or self._first <= value < PAST_MS


_TIMES: Final = _Range(FIRST_MS)
_REVISIONS: Final = _Range(0)


def _decode_attributes(reader: wire.WireReader) -> Attributes:
    count = reader.read_array("attributes")
    if count > 3:
        raise UnsupportedVersionError("head: unknown attribute")
    if count < 3:
        raise MalformedError("head: missing attribute")
    revision = None if reader.read_nil() else reader.read_uint()
    identity = None if reader.read_nil() else _decode_identity(reader)
    expires = None if reader.read_nil() else reader.read_uint()
    if reader.at != reader.end:
        raise MalformedError("head: trailing bytes after the attributes")
    return Attributes(revision, identity, expires)


def _decode_identity(reader: wire.WireReader) -> bytes:
    start, end = reader.read_bin("the identity")
    if end - start != 32:
        raise MalformedError("head: the identity is not 32 bytes")
    return reader.raw(start, end)

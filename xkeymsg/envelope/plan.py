"""Planning: checks the arguments of sealing, computes the envelope's length ("Sealing order").

A `Planner` holds the settings shared by all messages of a sealer: limits, identity, padding, and
the recipients of every message. It encrypts nothing and draws no random bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from xkeymsg import wire
from xkeymsg.envelope.content import (
    PADDED,
    PartType,
    TransportHeaders,
    encode_message_array,
    padded,
)
from xkeymsg.envelope.content import Headers as OpenedHeaders
from xkeymsg.envelope.frame import (
    GRANT_SIZE,
    MAGIC,
    PART_OVERHEAD,
    TAG_SIZE,
    VIEW_OVERHEAD,
    WRAP_SIZE,
)
from xkeymsg.envelope.head import FIRST_MS, PAST_MS, Attributes, encode_new, encode_prefix
from xkeymsg.errors import ExpiredError, LimitExceededError, MalformedError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.limits import Limits

__all__ = ("Grants", "Headers", "Planner", "Sharing", "pairs_of")

_FIELDS: Final = int(PartType.FIELDS)
_METADATA: Final = int(PartType.METADATA)

_RESERVED: Final = "xkm-"
"""The prefix of header names that are reserved for the transport."""


Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Grants = Mapping[Any, Iterable[int]]
"""Maps each reader (an XKey or Recipient) to the numbers of the parts that it may open."""

_NO_ATTRIBUTES: Final = Attributes().encode()
_HEAD: Final = len(encode_prefix(bytes(32), bytes(32)) + encode_new(bytes(12), 0))
"""The length of a head without subject and attributes."""


class Sharing:
    """Recipients and the parts that each may open, with one view for each distinct set of parts.

    Immutable, so that it can be cached and reused for all documents that are shared alike.
    """

    __slots__ = ("_numbers", "recipients", "views")

    def __init__(self, readers: Mapping[Recipient, frozenset[int]], parts: int) -> None:
        """Initialize from the parts of each reader, none of them empty, and the number of parts."""
        self.recipients = tuple(readers)
        # A document of one part has no views.
        sets = list(dict.fromkeys(readers.values())) if parts > 1 else []
        self.views = tuple(tuple(sorted(granted)) for granted in sets)
        """The numbers of the parts in each view, ascending."""
        numbers = {granted: number for number, granted in enumerate(sets)}
        self._numbers = {one: numbers.get(granted, 0) for one, granted in readers.items()}

    def order(self, recipients: tuple[Recipient, ...]) -> tuple[int, ...]:
        """Return the number of each recipient's view."""
        return tuple(self._numbers[one] for one in recipients)


class Planner:
    """Turns the arguments of sealing into parts, readers and attributes, or refuses them."""

    def __init__(
        self,
        limits: Limits,
        *,
        identity: bytes | None,
        signed: bool,
        padding: bool,
        always_to: Iterable[XKey | Recipient],
    ) -> None:
        self.limits = limits
        self.padding = padding
        self.always_to = tuple(map(_recipient, always_to))
        self._identity = identity
        self._signed = signed

    def payload(
        self, data: bytes, pairs: list[tuple[str, str]], content_type: str | None
    ) -> tuple[int, bytes]:
        """Return the type and content of the single part of a payload."""
        if type(data) is not bytes:
            raise TypeError(f"data is bytes, not {type(data).__name__}")
        # `pairs` is a list: an empty iterator of headers would be true, but needs no message array.
        if pairs or content_type is not None:
            array = encode_message_array(content_type, pairs, self.limits)
            return PartType.MESSAGE, array + data
        return PartType.PAYLOAD, data

    def contents(
        self, parts: Sequence[bytes], headers: Headers, content_type: str | None
    ) -> list[tuple[int, bytes]]:
        """Return the type and content of each part, followed by the metadata if there is any."""
        contents = [(_FIELDS, part) for part in parts]
        pairs = pairs_of(headers) if headers else []
        if pairs or content_type is not None:
            array = encode_message_array(content_type, pairs, self.limits)
            contents.append((_METADATA, array))
        if self.padding:
            contents = [(kind + PADDED, padded(content)) for kind, content in contents]
        return contents

    def sharing(self, grants: Grants, fields: int, *, metadata: bool) -> Sharing:
        """Merge equal recipients (E-28), and omit those without a granted part."""
        merged: dict[Recipient, frozenset[int]] = {}
        for one, indices in (*grants.items(), *((one, range(fields)) for one in self.always_to)):
            reader, granted = _recipient(one), frozenset(indices)
            if granted and not 0 <= min(granted) <= max(granted) < fields:
                raise MalformedError("a part is granted that is not there")
            merged[reader] = merged.get(reader, frozenset()) | granted
        also = frozenset({fields} if metadata else ())
        readers = {one: granted | also for one, granted in merged.items() if granted}
        self.check_number(tuple(readers))
        return Sharing(readers, fields + metadata)

    def attributes(self, created_ms: int, expires: timedelta | None, revision: int | None) -> bytes:
        """Return the encoded attributes of the head.

        Raises:
            ExpiredError: If the message would expire before it is sealed.
            MalformedError: If a time or the revision is out of range.
            TypeError: If the revision is not an int.
        """
        if not FIRST_MS <= created_ms < PAST_MS:
            raise MalformedError("the clock is outside of what an envelope can say")
        if expires is None and revision is None and self._identity is None:
            return _NO_ATTRIBUTES
        if revision is not None and type(revision) is not int:  # True and 7.0 would pass for one
            raise TypeError(f"a revision is an int, not {type(revision).__name__}")
        if revision is not None and not 0 <= revision < PAST_MS:
            raise MalformedError("a revision is between 0 and 2^53")
        expires_ms = None
        if expires is not None:
            expires_ms = created_ms + expires // timedelta(milliseconds=1)
            if expires_ms <= created_ms:
                raise ExpiredError("the message would expire before it is sealed")
            if expires_ms >= PAST_MS:
                raise MalformedError("an expiry beyond what an envelope can say")
        return Attributes(revision, self._identity, expires_ms).encode()

    def check_number(self, to: Sequence[XKey | Recipient]) -> None:
        """Refuse an empty list of recipients, and too many distinct ones."""
        if not to:
            raise MalformedError("a message for nobody")
        different = len(set(map(_recipient, to)))
        if different > self.limits.recipients:
            raise LimitExceededError("number of recipients", different, self.limits.recipients)

    def check_size(self, envelope: bytes) -> bytes:
        """Return the envelope if its length is within the limit.

        Raises:
            LimitExceededError: If the envelope is too long.
        """
        if len(envelope) > self.limits.envelope:
            raise LimitExceededError("bytes of the envelope", len(envelope), self.limits.envelope)
        return envelope

    def size(
        self,
        contents: Iterable[int],
        views: Iterable[tuple[int, ...]],
        recipients: int,
        subject: bytes,
        attributes: bytes,
    ) -> int:
        """Return the length of an envelope in bytes, before anything is encrypted ("Envelope").

        Args:
            contents: The length of the content of each part, including padding.
            views: The parts that each view grants.
            recipients: The number of distinct recipients.
            subject: The subject, encoded.
            attributes: The attributes, encoded.
        """
        parts = [_bin(PART_OVERHEAD + content) for content in contents]
        groups = [_bin(VIEW_OVERHEAD + GRANT_SIZE * len(granted)) for granted in views]
        return (
            len(MAGIC)
            + 1
            + _bin(_HEAD + len(subject) + len(attributes))
            + _bin(TAG_SIZE * recipients)
            + len(wire.array_header(len(groups)))
            + sum(groups)
            + len(wire.array_header(len(parts)))
            + sum(parts)
            + _bin(64 if self._signed else 0)
            + _bin(WRAP_SIZE * recipients)
        )


def _recipient(one: XKey | Recipient) -> Recipient:
    return one if isinstance(one, Recipient) else Recipient(one)


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as pairs of name and value.

    Raises:
        MalformedError: If a name is reserved.
        TypeError: If the headers are not pairs of str.
    """
    if isinstance(headers, OpenedHeaders):
        pairs = list(headers.pairs)  # as a mapping it shows only the first value of a name
        if isinstance(headers, TransportHeaders):
            return pairs  # checked already, and may hold reserved names
    else:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    each: object
    for each in pairs:
        match each:
            case (str(name), str()):
                if name.lower().startswith(_RESERVED):
                    raise MalformedError(f"header names that begin with {_RESERVED} are reserved")
            case _:
                raise TypeError("headers are a mapping, or pairs, of name and value, both str")
    return pairs


def _bin(size: int) -> int:
    return len(wire.bin_header(size)) + size

"""Planning: checks the arguments of sealing, and computes the length ("Sealing order").

A `Planner` holds the settings shared by all messages of a sealer: limits, identity, padding, and
the recipients of every message. It encrypts nothing and draws no random bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from xkeymsg import wire
from xkeymsg.arguments import Buffer, as_bytes, milliseconds
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
from xkeymsg.envelope.head import FIRST_MS, HEAD_SIZE, PAST_MS, Attributes
from xkeymsg.errors import ExpiredError, LimitExceededError, MalformedError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.limits import Limits

__all__ = ("Contents", "Grants", "Headers", "Planner", "Sharing", "as_recipient", "pairs_of")

Contents = list[tuple[int, bytes]]
"""The type and content of each part."""

_PAYLOAD: Final = int(PartType.PAYLOAD)
_FIELDS: Final = int(PartType.FIELDS)
_MESSAGE: Final = int(PartType.MESSAGE)
_METADATA: Final = int(PartType.METADATA)

_RESERVED: Final = "xkm-"
"""The prefix of header names that are reserved for the transport."""


Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Grants = Mapping[Any, Iterable[int]]
"""Maps each reader (an XKey or Recipient) to the numbers of the parts that it may open."""


class Sharing:
    """Recipients and the parts that each may open, with one view for each distinct set of parts.

    Immutable, so that it can be cached for all documents with the same grants.
    """

    __slots__ = ("recipients", "size", "view_of", "views")

    def __init__(self, readers: Mapping[Recipient, frozenset[int]], parts: int) -> None:
        """Initialize from the parts of each reader, none of them empty, and the number of parts."""
        self.recipients = tuple(readers)
        # A document of one part has no views.
        sets = list(dict.fromkeys(readers.values())) if parts > 1 else []
        self.views = tuple(tuple(sorted(granted)) for granted in sets)
        """The numbers of the parts in each view, ascending."""
        groups = [_bin(VIEW_OVERHEAD + GRANT_SIZE * len(granted)) for granted in sets]
        self.size = _shared_size(len(readers), len(wire.array_header(len(sets))) + sum(groups))
        """The length of the encoded tags, views and wraps in bytes."""
        numbers = {granted: number for number, granted in enumerate(sets)}
        self.view_of = {one: numbers.get(granted, 0) for one, granted in readers.items()}
        """The number of each recipient's view."""


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
        self._padding = padding
        self._always_to = tuple(map(as_recipient, always_to))
        self._identity = identity
        self._attributes = Attributes(identity=identity).encode()
        self._signed = signed

    def payload(self, data: Buffer, array: bytes | None) -> Contents:
        """Return the type and content of the single part of a payload, with its message array."""
        content = data if type(data) is bytes else as_bytes("data", data)
        contents = [(_PAYLOAD, content) if array is None else (_MESSAGE, array + content)]
        return self._padded(contents) if self._padding else contents

    def contents(
        self, parts: Sequence[bytes], headers: Headers, content_type: str | None
    ) -> Contents:
        """Return the type and content of each part, followed by the metadata if there is any."""
        contents = [(_FIELDS, part) for part in parts]
        array = self.message_array(headers, content_type)
        if array is not None:
            contents.append((_METADATA, array))
        return self._padded(contents) if self._padding else contents

    def recipients(self, to: Iterable[XKey | Recipient]) -> tuple[XKey | Recipient, ...]:
        """Return the recipients of a payload, possibly with duplicates.

        Raises:
            MalformedError: If there are no recipients.
            LimitExceededError: If there are too many.
        """
        everyone = tuple(to) + self._always_to
        if not 0 < len(everyone) <= self.limits.recipients:
            self._check_number(set(map(as_recipient, everyone)))
        return everyone

    def sharing(self, grants: Grants, fields: int, *, metadata: bool) -> Sharing:
        """Merge equal recipients (E-28), and omit those without a granted part."""
        merged: dict[Recipient, frozenset[int]] = {}
        for one, indices in (*grants.items(), *((one, range(fields)) for one in self._always_to)):
            reader, granted = as_recipient(one), frozenset(indices)
            if granted and not 0 <= min(granted) <= max(granted) < fields:
                raise MalformedError("a grant refers to a missing part")
            merged[reader] = merged.get(reader, frozenset()) | granted
        also = frozenset({fields} if metadata else ())
        readers = {one: granted | also for one, granted in merged.items() if granted}
        self._check_number(readers)
        parts, sharing = fields + metadata, Sharing(readers, fields + metadata)
        if parts > self.limits.parts:
            raise LimitExceededError("number of parts", parts, self.limits.parts)
        if len(sharing.views) > self.limits.views:
            raise LimitExceededError("number of views", len(sharing.views), self.limits.views)
        return sharing

    def attributes(self, created_ms: int, expires: float | None, revision: int | None) -> bytes:
        """Return the encoded attributes of the head.

        Raises:
            ExpiredError: If the message would expire before it is sealed.
            MalformedError: If a time or the revision is out of range.
            TypeError: If the expiry is not a number, or the revision not an int.
        """
        if not FIRST_MS <= created_ms < PAST_MS:
            raise MalformedError("the system clock is out of range for an envelope: set it")
        if expires is None and revision is None:
            return self._attributes
        if revision is not None and type(revision) is not int:  # True and 7.0 would pass
            raise TypeError(f"a revision must be an int, not {type(revision).__name__}")
        if revision is not None and not 0 <= revision < PAST_MS:
            raise MalformedError("revision: expected 0 to 2^53 - 1")
        expires_ms = None if expires is None else _expires_ms(created_ms, expires)
        return Attributes(revision, self._identity, expires_ms).encode()

    def message_array(self, headers: Headers, content_type: str | None) -> bytes | None:
        """Encode headers and a content type; without either, return None."""
        # Tested as a list: an empty iterator of headers would be true, but needs no message array.
        pairs = pairs_of(headers) if headers else []
        if pairs or content_type is not None:
            return encode_message_array(content_type, pairs, self.limits)
        return None

    def _padded(self, contents: Contents) -> Contents:
        return [(kind + PADDED, padded(content)) for kind, content in contents]

    def _check_number(self, recipients: Collection[Recipient]) -> None:
        """Refuse an empty or too large set of recipients."""
        if not recipients:
            raise MalformedError("no recipients")
        if len(recipients) > self.limits.recipients:
            raise LimitExceededError(
                "number of recipients", len(recipients), self.limits.recipients
            )

    def size(
        self,
        contents: Contents,
        readers: tuple[XKey | Recipient, ...] | Sharing,
        subject: bytes,
        attributes: bytes,
    ) -> int:
        """Return the length of an envelope in bytes, before anything is encrypted ("Envelope")."""
        if isinstance(readers, Sharing):
            shared = readers.size
        else:
            shared = _shared_size(len(set(map(as_recipient, readers))), 1)
        return (
            len(MAGIC)
            + 1
            + _bin(HEAD_SIZE + len(subject) + len(attributes))
            + shared
            + len(wire.array_header(len(contents)))
            + sum([_bin(PART_OVERHEAD + len(content)) for _, content in contents])
            + (66 if self._signed else 2)  # a bin of 64 bytes, or an empty one
        )


def _expires_ms(created_ms: int, expires: float) -> int:
    expires_ms = created_ms + milliseconds("expires", expires)
    if expires_ms <= created_ms:
        raise ExpiredError("the message would expire before it is sealed")
    if expires_ms >= PAST_MS:
        raise MalformedError("expires: too far in the future")
    return expires_ms


def as_recipient(one: XKey | Recipient) -> Recipient:
    """Return a Recipient; a bare key becomes one without a user."""
    return one if isinstance(one, Recipient) else Recipient(one)


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as pairs of name and value.

    Raises:
        MalformedError: If a name is reserved.
        TypeError: If the headers are not pairs of str.
    """
    if type(headers) is TransportHeaders:
        return list(headers.pairs)  # checked already, and may hold reserved names
    if type(headers) is dict:  # before the tests for abstract classes, which take ten times as long
        pairs = list(headers.items())
    elif isinstance(headers, OpenedHeaders):
        pairs = list(headers.pairs)  # as a mapping it shows only the first value of a name
    else:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    each: object
    for each in pairs:
        match each:
            case (name, value) if isinstance(name, str) and isinstance(value, str):
                if name.lower().startswith(_RESERVED):
                    raise MalformedError(f"header names that begin with {_RESERVED} are reserved")
            case _:
                raise TypeError("headers must be a mapping of str to str, or pairs of str")
    return pairs


def _bin(size: int) -> int:
    return len(wire.bin_header(size)) + size


def _shared_size(recipients: int, views: int) -> int:
    """Return the length of the encoded tags, views and wraps in bytes, given that of the views."""
    return _bin(TAG_SIZE * recipients) + views + _bin(WRAP_SIZE * recipients)

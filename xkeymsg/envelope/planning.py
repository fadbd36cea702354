"""What is to be sealed: the arguments, checked, and how long the envelope would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from xkeymsg.ambient import now_ns
from xkeymsg.envelope.content import (
    PADDED,
    PartType,
    TransportHeaders,
    encode_message_array,
    padded,
    padded_size,
)
from xkeymsg.envelope.content import Headers as OpenedHeaders
from xkeymsg.envelope.head import FIRST_MS, PAST_MS, Attributes
from xkeymsg.envelope.sharing import Sharing
from xkeymsg.envelope.size import envelope_size
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.errors import ExpiredError, LimitExceededError, MalformedError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.limits import Limits

__all__ = ("Grants", "Headers", "Planner", "check_lasting", "pairs_of")

_FIELDS: Final = int(PartType.FIELDS)
_METADATA: Final = int(PartType.METADATA)

_RESERVED: Final = "xkm-"
"""Header names that begin so belong to the transport."""


Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Grants = (
    Mapping[XKey, Iterable[int]]
    | Mapping[Recipient, Iterable[int]]
    | Mapping[XKey | Recipient, Iterable[int]]
)
"""For each reader the numbers of the parts that it may open."""

_NO_ATTRIBUTES: Final = Attributes().encode()


class Planner:
    """Turns what a program wants sealed into parts, readers and attributes, or refuses it."""

    def __init__(
        self,
        limits: Limits | None,
        *,
        identity: bytes | None,
        signed: bool,
        padding: bool,
        always_to: Iterable[XKey | Recipient],
    ) -> None:
        self._limits = limits or Limits()
        self._identity = identity
        self._signed = signed
        self._padding = padding
        self._always_to = tuple(map(_recipient, always_to))

    def sealed_size(
        self,
        size: int,
        *,
        to: Iterable[XKey | Recipient],
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
    ) -> int:
        """Return how many bytes `seal` makes of a payload of `size` bytes, without sealing it.

        Args:
            size: Bytes of the payload.
            to: As for `seal`.
            subject: As for `seal`.
            headers: As for `seal`.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.

        Raises:
            XKeyMsgError: As `seal`, but for the limit of a whole envelope.
        """
        pairs = pairs_of(headers)
        if pairs or content_type is not None:
            size += len(encode_message_array(content_type, pairs, self._limits))
        recipients = (*to, *self._always_to)
        self._check_number(recipients)
        return self._size(
            [self._padded_size(size)],
            [],
            len(set(map(_recipient, recipients))),
            subject,
            expires,
            revision,
        )

    def sealed_parts_size(
        self,
        sizes: Iterable[int],
        *,
        grants: Grants,
        subject: str,
        headers: Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
    ) -> int:
        """Return how many bytes `seal_parts` makes of parts of these sizes, without sealing them.

        Args:
            sizes: Bytes of each part.
            grants: As for `seal_parts`.
            subject: As for `seal`.
            headers: As for `seal`.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.

        Raises:
            XKeyMsgError: As `seal_parts`, but for the limit of a whole envelope.
        """
        contents = list(sizes)
        pairs = pairs_of(headers)
        metadata = bool(pairs) or content_type is not None
        sharing = self._sharing(grants, len(contents), metadata=metadata)
        if metadata:
            contents.append(len(encode_message_array(content_type, pairs, self._limits)))
        padded = map(self._padded_size, contents)
        return self._shared_size(padded, sharing, subject, expires, revision)

    def _shared_size(
        self,
        contents: Iterable[int],
        sharing: Sharing,
        subject: str,
        expires: timedelta | None,
        revision: int | None,
    ) -> int:
        views, recipients = map(len, sharing.views), len(sharing.recipients)
        return self._size(contents, views, recipients, subject, expires, revision)

    def _padded_size(self, size: int) -> int:
        return padded_size(size) if self._padding else size

    def _size(
        self,
        contents: Iterable[int],
        views: Iterable[int],
        recipients: int,
        subject: str,
        expires: timedelta | None,
        revision: int | None,
    ) -> int:
        return envelope_size(
            contents,
            views,
            recipients=recipients,
            subject=encode_subject(subject),
            attributes=self._attributes(now_ns() // 1_000_000, expires, revision),
            signed=self._signed,
        )

    def _payload(
        self, data: bytes, pairs: list[tuple[str, str]], content_type: str | None
    ) -> tuple[int, bytes]:
        """Return the type and content of the one part of a payload."""
        if type(data) is not bytes:
            raise TypeError(f"data is bytes, not {type(data).__name__}")
        # By what is in them: an iterator without headers is true, and they are no message array.
        if pairs or content_type is not None:
            array = encode_message_array(content_type, pairs, self._limits)
            return PartType.MESSAGE, array + data
        return PartType.PAYLOAD, data

    def _contents(
        self, parts: Sequence[bytes], headers: Headers, content_type: str | None
    ) -> list[tuple[int, bytes]]:
        """Return the type and content of each part, and behind them of the metadata if any."""
        contents = [(_FIELDS, part) for part in parts]
        pairs = pairs_of(headers) if headers else []
        if pairs or content_type is not None:
            array = encode_message_array(content_type, pairs, self._limits)
            contents.append((_METADATA, array))
        if self._padding:
            contents = [(kind + PADDED, padded(content)) for kind, content in contents]
        return contents

    def _sharing(self, grants: Grants, fields: int, *, metadata: bool) -> Sharing:
        """Merge equal recipients (E-28), and leave out those to whom nothing is granted."""
        merged: dict[Recipient, frozenset[int]] = {}
        for one, indices in (*grants.items(), *((one, range(fields)) for one in self._always_to)):
            check_lasting(indices, "the parts of a reader")
            reader, granted = _recipient(one), frozenset(indices)
            if granted and not 0 <= min(granted) <= max(granted) < fields:
                raise MalformedError("a part is granted that is not there")
            merged[reader] = merged.get(reader, frozenset()) | granted
        also = frozenset({fields} if metadata else ())
        readers = {one: granted | also for one, granted in merged.items() if granted}
        self._check_number(tuple(readers))
        return Sharing(readers, fields + metadata)

    def _attributes(
        self, created_ms: int, expires: timedelta | None, revision: int | None
    ) -> bytes:
        if not FIRST_MS <= created_ms < PAST_MS:
            raise MalformedError("the clock is outside of what an envelope can say")
        if expires is None and revision is None and self._identity is None:
            return _NO_ATTRIBUTES
        if revision is not None and type(revision) is not int:  # True and 7.0 would pass for one
            raise TypeError(f"a revision is an int, not {type(revision).__name__}")
        if revision is not None and not 0 <= revision < PAST_MS:
            raise MalformedError("a revision is between 0 and 2^53")
        expires_ms = None if expires is None else _expires_ms(created_ms, expires)
        return Attributes(revision, self._identity, expires_ms).encode()

    def _check_number(self, to: Sequence[XKey | Recipient]) -> None:
        """Refuse no recipients, and too many different ones."""
        if not to:
            raise MalformedError("a message for nobody")
        different = len(set(map(_recipient, to)))
        if different > self._limits.recipients:
            raise LimitExceededError("number of recipients", different, self._limits.recipients)

    def _check_size(self, envelope: bytes) -> bytes:
        if len(envelope) > self._limits.envelope:
            raise LimitExceededError("bytes of the envelope", len(envelope), self._limits.envelope)
        return envelope


def _expires_ms(created_ms: int, expires: timedelta) -> int:
    if not isinstance(expires, timedelta):
        raise TypeError(f"expires is a timedelta, not {type(expires).__name__}")
    expires_ms = created_ms + expires // timedelta(milliseconds=1)
    if expires_ms <= created_ms:
        raise ExpiredError("the message would expire before it is sealed")
    if expires_ms >= PAST_MS:
        raise MalformedError("an expiry beyond what an envelope can say")
    return expires_ms


def check_lasting(values: object, what: str) -> None:
    """Refuse an iterator where values serve more than once: it would be empty the second time.

    Raises:
        TypeError: If it is one.
    """
    if isinstance(values, Iterator):
        raise TypeError(f"{what} are in an iterator, empty after one message: give a list")


def _recipient(one: XKey | Recipient) -> Recipient:
    return one if isinstance(one, Recipient) else Recipient(one)


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as pairs of name and value.

    Raises:
        MalformedError: If a name is reserved.
        TypeError: If they are not pairs of str.
    """
    if isinstance(headers, OpenedHeaders):
        pairs = list(headers.pairs)  # as a mapping it shows but the first value of a name
        if isinstance(headers, TransportHeaders):
            return pairs  # looked at already, and the reserved ones are its own
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

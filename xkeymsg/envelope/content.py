"""The plaintext of a part: padding, content type and headers (spec, "Content")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from xkeymsg import wire
from xkeymsg.display import SafeRepr
from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.limits import Limits

__all__ = (
    "Headers",
    "PartType",
    "TransportHeaders",
    "decode_message_array",
    "encode_message_array",
    "padded",
    "padded_size",
    "unpadded",
)

PADDED: Final = 16
"""Added to the type of a part whose plaintext is padded."""


class PartType(IntEnum):
    """The type of a part, without padding."""

    PAYLOAD = 0
    FIELDS = 1
    MESSAGE = 2
    METADATA = 3


class Headers(SafeRepr, Mapping[str, str]):
    """The sealed headers of a message: ordered, case-sensitive, possibly with repeated names.

    The mapping returns the first value of a name (ADR-4); `pairs` has all of them.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(pairs)

    def __getitem__(self, name: str) -> str:
        for key, value in self.pairs:
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.pairs))

    def __len__(self) -> int:
        return len(dict(self.pairs))

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a name, in order."""
        return tuple(value for key, value in self.pairs if key == name)

    def __repr__(self) -> str:
        return f"<Headers {len(self.pairs)} pairs>"


class TransportHeaders(Headers):
    """Headers from a transport, which may include names reserved for it.

    The transport (`xkeymsg.client`) has already checked the application's headers among them.
    """

    __slots__ = ()


def padded(content: bytes) -> bytes:
    """Append one byte, and pad to a Padmé length: at most 12 % more, and few distinct lengths.

    (Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
    PURBs", 2019, section 4.)
    """
    size = len(content)
    return content + b"\x80" + bytes(padded_size(size) - size - 1)


def padded_size(size: int) -> int:
    """Return the length of a content of `size` bytes after padding."""
    least = size + 1
    exponent = least.bit_length() - 1
    step = 1 << exponent - exponent.bit_length()
    return least + -least % step


def unpadded(plaintext: bytes) -> bytes:
    """Remove padding.

    Raises:
        MalformedError: If there is no padding (E-58).
    """
    stripped = plaintext.rstrip(b"\0")
    if not stripped.endswith(b"\x80"):
        raise MalformedError("invalid padding")
    return stripped[:-1]


def encode_message_array(
    content_type: str | None, headers: Iterable[tuple[str, str]], limits: Limits
) -> bytes:
    """Encode a content type and headers.

    Raises:
        LimitExceededError: If there are too many headers, or they are too long.
        MalformedError: If a text is not valid Unicode.
        TypeError: If a text is not a str.
    """
    pairs = list(headers)
    if len(pairs) > limits.headers:
        raise LimitExceededError("number of headers", len(pairs), limits.headers)
    pieces = [b"\x92", wire.NIL if content_type is None else _text(content_type)]
    pieces.append(wire.array_header(len(pairs)))
    for name, value in pairs:
        pieces += (b"\x92", _text(name), _text(value))
    encoded = b"".join(pieces)
    if len(encoded) > limits.message_array:
        raise LimitExceededError("bytes of headers", len(encoded), limits.message_array)
    return encoded


def _text(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"a content type or header must be a str, not {type(text).__name__}")
    try:
        return wire.encode_str(text.encode())
    except UnicodeEncodeError:
        raise MalformedError("a content type or header is not valid Unicode") from None


def decode_message_array(content: bytes, limits: Limits) -> tuple[str | None, Headers, int]:
    """Decode a content type and headers; return them and the offset of their end.

    Raises:
        MalformedError: If the content does not begin with a message array (E-59).
        LimitExceededError: If it is too long, or has too many headers (E-60).
    """
    reader = _BoundedReader(content, limits.message_array)
    if reader.read_array("items of a message") != 2:
        raise MalformedError("a message array must have two items")
    content_type = None if reader.read_nil() else reader.read_str("a content type").decode()
    pairs = []
    for _ in range(reader.read_array("headers", limits.headers)):
        if reader.read_array("items of a header") != 2:
            raise MalformedError("a header must be a name and a value")
        name = reader.read_str("a header's name").decode()
        pairs.append((name, reader.read_str("a header's value").decode()))
    return content_type, Headers(pairs), reader.at


class _BoundedReader(wire.WireReader):
    """Reads the start of a content; an item that would end past the limit exceeds it.

    For each header, arrays included, the form is checked before the announced length (E-8). A
    header that begins at the limit also ends past it.
    """

    __slots__ = ("_limit",)

    def __init__(self, content: bytes, limit: int) -> None:
        super().__init__(content, 0, len(content))
        self._limit = limit

    def read_array(self, what: str, limit: int | None = None) -> int:
        count = super().read_array(what, limit)
        self._check(0)
        return count

    def _announced(self, size: int) -> int:
        self._check(size)
        return super()._announced(size)

    def _check(self, size: int) -> None:
        if self.at + size > self._limit:
            raise LimitExceededError("bytes of headers", self.at + size, self._limit)

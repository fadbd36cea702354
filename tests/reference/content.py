"""The content of a part: padding and the message array (spec, Content), and step 12."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.reference.encoding import NIL, Cursor, Limit, array, string
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError

PAYLOAD: Final = 0
FIELDS: Final = 1
MESSAGE: Final = 2
METADATA: Final = 3
PADDED: Final = 16
STEP: Final = 12

Headers = tuple[tuple[str, str], ...]


class MessageArray(NamedTuple):
    content_type: str | None = None
    headers: Headers = ()

    def encode(self) -> bytes:
        kind = NIL if self.content_type is None else string(self.content_type)
        return array([kind, array(array([string(n), string(v)]) for n, v in self.headers)])


def pad(content: bytes, z: int) -> bytes:
    return content + b"\x80" + bytes(z)


def recommended_z(content_length: int) -> int:
    """Return the recommended amount of padding, Padmé (spec, Padding)."""
    m = content_length + 1
    w = m.bit_length() - 1
    x = w - w.bit_length()
    unit = 1 << x
    padded = (m + unit - 1) & ~(unit - 1)
    return padded - m


def unpad(plaintext: bytes) -> bytes:
    """Remove the padding (E-58)."""
    at = len(plaintext) - 1
    while at >= 0 and plaintext[at] == 0x00:
        at -= 1
    if at < 0 or plaintext[at] != 0x80:
        raise RefusalError("malformed", STEP, "E-58")
    return plaintext[:at]


class ArrayCursor(Cursor):
    """A cursor that enforces the end of a message array (E-60)."""

    def __init__(self, content: bytes, limits: Limits) -> None:
        super().__init__(content, STEP)
        self.bound = limits.array_bytes

    def bounded(self, size: int = 0) -> None:
        if self.at + size > self.bound:
            raise RefusalError("limit_exceeded", STEP, "E-60")

    def array_of(self, count: int) -> None:
        announced = self.header("array")
        self.bounded()
        if announced != count:
            raise self.malformed("E-59")

    def item(self) -> str:
        start = self.at
        self.bounded(self.header("str"))
        self.at = start
        return self.text()


def read_message_array(content: bytes, limits: Limits) -> tuple[MessageArray, bytes]:
    """Read the message array at the start of a content; return it and the rest (E-59, E-60)."""
    cursor = ArrayCursor(content, limits)
    cursor.array_of(2)
    content_type = None if cursor.nil() else cursor.item()
    cursor.bounded()
    count = cursor.header("array", Limit(limits.headers, "E-60"))
    cursor.bounded()
    headers = []
    for _ in range(count):
        cursor.array_of(2)
        name = cursor.item()
        headers.append((name, cursor.item()))
    return MessageArray(content_type, tuple(headers)), content[cursor.at :]


class Content(NamedTuple):
    """The result of step 12; for a document, the contents of type 1."""

    array: MessageArray
    payload: bytes | None
    fields: tuple[tuple[int, bytes], ...]
    granted: int


def read_content(granted: list[tuple[int, int, bytes]], kind: str, limits: Limits) -> Content:
    """Perform step 12 for granted parts, given as (position, type, plaintext).

    The table names padding before the array, so the padding of all parts is removed first.
    """
    is_document = any(part_type % PADDED in (FIELDS, METADATA) for _, part_type, _ in granted)
    if is_document == (kind == "payload"):
        raise RefusalError("content_type", STEP, "E-61")
    contents = [
        (j, part_type % PADDED, unpad(plaintext) if part_type >= PADDED else plaintext)
        for j, part_type, plaintext in granted
    ]
    message = MessageArray()
    payload = None
    for _, part_type, content in contents:
        if part_type == PAYLOAD:
            payload = content
        elif part_type == MESSAGE:
            message, payload = read_message_array(content, limits)
        elif part_type == METADATA:
            message, rest = read_message_array(content, limits)
            if rest:
                raise RefusalError("malformed", STEP, "E-59")
    fields = tuple((j, content) for j, part_type, content in contents if part_type == FIELDS)
    return Content(message, payload, fields, len(granted))

"""The head: its model, its encoding, and steps 2 and 3 of the opening order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.reference.crypto import is_sound
from tests.reference.encoding import NIL, Cursor, Limit, array, binary, string, uint
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError
from tests.reference.subject import is_subject

MAGIC: Final = b"xkm1"
ARRAY_OF_6: Final = b"\x96"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    S: bytes
    E: bytes
    nonce: bytes
    created_ms: int
    subject: str
    revision: int | None = None
    identity: bytes | None = None
    expires_ms: int | None = None

    @property
    def counter(self) -> int:
        return int.from_bytes(self.nonce[:4], "big")

    @property
    def nonce_tail(self) -> bytes:
        """The 8 random bytes, which distinguish two copies of one sender (E-71)."""
        return self.nonce[4:]

    def fields(self) -> list[bytes]:
        """Return the six encodings."""
        attrs = [
            NIL if self.revision is None else uint(self.revision),
            NIL if self.identity is None else binary(self.identity),
            NIL if self.expires_ms is None else uint(self.expires_ms),
        ]
        return [
            binary(self.S),
            binary(self.E),
            binary(self.nonce),
            uint(self.created_ms),
            string(self.subject),
            array(attrs),
        ]

    def encode(self) -> bytes:
        return array(self.fields())


def read_magic(data: bytes) -> None:
    """Check the magic (step 2)."""
    if len(data) >= 4 and data[:3] == b"xkm" and data[3] != MAGIC[3]:
        raise RefusalError("unsupported_version", 2, "E-11")
    if data[:5] != MAGIC + ARRAY_OF_6:
        raise RefusalError("malformed", 2, "E-12")


def read_head(data: bytes, limits: Limits) -> tuple[Head, int]:
    """Read and check the head; return it with the offset after it (step 3)."""
    outer = Cursor(data, 3, at=5)
    encoded = outer.binary(Limit(limits.head, "E-14"))
    head = decode_head(encoded, limits)
    check_values(head)
    return head, outer.at


def decode_head(encoded: bytes, limits: Limits) -> Head:
    """Read the fields from left to right (E-15 to E-17)."""
    cursor = Cursor(encoded, 3)
    if cursor.header("array") != 6:
        raise cursor.malformed("E-15")
    s_public, e_public, nonce = (fixed(cursor, length) for length in (32, 32, 12))
    created_ms = cursor.uint()
    subject = cursor.text(Limit(limits.subject, "E-16"))
    count = cursor.header("array")
    if count > 3:
        raise RefusalError("unsupported_version", 3, "E-17")
    if count < 3:
        raise cursor.malformed("E-15")
    revision = None if cursor.nil() else cursor.uint()
    identity = None if cursor.nil() else fixed(cursor, 32)
    expires_ms = None if cursor.nil() else cursor.uint()
    if cursor.at != cursor.end:
        raise cursor.malformed("E-15")
    return Head(
        S=s_public,
        E=e_public,
        nonce=nonce,
        created_ms=created_ms,
        subject=subject,
        revision=revision,
        identity=identity,
        expires_ms=expires_ms,
    )


def fixed(cursor: Cursor, length: int) -> bytes:
    """Read a bin of exactly this length (E-15)."""
    if cursor.header("bin") != length:
        raise cursor.malformed("E-15")
    return cursor.take(length)


def check_values(head: Head) -> None:
    """Check the values: E-18 to E-20, in this order."""
    for key in (head.S, head.E):
        if not is_sound(key):
            raise RefusalError("bad_key", 3, "E-18")
    in_range = (
        1 <= head.counter <= 2**20,
        2**32 <= head.created_ms < 2**53,
        head.revision is None or head.revision < 2**53,
        head.expires_ms is None or 2**32 <= head.expires_ms < 2**53,
    )
    if not all(in_range):
        raise RefusalError("malformed", 3, "E-19")
    if not is_subject(head.subject):
        raise RefusalError("malformed", 3, "E-20")

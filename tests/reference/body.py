"""Views, parts and signature (steps 8 to 10 of the opening order)."""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from tests.reference import crypto
from tests.reference.content import FIELDS, MESSAGE, METADATA, PADDED, PAYLOAD
from tests.reference.encoding import Cursor, Limit
from tests.reference.head import Head
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError

TYPES: Final = (0, 1, 2, 3, 16, 17, 18, 19)


class Body(NamedTuple):
    views: list[bytes]
    parts: list[bytes]
    signature: bytes
    d: int
    """Offset of the header of the signature element."""

    @property
    def types(self) -> list[int]:
        """The unpadded types."""
        return [part[0] % PADDED for part in self.parts]


def read_body(data: bytes, p: int, q: int, head: Head, limits: Limits) -> Body:
    """Parse envelope[p:q] (step 8 except E-51)."""
    cursor = Cursor(data, 8, at=p, end=q)
    count = cursor.header("array", Limit(limits.views, "E-42"))
    views = [cursor.binary(rule="E-41") for _ in range(count)]
    count = cursor.header("array", Limit(limits.parts, "E-45"))
    parts = [read_part(cursor) for _ in range(count)]
    d = cursor.at
    length = cursor.header("bin")
    if length not in (0, 64):
        raise cursor.malformed("E-49")
    signature = cursor.take(length, "E-41")
    if cursor.at != q:
        raise cursor.malformed("E-41")
    body = Body(views, parts, signature, d)
    check_together(body, head)
    return body


def read_part(cursor: Cursor) -> bytes:
    part = cursor.binary(rule="E-41")
    if len(part) < 49:
        raise cursor.malformed("E-46")
    if part[0] not in TYPES:
        raise RefusalError("unsupported_version", cursor.step, "E-47")
    return part


def check_together(body: Body, head: Head) -> None:
    """Perform the checks that need several elements: E-43, E-44, E-48, E-50."""
    for view in body.views:
        k, rest = divmod(len(view) - 48, 33)
        if rest or not 1 <= k <= len(body.parts):
            raise RefusalError("malformed", 8, "E-43")
    if (len(body.parts) == 1 and body.views) or (len(body.parts) > 1 and not body.views):
        raise RefusalError("malformed", 8, "E-44")
    types = body.types
    is_payload = types in ([PAYLOAD], [MESSAGE])
    is_document = (
        FIELDS in types and set(types) <= {FIELDS, METADATA} and types.count(METADATA) <= 1
    )
    if not is_payload and not is_document:
        raise RefusalError("malformed", 8, "E-48")
    if body.signature and head.identity is None:
        raise RefusalError("malformed", 8, "E-50")


def check_index(body: Body, index: int) -> None:
    """Perform the last check of step 8: E-51."""
    if index >= (1 if len(body.parts) == 1 else len(body.views)):
        raise RefusalError("malformed", 8, "E-51")


def open_view(body: Body, head: Head, v: int, vk: bytes) -> dict[int, bytes]:
    """Return the content keys of the view by part position (step 9)."""
    view = body.views[v]
    view_key, commit = crypto.view_keys(vk, head.E, head.nonce, v)
    if not hmac.compare_digest(commit, view[:32]):
        raise RefusalError("commitment", 9, "E-52")
    entries = crypto.unseal(view_key, crypto.ZERO12, view[32:], b"")
    if entries is None:
        raise RefusalError("authentication", 9, "E-56")
    indices = [entries[at] for at in range(0, len(entries), 33)]
    if indices != sorted(set(indices)) or indices[-1] >= len(body.parts):
        raise RefusalError("malformed", 9, "E-53")
    granted = [body.types[j] for j in indices]
    if FIELDS not in granted or (METADATA in body.types and METADATA not in granted):
        raise RefusalError("malformed", 9, "E-54")
    return {j: entries[33 * at + 1 : 33 * at + 33] for at, j in enumerate(indices)}


def open_part(body: Body, head: Head, j: int, ck: bytes) -> tuple[int, int, bytes]:
    """Open one part; return its position, type and plaintext (step 10)."""
    part = body.parts[j]
    enc_key, commit = crypto.part_keys(ck, head.E, head.nonce, j)
    if not hmac.compare_digest(commit, part[1:33]):
        raise RefusalError("commitment", 10, "E-55")
    plaintext = crypto.unseal(enc_key, crypto.ZERO12, part[33:], b"")
    if plaintext is None:
        raise RefusalError("authentication", 10, "E-56")
    return j, part[0], plaintext

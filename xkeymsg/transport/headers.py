"""Message header blocks (ADR-4): encoded once, and parsed only on demand.

Headers are untrusted: a publisher can write any header, including a server's status line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from xkeymsg.errors import MalformedError

__all__ = ("Status", "encode_block", "parse_block", "parse_status")

_LINE: Final = b"NATS/1.0"
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS: Final = re.compile(rb"NATS/1\.0 ([0-9]{3})(?: ([^\r\n]*))?\r\n")
_MOST: Final = 128
"""Headers parsed per block by default; the server limits a block only by `max_payload`."""


def encode_block(headers: Mapping[str, str]) -> bytes:
    """Return the block of headers, `b""` without headers.

    Raises:
        MalformedError: If a name is not a token, or a value has a line break or is not Unicode
            text.
    """
    if not headers:
        return b""
    lines = [_LINE]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or "\r" in value or "\n" in value:
            raise MalformedError("invalid header: bad name, or a line break in the value")
        try:
            lines.append(f"{name}: {value}".encode())
        except UnicodeEncodeError:
            raise MalformedError("invalid header: not Unicode text") from None
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parse_block(block: bytes, *, most: int = _MOST) -> list[tuple[str, str]]:
    """Return the headers of any block in order; never raises.

    Names keep their case and may repeat. Invalid lines are skipped; bytes that are not UTF-8 become
    surrogate escapes; lines after the first `most` are ignored.
    """
    found = []
    for line in block.split(b"\r\n", most + 1)[1 : most + 1]:
        name, colon, value = line.partition(b":")
        text = name.decode("utf-8", "surrogateescape")
        if colon and _NAME.fullmatch(text):
            found.append((text, value.strip(b" \t").decode("utf-8", "surrogateescape")))
    return found


class Status(NamedTuple):
    """The status in the first line of a block."""

    code: int
    text: str


def parse_status(block: bytes) -> Status | None:
    """Return the status of a block, or None.

    A publisher can forge one. The server's own have no payload, and no reply except for flow
    control (`$JS.FC.`); a stream message always has a reply.
    """
    match = _STATUS.match(block)
    if match is None:
        return None
    return Status(int(match[1]), (match[2] or b"").strip().decode("utf-8", "surrogateescape"))

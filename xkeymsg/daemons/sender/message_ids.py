"""The names by which a stream knows messages, the same after the sender was killed.

A name is a keyed hash of where the message came from: the key is of the sender's own secret, so
that nobody else can tell which comes next, and have the stream take something else for it. The time
at which the source stored it is in it too: a stream that was made anew counts from 1 again.
"""

from __future__ import annotations

import base64
from typing import Final

from xkeymsg import primitives
from xkeymsg.envelope.replay import StreamPosition

__all__ = ("LABEL", "Names")

LABEL: Final = b"xkm1/sender-ids"
"""For `XKeyPair.derive`."""
_STREAM: Final = primitives.label(b"xkm1/id-stream")
_LINE: Final = primitives.label(b"xkm1/id-line")
_CHECK: Final = primitives.label(b"xkm1/id-check")


class Names:
    """Names messages of one route."""

    def __init__(self, key: bytes, route: str) -> None:
        """Take 32 bytes of `XKeyPair.derive`, and the name of the route."""
        self._key = key
        self._route = route.encode() + b"\0"

    def of_stream(self, where: StreamPosition) -> str:
        """Name the message at a place of a stream."""
        place = f"{where.stream}\0{where.sequence}\0{where.stored_ms}"
        return self._name(_STREAM, place.encode("utf-8", "surrogateescape"))

    def of_line(self, path: str, offset: int, line: bytes) -> str:
        """Name a line of a file."""
        place = f"{path}\0{offset}\0".encode("utf-8", "surrogateescape")
        return self._name(_LINE, place + line)

    def check(self, content: bytes) -> str:
        """Return by what to tell that a file is still the same: no guess can be tried on it."""
        return self._name(_CHECK, content)

    def _name(self, label: bytes, data: bytes) -> str:
        digest = primitives.digest(label, self._route + data, key=self._key, size=16)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

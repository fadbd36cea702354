"""Message ids for deduplication by a stream, stable across restarts of the sender.

An id is a keyed hash of the message's origin. The key is derived from a secret of the sender, so
nobody else can predict the next id and make the stream take another message for it: from its xkey,
or, if that is rotated, from its user's key, which stays. The hash covers the time at which the
source stored the message: a recreated stream counts from 1 again.
"""

from __future__ import annotations

import base64
from typing import Final

from xkeymsg import primitives
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.nkey import UserKey

__all__ = ("LABEL", "Names", "names_key")

LABEL: Final = b"xkm1/sender-ids"
"""For `XKeyPair.derive`."""
_OF_USER: Final = b"\xff" + LABEL + b"\0"
"""Signed by the user's key: a nonce of a server cannot contain the byte 0xFF."""
_STREAM: Final = primitives.label(b"xkm1/id-stream")
_LINE: Final = primitives.label(b"xkm1/id-line")
_CHECK: Final = primitives.label(b"xkm1/id-check")


def names_key(user: UserKey) -> bytes:
    """Return the key for `Names` of a sender whose xkey is rotated.

    An Ed25519 signature is a function of key and text, so it is the same after each restart.
    """
    return primitives.digest(primitives.label(LABEL), user.sign(_OF_USER), size=32)


class Names:
    """Derives the message ids of one route."""

    def __init__(self, key: bytes, route: str) -> None:
        """Initialize with 32 secret bytes, and the name of the route."""
        self._key = key
        self._route = route.encode() + b"\0"

    def of_stream(self, where: StreamPosition) -> str:
        """Return the id of the message at a position of a stream."""
        place = f"{where.stream}\0{where.sequence}\0{where.stored_ms}"
        return self._name(_STREAM, place.encode("utf-8", "surrogateescape"))

    def of_line(self, path: str, offset: int, line: bytes) -> str:
        """Return the id of a line of a file."""
        place = f"{path}\0{offset}\0".encode("utf-8", "surrogateescape")
        return self._name(_LINE, place + line)

    def check(self, content: bytes) -> str:
        """Return a keyed checksum that identifies a file; the content cannot be guessed from it."""
        return self._name(_CHECK, content)

    def _name(self, label: bytes, data: bytes) -> str:
        digest = primitives.digest(label, self._route + data, key=self._key, size=16)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

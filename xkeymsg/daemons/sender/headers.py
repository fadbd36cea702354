"""Headers to seal with a message: the route's own, and those of the source's message."""

from __future__ import annotations

from typing import Final, NamedTuple

from xkeymsg import wire
from xkeymsg.daemons.sender.config import SenderRoute
from xkeymsg.limits import Limits
from xkeymsg.transport.headers import parse_block

__all__ = ("RouteHeaders", "Selected")

_SERVERS: Final = "nats-"
_RESERVED: Final = "xkm-"
_MOST: Final = Limits().headers
_BYTES: Final = Limits().message_array
_ARRAYS: Final = 4
"""Bytes of the headers of the two arrays around the content type and all headers."""


class Selected(NamedTuple):
    """The headers of one message."""

    pairs: list[tuple[str, str]]
    left_out: tuple[str, ...]
    """The names of headers that should be sealed but cannot be: not valid text, a reserved name, or
    more than an envelope takes; empty if the name is invalid."""


class RouteHeaders:
    """Selects the headers of a route's messages."""

    def __init__(self, route: SenderRoute) -> None:
        self._own = list(route.headers.items())
        self._taken = {name.lower() for name in route.take_headers}
        texts = [route.content_type or "", *(text for pair in self._own for text in pair)]
        self._size = _ARRAYS + len(self._own) + sum(map(_size, texts))

    def select(self, block: bytes) -> Selected:
        """Select the headers to seal from a header block, up to the limits of an envelope."""
        pairs, size = list(self._own), self._size
        if not block:
            return Selected(pairs, ())
        parsed = parse_block(block, most=len(block))
        invalid = sum(map(bool, block.split(b"\r\n")[1:])) - len(parsed)
        left_out = [""] * invalid if self._taken else []
        for name, value in parsed:
            if not self._takes(name.lower()):
                continue
            try:
                more = 1 + _size(name) + _size(value)
            except UnicodeEncodeError:
                more = _BYTES
            fits = len(pairs) < _MOST and size + more <= _BYTES
            if fits and not name.lower().startswith(_RESERVED):
                pairs.append((name, value))
                size += more
            else:
                left_out.append(name)
        return Selected(pairs, tuple(left_out))

    def _takes(self, name: str) -> bool:
        return name in self._taken or ("*" in self._taken and not name.startswith(_SERVERS))


def _size(text: str) -> int:
    return len(wire.encode_str(text.encode()))

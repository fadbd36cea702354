"""The NATS client protocol as the server writes it, and nothing looser.

A control line ends in CR LF and its fields are separated by one space. nats-py's parser takes any
white space for a separator, vertical tab and form feed included, and those two may stand in a
subject: a publisher can then shift the fields of the line that carries its message.
(Source: docs.nats.io, "Client Protocol"; nats-server, `parser.go` and `client.go`.)

A message for a sink is handed over as it came, without a task, a queue or a lock; one for a
subscription of nats-py's goes its way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from xkeymsg.shown import safe_repr

__all__ = ("MAX_MESSAGE", "Sink", "StrictParser")

_MAX_LINE: Final = 1 << 20
"""An INFO line of a large cluster is some ten KiB; no line is kept for ever."""

_LONGEST_ERROR: Final = 4096
"""What a server says of a subject is no longer; a hostile one may say anything."""

_DIGITS: Final = 18
"""No number of the protocol has more."""

MAX_MESSAGE: Final = 64 << 20
"""nats-server's own limit to `max_payload`."""


Sink = Callable[[bytes, bytes, bytes, bytes], Awaitable[None] | None]
"""Takes subject, reply, header block and payload; what it returns is awaited before the next."""

Head = tuple[bytes, bytes, bytes, int, int]
"""What the line before a message says: subject, subscription, reply, sizes of headers and all."""


def _number(digits: bytes) -> int:
    """Read a number; `int` would take signs, underscores and white space too."""
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise ProtocolError("nats: malformed message line")
    return int(digits)


def _head(line: bytes) -> Head | None:
    """Read the line before a message; None if it is another line. That of `MSG` has no headers."""
    fields = line.split(b" ")
    if fields[0] == b"MSG":
        fields.insert(-1, b"0")
    elif fields[0] != b"HMSG":
        return None
    count = len(fields)
    if count not in (5, 6):
        raise ProtocolError("nats: malformed message line")
    _number(fields[2])
    headers, total = _number(fields[-2]), _number(fields[-1])
    if not headers <= total <= MAX_MESSAGE:
        raise ProtocolError("nats: malformed message line")
    return fields[1], fields[2], fields[3] if count == 6 else b"", headers, total


def _end_of_line(data: bytes, position: int) -> int:
    """Return where the line that begins at `position` ends, -1 if the rest is still to come."""
    end = data.find(b"\r\n", position)
    # One more where there is no end: its CR may be there already.
    if (end if end >= 0 else len(data) - 1) - position > _MAX_LINE:
        raise ProtocolError("nats: a control line that does not end")
    return end


@safe_repr
class StrictParser(Parser):
    """Takes bytes as they come and calls the client for each message and each order."""

    def __init__(self, nc: Any = None) -> None:
        self.sinks: dict[bytes, Sink] = {}
        """Who takes the messages of a subscription, by its number as it stands on the wire."""
        self.heard = 0
        """How many times something was read."""
        super().__init__(nc)

    def reset(self) -> None:
        """Forget what was read: what comes next is another connection's."""
        self.state = AWAITING_CONTROL_LINE
        self._held: list[bytes] = []  # the beginning of a line or payload
        self._held_size = 0
        self._wanted = 0  # so much has to be there of a payload
        self._head: Head | None = None  # of the message whose payload it is
        self._epoch = object()

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read.

        Raises:
            nats.errors.ProtocolError: If it is not the protocol; the client then reconnects.
        """
        self.heard += 1
        if data and self._held:
            data = self._held_and(data)
        if data:
            await self._take(data)

    def _held_and(self, data: bytes) -> bytes:
        """Return what was kept with what came now, or nothing while that is not enough.

        Pieces are joined once: a large message that comes in small ones is not copied for each.
        """
        before = self._held[-1][-1:]
        self._held.append(data)
        self._held_size += len(data)
        if self._head is not None:
            enough = self._held_size >= self._wanted
        else:
            enough = self._held_size > _MAX_LINE or b"\r\n" in before + data
        if not enough:
            return b""
        data, self._held = b"".join(self._held), []
        return data

    def _keep(self, data: bytes, head: Head | None, wanted: int = 0) -> None:
        self._held = [data] if data or head else []
        self._held_size, self._head, self._wanted = len(data), head, wanted

    async def _take(self, data: bytes) -> None:
        """Act on all that is complete, and keep the rest."""
        position, size, epoch = 0, len(data), self._epoch
        head = self._head
        while self._epoch is epoch:  # or else the connection was given up
            if head is None:
                end = _end_of_line(data, position)
                if end < 0:
                    self._keep(data[position:], None)
                    return
                line = data[position:end]
                position = end + 2
                head = _head(line)
                if head is None:
                    await self._control(line)
                    continue
            subject, sid, reply, headers, total = head
            body, stop = position + headers, position + total
            if size < stop + 2:
                self._keep(data[position:], head, total + 2)
                return
            sink = self.sinks.get(sid)
            if sink is not None:
                wait = sink(subject, reply, data[position:body], data[body:stop])
            else:
                wait = self.nc._process_msg(  # noqa: SLF001 - a part of the client
                    int(sid), subject, reply, data[body:stop], data[position:body] or None
                )
            if wait is not None:
                await wait
            position, head = stop + 2, None

    async def _control(self, line: bytes) -> None:
        """Act on one control line."""
        operation, _, rest = line.partition(b" ")
        match operation:
            case b"PING":
                await self.nc._process_ping()  # noqa: SLF001
            case b"PONG":
                await self.nc._process_pong()  # noqa: SLF001
            case b"-ERR":
                text = rest[:_LONGEST_ERROR].decode("utf-8", "replace").strip().lower()
                # It becomes the text of an error, which somebody prints.
                text = "".join(each if each.isprintable() else "?" for each in text)
                await self.nc._process_err(text)  # noqa: SLF001
            case b"INFO":
                await self._info(rest)
            case b"+OK":
                pass
            case _:
                raise ProtocolError("nats: unknown operation")

    async def _info(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("nats: malformed INFO") from error
        if not isinstance(info, dict):
            raise ProtocolError("nats: malformed INFO")
        await self.nc._process_info(info)  # noqa: SLF001

"""A strict parser of the NATS client protocol, as the server writes it.

A control line ends in CR LF and its fields are separated by one space. nats-py's parser accepts any
white space as a separator, vertical tab and form feed included, and a subject may contain those
two: a publisher can then shift the fields of the line that carries its message.
(Source: docs.nats.io, "Client Protocol"; nats-server, `parser.go` and `client.go`.)

Sinks get their messages directly, without a task, a queue or a lock; messages for nats-py's own
subscriptions are processed by nats-py.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from xkeymsg.display import safe_repr

__all__ = ("MAX_LINE", "MAX_MESSAGE", "Sink", "StrictParser")

MAX_LINE: Final = 1 << 20
"""Bytes of a control line that are buffered; an INFO line of a large cluster has some ten KiB."""

_LONGEST_ERROR: Final = 4096
"""Bytes of a server error that are kept: genuine ones, with a subject, are shorter."""

_DIGITS: Final = 18
"""Longest number in the protocol."""

MAX_MESSAGE: Final = 64 << 20
"""nats-server's own limit for `max_payload`."""


Sink = Callable[[bytes, bytes, bytes, bytes], Awaitable[None] | None]
"""Takes subject, reply, header block and payload; its result is awaited before the next message."""

Head = tuple[bytes, bytes, bytes, int, int]
"""A parsed message line: subject, subscription, reply, header size and total size."""


def _number(digits: bytes) -> int:
    """Parse a number; `int` would also accept signs, underscores and white space."""
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise ProtocolError("nats: malformed message line")
    return int(digits)


def _head(line: bytes) -> Head | None:
    """Parse a message line, `MSG` (without headers) or `HMSG`; return None for other lines."""
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
    """Return the end of the line that begins at `position`, or -1 if it is incomplete."""
    end = data.find(b"\r\n", position)
    # An incomplete line may already end in its CR, which does not count.
    if (end if end >= 0 else len(data) - 1) - position > MAX_LINE:
        raise ProtocolError("nats: control line too long")
    return end


@safe_repr
class StrictParser(Parser):
    """Parses the incoming bytes and calls the client for each message and control line."""

    def __init__(self, nc: Any = None) -> None:
        self.sinks: dict[bytes, Sink] = {}
        """The sink of each subscription, by its number on the wire."""
        self.heard = 0
        """Number of reads so far."""
        super().__init__(nc)

    def reset(self) -> None:
        """Discard buffered input: the next bytes belong to another connection."""
        self.state = AWAITING_CONTROL_LINE
        self._held: list[bytes] = []  # the beginning of a line or payload
        self._held_size = 0
        self._wanted = 0  # bytes needed to complete a payload
        self._head: Head | None = None  # the message line of that payload
        self._epoch = object()

    async def parse(self, data: bytes = b"") -> None:
        """Parse the bytes of one read.

        Raises:
            nats.errors.ProtocolError: If they violate the protocol; the client then reconnects.
        """
        self.heard += 1
        if data and self._held:
            data = self._held_and(data)
        if data:
            await self._take(data)

    def _held_and(self, data: bytes) -> bytes:
        """Append to the buffered input, and return all of it once it is enough, else `b""`.

        Pieces are joined once, so that a large message in small pieces is not copied for each.
        """
        before = self._held[-1][-1:]
        self._held.append(data)
        self._held_size += len(data)
        if self._head is not None:
            enough = self._held_size >= self._wanted
        else:
            enough = self._held_size > MAX_LINE or b"\r\n" in before + data
        if not enough:
            return b""
        data, self._held = b"".join(self._held), []
        return data

    def _keep(self, data: bytes, head: Head | None, wanted: int = 0) -> None:
        self._held = [data] if data or head else []
        self._held_size, self._head, self._wanted = len(data), head, wanted

    async def _take(self, data: bytes) -> None:
        """Process all complete lines and messages, and buffer the rest."""
        position, size, epoch = 0, len(data), self._epoch
        head = self._head
        while self._epoch is epoch:  # a reset means that the connection was abandoned
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
                wait = self.nc._process_msg(  # noqa: SLF001 - the parser is part of the client
                    int(sid), subject, reply, data[body:stop], data[position:body] or None
                )
            if wait is not None:
                await wait
            position, head = stop + 2, None

    async def _control(self, line: bytes) -> None:
        """Process one control line."""
        operation, _, rest = line.partition(b" ")
        match operation:
            case b"PING":
                await self.nc._process_ping()  # noqa: SLF001
            case b"PONG":
                await self.nc._process_pong()  # noqa: SLF001
            case b"-ERR":
                text = rest[:_LONGEST_ERROR].decode("utf-8", "replace").strip()
                # nats-py expects lower case; a subject, which is quoted, keeps its own.
                words, quote, subject = text.partition('"')
                text = words.lower() + quote + subject
                # It becomes the text of an error, which may be printed.
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

"""The NATS client protocol as the server writes it, and nothing looser.

A control line ends in CR LF and its fields are separated by one space. nats-py's parser takes any
white space for a separator, vertical tab and form feed included, and those two may stand in a
subject: a publisher can then shift the fields of the line that carries its message.
(Source: docs.nats.io, "Client Protocol"; nats-server, `parser.go` and `client.go`.)
"""

from __future__ import annotations

import json
from typing import Final

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, Parser

__all__ = ("StrictParser",)

_MAX_LINE: Final = 1 << 20
"""An INFO line of a large cluster is some ten KiB; no line is kept for ever."""

_MAX_MESSAGE: Final = 64 << 20
"""nats-server's own limit to `max_payload`."""


def _number(digits: bytes) -> int:
    """Read a number; `int` would take signs, underscores and white space too."""
    if not digits.isdigit():
        raise ValueError
    return int(digits)


class StrictParser(Parser):
    """Takes bytes as they come and calls the client for each message and each order."""

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read.

        Raises:
            nats.errors.ProtocolError: If it is not the protocol; the client then reconnects.
        """
        self.buf.extend(data)
        while self.buf:
            if self.state == AWAITING_CONTROL_LINE:
                end = self.buf.find(b"\r\n")
                if end < 0 and len(self.buf) <= _MAX_LINE + 1:  # its CR may be there already
                    return
                if not 0 <= end <= _MAX_LINE:
                    raise ProtocolError("nats: a control line that does not end")
                line = bytes(self.buf[:end])
                del self.buf[: end + 2]
                await self._control(line)
            else:
                if len(self.buf) < self.needed + 2:
                    return
                headers = bytes(self.buf[: self.header_needed]) or None
                payload = bytes(self.buf[self.header_needed : self.needed])
                del self.buf[: self.needed + 2]
                self.state = AWAITING_CONTROL_LINE
                await self.nc._process_msg(  # noqa: SLF001 - a part of the client
                    self.msg_arg["sid"],
                    self.msg_arg["subject"],
                    self.msg_arg["reply"],
                    payload,
                    headers,
                )

    async def _control(self, line: bytes) -> None:
        """Act on one control line."""
        operation, _, rest = line.partition(b" ")
        match operation:
            case b"MSG" | b"HMSG":
                self._message(operation, rest.split(b" "))
            case b"PING":
                await self.nc._process_ping()  # noqa: SLF001
            case b"PONG":
                await self.nc._process_pong()  # noqa: SLF001
            case b"-ERR":
                text = rest.decode("utf-8", "replace").strip().lower()
                await self.nc._process_err(text)  # noqa: SLF001
            case b"INFO":
                await self._info(rest)
            case b"+OK":
                pass
            case _:
                raise ProtocolError("nats: unknown operation")

    def _message(self, operation: bytes, fields: list[bytes]) -> None:
        """Take the line before a message: subject, subscription, reply if any, sizes."""
        sizes = 1 if operation == b"MSG" else 2
        if len(fields) not in (2 + sizes, 3 + sizes):
            raise ProtocolError("nats: malformed message line")
        try:
            self.msg_arg["subject"] = fields[0]
            self.msg_arg["sid"] = _number(fields[1])
            self.msg_arg["reply"] = fields[2] if len(fields) == 3 + sizes else b""
            self.needed = _number(fields[-1])
            self.header_needed = _number(fields[-2]) if operation == b"HMSG" else 0
        except ValueError as error:
            raise ProtocolError("nats: malformed message line") from error
        if not self.header_needed <= self.needed <= _MAX_MESSAGE:
            raise ProtocolError("nats: malformed message line")
        self.state = AWAITING_MSG_PAYLOAD

    async def _info(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("nats: malformed INFO") from error
        if not isinstance(info, dict):
            raise ProtocolError("nats: malformed INFO")
        await self.nc._process_info(info)  # noqa: SLF001

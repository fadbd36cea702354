"""nats-py's client, hardened against hostile publishers and hostile brokers.

Attacks by publishers on nats-py 2.16, and the countermeasures of this subclass. Each item is a test
against a real server (`tests/transport/test_hostile_publishers.py`) that fails with the stock
client. Stored in a stream, each of these would otherwise be a permanent poison pill.

- A subject or reply that is not UTF-8, a header block of exactly `NATS/1.0`, or a status line that
  is not UTF-8, raises in the read loop, which ends and is not restarted, while `is_connected` stays
  true. Here: the subject and reply are decoded with `surrogateescape`, headers that cannot be
  parsed are dropped, and the message is delivered.
- A vertical tab or form feed in a subject, which the server accepts, is white space to nats-py's
  parser: it reads another subject and takes part of the subject for the subscription number.
  Here: only the space separates fields.
- A PONG that arrives after a `flush` timed out sets a future that is done, which raises in the read
  loop. Here: such a future is skipped.
- A `flush` sends its PING ahead of buffered data, and returns before the server has seen, or
  refused, the latest messages. Here: the PING is queued after them.
- A published header `Status` is mistaken for one of the server's: stored in a stream, it raises in
  a `fetch`, hides the message from the program or resets an ordered consumer (also a key watcher)
  forever, and a `Nats-Consumer-Stalled` next to it makes the client publish to a subject of the
  attacker's choice. Here: the status is removed where only a publisher can have written it.
- The server counts headers towards `max_payload`, but nats-py checks the payload alone; the server
  then closes the connection, and nats-py never reconnects. Here: both are checked before sending.
- Any other exception in the read loop ends it silently. Here: it causes a reconnection.

Attacks by a broker or a man in the middle:

- It does not offer TLS, and nats-py, given a TLS context, continues in plaintext and sends the
  credentials. Here: the CONNECT line is not sent if TLS is required and not in use, and servers
  announced before the handshake are ignored.
- It sends, as the login nonce, bytes that are meaningful elsewhere, and has the user's key sign
  them. Here: only nonces of nats-server's form, up to 64 characters of base64url, are signed.
- Its greeting is garbage, which ends nats-py's reconnection silently and permanently; so does a
  login file that is briefly missing. Here: the next attempt follows.
- It stops reading, and nats-py waits for it before connecting to another server. Here: one second.

Cancellations that nats-py, or Python 3.11's `wait_for` below it, would drop are raised here.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable
from secrets import SystemRandom
from typing import Any, Final
from urllib.parse import ParseResult, unquote

from nats import errors
from nats.aio.client import DEFAULT_BUFFER_SIZE, PING_PROTO, Client, Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.parser import StrictParser

__all__ = ("LINGER", "HardenedClient", "NonceRefusedError", "PlaintextRefusedError", "header_size")

_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STAGGER: Final = 0.25
"""Seconds after which the next address of a host name is tried as well (RFC 8305)."""
LINGER: Final = 1.0
"""Seconds that an abandoned connection has to send its buffered data."""


def header_size(headers: dict[str, str]) -> int:
    """Return the size of a message's headers on the wire (ADR-4), in bytes; 0 without headers."""
    if not headers:
        return 0
    lines = (len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len(b"NATS/1.0\r\n") + sum(lines) + len(b"\r\n")


class PlaintextRefusedError(errors.Error):
    """TLS is required, but the server did not offer it; no credentials were sent."""

    def __str__(self) -> str:
        return "the server offers no TLS, but TLS is required; no credentials were sent"


class NonceRefusedError(errors.Error):
    """The server sent an invalid login nonce; nothing was signed."""

    def __str__(self) -> str:
        return "the server sent an invalid login nonce; it was not signed"


def _remove_forged_status(headers: dict[str, str], reply: bytes) -> None:
    """Remove the status from headers if only a publisher can have written it.

    Changes the dictionary in place, because nats-py reads the same one afterwards.
    """
    status = headers.get("Status")
    if status is None:
        return
    # A stream message has a reply subject, for its acknowledgement. The server's own statuses have
    # none, except for flow control, which nats-py answers on whatever subject the headers name.
    answers = (reply, headers.get("Nats-Consumer-Stalled", "").encode("utf-8", "replace"))
    forged = status == "100" and any(a and not a.startswith(b"$JS.FC.") for a in answers)
    if forged or reply.startswith(b"$JS.ACK."):
        del headers["Status"]


class HardenedClient(Client):
    """A nats-py client that no publisher can silence; the module docstring lists the changes."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = StrictParser(self)
        self._tls_required = False
        self._discovers = True
        self._public_nkey_cb: Callable[[], str] | None = None
        self._cancelled_before = 0
        self.is_silent = False
        """Whether the last server accepted the connection, but has not sent a greeting."""
        self._deadline = 0.0  # of the current attempt to connect to a server

    async def connect(self, *args: Any, **options: Any) -> None:
        """Connect as nats-py does, with three more options.

        Args:
            *args: As in nats-py.
            **options: As in nats-py; `tls_required` (bool) refuses a server that offers no TLS;
                `discover` (bool) uses the servers that a server announces; `public_nkey` returns
                the public key (str) of `signature_cb` for a login without a JWT: nats-py has no
                public option for it.
        """
        self._tls_required = bool(options.pop("tls_required", False))
        self._discovers = bool(options.pop("discover", True))
        self._public_nkey_cb = options.pop("public_nkey", None)
        # nats-py marks a connection as authenticated only for the login methods that it knows.
        self._auth_configured = "signature_cb" in options
        task = asyncio.current_task()
        self._cancelled_before = 0 if task is None else task.cancelling()
        await super().connect(*args, **options)

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Publish as nats-py does, but count headers towards the server's `max_payload`.

        Raises:
            nats.errors.MaxPayloadError: If the message is larger; the server would disconnect.
            nats.errors.BadSubjectError: If the subject or reply cannot be encoded, as may be the
                case for those of a received message.
            nats.errors.Error: As nats-py.
        """
        try:
            subject.encode(), reply.encode()
        except UnicodeEncodeError:
            raise errors.BadSubjectError from None
        headers = headers or None  # nats-py would send an empty block, which counts, too
        if headers and len(payload) + header_size(headers) > self.max_payload > 0:
            raise errors.MaxPayloadError
        await super().publish(subject, payload, reply, headers)

    def _connect_command(self) -> bytes:
        """Build the CONNECT line; runs just before credentials are sent, on every connection."""
        if self._tls_required and not self._is_encrypted():
            raise PlaintextRefusedError
        if self._signature_cb is not None and "nonce" in self._server_info:
            nonce = self._server_info["nonce"]
            if not (isinstance(nonce, str) and _NONCE.fullmatch(nonce)):
                raise NonceRefusedError
        try:
            if self._public_nkey_cb is not None:
                self._public_nkey = self._public_nkey_cb()
            return super()._connect_command()
        except XKeyMsgError as error:
            # A login file is being replaced: nats-py's reconnection continues only after one of its
            # own errors.
            raise errors.Error(str(error)) from error

    @property
    def offers_tls(self) -> bool:
        """Whether the server offers TLS without requiring it."""
        return self._server_info.get("tls_available") is True

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The TLS object that encrypts the bytes written from now on, or None."""
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.get_extra_info("ssl_object")

    def _is_encrypted(self) -> bool:
        return self.ssl_object is not None

    @staticmethod
    def _parse_server_uri(connect_url: str) -> ParseResult:
        uri = Client._parse_server_uri(connect_url)  # noqa: SLF001 - the method overridden here
        # nats-py would send the user and password percent-encoded, as they are in the address.
        userinfo, at, host = uri.netloc.rpartition("@")
        return uri._replace(netloc=unquote(userinfo) + at + host)

    def _setup_server_pool(self, connect_url: Any) -> None:
        super()._setup_server_pool(connect_url)
        SystemRandom().shuffle(self._server_pool)  # a subclass may put others behind them

    async def _connect_to_server(self, s: Srv) -> None:
        """Open a TCP connection; the addresses of a host name race each other.

        nats-py would try them one after another, and a dead one would use up the whole time. From
        here until the end of `_process_connect_init`, a server has `connect_timeout`.
        """
        loop, host, port = asyncio.get_running_loop(), s.uri.hostname, s.uri.port
        s.last_attempt = time.monotonic()
        self._deadline = loop.time() + self.options["connect_timeout"]
        self.is_silent = False
        transport = TcpTransport()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout_at(self._deadline):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                # A race that is cancelled while it is won leaves its socket to the collector.
                race = _STAGGER if len({address for *_, address in found}) > 1 else None
                reader, writer = await asyncio.open_connection(
                    host, port, limit=DEFAULT_BUFFER_SIZE, happy_eyeballs_delay=race
                )
                transport._bare_io_reader = transport._io_reader = reader  # noqa: SLF001
                transport._bare_io_writer = transport._io_writer = writer  # noqa: SLF001
                self._transport = transport
            self._raise_lost_cancellation()
        except BaseException:
            self.abort()
            self._raise_lost_cancellation()
            raise
        self.is_silent = True

    def _raise_lost_cancellation(self) -> None:
        """Raise CancelledError if a cancellation of the connecting task was lost.

        Python 3.11's `wait_for`, which nats-py calls, drops a cancellation that coincides with its
        result or failure: nats-py would then keep trying forever.
        """
        task = asyncio.current_task()
        reconnecting = task is self._reconnection_task
        before = 0 if reconnecting else self._cancelled_before
        if task is not None and task.cancelling() > before:
            if reconnecting:  # only closing cancels it, whatever status nats-py has set since
                self._status = Client.CLOSED
            raise asyncio.CancelledError

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        # nats-py drops a cancellation here: a publisher that waits for a slow server could not be
        # cancelled.
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        flushed = await super()._flush_pending(force_flush)
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
        return flushed

    async def _process_connect_init(self) -> None:
        """Greet the server; turn an invalid greeting into one of nats-py's errors.

        Any other exception would end nats-py's reconnection silently and permanently.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                await super()._process_connect_init()
            # Drop PINGs left over from the last connection: nobody waits for their PONGs, and the
            # next flush would mistake those for its own.
            pending = [command for command in self._pending if command != PING_PROTO]
            self._pending_data_size -= len(PING_PROTO) * (len(self._pending) - len(pending))
            self._pending = pending
            self._raise_lost_cancellation()
            if not (self.is_connected and isinstance(self.max_payload, int)):
                raise errors.ProtocolError("nats: invalid server greeting")  # noqa: TRY301
        except BaseException as error:
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                if task is not None:
                    task.cancel()
            # Otherwise each attempt would leak a socket; and after a failed handshake nats-py would
            # wait forever for a closed connection to close.
            self.abort()
            self._raise_lost_cancellation()
            if isinstance(error, Exception) and not isinstance(error, (OSError, errors.Error)):
                raise errors.ProtocolError("nats: invalid server greeting") from error
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self.is_silent = False
        if initial_connection:
            self._raise_lost_cancellation()
            if self._tls_required and info.get("tls_available") is True:
                # It is optional for the server; nats-py would continue in plaintext.
                info["tls_required"] = True
        if not self._discovers or (self._tls_required and not self._is_encrypted()):
            # Before the handshake a man in the middle can announce servers to log in to later.
            info = {name: value for name, value in info.items() if name != "connect_urls"}
        try:
            await super()._process_info(info, initial_connection)
        except (TypeError, ValueError, AttributeError) as error:
            raise errors.ProtocolError("nats: malformed INFO") from error

    async def _process_op_err(self, e: Exception) -> None:
        # nats-py reports the end of a connection, but not a reset; either loses data in transit.
        try:
            if self.is_connected and not isinstance(e, errors.UnexpectedEOF):
                await self._error_cb(e)
        finally:
            await super()._process_op_err(e)

    async def _attempt_reconnect(self) -> None:
        # nats-py waits until the old connection has sent its buffered data, which never happens if
        # the peer is dead or does not read.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            asyncio.get_running_loop().call_later(LINGER, writer.transport.abort)
        await super()._attempt_reconnect()

    def abort(self) -> None:
        """Drop the socket, if any, and its unsent data."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            self._transport = None

    async def _read_loop(self) -> None:
        """Run nats-py's loop, and reconnect if it ended unexpectedly."""
        await super()._read_loop()
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return  # the program is ending: a new connection would outlive its event loop
        if self._reading_task is task and self.is_connected:
            await self._process_op_err(errors.Error("the read loop ended unexpectedly"))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - a bad message must not end the connection
            await self._error_cb(error)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):  # truncated, or a status line that is not UTF-8
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        if headers:
            _remove_forged_status(headers, reply)
        return self.msg_class(
            _client=self,
            subject=subject.decode("utf-8", "surrogateescape"),
            reply=reply.decode("utf-8", "surrogateescape"),
            data=data,
            headers=headers,
            _sid=sid,
        )

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        self._pongs.append(asyncio.Future() if future is None else future)
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # The waiter gave up, but this PONG still answers its PING.
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

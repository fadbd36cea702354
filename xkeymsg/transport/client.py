"""nats-py's client, made to survive what anybody may publish, and to refuse what a broker may ask.

What a publisher does to nats-py 2.16, and what this subclass does about it. Each line is a test
against a real server (`tests/transport/test_hostile_publishers.py`), which fails with the stock
client. Stored in a stream, each of these would otherwise be a poison pill for ever.

- A subject or reply that is not UTF-8, a header block of exactly `NATS/1.0`, or a status line that
  is not UTF-8, raises in the read loop, which ends and is not restarted, while `is_connected` stays
  true. Here: the subject and reply are decoded with `surrogateescape`, headers that cannot be
  parsed are none, and the message is delivered.
- A vertical tab or form feed in a subject, which the server lets through, is white space to
  nats-py's parser: it reads another subject and takes part of the subject for the subscription's
  number. Here: the separator of the protocol is the space.
- A PONG after a `flush` that timed out sets a future that is done, which raises in the read loop.
  Here: such a future is passed over.
- A `flush` sends its PING ahead of what is still buffered, so that it returns before the server
  has seen, or refused, what was published just before. Here: the PING queues behind it.
- A header `Status` is taken for the server's own: stored in a stream, it raises in a `fetch`, hides
  the message from the program or resets an ordered consumer (a watcher of keys, too) for ever, and
  `Nats-Consumer-Stalled` beside it says where the client publishes. Here: it is taken away where
  only a publisher can have written it.
- Headers count for the server's `max_payload`, and nats-py compares the payload alone; the server
  then closes the connection, and nats-py for good. Here: both are compared before anything is sent.
- Whatever else raises in the read loop ends it silently. Here: it leads to a reconnection.

What a broker, or somebody in between, does:

- It does not offer TLS, and nats-py, given a TLS context, goes on in plaintext and sends the
  credentials. Here: the CONNECT line is not sent where TLS was asked for and is not in use, and
  servers that are named before the handshake are not believed.
- It sends, as the login nonce, bytes that mean something elsewhere, and gets them signed by the
  user's key. Here: only what nats-server sends, up to 64 characters of base64url, is signed.
- Its greeting is garbage, and nats-py's reconnection ends, silently and for good; as it does when a
  login file is away for a moment. Here: the next attempt follows.
- It stops reading, and nats-py waits for it before it connects to another. Here: for a second.

And a cancellation that nats-py, or Python 3.11's `wait_for` below it, drops is not dropped here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import ParseResult, unquote

from nats import errors
from nats.aio.client import PING_PROTO, Client, Srv
from nats.aio.msg import Msg

from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.parser import StrictParser

__all__ = ("HardenedClient", "NonceRefusedError", "PlaintextRefusedError", "header_size")

_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINGER: Final = 1.0
"""Seconds that a connection which is given up has for what was written to it."""


def header_size(headers: dict[str, str]) -> int:
    """Return how many bytes a message's headers take on the wire (ADR-4), 0 for none."""
    if not headers:
        return 0
    lines = (len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len(b"NATS/1.0\r\n") + sum(lines) + len(b"\r\n")


class PlaintextRefusedError(errors.Error):
    """The server did not offer the TLS that was asked for; no credentials were sent."""

    def __str__(self) -> str:
        return "the server offers no TLS, and TLS was asked for: nothing was sent to it"


class NonceRefusedError(errors.Error):
    """The server's login nonce is none; nothing was signed."""

    def __str__(self) -> str:
        return "the server's login nonce is not one: it was not signed"


def _disown(headers: dict[str, str], reply: bytes) -> None:
    """Take the status from headers with which only a publisher can have written it.

    The dictionary is the one that nats-py goes on to look at, so it is changed in place.
    """
    status = headers.get("Status")
    if status is None:
        return
    # A message out of a stream has a reply to acknowledge it with, and the server's own statuses
    # have none, but for flow control. nats-py answers that wherever it is told to.
    answers = (reply, headers.get("Nats-Consumer-Stalled", "").encode("utf-8", "replace"))
    forged = status == "100" and any(a and not a.startswith(b"$JS.FC.") for a in answers)
    if forged or reply.startswith(b"$JS.ACK."):
        del headers["Status"]


class HardenedClient(Client):
    """A nats-py client that no publisher can silence; see the module for what it changes."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = StrictParser(self)
        self._tls_required = False
        self._discovers = True
        self._public_nkey_cb: Callable[[], str] | None = None
        self._cancelled_before = 0

    async def connect(self, *args: Any, **options: Any) -> None:
        """Connect as nats-py does, with three more options.

        Args:
            *args: As in nats-py.
            **options: As in nats-py; `tls_required` (bool) refuses a server that offers no TLS;
                without `discover` (bool) no server counts that another names; and `public_nkey`
                returns the key (str) that `signature_cb` signs with, where no JWT names it: nats-py
                has no public way to say so.
        """
        self._tls_required = bool(options.pop("tls_required", False))
        self._discovers = bool(options.pop("discover", True))
        self._public_nkey_cb = options.pop("public_nkey", None)
        # nats-py marks a connection as one with credentials only for the forms it knows.
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
        """Publish as nats-py does, within the server's `max_payload`, headers included.

        Raises:
            nats.errors.MaxPayloadError: If it would be larger; the server would hang up.
            nats.errors.BadSubjectError: If the subject or reply has no bytes on the wire, as that
                of a received message may.
            nats.errors.Error: As nats-py.
        """
        try:
            subject.encode(), reply.encode()
        except UnicodeEncodeError:
            raise errors.BadSubjectError from None
        headers = headers or None  # nats-py sends an empty block, which counts as any other
        if headers and len(payload) + header_size(headers) > self.max_payload > 0:
            raise errors.MaxPayloadError
        await super().publish(subject, payload, reply, headers)

    def _connect_command(self) -> bytes:
        """Build the CONNECT line: the moment before credentials leave, on every (re)connection."""
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
            # A login file that is being replaced: nats-py's reconnection goes on only after an
            # error of its own.
            raise errors.Error(str(error)) from error

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The TLS that the bytes written from now on go through, or None."""
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.get_extra_info("ssl_object")

    def _is_encrypted(self) -> bool:
        return self.ssl_object is not None

    @staticmethod
    def _parse_server_uri(connect_url: str) -> ParseResult:
        uri = Client._parse_server_uri(connect_url)  # noqa: SLF001 - what this one extends
        # nats-py sends user and password as they stand in the address, percent-encoded.
        userinfo, at, host = uri.netloc.rpartition("@")
        return uri._replace(netloc=unquote(userinfo) + at + host)

    async def _connect_to_server(self, s: Srv) -> None:
        try:
            await super()._connect_to_server(s)
        finally:
            self._heed_cancellation()

    def _heed_cancellation(self) -> None:
        """Raise CancelledError if the task that connects was cancelled, and it got lost.

        Python 3.11's `wait_for`, which nats-py calls, drops a cancellation that comes together with
        its result, or with its failure: nats-py then goes on trying for ever.
        """
        task = asyncio.current_task()
        reconnecting = task is self._reconnection_task
        before = 0 if reconnecting else self._cancelled_before
        if task is not None and task.cancelling() > before:
            if reconnecting:  # only closing cancels it, whatever nats-py has noted since
                self._status = Client.CLOSED
            raise asyncio.CancelledError

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        # nats-py drops a cancellation here: a publisher that the server keeps waiting could not be
        # stopped.
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        flushed = await super()._flush_pending(force_flush)
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
        return flushed

    async def _process_connect_init(self) -> None:
        """Greet the server; whatever it answers that is no greeting is an error of nats-py's.

        At any other exception nats-py's reconnection would end, silently and for good.
        """
        try:
            await super()._process_connect_init()
            # Nobody waits for the PONGs of PINGs that did not get through on the last connection:
            # the next flush would take them for its own.
            pending = [command for command in self._pending if command != PING_PROTO]
            self._pending_data_size -= len(PING_PROTO) * (len(self._pending) - len(pending))
            self._pending = pending
            self._heed_cancellation()
            if not (self.is_connected and isinstance(self.max_payload, int)):
                raise errors.ProtocolError("nats: the server did not answer as one")  # noqa: TRY301
        except BaseException as error:
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                if task is not None:
                    task.cancel()
            # Or each attempt would leave a socket behind; and after a handshake that failed nats-py
            # would wait for ever for the end of a connection that has ended.
            self.abort()
            self._heed_cancellation()
            if isinstance(error, Exception) and not isinstance(error, (OSError, errors.Error)):
                raise errors.ProtocolError("nats: the server did not answer as one") from error
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            self._heed_cancellation()
        if not self._discovers or (self._tls_required and not self._is_encrypted()):
            # Before the handshake anybody in between can name servers to log in to later.
            info = {name: value for name, value in info.items() if name != "connect_urls"}
        try:
            await super()._process_info(info, initial_connection)
        except (TypeError, ValueError, AttributeError) as error:
            raise errors.ProtocolError("nats: malformed INFO") from error

    async def _process_op_err(self, e: Exception) -> None:
        # nats-py tells of an end of the connection, but not of a reset; what was on its way is lost
        # with either.
        try:
            if self.is_connected and not isinstance(e, errors.UnexpectedEOF):
                await self._error_cb(e)
        finally:
            await super()._process_op_err(e)

    async def _attempt_reconnect(self) -> None:
        # nats-py waits until the old connection has taken what was written to it, which one that
        # is dead, or does not read, never does.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            asyncio.get_running_loop().call_later(_LINGER, writer.transport.abort)
        await super()._attempt_reconnect()

    def abort(self) -> None:
        """Drop the socket, if there is one, with what is still to be written to it."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            self._transport = None

    async def _read_loop(self) -> None:
        """Run nats-py's loop, and reconnect where it gave up over something it did not expect."""
        await super()._read_loop()
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return  # the program ends: a connection begun now would outlive its event loop
        if self._reading_task is task and self.is_connected:
            await self._process_op_err(errors.Error("the read loop ended unexpectedly"))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - one message's fault is not the connection's
            await self._error_cb(error)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short, or a status line that is not UTF-8
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        if headers:
            _disown(headers, reply)
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
            # Its waiter gave up; the PONG still is the answer to that PING.
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

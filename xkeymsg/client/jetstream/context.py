"""`client.js`: sealed messages into streams, and out of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.consumer import Consumer, ConsumerEvent
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.jetstream.quarantine import PROVEN, UNPROVEN, Quarantine, record_key
from xkeymsg.client.outgoing import Room, check_subject
from xkeymsg.client.refusals import refusing
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.trust import To
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import ConfigurationError, MalformedError
from xkeymsg.limits import Limits
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link

__all__ = ("JetStream",)

_OURS: Final = ("nats-msg-id", "sender", "status", "xkm-")
"""What the names of headers in the clear may not begin with: ours, and what clients take for the
server's word."""
_ID: Final = len("Nats-Msg-Id: \r\n") + 22
"""Bytes of the line with a message's id."""
_TIMEOUT: Final = 10.0


class JetStream:
    """Acknowledged publishing and consuming, of one client.

    ack = await client.js.publish("orders.new", b"…", to=["bob"])
    async with client.js.consume("ORDERS", "billing", handle) as consumer:
        await consumer.wait()
    """

    def __init__(
        self, link: Link, core: Core, *, domain: str | None = None, in_flight: int = 256
    ) -> None:
        """Take the connection, and what seals and opens.

        Args:
            link: The connection.
            core: The client's keys and trust.
            domain: The JetStream domain, where it is not the server's own.
            in_flight: How many messages may wait for their acknowledgement.
        """
        self.api = API(link, domain=domain)
        """For questions to JetStream itself."""
        self._core = core
        self._publisher = StreamPublisher(self.api, in_flight=in_flight)

    # --- publishing -------------------------------------------------------------------------------

    @refusing
    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        to: To,
        clear_headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
        **sealing: Any,
    ) -> PubAck:
        """Seal a message, have a stream keep it, and return the stream's word that it does.

        Args:
            subject: What it is sealed for, and where to.
            data: What the recipients get.
            to: Whom it is for, as for `client.publish`.
            clear_headers: Headers that everybody sees, those for JetStream too
                (`Nats-Expected-Last-Sequence`, `Nats-TTL`).
            timeout: How long the acknowledgement may take, in seconds, retries included: less than
                the stream's `duplicate_window`.
            **sealing: `headers`, `content_type`, `expires`, as for `client.publish`.

        Raises:
            DeliveryError: If the stream refuses it (`err_code` is JetStream's number of the error),
                no stream takes the subject, or there was no answer in time: then it may be stored,
                or not.
            ConflictError: If the stream keeps another message under this one's id; or had one
                before this was sent, and does not let us see it. An alarm: somebody saw the message
                before the stream did.
            PayloadTooLargeError: If the server would not take it.
            ConnectionFailedError: If the client is closed.
            XKeyMsgError: As sealing raises.

        A task that is cancelled meanwhile does not know whether the message is stored.
        """
        future = await self.publish_async(
            subject, data, to=to, clear_headers=clear_headers, timeout=timeout, **sealing
        )
        return await future

    @refusing
    async def publish_async(
        self,
        subject: str,
        data: bytes,
        *,
        to: To,
        clear_headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
        **sealing: Any,
    ) -> asyncio.Future[PubAck]:
        """Seal and send a message, and return where its acknowledgement will be.

        Waits only while as many are in flight as may be. Arguments and errors are those of
        `publish`; what happens after it was sent is raised by the future.
        """
        check_subject(subject)
        block = self._block(clear_headers)
        recipients = self._core.client_trust.recipients(to)
        envelope = self._core.outgoing.payload(
            subject, data, recipients, room=self._room(block), **sealing
        )
        return await self._submit(subject, envelope, block, timeout)

    @refusing
    async def publish_document(
        self,
        subject: str,
        document: Any,
        *,
        clear_headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
        **sealing: Any,
    ) -> PubAck:
        """Seal a document, of which every reader sees its part, and have a stream keep it.

        Args:
            subject: As for `publish`.
            document: As for `client.publish_document`.
            clear_headers: As for `publish`.
            timeout: As for `publish`.
            **sealing: `policy`, `readers` and more, as for `client.publish_document`.

        Raises:
            XKeyMsgError: As `publish`, and as sealing a document.
        """
        check_subject(subject)
        block = self._block(clear_headers)
        envelope = self._core.outgoing.document(
            subject, document, room=self._room(block), **sealing
        )
        return await (await self._submit(subject, envelope, block, timeout))

    async def flush(self) -> None:
        """Wait until no message is in flight; how each fared is for its own future to say."""
        await self._publisher.flush()

    def _room(self, block: bytes) -> Room:
        # With a Nats-Msg-Id; the connection counts exactly, again.
        return Room(self.api.link.max_payload, len(block) + _ID)

    def _block(self, clear: Mapping[str, str] | None) -> bytes:
        """Return the header block, in which the line with the message's id is still to come.

        Raises:
            MalformedError: If a header in the clear cannot be used.
        """
        block = self._core.outgoing.block
        if not clear:
            return block
        if any(header.lower().startswith(_OURS) for header in clear):
            raise MalformedError("a header in the clear with a name that is set here, or reserved")
        return block[:-2] + encode_block(clear)[len(b"NATS/1.0\r\n") :]

    async def _submit(
        self, subject: str, envelope: bytes, block: bytes, timeout: float
    ) -> asyncio.Future[PubAck]:
        name = base64.urlsafe_b64encode(message_id(envelope))[:22]
        headers = b"%bNats-Msg-Id: %b\r\n\r\n" % (block[:-2], name)
        return await self._publisher.submit(subject, envelope, headers, timeout=timeout)

    # --- consuming --------------------------------------------------------------------------------

    def consume(
        self,
        stream: str,
        durable: str,
        handler: Callable[[Any], Awaitable[object]],
        *,
        subjects: str | Iterable[str] = ">",
        documents: bool = False,
        match_wire: bool = False,
        max_age: timedelta | None = None,
        require_signature: bool = False,
        create: DurableOptions | None = None,
        on_missing: Literal["error", "recreate"] = "error",
        policy: FailurePolicy | None = None,
        workers: int = 1,
        ordered: bool = False,
        ack_sync: bool = False,
        prefetch: int = 256,
        prefetch_bytes: int = 8 << 20,
        expires: float = 30.0,
        heartbeat: float = 5.0,
        stop_timeout: float = 10.0,
        unproven: str = UNPROVEN,
        proven: str = PROVEN,
        on_event: Callable[[ConsumerEvent], None] = lambda _: None,
    ) -> Consumer[Any]:
        """Return the workers of a durable, which begin with `async with`, or `run`.

        Args:
            stream: Whose messages.
            durable: The consumer; processes that name the same one share its messages.
            handler: Called with each opened message; it is acknowledged when that has returned,
                and comes again if it raises. It is called at least once, and must be idempotent.
            subjects: What messages may be sealed for, in subjects or NATS patterns: handlers can go
                by `message.subject`, and not by what the broker says.
            documents: Whether they are documents.
            match_wire: Whether the subject on the wire has to be the sealed one.
            max_age: How long before it was stored a message may have been sealed.
            require_signature: Whether to refuse what is not signed by the sender's user.
            create: How to make the durable if it is not there; nothing is an error then.
            on_missing: What to do if it goes: end with an error, or make it again, from its
                beginning.
            policy: How often and how long to try before the quarantine.
            workers: How many handlers run at a time.
            ordered: Whether messages of one sealed subject are handled one after another, as they
                came: in this process, and but for those that wait for a key.
            ack_sync: Whether to wait for the server's word on each acknowledgement.
            prefetch: Messages that may be here or on their way; at most half of the limit
                `replay_pending`.
            prefetch_bytes: Bytes that they may have, roughly.
            expires: How long the server keeps a request for messages, in seconds.
            heartbeat: How often it says that it does, in seconds; at most half of `expires`.
            stop_timeout: How long to handle what is here when it is to stop, in seconds.
            unproven: The quarantine stream for what nothing is proven of.
            proven: The quarantine stream for what admitted senders made.
            on_event: Told of what fails, and how it goes on; `blocked` is an alarm.

        Raises:
            ConfigurationError: If a value makes no sense.
            TypeError: If the handler is not callable.
        """
        pending = (self._core.limits or Limits()).replay_pending
        if 2 * prefetch > pending:  # or one that is in a handler's hands would be forgotten
            raise ConfigurationError(
                f"prefetch: at most half of the limit replay_pending ({pending})"
            )
        key = record_key(self._core.keyring.active)
        accepted = subjects if isinstance(subjects, str) else tuple(subjects)

        def begin() -> OpeningScope:
            return self._core.scope(
                subjects=accepted,
                documents=documents,
                match_wire=match_wire,
                max_age=max_age,
                require_signature=require_signature,
            )

        return Consumer(
            self.api,
            stream,
            durable,
            handler,
            new_opening=begin,
            new_quarantine=lambda tell: Quarantine(
                self.api, key, unproven=unproven, proven=proven, on_blocked=tell
            ),
            policy=policy,
            create=create,
            on_missing=on_missing,
            workers=workers,
            ordered=ordered,
            ack_sync=ack_sync,
            prefetch=prefetch,
            prefetch_bytes=prefetch_bytes,
            expires=expires,
            heartbeat=heartbeat,
            stop_timeout=stop_timeout,
            on_event=on_event,
        )

    async def close(self) -> None:
        """End publishing; what is in flight fails."""
        await self._publisher.close()

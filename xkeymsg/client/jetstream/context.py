"""`client.js`: publishing sealed messages into streams, and consuming them."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal

from xkeymsg.arguments import Buffer
from xkeymsg.client.core import Core
from xkeymsg.client.error_log import ErrorLog
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.events import ConsumerEvent
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.jetstream.quarantine import PROVEN, UNPROVEN, Quarantine, record_key
from xkeymsg.client.jetstream.streams import build_config
from xkeymsg.client.outgoing import Room, check_subject
from xkeymsg.client.refusals import refusing
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.telemetry import NOWHERE, Carried, Destination, publishing
from xkeymsg.client.threads import check_handler
from xkeymsg.client.trust import To
from xkeymsg.envelope.inspect import message_id
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import ConfigurationError
from xkeymsg.fields.policy import Policy
from xkeymsg.limits import Limits, Stream
from xkeymsg.transport.link import Link

__all__ = ("JetStream",)

_OURS: Final = ("nats-msg-id", "sender", "status", "xkm-")
"""Forbidden prefixes of unencrypted headers: ours, and those that clients attribute to the
server."""
_ID: Final = len("Nats-Msg-Id: \r\n") + 22
"""Bytes of the header line with a message's id."""
_TIMEOUT: Final = 10.0


class JetStream:
    """Acknowledged publishing and consuming, for one client.

        ack = await client.js.publish("orders.new", b"…", to=["bob"])
        async with client.js.consume("ORDERS", "billing", handle) as consumer:
            await consumer.wait()

    Args:
        link: The connection.
        core: The client's keys and trust.
        in_flight: Limit of unacknowledged messages.
    """

    def __init__(self, link: Link, core: Core, *, in_flight: int = 256) -> None:
        self.api = API(link)
        """The client of JetStream's API."""
        self._core = core
        self._publisher = StreamPublisher(self.api, in_flight=in_flight)

    # --- streams ----------------------------------------------------------------------------------

    async def add_stream(
        self,
        name: str,
        subjects: str | Iterable[str],
        *,
        retention: Literal["limits", "interest", "workqueue"] = "limits",
        storage: Literal["file", "memory"] = "file",
        discard: Literal["old", "new"] = "old",
        max_age: float | None = None,
        max_bytes: int | None = None,
        max_messages: int | None = None,
        duplicate_window: float | None = None,
        replicas: int = 1,
    ) -> None:
        """Create a stream; if it exists with these settings, do nothing.

        Args:
            name: The stream's name.
            subjects: The subjects or NATS patterns that it stores.
            retention: `limits`: messages stay until a limit deletes them. `workqueue`: until they
                are acknowledged. `interest`: until every consumer has acknowledged them.
            storage: Where the server keeps it.
            discard: What gives way when the stream is full: the oldest messages, or new ones.
            max_age: The seconds after which a message is deleted; by default never.
            max_bytes: The greatest size in bytes; by default unlimited.
            max_messages: The greatest number of messages; by default unlimited.
            duplicate_window: For how many seconds the server recognizes a message that is sent
                again; by default 120, or `max_age` if that is less.
            replicas: The number of servers of a cluster that hold it.

        Raises:
            ConfigurationError: If a value is invalid.
            DeliveryError: If the server refuses it (`err_code` is JetStream's error number), for
                instance because the stream exists with other settings.
            ConnectionFailedError: If the client is closed.
            TypeError: If an argument has the wrong type.
        """
        config = build_config(
            name,
            subjects,
            retention=retention,
            storage=storage,
            discard=discard,
            max_age=max_age,
            max_bytes=max_bytes,
            max_messages=max_messages,
            duplicate_window=duplicate_window,
            replicas=replicas,
        )
        await self.api.request(f"STREAM.CREATE.{name}", config)

    # --- publishing -------------------------------------------------------------------------------

    @refusing
    async def publish(
        self,
        subject: str,
        data: Buffer,
        *,
        to: To,
        headers: Headers = (),
        clear_headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> PubAck:
        """Seal and publish a message into a stream, and return the stream's acknowledgement.

        Args:
            subject: The subject, on the wire and sealed.
            data: The plaintext.
            to: The recipients, as for `client.publish`.
            headers: Sealed headers.
            clear_headers: Unencrypted headers, including those for JetStream
                (`Nats-Expected-Last-Sequence`, `Nats-TTL`).
            content_type: A media type, sealed.
            expires: How many seconds from now the message may be opened.
            timeout: Timeout of the acknowledgement in seconds, including retries; must be less than
                the stream's `duplicate_window`.

        Raises:
            DeliveryError: If the stream refuses it (`err_code` is JetStream's error number), no
                stream takes the subject, or the acknowledgement timed out: then it may or may not
                be stored.
            ConflictError: If the stream holds another message under this one's id; or had one
                before this was sent, and it cannot be read. This is an alarm: someone saw the
                message before the stream did.
            PayloadTooLargeError: If it exceeds the limit of the server or the stream.
            ConnectionFailedError: If the client is closed.
            XKeyMsgError: If sealing fails.

        If the task is cancelled, it is unknown whether the message is stored.
        """
        with publishing(self._core.outgoing.tracing, NOWHERE) as trace:
            future = await self._publish(
                subject,
                data,
                to=to,
                headers=headers,
                clear_headers=clear_headers,
                content_type=content_type,
                expires=expires,
                timeout=timeout,
                trace=trace,
            )
            return await future

    @refusing
    async def publish_async(
        self,
        subject: str,
        data: Buffer,
        *,
        to: To,
        headers: Headers = (),
        clear_headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> asyncio.Future[PubAck]:
        """Seal and send a message, and return a future of its acknowledgement.

        Waits only while too many messages are in flight. Arguments are those of `publish`.

        Raises:
            PayloadTooLargeError: If it exceeds the server's limit.
            ConnectionFailedError: If the client is closed.
            XKeyMsgError: If sealing fails. Errors after sending are raised by the future, as by
                `publish`.
        """
        with publishing(self._core.outgoing.tracing, NOWHERE) as trace:
            return await self._publish(
                subject,
                data,
                to=to,
                headers=headers,
                clear_headers=clear_headers,
                content_type=content_type,
                expires=expires,
                timeout=timeout,
                trace=trace,
            )

    @refusing
    async def publish_document(
        self,
        subject: str,
        document: Any,
        *,
        policy: Policy,
        readers: Mapping[str, To] | None = None,
        headers: Headers = (),
        clear_headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> PubAck:
        """Seal and publish a document, of which each reader can open its parts, into a stream.

        Args:
            subject: As for `publish`.
            document: As for `client.publish_document`.
            policy: Which permissions may read which field.
            readers: As for `client.publish_document`.
            headers: As for `publish`; every reader gets them.
            clear_headers: As for `publish`.
            content_type: As for `publish`.
            expires: As for `publish`.
            timeout: As for `publish`.

        Raises:
            XKeyMsgError: As `publish`, and as sealing a document.
        """
        check_subject(subject)
        with publishing(self._core.outgoing.tracing, NOWHERE) as trace:
            block = self._core.outgoing.block_with(clear_headers, trace, _OURS)
            envelope = self._core.outgoing.document(
                subject,
                document,
                policy=policy,
                readers=readers,
                room=self._room(block),
                headers=headers,
                content_type=content_type,
                expires=expires,
                trace=trace,
            )
            return await (await self._submit(subject, envelope, block, timeout))

    async def flush(self) -> None:
        """Wait until no message is in flight; each future has its own result."""
        await self._publisher.flush()

    async def _publish(
        self,
        subject: str,
        data: Buffer,
        *,
        to: To,
        clear_headers: Mapping[str, str] | None,
        timeout: float,
        trace: Carried | None,
        **sealing: Any,
    ) -> asyncio.Future[PubAck]:
        check_subject(subject)
        block = self._core.outgoing.block_with(clear_headers, trace, _OURS)
        recipients = self._core.client_trust.recipients(to)
        envelope = self._core.outgoing.payload(
            subject, data, recipients, room=self._room(block), trace=trace, **sealing
        )
        return await self._submit(subject, envelope, block, timeout)

    def _room(self, block: bytes) -> Room:
        # Includes Nats-Msg-Id; the connection checks the exact size again.
        return Room(self.api.link.max_payload, len(block) + _ID)

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
        replay: Stream = Stream(),
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
        on_event: Callable[[ConsumerEvent], None] | None = None,
    ) -> Consumer[Any]:
        """Return a consumer with workers of a durable; start it with `async with`, or `run`.

        Args:
            stream: The stream.
            durable: The durable; processes that name the same one share its messages.
            handler: Called with each opened message, which is acknowledged when it returns, and
                redelivered if it raises. It is called at least once, and must be idempotent.
                Errors of connections, timeouts and full disks are temporary: if they concern three
                messages in a row, consuming holds, and no message is given up.
            subjects: The sealed subjects to accept, as subjects or NATS patterns: handlers can rely
                on `message.subject` instead of the broker.
            documents: Whether the messages are documents.
            match_wire: Whether the subject on the wire must be the sealed one.
            replay: The replay policy; its `max_age` is how many seconds before it was stored a
                message may have been sealed.
            require_signature: Whether to refuse messages not signed by the sender's user.
            create: Options to create the durable with if it does not exist; otherwise that is an
                error.
            on_missing: What to do if the durable is deleted: raise an error, or create it again,
                from its beginning.
            policy: How often and how long to retry before the quarantine.
            workers: Number of concurrent handlers.
            ordered: Whether messages with the same sealed subject are handled one after another, in
                order of arrival: within this process, and except those that wait for a key.
            ack_sync: Whether to wait for the server's confirmation of each acknowledgement.
            prefetch: Limit of messages held or requested; at most half of the limit
                `replay_pending`, and in effect a quarter of the durable's `max_ack_pending`.
            prefetch_bytes: Approximate limit of their bytes.
            expires: How long the server keeps a request for messages, in seconds.
            heartbeat: Interval of the server's heartbeats, in seconds; at most half of `expires`.
            stop_timeout: How long to handle held messages when stopping, in seconds.
            unproven: The quarantine stream for unauthenticated messages.
            proven: The quarantine stream for messages of admitted senders.
            on_event: Called with each `ConsumerEvent`; `blocked` and `trouble` are alarms.
                By default, the logger `xkeymsg` gets alarms at ERROR and failures at WARNING, as
                for `on_error` of `connect`.

        Raises:
            ConfigurationError: If a value is invalid.
            TypeError: If the handler is not an async function.
        """
        limits = self._core.limits or Limits()
        pending = limits.replay_pending
        if 2 * prefetch > pending:  # or one held by a handler could be forgotten
            raise ConfigurationError(
                f"prefetch must be at most half of the limit replay_pending ({pending})"
            )
        key = record_key(self._core.keyring.active)
        place, tracing = Destination(stream, durable), self._core.outgoing.tracing
        check_handler(handler)
        if tracing is not None:
            handler = tracing.handler(handler, place)
        accepted = subjects if isinstance(subjects, str) else tuple(subjects)

        def begin() -> OpeningScope:
            return self._core.scope(
                subjects=accepted,
                documents=documents,
                match_wire=match_wire,
                replay=replay,
                require_signature=require_signature,
                place=place,
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
            skew=limits.skew,
            on_event=_logging(stream, durable) if on_event is None else on_event,
        )

    async def close(self) -> None:
        """Stop publishing; messages in flight fail."""
        await self._publisher.close()


def _logging(stream: str, durable: str) -> Callable[[ConsumerEvent], None]:
    """Return the default `on_event`: it logs failures, messages given up, and alarms."""
    log = ErrorLog()

    def note(event: ConsumerEvent) -> None:
        kind, code, sequence, error = event
        if kind in ("retry", "quarantined", "lost", "delivery"):
            log.tell(f"message of a stream, {kind}", f"{stream} {sequence}", error, code)
        elif kind in ("blocked", "unblocked", "trouble", "recovered"):
            level = logging.ERROR if error else logging.WARNING
            log.tell(f"consumer, {kind}", f"{stream}/{durable}", error, code, level)

    return note

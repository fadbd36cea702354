"""`Client`: sealed messages over a connection to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, overload

from xkeymsg.arguments import Buffer
from xkeymsg.client.connection import Connection
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.outgoing import check_subject
from xkeymsg.client.publish import Publisher
from xkeymsg.client.refusals import refusing
from xkeymsg.client.replies import Prefix, Replies
from xkeymsg.client.requests import Requests
from xkeymsg.client.scope import Format
from xkeymsg.client.services import Handler, Service
from xkeymsg.client.stats import Events, OnError, Stats, Where
from xkeymsg.client.subscription import MAX_BYTES, MAX_MESSAGES, Subscription
from xkeymsg.client.tasks import Background
from xkeymsg.client.telemetry import Destination
from xkeymsg.client.threads import in_thread
from xkeymsg.client.trust import Reloadable, To
from xkeymsg.display import safe_repr
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    ServiceError,
)
from xkeymsg.keys import Keyring, XKey, XKeyPair
from xkeymsg.kv.buckets import KVBuckets
from xkeymsg.limits import AtRest, Live
from xkeymsg.objects.stores import ObjectStores
from xkeymsg.opener import View
from xkeymsg.transport.link import Event, Link

__all__ = ("RELOAD", "Client")

RELOAD: Final = 1.0
"""Seconds between two checks of the trust source for changes."""


@safe_repr
class Client(Publisher, KVBuckets, ObjectStores):
    """Publishes, subscribes, requests and replies with sealed messages; made by `connect`.

    Use it only in the event loop that it was made in. A cancelled call leaves the client usable:
    `publish` has sent the message or not, `request` no longer waits, and an iteration has taken
    nothing.
    """

    def __init__(
        self,
        connection: Connection,
        core: Core,
        *,
        reply_prefix: Prefix = "_INBOX",
        on_error: OnError | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        super().__init__(connection, core, Stats())
        self._core = core
        self._events = Events(self._stats, on_error)
        self._on_event = on_event
        self._requests = Requests(
            connection, self._outgoing, self._events, core.limits, core.client_trust
        )
        self._replies = Replies(connection, self._outgoing, self._stats, reply_prefix)
        self._background = Background()
        self._js: JetStream | None = None

    @property
    def public(self) -> XKey:
        """The public key of the client's active key pair."""
        return self._core.keyring.active.public

    def rekey(self, key: XKeyPair | Keyring) -> None:
        """Seal with another key from now on, and open messages sealed to it.

        Applies to everything of this client: subscriptions, services, running consumers, requests.
        Messages sealed to the previous key open only while it is among the `retired` keys; replay
        protection continues. Recipients and requesters must know the new key by then, because
        messages and replies are sealed with it.

        Args:
            key: The key pair, or a keyring with the retired ones.

        Raises:
            TypeError: If `key` is neither; nothing has changed then.
        """
        self._core.rekey(key)

    @property
    def stats(self) -> Stats:
        """Counters of what this client has done and refused."""
        self._stats.dropped = self._connection.dropped
        return self._stats

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """The state of the connection."""
        return self._connection.state

    # --- subscribing ------------------------------------------------------------------------------

    @overload
    def subscribe(
        self,
        subject: str,
        *,
        queue: str = ...,
        documents: Literal[False] = ...,
        subjects: str | Iterable[str] | None = ...,
        match_wire: bool = ...,
        formats: Iterable[Format] = ...,
        replay: Live | AtRest = ...,
        require_signature: bool = ...,
        max_messages: int = ...,
        max_bytes: int = ...,
        on_error: OnError | None = ...,
    ) -> Subscription[Message]: ...

    @overload
    def subscribe(
        self,
        subject: str,
        *,
        queue: str = ...,
        documents: Literal[True],
        subjects: str | Iterable[str] | None = ...,
        match_wire: bool = ...,
        formats: Iterable[Format] = ...,
        replay: Live | AtRest = ...,
        require_signature: bool = ...,
        max_messages: int = ...,
        max_bytes: int = ...,
        on_error: OnError | None = ...,
    ) -> Subscription[View]: ...

    def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        documents: bool = False,
        subjects: str | Iterable[str] | None = None,
        match_wire: bool = False,
        formats: Iterable[Format] = ("xkm1",),
        replay: Live | AtRest = Live(),
        require_signature: bool = False,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        on_error: OnError | None = None,
    ) -> Subscription[Any]:
        """Return a subscription; it starts with `async with`.

        Messages that cannot be opened are skipped, counted in `stats.refused` and reported. Each
        subscription has its own replay window; two on one subject both get a message. Messages
        sealed more than `Limits.skew` before its start are refused, so that none is replayed after
        a restart.

        Args:
            subject: A subject or NATS pattern to subscribe to.
            queue: A group whose members share the messages.
            documents: Whether the messages are documents; the subscription then yields Views.
            subjects: The accepted *sealed* subjects or patterns; by default `subject`. Set it if
                the server maps subjects.
            match_wire: Whether the subject on the wire must equal the sealed one.
            formats: The accepted formats. `"xkv1"` must be requested explicitly, for keys that
                trust admits to it: it has no subject, time or replay protection, and
                `message.subject` is what the broker claims.
            replay: `Live()`; or `AtRest()`, which checks neither age nor repetition.
            require_signature: Whether to refuse messages not signed by the sender's user.
            max_messages: How many messages may be buffered.
            max_bytes: How many bytes of messages may be buffered.
            on_error: Called with the errors of this subscription instead of the client's callback.

        Raises:
            ConfigurationError: If a value is invalid.
            TypeError: If an argument has the wrong type.
        """
        scope = self._core.scope(
            subjects=subject if subjects is None else subjects,
            documents=documents,
            match_wire=match_wire,
            formats=formats,
            replay=replay,
            require_signature=require_signature,
            place=Destination(subject, queue),
        )
        return Subscription(
            self._connection,
            scope,
            self._events.replaced(on_error),
            subject,
            queue=queue,
            max_messages=max_messages,
            max_bytes=max_bytes,
        )

    # --- requests and replies ---------------------------------------------------------------------

    @refusing
    async def request(
        self,
        subject: str,
        data: Buffer,
        *,
        to: To,
        timeout: float = 5.0,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> Message:
        """Seal a request, and return the first reply of one of its recipients.

        Args:
            subject: The subject to publish to.
            data: The payload.
            to: As for `publish`; only they can reply.
            timeout: How long to wait, in seconds; the request expires a little later.
            headers: As for `publish`.
            content_type: As for `publish`.

        Raises:
            ServiceError: If the reply is an error.
            DeliveryError: If no reply came in time; or if the server reports no responders, which
                is not authenticated.
            XKeyMsgError: As `publish`.
        """
        check_subject(subject)
        return await self._requests.first(
            subject,
            data,
            self._client_trust.recipients(to),
            timeout=timeout,
            headers=headers,
            content_type=content_type,
        )

    @refusing
    async def request_many(
        self,
        subject: str,
        data: Buffer,
        *,
        to: To,
        timeout: float = 5.0,
        replies: int | None = None,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> list[Message | ServiceError]:
        """Seal a request, and return all replies that come in time, at most one of each key.

        Args:
            subject: As for `request`.
            data: As for `request`.
            to: As for `request`.
            timeout: How long to wait, in seconds.
            replies: How many replies to wait for; by default one of each recipient.
            headers: As for `request`.
            content_type: As for `request`.

        Raises:
            DeliveryError: If the server reports no responders. A shorter list is not an error.
            XKeyMsgError: As `publish`.
        """
        check_subject(subject)
        return await self._requests.several(
            subject,
            data,
            self._client_trust.recipients(to),
            timeout=timeout,
            replies=replies,
            headers=headers,
            content_type=content_type,
        )

    @refusing
    async def respond(
        self,
        message: Message,
        data: Buffer,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        answer_anyone: bool = False,
    ) -> None:
        """Reply to a request, once; the reply is sealed to the key in the request.

        Args:
            message: The request.
            data: The payload of the reply.
            headers: As for `publish`.
            content_type: As for `publish`.
            answer_anyone: Whether to reply to senders who are not admitted by name, under `ANYONE`.

        Raises:
            MalformedError: If the message is not a request.
            KeyFormatError: If the request's reply key is invalid.
            SubjectMismatchError: If the reply subject is not an inbox of the request's sender.
            SenderNotAdmittedError: If the sender is not admitted by name.
            ConfigurationError: If the request was answered before.
            PayloadTooLargeError: If the reply is too long; a shorter one can be sent.
            XKeyMsgError: As `publish`.
        """
        await self._replies.answer(
            message, data, headers=headers, content_type=content_type, anyone=answer_anyone
        )

    def serve(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        concurrency: int = 64,
        grace: float = 5.0,
        answer_anyone: bool = False,
        subjects: str | Iterable[str] | None = None,
        match_wire: bool = False,
        require_signature: bool = False,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        on_error: OnError | None = None,
    ) -> Service:
        """Return a service that answers requests during its `async with` block.

        If a handler raises `ServiceError`, that error is the reply; for any other exception the
        reply is the error `internal` without details. Both are counted in `stats.failed` and
        reported, and the service continues. Only KeyboardInterrupt propagates.

        Args:
            subject: The subject or pattern to subscribe to.
            handler: Called with each request that can be answered; returns bytes, a `Reply`, or
                None for an empty reply. It may also call `respond` itself.
            queue: A group whose members share the requests.
            concurrency: How many handlers run at a time; further requests are buffered.
            grace: How long to finish received requests on exit, in seconds.
            answer_anyone: As for `respond`.
            subjects: As for `subscribe`.
            match_wire: As for `subscribe`.
            require_signature: As for `subscribe`.
            max_messages: As for `subscribe`.
            max_bytes: As for `subscribe`.
            on_error: Called with refused requests and failed handlers of this service.

        Raises:
            ConfigurationError: If a value is invalid.
            TypeError: If an argument has the wrong type.
        """
        subscription = self.subscribe(
            subject,
            queue=queue,
            subjects=subjects,
            match_wire=match_wire,
            require_signature=require_signature,
            max_messages=max_messages,
            max_bytes=max_bytes,
            on_error=on_error,
        )
        return Service(
            subscription,
            self._replies,
            self._events.replaced(on_error),
            handler,
            concurrency=concurrency,
            grace=grace,
            anyone=answer_anyone,
            tracing=self._outgoing.tracing,
            place=Destination(subject, queue),
        )

    # --- streams ----------------------------------------------------------------------------------

    @property
    def js(self) -> JetStream:
        """JetStream: acknowledged publishing, and consuming.

        Raises:
            ConfigurationError: If the connection is the in-memory one for tests.
        """
        if self._js is None:
            if not isinstance(self._connection, Link):
                raise ConfigurationError("JetStream requires a server, not an in-memory connection")
            self._js = JetStream(self._connection, self._core)
        return self._js

    # --- lifecycle --------------------------------------------------------------------------------

    async def drain(self, timeout: float = 5.0) -> None:
        """Stop receiving, let buffered messages be taken, send buffered data, then close.

        Iterations end. Takes at most `timeout` seconds.
        """
        await self._connection.drain(timeout)

    def start(self) -> None:
        """Start checking the trust source for changes; `connect` calls it."""
        trust = self._client_trust.senders
        if isinstance(trust, Reloadable):
            self._background.spawn(self._reload(trust))

    async def close(self) -> None:
        """Stop background tasks and drop the session's secrets; `connect` calls it on exit."""
        await self._background.close()
        if self._js is not None:
            await self._js.close()
        await self._requests.close()
        self._outgoing.close()

    async def _reload(self, trust: Reloadable) -> None:
        path = str(getattr(trust, "path", ""))
        while True:
            await asyncio.sleep(RELOAD)
            try:
                await in_thread(trust.reload)
            except Exception as error:  # noqa: BLE001 - the previous trust stays in use
                self._events.tell(error, Where("trust", path))

    def warn(self, error: Exception) -> None:
        """Report a problem of the directory."""
        self._events.tell(error, Where("directory"))

    def happened(self, event: Event) -> None:
        """Handle an event of the connection."""
        if self._on_event is not None:
            self._on_event(event)
        self._requests.happened(event)
        if event.kind == "slow":
            error = DeliveryError(f"buffer full: {event.dropped} messages dropped so far")
            self._events.tell(error, Where("connection", event.subject))
        elif event.error is not None:
            self._events.tell(event.error, Where("connection"))

    def __repr__(self) -> str:
        return f"<Client {self.public}, {self.state}>"

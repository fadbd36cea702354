"""`Client`: sealed messages over a connection to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, overload

from xkeymsg.client.connection import Connection
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.outgoing import Room, check_subject, clear_block
from xkeymsg.client.refusals import refusing
from xkeymsg.client.replies import Prefix, Replies
from xkeymsg.client.requests import Requests
from xkeymsg.client.scope import Format
from xkeymsg.client.services import Handler, Service
from xkeymsg.client.stats import Events, OnError, Stats, Where
from xkeymsg.client.subscription import MAX_BYTES, MAX_MESSAGES, Subscription
from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import in_thread
from xkeymsg.client.trust import Reloadable, To
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    ServiceError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import Keyring, XKey, XKeyPair
from xkeymsg.opener import View
from xkeymsg.shown import safe_repr
from xkeymsg.transport.link import Event, Link

__all__ = ("Client",)

_RELOAD: Final = 1.0
"""Seconds between two looks at whether trust's source has changed."""


@safe_repr
class Client:
    """Publishes, takes, asks and answers sealed messages; made by `connect`.

    For use in the event loop it was made in. A task that is cancelled in one of its calls leaves
    the client as it was: `publish` then has sent the message or not, `request` does not wait any
    more, and an iteration has taken nothing.
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
        """Take a connection, and what seals and opens; users have `connect`."""
        self._core, self._connection = core, connection
        self._client_trust, self._outgoing = core.client_trust, core.outgoing
        self._stats = Stats()
        self._events = Events(self._stats, on_error)
        self._on_event = on_event
        self._asking = Requests(
            connection, self._outgoing, self._events, core.limits, core.client_trust
        )
        self._answering = Replies(connection, self._outgoing, self._stats, reply_prefix)
        self._background = Background()
        self._js: JetStream | None = None

    @property
    def public(self) -> XKey:
        """The key that its messages are sealed by."""
        return self._core.keyring.active.public

    def rekey(self, key: XKeyPair | Keyring) -> None:
        """Seal with another key from now on, and open what is sealed to it.

        It counts for all that this client does: subscriptions and services, durables that are being
        consumed, requests. What was sealed to the key of before opens as long as that is among the
        `retired` ones; what was opened before opens no second time. Who is to take what comes from
        here has to know the key by then, and so has whoever asks: an answer is sealed with it.

        Args:
            key: The key pair, or a keyring with the retired ones.

        Raises:
            TypeError: If it is neither; nothing has changed then.
        """
        self._core.rekey(key)

    @property
    def stats(self) -> Stats:
        """What it has done, and refused, so far."""
        self._stats.dropped = self._connection.dropped
        return self._stats

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """Whether there is a connection, or will be one."""
        return self._connection.state

    # --- publishing -------------------------------------------------------------------------------

    @refusing
    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        to: To,
        headers: Headers = (),
        clear_headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expires: timedelta | None = None,
    ) -> None:
        """Seal a message and hand it to the connection; `flush` tells whether the server has it.

        While there is no connection it waits, but no longer than the connection's `timeout`.

        Args:
            subject: Where to; it is sealed, too.
            data: What the recipients get.
            to: Whom it is for: names and permissions that trust resolves (`"bob"`, `"perm:audit"`),
                keys, or several of these. Whom trust names for every message gets it besides.
            headers: Headers, sealed.
            clear_headers: Headers that everybody sees.
            content_type: A media type, sealed.
            expires: How long from now it may be opened.

        Raises:
            UnknownKeyError: If a name stands for nobody; nothing is sealed.
            AmbiguousNameError: If it stands for more than one.
            PayloadTooLargeError: If the server would not take it; nothing is sealed.
            MalformedError: If the subject, or a header, cannot be used.
            LimitExceededError: If there are too many recipients, or too much of anything.
            DeliveryError: If it could not be sent in time.
            ConnectionFailedError: If the client is closed.
            TypeError: If an argument has the wrong type.
        """
        block = self._block(clear_headers)
        check_subject(subject)
        envelope = self._outgoing.payload(
            subject,
            data,
            self._client_trust.recipients(to),
            room=Room(self._connection.max_payload, len(block)),
            headers=headers,
            content_type=content_type,
            expires=expires,
        )
        await self._connection.publish(subject, envelope, headers=block)
        self._stats.published += 1

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
        expires: timedelta | None = None,
    ) -> None:
        """Seal a document, of which each reader sees its part, and hand it to the connection.

        Args:
            subject: As for `publish`.
            document: As for `Sealer.seal_document`.
            policy: Which permissions may read which field.
            readers: Who holds each permission; without it, whom trust has for `perm:<permission>`.
                Whom trust names for every message sees everything.
            headers: As for `publish`; every reader gets them.
            clear_headers: As for `publish`.
            content_type: As for `publish`.
            expires: As for `publish`.

        Raises:
            FieldDeniedError: If no rule matches a field; nothing is sealed.
            PolicyError: If a permission has no readers, and is not in `allow_unread`.
            XKeyMsgError: As `publish`.
        """
        block = self._block(clear_headers)
        check_subject(subject)
        envelope = self._outgoing.document(
            subject,
            document,
            policy=policy,
            readers=readers,
            room=Room(self._connection.max_payload, len(block)),
            headers=headers,
            content_type=content_type,
            expires=expires,
        )
        await self._connection.publish(subject, envelope, headers=block)
        self._stats.published += 1

    async def flush(self) -> None:
        """Wait until the server has taken, or refused, everything that was sent to it.

        Raises:
            DeliveryError: If it refused something since the last call, a connection was lost before
                it had confirmed, or it gave no answer in time.
            ConnectionFailedError: If the client is closed.
        """
        await self._connection.confirm()

    def _block(self, clear_headers: Mapping[str, str] | None) -> bytes:
        if not clear_headers:
            return self._outgoing.block
        return clear_block(self._outgoing.wire_headers, clear_headers)

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
        replay: Literal["live", "file"] = ...,
        max_age: timedelta | None = ...,
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
        replay: Literal["live", "file"] = ...,
        max_age: timedelta | None = ...,
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
        replay: Literal["live", "file"] = "live",
        max_age: timedelta | None = None,
        require_signature: bool = False,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        on_error: OnError | None = None,
    ) -> Subscription[Any]:
        """Return the messages of a subject, which begin to come with `async with`.

        What cannot be opened is skipped, counted in `stats.refused` and told of. Each subscription
        remembers for itself what it has opened; two on one subject both get a message. What was
        sealed before it began, more than `Limits.skew` ago, is refused: after a restart nothing
        comes twice.

        Args:
            subject: What to listen on: a subject, or a NATS pattern.
            queue: A group whose members share the messages.
            documents: Whether they are documents: Views come.
            subjects: What messages may be *sealed* for, subjects or patterns; by default what is
                listened on. To be said where the server maps subjects.
            match_wire: Whether the subject on the wire has to be the sealed one.
            formats: Which formats: `"xkm1"`; `"xkv1"` only if it is named, for keys that trust
                admits to it: it has no subject, time or replay protection, and `message.subject` is
                the broker's word.
            replay: `"live"`; or `"file"`, which checks neither age nor repetition.
            max_age: How old a message may be when it comes; `Limits.max_age` by default.
            require_signature: Whether to refuse what is not signed by the sender's user.
            max_messages: How many messages may wait.
            max_bytes: How many bytes they may have.
            on_error: Told of what this subscription refuses, in the place of the client's.

        Raises:
            ConfigurationError: If a value makes no sense.
            TypeError: If an argument has the wrong type.
        """
        scope = self._core.scope(
            subjects=subject if subjects is None else subjects,
            documents=documents,
            match_wire=match_wire,
            formats=formats,
            replay=replay,
            max_age=max_age,
            require_signature=require_signature,
        )
        return Subscription(
            self._connection,
            scope,
            self._events.also(on_error),
            subject,
            queue=queue,
            max_messages=max_messages,
            max_bytes=max_bytes,
        )

    # --- asking and answering ---------------------------------------------------------------------

    @refusing
    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        to: To,
        timeout: float = 5.0,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> Message:
        """Seal a request, and return the first answer of one of those it is for.

        Args:
            subject: Where to.
            data: What they get.
            to: As for `publish`; only they can answer.
            timeout: How long to wait, in seconds; the request expires a little later.
            headers: As for `publish`.
            content_type: As for `publish`.

        Raises:
            ServiceError: If the answer is an error.
            DeliveryError: If there was no answer in time; or the server says that nobody listens,
                which is its word alone.
            XKeyMsgError: As `publish`.
        """
        check_subject(subject)
        return await self._asking.first(
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
        data: bytes,
        *,
        to: To,
        timeout: float = 5.0,
        replies: int | None = None,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> list[Message | ServiceError]:
        """Seal a request, and return the answers of all who answer in time, one of each key.

        Args:
            subject: As for `request`.
            data: As for `request`.
            to: As for `request`.
            timeout: How long to wait, in seconds.
            replies: How many are enough; without it, one of every key that was asked.
            headers: As for `request`.
            content_type: As for `request`.

        Raises:
            DeliveryError: If the server says that nobody listens. That fewer answer than could is
                no error: the list is shorter.
            XKeyMsgError: As `publish`.
        """
        check_subject(subject)
        return await self._asking.several(
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
        data: bytes,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        answer_anyone: bool = False,
    ) -> None:
        """Answer a request, once: sealed to the key that it names.

        Args:
            message: The request.
            data: The answer.
            headers: As for `publish`.
            content_type: As for `publish`.
            answer_anyone: Whether to answer senders who are not admitted by name, under `ANYONE`.

        Raises:
            MalformedError: If the message is no request.
            KeyFormatError: If the key that it names is none.
            SubjectMismatchError: If it asks for an answer where its sender has no inbox.
            SenderNotAdmittedError: If its sender is not admitted by name.
            ConfigurationError: If it was answered before.
            PayloadTooLargeError: If the answer is too long; a shorter one can be sent.
            XKeyMsgError: As `publish`.
        """
        await self._answering.answer(
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
        """Return a service that answers requests while its `async with` block lasts.

        A handler that raises `ServiceError` answers with that error; with any other exception, the
        answer is an error `internal` that says nothing else. Either is counted in `stats.failed`
        and told of, and the service goes on. KeyboardInterrupt alone goes through.

        Args:
            subject: What to listen on.
            handler: Called with each request that can be answered; returns bytes, a `Reply`, or
                None for an empty answer. It may as well answer by `respond`.
            queue: A group whose members share the requests.
            concurrency: How many handlers run at a time; more requests wait, as messages do.
            grace: How long what came may take on leaving the block, in seconds.
            answer_anyone: As for `respond`.
            subjects: As for `subscribe`.
            match_wire: As for `subscribe`.
            require_signature: As for `subscribe`.
            max_messages: As for `subscribe`.
            max_bytes: As for `subscribe`.
            on_error: Told of what this service refuses, and of handlers that fail.

        Raises:
            ConfigurationError: If a value makes no sense.
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
            self._answering,
            self._events.also(on_error),
            handler,
            concurrency=concurrency,
            grace=grace,
            anyone=answer_anyone,
        )

    # --- streams ----------------------------------------------------------------------------------

    @property
    def js(self) -> JetStream:
        """JetStream: acknowledged publishing, and consuming.

        Raises:
            ConfigurationError: If the connection is one of tests, in memory.
        """
        if self._js is None:
            if not isinstance(self._connection, Link):
                raise ConfigurationError("there is no JetStream in memory: use a server")
            self._js = JetStream(self._connection, self._core)
        return self._js

    # --- life -------------------------------------------------------------------------------------

    async def drain(self, timeout: float = 5.0) -> None:
        """Take no more messages, let those that came be taken, send what is to be sent; then close.

        Iterations come to their end. It takes no longer than `timeout` seconds.
        """
        await self._connection.drain(timeout)

    def start(self) -> None:
        """Begin to look at what trust reads; `connect` calls it."""
        trust = self._client_trust.senders
        if isinstance(trust, Reloadable):
            self._background.spawn(self._reload(trust))

    async def close(self) -> None:
        """End what runs, and drop the secrets of the session; `connect` calls it on leaving."""
        await self._background.close()
        if self._js is not None:
            await self._js.close()
        await self._asking.close()
        self._outgoing.close()

    async def _reload(self, trust: Reloadable) -> None:
        path = str(getattr(trust, "path", ""))
        while True:
            await asyncio.sleep(_RELOAD)
            try:
                await in_thread(trust.reload)
            except Exception as error:  # noqa: BLE001 - what was in use before stays in use
                self._events.tell(error, Where("trust", path))

    def happened(self, event: Event) -> None:
        """Take note of what happens to the connection."""
        if self._on_event is not None:
            self._on_event(event)
        if event.kind == "slow":
            error = DeliveryError(f"{event.dropped} messages so far found no room, and are lost")
            self._events.tell(error, Where("connection", event.subject))
        elif event.error is not None:
            self._events.tell(event.error, Where("connection"))

    def __repr__(self) -> str:
        return f"<Client {self.public}, {self.state}>"

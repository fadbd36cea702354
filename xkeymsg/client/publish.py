"""Publishing over core NATS: one message at a time, or along a prepared route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xkeymsg.arguments import Buffer
from xkeymsg.client.connection import Connection
from xkeymsg.client.core import Core
from xkeymsg.client.outgoing import Room, check_subject
from xkeymsg.client.prepared_route import PreparedRoute
from xkeymsg.client.stats import Stats
from xkeymsg.client.telemetry import NOWHERE, publishing
from xkeymsg.client.trust import To
from xkeymsg.envelope.plan import Headers
from xkeymsg.fields.policy import Policy
from xkeymsg.refusals import redact

__all__ = ("Publisher",)


class Publisher:
    """Seals messages and passes them to a connection; the publishing part of `Client`."""

    def __init__(self, connection: Connection, core: Core, stats: Stats) -> None:
        self._connection, self._stats = connection, stats
        self._client_trust, self._outgoing = core.client_trust, core.outgoing

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
    ) -> None:
        """Seal a message and pass it to the connection; `flush` waits until the server has it.

        Waits up to the connection's `timeout` while disconnected.

        Args:
            subject: The subject to publish to; it is sealed, too.
            data: The payload.
            to: The recipients: names and permissions that trust resolves (`"bob"`, `"perm:audit"`),
                keys, or several of these. Trust may add recipients of every message.
            headers: Sealed headers.
            clear_headers: Headers in plaintext, visible to everyone.
            content_type: A media type, sealed.
            expires: How many seconds from now the message may be opened.

        Raises:
            UnknownKeyError: If a name is unknown; nothing is sealed.
            AmbiguousNameError: If a name matches more than one user.
            PayloadTooLargeError: If it exceeds the server's limit; nothing is sealed.
            MalformedError: If the subject or a header is invalid.
            LimitExceededError: If there are too many recipients, or another limit is exceeded.
            DeliveryError: If it could not be sent in time.
            ConnectionFailedError: If the client is closed.
            TypeError: If an argument has the wrong type.
        """
        try:
            with publishing(self._outgoing.tracing, NOWHERE) as trace:
                block = self._outgoing.block_with(clear_headers, trace)
                check_subject(subject)
                envelope = self._outgoing.payload(
                    subject,
                    data,
                    self._client_trust.recipients(to),
                    room=Room(self._connection.max_payload, len(block)),
                    headers=headers,
                    content_type=content_type,
                    expires=expires,
                    trace=trace,
                )
                await self._connection.publish(subject, envelope, headers=block)
            self._stats.published += 1
        except Exception as error:
            redact(error)
            raise

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
    ) -> None:
        """Seal a document, of which each reader can open its view, and pass it to the connection.

        Args:
            subject: As for `publish`.
            document: As for `Sealer.seal_document`.
            policy: Which permissions may read which field.
            readers: The holders of each permission; by default those that trust resolves for
                `perm:<permission>`. Recipients that trust adds to every message see everything.
            headers: As for `publish`; every reader gets them.
            clear_headers: As for `publish`.
            content_type: As for `publish`.
            expires: As for `publish`.

        Raises:
            FieldDeniedError: If no rule matches a field; nothing is sealed.
            PolicyError: If a permission has no readers and is not in `allow_unread`.
            XKeyMsgError: As `publish`.
        """
        try:
            with publishing(self._outgoing.tracing, NOWHERE) as trace:
                block = self._outgoing.block_with(clear_headers, trace)
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
                    trace=trace,
                )
                await self._connection.publish(subject, envelope, headers=block)
            self._stats.published += 1
        except Exception as error:
            redact(error)
            raise

    def route(
        self,
        subject: str,
        to: To,
        *,
        headers: Headers = (),
        clear_headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        expires: float | None = None,
    ) -> PreparedRoute:
        """Return a prepared route for many messages with the same subject and recipients.

            route = client.route("orders.new", "bob")
            await route.publish(b"...")

        Its messages are sealed as those of `publish`, with the current keys and recipients, but
        faster: the arguments are checked and encoded once.

        Args:
            subject: As for `publish`.
            to: As for `publish`.
            headers: As for `publish`.
            clear_headers: As for `publish`.
            content_type: As for `publish`.
            expires: As for `publish`, from the time of each message.

        Raises:
            UnknownKeyError: If a name is unknown.
            AmbiguousNameError: If a name matches more than one user.
            MalformedError: If the subject or a header is invalid.
            LimitExceededError: If there are too many headers, or another limit is exceeded.
            ExpiredError: If `expires` is not above 0.
            TypeError: If an argument has the wrong type.
        """
        return PreparedRoute(
            self._connection,
            self._outgoing,
            self._client_trust,
            self._stats,
            subject,
            to,
            headers=headers,
            clear_headers=clear_headers,
            content_type=content_type,
            expires=expires,
        )

    async def flush(self) -> None:
        """Wait until the server has accepted, or refused, everything that was sent to it.

        Raises:
            DeliveryError: If the server refused something since the last call, if a connection was
                lost before it had confirmed, or if it did not answer in time.
            ConnectionFailedError: If the client is closed.
        """
        await self._connection.confirm()

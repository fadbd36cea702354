"""A prepared route: one subject, recipients and headers for many messages."""

# ruff: noqa: SLF001 - uses parts of `Sealer` that are private to the package

from __future__ import annotations

from collections.abc import Mapping

from xkeymsg.ambient import now_ns
from xkeymsg.arguments import Buffer
from xkeymsg.client.connection import Connection
from xkeymsg.client.outgoing import Outgoing, Room, check_subject, most_bytes
from xkeymsg.client.stats import Stats
from xkeymsg.client.telemetry import Destination, Tracing
from xkeymsg.client.trust import ONE, ClientTrust, To
from xkeymsg.display import safe_repr
from xkeymsg.envelope.plan import Headers, pairs_of
from xkeymsg.envelope.subject import encode_subject
from xkeymsg.refusals import redact

__all__ = ("PreparedRoute",)


@safe_repr
class PreparedRoute:
    """A subject with its recipients and headers, prepared for many messages; see `Client.route`.

    It follows the client: a new key, recipients that trust adds or removes, and the server's size
    limit apply to the next message.
    """

    def __init__(
        self,
        connection: Connection,
        outgoing: Outgoing,
        client_trust: ClientTrust,
        stats: Stats,
        subject: str,
        to: To,
        *,
        headers: Headers,
        clear_headers: Mapping[str, str] | None,
        content_type: str | None,
        expires: float | None,
    ) -> None:
        check_subject(subject)
        encode_subject(subject)
        pairs = pairs_of(headers) if headers else []
        self.subject = subject
        """The subject."""
        self._connection, self._outgoing = connection, outgoing
        self._client_trust, self._stats = client_trust, stats
        self._to = to if isinstance(to, ONE) else tuple(to)
        self._expires, self._place = expires, Destination(subject)
        self._headers, self._content_type = pairs, content_type
        planner = outgoing.sealer()._planner
        planner.attributes(now_ns() // 1_000_000, expires, None)  # refuse an invalid expiry now
        self._array = planner.message_array(pairs, content_type)
        self._most = most_bytes(subject, pairs, content_type)
        self._block, self._made_of = outgoing.block_with(clear_headers), outgoing.block
        self._clear_headers = dict(clear_headers or {})
        client_trust.recipients(self._to)  # refuse unknown names now

    async def publish(self, data: Buffer) -> None:
        """Seal a message and pass it to the connection, as `Client.publish` does.

        Args:
            data: The payload.

        Raises:
            XKeyMsgError: As `Client.publish`.
            TypeError: If `data` is not a buffer.
        """
        try:
            outgoing, trust = self._outgoing, self._client_trust
            if outgoing.tracing is not None:
                await self._publish_traced(outgoing.tracing, data)
                return
            if outgoing.block is not self._made_of:  # another key
                self._block = outgoing.block_with(self._clear_headers)
                self._made_of = outgoing.block
            sealer, to = outgoing.sealer(), trust.recipients(self._to)
            planner, room = sealer._planner, Room(self._connection.max_payload, len(self._block))
            contents = planner.payload(data, self._array)
            most = self._most + len(contents[0][1]) * 9 // 8
            envelope = sealer._seal_at(
                now_ns(),
                contents,
                planner.recipients(to),
                self.subject,
                self._expires,
                trust.revision,
                outgoing.check_size(most, to, room),
            )
            await self._connection.publish(self.subject, envelope, headers=self._block)
            self._stats.published += 1
        except Exception as error:
            redact(error)
            raise

    async def _publish_traced(self, tracing: Tracing, data: Buffer) -> None:
        """Publish with a trace context, which is another one for each message."""
        outgoing = self._outgoing
        with tracing.publishing(self._place) as trace:
            block = outgoing.block_with(self._clear_headers, trace)
            envelope = outgoing.payload(
                self.subject,
                data,
                self._client_trust.recipients(self._to),
                room=Room(self._connection.max_payload, len(block)),
                headers=self._headers,
                content_type=self._content_type,
                expires=self._expires,
                trace=trace,
            )
            await self._connection.publish(self.subject, envelope, headers=block)
        self._stats.published += 1

    def __repr__(self) -> str:
        return f"<PreparedRoute to {self.subject!r:.80}>"

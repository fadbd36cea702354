"""Replies: checks of a request's reply key and reply subject, and sealed replies.

The requester chooses the reply key and the reply subject, and the reply holds the service's data.
Therefore the sender must be admitted; the reply subject must be an inbox allowed for that sender,
or else the service would publish its replies wherever a request says. The reply subject on the
wire is not sealed, and is used only if it is that inbox or the server's subject for it: see
`scope`, which refuses other messages before they are marked as opened. The sealed subject of a
reply is accepted only by the request with that message id. A requester gains nothing by naming
someone else's key: its holder does not wait for the reply, and the requester cannot open it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from xkeymsg.arguments import Buffer
from xkeymsg.client.connection import Connection
from xkeymsg.client.outgoing import Outgoing, Room
from xkeymsg.client.requests import MOST_TEXT, reply_subject
from xkeymsg.client.scope import Request
from xkeymsg.client.stats import Stats
from xkeymsg.client.telemetry import NOWHERE, publishing
from xkeymsg.client.threads import guarded
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    MalformedError,
    SenderNotAdmittedError,
    ServiceError,
    SubjectMismatchError,
)
from xkeymsg.keys import XKey
from xkeymsg.transport.subjects import encode_subject

__all__ = ("Prefix", "Replies", "Reply")

Prefix = str | Callable[[Message], str]
"""The required prefix of inboxes, such as `_INBOX_bob`: for all senders, or by request."""

_key_of: Final = lru_cache(maxsize=1024)(XKey.parse)  # the requests of a client have one reply key


class Reply(NamedTuple):
    """A handler's result with headers or a content type."""

    data: Buffer = b""
    headers: Headers = ()
    content_type: str | None = None

    def __repr__(self) -> str:
        return f"<Reply of {len(self.data)} bytes>"  # a NamedTuple would show them


class Replies:
    """Answers the requests to one client."""

    def __init__(
        self, connection: Connection, outgoing: Outgoing, stats: Stats, prefix: Prefix
    ) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._stats = stats
        self._prefix = prefix

    def address(self, message: Message, *, anyone: bool = False) -> tuple[Request, XKey]:
        """Return a request that may be answered, and its reply key.

        Raises:
            MalformedError: If the message is not a request.
            KeyFormatError: If the request's reply key is invalid.
            SubjectMismatchError: If the reply subject is not an inbox allowed for the sender.
            SenderNotAdmittedError: If the sender is not admitted by name, and `anyone` is false.
            ConfigurationError: If the request was answered before.
            TypeError: If `message` is not a Message.
        """
        if not isinstance(message, Message):
            raise TypeError(f"message must be a Message, not {type(message).__name__}")
        request = message._origin  # noqa: SLF001 - set by the client
        if not isinstance(request, Request) or request.key is None or request.reply_to is None:
            raise MalformedError("not a request: the message has no reply key or reply subject")
        if request.answered:
            raise ConfigurationError("the request was answered before")
        if not (message.admitted or anyone):
            raise SenderNotAdmittedError("the sender is not admitted by name: no reply is sent")
        encode_subject(request.reply_to), encode_subject(request.target)
        prefix = self._prefix if isinstance(self._prefix, str) else guarded(self._prefix, message)
        if not prefix or not request.reply_to.startswith(f"{prefix}."):
            raise SubjectMismatchError("the reply subject is not an inbox of this sender")
        return request, _key_of(request.key)

    async def answer(
        self,
        message: Message,
        data: Buffer,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        anyone: bool = False,
        own: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Seal a reply and send it.

        Raises:
            PayloadTooLargeError: If the reply is too long; another one can be sent.
            XKeyMsgError: As `address`, and as sealing and publishing raise.
        """
        request, key = self.address(message, anyone=anyone)
        with publishing(self._outgoing.tracing, NOWHERE) as trace:
            block = self._outgoing.block_with(None, trace)
            envelope = guarded(  # `headers` may be an iterator of the application
                self._outgoing.payload,
                reply_subject(message.message_id),
                data,
                (key,),
                room=Room(self._connection.max_payload, len(block)),
                headers=headers,
                own=own,
                content_type=content_type,
                trace=trace,
            )
            request.answered = True
            try:
                await self._connection.publish(request.target, envelope, headers=block)
            except BaseException:
                request.answered = False  # nothing was sent
                raise
        self._stats.published += 1

    async def fail(self, message: Message, error: ServiceError, *, anyone: bool = False) -> None:
        """Reply with an error: only its reason and text are sent.

        Raises:
            XKeyMsgError: As `answer`.
        """
        text = error.text[:MOST_TEXT].encode("utf-8", "replace")
        reason = error.reason[:MOST_TEXT].encode("utf-8", "replace").decode()
        own = (("xkm-error", reason),)
        await self.answer(message, text, anyone=anyone, own=own)

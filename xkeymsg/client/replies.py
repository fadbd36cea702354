"""Answers: to whom and where a request asks for them, and whether it may.

Who asks chooses a key and a subject, and the answer holds what the service knows: so the sender has
to be admitted; the subject has to be an inbox that is allowed for that sender, or the service would
publish its own content wherever it is told to; and what is sealed is a subject that nothing accepts
but the request with that message id. A request that names another's key gains nothing: its holder
waits for no such answer, and the asker cannot read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xkeymsg.client.connection import Connection
from xkeymsg.client.outgoing import Outgoing, Room
from xkeymsg.client.requests import MOST_TEXT, reply_subject
from xkeymsg.client.scope import Request
from xkeymsg.client.stats import Stats
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
"""What an inbox begins with, for everybody or for the sender of a request: `_INBOX_bob`."""


class Reply(NamedTuple):
    """What a handler returns that answers with more than bytes."""

    data: bytes = b""
    headers: Headers = ()
    content_type: str | None = None

    def __repr__(self) -> str:
        return f"<Reply of {len(self.data)} bytes>"  # a NamedTuple would show them


class _Address(NamedTuple):
    request: Request
    key: XKey
    to: str


class Replies:
    """Answers the requests that one client gets."""

    def __init__(
        self, connection: Connection, outgoing: Outgoing, stats: Stats, prefix: Prefix
    ) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._stats = stats
        self._prefix = prefix

    def address(self, message: Message, *, anyone: bool = False) -> _Address:
        """Return where an answer goes.

        Raises:
            MalformedError: If the message is no request.
            KeyFormatError: If the key it names is none.
            SubjectMismatchError: If the subject it names is no inbox that is allowed for it.
            SenderNotAdmittedError: If its sender is not admitted by name, unless `anyone` is.
            ConfigurationError: If it was answered before.
            TypeError: If it is no message.
        """
        if not isinstance(message, Message):
            raise TypeError(f"what is answered is a Message, not {type(message).__name__}")
        request = message._origin  # noqa: SLF001 - the client's own note on it
        if not isinstance(request, Request) or request.key is None or request.reply_to is None:
            raise MalformedError("no request: it does not say where an answer goes")
        if request.answered:
            raise ConfigurationError("the request was answered before")
        if not (message.admitted or anyone):
            raise SenderNotAdmittedError("answers go to senders who are admitted by name")
        encode_subject(request.reply_to)
        prefix = self._prefix if isinstance(self._prefix, str) else guarded(self._prefix, message)
        if not prefix or not request.reply_to.startswith(f"{prefix}."):
            raise SubjectMismatchError("asks for an answer where this sender has no inbox")
        return _Address(request, XKey.parse(request.key), request.reply_to)

    async def answer(
        self,
        message: Message,
        data: bytes,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        anyone: bool = False,
        own: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Seal an answer and send it.

        Raises:
            XKeyMsgError: As `address`; PayloadTooLargeError if it would be too long, and another
                one can be sent; as sealing and publishing raise.
        """
        request, key, to = self.address(message, anyone=anyone)
        block = self._outgoing.block
        envelope = guarded(  # headers may be an iterator of the program's
            self._outgoing.payload,
            reply_subject(message.message_id),
            data,
            (key,),
            room=Room(self._connection.max_payload, len(block)),
            headers=headers,
            own=own,
            content_type=content_type,
        )
        request.answered = True
        try:
            await self._connection.publish(to, envelope, headers=block)
        except BaseException:
            request.answered = False  # nothing has left
            raise
        self._stats.published += 1

    async def fail(self, message: Message, error: ServiceError, *, anyone: bool = False) -> None:
        """Answer with an error: its two texts, and nothing else of it.

        Raises:
            XKeyMsgError: As `answer`.
        """
        text = error.text[:MOST_TEXT].encode("utf-8", "replace")
        reason = error.reason[:MOST_TEXT].encode("utf-8", "replace").decode()
        own = (("xkm-error", reason),)
        await self.answer(message, text, anyone=anyone, own=own)

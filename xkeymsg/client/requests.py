"""Sealed requests, and the checks of their replies.

A sealed request contains a reply key, which this process generated at its start, and the inbox for
the reply. A reply is accepted

- only for the request that waits for it: its sealed subject is `_XKM.REPLY.<message id>`;
- from a key that the caller named in `to`, not from an escrow key: its holder, who can read all
  requests, could otherwise answer each. If trust knows the key's user, the reply must name that
  user, and must be signed if trust says that this user always signs;
- once from each of these keys.

Anyone who sees the inbox can send anything there. Invalid replies are counted, reported and
skipped, and the request keeps waiting. The server's "no responders" status is not authenticated;
but anyone who can forge it can also keep the request from arriving.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from xkeymsg.arguments import Buffer
from xkeymsg.client.connection import Connection
from xkeymsg.client.outgoing import REPLIES, Outgoing, Room
from xkeymsg.client.scope import LARGE, part_own
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.tasks import Background
from xkeymsg.client.telemetry import NOWHERE, Carried, publishing
from xkeymsg.client.threads import in_thread
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.inspect import message_id
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    ReplayError,
    ServiceError,
    XKeyMsgError,
)
from xkeymsg.keys import Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.opener import Opener
from xkeymsg.transport.link import Event
from xkeymsg.transport.raw import Raw, RawSubscription
from xkeymsg.transport.rights import Refusal, parse_refusal

__all__ = ("MOST_TEXT", "Requests", "reply_subject")

_LONGEST: Final = 86_400.0
MOST_TEXT: Final = 1000
"""Characters of each text of an error reply."""


def reply_subject(name: bytes) -> str:
    """Return the sealed subject of replies to the request with this message id."""
    return f"{REPLIES}REPLY.{base64.urlsafe_b64encode(name).decode().rstrip('=')}"


class _Question:
    """A pending request."""

    def __init__(
        self, wire: str, to: Iterable[XKey | Recipient], vouch: Callable[[XKey], Admission]
    ) -> None:
        self.wire = wire
        """The subject of the request."""
        self.subject = ""
        """The sealed subject of its replies; empty until it is sealed, which matches no reply."""
        self.answers: asyncio.Queue[Message | XKeyMsgError] = asyncio.Queue()
        self._vouch = vouch
        self._asked: dict[XKey, Admission] = {}
        for one in to:
            key, user = (one.key, one.user) if isinstance(one, Recipient) else (one, bytes(32))
            users = self._asked.get(key, Admission()).users | ({user} if any(user) else set())
            self._asked[key] = Admission(frozenset(users))
        for key, asked in self._asked.items():
            known = vouch(key)
            self._asked[key] = Admission(asked.users or known.users, known.always_signs)
        self._answered: set[XKey] = set()

    def admit(self, sender: XKey, _subject: str, _at: int) -> Admission | None:
        """Return the verdict on the sender of a reply; raises if its key was revoked meanwhile."""
        asked = self._asked.get(sender)
        if asked is not None:
            self._vouch(sender)
        return asked

    def take(self, answer: Message) -> None:
        """Accept an opened reply.

        Raises:
            ReplayError: If this key has already replied.
        """
        if answer.sender in self._answered:
            raise ReplayError("this key has already replied")
        self._answered.add(answer.sender)
        reason = part_own(answer).get("xkm-error")
        if reason is None:
            self.answers.put_nowait(answer)
        else:
            text = answer.data[:MOST_TEXT].decode("utf-8", "replace")
            self.answers.put_nowait(ServiceError(reason[:MOST_TEXT], text))

    @property
    def begun(self) -> bool:
        """Whether a recipient has replied."""
        return bool(self._answered)

    @property
    def complete(self) -> bool:
        """Whether all recipients have replied."""
        return len(self._answered) == len(self._asked)


class Requests:
    """The requests of one client, and its inbox."""

    def __init__(
        self,
        connection: Connection,
        outgoing: Outgoing,
        events: Events,
        limits: Limits | None,
        client_trust: ClientTrust,
    ) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._events = events
        self._client_trust = client_trust
        self._skew = (limits or Limits()).skew
        self._pair = XKeyPair.generate()  # fresh: cannot have been stolen before
        self._key = str(self._pair.public)
        self._opener = Opener(self._pair, limits=limits)
        self._inbox = connection.new_inbox()
        self._waiting: dict[bytes, _Question] = {}
        self._background = Background()
        self._subscription: RawSubscription | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self._refusal: Refusal | None = None  # to subscribe to our inbox

    def happened(self, event: Event) -> None:
        """Fail the requests that can get no reply, because the server does not permit something."""
        if event.kind == "connected":
            self._refusal = None  # this connection may have the permission
        refusal = None if event.error is None else parse_refusal(event.error)
        if refusal is None:
            return
        inbox = refusal.what == "subscription" and refusal.subject == f"{self._inbox}.*"
        if inbox:
            self._refusal = refusal
        for question in self._waiting.values():
            if inbox or (refusal.what == "publish" and refusal.subject == question.wire):
                question.answers.put_nowait(DeliveryError(str(refusal)))

    async def first(
        self,
        subject: str,
        data: Buffer,
        to: tuple[XKey | Recipient, ...],
        *,
        timeout: float,
        **sealing: Any,
    ) -> Message:
        """Send a request, and return its first reply; the arguments are those of `Client.request`.

        Raises:
            ServiceError: If the reply is an error.
            DeliveryError: If no reply comes in time, or the server reports no responders.
            ConnectionFailedError: If the client is closed meanwhile.
            XKeyMsgError: As sealing raises.
        """
        with publishing(self._outgoing.tracing, NOWHERE) as trace:
            try:
                async with (
                    asyncio.timeout(timeout),
                    self._ask(subject, data, to, trace, timeout=timeout, **sealing) as question,
                ):
                    answer = await question.answers.get()
                    if isinstance(answer, Message):
                        return answer
                    raise answer
            except TimeoutError:
                raise DeliveryError(f"no answer within {timeout:g} s") from None

    async def several(
        self,
        subject: str,
        data: Buffer,
        to: tuple[XKey | Recipient, ...],
        *,
        timeout: float,
        replies: int | None,
        **sealing: Any,
    ) -> list[Message | ServiceError]:
        """Send a request, and return all replies, as `Client.request_many`.

        Raises:
            DeliveryError: If the server reports no responders.
            ConnectionFailedError: If the client is closed meanwhile.
            XKeyMsgError: As sealing raises.
        """
        found: list[Message | ServiceError] = []
        with publishing(self._outgoing.tracing, NOWHERE) as trace, suppress(TimeoutError):
            async with (
                asyncio.timeout(timeout),
                self._ask(subject, data, to, trace, timeout=timeout, **sealing) as question,
            ):
                while len(found) != replies and not (
                    question.complete and question.answers.empty()
                ):
                    answer = await question.answers.get()
                    if not isinstance(answer, Message | ServiceError):
                        raise answer
                    found.append(answer)
        return found

    @asynccontextmanager
    async def _ask(
        self,
        subject: str,
        data: Buffer,
        to: tuple[XKey | Recipient, ...],
        trace: Carried | None,
        *,
        timeout: float,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> AsyncIterator[_Question]:
        """Send a request; its replies are accepted during the block."""
        if not 0 < timeout <= _LONGEST:
            raise ConfigurationError("timeout must be greater than 0 seconds, and at most one day")
        await self._start()
        if self._refusal is not None:
            raise DeliveryError(f"{self._refusal}, the inbox for replies")
        token = secrets.token_urlsafe(16)
        reply_to = f"{self._inbox}.{token}"
        question = _Question(subject, to, self._client_trust.vouch)
        block = self._outgoing.block_with(None, trace)
        room = Room(self._connection.max_payload, len(block))
        envelope = self._outgoing.payload(
            subject,
            data,
            to,
            room=room,
            headers=headers,
            own=(("xkm-reply-key", self._key), ("xkm-reply-to", reply_to)),
            content_type=content_type,
            # By then the caller no longer waits; a service whose clock is ahead still answers.
            expires=timeout + self._skew,
            trace=trace,
        )
        question.subject = reply_subject(message_id(envelope))
        self._waiting[token.encode()] = question
        try:
            with self._connection.asking():
                await self._connection.publish(subject, envelope, headers=block, reply=reply_to)
                self._events.stats.published += 1
                yield question
        finally:
            del self._waiting[token.encode()]

    async def close(self) -> None:
        """End, and fail all pending requests."""
        self._closed = True
        await self._background.close()
        self._give_up()
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def _start(self) -> None:
        async with self._starting:
            if self._closed:
                raise ConnectionFailedError("the client is closed")
            if self._subscription is None or self._subscription.ended:
                inbox = self._subscription = await self._connection.subscribe(f"{self._inbox}.*")
                self._background.spawn(self._read(inbox))

    async def _read(self, subscription: RawSubscription) -> None:
        async for raw in subscription:
            question = self._waiting.get(raw.subject[len(self._inbox) + 1 :])
            if question is None:
                continue  # late, or a guessed inbox
            try:
                await self._take(question, raw)
            except Exception as error:  # noqa: BLE001 - no message may end the loop
                self._events.refused(error, Where("reply", raw.subject_text))
        self._give_up()

    def _give_up(self) -> None:
        for question in self._waiting.values():
            question.answers.put_nowait(ConnectionFailedError("the client is closed"))

    async def _take(self, question: _Question, raw: Raw) -> None:
        if raw.says_nobody_listens:
            if not question.begun:  # after a reply, the status must be forged
                error = DeliveryError("no responders: nobody listens on this subject")
                question.answers.put_nowait(error)
            return
        if len(raw.data) < LARGE:
            message = self._open(question, raw)
        else:
            message = await in_thread(self._open, question, raw)
        question.take(message)
        self._events.stats.opened += 1

    def _open(self, question: _Question, raw: Raw) -> Message:
        call = partial(self._opener.open, raw.data, subject=question.subject, senders=question)
        tracing = self._outgoing.tracing
        if tracing is None:
            message = call()
        else:
            message = tracing.opening(call, len(raw.data), NOWHERE, lambda _: True)
        message.wire_subject = raw.subject_text
        return message

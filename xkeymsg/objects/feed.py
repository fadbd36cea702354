"""Reads messages of a stream in order, with an ephemeral consumer that is replaced when it is lost.

Messages are requested (pulled) in small batches, so that neither the server nor this process holds
many. The server's counts are only used to decide when to wait: contents are verified by the caller.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, Self

from xkeymsg.client.jetstream.acks import parse_ack
from xkeymsg.client.jetstream.api import API, int64
from xkeymsg.errors import DeliveryError, TransportError
from xkeymsg.transport.headers import parse_status
from xkeymsg.transport.raw import RawSubscription

__all__ = ("Arrival", "Feed")

EXPIRES: Final = 30.0
"""How long the server keeps a request for messages, in seconds."""
_INACTIVE: Final = 60.0
"""Seconds without a request after which the server deletes the consumer."""
_TICK: Final = 1.0
_PATIENCE: Final = 30.0
"""Seconds without progress after which reading fails."""
SILENCE: Final = 5.0
"""Seconds after which a consumer that sends nothing is replaced."""
_PAUSE: Final = 0.25
_LOST: Final = (409, 503)
"""Statuses of a consumer that is deleted, and of one that does not exist."""
_NS: Final = 10**9


class Arrival(NamedTuple):
    """A message of the stream."""

    subject: str
    sequence: int
    data: bytes


class Feed:
    """The messages of one stream with one subject or pattern, in order.

    Args:
        api: The JetStream API client.
        stream: The stream.
        pattern: The subject or pattern.
        window: How many messages to request at a time.
        policy: Which messages to begin with.
        follow: Whether to wait for messages that are stored later.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        pattern: str,
        *,
        window: int,
        policy: Literal["all", "last_per_subject", "new"] = "all",
        follow: bool = False,
    ) -> None:
        self._api, self._link = api, api.link
        self._stream, self._pattern = stream, pattern
        self._window = window
        self._policy = policy
        self._follow = follow
        self._inbox = ""
        self._messages: RawSubscription | None = None
        self._name = ""
        self._left = 0  # messages that the server had when the consumer was created
        self._asked = 0  # messages that are requested and have not arrived
        self._last = -1  # the sequence up to which messages are known; -1 for none
        self._newest = 0  # the sequence of the newest message when a consumer was created
        self._number = 0
        self._reconnects = 0
        self._heard = 0.0  # when the consumer was created, or has sent something
        self._since = 0.0  # when the caller began to wait

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Delete the consumer."""
        messages, self._messages = self._messages, None
        if messages is not None:
            await messages.unsubscribe()
        name, self._name = self._name, ""
        if name:
            with suppress(TransportError):  # the server deletes it later by itself
                await self._api.request(f"CONSUMER.DELETE.{self._stream}.{name}")

    async def begin(self) -> None:
        """Create the consumer: what is stored after this is not missed.

        Raises:
            DeliveryError: If the server refuses, or does not answer for 30 seconds.
            ConnectionFailedError: If the connection is closed.
        """
        self._since = asyncio.get_running_loop().time()
        while self._messages is None:
            await self._begin()

    async def next(self) -> Arrival | None:
        """Return the next message; None if there is no more, unless the feed follows the stream.

        Raises:
            DeliveryError: If the server refuses, or sends nothing for 30 seconds.
            ConnectionFailedError: If the connection is closed.
        """
        self._since = asyncio.get_running_loop().time()
        while True:
            lost = self._messages is None or self._reconnects != self._link.reconnects
            if lost and not await self._begin():
                continue
            if not self._left and not self._follow:
                return None
            await self._ask()
            if (arrival := await self._take()) is not None:
                return arrival
            await self._look()

    async def _look(self) -> None:
        """Replace a consumer that has been silent for too long.

        Raises:
            DeliveryError: If that has not helped.
        """
        now = asyncio.get_running_loop().time()
        if not self._follow and now - self._since > _PATIENCE:
            raise DeliveryError(f"no message within {_PATIENCE:g} s")
        if now - self._heard > (EXPIRES + SILENCE if self._follow else SILENCE):
            await self._restart()

    async def _begin(self) -> bool:
        """Create a consumer after the last message; return False to try again."""
        await self._restart()
        self._reconnects = self._link.reconnects
        self._inbox = self._link.new_inbox()
        try:
            await self._notice_another_stream()
            body = {"stream_name": self._stream, "config": self._config()}
            answer = await self._api.request(f"CONSUMER.CREATE.{self._stream}", body)
        except DeliveryError as error:
            waited = asyncio.get_running_loop().time() - self._since
            endless = self._follow and self._heard  # it has worked before
            if error.err_code is not None or (waited > _PATIENCE and not endless):
                raise
            await asyncio.sleep(_PAUSE)
            return False
        self._name = name = str(answer.get("name", ""))[:255]
        if not name or set(name) & set(" .*>\r\n\t"):
            raise DeliveryError("JetStream's reply names no valid consumer")
        self._heard = asyncio.get_running_loop().time()
        delivered = answer.get("delivered")
        at = max(0, int64(delivered.get("stream_seq") if isinstance(delivered, dict) else 0))
        if self._policy == "new" and self._last < 0:  # continue here if the consumer is lost
            self._last = at
        self._left, self._asked, self._number = max(0, int64(answer.get("num_pending"))), 0, 0
        self._messages = await self._link.subscribe(
            self._inbox, max_messages=4 * self._window + 16, max_bytes=16 << 20
        )
        return True

    def _config(self) -> dict[str, Any]:
        """Return the settings of a consumer after the last message."""
        config: dict[str, Any] = {
            "deliver_policy": self._policy,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "filter_subject": self._pattern,
            "inactive_threshold": int(_INACTIVE * _NS),
        }
        if self._last >= 0:  # also of the last ones: each subject has one message
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last + 1}
        return config

    async def _notice_another_stream(self) -> None:
        """Begin again if the stream was deleted and created again: its sequences are lower."""
        if self._follow:
            stored = await self._api.last_message(self._stream, self._pattern)
            newest = 0 if stored is None else stored.sequence
            if newest < self._newest:
                self._last, self._policy = -1, "last_per_subject"
            self._newest = newest

    async def _restart(self) -> None:
        messages, self._messages = self._messages, None
        self._name = ""
        if messages is not None:
            await messages.unsubscribe()

    async def _ask(self) -> None:
        """Request more messages when half of the window has arrived."""
        batch = self._window - self._asked
        if not self._follow:
            batch = min(batch, self._left - self._asked)
        if batch <= 0 or 2 * self._asked > self._window or (self._follow and self._asked):
            return
        # What is there already is sent at once; if it is not there any more, a status is.
        how = {"expires": int(EXPIRES * _NS)} if self._follow else {"no_wait": True}
        body = {"batch": batch} | how
        subject = f"{self._api.prefix}.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        self._asked += batch
        await self._link.publish(subject, json.dumps(body).encode(), reply=self._inbox)

    async def _take(self) -> Arrival | None:
        """Return the next message; None if the caller has to look at the consumer first."""
        assert self._messages is not None  # noqa: S101 - `next` has made it
        raw = self._messages.take()
        if raw is None:
            try:
                raw = await self._messages.next(_TICK)
            except DeliveryError:
                return None
        self._heard = asyncio.get_running_loop().time()
        delivery = parse_ack(raw.reply)
        if delivery is None:
            await asyncio.sleep(_PAUSE / 10)  # a server may reply to each request at once
            status = parse_status(raw.headers)
            if not self._follow or (status is not None and status.code in _LOST):
                await self._restart()
            self._asked = 0
            return None
        self._number += 1
        if delivery.consumer_sequence != self._number:
            await self._restart()  # one is missing: a full buffer dropped it
            return None
        self._asked = max(0, self._asked - 1)
        self._left = max(0, self._left - 1)
        self._last = max(self._last, delivery.sequence)
        self._newest = max(self._newest, delivery.sequence)
        return Arrival(raw.subject_text, delivery.sequence, raw.data)

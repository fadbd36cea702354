"""Continuous pulling from a durable, with overlapping requests.

Each request has its own subject below an unguessable inbox. Server statuses arrive on the inbox;
stream messages arrive on their own subject, with a reply subject that only a server writes. So
neither can a publisher's headers be taken for a status, nor a message sent to the inbox for a
stream message.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from xkeymsg.client.jetstream.acks import Delivery, parse_ack
from xkeymsg.client.jetstream.api import API
from xkeymsg.transport.headers import Status, parse_status
from xkeymsg.transport.parser import MAX_MESSAGE
from xkeymsg.transport.raw import Raw

__all__ = ("Puller",)

_log = logging.getLogger(__name__)

_HEARTBEAT: Final = 100
_USUAL: Final = (404, 408)
"""No messages, request timeout."""
_CONFLICT: Final = 409
_MISSED: Final = 2.5
"""Heartbeat intervals without a message until the consumer, or its leader, counts as gone."""
_GRACE: Final = 2.0
_MAX: Final = 2**63
_MOST: Final = 1 << 20
_PAUSE: Final = 0.25
"""Seconds until the next request after a refusal."""
_REQUESTS: Final = 2
"""Concurrent requests."""
_ENDED: Final = "consumer deleted", "consumer is push based"
_TOO_LARGE: Final = "message size exceeds maxbytes"
_HARMLESS: Final = "batch completed", _TOO_LARGE
_LIMIT: Final = "exceeded"
"""The prefix of a refusal that names a limit in the consumer's configuration."""


class _Request:
    """An open request."""

    __slots__ = ("ends", "left")

    def __init__(self, left: int, ends: float) -> None:
        self.left = left
        self.ends = ends


class Puller:
    """Requests messages of a durable, so that some are always on their way while there is room.

    Args:
        api: The JetStream API client.
        stream: The stream.
        durable: The consumer.
        prefetch: Limit of messages held or requested.
        prefetch_bytes: Approximate limit of their bytes.
        expires: How long the server keeps a request, in seconds.
        heartbeat: Interval of the server's heartbeats, in seconds; at most half of `expires`.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        durable: str,
        *,
        prefetch: int,
        prefetch_bytes: int,
        expires: float,
        heartbeat: float,
    ) -> None:
        self.inbox = ""
        """The prefix of requests' reply subjects; a request's number follows."""
        self.paused = False
        """Whether to send no requests."""
        self.suspect = False
        """Whether the consumer may no longer exist, and must be looked up."""
        self.unknown = False
        """Whether the consumer may have been replaced or reset since it was last looked up."""
        self.unserved = False
        """Whether the consumer refuses requests, or sends nothing."""
        self.strays = 0
        """Number of messages that are not from this consumer."""
        self._link = api.link
        self._next = f"{api.prefix}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._from = stream.encode(), durable.encode()
        self._prefix = b""
        self.prefetch = prefetch
        """Limit of messages held or requested."""
        self._quarter = prefetch // 4
        self._prefetch_bytes = prefetch_bytes
        self.expires = expires
        """How long the server keeps a request, in seconds."""
        self._heartbeat = heartbeat
        self._most = prefetch
        self._most_bytes = MAX_MESSAGE
        self._requests: dict[int, _Request] = {}
        self._outstanding = 0
        self._number = 0
        self._one_of_any_size = False
        self._reconnects = self._link.reconnects
        self._heard = self._now()
        self._not_before = 0.0
        self.begin()

    def begin(self) -> None:
        """Use a new inbox: no delivery of an earlier durable of the same name can reach it."""
        self.inbox = self._link.new_inbox()
        self._prefix = self.inbox.encode() + b"."
        self.forget()

    @property
    def is_certain(self) -> bool:
        """Whether the consumer is, as far as known, the one that was last looked up.

        While that is uncertain, nothing is requested: a message of a new consumer must not be
        opened in the scope of the old one. Nor is anything acknowledged, because the new consumer
        would apply the acknowledgement to its own delivery at the same stream sequence.
        """
        other = self._link.reconnects != self._reconnects  # before `look` notices
        return not (self.unknown or other or self._link.state == "reconnecting")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- receiving --------------------------------------------------------------------------------

    def take(self, raw: Raw) -> Delivery | None:
        """Process what arrived; return its delivery, or None if it is not a stream message."""
        self._heard = self._now()
        if raw.subject.startswith(self._prefix):
            self._take_status(raw)
            return None
        delivery = parse_ack(raw.reply)
        if delivery is None or delivery[:2] != self._from:
            self.strays += 1
            return None
        self.unserved = False
        for number, request in self._requests.items():
            self._outstanding -= 1
            request.left -= 1
            if not request.left:
                del self._requests[number]
            break
        return delivery

    def _take_status(self, raw: Raw) -> None:
        status = parse_status(raw.headers)
        number = raw.subject[len(self._prefix) :]
        if status is None or not number.isdigit() or len(number) > 18:
            self.strays += 1
            return
        self.unserved = False
        if status.code != _HEARTBEAT:
            self._drop(int(number))
            if status.code not in _USUAL:
                self._take_refusal(status)

    def _take_refusal(self, status: Status) -> None:
        """Delay the next request, and first check that the consumer still exists."""
        text = status.text.lower()
        if status.code == _CONFLICT and text in _HARMLESS:
            self._one_of_any_size = text == _TOO_LARGE
            return
        _log.info("pull refused: %d %s", status.code, text[:100].encode("ascii", "replace"))
        self._not_before = self._now() + _PAUSE
        self.suspect = self.unserved = True
        self.unknown |= not text.startswith(_LIMIT)
        if text in _ENDED:
            self.forget()

    def _drop(self, number: int) -> None:
        request = self._requests.pop(number, None)
        if request is not None:
            self._outstanding -= request.left

    def forget(self) -> None:
        """Treat all requests as lost."""
        self._requests.clear()
        self._outstanding = 0
        self._heard = self._now()

    def apply_limits(self, config: Mapping[str, Any]) -> None:
        """Limit requests to what the consumer's configuration permits.

        It would refuse larger ones, every time. This worker holds at most a quarter of what may be
        unacknowledged, so that one that stands still does not stop the others.
        """
        batch, expires, size, pending = (
            value if type(value := config.get(name)) is int and 0 < value < _MAX else None
            for name in ("max_batch", "max_expires", "max_bytes", "max_ack_pending")
        )
        if pending is not None:
            self.prefetch = min(self.prefetch, max(1, pending // 4))
            self._quarter = self.prefetch // 4
        if batch is not None:
            self._most = min(self._most, batch)
        if expires is not None:
            self.expires = min(self.expires, expires / 1e9)
            self._heartbeat = min(self._heartbeat, self.expires / 2)
        if size is not None:
            self._most_bytes = min(self._most_bytes, size)

    # --- requesting -------------------------------------------------------------------------------

    @property
    def is_low(self) -> bool:
        """Whether few messages are on their way, so that it is worth requesting more."""
        return self._outstanding <= self._quarter

    def room(self, held: int, held_bytes: int) -> int:
        """Return how many messages to request now; mostly 0."""
        if not self.is_low or self.paused or len(self._requests) >= _REQUESTS:
            return 0
        room = self.prefetch - held - self._outstanding
        if room < max(1, self._quarter) and held:
            return 0
        if held_bytes * 2 > self._prefetch_bytes:
            return 0
        return max(room, 0)

    async def pull(self, held: int, held_bytes: int, most: int = _MOST) -> bool:
        """Request more messages if there is room, at most `most`; return whether it did.

        Raises:
            DeliveryError: If the server accepts nothing for some time.
            ConnectionFailedError: If the link is closed.
        """
        batch = min(self.room(held, held_bytes), self._most, most)
        if not batch:
            return False
        now = self._now()
        if not self.is_certain or now < self._not_before:
            return False  # the timer retries
        body = {"batch": batch, "expires": int(self.expires * 1e9)}
        body["idle_heartbeat"] = int(self._heartbeat * 1e9)
        if self._one_of_any_size:
            self._one_of_any_size, batch = False, 1
            body["batch"] = 1
        else:
            size = max(self._prefetch_bytes // _REQUESTS, self._link.max_payload)
            body["max_bytes"] = min(size, self._most_bytes)
        self._number += 1
        if not self._requests:
            self._heard = now
        self._requests[self._number] = _Request(batch, now + self.expires + _GRACE)
        self._outstanding += batch
        reply = f"{self.inbox}.{self._number}"
        try:
            await self._link.publish(self._next, json.dumps(body).encode(), reply=reply)
        except BaseException:
            self._drop(self._number)
            raise
        return True

    def look(self) -> None:
        """Detect lost requests and missing heartbeats; called by the timer."""
        now = self._now()
        if self._link.reconnects != self._reconnects:
            self._reconnects = self._link.reconnects
            self.forget()  # the server forgot them with the connection
            self.suspect = self.unknown = True
        elif now - self._heard > _MISSED * self._heartbeat:
            # Without an open request the server has no reason to send a heartbeat, and nowhere to
            # report that the consumer is gone.
            if self._requests:
                _log.info("no heartbeat from the consumer")
                self.unserved = True
            self.forget()
            self.suspect = self.unknown = True
        for number in [n for n, request in self._requests.items() if request.ends < now]:
            self._drop(number)

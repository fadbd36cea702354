"""Reads a stream from a place on, in order, with an ephemeral consumer in the server's memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from xkeymsg.client.jetstream.acks import parse_ack
from xkeymsg.client.jetstream.api import API, check_name, int64
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.headers import parse_block, parse_status
from xkeymsg.transport.raw import RawSubscription

__all__ = ("Begin", "StreamMessage", "stored_messages")

_BATCH: Final = 256
_BATCH_BYTES: Final = 8 << 20
_INACTIVE_NS: Final = 30 * 10**9
_ATTEMPTS: Final = 5
"""Attempts in a row without a message."""
_PAUSE: Final = 1.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TOO_LARGE: Final = 409


class StreamMessage(NamedTuple):
    """A message as a stream has it."""

    subject: str
    sequence: int
    stored_ms: int
    headers: bytes
    """The header block."""
    data: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of an unauthenticated header, whose name is in any case."""
        values = [value for key, value in parse_block(self.headers) if key.lower() == name.lower()]
        return values[0] if values else None


class Begin(NamedTuple):
    """Where reading begins."""

    sequence: int = 1
    since_ms: int = 0
    """If not 0, the first message stored at or after this time instead."""
    last_of_subjects: bool = False
    """Whether to read only the last message of each subject."""

    def config(self) -> dict[str, Any]:
        """Return the settings of a consumer that begins here."""
        if self.last_of_subjects:
            return {"deliver_policy": "last_per_subject"}
        if self.since_ms > 0:
            since = _EPOCH + timedelta(milliseconds=self.since_ms)
            return {"deliver_policy": "by_start_time", "opt_start_time": since.isoformat()}
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, self.sequence)}


async def stored_messages(
    api: API, stream: str, begin: Begin, *, subject: str = ">"
) -> AsyncIterator[StreamMessage]:
    """Yield the messages that a stream has when reading begins, and perhaps later ones, in order.

    After a lost connection, reading continues with the next sequence.

    Raises:
        DeliveryError: If the server refuses, or does not deliver.
    """
    check_name("stream", stream)
    failures = 0
    while True:
        try:
            async with contextlib.aclosing(_once(api, stream, begin, subject)) as messages:
                async for message in messages:
                    yield message
                    failures = 0
                    if not begin.last_of_subjects:
                        begin = Begin(message.sequence + 1)
        except _IncompleteError as error:
            failures += 1
            if begin.last_of_subjects or failures >= _ATTEMPTS:
                raise DeliveryError(str(error)) from None
            await asyncio.sleep(_PAUSE)
        else:
            return


class _IncompleteError(Exception):
    pass


async def _once(api: API, stream: str, begin: Begin, subject: str) -> AsyncGenerator[StreamMessage]:
    link, timeout = api.link, api.timeout
    config = begin.config() | {
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _INACTIVE_NS,
    }
    if subject != ">":
        config["filter_subject"] = subject
    inbox = link.new_inbox()
    arriving = await link.subscribe(inbox, max_messages=2 * _BATCH, max_bytes=2 * _BATCH_BYTES)
    try:
        try:
            body = {"stream_name": stream, "config": config}
            answer = await api.request(f"CONSUMER.CREATE.{stream}", body)
        except DeliveryError as error:
            if error.err_code is not None:
                raise
            raise _IncompleteError(error) from None
        name = check_name("consumer", str(answer.get("name")))
        expected = _Expected(stream.encode(), name.encode(), int64(answer.get("num_pending")))
        to = f"{api.prefix}.CONSUMER.MSG.NEXT.{stream}.{name}"
        batch = _BATCH
        while expected.left > 0:
            wanted = min(batch, expected.left)
            request = {"batch": wanted, "expires": int(timeout * 10**9)}
            if batch > 1:
                request["max_bytes"] = _BATCH_BYTES
            await link.publish(to, json.dumps(request).encode(), reply=inbox)
            batch = _BATCH
            for _ in range(wanted):
                message = await expected.take(arriving, timeout)
                if message is None:  # a message is larger than the batch may be
                    batch = 1
                    break
                yield message
    finally:
        await arriving.unsubscribe()


class _Expected:
    """Accepts the deliveries of one consumer, in order and without a gap."""

    def __init__(self, stream: bytes, consumer: bytes, left: int) -> None:
        self._from = stream, consumer
        self._number = 0
        self.left = left

    async def take(self, arriving: RawSubscription, timeout: float) -> StreamMessage | None:
        """Return the next message; None if the server has ended the request.

        Raises:
            _IncompleteError: If it does not come.
        """
        while True:
            try:
                raw = await arriving.next(2 * timeout)
            except DeliveryError as error:
                raise _IncompleteError(error) from None
            delivery = parse_ack(raw.reply)
            if delivery is None:
                status = parse_status(raw.headers)
                if status is None or 100 <= status.code < 200:
                    continue
                if status.code == _TOO_LARGE:
                    return None
                raise _IncompleteError(f"the stream ended a request: status {status.code}")
            if delivery[:2] != self._from:
                continue
            if delivery.consumer_sequence != self._number + 1:
                raise _IncompleteError("the stream skipped a message")
            self._number += 1
            self.left -= 1
            stored_ms = delivery.stored_ns // 1_000_000
            subject = raw.subject_text
            return StreamMessage(subject, delivery.sequence, stored_ms, raw.headers, raw.data)

"""Where messages go that a consumer gives up: two streams, and who may be lost from which.

*Unproven* is what no wrap has verified of: anybody who may publish can make any number of them. Its
stream is small and discards the oldest; the rate of writing is bounded; and what it cannot take is
counted and given up all the same, so that strangers do not decide how fast honest messages pass.

*Proven* is what an admitted sender sealed for us, refused or not handled. Its stream discards
nothing: when it is full, or not there, consuming stops and says so, until it takes the message.

A record is written, and acknowledged, before the message is terminated: on work-queue and interest
streams that deletes it. A process that dies in between writes the record again, and the stream
keeps one: the subject of a record is its name, and a subject holds one message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND, check_name
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.jetstream.quarantine_records import (
    Frame,
    QuarantineRecord,
    encode_record,
    record_id,
)
from xkeymsg.errors import ConnectionFailedError, DeliveryError, XKeyMsgError
from xkeymsg.keys import XKeyPair

__all__ = ("PROVEN", "UNPROVEN", "Quarantine", "create_quarantine", "record_key", "stream_configs")

_RECORDS: Final = b"xkm1/records"
"""For what a key is derived that names records."""

_log = logging.getLogger(__name__)

UNPROVEN: Final = "XKM_UNPROVEN"
PROVEN: Final = "XKM_PROVEN"

_UNPROVEN_TIMEOUT: Final = 1.0
_PROVEN_TIMEOUT: Final = 5.0
_BREAK: Final = 10.0
"""Seconds without an attempt after the unproven stream took nothing."""
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts to keep what is proven; the last for ever."""
_STORE_FAILED: Final = 10077
_NO_ROOM: Final = (10002, 10023, 10047)
"""JetStream's numbers of what is said where an account or a server has not what is reserved."""
_DAY_NS: Final = 86_400 * 10**9


def record_key(pair: XKeyPair) -> bytes:
    """Return the key with which this reader names its records.

    Workers with one key name a record alike, and nobody else can tell how.
    """
    return pair.derive(_RECORDS)


def stream_configs(
    unproven: str = UNPROVEN, proven: str = PROVEN, *, replicas: int = 1
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of the two streams: unproven, and proven."""
    common = {
        "storage": "file",
        "retention": "limits",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "duplicate_window": 120 * 10**9,
    }
    small = {
        "name": check_name("stream", unproven),
        "subjects": [f"{unproven}.>"],
        "discard": "old",
        "max_msgs": 10_000,
        "max_bytes": 64 << 20,
        "max_age": 7 * _DAY_NS,
        "description": "messages that nothing is proven of; the oldest are discarded",
    }
    kept = {
        "name": check_name("stream", proven),
        "subjects": [f"{proven}.>"],
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs": 1_000_000,
        "max_bytes": 1 << 30,
        "description": "messages of admitted senders that were refused, or not handled",
    }
    return common | small, common | kept


async def create_quarantine(
    api: API, unproven: str = UNPROVEN, proven: str = PROVEN, *, replicas: int = 1
) -> list[str]:
    """Create both streams, if they are not there; return the names of those made.

    Raises:
        DeliveryError: If the server refuses, for one because a stream takes these subjects.
    """
    made = []
    for config in stream_configs(unproven, proven, replicas=replicas):
        name = config["name"]
        try:
            await api.request(f"STREAM.INFO.{name}")
        except DeliveryError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            await _create(api, name, config)
            made.append(name)
    return made


async def _create(api: API, name: str, config: dict[str, Any]) -> None:
    try:
        await api.request(f"STREAM.CREATE.{name}", config)
    except DeliveryError as error:
        if error.err_code not in _NO_ROOM:
            raise
        room = config["max_bytes"] >> 20
        raise DeliveryError(
            f"{name} reserves {room} MiB, and there is not so much: {error}; give the server or the"
            " account more (max_file_store), or make the stream yourself, smaller",
            err_code=error.err_code,
        ) from None


class _Bucket:
    """So many a second, and some at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Quarantine:
    """Keeps messages that are given up."""

    def __init__(
        self,
        api: API,
        key: bytes,
        *,
        unproven: str = UNPROVEN,
        proven: str = PROVEN,
        rate: float = 500.0,
        burst: float = 2000.0,
        on_blocked: Callable[[XKeyMsgError | None], None] = lambda _: None,
    ) -> None:
        """Take the connection, and a key that nobody outside knows.

        Args:
            api: The connection.
            key: 32 bytes, the same in all workers of a durable and after a restart: names of
                records are made with it.
            unproven: The stream for what nothing is proven of.
            proven: The stream for what admitted senders made.
            rate: How many unproven messages are kept in a second.
            burst: How many at once.
            on_blocked: Told why a proven message could not be kept, at each attempt, and with None
                when all are.
        """
        self.kept = 0
        """How many records were written."""
        self.lost = 0
        """How many unproven messages were given up without a record."""
        self._link = api.link
        self._key = key
        self._names = check_name("stream", unproven), check_name("stream", proven)
        self._bucket = _Bucket(rate, burst)
        self._on_blocked = on_blocked
        self._blocked: set[object] = set()
        self._broken_until = 0.0
        self._unproven = StreamPublisher(
            api, in_flight=2048, in_flight_bytes=16 << 20, no_stream=0.0
        )
        self._proven = StreamPublisher(api)

    @property
    def is_blocked(self) -> bool:
        """Whether a proven message waits for its stream."""
        return bool(self._blocked)

    async def close(self) -> None:
        """End; what was not kept is not terminated either, and comes again."""
        await self._unproven.close()
        await self._proven.close()

    async def keep_unproven(self, record: QuarantineRecord) -> bool:
        """Keep a message if that is possible now; False if it is not, which is counted.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        now = asyncio.get_running_loop().time()
        full = self._unproven.is_full or now < self._broken_until
        if full or not self._bucket.take(now):
            self.lost += 1
            return False
        frames = self._frames(record, self._names[0])
        try:
            if len(frames) == 1:  # a stranger's message in pieces is not worth it
                await self._write(self._unproven, frames[0], _UNPROVEN_TIMEOUT)
                self.kept += 1
                return True
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:
            now = asyncio.get_running_loop().time()
            if now >= self._broken_until:  # once for all that were in flight
                _log.warning("the unproven quarantine takes nothing: %s", error)
            self._broken_until = now + _BREAK
        self.lost += 1
        return False

    async def keep_proven(self, record: QuarantineRecord) -> bool:
        """Keep a message, however long it takes; True in the end.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        token, attempt = object(), 0
        while True:
            try:
                for frame in self._frames(record, self._names[1]):
                    await self._write(self._proven, frame, _PROVEN_TIMEOUT)
                break
            except ConnectionFailedError:
                raise
            except XKeyMsgError as error:
                self._blocked.add(token)
                self._on_blocked(error)
            try:
                await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            except BaseException:
                self._blocked.discard(token)
                raise
            attempt += 1
        self.kept += 1
        if token in self._blocked:
            self._blocked.discard(token)
            if not self._blocked:
                self._on_blocked(None)
        return True

    def _frames(self, record: QuarantineRecord, stream: str) -> list[Frame]:
        name = record_id(self._key, record)
        return encode_record(record, name, stream, self._link.max_payload)

    async def _write(self, publisher: StreamPublisher, frame: Frame, timeout: float) -> None:
        subject, headers, data = frame
        try:
            ack = publisher.submit(subject, data, headers, timeout=timeout, known=True)
            await (await ack)
        except DeliveryError as error:
            if error.err_code != _STORE_FAILED or "per subject" not in str(error):
                raise  # and else the stream has it from an attempt before

"""Quarantine (dead-letter) streams for messages that a consumer gives up on.

*Unproven* (unauthenticated) messages are those in which no wrapped key verified: anyone who may
publish can make any number of them. Their stream is a ring that discards the oldest. Where
termination deletes a message (work-queue and interest streams), its record is written first, as
fast as the stream takes it: a message that only looks like a stranger's, because of a wrong key or
wrong peers, is not lost. Where nothing is deleted, or strangers' messages may be dropped, the write
rate is limited, and messages that cannot be stored are counted and given up anyway.

*Proven* (authenticated) messages were sealed for us by an admitted sender, and were refused or not
handled. Their stream discards nothing.

While a stream that must take a record takes none, consuming stops and reports that, until the
record is stored.

A record is acknowledged before the message is terminated. If the process dies in between, the
record is written again, and the stream keeps one: a record's name is its subject, and a subject
holds one message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from xkeymsg.client.jetstream.api import API, check_name, int64, is_subject_full
from xkeymsg.client.jetstream.publisher import NoStreamError, StreamPublisher
from xkeymsg.client.jetstream.quarantine_records import (
    Frame,
    QuarantineRecord,
    encode_record,
    record_id,
)
from xkeymsg.errors import ConnectionFailedError, DeliveryError, PayloadTooLargeError, XKeyMsgError
from xkeymsg.keys import XKeyPair

__all__ = (
    "LOOK",
    "PROVEN",
    "PROVEN_TIMEOUT",
    "UNPROVEN",
    "UNPROVEN_TIMEOUT",
    "Quarantine",
    "create_quarantine",
    "record_key",
    "stream_configs",
)

_RECORDS: Final = b"xkm1/records"
"""The derivation label of the key that names records."""

_log = logging.getLogger(__name__)

UNPROVEN: Final = "XKM_UNPROVEN"
PROVEN: Final = "XKM_PROVEN"

UNPROVEN_TIMEOUT: Final = 1.0
PROVEN_TIMEOUT: Final = 5.0
_BREAK: Final = 10.0
"""Seconds without attempts after a failed write to the unproven stream."""
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts to store a proven message; the last one repeats."""
_SMALLEST: Final = 4096
"""Bytes of the smallest part into which a record is split."""
_OVERHEAD: Final = 64
"""Bytes that a message takes in a stream, in addition to its subject, headers and data."""
LOOK: Final = 60.0
"""Seconds between checks of how full the ring is."""
_NO_ROOM: Final = (10002, 10023, 10047)
"""JetStream's error numbers for insufficient storage of an account or server."""
_BURST: Final = 2000.0
"""Unproven messages that are stored without regard to the rate."""
_RING: Final = 1 << 30
"""Bytes of the unproven stream: 1.5 million small messages."""


def record_key(pair: XKeyPair) -> bytes:
    """Derive the key with which this receiver names its records.

    Workers with the same key use the same name for a record, and nobody else can compute it.
    """
    return pair.derive(_RECORDS)


def stream_configs(
    unproven: str = UNPROVEN, proven: str = PROVEN, *, replicas: int = 1
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of the unproven and the proven stream."""
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
        "max_bytes": _RING,
        "description": "unauthenticated messages; the oldest are discarded",
    }
    kept = {
        "name": check_name("stream", proven),
        "subjects": [f"{proven}.>"],
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs": 1_000_000,
        "max_bytes": 1 << 30,
        "description": "messages of admitted senders that were refused or not handled",
    }
    return common | small, common | kept


async def create_quarantine(
    api: API, unproven: str = UNPROVEN, proven: str = PROVEN, *, replicas: int = 1
) -> list[str]:
    """Create the streams that do not exist; return the names of those created.

    Raises:
        DeliveryError: If the server refuses, such as if another stream has these subjects.
    """
    made = []
    for config in stream_configs(unproven, proven, replicas=replicas):
        name = config["name"]
        if not await api.has_stream(name):
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
            f"{name} reserves {room} MiB, which is not available: {error}; raise the limit of the"
            " server or account (max_file_store), or create a smaller stream yourself",
            err_code=error.err_code,
        ) from None


class _Bucket:
    """A token bucket."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens, self._at = _BURST, 0.0

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one."""
        self._tokens = min(_BURST, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Quarantine:
    """Store of the messages that a consumer gives up on.

    Args:
        api: The JetStream API client.
        key: 32 secret bytes, the same in all workers of a durable and after a restart; records are
            named with it.
        unproven: The stream for unauthenticated messages.
        proven: The stream for messages of admitted senders.
        rate: Limit of stored unproven messages per second, after a burst.
        on_blocked: Called with the error of each failed attempt to store a message that must be
            stored, and with None when all are stored.
    """

    def __init__(
        self,
        api: API,
        key: bytes,
        *,
        unproven: str = UNPROVEN,
        proven: str = PROVEN,
        rate: float = 500.0,
        on_blocked: Callable[[XKeyMsgError | None], None] = lambda _: None,
    ) -> None:
        self.kept = 0
        """Number of records written."""
        self.lost = 0
        """Number of unproven messages given up without a record."""
        self._api, self._link = api, api.link
        self._key = key
        self._names = check_name("stream", unproven), check_name("stream", proven)
        self._bucket = _Bucket(rate)
        self._on_blocked = on_blocked
        self._blocked: set[object] = set()
        self._broken_until = 0.0
        self._parts: dict[str, int] = {}
        self._ring = _RING, 0
        self._half_full = False
        self._look_at = 0.0
        self._unproven = StreamPublisher(
            api, in_flight=2048, in_flight_bytes=16 << 20, no_stream=0.0
        )
        self._proven = StreamPublisher(api)

    @property
    def is_blocked(self) -> bool:
        """Whether a message that must be stored is waiting for that."""
        return bool(self._blocked)

    async def close(self) -> None:
        """Close; messages not stored are not terminated either, and will be redelivered."""
        await self._unproven.close()
        await self._proven.close()

    async def keep_unproven(self, record: QuarantineRecord, *, must: bool = False) -> bool:
        """Store a message; return whether it is stored.

        Args:
            record: The message.
            must: Whether to store it however long that takes. Otherwise it is stored if possible
                now, or else counted as lost.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        if must:
            await self._look()
            await self._keep(self._unproven, record, self._names[0])
            return True
        now = asyncio.get_running_loop().time()
        full = self._unproven.is_full or now < self._broken_until
        if full or not self._bucket.take(now):
            self.lost += 1
            return False
        frames = self._frames(record, self._names[0])
        try:
            if len(frames) == 1:  # large messages of strangers are not kept
                await self._write(self._unproven, frames[0], UNPROVEN_TIMEOUT)
                self.kept += 1
                return True
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:
            now = asyncio.get_running_loop().time()
            if now >= self._broken_until:  # log once for all in flight
                _log.warning("cannot write to the unproven quarantine: %s", _why(error))
            self._broken_until = now + _BREAK
        self.lost += 1
        return False

    async def keep_proven(self, record: QuarantineRecord) -> bool:
        """Store a message, however long it takes; return True.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        await self._keep(self._proven, record, self._names[1])
        return True

    async def _keep(self, publisher: StreamPublisher, record: QuarantineRecord, name: str) -> None:
        token, attempt = object(), 0
        while True:
            try:
                await self._store(publisher, record, name)
                break
            except ConnectionFailedError:
                raise
            except XKeyMsgError as error:
                self._blocked.add(token)
                self._on_blocked(DeliveryError(f"cannot write to {name}: {_why(error)}"))
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

    async def _store(self, publisher: StreamPublisher, record: QuarantineRecord, name: str) -> None:
        """Store a record, in smaller parts if the stream does not take such large ones."""
        while True:
            limit = min(self._parts.get(name, self._link.max_payload), self._link.max_payload)
            try:
                for frame in self._frames(record, name):
                    await self._write(publisher, frame, PROVEN_TIMEOUT)
            except PayloadTooLargeError:
                if limit < 2 * _SMALLEST:
                    raise
                self._parts[name] = limit // 2
            else:
                return

    # --- the ring of unproven messages ------------------------------------------------------------

    async def _look(self) -> None:
        """Look up the limits of the ring, and warn when it is half full; rarely, if permitted."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + LOOK
        try:
            answer = await self._api.request(f"STREAM.INFO.{self._names[0]}")
        except XKeyMsgError:
            return
        config, state = answer.get("config"), answer.get("state")
        if not isinstance(config, dict) or not isinstance(state, dict):
            return
        self._ring = int64(config.get("max_bytes")), int64(config.get("max_msgs"))
        used = int64(state.get("bytes")), int64(state.get("messages"))
        was, self._half_full = (
            self._half_full,
            any(0 < limit <= 2 * size for limit, size in zip(self._ring, used, strict=True)),
        )
        if self._half_full and not was:
            _log.warning(
                "%s is half full: when it is full, the oldest records are discarded; replay or"
                " drop them",
                self._names[0],
            )

    def share(self, record: QuarantineRecord) -> float:
        """Return the share of the ring that a record takes, as far as known."""
        (most_bytes, most), frames = self._ring, self._frames(record, self._names[0])
        size = sum(_OVERHEAD + sum(map(len, frame)) for frame in frames)
        shares = (size, most_bytes), (len(frames), most)
        return max(part / limit if limit > 0 else 0.0 for part, limit in shares)

    def _frames(self, record: QuarantineRecord, stream: str) -> list[Frame]:
        name = record_id(self._key, record)
        limit = self._link.max_payload
        return encode_record(record, name, stream, min(limit, self._parts.get(stream, limit)))

    async def _write(self, publisher: StreamPublisher, frame: Frame, timeout: float) -> None:
        subject, headers, data = frame
        try:
            ack = publisher.submit(subject, data, headers, timeout=timeout, known=True)
            await (await ack)
        except DeliveryError as error:
            if not is_subject_full(error):
                raise  # otherwise an earlier attempt has stored it


def _why(error: XKeyMsgError) -> str:
    if isinstance(error, NoStreamError):
        return "the stream does not exist: run xkeymsg quarantine init"
    return str(error)

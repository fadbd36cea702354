"""`JetStreamStore`: a bucket in JetStream."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar, Final

from xkeymsg.ambient import monotonic
from xkeymsg.client.jetstream.acks import parse_ack
from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND, WRONG_LAST, int64, parse_puback
from xkeymsg.display import cut
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    DeliveryError,
    PayloadTooLargeError,
    WrongRevisionError,
)
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.store import Deliver, KVStatus
from xkeymsg.transport.headers import parse_status
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("JetStreamStore",)

_DEFAULT_API: Final = "$JS.API"
_NOT_NOW: Final = (None, 10008, 10158, 10167)
"""JetStream's error numbers after which an entry is sent again: no number, temporarily unavailable,
message id in process, too many requests."""
_UNSURE: Final = (None, 10158)
"""Those after which an entry may be stored."""
_MISSING: Final = re.compile(rb"NATS/1\.0 404")
_SEQUENCE: Final = re.compile(rb"\r\nNats-Sequence: *([1-9][0-9]{0,17})(?=\r\n)")
_SUBJECT: Final = re.compile(rb"\r\nNats-Subject: *([^\r\n]*)(?=\r\n)")
_HEARTBEAT: Final = 5.0
_INACTIVE: Final = 5.0
"""Seconds after which the server deletes a consumer that nobody listens to: each list of keys and
each history leaves one, because deleting it would need a permission for all consumers."""
_RETRY: Final = 2.0
_ATTEMPT: Final = 3.0
"""Seconds after which an unacknowledged entry is sent again."""
_SOON: Final = 0.25
_NS: Final = 10**9
_MAX_MESSAGES, _MAX_BYTES = 1 << 14, 32 << 20
"""Bounds of what a watch has received and not taken."""


class JetStreamStore:
    """A bucket in JetStream.

    Args:
        api: The JetStream API client.
        bucket: The name of the bucket.
    """

    patience: ClassVar[float] = 2.5 * _HEARTBEAT
    """Seconds without deliveries and heartbeats after which a consumer is replaced."""

    def __init__(self, api: API, bucket: str) -> None:
        self._api = api
        self._bucket, self._stream = bucket, f"KV_{bucket}"
        self._prefix: str | None = None
        """The prefix of the subjects of stored entries; None before the first use."""
        self._direct = True
        # Across a domain, or an import with a prefix, keys are below the prefix of the API.
        self._domain = "" if api.prefix == _DEFAULT_API else f"{api.prefix}."

    @property
    def max_payload(self) -> int:
        """The greatest size of headers and data, in bytes."""
        return self._api.link.max_payload

    async def last(self, name: str, *, leader: bool = False) -> StoredEntry | None:
        """Return the newest entry of a key.

        Args:
            name: The key on the wire.
            leader: Whether to ask the leader, where that is permitted.

        Raises:
            DeliveryError: If the bucket does not exist, or does not answer.
        """
        subject = f"{self._prefix or await self._start()}{name}"
        if leader and self._direct:
            with contextlib.suppress(DeliveryError):
                return await self._last_of_leader(name, subject)
        if not self._direct:
            return await self._last_of_leader(name, subject)
        raw = await self._api.ask(f"DIRECT.GET.{self._stream}.{subject}")
        if _MISSING.match(raw.headers):
            return None
        found = _direct(raw)
        if found[0] != subject:
            raise DeliveryError("JetStream answered with another key")
        return StoredEntry(name, *found[1:])

    async def _last_of_leader(self, name: str, subject: str) -> StoredEntry | None:
        stored = await self._api.last_message(self._stream, subject)
        if stored is None:
            return None
        if stored.subject != subject:
            raise DeliveryError("JetStream answered with another key")
        return StoredEntry(name, stored.sequence, _block(stored.headers), stored.data)

    async def revisions(self, name: str) -> AsyncGenerator[StoredEntry | None]:
        """Yield the entries of a key, from the leader, and None after the last.

        Raises:
            DeliveryError: If the bucket does not exist or answer, or the leader may not be asked.
        """
        subject, at = f"{self._prefix or await self._start()}{name}", 1
        while (stored := await self._api.next_message(self._stream, at, subject)) is not None:
            if stored.subject != subject:
                raise DeliveryError("JetStream answered with another key")
            yield StoredEntry(name, stored.sequence, _block(stored.headers), stored.data)
            at = stored.sequence + 1
        yield None

    async def at(self, name: str, revision: int) -> StoredEntry | None:
        """Return an entry by revision.

        Raises:
            DeliveryError: If the bucket does not exist, or does not answer.
        """
        found = await self._read(revision)
        if found is None or found[0] != f"{self._prefix}{name}":
            return None
        return StoredEntry(name, *found[1:])

    async def _read(self, revision: int) -> tuple[str, int, bytes, bytes] | None:
        """Return subject, revision, headers and data of an entry; None if it does not exist."""
        await self._start()
        if not self._direct:
            try:
                stored = await self._api.message(self._stream, revision)
            except DeliveryError as error:
                if error.err_code is None:
                    raise
                return None
            found = stored.subject, stored.sequence, _block(stored.headers), stored.data
        else:
            raw = await self._api.ask(f"DIRECT.GET.{self._stream}", {"seq": revision})
            if _MISSING.match(raw.headers):
                return None
            found = _direct(raw)
        if found[1] != revision:
            raise DeliveryError("JetStream answered with another revision")
        return found

    async def put(self, name: str, data: bytes, block: bytes, *, timeout: float) -> int:
        """Store an entry, and return its revision.

        Without an acknowledgement it is sent again, with the same id, until the timeout.

        Raises:
            WrongRevisionError: If the key has another revision than the headers say.
            ConflictError: If the bucket has another entry under its id.
            ConfigurationError: If another stream takes the bucket's subjects.
            DeliveryError: If the bucket does not exist, or does not accept the entry.
            PayloadTooLargeError: If it exceeds a limit.
        """
        begun, attempts, unsure = monotonic(), 0, False
        while (left := begun + timeout - monotonic()) > 0:
            attempts, started = attempts + 1, monotonic()
            attempt = min(left, _ATTEMPT)
            try:
                return await self._attempt(name, data, block, attempt, again=attempts > 1)
            except WrongRevisionError:
                if not unsure:
                    raise
                # It may be stored, and another writer has replaced it: not to be done twice.
                raise DeliveryError(
                    "the key has changed, and an attempt had no answer: the entry may or may not"
                    " have been stored",
                    WRONG_LAST[0],
                ) from None
            except DeliveryError as error:
                unsure = unsure or error.err_code in _UNSURE
                if error.err_code not in _NOT_NOW:
                    raise
                if monotonic() >= started + attempt:
                    continue  # there was no answer
                if error.err_code is None and monotonic() >= begun + _RETRY:
                    raise await self._explained(error) from None
                await asyncio.sleep(_SOON)
        raise DeliveryError(f"no acknowledgement within {timeout:g} s: it may or may not be stored")

    async def _attempt(
        self, name: str, data: bytes, block: bytes, timeout: float, *, again: bool
    ) -> int:
        """Send an entry once."""
        subject = f"$KV.{self._bucket}.{name}"
        try:
            raw = await self._api.link.request(
                f"{self._domain}{subject}", data, headers=block, timeout=timeout
            )
            ack = parse_puback(raw.data)
        except DeliveryError as error:
            match error.err_code:
                case code if code in WRONG_LAST:
                    return await self._stored(name, data, again=again)
                case 10054:
                    raise PayloadTooLargeError(len(data) + len(block)) from None
                case 10111:
                    raise DeliveryError(
                        "the bucket does not permit rollups: use delete, or create it with --purge",
                        error.err_code,
                    ) from None
            raise
        if ack.stream != self._stream:
            raise ConfigurationError("another stream takes the keys of this bucket")
        if ack.duplicate:
            found = None
            with contextlib.suppress(DeliveryError):  # a writer may not be permitted to read
                found = await self._read(ack.sequence) if again else None
            if not again or (found and (found[0], found[3]) != (subject, data)):
                raise ConflictError("the bucket has another entry under this one's id")
        return ack.sequence

    async def _stored(self, name: str, data: bytes, *, again: bool) -> int:
        """Return the revision of an entry that is stored already.

        Of a retry whose first acknowledgement was lost, the server compares the expected revision
        before the id.
        """
        stored = None
        with contextlib.suppress(DeliveryError):  # a writer may not be permitted to read
            stored = await self.last(name, leader=True) if again else None
        if stored is None or stored.data != data:
            raise WrongRevisionError("the key has another revision than expected")
        return stored.revision

    async def create(self, config: Mapping[str, Any]) -> None:
        """Create the bucket.

        Raises:
            DeliveryError: If it exists with other settings, or the server refuses.
        """
        await self._api.request(f"STREAM.CREATE.{self._stream}", config)

    async def status(self) -> KVStatus:
        """Return the settings and the size of the bucket.

        Raises:
            DeliveryError: If it does not exist, or may not be read.
        """
        info = await self._info()
        config, state = _mapping(info, "config"), _mapping(info, "state")
        age, mirror = int64(config.get("max_age")), _mapping(config, "mirror").get("name")
        sources = config.get("sources")
        return KVStatus(
            bucket=self._bucket,
            values=int64(state.get("messages")),
            bytes=int64(state.get("bytes")),
            history=int64(config.get("max_msgs_per_subject")),
            ttl=age / _NS if age > 0 else None,
            entry_ttl=config.get("allow_msg_ttl") is True,
            storage=cut(str(config.get("storage"))),
            replicas=int64(config.get("num_replicas")),
            rollups=config.get("allow_rollup_hdrs") is True,
            mirror=_bucket_of(mirror),
            sources=tuple(
                filter(None, map(_bucket_of, map(_name, sources if type(sources) is list else ())))
            ),
        )

    async def _info(self) -> dict[str, Any]:
        try:
            return await self._api.request(f"STREAM.INFO.{self._stream}")
        except DeliveryError as error:
            if error.err_code is None:
                raise
            raise await self._explained(error) from None

    async def _explained(self, error: DeliveryError) -> DeliveryError:
        missing = f"no bucket {self._bucket}: create it with `xkeymsg kv init {self._bucket}`"
        return await self._api.explained(error, self._stream, missing)

    async def _start(self) -> str:
        """Return the prefix of stored subjects; a mirror keeps those of the mirrored bucket."""
        if self._prefix is None:
            config = _mapping(await self._info(), "config")
            self._direct = config.get("allow_direct") is True
            mirrored = _bucket_of(_mapping(config, "mirror").get("name"))
            self._prefix = f"$KV.{mirrored or self._bucket}."
        return self._prefix

    # --- following --------------------------------------------------------------------------------

    async def follow(self, pattern: str, deliver: Deliver) -> AsyncGenerator[StoredEntry | None]:
        """Yield the entries of matching keys, and None once when there are no more for now.

        A consumer that has lost deliveries, or does not answer, is replaced by one that continues
        after the last delivery; if the bucket was recreated, from its beginning.

        Raises:
            DeliveryError: If the bucket does not exist, or may not be read.
        """
        filtered = f"{await self._start()}{pattern}"
        last, created, told = 0, None, False
        while True:
            link = self._api.link
            inbox = link.new_inbox()
            messages = await link.subscribe(inbox, max_messages=_MAX_MESSAGES, max_bytes=_MAX_BYTES)
            try:
                try:
                    now, last = await self._resume(deliver, created, last)
                    left = await self._consumer(inbox, filtered, deliver, last)
                except DeliveryError as error:
                    if created is None or error.err_code == STREAM_NOT_FOUND:
                        raise
                    await asyncio.sleep(_RETRY)  # the server is away, or elects a leader
                    continue
                created = now
                if not told and (not left or deliver == "new"):
                    told = True
                    yield None
                expected = 1
                while (entry := await self._next(messages, expected)) is not None:
                    expected, last = expected + 1, entry.revision
                    yield entry
                    if expected > left and not told:
                        told = True
                        yield None
            finally:
                await messages.unsubscribe()

    async def _resume(self, deliver: Deliver, created: object, last: int) -> tuple[object, int]:
        """Return when the bucket was created, and the revision after which to continue."""
        info = await self._info()
        now = info.get("created")
        if created is None and deliver == "new":
            last = int64(_mapping(info, "state").get("last_seq"))
        return now, last if created in (None, now) else 0

    async def _consumer(self, inbox: str, filtered: str, deliver: Deliver, last: int) -> int:
        """Create a consumer, and return how many entries it has to deliver now."""
        policy: dict[str, Any] = {
            "deliver_policy": "last_per_subject" if deliver == "last" else "all"
        }
        if last or deliver == "new":
            policy = {"deliver_policy": "by_start_sequence", "opt_start_seq": last + 1}
        config = {
            "deliver_subject": inbox,
            "filter_subject": filtered,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT * _NS),
            "inactive_threshold": int(_INACTIVE * _NS),
            **policy,
        }
        body = {"stream_name": self._stream, "config": config}
        return int64(
            (await self._api.request(f"CONSUMER.CREATE.{self._stream}", body)).get("num_pending")
        )

    async def _next(self, messages: RawSubscription, expected: int) -> StoredEntry | None:
        """Return the next entry; None if the consumer has to be replaced."""
        while True:
            try:
                raw = await messages.next(self.patience)
            except DeliveryError:  # not even a heartbeat
                return None
            delivery = parse_ack(raw.reply)
            if delivery is not None:
                if delivery.consumer_sequence != expected:
                    return None
                name = raw.subject_text.removeprefix(self._prefix or "")
                return StoredEntry(name, delivery.sequence, raw.headers, raw.data)
            status = parse_status(raw.headers)
            if raw.data or status is None or status.code != 100:
                continue
            if raw.reply.startswith(b"$JS.FC."):
                await self._api.link.publish(raw.reply_text, b"")
            elif (done := _last_delivered(raw)) is not None and done >= expected:
                return None  # deliveries are missing


def _last_delivered(raw: Raw) -> int | None:
    """Return the number of the last delivery, as a heartbeat reports it."""
    found = re.search(rb"\r\nNats-Last-Consumer: *([0-9]{1,18})\r\n", raw.headers)
    return None if found is None else int(found[1])


def _direct(raw: Raw) -> tuple[str, int, bytes, bytes]:
    """Return subject, sequence, headers and data of an answer of Direct Get.

    The server appends its headers to those of the publisher, who may have written the same names.
    """
    status = parse_status(raw.headers)
    if status is not None:
        raise DeliveryError(f"Direct Get of the bucket: status {status.code}")
    sequences, subjects = _SEQUENCE.findall(raw.headers), _SUBJECT.findall(raw.headers)
    if not sequences or not subjects:
        raise DeliveryError("Direct Get of the bucket: an invalid answer")
    subject = subjects[-1].decode("utf-8", "surrogateescape")
    return subject, int(sequences[-1]), raw.headers, raw.data


def _block(headers: list[tuple[str, str]]) -> bytes:
    lines = [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in headers]
    return b"\r\n".join([b"NATS/1.0", *lines, b"\r\n"]) if lines else b""


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _name(source: object) -> object:
    return source.get("name") if isinstance(source, dict) else None


def _bucket_of(stream: object) -> str | None:
    if not isinstance(stream, str) or not re.fullmatch(r"KV_[A-Za-z0-9_-]{1,250}", stream):
        return None
    return stream.removeprefix("KV_")

"""The bucket of a store: its stream, its entries, and the chunks that belong to none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

from xkeymsg.ambient import now_ns
from xkeymsg.arguments import milliseconds
from xkeymsg.client.jetstream.api import (
    API,
    EXPECTED_LAST,
    WRONG_LAST,
    Stored,
    int64,
    parse_puback,
)
from xkeymsg.envelope.inspect import inspect
from xkeymsg.errors import ConflictError, DeliveryError, XKeyMsgError
from xkeymsg.limits import Limits
from xkeymsg.objects.entry import nuid_in, parse_entry, proven_nuid
from xkeymsg.objects.feed import Arrival, Feed
from xkeymsg.objects.info import ObjectStoreStatus
from xkeymsg.objects.names import bucket_config, check_bucket, chunk_subject, is_nuid
from xkeymsg.primitives import sha256
from xkeymsg.transport.headers import encode_block

__all__ = ("ATTEMPTS", "Bucket", "milliseconds_of")

ATTEMPTS: Final = 20
"""How often to write an entry while others write it, too."""
_PAUSE: Final = 0.25
_ENTRIES: Final = 8
"""Entries that are requested at a time; one has at most `max_payload` bytes."""
_DAY: Final = 86_400.0
_NS_PER_MS: Final = 10**6


def milliseconds_of(time: datetime) -> int:
    """Return the milliseconds since 1970 of the time in an envelope."""
    return round(time.timestamp() * 1000)  # exact: a float has more digits


class Bucket:
    """A bucket, without what its entries mean: the lower half of `ObjectStore`."""

    def __init__(self, api: API, bucket: str, limits: Limits | None = None) -> None:
        self.bucket = check_bucket(bucket)
        """The name of the bucket."""
        self._api, self._limits = api, limits or Limits()
        self._stream = f"OBJ_{bucket}"
        self._entries = f"$O.{bucket}.M.*"

    async def init(
        self,
        *,
        storage: Literal["file", "memory"] = "file",
        ttl: float | None = None,
        max_bytes: int | None = None,
        replicas: int = 1,
    ) -> None:
        """Create the bucket; if it exists with these settings, do nothing.

        Args:
            storage: Where the server keeps it.
            ttl: The seconds after which objects are deleted; by default never.
            max_bytes: The greatest size of the bucket in bytes; by default unlimited.
            replicas: The number of servers of a cluster that hold it.

        Raises:
            ConfigurationError: If a value is invalid.
            DeliveryError: If the server refuses it, for instance because it exists with other
                settings.
            TypeError: If an argument has the wrong type.
        """
        config = bucket_config(
            self.bucket, storage=storage, ttl=ttl, max_bytes=max_bytes, replicas=replicas
        )
        await self._api.request(f"STREAM.CREATE.{self._stream}", config)

    async def status(self) -> ObjectStoreStatus:
        """Return the state of the bucket, as the server describes it.

        Raises:
            DeliveryError: If it does not exist, or the server does not answer.
        """
        try:
            answer = await self._api.request(f"STREAM.INFO.{self._stream}")
        except DeliveryError as error:
            raise await self._explained(error) from None
        config, state = (_mapping(answer.get(name)) for name in ("config", "state"))
        age = config.get("max_age")
        return ObjectStoreStatus(
            bucket=self.bucket,
            size=_count(state.get("bytes")),
            sealed=config.get("sealed") is True,
            storage=str(config.get("storage", ""))[:20],
            replicas=_count(config.get("num_replicas")),
            ttl=_count(age) / 10**9 if _count(age) else None,
        )

    async def seal(self) -> None:
        """Make the bucket read-only, forever.

        Raises:
            DeliveryError: If it does not exist, or the server refuses or does not answer.
        """
        config = await self._api.stream_config(self._stream)
        await self._api.request(f"STREAM.UPDATE.{self._stream}", config | {"sealed": True})

    async def purge_leftovers(self, *, older_than: float = _DAY) -> int:
        """Delete chunks that belong to no object, such as those of a writer that was killed.

        Args:
            older_than: Only chunks of objects that nothing was added to for so many seconds. It
                must exceed the longest pause of a writer.

        Returns:
            The number of objects whose chunks were deleted.

        Raises:
            DeliveryError: If the server refuses, or does not answer.
        """
        before = now_ns() // _NS_PER_MS - milliseconds("older_than", older_than)
        found = await self._chunk_subjects()  # first: later objects are found below
        async with self._feed("last_per_subject") as feed:
            while found and (arrival := await feed.next()) is not None:
                found.pop(nuid_in(arrival.data) or "", None)
        purged = 0
        for nuid, subjects in found.items():
            stored = [await self._last(each) for each in subjects]
            if all(each is None or each.stored_ms < before for each in stored):
                await self._purge(nuid)
                purged += 1
        return purged

    async def _chunk_subjects(self) -> dict[str, list[str]]:
        """Return the subjects with chunks, by the ids of their objects."""
        found: dict[str, list[str]] = {}
        offset = 0
        while True:
            body = {"subjects_filter": f"$O.{self.bucket}.C.>", "offset": offset}
            answer = await self._api.request(f"STREAM.INFO.{self._stream}", body)
            subjects = _mapping(_mapping(answer.get("state")).get("subjects"))
            for subject in subjects:
                nuid = subject.split(".")[3:4]
                if nuid and is_nuid(nuid[0]):
                    found.setdefault(nuid[0], []).append(subject)
            offset += len(subjects)
            if not subjects or offset >= _count(answer.get("total")):
                return found

    async def _last(self, subject: str) -> Stored | None:
        """Return the last message with a subject."""
        try:
            stored = await self._api.last_message(self._stream, subject)
        except DeliveryError as error:
            if error.err_code is None:
                raise
            raise await self._explained(error) from None
        if stored is not None and stored.subject != subject:
            raise DeliveryError("JetStream answered with another message")
        return stored

    async def _explained(self, error: DeliveryError) -> DeliveryError:
        missing = f"no bucket {self.bucket}: create it with `xkeymsg object init {self.bucket}`"
        return await self._api.explained(error, self._stream, missing)

    async def _purge(self, nuid: str) -> None:
        subject = chunk_subject(self.bucket, nuid)
        for pattern in (subject, f"{subject}.>"):
            await self._api.request(f"STREAM.PURGE.{self._stream}", {"filter": pattern})

    async def _write(
        self, subject: str, make: Callable[[Stored | None], bytes]
    ) -> tuple[str | None, Arrival]:
        """Write an entry by compare-and-set (B-25).

        Args:
            subject: Its subject.
            make: Makes the entry, from the present one.

        Returns:
            The id of the replaced object if the entry proves it, and the entry that is stored.

        Raises:
            DeliveryError: If the server refuses; without `err_code`, the entry may be stored, and
                another one may have replaced it.
            ConflictError: If the present entry is from the future, or others keep writing.
        """
        error: XKeyMsgError | None = None
        written: dict[bytes, str | None] = {}
        unanswered: int | None = None
        for attempt in range(ATTEMPTS + 1):
            present = await self._last(subject)
            if present is not None and (ours := sha256(present.data)) in written:
                return written[ours], Arrival(subject, present.sequence, present.data)
            position = 0 if present is None else present.sequence
            # Ours may have been stored, and replaced by another writer, who has deleted its chunks.
            if attempt == ATTEMPTS or unanswered not in (None, position):
                break
            await self._wait_until_newer(present)
            entry = make(present)
            replaced = None if present is None else proven_nuid(present.data, subject)
            written[sha256(entry)] = replaced
            block = encode_block({"Nats-Rollup": "sub", EXPECTED_LAST: str(position)})
            try:
                raw = await self._api.link.request(
                    subject, entry, headers=block, timeout=self._api.timeout
                )
                return replaced, Arrival(subject, parse_puback(raw.data).sequence, entry)
            except DeliveryError as failure:
                if failure.err_code not in (None, *WRONG_LAST):
                    raise
                if failure.err_code is None:
                    unanswered = position  # it may or may not be stored
                    await asyncio.sleep(_PAUSE)
                if unanswered is None or failure.err_code is None:
                    error = failure
        raise error or ConflictError("others keep writing this object")

    async def _wait_until_newer(self, present: Stored | None) -> None:
        """Wait until the clock is past the present entry's time, or readers would refuse ours.

        An entry that was from the future already when it was stored is ignored: readers refuse it,
        and anyone who may publish can have written it.

        Raises:
            ConflictError: If that is more than `Limits.skew` in the future.
        """
        created_ms = None if present is None else _created(present.data, self.bucket, self._limits)
        skew_ms = milliseconds("skew", self._limits.skew)
        if present is None or created_ms is None or created_ms > present.stored_ms + skew_ms:
            return
        ahead_ms = created_ms - now_ns() // _NS_PER_MS
        if ahead_ms > skew_ms:
            raise ConflictError(
                f"the present object was sealed {ahead_ms / 1000:.0f} s in the future: compare"
                " clocks"
            )
        if ahead_ms >= 0:
            await asyncio.sleep(ahead_ms / 1000 + 0.001)

    def _feed(self, policy: Literal["last_per_subject", "new"], *, follow: bool = False) -> Feed:
        return Feed(
            self._api, self._stream, self._entries, window=_ENTRIES, policy=policy, follow=follow
        )


def _created(data: bytes, bucket: str, limits: Limits) -> int | None:
    """Return the creation time that an entry states, unauthenticated; None if it has none."""
    try:
        info = parse_entry(data, bucket, None, limits)
        return milliseconds_of(inspect(info.envelope, limits).created)
    except XKeyMsgError:
        return None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return max(0, int64(value))

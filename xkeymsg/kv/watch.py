"""`KVWatch`: the entries of a bucket, as they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from xkeymsg.client.tasks import Background
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, WatchGapError
from xkeymsg.kv.entry import KVEntry, StoredEntry
from xkeymsg.limits import MAX_SUBJECT

__all__ = ("KVWatch",)

_AHEAD: Final = 256
"""Opened entries that wait to be taken."""


class KVWatch(SafeRepr):
    """The newest entry of each key, and then each new one, for `async for`.

        async with bucket.watch("lamps.>") as watch:
            async for entry in watch:
                if entry is None: ...                   # all present keys were delivered
                elif entry.operation == "put": ...

    It yields None once, after the entries that existed at the start. An entry that is refused is
    yielded too, with `operation` "refused" and its `error`, so that it does not go unnoticed. An
    entry that replaces a revision which this watch did not get is preceded by one with the
    operation "gap". Cancelling an iteration loses nothing.
    """

    def __init__(
        self,
        follow: Callable[[], Awaitable[AsyncGenerator[StoredEntry | None]]],
        take: Callable[[StoredEntry, bool], Awaitable[tuple[KVEntry, bool]]],
        *,
        updates_only: bool,
        most: int,
    ) -> None:
        self._follow, self._take = follow, take
        self._complete = not updates_only
        self._most = most
        self._queue: asyncio.Queue[KVEntry | Exception | None] = asyncio.Queue(_AHEAD)
        self._background = Background()
        self._seen: dict[str, int] = {}
        self._ahead: dict[str, bytes] = {}
        """The ids of entries of the leader, which a replica that lags delivers later."""
        self._started = False
        self._following = asyncio.Event()
        """Set once no further change is missed, and when following has ended."""
        self._failure: Exception | None = None

    async def __aenter__(self) -> KVWatch:
        """Start the watch; with `updates_only`, wait until it misses no further change.

        If the start fails, `anext` raises the error.

        Raises:
            ConfigurationError: If it was started before.
        """
        if self._started:
            raise ConfigurationError("a watch can be started once")
        self._started = True
        self._background.spawn(self._run())
        # Without `updates_only`, it yields a change before that as an existing entry.
        if not self._complete:
            try:
                await self._following.wait()
            except BaseException:
                await self._background.close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._background.close()

    def __aiter__(self) -> KVWatch:
        return self

    async def __anext__(self) -> KVEntry | None:
        """Return the next entry; None after those that existed at the start.

        Raises:
            ConfigurationError: If the watch was not started with `async with`.
            DeliveryError: If the bucket cannot be read, or was deleted.
        """
        if not self._started:
            raise ConfigurationError("a watch starts with `async with`")
        if self._failure is not None:
            raise StopAsyncIteration
        got = await self._queue.get()
        if isinstance(got, Exception):
            self._failure = got
            raise got
        return got

    async def _run(self) -> None:
        try:
            async with aclosing(await self._follow()) as entries:
                present = self._complete
                async for stored in entries:
                    self._following.set()
                    if stored is None:
                        present = False
                        await self._queue.put(None)
                        continue
                    entry, is_known = await self._take(stored, present)
                    if self._lags(stored, entry, present=present):
                        continue
                    begins = present or (is_known and stored.key not in self._seen)
                    gap = None if begins else self._gap(stored.key, entry)
                    self._see(stored.key, entry.revision)
                    if gap is not None:
                        await self._queue.put(gap)
                    await self._queue.put(entry)
        except Exception as error:  # noqa: BLE001 - raised where the entries are taken
            await self._queue.put(error)
        finally:
            self._following.set()

    def _see(self, name: str, revision: int) -> None:
        """Remember what is delivered; not of ever more keys, which nobody needs to have sealed."""
        if name in self._seen or (len(self._seen) < self._most and len(name) <= MAX_SUBJECT):
            self._seen[name] = revision

    def _lags(self, stored: StoredEntry, entry: KVEntry, *, present: bool) -> bool:
        """Return whether a replica lags and delivers what was delivered, or will be.

        For an entry that it has at the start, the newest one of the leader is delivered at once.
        """
        number = None if entry.message is None else entry.message.message_id
        if number is None:
            return False
        if self._ahead.get(stored.key) == number:
            return True
        if entry.revision == stored.revision:
            return False
        if present:
            self._ahead[stored.key] = number
        return not present

    def _gap(self, name: str, entry: KVEntry) -> KVEntry | None:
        """Return the report of a gap, if the entry replaces another revision than the last seen."""
        last = self._seen.get(name, 0 if self._complete else None)
        if entry.replaces is None or last is None or entry.replaces == last:
            return None
        revision, replaced = entry.revision, entry.replaces
        if replaced > last:
            text = f"revision {revision} replaces {replaced}, which was not delivered"
        else:
            text = f"revision {revision} replaces {replaced}, and ignores revision {last}"
        return KVEntry(entry.bucket, entry.key, entry.revision, "gap", error=WatchGapError(text))

    def __repr__(self) -> str:
        return f"<KVWatch of {len(self._seen)} keys>"

"""`KVReader`: reads a sealed bucket; the base of `KVBucket`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, suppress
from typing import ClassVar, Final, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.arguments import milliseconds
from xkeymsg.client.core import Core
from xkeymsg.client.memory import RollbackMemory, Sealing, mark_name, memory_of
from xkeymsg.client.refusals import refusing
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.trust import To
from xkeymsg.display import SafeRepr
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    KeyDeletedError,
    KeyNotFoundError,
    LimitExceededError,
    MalformedError,
    SubjectMismatchError,
    UnauthenticatedDeletionError,
    ValueRollbackError,
    XKeyMsgError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.kv.codec import KVCodec, KVOptions, ReaderOptions, is_marker
from xkeymsg.kv.entry import KVEntry, Operation, StoredEntry
from xkeymsg.kv.names import NAME_KEY, BlindNames, check_bucket_name, check_pattern
from xkeymsg.kv.store import Deliver, KVStatus, KVStore
from xkeymsg.kv.watch import KVWatch
from xkeymsg.transport.subjects import covers

__all__ = ("KVReader", "check_revision")

_T = TypeVar("_T")
_MAYBE_OLD: Final = (ValueRollbackError, UnauthenticatedDeletionError)
"""Errors after which an entry is read again, from the leader: a replica may lag."""
_REVISIONS: Final = 1024
_HISTORY: Final = 1 << 29
"""Bounds of the history of a key: entries, and bytes. Clients create buckets with up to 64."""


def check_revision(name: str, revision: int) -> int:
    """Return a revision, if it is one.

    Raises:
        ConfigurationError: If it is negative, or too large.
        TypeError: If it is not an int.
    """
    if type(revision) is not int:
        raise TypeError(f"{name} must be an int, not {type(revision).__name__}")
    if not 0 <= revision < 2**63:
        raise ConfigurationError(f"{name} must be a revision, which is not negative")
    return revision


def _check_asked(pattern: str, name: str) -> None:
    if not covers(pattern, name):
        raise SubjectMismatchError("the broker delivers an entry of another key")


class KVReader(SafeRepr):
    """The part of a `KVBucket` that reads."""

    patience: ClassVar[float] = 60.0
    """Seconds to wait for each entry of `keys` and `history`."""

    def __init__(
        self,
        store: KVStore,
        core: Core,
        events: Events,
        bucket: str,
        *,
        to: To | None,
        policy: Policy | None,
        readers: Mapping[str, To] | None,
        documents: bool,
        origin: str | None,
        blind: bool,
        memory: RollbackMemory | None,
        max_age: float | None,
        require_signature: bool,
    ) -> None:
        self.bucket = check_bucket_name(bucket)
        if to is not None and policy is not None:
            raise ConfigurationError("kv: to conflicts with policy: use one of them")
        if max_age is not None and milliseconds("max_age", max_age) <= 0:
            raise ConfigurationError("max_age must be above 0")
        self.memory = memory_of(memory)
        """What this reader remembers against rollback."""
        self._store, self._core, self._events = store, core, events
        self._blind = blind
        self._read_only = origin not in (None, bucket)
        origin = bucket if origin is None else check_bucket_name(origin)
        reader = ReaderOptions(documents or policy is not None, require_signature, max_age)
        self._codec = KVCodec(core, bucket, origin, KVOptions(to, policy, readers), reader)

    # --- reading ----------------------------------------------------------------------------------

    @refusing
    async def get(self, key: str, revision: int | None = None) -> KVEntry:
        """Return the newest value of a key, or that of a revision.

        Args:
            key: The key.
            revision: A past revision, for which age and rollback are not checked.

        Raises:
            KeyNotFoundError: If the broker has no value.
            KeyDeletedError: If an admitted sender has deleted it.
            UnauthenticatedDeletionError: If the value is gone, and no admitted sender has deleted
                it: it was opened before, or the broker has a marker without a seal.
            ValueRollbackError: If it is older than an entry that was opened before.
            StaleError: If it is older than `max_age`, or sealed in the future.
            NotSealedError: If it is plaintext.
            SubjectMismatchError: If it belongs to another key or bucket.
            XKeyMsgError: If it cannot be opened; `code` says why.
            DeliveryError: If the bucket does not exist or answer.
        """
        codec = await self._opened()
        name = codec.name_of(key)
        if revision is not None:
            stored = await self._store.at(name, check_revision("revision", revision))
            if stored is None:
                raise KeyNotFoundError("the key has no such revision")
            entry = await codec.open_async(stored, fresh=False)
        else:
            entry = await self._newest(name)
        if entry.operation != "put":
            raise KeyDeletedError("the key was deleted")
        return entry

    @refusing
    async def history(self, key: str) -> list[KVEntry]:
        """Return the stored revisions of a key, oldest first, with tombstones and refused entries.

        Only the newest is checked for rollback; the broker can leave out older ones.

        Raises:
            KeyNotFoundError: If the key has no entries.
            LimitExceededError: If it has more than 1,024 entries or 512 MiB.
            ValueRollbackError: If the newest is older than an entry that was opened before.
            DeliveryError: If the bucket does not exist or answer.
            XKeyMsgError: If the key is invalid, or the secret of blinded names cannot be opened.
        """
        name = (await self._opened()).name_of(key)
        try:
            return await self._past(name, self._store.follow(name, "all"))
        except _MAYBE_OLD:
            with suppress(DeliveryError):  # it may not be permitted to ask the leader
                return await self._past(name, self._store.revisions(name))
            raise

    @refusing
    async def keys(self, pattern: str = ">") -> list[str]:
        """Return the keys that have a value which this reader can open, in order.

        Refused entries are left out, counted in `client.stats` and reported to `on_error`.

        Raises:
            ConfigurationError: If the names are blinded and a token follows a wildcard.
            MalformedError: If the pattern is invalid.
            DeliveryError: If the bucket does not exist or answer.
            LimitExceededError: If it has more entries than the memory has room for keys.
            XKeyMsgError: If the secret of blinded names cannot be opened.
        """
        found, count, most = set[str](), 0, self.memory.most
        async with self.watch(pattern) as watch:
            while (entry := await self._soon(anext(watch))) is not None:
                count += 1
                if count > most:
                    raise LimitExceededError("entries of the bucket", count, most)
                if entry.operation == "put":
                    found.add(entry.key)
                else:
                    found.discard(entry.key)
        return sorted(found)

    def watch(self, pattern: str = ">", *, updates_only: bool = False) -> KVWatch:
        """Return a watch of matching keys; it starts with `async with`.

        Args:
            pattern: A key, or a pattern with `*` for one token and `>` for the rest. If the names
                are blinded, only wildcards can follow a wildcard.
            updates_only: Whether to leave out the entries that exist at the start; `async with`
                then waits until no later one is missed, or the start has failed.

        Raises:
            MalformedError: If the pattern is invalid.
            TypeError: If it is not a str.
            XKeyMsgError: As `keys`; raised by the iteration.
        """
        check_pattern(pattern)
        deliver: Deliver = "new" if updates_only else "last"

        name, memory = pattern, self.memory.view()

        async def follow() -> AsyncGenerator[StoredEntry | None]:
            nonlocal name
            codec = await self._opened()
            if codec.names is not None:
                name = codec.names.blind_pattern(pattern)
            return self._ours(self._store.follow(name, deliver))

        async def take(stored: StoredEntry, present: bool) -> tuple[KVEntry, bool]:
            mark = self._mark(stored.key)
            before = memory.mark(mark)
            entry = await self._taken(stored, memory, name, present=present)
            is_same = before is not None and memory.mark(mark) is before
            return entry, is_same and entry.message is not None

        return KVWatch(follow, take, updates_only=updates_only, most=memory.most)

    async def status(self) -> KVStatus:
        """Return the settings and the size of the bucket, which the broker states.

        Raises:
            DeliveryError: If the bucket does not exist or answer.
        """
        return await self._store.status()

    # --- inside -----------------------------------------------------------------------------------

    async def _opened(self) -> KVCodec:
        """Return the codec, with the names of the bucket."""
        if self._blind and self._codec.names is None:
            self._codec.names = BlindNames(await self._secret())
        return self._codec

    async def _secret(self) -> bytes:
        stored = await self._store.last(NAME_KEY)
        if stored is None or is_marker(stored):
            missing = self._absent(NAME_KEY, marker=stored is not None)
            if type(missing) is KeyNotFoundError:
                raise KeyNotFoundError(
                    "no secret of blinded names: call init, or `kv init --blind`"
                )
            raise missing
        entry = self._codec.opened(stored, fresh=False, blinded=False)
        self._remember(NAME_KEY, entry)
        if entry.value is None:
            raise MalformedError("the secret of blinded names was deleted")
        return entry.value

    async def _soon(self, item: Awaitable[_T]) -> _T:
        """Wait for the next of the entries that exist.

        Raises:
            DeliveryError: If it does not come.
        """
        try:
            async with asyncio.timeout(self.patience):
                return await item
        except TimeoutError:
            raise DeliveryError("the bucket does not deliver the entries that it has") from None

    async def _past(self, name: str, found: AsyncGenerator[StoredEntry | None]) -> list[KVEntry]:
        """Return the history of a key, whose newest entry is checked."""
        entries, memory, size = list[KVEntry](), self.memory.view(), 0
        async with aclosing(found):
            while (stored := await self._soon(anext(found))) is not None:
                size += len(stored.data)
                if len(entries) >= _REVISIONS or size > _HISTORY:
                    raise LimitExceededError("revisions of a key", len(entries) + 1, _REVISIONS)
                entries.append(await self._taken(stored, None, name))
        if not entries:
            raise self._absent(name, marker=False)
        if entries[-1].message is not None:
            self._remember(name, entries[-1], memory)
        for entry in entries:  # not before: it may be read again, from the leader
            self._report(name, entry)
        return entries

    def _mark(self, name: str) -> bytes:
        return mark_name(f"$KV.{self._codec.origin}.{name}")

    def _remember(
        self,
        name: str,
        entry: KVEntry,
        memory: RollbackMemory | None = None,
        *,
        keep: bool = True,
    ) -> None:
        if entry.message is not None:
            sealing, live = Sealing.of_message(entry.message), entry.operation == "put"
            memory = self.memory if memory is None else memory
            memory.accept(self._mark(name), sealing, entry.revision, live=live, keep=keep)

    async def _newest(self, name: str) -> KVEntry:
        """Read and check the newest entry of a key.

        One that seems rolled back is read once more, from the leader: a replica may lag, and
        another read may have overtaken this one.
        """
        try:
            return await self._checked(name, await self._store.last(name))
        except _MAYBE_OLD:
            stored = await self._store.last(name, leader=True)
        return await self._checked(name, stored)

    async def _checked(self, name: str, stored: StoredEntry | None) -> KVEntry:
        if stored is None or is_marker(stored):
            raise self._absent(name, marker=stored is not None)
        entry = await self._codec.open_async(stored)
        self._remember(name, entry)
        return entry

    def _is_live(self, name: str) -> bool:
        """Return whether the newest known entry of a key is a value that has not expired."""
        mark = self.memory.mark(self._mark(name))
        if mark is None or not mark.live:
            return False
        return not 0 < mark.expires_ms <= now_ns() // 1_000_000

    def _absent(self, name: str, *, marker: bool) -> XKeyMsgError:
        """Return the error for a key without a sealed entry."""
        mark = self.memory.mark(self._mark(name))
        if mark is not None and not mark.live:
            return KeyDeletedError("the key was deleted")
        if self._is_live(name) or (marker and mark is None):
            return UnauthenticatedDeletionError(
                "the value is gone, but no admitted sender has deleted it"
            )
        return KeyNotFoundError("the bucket has no value for the key")

    async def _ours(
        self, entries: AsyncGenerator[StoredEntry | None]
    ) -> AsyncGenerator[StoredEntry | None]:
        """Leave out the secret of names."""
        async with aclosing(entries):
            async for stored in entries:
                if stored is None or stored.key != NAME_KEY:
                    yield stored

    async def _taken(
        self,
        stored: StoredEntry,
        memory: RollbackMemory | None,
        pattern: str,
        *,
        present: bool = False,
    ) -> KVEntry:
        """Open an entry of those with a pattern; one that is refused is returned with its error.

        Instead of an old one of a replica that lags, it is the newest of the key, from the leader.

        Args:
            stored: The entry.
            memory: The marks of a watch; None for past revisions.
            pattern: What was asked for.
            present: Whether it is to be remembered instead of an old one.
        """
        try:
            _check_asked(pattern, stored.key)
            entry = await self._codec.open_async(stored, fresh=memory is not None)
            if memory is not None:
                self._remember(stored.key, entry, memory)
        except Exception as error:  # noqa: BLE001 - trust may raise anything
            if memory is not None and isinstance(error, _MAYBE_OLD):
                newest = await self._newer(stored, memory, keep=present)
                if newest is not None:
                    return newest
            operation: Operation = "refused"
            if isinstance(error, UnauthenticatedDeletionError):
                operation = "marker"
            refused = KVEntry(self.bucket, stored.key, stored.revision, operation, error=error)
            if memory is not None:
                self._report(stored.key, refused)
            return refused
        return entry

    def _report(self, name: str, entry: KVEntry) -> None:
        if entry.error is not None:
            self._events.refused(entry.error, Where("message", f"$KV.{self._codec.origin}.{name}"))

    async def _newer(
        self, stored: StoredEntry, memory: RollbackMemory, *, keep: bool
    ) -> KVEntry | None:
        """Return the newest entry of a key, if a replica that lags delivers an old one."""
        mark = memory.mark(self._mark(stored.key))
        if mark is not None and stored.revision < mark.revision:
            with suppress(Exception):  # the entry of the replica is refused then
                newest = await self._store.last(stored.key, leader=True)
                if newest is not None and newest.revision > stored.revision:
                    entry = await self._codec.open_async(newest)
                    self._remember(stored.key, entry, memory, keep=keep)
                    return entry
        return None

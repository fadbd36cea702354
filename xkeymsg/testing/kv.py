"""A bucket in memory, which a test can change as a hostile broker would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from xkeymsg.client.jetstream.api import EXPECTED_LAST
from xkeymsg.errors import DeliveryError, WrongRevisionError
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.store import Deliver, KVStatus
from xkeymsg.transport.headers import encode_block, parse_block
from xkeymsg.transport.subjects import covers

__all__ = ("MemoryBucket",)

_MAX: Final = 2**63


class MemoryBucket:
    """The entries of a bucket, oldest first; see `MemoryNATS.bucket`.

    A test may change `entries` at any time: what a client reads is what is there.
    """

    def __init__(self, name: str, max_payload: int, *, history: int = 1) -> None:
        self.name = name
        self.max_payload = max_payload
        self.history = history
        """The number of revisions of each key to keep."""
        self.entries: list[StoredEntry] = []
        self.lagging: dict[str, StoredEntry | None] = {}
        """What a replica that lags behind has as the newest entry of a key; it serves reads and
        watches."""
        self.hidden: set[int] = set()
        """Revisions that watches do not get."""
        self.silent = False
        """Whether watches get nothing more."""
        self.exists = True
        """Whether the bucket exists."""
        self._revision = 0
        self._changed = asyncio.Condition()

    async def store(self, key: str, data: bytes, headers: Mapping[str, str] = {}) -> int:
        """Store an entry as anyone can who may publish, and return its revision."""
        self._revision += 1
        if "Nats-Rollup" in headers:
            self.entries = [each for each in self.entries if each.key != key]
        block = encode_block(headers)
        self.entries.append(StoredEntry(key, self._revision, block, data))
        kept = [each for each in self.entries if each.key == key][-self.history :]
        self.entries = [each for each in self.entries if each.key != key or each in kept]
        async with self._changed:
            self._changed.notify_all()
        return self._revision

    async def last(self, name: str, *, leader: bool = False) -> StoredEntry | None:
        """Return the newest entry of a key."""
        self._check()
        if name in self.lagging and not leader:
            return self.lagging[name]
        return next((each for each in reversed(self.entries) if each.key == name), None)

    async def revisions(self, name: str) -> AsyncGenerator[StoredEntry | None]:
        """Yield the entries of a key, and None after the last."""
        self._check()
        for entry in [each for each in self.entries if each.key == name]:
            yield entry
        yield None

    async def at(self, name: str, revision: int) -> StoredEntry | None:
        """Return an entry by revision."""
        self._check()
        found = (each for each in self.entries if (each.key, each.revision) == (name, revision))
        return next(found, None)

    async def put(self, name: str, data: bytes, block: bytes, *, timeout: float) -> int:
        """Store an entry, and return its revision.

        Raises:
            WrongRevisionError: If the key has another revision than the headers say.
            DeliveryError: If the bucket does not exist.
        """
        self._check()
        headers = dict(parse_block(block))
        if EXPECTED_LAST in headers:
            newest = await self.last(name, leader=True)
            if int(headers[EXPECTED_LAST]) != (0 if newest is None else newest.revision):
                raise WrongRevisionError("the key has another revision than expected")
        return await self.store(name, data, headers)

    async def follow(self, pattern: str, deliver: Deliver) -> AsyncGenerator[StoredEntry | None]:
        """Yield entries, and None once when there are no more for now.

        Raises:
            DeliveryError: If the bucket does not exist.
        """
        self._check()
        if self.silent:
            await asyncio.Event().wait()
        held = self._held()
        present = [each for each in held if covers(pattern, each.key)]
        if deliver == "last":
            present = [*{each.key: each for each in present}.values()]
        last = max((each.revision for each in held), default=0)
        for entry in present if deliver != "new" else ():
            yield entry
        yield None
        while True:
            async with self._changed:
                while self.exists and not any(each.revision > last for each in self._held()):
                    await self._changed.wait()
            self._check()
            for entry in [each for each in self._held() if each.revision > last]:
                last = entry.revision
                if covers(pattern, entry.key) and last not in self.hidden:
                    yield entry

    async def create(self, config: Mapping[str, Any]) -> None:
        """Make the bucket exist."""
        self.exists = True
        self.history = int(config["max_msgs_per_subject"])

    async def status(self) -> KVStatus:
        """Return the settings and the size.

        Raises:
            DeliveryError: If the bucket does not exist.
        """
        self._check()
        return KVStatus(
            bucket=self.name,
            values=len(self.entries),
            bytes=sum(len(each.data) for each in self.entries),
            history=self.history,
            ttl=None,
            entry_ttl=False,
            storage="memory",
            replicas=1,
            rollups=True,
            mirror=None,
            sources=(),
        )

    def _held(self) -> list[StoredEntry]:
        """Return the entries that a watch gets: a replica has those before the first it lacks."""
        old = {name: 0 if each is None else each.revision for name, each in self.lagging.items()}
        missing = [
            each.revision for each in self.entries if each.revision > old.get(each.key, _MAX)
        ]
        held = {each for each in self.entries if each.revision < min(missing, default=_MAX)}
        held.update(each for each in self.lagging.values() if each is not None)
        return sorted(held, key=lambda each: each.revision)

    def _check(self) -> None:
        if not self.exists:
            raise DeliveryError("no such bucket")

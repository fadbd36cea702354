"""`KVBucket`: a sealed key-value bucket with the interface of nats-py's `KeyValue`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from xkeymsg.ambient import now_ns, random_bytes
from xkeymsg.arguments import milliseconds
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import EXPECTED_LAST
from xkeymsg.client.memory import Sealing
from xkeymsg.client.outgoing import Room
from xkeymsg.client.refusals import refusing
from xkeymsg.envelope.derive import message_id
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    KeyNotFoundError,
    StaleError,
    ValueRollbackError,
    WrongRevisionError,
    XKeyMsgError,
)
from xkeymsg.kv.codec import CLEAR_OPERATION, KVCodec, is_marker
from xkeymsg.kv.entry import Operation
from xkeymsg.kv.names import NAME_KEY
from xkeymsg.kv.reader import KVReader, check_revision
from xkeymsg.kv.store import bucket_config

__all__ = ("KVBucket",)

_TIMEOUT: Final = 10.0
_HEADERS: Final = 512
"""Bytes for headers of the broker, which count towards its limit."""
_WAIT_MS: Final = 5000
"""How far the clock may be behind the newest value of a key, for a write to wait for it."""
_LOCKS: Final[WeakKeyDictionary[Core, WeakValueDictionary[str, asyncio.Lock]]] = WeakKeyDictionary()
"""A lock for each key that a client is writing, through any of its bucket objects: K-17."""


class KVBucket(KVReader):
    """A bucket whose values only their recipients can read; made by `client.kv`.

        bucket = client.kv("config", to=["bob", "perm:audit"])
        revision = await bucket.put("lamps.hall", b"on")
        entry = await bucket.get("lamps.hall")

    Every value is bound to its key and bucket, and an older one than was opened before is refused.
    See docs/kv.md for what the broker can still do.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._locks = _LOCKS.setdefault(self._core, WeakValueDictionary())
        self._entry_ttl: bool | None = None

    @refusing
    async def put(
        self,
        key: str,
        value: Any,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> int:
        """Seal and store a value, and return its revision.

        Args:
            key: The key.
            value: The payload; a document if the bucket was opened with a policy.
            headers: Sealed headers.
            content_type: A media type, sealed.
            expires: How many seconds from now it may be opened. If the bucket permits it, the
                broker deletes it then.
            timeout: How long to wait for the acknowledgement, in seconds.

        Raises:
            ConfigurationError: If the bucket was opened without recipients, or with `origin`.
            StaleError: If the clock is more than 5 seconds behind the newest value.
            DeliveryError: If the bucket does not accept it, or does not answer: then it may or may
                not be stored.
            PayloadTooLargeError: If it is too large.
            XKeyMsgError: If sealing fails.
        """
        return await self._write(
            key,
            value,
            timeout=timeout,
            headers=headers,
            content_type=content_type,
            expires=expires,
        )

    @refusing
    async def create(
        self,
        key: str,
        value: Any,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> int:
        """Store a value if the key has none, and return its revision; arguments are those of `put`.

        Raises:
            WrongRevisionError: If the key has a value, or an entry that cannot be opened.
            UnauthenticatedDeletionError: If its value is gone, and no admitted sender has deleted
                it.
            XKeyMsgError: As `put`.
        """
        more: dict[str, Any] = {
            "headers": headers, "content_type": content_type, "expires": expires, "timeout": timeout
        }  # fmt: skip
        codec = await self._opened()
        name = codec.name_of(key)
        if self._is_live(name):
            await self.get(key)
            raise WrongRevisionError("the key has a value")
        with contextlib.suppress(WrongRevisionError):
            return await self._write(key, value, last=0, **more)
        stored = await self._store.last(name, leader=True)  # a replica may lag
        if stored is None:
            raise WrongRevisionError("the key was written at the same time")
        if not is_marker(stored):
            try:
                entry = await codec.open_async(stored, fresh=False)
                self._remember(name, entry)
            except ValueRollbackError:
                raise
            except XKeyMsgError:
                raise WrongRevisionError("the key has an entry that cannot be opened") from None
            if entry.operation == "put":
                raise WrongRevisionError("the key has a value")
        return await self._write(key, value, last=stored.revision, **more)

    @refusing
    async def update(
        self,
        key: str,
        value: Any,
        last: int,
        *,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        timeout: float = _TIMEOUT,
    ) -> int:
        """Store a value if the newest revision of the key is `last`; other arguments as for `put`.

        The revision that it replaces is sealed: a watch notices if the broker hides that one.

        Raises:
            WrongRevisionError: If the newest revision is another one.
            XKeyMsgError: As `put`.
        """
        return await self._write(
            key,
            value,
            last=last,
            timeout=timeout,
            headers=headers,
            content_type=content_type,
            expires=expires,
        )

    @refusing
    async def delete(self, key: str, last: int | None = None, *, timeout: float = _TIMEOUT) -> int:
        """Store a sealed tombstone, and return its revision; older revisions stay as history.

        Args:
            key: The key.
            last: The newest revision that is expected, or None for any.
            timeout: As for `put`.

        Raises:
            WrongRevisionError: If the newest revision is another one.
            XKeyMsgError: As `put`.
        """
        return await self._write(key, None, "delete", last=last, timeout=timeout)

    @refusing
    async def purge(self, key: str, last: int | None = None, *, timeout: float = _TIMEOUT) -> int:
        """Store a sealed tombstone, and have the broker delete all older revisions.

        Arguments and errors are those of `delete`.

        Raises:
            DeliveryError: If the bucket does not permit it (`init` with `purge=True`).
            XKeyMsgError: As `delete`.
        """
        return await self._write(key, None, "purge", last=last, timeout=timeout)

    async def init(
        self,
        *,
        history: int = 1,
        ttl: float | None = None,
        entry_ttl: bool = False,
        purge: bool = False,
        max_bytes: int | None = None,
        max_value: int | None = None,
        storage: str = "file",
        replicas: int = 1,
    ) -> None:
        """Create the bucket, and the secret of blinded names; if both exist, do nothing.

        Args:
            history: The number of revisions of each key to keep, 1 to 64.
            ttl: Seconds after which the broker deletes entries; by default never.
            entry_ttl: Whether the broker deletes single entries when they expire.
            purge: Whether to permit `purge`. Then anyone who may write one key can delete
                all others.
            max_bytes: The greatest size in bytes; by default unlimited.
            max_value: The greatest size of one entry in bytes; by default the server's limit.
            storage: `file` or `memory`.
            replicas: The number of servers of a cluster that hold it.

        Raises:
            ConfigurationError: If a value is invalid.
            DeliveryError: If the bucket exists with other settings, or the server refuses.
            XKeyMsgError: If the secret cannot be sealed, or opened.
        """
        config = bucket_config(
            self.bucket,
            history=history,
            ttl=ttl,
            entry_ttl=entry_ttl,
            purge=purge,
            max_bytes=max_bytes,
            max_value=max_value,
            storage=storage,
            replicas=replicas,
        )
        await self._store.create(config)
        if self._blind:
            try:
                await self._secret()
            except KeyNotFoundError:
                envelope = self._codec.envelope(
                    NAME_KEY, NAME_KEY, random_bytes(32), self._room(), as_payload=True
                )
                head = self._codec.head_of(envelope)
                headers = {EXPECTED_LAST: "0"}
                with contextlib.suppress(WrongRevisionError):  # another process was faster
                    await self._send(NAME_KEY, envelope, head, headers, _TIMEOUT)
            await self._opened()

    async def codec(self) -> KVCodec:
        """Return what seals and opens entries, for nats-py's own `KeyValue`.

        Raises:
            KeyNotFoundError: If names are blinded, and the bucket has no secret of names.
            XKeyMsgError: If the secret of blinded names cannot be opened.
        """
        return await self._opened()

    # --- inside -----------------------------------------------------------------------------------

    def _room(self) -> Room:
        return Room(self._store.max_payload, len(self._core.outgoing.block) + _HEADERS)

    async def _write(
        self,
        key: str,
        value: Any,
        operation: Operation = "put",
        *,
        last: int | None = None,
        timeout: float,
        expires: float | None = None,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> int:
        codec = await self._opened()
        name = codec.name_of(key)
        if self._read_only:
            raise ConfigurationError("a bucket with an origin is read-only: write to its origin")
        clear = dict(CLEAR_OPERATION[operation])
        if operation == "purge":
            clear["Nats-Rollup"] = "sub"
        if last is not None:
            clear[EXPECTED_LAST] = str(check_revision("last", last))
        if expires is not None:
            seconds = math.ceil(milliseconds("expires", expires) / 1000)
            if await self._expires_entries():
                clear["Nats-TTL"] = f"{max(1, seconds)}s"
        # Two writes of one key at a time could be stored in the wrong order.
        subject = f"{self.bucket}.{name}"
        lock = self._locks.get(subject)
        if lock is None:
            lock = self._locks[subject] = asyncio.Lock()
        async with lock:
            mark = self._mark(name)
            await self._turn(mark)
            envelope = codec.envelope(
                key,
                name,
                value,
                self._room(),
                operation=operation,
                replaces=last,
                headers=headers,
                content_type=content_type,
                expires=expires,
            )
            head = codec.head_of(envelope)
            revision = await self._send(name, envelope, head, clear, timeout)
            sealing, live = Sealing.of(head), operation == "put"
            # Another writer may have been faster, and its newer value was opened here meanwhile.
            with contextlib.suppress(ValueRollbackError):
                self.memory.accept(mark, sealing, revision, live=live)
        return revision

    async def _send(
        self, name: str, envelope: bytes, head: Head, headers: Mapping[str, str], timeout: float
    ) -> int:
        number = message_id(head.sender, head.ephemeral, head.nonce)
        block = b"%bNats-Msg-Id: %b\r\n" % (
            self._core.outgoing.block[:-2],
            base64.urlsafe_b64encode(number)[:22],
        )
        for each in headers.items():
            block += b"%b: %b\r\n" % tuple(map(str.encode, each))
        return await self._store.put(name, envelope, block + b"\r\n", timeout=timeout)

    async def _turn(self, name: bytes) -> None:
        """Wait until the clock is not behind the newest value: readers would refuse ours."""
        mark = self.memory.mark(name)
        while mark is not None and (behind := mark.high - now_ns() // 1_000_000) > 0:
            if behind > _WAIT_MS:
                raise StaleError(
                    f"the clock here is {behind / 1000:.0f} s behind the newest value of the key"
                )
            await asyncio.sleep(behind / 1000)

    async def _expires_entries(self) -> bool:
        if self._entry_ttl is None:
            try:
                self._entry_ttl = (await self._store.status()).entry_ttl
            except DeliveryError:
                return False  # a writer may lack the permission to ask; readers refuse it anyway
        return self._entry_ttl

    def __repr__(self) -> str:
        return f"<KVBucket {self.bucket}>"

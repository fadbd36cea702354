"""The broker's side of a bucket: its protocol, settings and status.

Nothing that a store returns is trusted: entries prove themselves, and revisions are hints.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

from xkeymsg.arguments import milliseconds
from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError
from xkeymsg.kv.entry import StoredEntry

__all__ = ("Deliver", "KVStatus", "KVStore", "KVStores", "bucket_config")

Deliver = Literal["last", "all", "new"]

_NS: Final = 10**9


@safe_repr
@dataclass(frozen=True, slots=True)
class KVStatus:
    """The settings and the size of a bucket, as the broker reports them."""

    bucket: str
    values: int
    """The number of stored entries, of all revisions."""
    bytes: int
    """The size of the bucket."""
    history: int
    """The greatest number of revisions of one key."""
    ttl: float | None
    """Seconds after which entries expire, or None."""
    entry_ttl: bool
    """Whether single entries may expire earlier."""
    storage: str
    replicas: int
    rollups: bool
    """Whether `purge` works; then anyone who may write one key can delete all others."""
    mirror: str | None
    """The bucket that this one mirrors."""
    sources: tuple[str, ...]
    """The buckets that it copies from."""


class KVStore(Protocol):
    """A bucket as the broker stores it."""

    @property
    def max_payload(self) -> int:
        """The greatest size of headers and data, in bytes."""

    async def last(self, name: str, *, leader: bool = False) -> StoredEntry | None:
        """Return the newest entry of a key on the wire, or None.

        Args:
            name: The key on the wire.
            leader: Whether to ask the leader of the bucket, if possible: replicas may lag.
        """

    async def at(self, name: str, revision: int) -> StoredEntry | None:
        """Return an entry by revision, or None if that is missing or of another key."""

    async def put(self, name: str, data: bytes, block: bytes, *, timeout: float) -> int:
        """Store an entry, and return its revision.

        Args:
            name: The key on the wire.
            data: The envelope.
            block: The header block, with a `Nats-Msg-Id`.
            timeout: How long to wait for the acknowledgement, in seconds.
        """

    def revisions(self, name: str) -> AsyncGenerator[StoredEntry | None]:
        """Yield the entries of a key on the wire, from the leader, and None after the last."""

    def follow(self, pattern: str, deliver: Deliver) -> AsyncGenerator[StoredEntry | None]:
        """Yield entries, and None once when there are no more for now; a replica may serve them."""

    async def create(self, config: Mapping[str, Any]) -> None:
        """Create the bucket; see `bucket_config`."""

    async def status(self) -> KVStatus:
        """Return the settings and the size of the bucket."""


@runtime_checkable
class KVStores(Protocol):
    """A connection that has stores of its own: the in-memory one for tests."""

    def kv_store(self, bucket: str) -> KVStore:
        """Return the store of a bucket."""


def bucket_config(
    bucket: str,
    *,
    history: int,
    ttl: float | None,
    entry_ttl: bool,
    purge: bool,
    max_bytes: int | None,
    max_value: int | None,
    storage: str,
    replicas: int,
) -> dict[str, Any]:
    """Return the configuration of a bucket's stream.

    Raises:
        ConfigurationError: If a value is invalid.
    """
    if not 1 <= history <= 64 or storage not in ("file", "memory") or not 1 <= replicas <= 5:
        raise ConfigurationError(
            "expected a history of 1 to 64, storage 'file' or 'memory', and 1 to 5 replicas"
        )
    if ttl is not None and milliseconds("ttl", ttl) <= 0:
        raise ConfigurationError("ttl must be above 0 seconds")
    age = int((ttl or 0) * _NS)
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "max_msgs_per_subject": history,
        "max_age": age,
        "max_bytes": -1 if max_bytes is None else max_bytes,
        "max_msg_size": -1 if max_value is None else max_value,
        "storage": storage,
        "num_replicas": replicas,
        "discard": "new",
        "duplicate_window": min(120 * _NS, age or 120 * _NS),
        "allow_direct": True,
        "allow_rollup_hdrs": purge,
        "deny_delete": True,
        "deny_purge": not purge,
        "allow_msg_ttl": entry_ttl,
    }

"""`client.kv`: the part of a client that opens buckets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xkeymsg.client.connection import Connection
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.client.stats import Events
from xkeymsg.client.trust import To
from xkeymsg.fields.policy import Policy
from xkeymsg.kv.bucket import KVBucket
from xkeymsg.kv.jetstream import JetStreamStore
from xkeymsg.kv.store import KVStore, KVStores

__all__ = ("KVBuckets",)


class KVBuckets:
    """Base of `Client`, which has the connection."""

    _connection: Connection
    _core: Core
    _events: Events

    if TYPE_CHECKING:

        @property
        def js(self) -> JetStream:
            """JetStream; a client has it."""

    def kv(
        self,
        bucket: str,
        *,
        to: To | None = None,
        policy: Policy | None = None,
        readers: Mapping[str, To] | None = None,
        documents: bool = False,
        origin: str | None = None,
        blind: bool = False,
        memory: RollbackMemory | None = None,
        max_age: float | None = None,
        require_signature: bool = False,
    ) -> KVBucket:
        """Return a sealed key-value bucket; nothing is sent before it is used.

        Args:
            bucket: The name of the bucket.
            to: The recipients of values, as for `publish`; not needed for reading.
            policy: Which permissions may read which field: values are documents then.
            readers: The holders of each permission, as for `publish_document`.
            documents: Whether values are documents, for reading without a policy.
            origin: The bucket for which values are sealed, if `bucket` mirrors or copies it.
            blind: Whether the broker sees hashes of the keys. Call `init` once.
            memory: The reader's rollback marks, on disk for instance; by default in memory.
            max_age: The greatest age of a newest value in seconds; by default unlimited.
            require_signature: Whether to refuse values not signed by the sender's user.

        Raises:
            ConfigurationError: If a value is invalid, or the connection has no buckets.
            TypeError: If an argument has the wrong type.
        """
        store: KVStore
        if isinstance(self._connection, KVStores):
            store = self._connection.kv_store(bucket)
        else:
            store = JetStreamStore(self.js.api, bucket)
        return KVBucket(
            store,
            self._core,
            self._events,
            bucket,
            to=to,
            policy=policy,
            readers=readers,
            documents=documents,
            origin=origin,
            blind=blind,
            memory=memory,
            max_age=max_age,
            require_signature=require_signature,
        )

"""`client.objects`: the part of a client that opens stores of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.memory import RollbackMemory
from xkeymsg.client.stats import Events
from xkeymsg.client.trust import To
from xkeymsg.objects.store import ObjectStore

__all__ = ("ObjectStores",)


class ObjectStores:
    """Base of `Client`, which has the connection."""

    _core: Core
    _events: Events

    if TYPE_CHECKING:

        @property
        def js(self) -> JetStream:
            """JetStream; a client has it."""

    def objects(
        self,
        bucket: str,
        *,
        to: To | None = None,
        memory: RollbackMemory | None = None,
        max_age: float | None = None,
        require_signature: bool = False,
    ) -> ObjectStore:
        """Return a store of sealed objects; nothing is sent before it is used.

        Args:
            bucket: The name of the bucket; `init` creates it.
            to: The recipients, as for `publish`, of objects for which `put` names none.
            memory: The reader's rollback marks, on disk for instance; by default in memory.
            max_age: The greatest age of an object that is opened, in seconds; by default unlimited.
            require_signature: Whether to refuse objects that the writer's user has not signed.

        Raises:
            ConfigurationError: If a value is invalid, or the connection is the in-memory one for
                tests.
            TypeError: If an argument has the wrong type.
        """
        return ObjectStore(
            self.js.api,
            self._core,
            self._events,
            bucket,
            to=to,
            memory=memory,
            max_age=max_age,
            require_signature=require_signature,
        )

"""What a store says of its objects and of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from xkeymsg.display import safe_repr
from xkeymsg.envelope.content import Headers
from xkeymsg.keys import XKey

__all__ = ("ObjectInfo", "ObjectResult", "ObjectStoreStatus")


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object, as its writer has sealed it."""

    bucket: str
    name: str
    nuid: str
    """The id of the object's chunks, in their subject; empty if it was deleted."""
    size: int
    """Bytes of the plaintext."""
    chunks: int
    created: datetime | None
    """When it was sealed, by the writer's clock; None if nobody has sealed the deletion."""
    sender: XKey | None
    """The key of its writer; None if nobody has sealed the deletion: only the server claims it."""
    signer: str | None = None
    """The user nkey `U…` whose signature over the manifest has verified, or None."""
    admitted: bool = False
    """Whether the writer was admitted individually; False under `ANYONE`."""
    content_type: str | None = None
    headers: Headers = field(default_factory=Headers)
    """The sealed headers."""
    deleted: bool = False
    revision: int = 0
    """The position in the bucket; unauthenticated."""


class ObjectResult(NamedTuple):
    """An object and its data."""

    info: ObjectInfo
    data: bytes
    """Empty if the data was written into a file."""


class ObjectStoreStatus(NamedTuple):
    """The state of a bucket, as the server describes it."""

    bucket: str
    size: int
    """Bytes of everything in the bucket."""
    sealed: bool
    """Whether it is sealed against changes."""
    storage: str
    replicas: int
    ttl: float | None
    """Seconds after which objects are deleted; None for never."""

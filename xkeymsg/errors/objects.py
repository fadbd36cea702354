"""Errors of sealed object stores; see `xkeymsg.errors`."""

from __future__ import annotations

from xkeymsg.errors.messages import OpenError

__all__ = (
    "ChunkOrderError",
    "ChunkReplacedError",
    "ObjectError",
    "ObjectLinkError",
    "ObjectMixedError",
    "ObjectTruncatedError",
)


class ObjectError(OpenError):
    """A stored object is not what its writer has sealed."""


class ObjectLinkError(ObjectError):
    """The entry is a link to another object or bucket; links cannot be authenticated."""

    code = "object_link"


class ObjectMixedError(ObjectError):
    """The public entry contradicts the sealed manifest, for instance with another object's id."""

    code = "object_mixed"


class ObjectTruncatedError(ObjectError):
    """Chunks of the object are missing in the bucket."""

    code = "object_truncated"


class ChunkOrderError(ObjectError):
    """A chunk is not at its position in the object."""

    code = "chunk_order"


class ChunkReplacedError(ObjectError):
    """A chunk is not among those that the writer has stored for this object."""

    code = "chunk_replaced"

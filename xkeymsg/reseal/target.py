"""The stream of the copies: subjects that overlap no other stream's, mapped to the original ones.

A server refuses two streams that listen on one subject. The target listens on `reseal.NAME.>`, and
its `subject_transform` stores what arrives there under the subject behind the prefix.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND, check_name, int64
from xkeymsg.client.jetstream.streams import build_config
from xkeymsg.errors import ConfigurationError, DeliveryError

__all__ = ("StreamState", "create_target", "prefix_of", "stream_state")

_ALL: Final = ".>"


class StreamState(NamedTuple):
    """A stream of the server."""

    name: str
    created: str
    """When it was created: a stream that is deleted and created again is another one."""
    config: dict[str, Any]
    last: int
    """Its last sequence."""


async def stream_state(api: API, name: str) -> StreamState | None:
    """Return the state of a stream; None if it does not exist.

    Raises:
        ConfigurationError: If the name is invalid.
        DeliveryError: If the server refuses or does not reply.
    """
    try:
        answer = await api.request(f"STREAM.INFO.{check_name('stream', name)}")
    except DeliveryError as error:
        if error.err_code == STREAM_NOT_FOUND:
            return None
        raise
    match answer:
        case {"config": dict(config), "created": str(created), "state": {"last_seq": last}}:
            return StreamState(name, created[:64], config, int64(last))
    raise DeliveryError("JetStream's reply does not describe a stream")


async def create_target(api: API, name: str, source: StreamState) -> None:
    """Create a stream for copies, with the storage and replicas of the source.

    Raises:
        ConfigurationError: If the name is invalid.
        DeliveryError: If the server refuses.
    """
    prefix = f"reseal.{name}"
    config = build_config(
        name,
        prefix + _ALL,
        retention="limits",
        storage="memory" if source.config.get("storage") == "memory" else "file",
        discard="new",
        max_age=None,
        max_bytes=None,
        duplicate_window=None,
        replicas=int64(source.config.get("num_replicas")) or 1,
    )
    config["subject_transform"] = {"src": prefix + _ALL, "dest": ">"}
    await api.request(f"STREAM.CREATE.{name}", config)


def prefix_of(target: StreamState) -> str:
    """Return the prefix under which a stream receives copies, with the final dot.

    Raises:
        ConfigurationError: If it does not store the original subjects, or deletes what was read.
    """
    if target.config.get("retention") != "limits":
        raise ConfigurationError(
            f"stream {target.name} deletes messages by its retention policy: use limits"
        )
    match target.config.get("subject_transform"):
        case {"src": str(source), "dest": ">"} if source.endswith(_ALL):
            if source in target.config.get("subjects", ()):
                return source.removesuffix(">")
    raise ConfigurationError(
        f"stream {target.name} does not store copies under their original subjects: create it with"
        " --create, or give it a subject_transform from PREFIX.> to >"
    )

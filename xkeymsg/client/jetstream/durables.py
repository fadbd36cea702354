"""Durable consumers: creating one, and checking that workers can use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.client.jetstream.api import (
    API,
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    check_name,
    int64,
)
from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError, DeliveryError

__all__ = ("Durable", "DurableOptions", "create_durable", "find_durable")

_NS: Final = 10**9
_LONGEST_TIME: Final = 64
"""Limit of characters of a time; RFC 3339 with nanoseconds has 35."""


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class DurableOptions:
    """Options for creating a durable that does not exist.

    Raises:
        ConfigurationError: If a value is invalid.
    """

    filter_subjects: Iterable[str] = ()
    """The subjects it delivers; empty means all of the stream."""
    ack_wait: float = 30.0
    """Seconds until an unacknowledged message is redelivered."""
    max_ack_pending: int = 1000
    """Limit of unacknowledged messages, over all its workers."""
    deliver: Literal["all", "new"] = "all"
    """The message it starts with."""

    def __post_init__(self) -> None:
        if not self.ack_wait >= 0.1:
            raise ConfigurationError("ack_wait must be at least 0.1 seconds")
        if not self.max_ack_pending >= 1:
            raise ConfigurationError("max_ack_pending must be at least 1")
        if self.deliver not in ("all", "new"):
            raise ConfigurationError("deliver must be 'all' or 'new'")
        object.__setattr__(self, "filter_subjects", tuple(self.filter_subjects))

    def config(self, durable: str) -> dict[str, Any]:
        """Return the consumer configuration for JetStream."""
        config: dict[str, Any] = {
            "name": durable,
            "durable_name": durable,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * _NS),
            "max_ack_pending": self.max_ack_pending,
            "max_deliver": -1,  # we quarantine messages that fail too often
            "deliver_policy": self.deliver,
            "replay_policy": "instant",
        }
        filters = list(self.filter_subjects)
        if len(filters) == 1:
            config["filter_subject"] = filters[0]
        elif filters:
            config["filter_subjects"] = filters
        return config


class Durable(NamedTuple):
    """A consumer's state on the server."""

    ack_wait: float
    """The shortest time until an unacknowledged message is redelivered, in seconds."""
    max_ack_pending: int
    max_deliver: int
    created: str
    """When it was created, as the server's text; another time means another durable."""
    delivered: int
    """How many deliveries it has made, including redeliveries."""
    sequence: int
    """The greatest stream sequence that it has delivered."""
    config: dict[str, Any]
    """Its configuration, for creating it again."""
    led: bool = False
    """Whether the reply names a leader, as every reply of the leader in a cluster does."""
    paused: bool = False
    """Whether an administrator has paused it (`nats consumer pause`)."""


async def find_durable(
    api: API, stream: str, durable: str, options: DurableOptions | None
) -> Durable:
    """Look up a durable; create it if it does not exist and `options` are given.

    Raises:
        ConfigurationError: If workers cannot use it: it is not a pull consumer, has no explicit
            acknowledgements, delivers only headers, or has priority groups.
        DeliveryError: If it does not exist, or the server refuses or does not reply.
    """
    check_name("stream", stream)
    check_name("consumer", durable)
    try:
        answer = await api.request(f"CONSUMER.INFO.{stream}.{durable}")
    except DeliveryError as error:
        if error.err_code == CONSUMER_NOT_FOUND and options is not None:
            return await create_durable(api, stream, durable, options.config(durable))
        raise _named(error, stream, durable) from None
    return _parse(answer)


def _named(error: DeliveryError, stream: str, durable: str) -> DeliveryError:
    """Name the missing stream or durable, if that is the error."""
    if error.err_code == STREAM_NOT_FOUND:
        return DeliveryError(f"stream {stream} does not exist", error.err_code)
    if error.err_code == CONSUMER_NOT_FOUND:
        text = (
            f"stream {stream} has no durable {durable}: set create_durable = true, or in a program"
            " create=DurableOptions()"
        )
        return DeliveryError(text, error.err_code)
    return error


async def create_durable(api: API, stream: str, durable: str, config: dict[str, Any]) -> Durable:
    """Create a durable, or find one with the same configuration.

    Raises:
        ConfigurationError: As `find_durable`.
        DeliveryError: If the server refuses or does not reply.
    """
    body = {"stream_name": stream, "config": config, "action": ""}
    return _parse(await api.request(f"CONSUMER.CREATE.{stream}.{durable}", body))


def _parse(answer: dict[str, Any]) -> Durable:
    config, created = answer.get("config"), answer.get("created")
    delivered, cluster = answer.get("delivered"), answer.get("cluster")
    position = delivered if isinstance(delivered, dict) else {}
    if not isinstance(config, dict):
        raise DeliveryError("JetStream's reply is not a valid consumer")
    if config.get("deliver_subject"):
        raise ConfigurationError("the consumer is a push consumer: workers need a pull consumer")
    if config.get("ack_policy") != "explicit":
        raise ConfigurationError("the consumer must have ack_policy 'explicit'")
    if config.get("headers_only"):
        # Every message would be empty, fail to open, and be deleted from a work queue.
        raise ConfigurationError("the consumer delivers only headers: turn headers_only off")
    if config.get("priority_groups"):
        raise ConfigurationError("the consumer has priority groups, which workers do not support")
    backoff = config.get("backoff")
    waits = [config.get("ack_wait"), *(backoff if isinstance(backoff, list) else [])]
    known = [number for wait in waits if (number := int64(wait)) > 0]
    return Durable(
        min(known, default=30 * _NS) / _NS,
        int64(config.get("max_ack_pending")),
        int64(config.get("max_deliver")),
        created[:_LONGEST_TIME] if isinstance(created, str) else "",
        int64(position.get("consumer_seq")),
        int64(position.get("stream_seq")),
        config,
        isinstance(cluster, dict) and bool(cluster.get("leader")),
        answer.get("paused") is True,
    )

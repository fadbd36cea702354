"""Durable consumers: what a worker needs one to be, and making it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.client.jetstream.api import API, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, check_name
from xkeymsg.errors import ConfigurationError, DeliveryError
from xkeymsg.shown import safe_repr

__all__ = ("Durable", "DurableOptions", "create_durable", "find_durable")

_NS: Final = 10**9
_MAX: Final = 2**63
_LONGEST_TIME: Final = 64
"""Characters of a time that are kept; RFC 3339 with nanoseconds has 35."""


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class DurableOptions:
    """How a durable is made that is not there yet.

    Raises:
        ConfigurationError: If a value makes no sense.
    """

    filter_subjects: Iterable[str] = ()
    """What it takes of the stream; nothing is all of it."""
    ack_wait: float = 30.0
    """Seconds until a message that nobody answers for comes again."""
    max_ack_pending: int = 1000
    """Messages that may be out at a time, with all its workers."""
    deliver: Literal["all", "new"] = "all"
    """Where it begins."""

    def __post_init__(self) -> None:
        if not self.ack_wait >= 0.1:
            raise ConfigurationError("ack_wait is at least 0.1 seconds")
        if not self.max_ack_pending >= 1:
            raise ConfigurationError("max_ack_pending is at least 1")
        if self.deliver not in ("all", "new"):
            raise ConfigurationError("deliver is 'all' or 'new'")
        object.__setattr__(self, "filter_subjects", tuple(self.filter_subjects))

    def config(self, durable: str) -> dict[str, Any]:
        """Return the consumer's configuration, as JetStream has it."""
        config: dict[str, Any] = {
            "name": durable,
            "durable_name": durable,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * _NS),
            "max_ack_pending": self.max_ack_pending,
            "max_deliver": -1,  # who fails too often goes to quarantine, which is ours to do
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
    """What a consumer on the server is."""

    ack_wait: float
    """The shortest time until a message that nobody answers for comes again, in seconds."""
    max_ack_pending: int
    max_deliver: int
    created: str
    """When it was created, in the server's words; another time means another durable."""
    delivered: int
    """How many deliveries it has made, redeliveries included."""
    config: dict[str, Any]
    """All of it, to make it again."""


async def find_durable(
    api: API, stream: str, durable: str, options: DurableOptions | None
) -> Durable:
    """Look a durable up; make it, if it is not there and there are options.

    Raises:
        ConfigurationError: If it cannot serve: not a pull consumer, without acknowledgements, with
            headers alone, or for groups of clients, of which ours is none.
        DeliveryError: If it is not there, or the server refuses or does not answer.
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
    """Say what is missing, where that is what JetStream says."""
    if error.err_code == STREAM_NOT_FOUND:
        return DeliveryError(f"there is no stream {stream}", error.err_code)
    if error.err_code == CONSUMER_NOT_FOUND:
        text = f"{stream} has no durable {durable}; create, or create_durable in a file, makes it"
        return DeliveryError(text, error.err_code)
    return error


async def create_durable(api: API, stream: str, durable: str, config: dict[str, Any]) -> Durable:
    """Make a durable, or find one that is just so.

    Raises:
        ConfigurationError: As `find_durable`.
        DeliveryError: If the server refuses or does not answer.
    """
    body = {"stream_name": stream, "config": config, "action": ""}
    return _parse(await api.request(f"CONSUMER.CREATE.{stream}.{durable}", body))


def _parse(answer: dict[str, Any]) -> Durable:
    config, created = answer.get("config"), answer.get("created")
    delivered = answer.get("delivered")
    if not isinstance(config, dict):
        raise DeliveryError("JetStream's answer is no consumer")
    if config.get("deliver_subject"):
        raise ConfigurationError("the consumer pushes: workers need one to pull from")
    if config.get("ack_policy") != "explicit":
        raise ConfigurationError("the consumer needs the acknowledgement policy 'explicit'")
    if config.get("headers_only"):
        # Every message would be empty, nobody's, and terminated: out of a work queue for good.
        raise ConfigurationError("the consumer delivers headers alone: headers_only has to be off")
    if config.get("priority_groups"):
        raise ConfigurationError("the consumer has priority groups, and workers are of none")
    backoff = config.get("backoff")
    waits = [config.get("ack_wait"), *(backoff if isinstance(backoff, list) else [])]
    known = [number for wait in waits if (number := _number(wait)) > 0]
    return Durable(
        min(known, default=30 * _NS) / _NS,
        _number(config.get("max_ack_pending")),
        _number(config.get("max_deliver")),
        created[:_LONGEST_TIME] if isinstance(created, str) else "",
        _number(delivered.get("consumer_seq")) if isinstance(delivered, dict) else 0,
        config,
    )


def _number(value: object) -> int:
    """Return a number of the server's, an int64; a hostile one may send any."""
    return value if type(value) is int and abs(value) < _MAX else 0

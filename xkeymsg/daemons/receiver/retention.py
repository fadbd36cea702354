"""What still needs a retired key: messages in streams, and records in quarantine."""

from __future__ import annotations

from typing import Any, Final

from xkeymsg.client.jetstream.api import API, nanoseconds
from xkeymsg.client.jetstream.quarantine_records import parse_record
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.receiver.config import ReceiverConfig
from xkeymsg.errors import DeliveryError, MalformedError
from xkeymsg.transport.link import Link

__all__ = ("needed_by",)

_RECORDS: Final = 10_000
"""Records of quarantine that are read before a key is deleted."""


async def needed_by(config: ReceiverConfig, key: KeySection, link: Link, until: int) -> str:
    """Return what may hold a message that was stored until a time in seconds; empty for nothing.

    Args:
        config: The configuration at the start.
        key: The settings of the key in use.
        link: The connection to the streams.
        until: The time.

    Raises:
        DeliveryError: If the server refuses or does not answer.
    """
    api = API(link)
    routes = [(each.stream, each.durable) for each in config.route if each.stream and each.durable]
    for stream, durable in routes:
        if why := await _in_stream(api, key, stream, durable, until):
            return why
    for name in (config.quarantine.unproven, config.quarantine.proven) if routes else ():
        if why := await _in_quarantine(api, name, until):
            return why
    return ""


async def _in_stream(api: API, key: KeySection, stream: str, durable: str, until: int) -> str:
    info = await api.request(f"STREAM.INFO.{stream}")
    longest = _number(_table(info, "config"), "max_age")
    if longest > key.retain * 1e9:
        return f"max_age of the stream {stream} is longer than retain"
    if not longest and "retain" not in key.model_fields_set:
        return f"the stream {stream} has no max_age: set retain"
    consumer = await api.request(f"CONSUMER.INFO.{stream}.{durable}")
    if consumer.get("num_pending") == consumer.get("num_ack_pending") == 0:
        return ""
    if (first := _first(info)) is None or first > until:
        return ""
    floor = _number(_table(consumer, "ack_floor"), "stream_seq")
    found = await api.next_message(stream, floor + 1, ">")
    if found is None or found.stored_ms > until * 1000:
        return ""
    return f"the durable {durable} of {stream} still holds messages of its time"


async def _in_quarantine(api: API, name: str, until: int) -> str:
    if _first(await api.request(f"STREAM.INFO.{name}")) is None:
        return ""
    sequence = 1
    for _ in range(_RECORDS):
        stored = await api.next_message(name, sequence, ">")
        if stored is None:
            return ""
        sequence = stored.sequence + 1
        try:
            if parse_record(stored).record.stored_ms <= until * 1000:
                return f"{name} still holds messages of its time: replay or purge it"
        except MalformedError:
            continue  # nothing that could be opened
    return f"{name} has more than {_RECORDS} records: replay or purge it"


def _first(info: dict[str, Any]) -> int | None:
    """Return when the first message of a stream was stored, in seconds; None if it is empty."""
    state = _table(info, "state")
    if state.get("messages") == 0:
        return None
    try:
        return nanoseconds(state.get("first_ts", "")) // 10**9
    except (ValueError, TypeError):
        raise DeliveryError("JetStream's reply is not valid") from None


def _number(table: dict[str, Any], name: str) -> int:
    number = table.get(name)
    if type(number) is not int:
        raise DeliveryError("JetStream's reply is not valid")
    return number


def _table(answer: dict[str, Any], name: str) -> dict[str, Any]:
    table = answer.get(name)
    if not isinstance(table, dict):
        raise DeliveryError("JetStream's reply is not valid")
    return table

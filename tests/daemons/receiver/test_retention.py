"""What keeps a retired key: messages that wait in streams, and records in quarantine."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from tests.daemons.receiver.conftest import Stage, make_stream, store
from tests.running import DEADLINE, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, find_durable
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord, encode_record
from xkeymsg.daemons.receiver.config import ReceiverConfig, load
from xkeymsg.daemons.receiver.retention import needed_by
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.link import Link

ROUTE = """
[[route]]
name = "orders"
stream = "ORDERS"
durable = "workers"
subjects = ["orders.>"]
sink = "out"
[sinks.out]
kind = "stdout"
"""
HOUR = 3600 * 10**9


async def setting(stage: Stage, link: Link, **stream: Any) -> ReceiverConfig:
    api = await make_stream(link)
    config = {"name": "ORDERS", "subjects": ["orders.>"], "max_age": HOUR} | stream
    await api.request("STREAM.UPDATE.ORDERS", config)
    await find_durable(api, "ORDERS", "workers", DurableOptions())
    await create_quarantine(api, "XKM_UNPROVEN", "XKM_PROVEN")
    return load(stage.write(ROUTE))


async def test_a_message_that_waits_in_a_stream_keeps_the_keys_of_its_time(
    stream_stage: Stage,
) -> None:
    async with stream_stage.link() as link:
        config = await setting(stream_stage, link)
        begin, end = int(time.time()) - 60, int(time.time()) + 60
        assert await needed_by(config, config.key, link, end) == ""
        for _ in range(2):
            await store(link, b"sealed")
        assert "durable workers" in await needed_by(config, config.key, link, end)
        assert await needed_by(config, config.key, link, begin) == ""
        inbox = link.new_inbox()
        subscription = await link.subscribe(inbox)
        for left in (1, 0):
            await link.publish("$JS.API.CONSUMER.MSG.NEXT.ORDERS.workers", b"1", reply=inbox)
            raw = await asyncio.wait_for(anext(subscription), DEADLINE)
            assert "durable workers" in await needed_by(config, config.key, link, end)
            await link.publish(raw.reply.decode(), b"+ACK")
            await until(partial(is_needed, config, link, end, bool(left)))


async def is_needed(config: ReceiverConfig, link: Link, end: int, wanted: bool) -> bool:
    return bool(await needed_by(config, config.key, link, end)) is wanted


async def test_a_record_in_quarantine_keeps_the_keys_of_its_message(stream_stage: Stage) -> None:
    """Its message is older than the record itself."""
    async with stream_stage.link() as link:
        config = await setting(stream_stage, link)
        stored = int(time.time()) - 600
        record = QuarantineRecord(
            "ORDERS", "workers", 7, stored * 1000, b"orders.new", "undecryptable", b"", b"sealed"
        )
        [frame] = encode_record(record, "name", "XKM_UNPROVEN", 1 << 20)
        await link.request("XKM_UNPROVEN.junk", b"not a record", timeout=DEADLINE)
        assert await needed_by(config, config.key, link, stored) == ""
        await link.request(frame.subject, frame.data, headers=frame.headers, timeout=DEADLINE)
        assert "XKM_UNPROVEN still holds" in await needed_by(config, config.key, link, stored)
        assert await needed_by(config, config.key, link, stored - 1) == ""


@pytest.mark.parametrize(
    ("age", "why"), [(0, "has no max_age: set retain"), (91 * 24 * HOUR, "longer than retain")]
)
async def test_retain_has_to_cover_the_age_of_the_stream(
    stream_stage: Stage, age: int, why: str
) -> None:
    async with stream_stage.link() as link:
        config = await setting(stream_stage, link, max_age=age)
        assert why in await needed_by(config, config.key, link, 0)


@pytest.mark.parametrize("age", ["1", 1.5, None, [], {}])
async def test_an_invalid_reply_of_the_server_keeps_the_keys(
    stream_stage: Stage, monkeypatch: pytest.MonkeyPatch, age: object
) -> None:
    async def request(*_: object) -> dict[str, Any]:
        return {"config": {"max_age": age}, "state": {"messages": 0}}

    async with stream_stage.link() as link:
        config = await setting(stream_stage, link)
        monkeypatch.setattr(API, "request", request)
        with pytest.raises(DeliveryError, match="not valid"):
            await needed_by(config, config.key, link, 0)

"""Creating streams, default logs of consumers, and handlers that are refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE, until
from xkeymsg import (
    Client,
    ConfigurationError,
    DeliveryError,
    DurableOptions,
    FailurePolicy,
    Message,
    PubAck,
    Stream,
)
from xkeymsg.testing import NATSServer

from .conftest import ALICE, BOB

SECRET = "S3CRET"
_NS = 1_000_000_000


@pytest.fixture
async def client(jetstream_server: NATSServer) -> AsyncIterator[Client]:
    keys = {ALICE.public, BOB.public}
    async with xkeymsg.connect(
        jetstream_server.url, key=BOB, trust=keys, timeout=DEADLINE
    ) as connected:
        yield connected


async def test_a_stream_is_created_and_stores(client: Client) -> None:
    await client.js.add_stream("ORDERS", "orders.>")
    await client.js.add_stream("ORDERS", ["orders.>"])  # the same again
    assert await client.js.publish("orders.a", b"x", to=BOB.public) == PubAck("ORDERS", 1, False)


async def test_the_settings_reach_the_server(client: Client) -> None:
    await client.js.add_stream(
        "WORK", ["a", "b.*"], retention="workqueue", storage="memory", discard="new",
        max_age=3600, max_bytes=10_000_000, max_messages=1000, duplicate_window=0.5,
    )  # fmt: skip
    config = await client.js.api.stream_config("WORK")
    expected = {
        "subjects": ["a", "b.*"], "retention": "workqueue", "storage": "memory", "discard": "new",
        "max_age": 3600 * _NS, "max_bytes": 10_000_000, "max_msgs": 1000,
        "duplicate_window": _NS // 2, "num_replicas": 1,
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected


async def test_the_duplicate_window_is_at_most_the_age(client: Client) -> None:
    await client.js.add_stream("SHORT", "s", max_age=60)
    assert (await client.js.api.stream_config("SHORT"))["duplicate_window"] == 60 * _NS


async def test_a_stream_with_other_settings_is_an_error(client: Client) -> None:
    await client.js.add_stream("ORDERS", "orders.>")
    with pytest.raises(DeliveryError) as caught:
        await client.js.add_stream("ORDERS", "others.>")
    assert caught.value.err_code == 10058


async def test_settings_that_make_no_stream(client: Client) -> None:
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (ConfigurationError, {"name": "a.b"}),
        (ConfigurationError, {"name": ""}),
        (ConfigurationError, {"subjects": []}),
        (ConfigurationError, {"retention": "work"}),
        (ConfigurationError, {"storage": "disk"}),
        (ConfigurationError, {"discard": "none"}),
        (ConfigurationError, {"max_age": 0}),
        (ConfigurationError, {"max_age": float("nan")}),
        (ConfigurationError, {"duplicate_window": 0}),
        (ConfigurationError, {"duplicate_window": 2, "max_age": 1}),
        (ConfigurationError, {"subjects": "_XKM.>"}),
        (TypeError, {"max_age": "1h"}),
        (TypeError, {"name": 7}),
        (TypeError, {"subjects": [7]}),
    ]
    for error, changes in wrong:
        arguments: dict[str, Any] = {"name": "S", "subjects": "a"} | changes
        with pytest.raises(error):
            await client.js.add_stream(**arguments)


async def test_a_consumer_refuses_a_handler_that_is_not_async(client: Client) -> None:
    def handle(_: Message) -> None:
        """Nothing."""

    with pytest.raises(TypeError, match="define handle with `async def`"):
        client.js.consume("ORDERS", "d", handle)  # type: ignore[arg-type]


async def test_failures_of_a_consumer_are_logged_without_content(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xkeymsg")
    await client.js.add_stream("ORDERS", "orders.>")
    await client.js.publish("orders.a", SECRET.encode(), to=BOB.public)
    handled = asyncio.Event()

    async def handle(message: Message) -> None:
        if not handled.is_set():
            handled.set()
            raise ValueError(SECRET, message.data)

    async with client.js.consume(
        "ORDERS", "d", handle, create=DurableOptions(), policy=FailurePolicy(backoff=0.01)
    ) as consumer:
        await until(lambda: consumer.counts["handled"] == 1)
    texts = [each.getMessage() for each in caplog.records]
    begin = "message of a stream, retry: 'ORDERS 1': handler (ValueError), at "
    assert sum(text.startswith(begin) for text in texts) == 1
    assert SECRET not in caplog.text


async def test_an_outage_and_its_end_are_logged_once_each(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xkeymsg")
    await client.js.add_stream("ORDERS", "orders.>")
    for number in range(3):
        await client.js.publish("orders.a", b"%d" % number, to=BOB.public)
    failed: set[bytes] = set()

    async def handle(message: Message) -> None:
        if len(failed) < 3:  # until three messages have failed, however often each is tried
            failed.add(message.data)
            raise ConnectionError(SECRET)

    policy = FailurePolicy(backoff=0.01)
    async with client.js.consume(
        "ORDERS", "d", handle, create=DurableOptions(), policy=policy, workers=3
    ) as consumer:
        await until(lambda: consumer.counts["handled"] == 3)
    alarms = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    begin = "consumer, trouble: 'ORDERS/d': outage (delivery) (nothing can be handled"
    assert [each.startswith(begin) for each in alarms] == [True]
    assert caplog.text.count("consumer, recovered: 'ORDERS/d': outage") == 1
    assert SECRET not in caplog.text


async def test_a_consumer_can_have_another_age(client: Client) -> None:
    await client.js.add_stream("ORDERS", "orders.>")

    async def handle(_: Message) -> None:
        """Nothing."""

    async with client.js.consume(
        "ORDERS", "d", handle, create=DurableOptions(), replay=Stream(max_age=5)
    ) as consumer:
        await client.js.publish("orders.a", b"", to=BOB.public)
        await until(lambda: consumer.counts["handled"] == 1)

"""`$SRV.PING`, `INFO` and `STATS` (ADR-32), asked with raw requests; and what they refuse to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.running import DEADLINE
from xkeymsg.daemons.common.service import Endpoint, MicroService, answering
from xkeymsg.errors import DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

COMMON = {"type", "name", "id", "version", "metadata"}


@asynccontextmanager
async def answered(server: NATSServer) -> AsyncIterator[tuple[Link, MicroService]]:
    endpoint = Endpoint("orders", "orders.>", "q", {"sink": "out"})
    endpoint.requests, endpoint.errors, endpoint.last_error = 4, 1, "replay"
    endpoint.seconds = 2.0
    endpoint.data["blocked"] = False
    service = MicroService(
        "receiver", "1.2.3", "xkeymsg-receiver", "opens", [endpoint], lambda: {"ready": True}
    )
    options = ConnectOptions(servers=(server.url,))
    async with (
        open_link(options) as ours,
        open_link(options) as theirs,
        answering(ours, service, inbox_prefix="_MINE"),
    ):
        await ours.confirm()
        yield theirs, service


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_all_three_questions_are_answered_for_all_one_kind_and_one(
    server: NATSServer, verb: str
) -> None:
    async with answered(server) as (link, service):
        for end in ("", ".receiver", f".receiver.{service.id}"):
            raw = await link.request(f"$SRV.{verb}{end}", b"", timeout=DEADLINE)
            assert raw.headers == b""
            answer = json.loads(raw.data)
            assert answer["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            assert answer["name"] == "receiver"
            assert answer["id"] == service.id
            assert answer["version"] == "1.2.3"
            assert answer["metadata"] == {"program": "xkeymsg-receiver"}
            assert re.fullmatch(r"[A-Za-z0-9]{22}", answer["id"])


async def test_the_shapes_are_those_of_adr_32(server: NATSServer) -> None:
    async with answered(server) as (link, _):
        ping, info, stats = [
            json.loads((await link.request(f"$SRV.{verb}", b"", timeout=DEADLINE)).data)
            for verb in ("PING", "INFO", "STATS")
        ]
    assert ping.keys() == COMMON
    assert info.keys() == COMMON | {"description", "endpoints"}
    assert info["endpoints"] == [
        {"name": "orders", "subject": "orders.>", "queue_group": "q", "metadata": {"sink": "out"}}
    ]
    assert stats.keys() == COMMON | {"started", "endpoints"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", stats["started"])
    assert stats["endpoints"] == [
        {
            "name": "orders",
            "subject": "orders.>",
            "queue_group": "q",
            "num_requests": 4,
            "num_errors": 1,
            "last_error": "replay",
            "processing_time": 2_000_000_000,
            "average_processing_time": 500_000_000,
            "data": {"ready": True, "sink": "out", "blocked": False},
        }
    ]


async def test_nobody_can_have_us_publish_elsewhere_than_to_an_inbox(server: NATSServer) -> None:
    async with answered(server) as (link, _):
        heard = await link.subscribe(">")
        await link.confirm()
        for reply in ("orders.new", "$JS.API.STREAM.PURGE.ORDERS", "_INBOX", "_INBOXES.x", ""):
            await link.publish("$SRV.PING", b"", reply=reply)
        await link.publish("$SRV.PING", b"", reply="_MINE.end")
        subjects = []
        async with asyncio.timeout(DEADLINE):
            async for raw in heard:
                subjects.append(raw.subject_text)
                if raw.subject == b"_MINE.end":
                    break
    assert set(subjects) == {"$SRV.PING", "_MINE.end"}


async def test_a_flood_of_questions_is_answered_a_little(server: NATSServer) -> None:
    async with answered(server) as (link, _):
        answers = await link.subscribe("_INBOX.flood")
        began = time.monotonic()
        for _ in range(2000):
            await link.publish("$SRV.STATS", b"", reply="_INBOX.flood")
        await link.confirm()
        answered_again = False
        while not answered_again:  # in the next second
            with contextlib.suppress(DeliveryError):
                await link.request("$SRV.PING", b"", timeout=0.2)
                answered_again = True
        seconds = time.monotonic() - began
        assert answers.pending <= 50 + 100 * (1 + seconds)

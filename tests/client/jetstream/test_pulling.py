"""Asking without a pause, and understanding what ends a request; the server is a list here."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw


class Wire:
    """A link that keeps what is published."""

    max_payload = 1 << 20
    reconnects = 0
    state = "connected"

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    jetstream_api = "$JS.API"
    timeout = 5.0

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def publish(self, subject: str, data: bytes, *, reply: str) -> None:
        assert subject == "$JS.API.CONSUMER.MSG.NEXT.S.d"
        self.asked.append((reply, json.loads(data)))


@pytest.fixture
def wire() -> Wire:
    return Wire()


def make(wire: Wire) -> Puller:
    return Puller(
        API(cast(Link, wire)),
        "S",
        "d",
        prefetch=100,
        prefetch_bytes=1 << 20,
        expires=30,
        heartbeat=5,
    )


def message(sequence: int) -> Raw:
    return Raw(b"h.a", b"$JS.ACK.S.d.1.%d.%d.1700000000000000000.9" % ((sequence,) * 2), b"", b"")


def status(number: int, line: bytes) -> Raw:
    return Raw(b"_INBOX.x.%d" % number, b"", b"NATS/1.0 " + line + b"\r\n\r\n", b"")


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the clock of the event loop forward."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)


async def test_it_asks_again_before_it_runs_dry(wire: Wire) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    assert wire.asked[0][1]["batch"] == 100
    for sequence in range(1, 75):
        assert puller.take(message(sequence)) is not None
        await puller.pull(0, 0)
    assert len(wire.asked) == 1
    assert puller.take(message(75)) is not None
    await puller.pull(0, 0)

    assert wire.asked[1][1]["batch"] == 75
    assert wire.asked[1][0] != wire.asked[0][0]


async def test_it_does_not_ask_while_too_much_is_held(wire: Wire) -> None:
    puller = make(wire)

    assert puller.room(90, 0) == 0
    assert puller.room(70, 0) == 30
    assert puller.room(10, 1 << 20) == 0
    puller.paused = True
    assert puller.room(0, 0) == 0


@pytest.mark.parametrize("line", [b"408 Request Timeout", b"404 No Messages"])
async def test_the_usual_end_of_a_request_is_followed_by_the_next(wire: Wire, line: bytes) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    assert puller.take(status(1, line)) is None
    await puller.pull(0, 0)

    assert len(wire.asked) == 2
    assert not puller.suspect


async def test_a_heartbeat_ends_nothing(wire: Wire) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    puller.take(status(1, b"100 Idle Heartbeat"))
    await puller.pull(0, 0)

    assert len(wire.asked) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"409 Leadership Change",
        b"409 Server Shutdown",
        b"409 Consumer Deleted",
        b"409 Exceeded MaxWaiting",
        b"503",
        b"400 Bad Request",
        b"999 \xff\xfe something new",
    ],
)
async def test_any_other_end_is_looked_into_after_a_moment(
    wire: Wire, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    puller.take(status(1, line))
    await puller.pull(0, 0)

    assert puller.suspect
    assert len(wire.asked) == 1
    pass_time(monkeypatch, 0.3)
    await puller.pull(0, 0)
    # A limit of its configuration says that it is the same consumer; anything else does not.
    assert len(wire.asked) == (2 if b"Exceeded" in line else 1)
    puller.unknown = False
    await puller.pull(0, 0)
    assert len(wire.asked) == 2


async def test_a_message_larger_than_was_asked_for_is_asked_for_alone(wire: Wire) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    puller.take(status(1, b"409 Message Size Exceeds MaxBytes"))
    await puller.pull(0, 0)

    assert wire.asked[1][1]["batch"] == 1
    assert "max_bytes" not in wire.asked[1][1]
    assert not puller.suspect


async def test_only_the_server_speaks_on_the_inbox_and_only_the_stream_elsewhere(
    wire: Wire,
) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    forged = [
        message(1)._replace(subject=b"_INBOX.x.1"),
        message(1)._replace(reply=b"_INBOX.y"),
        message(1)._replace(reply=b"$JS.ACK.OTHER.d.1.1.1.1700000000000000000.9"),
        message(1)._replace(reply=b"$JS.ACK.S.other.1.1.1.1700000000000000000.9"),
        status(1, b"408 x")._replace(subject=b"h.a"),
        status(1, b"408 x")._replace(subject=b"_INBOX.x.1.2"),
        status(1, b"408 x")._replace(subject=b"_INBOX.x." + b"9" * 5000),
        status(1, b"408 x")._replace(subject="_INBOX.x.²".encode()),
    ]

    assert [puller.take(raw) for raw in forged] == [None] * len(forged)
    assert puller.strays == len(forged)
    assert puller.room(0, 0) == 0  # the request stands


async def test_a_status_in_a_message_of_the_stream_is_the_publishers(wire: Wire) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    raw = message(1)._replace(headers=b"NATS/1.0 409 Consumer Deleted\r\n\r\n")

    assert puller.take(raw) is not None
    assert not puller.suspect


async def test_silence_is_looked_into(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    puller.look()
    assert not puller.suspect
    pass_time(monkeypatch, 13)
    puller.look()
    assert puller.suspect
    await puller.pull(0, 0)
    assert len(wire.asked) == 1  # not before the consumer was looked up
    puller.unknown = False
    await puller.pull(0, 0)
    assert len(wire.asked) == 2


async def test_another_connection_means_other_requests(wire: Wire) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    wire.reconnects += 1
    puller.forget()
    await puller.pull(0, 0)  # before the clock has seen it
    puller.look()
    await puller.pull(0, 0)

    assert len(wire.asked) == 1  # the consumer may be another one now
    assert puller.suspect
    puller.unknown = False
    await puller.pull(0, 0)
    assert len(wire.asked) == 2


async def test_a_request_that_nobody_ended_ends_by_itself(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    puller = make(wire)
    await puller.pull(0, 0)
    pass_time(monkeypatch, 33)
    puller.take(status(1, b"100 Idle Heartbeat"))
    puller.look()

    assert puller.room(0, 0) == 100

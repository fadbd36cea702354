"""Services, messages and browsers that behave as badly as they can."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.running import DEADLINE, until
from xkeymsg import Sealer, XKeyPair
from xkeymsg.cli.console.app import Page, make_app
from xkeymsg.cli.console.changes import MOST_STREAMS, Changes
from xkeymsg.cli.console.fleet import Fleet, RefusedSender
from xkeymsg.cli.console.refused import Quarantines
from xkeymsg.cli.console.seen import SeenSenders, look_at
from xkeymsg.cli.console.streams import Streams
from xkeymsg.cli.console.terminated import ADVISORY, Terminations
from xkeymsg.cli.console.untrusted import codes_in, number_in, seconds_in, text_in, time_in
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.cli.web.server import MOST, served
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.daemons.common.listeners import listening
from xkeymsg.envelope.inspect import inspect, sender_of
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

GOOD: dict[str, Any] = {
    "type": "io.nats.micro.v1.stats_response",
    "name": "r",
    "id": "1",
    "version": "1",
    "metadata": {"program": "xkeymsg-receiver"},
    "endpoints": [{"name": "in", "num_requests": 3, "data": {"ready": True}}],
}
DEEP = "[" * 30_000
KEY = str(XKeyPair.generate().public)


# --- services -------------------------------------------------------------------------------------


@asynccontextmanager
async def asked(
    server: NATSServer, *answers: bytes, most: int = 512
) -> AsyncIterator[tuple[Fleet, Link]]:
    """A fleet, whose questions a service answers with these bytes."""
    options = ConnectOptions(servers=(server.url,))
    async with open_link(options) as link, open_link(options) as theirs:
        questions = await theirs.subscribe("$SRV.STATS")

        async def answer() -> None:
            async for raw in questions:
                for each in answers:
                    with suppress(Exception):
                        await theirs.publish(raw.reply_text, each)

        fleet = Fleet(link, Changes(), most=most)
        await theirs.confirm()
        tasks = [asyncio.create_task(each) for each in (answer(), fleet.run())]
        try:
            await until(lambda: fleet.has_asked)
            yield fleet, theirs
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_malformed_answers_are_ignored(server: NATSServer) -> None:
    bad: list[Any] = [
        {}, [], None, 1, "x", GOOD | {"name": 1}, GOOD | {"id": ""}, GOOD | {"metadata": []},
        GOOD | {"metadata": {"program": "sshd"}},
    ]  # fmt: skip
    answers = [json.dumps(each).encode() for each in bad]
    answers += [b"", b"\xff", b"{", DEEP.encode(), b'{"a":' + b"9" * 60_000 + b"}", bytes(70_000)]
    async with asked(server, *answers, json.dumps(GOOD).encode()) as (fleet, _):
        [daemon] = fleet.daemons
        assert daemon.ready
        assert daemon.routes[0].requests == 3
        assert fleet.problem == ""


async def test_values_of_any_type_are_bounded(server: NATSServer) -> None:
    endless = "<b>" * 20_000
    data = {
        "key": "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4", "key_age": 1e400,
        "ready": "yes", "retired_senders": -5, "stream": endless, "blocked": 1,
        "refused": {f"code{n}": 1 for n in range(500)} | {"replay": 2**70},
        "replay": {"covers": float("nan"), "max_age": "x"},
        "refused_senders": {
            "authenticated": {"<script>": {"replay": 1}, "X" * 56: {"replay": 2**70}, KEY: [1]},
            "stated": {KEY: {f"code{n}": 1 for n in range(500)}, KEY.lower(): {"replay": 1}},
            "<b>": {KEY: {"replay": 1}},
        },
    }  # fmt: skip
    endpoint = {"name": endless, "subject": 5, "num_requests": 10**30, "data": data}
    answer = GOOD | {"endpoints": [endpoint] * 200, "started": DEEP, "version": endless}
    smaller = GOOD | {"id": "2", "endpoints": [{"data": data | {"stream": ""}}, [], 1]}
    async with asked(server, json.dumps(answer).encode(), json.dumps(smaller).encode()) as (
        fleet,
        _,
    ):
        [daemon] = fleet.daemons  # the other answer is too long
        assert daemon.id == "2"
        assert (daemon.key, daemon.key_age, daemon.ready) == ("", None, None)
        [route] = daemon.routes
        assert route.covers is None
        assert not route.blocked
        assert set(route.refused) == {"error"}
        assert {key for key, _ in route.senders} == {"error"}
        assert ("error", RefusedSender(KEY, False)) in route.senders
        assert len(repr(fleet.daemons)) < 2000


async def test_refused_messages_by_sender(server: NATSServer) -> None:
    """A sender that a daemon does not name counts as another."""
    senders = {"authenticated": {KEY: {"replay": 2}}, "stated": {KEY: {"replay": 3, "stale": 9}}}
    data = {"refused": {"replay": 9, "malformed": 1, "stale": 1}, "refused_senders": senders}
    answers = [
        GOOD | {"endpoints": [{"name": "in", "data": data}]},
        GOOD | {"id": "2", "endpoints": [{"name": "old", "data": {"refused": {"replay": 7}}}]},
        GOOD | {"id": "3", "metadata": {"program": "xkeymsg-sender"},
                "endpoints": [{"data": data}]},
    ]  # fmt: skip
    async with asked(server, *(json.dumps(each).encode() for each in answers)) as (fleet, _):
        await until(lambda: len(fleet.daemons) == 3)
        assert [
            (each.route, each.code, each.total, *each.sender) for each in fleet.refusals_by_sender
        ] == [
            ("in", "replay", 2, KEY, True),
            ("in", "stale", 9, KEY, False),
            ("in", "replay", 3, KEY, False),
            ("old", "replay", 7, "", False),
            ("in", "replay", 4, "", False),
            ("in", "malformed", 1, "", False),
        ]


async def test_a_flood_of_answers_is_cut_and_stalls_nothing(server: NATSServer) -> None:
    many = [json.dumps(GOOD | {"id": str(n)}).encode() for n in range(200)]
    async with asked(server, *many, most=20) as (fleet, _):
        assert fleet.is_cut
        assert len(fleet.daemons) <= 20


async def test_a_service_that_never_answers_stalls_nothing(server: NATSServer) -> None:
    async with asked(server) as (fleet, _):
        assert fleet.daemons == []
        assert not fleet.problem


def test_parsers_of_untrusted_values() -> None:
    values: list[object] = [None, True, -1, 2**64, 1.5, "x", [], {}, float("inf"), 10**400]
    for value in values:
        table = {"a": value}
        assert 0 <= number_in(table, "a") <= 2**53
        assert isinstance(text_in(table, "a"), str)
        assert seconds_in(table, "a") in (None, 1.5)
        assert time_in(table, "a") is None
        assert codes_in(table, "a") == {}
    assert time_in({"a": "2026-01-01T00:00:00Z"}, "a") == datetime(2026, 1, 1, tzinfo=UTC)
    assert codes_in({"a": {"replay": 2, "x": 1, "y": 1}}, "a") == {"replay": 2, "error": 2}
    assert len(text_in({"a": "x" * 999}, "a")) == 256


async def test_advisories_of_any_form_are_counted_within_bounds(server: NATSServer) -> None:
    options = ConnectOptions(servers=(server.url,))
    async with open_link(options) as link, open_link(options) as theirs:
        terminations = Terminations(link, ("S",), Changes())
        task = asyncio.create_task(terminations.run())
        await asyncio.sleep(0)
        await link.confirm()
        for data in (b"", DEEP.encode(), b"[]", bytes(70_000)):
            await theirs.publish(f"{ADVISORY}.S.c", data)
        for number in range(300):
            reason = json.dumps({"reason": "<script>" * number}).encode()
            await theirs.publish(f"{ADVISORY}.S.{number}", reason)
        await theirs.publish(f"{ADVISORY}.S.c", b'{"reason": 1}')
        await until(lambda: sum(each.messages for each in terminations.counts) == 301)
        assert len(terminations.counts) == 201
        assert max(len(each.reason) for each in terminations.counts) <= 64
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_advisory_on_another_subject_is_ignored() -> None:
    """A broker can deliver anything to a subscription."""

    class Link:
        async def subscribe(self, *_: object, **__: object) -> Any:
            return self

        async def __aiter__(self) -> AsyncIterator[Any]:
            for subject in ("", "S.c", ADVISORY, f"{ADVISORY}.S", f"{ADVISORY}.S.c.d", "x.S.c"):
                yield SimpleNamespace(subject_text=subject, data=b"{}")
            yield SimpleNamespace(subject_text=f"{ADVISORY}.S.c", data=b"{}")

        async def unsubscribe(self) -> None: ...

    link: Any = Link()
    terminations = Terminations(link, ("S",), Changes())
    await terminations.run()
    assert [each[:3] for each in terminations.counts] == [("S", "c", "")]
    assert terminations.counts[0].messages == 1


# --- messages -------------------------------------------------------------------------------------


@asynccontextmanager
async def collecting(*collectors: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in collectors]
    try:
        await until(lambda: all(each.has_asked for each in collectors))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_records_of_any_form_are_shown_as_invalid(jetstream_server: NATSServer) -> None:
    sealed = Sealer(XKeyPair.generate()).seal(b"x", to=[XKeyPair.generate().public], subject="a")
    valid = {
        "Xkm-Stream": "S", "Xkm-Consumer": "c", "Xkm-Sequence": "1", "Xkm-Stored": "1",
        "Xkm-Subject": "a%00%ff<script>", "Xkm-Reason": "refused",
    }  # fmt: skip
    wrong = [{}, valid | {"Xkm-Reason": "<script>"}, valid | {"Xkm-Stream": "../x"},
             valid | {"Xkm-Sequence": "9" * 40}, valid | {"Xkm-Part": "3/2"}]  # fmt: skip
    async with open_link(ConnectOptions(servers=(jetstream_server.url,))) as link:
        api = API(link)
        await create_quarantine(api)
        records = [*wrong, valid, valid | {"Xkm-Part": "2/2"}, valid | {"Xkm-Stored": "9" * 19}]
        for number, headers in enumerate(records):
            subject = f"XKM_UNPROVEN.S.c.{number}"
            block = encode_block(headers) if headers else b""
            await link.request(subject, sealed, headers=block, timeout=DEADLINE)
        quarantines = Quarantines(
            api, "XKM_UNPROVEN", "MISSING", SeenSenders(lambda _: True), Changes()
        )
        async with collecting(quarantines):
            proven, unproven = quarantines.states
            assert proven.is_missing
            assert "xkeymsg quarantine init" in proven.problem
            newest = unproven.newest[::-1]
        assert [each.reason for each in newest] == [""] * len(wrong) + ["refused"] * 3
        assert newest[5].subject == "a\0\\xff<script>"
        assert newest[5].recipients == 1
        assert (newest[6].part, newest[6].sender) == ("2 of 2", None)


async def test_records_that_are_deleted_disappear(jetstream_server: NATSServer) -> None:
    async with open_link(ConnectOptions(servers=(jetstream_server.url,))) as link:
        api = API(link)
        await create_quarantine(api)
        for number in range(3):
            await link.request(f"XKM_PROVEN.S.c.{number}", b"x", timeout=DEADLINE)
        names = "XKM_UNPROVEN", "XKM_PROVEN"
        quarantines = Quarantines(api, *names, SeenSenders(lambda _: True), Changes())
        async with collecting(quarantines):
            assert [each.number for each in quarantines.states[0].newest] == [3, 2, 1]
            await api.delete_message("XKM_PROVEN", 2)
            await until(lambda: [each.number for each in quarantines.states[0].newest] == [3, 1])


async def test_streams_are_sampled_within_bounds(jetstream_server: NATSServer) -> None:
    async with open_link(ConnectOptions(servers=(jetstream_server.url,))) as link:
        api = API(link)
        await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        for number in range(300):
            await link.request(f"s.{number}", b"\0" * 200, timeout=DEADLINE)
        streams = Streams(
            api, ("S", "MISSING"), lambda subject: subject != "s.299",
            SeenSenders(lambda _: True), Changes(),
        )  # fmt: skip
        async with collecting(streams):
            state = streams.states["S"]
            assert state.messages == 300
            assert 8 <= len(state.samples) <= 16
            assert {each.sequence for each in state.samples} >= {*range(293, 301)}
            assert state.protected == len(state.samples) - 1
            assert state.share == 1.0
            assert len(state.exposed) == state.protected
            assert streams.states["MISSING"].problem
        assert "\\x00" not in repr(state)


def test_senders_that_anyone_invents_do_not_displace_known_ones() -> None:
    known = XKeyPair.generate()
    seen = SeenSenders(lambda key: key == known.public)
    to = [XKeyPair.generate().public]
    for pair in (known, *(XKeyPair.generate() for _ in range(60))):
        seen.note(inspect(Sealer(pair).seal(b"", to=to, subject="a")), "S")
    assert len(seen.all()) == 51
    assert seen.of(known.public) is not None


def test_a_sender_that_becomes_known_is_listed_once() -> None:
    pair, known = XKeyPair.generate(), set[object]()
    seen = SeenSenders(known.__contains__)
    message = inspect(Sealer(pair).seal(b"", to=[pair.public], subject="a"))
    for _ in range(2):
        seen.note(message, "S")
        known.add(pair.public)
    assert [each.key for each in seen.all()] == [pair.public]


SEALED = Sealer(XKeyPair.generate()).seal(b"x", to=[XKeyPair.generate().public], subject="a")
LOW_ORDER = SEALED.replace(sender_of(SEALED), bytes(32))


@pytest.mark.parametrize(
    "data",
    [b"", b"xkm1", b"xkv1", b"x" * 5000, bytes(range(256)) * 9, LOW_ORDER],
    ids=range(6),
)
def test_a_look_at_anything_is_no_error(data: bytes) -> None:
    for is_whole in (True, False):
        assert look_at(data, is_whole=is_whole).sender is None


# --- browsers -------------------------------------------------------------------------------------


class Site:
    """The console's application with one page, on a port."""

    def __init__(self, changes: Changes, address: tuple[str, int]) -> None:
        self.changes = changes
        self.host = f"{address[0]}:{address[1]}"
        self.writers: list[asyncio.StreamWriter] = []
        self._address = address

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect until the end of the test."""
        reader, writer = await asyncio.open_connection(*self._address)
        self.writers.append(writer)
        return reader, writer

    async def get(
        self, path: str, *headers: str
    ) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request; return the head of the response, and the connection."""
        reader, writer = await self.connect()
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.host}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(DEADLINE):
            return await reader.readuntil(b"\r\n\r\n"), reader, writer


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    changes = Changes()
    pages = [Page("/streams", "Streams", "streams.html", lambda: {"states": []})]
    with listening("127.0.0.1:0") as (listener, where):
        port = int(where.rpartition(":")[2])
        app = make_app(pages, changes, hosts=local_hosts(f"127.0.0.1:{port}"))
        async with served(app, listener, patience=0.5):
            opened = Site(changes, ("127.0.0.1", port))
            try:
                yield opened
            finally:
                changes.close()
                for writer in opened.writers:
                    writer.transport.abort()


async def test_events_follow_changes() -> None:
    async with site() as opened:
        head, reader, writer = await opened.get("/events?page=/streams")
        assert b"text/event-stream" in head
        opened.changes.note("/other")
        opened.changes.note("/streams")
        async with asyncio.timeout(DEADLINE):
            assert b"event: changed" in await reader.readuntil(b"data: 1\n\n")
        writer.close()

        def is_left() -> bool:
            opened.changes.note("/streams")  # a write shows that the browser has gone
            return opened.changes.streams == 0

        await until(is_left)
        assert b" 404 " in (await opened.get("/events?page=/nothing"))[0]


async def test_another_page_can_hold_no_event_stream() -> None:
    async with site() as opened:
        for dest in ("document", "iframe"):
            sent = (
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                f"Sec-Fetch-Dest: {dest}",
            )
            assert b" 403 " in (await opened.get("/events?page=/streams", *sent))[0]
        assert opened.changes.streams == 0


async def test_browsers_that_do_not_read_their_events_cost_a_bounded_amount() -> None:
    async with site() as opened:
        for _ in range(MOST_STREAMS):
            _, writer = await opened.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            writer.write(
                f"GET /events?page=/streams HTTP/1.1\r\nHost: {opened.host}\r\n\r\n".encode()
            )
        await until(lambda: opened.changes.streams == MOST_STREAMS)
        for _ in range(10_000):
            opened.changes.note("/streams")
        head, *_ = await opened.get("/events?page=/streams")
        assert b" 503 " in head
        head, *_ = await opened.get("/streams")
        assert b" 200 " in head


async def test_connections_are_limited_and_idle_ones_make_room() -> None:
    async with site() as opened:
        idle = [await opened.connect() for _ in range(2 * MOST)]
        head, *_ = await opened.get("/streams")
        assert b" 200 " in head
        async with asyncio.timeout(DEADLINE):
            assert await idle[0][0].read() == b""  # closed: it was the oldest
            assert await idle[-1][0].read() == b""  # closed: it sends nothing


async def test_a_request_that_never_ends_is_closed() -> None:
    async with site() as opened:
        reader, writer = await opened.connect()
        writer.write(b"GET /streams HTTP/1.1\r\nX: ")
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                assert await reader.read() == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /streams HTTP/1.1\r\nHost: {}\r\nX: " + b"y" * 400_000 + b"\r\n\r\n",
        b"\xff\xff\r\n\r\n",
        b"GET /streams HTTP/1.1\r\n\r\n",
        b"GET /streams HTTP/1.0\r\n\r\n",
        b"POST /streams HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\n\r\nx",
        b"TRACE /streams HTTP/1.1\r\nHost: {}\r\n\r\n",
        b"GET http://evil.example/streams HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /static/../config.py HTTP/1.1\r\nHost: {}\r\n\r\n",
        b"GET /static/..%2fconfig.py HTTP/1.1\r\nHost: {}\r\n\r\n",
        b"GET /static//etc/passwd HTTP/1.1\r\nHost: {}\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: {}\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: {}\r\n\r\n",
    ],
)
async def test_odd_requests_are_refused(request_: bytes) -> None:
    async with site() as opened:
        reader, writer = await opened.connect()
        writer.write(request_.replace(b"{}", opened.host.encode()))
        writer.write_eof()
        answer = b""
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                answer = await reader.read()
        assert answer == b"" or answer[9:10] == b"4", answer
        assert b" 200 " in (await opened.get("/streams"))[0]


async def test_every_response_has_the_headers() -> None:
    async with site() as opened:
        for path in (
            "/streams",
            "/static/live.js",
            "/static/base.css",
            "/nothing",
            "/static/nothing",
        ):
            head, *_ = await opened.get(path)
            named = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            policy = named[b"content-security-policy"]
            assert b"default-src 'none'" in policy
            assert b"frame-ancestors 'none'" in policy
            assert b"unsafe" not in policy
            assert named[b"x-content-type-options"] == b"nosniff"
            assert named[b"referrer-policy"] == b"no-referrer"
            assert b"set-cookie" not in named
            assert b"server" not in named

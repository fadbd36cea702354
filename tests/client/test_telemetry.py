"""Spans of OpenTelemetry: whole traces for the application, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState

import xkeymsg
from tests.client.conftest import ALICE, BOB, EVE, PEERS, Told
from tests.running import DEADLINE, ROOT
from tests.spans import PARENT, SECRET, Spans, error_of, ids, links_of, parent_of
from xkeymsg import (
    ConfigurationError,
    DurableOptions,
    FailurePolicy,
    Message,
    Policy,
    Reject,
    ServiceError,
)
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.client.telemetry import Tracing, tracing_of
from xkeymsg.sealer import Sealer
from xkeymsg.testing import MemoryNATS, NATSServer
from xkeymsg.testing.memory import MemoryLink
from xkeymsg.transport.headers import parse_block


async def overhear(link: MemoryLink) -> Any:
    return await link.subscribe(">")


# --- traces ---------------------------------------------------------------------------------------


async def test_a_receiver_links_to_the_trace_of_the_publisher(spans: Spans) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        broker = await overhear(MemoryLink(nats))
        async with bob.subscribe("orders.*", queue="q") as orders:
            with spans.provider.get_tracer("app").start_as_current_span("app"):
                await alice.publish("orders.smith", b"7 lamps", to="bob")
            message = await anext(orders)
        raw = await anext(broker)

    publish, seal, opened = spans.one("publish"), spans.one("seal"), spans.one("open orders.*")
    assert parent_of(publish) == ids(spans.one("app"))
    assert parent_of(seal) == ids(publish)
    assert parent_of(opened) is None
    assert links_of(opened) == [ids(publish)]
    assert (publish.kind, seal.kind, opened.kind) == (
        SpanKind.PRODUCER,
        SpanKind.INTERNAL,
        SpanKind.CONSUMER,
    )
    assert dict(opened.attributes or {}) == {
        "messaging.system": "nats",
        "messaging.operation.name": "open",
        "messaging.operation.type": "receive",
        "messaging.destination.template": "orders.*",
        "messaging.consumer.group.name": "q",
        "messaging.message.id": message.message_id.hex(),
        "messaging.message.envelope.size": len(raw.data),
    }
    assert opened.start_time is not None
    assert opened.end_time is not None
    assert opened.start_time <= opened.end_time

    # What the application continues by itself.
    continued = trace.get_current_span(propagate.extract(message.headers)).get_span_context()
    assert (continued.trace_id, continued.span_id) == ids(publish)
    # The broker sees nothing of it.
    everything = raw.headers + raw.data
    for each in ids(publish):
        assert b"%x" % each not in everything
        assert each.to_bytes(16).lstrip(b"\0") not in everything
    assert b"trace" not in everything.lower()


async def test_in_the_clear_only_if_asked_and_never_believed(spans: Spans) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS, telemetry="clear") as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        route = alice.route("orders.new", "bob", clear_headers={"a": "b"})
        link = MemoryLink(nats)
        broker = await overhear(link)
        async with bob.subscribe("orders.*") as orders:
            await alice.publish("orders.new", b"1", to="bob")
            await route.publish(b"2")
            for _ in range(2):
                await anext(orders)
            seen = [await anext(broker), await anext(broker)]
            # The broker rewrites what it can see.
            sealed = Sealer(ALICE).seal(b"3", to=[BOB.public], subject="orders.new")
            block = b"NATS/1.0\r\ntraceparent: %b\r\n\r\n" % PARENT.encode()
            await link.publish("orders.new", sealed, headers=block)
            await anext(orders)
    publish, of_route = spans.one("publish"), spans.one("publish orders.new")
    for raw, span in zip(seen, (publish, of_route), strict=True):
        trace_id, span_id = ids(span)
        line = b"traceparent: 00-%032x-%016x-0" % (trace_id, span_id)
        assert line in raw.headers
        assert b"sender: X" in raw.headers
    assert b"a: b\r\n" in seen[1].headers
    opened = spans.of("open orders.*")
    assert [links_of(each) for each in opened] == [[ids(publish)], [ids(of_route)], []]


async def test_a_request_continues_the_trace_and_so_does_the_reply(spans: Spans) -> None:
    nats = MemoryNATS()

    async def price(request: Message) -> bytes:
        assert trace.get_current_span().get_span_context().is_valid
        if request.data == b"moon":
            raise ServiceError("not_found", SECRET)
        if request.data == b"bug":
            raise ValueError(SECRET)
        return b"9.50"

    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.serve("orders.price", price, on_error=Told()):
            await alice.request("orders.price", b"lamp", to="bob", timeout=DEADLINE)
            for each in (b"moon", b"bug"):
                with pytest.raises(ServiceError):
                    await alice.request("orders.price", each, to="bob", timeout=DEADLINE)
            await alice.request_many("orders.price", b"lamp", to="bob", timeout=DEADLINE)
    requests = [each for each in spans.of("publish") if each.parent is None]
    assert len(requests) == 4
    assert [error_of(each) for each in requests] == [
        None,
        "service",
        "service",
        None,
    ]
    opened, processed = spans.of("open orders.price"), spans.of("process orders.price")
    assert [parent_of(each) for each in opened] == [ids(each) for each in requests]
    assert [parent_of(each) for each in processed] == [ids(each) for each in requests]
    assert not any(each.links for each in (*opened, *processed))
    assert [error_of(each) for each in processed] == [None, "service", "ValueError", None]
    replies = [each for each in spans.of("publish") if each.parent is not None]
    assert [parent_of(each) for each in replies] == [ids(each) for each in processed]
    assert [parent_of(each) for each in spans.of("open")] == [ids(each) for each in replies]
    assert len({ids(each)[0] for each in spans.all}) == 4
    assert SECRET not in spans.text()


async def test_refused_messages_have_spans_with_codes(spans: Spans, told: Told) -> None:
    nats = MemoryNATS()
    async with nats.connect(key=BOB, trust=PEERS, on_error=told) as bob:
        link = MemoryLink(nats)
        async with bob.subscribe("orders.*") as orders:
            mine = Sealer(ALICE).seal(b"x", to=[BOB.public], subject="orders.new")
            theirs = Sealer(EVE).seal(
                b"x", to=[BOB.public], subject="orders.new", headers={"traceparent": PARENT}
            )
            for each in (b"junk", theirs, mine, mine, mine):
                await link.publish("orders.new", each)
            await anext(orders)
            await link.publish(
                "orders.new", Sealer(ALICE).seal(b"", to=[BOB.public], subject="orders.new")
            )
            await anext(orders)
    codes = [error_of(each) for each in spans.of("open orders.*")]
    assert codes == ["malformed", "sender_not_admitted", None, "replay", "replay", None]
    for span in spans.of("open orders.*"):
        assert (span.links, span.parent, span.events) == ((), None, ())
        assert span.status.description is None


async def test_documents_and_routes_carry_it_and_an_own_header_wins(spans: Spans) -> None:
    nats = MemoryNATS()
    policy = Policy([("/**", ["p"])])
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.subscribe("orders.d", documents=True) as documents:
            readers = {"p": "bob"}
            await alice.publish_document("orders.d", {"a": 1}, policy=policy, readers=readers)
            view = await anext(documents)
        route = alice.route("orders.new", "bob", headers={"A": "1"}, content_type="text/plain")
        async with bob.subscribe("orders.*") as orders:
            await route.publish(b"1")
            of_route = await anext(orders)
            await alice.publish("orders.x", b"2", to="bob", headers={"traceparent": PARENT})
            own = await anext(orders)
    first, last = spans.of("publish")
    assert view.document == {"a": 1}
    assert view.headers["traceparent"].split("-")[1:3] == [
        f"{ids(first)[0]:032x}",
        f"{ids(first)[1]:016x}",
    ]
    assert (of_route.data, of_route.headers["A"], of_route.content_type) == (
        b"1",
        "1",
        "text/plain",
    )
    assert links_of(spans.of("open orders.*")[0]) == [ids(spans.one("publish orders.new"))]
    assert own.headers.pairs == (("traceparent", PARENT),)
    assert (
        links_of(spans.of("open orders.*")[1])[0][0]
        == int(PARENT.split("-")[1], 16)
        != ids(last)[0]
    )


async def test_tracestate_travels_if_it_is_short(spans: Spans) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.subscribe("orders.*") as orders:
            for value in ("short", "x" * 250):
                state = TraceState([("a", value), ("b", value), ("1t@v", value)])
                above = SpanContext(
                    1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state
                )
                token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(above)))
                try:
                    await alice.publish("orders.x", b"", to="bob")
                finally:
                    context.detach(token)
            short, long = await anext(orders), await anext(orders)
    assert short.headers["tracestate"] == "a=short,b=short,1t@v=short"
    assert "tracestate" not in long.headers
    assert "traceparent" in long.headers
    opened = spans.of("open orders.*")
    assert [each.links[0].context.trace_state.to_header() for each in opened] == [
        "a=short,b=short,1t@v=short",
        "",
    ]


async def test_an_own_clear_context_replaces_both_headers(spans: Spans) -> None:
    nats = MemoryNATS()
    state = TraceState([("a", "b")])
    above = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    async with nats.connect(key=ALICE, trust=PEERS, telemetry="clear") as alice:
        broker = await overhear(MemoryLink(nats))
        token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(above)))
        try:
            await alice.publish("orders.x", b"", to="bob")
            await alice.publish("orders.x", b"", to="bob", clear_headers={"traceparent": PARENT})
        finally:
            context.detach(token)
        ours, own = [dict(parse_block((await anext(broker)).headers)) for _ in range(2)]
    assert ours["tracestate"] == "a=b"
    assert (own["traceparent"], "tracestate" in own) == (PARENT, False)


PAGE = """
import ast, asyncio, sys
from xkeymsg import XKeyPair

names = {"url": sys.argv[1], "ALICE": XKeyPair.generate(), "BOB": XKeyPair.generate()}
code = compile(sys.argv[2], "telemetry.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(code, names))
"""


def test_the_page_of_the_documentation_runs(server: NATSServer) -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text()
    [session] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # A process of its own: a provider is set once, for all that follows.
    command = [sys.executable, "-c", PAGE, server.url, session]
    subprocess.run(command, check=True, timeout=DEADLINE)


# --- streams --------------------------------------------------------------------------------------

PUBLISHER = """
import asyncio, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
import xkeymsg

async def main(url, seed, peers):
    trace.set_tracer_provider(TracerProvider())
    key = xkeymsg.XKeyPair.from_seed(seed)
    async with xkeymsg.connect(url, key=key, trust=xkeymsg.Peers.parse(peers)) as client:
        with trace.get_tracer("app").start_as_current_span("app") as span:
            await client.js.publish("orders.new", b"good", to="bob")
            await (await client.js.publish_async("orders.new", b"bad", to="bob"))
        print(f"{span.get_span_context().trace_id:032x}")

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_trace_reaches_the_handler_in_another_process(spans: Spans) -> None:
    tried: list[bytes] = []

    async def work(message: Message) -> None:
        tried.append(message.data)
        if message.data == b"bad":
            raise (Reject("no") if len(tried) > 2 else KeyError(SECRET))

    with NATSServer(jetstream=True) as server:
        async with xkeymsg.connect(server.url, key=BOB, trust=PEERS) as bob:
            await bob.js.add_stream("ORDERS", "orders.>")
            await create_quarantine(bob.js.api, "XKM_UNPROVEN", "XKM_PROVEN")
            texts = [
                f'peers.{name} = {{ xkey = "{key.public}", subjects = ["orders.>"] }}'
                for name, key in (("alice", ALICE), ("bob", BOB))
            ]
            arguments = [server.url, ALICE.seed(), "\n".join(texts)]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PUBLISHER, *arguments, stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            assert process.returncode == 0
            await bob.flush()
            junk = await API(bob.js.api.link).link.request("orders.junk", b"junk", timeout=DEADLINE)
            assert b'"seq"' in junk.data
            quick = FailurePolicy(backoff=0.05, key_delay=0.1, patience=0.5)
            async with bob.js.consume(
                "ORDERS", "worker", work, create=DurableOptions(), policy=quick
            ):
                await spans.until("process ORDERS", 3)
    trace_id = int(out, 16)
    processed = spans.of("process ORDERS")
    assert tried == [b"good", b"bad", b"bad"]
    assert [error_of(each) for each in processed] == [None, "KeyError", "Reject"]
    for each in processed:
        assert each.parent is None
        assert [found for found, _ in links_of(each)] == [trace_id]
        assert (each.attributes or {})["messaging.destination.name"] == "ORDERS"
        assert (each.attributes or {})["messaging.consumer.group.name"] == "worker"
    assert {error_of(each) for each in spans.of("open ORDERS")} >= {None, "malformed"}
    assert SECRET not in spans.text()


async def test_publishing_into_a_stream_ends_with_its_acknowledgement(spans: Spans) -> None:
    with NATSServer(jetstream=True) as server:
        async with xkeymsg.connect(server.url, key=ALICE, trust=PEERS, telemetry="clear") as alice:
            await alice.js.add_stream("ORDERS", "orders.>")
            ack = await alice.js.publish("orders.new", b"1", to="bob", clear_headers={"a": "b"})
            raw = await alice.js.api.message("ORDERS", ack.sequence)
            own = {"traceparent": PARENT}
            ack = await alice.js.publish("orders.new", b"2", to="bob", clear_headers=own)
            given = await alice.js.api.message("ORDERS", ack.sequence)
            with pytest.raises(xkeymsg.errors.DeliveryError):
                await alice.js.publish("other", b"1", to="bob", timeout=0.5)
    good, _, bad = spans.of("publish")
    assert [value for name, value in given.headers if name == "traceparent"] == [PARENT]
    assert (error_of(good), error_of(bad)) == (None, "delivery")
    headers = dict(raw.headers)
    assert headers.keys() == {"traceparent", "sender", "a", "Nats-Msg-Id"}
    assert headers["traceparent"].startswith("00-{:032x}-{:016x}-".format(*ids(good)))


# --- off ------------------------------------------------------------------------------------------


async def test_it_can_be_switched_off(spans: Spans) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS, telemetry="off") as alice,
        nats.connect(key=BOB, trust=PEERS, telemetry="off") as bob,
        bob.subscribe("orders.*") as orders,
    ):
        await alice.publish("orders.x", b"", to="bob")
        assert not (await anext(orders)).headers
    assert spans.all == ()
    with pytest.raises(ConfigurationError, match="telemetry must be"):
        xkeymsg.connect(key=ALICE, trust=PEERS, telemetry="on")  # type: ignore[arg-type]


def test_without_a_provider_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing_of("sealed") is None  # only a proxy
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    assert tracing_of("sealed") is None
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    assert isinstance(tracing_of("clear"), Tracing)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert tracing_of("clear") is None


def test_the_package_is_never_imported_first() -> None:
    code = (
        "import sys, xkeymsg; key = xkeymsg.XKeyPair.generate();"
        "xkeymsg.connect(key=key, trust=xkeymsg.ANYONE);"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE)

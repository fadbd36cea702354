"""Telemetry loses no message, shows no contents, and believes no peer."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
)

import xkeymsg
from tests.client.conftest import ALICE, BOB, EVE, PEERS, Told
from tests.running import DEADLINE
from tests.spans import PARENT, SECRET, Spans, error_of, ids, recording
from xkeymsg import (
    ANYONE,
    Limits,
    Message,
    PayloadTooLargeError,
    Policy,
    ServiceError,
)
from xkeymsg.client.core import Core
from xkeymsg.sealer import Sealer
from xkeymsg.testing import MemoryNATS
from xkeymsg.testing.memory import MemoryLink

# --- hostile trace contexts -----------------------------------------------------------------------

HOSTILE = {
    "empty": [("traceparent", "")],
    "all zero": [("traceparent", f"00-{'0' * 32}-{'0' * 16}-01")],
    "zero trace": [("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01")],
    "zero span": [("traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01")],
    "version ff": [("traceparent", f"ff{PARENT[2:]}")],
    "other version": [("traceparent", f"01{PARENT[2:]}")],
    "trailing": [("traceparent", f"{PARENT}-00")],
    "newline": [("traceparent", f"{PARENT}\n")],
    "space": [("traceparent", f" {PARENT}")],
    "upper case": [("traceparent", PARENT.upper())],
    "digits of another script": [("traceparent", PARENT.replace("0", "\u0660"))],
    "long": [("traceparent", PARENT * 900)],
    "twice": [("traceparent", PARENT), ("traceparent", PARENT)],
    "many": [("traceparent", PARENT)] * 60,
    "other case": [("Traceparent", PARENT)],
    "state only": [("tracestate", "a=b")],
}  # fmt: skip


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_an_invalid_context_is_ignored(
    spans: Spans, caplog: pytest.LogCaptureFixture, headers: list[tuple[str, str]]
) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.subscribe("orders.*") as orders:
            envelope = Sealer(ALICE).seal(
                b"1", to=[BOB.public], subject="orders.x", headers=headers
            )
            await MemoryLink(nats).publish("orders.x", envelope)
            assert (await anext(orders)).headers.pairs == tuple(headers)
        assert alice.stats.refused == {}
    opened = spans.one("open orders.*")
    assert not opened.links
    assert opened.parent is None
    assert error_of(opened) is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    "states",
    [
        ["x" * 513], ["a=" + "b" * 5000], ["a=b,a=c"], [f"{SECRET}={SECRET}"], ["a=b\n"], ["a"],
        ["a=\u00e9"], [",".join(f"k{each}=1" for each in range(33))], ["a=1", "a=2"], ["=,=,="],
        ["," * 512], ["a" * 257 + "=1"],
    ],
)  # fmt: skip
async def test_an_invalid_state_is_dropped_and_not_logged(
    spans: Spans, caplog: pytest.LogCaptureFixture, states: list[str]
) -> None:
    nats = MemoryNATS()
    headers = [("traceparent", PARENT), *(("tracestate", each) for each in states)]
    async with nats.connect(key=BOB, trust=PEERS) as bob:
        async with bob.subscribe("orders.*") as orders:
            envelope = Sealer(ALICE).seal(
                b"1", to=[BOB.public], subject="orders.x", headers=headers
            )
            await MemoryLink(nats).publish("orders.x", envelope)
            await anext(orders)
    [link] = spans.one("open orders.*").links
    assert not link.context.trace_state
    assert link.context.is_remote
    assert caplog.text == ""
    assert SECRET not in spans.text()


async def test_a_peer_decides_nothing_about_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = recording(monkeypatch, Spans(ParentBased(ALWAYS_OFF)))
    nats = MemoryNATS()
    headers = {"traceparent": PARENT}
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public], subject="orders.x", headers=headers)

    async def answer(_: Message) -> None:
        return None

    async with (
        nats.connect(key=BOB, trust=PEERS) as bob,
        nats.connect(key=ALICE, trust=PEERS) as alice,
    ):
        async with bob.subscribe("orders.*") as orders:
            await MemoryLink(nats).publish("orders.x", envelope)
            await anext(orders)
        assert not spans.all
        async with bob.serve("orders.s", answer):
            await alice.request("orders.s", b"", to="bob", timeout=DEADLINE, headers=headers)
    # A request of a named sender continues its trace; the sampler sees a remote parent.
    assert {span.name for span in spans.all} >= {"open orders.s", "process orders.s"}
    assert {ids(span)[0] for span in spans.all} == {int(PARENT[3:35], 16)}


async def test_a_request_of_anyone_is_only_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = recording(monkeypatch, Spans(ParentBased(ALWAYS_OFF)))
    nats = MemoryNATS()

    async def answer(_: Message) -> None:
        return None

    async with (
        nats.connect(key=BOB, trust=ANYONE) as bob,
        nats.connect(key=EVE, trust=ANYONE) as eve,
    ):
        async with bob.serve("orders.s", answer, answer_anyone=True):
            headers = {"traceparent": PARENT}
            await eve.request("orders.s", b"", to=BOB.public, timeout=DEADLINE, headers=headers)
    assert not [each for each in spans.all if each.name.endswith("orders.s")]


# --- nothing is lost, nothing is shown ------------------------------------------------------------


async def test_a_message_without_room_is_sent_without_it(spans: Spans) -> None:
    nats = MemoryNATS()
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.subscribe("orders.*") as orders:
            full = [("a", "b")] * Limits().headers
            await alice.publish("orders.x", b"1", to="bob", headers=iter(full))
            assert len((await anext(orders)).headers.pairs) == len(full)
            await alice.publish("orders.x", b"", to="bob", headers={"a": "b"})
            await anext(orders)
            nats.max_payload = 1000
            sizes = []
            for size in range(600, 1000):
                try:
                    await alice.publish("orders.x", bytes(size), to="bob", headers={"a": "b"})
                except PayloadTooLargeError:
                    break
                sizes.append("traceparent" in (await anext(orders)).headers)
    plain = Core(ALICE, PEERS, {"telemetry": "off"}).outgoing
    most = 1000 - len(plain.block)
    size = 599 + len(sizes)
    for extra, fits in ((0, True), (1, False)):
        data = bytes(size + extra)
        sealed = plain.sealer().seal(data, to=[BOB.public], subject="orders.x", headers={"a": "b"})
        assert (len(sealed) <= most) is fits
    assert sizes[0]
    assert not sizes[-1]


class _Faulty(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError(SECRET)

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(SECRET)


class _Unsampled(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError(SECRET)

    def get_description(self) -> str:
        return "faulty"


@pytest.mark.parametrize("fault", ["sampler", "processor"])
async def test_a_faulty_provider_loses_no_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    spans = recording(monkeypatch, Spans(_Unsampled() if fault == "sampler" else ALWAYS_ON))
    if fault == "processor":
        spans.provider.add_span_processor(_Faulty())
    nats = MemoryNATS()

    async def answer(_: Message) -> bytes:
        return b"yes"

    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS) as bob,
    ):
        async with bob.subscribe("orders.*") as orders:
            await alice.publish("orders.x", b"1", to="bob")
            assert (await anext(orders)).data == b"1"
        async with bob.serve("orders.s", answer):
            assert (await alice.request("orders.s", b"", to="bob", timeout=DEADLINE)).data == b"yes"
    assert "telemetry" in caplog.text
    assert SECRET not in caplog.text


async def test_no_span_has_contents_subjects_or_secrets(spans: Spans, told: Told) -> None:
    nats = MemoryNATS()
    policy = Policy([("/**", ["p"])])

    async def answer(_: Message) -> bytes:
        raise RuntimeError(SECRET)

    headers = {SECRET: SECRET}
    async with (
        nats.connect(key=ALICE, trust=PEERS) as alice,
        nats.connect(key=BOB, trust=PEERS, on_error=told) as bob,
    ):
        async with (
            bob.subscribe("orders.*") as orders,
            bob.subscribe("orders.*", documents=True),
            bob.serve("orders.q.>", answer),
        ):
            subject = "orders.Smith"
            for each in ("bob", "nobody"):
                with contextlib.suppress(xkeymsg.errors.UnknownKeyError):
                    await alice.publish(
                        subject, SECRET.encode(), to=each, headers=headers, content_type=SECRET
                    )
            await alice.publish_document(
                subject, {SECRET: SECRET}, policy=policy, readers={"p": "bob"}, headers=headers
            )
            with pytest.raises(ServiceError):
                await alice.request("orders.q.Smith", SECRET.encode(), to="bob", timeout=DEADLINE)
            assert (await anext(orders)).data == SECRET.encode()
    text = spans.text()
    for secret in (SECRET, "Smith", ALICE.seed(), BOB.seed(), str(ALICE.public)):
        assert secret not in text
    assert json.dumps(SECRET.encode().hex())[1:-1] not in text
    errors = {error_of(each) for each in spans.all}
    assert errors == {None, "unknown_key", "service", "RuntimeError"}

"""What anybody could answer in JetStream's place is an error, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.client.jetstream.conftest import Stage
from xkeymsg.client.jetstream.api import API, check_name, parse_answer, parse_puback
from xkeymsg.client.jetstream.durables import DurableOptions, find_durable
from xkeymsg.client.jetstream.failures import FailurePolicy, Failures
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.errors import ConfigurationError, DeliveryError, XKeyMsgError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
FIELDS = st.dictionaries(
    st.sampled_from(["stream", "seq", "duplicate", "error", "err_code", "description"]), JSON
)


@given(st.binary(max_size=200) | FIELDS.map(lambda fields: json.dumps(fields).encode()))
def test_no_answer_raises_anything_but_our_errors(data: bytes) -> None:
    for parse in (parse_answer, parse_puback):
        with contextlib.suppress(DeliveryError):
            parse(data)


@given(FIELDS, st.sampled_from([(",", ":"), (", ", ":"), (", ", ": ")]))
@example({"stream": "ORDERS", "seq": 7}, (", ", ":"))
@example({"stream": "ORDERS", "seq": 10**18 - 1}, (",", ":"))
@example({"stream": "ORDERS", "seq": 10**18}, (",", ":"))
@example({"stream": "ORDERS", "seq": 2**63}, (",", ":"))
@example({"stream": "ORDERS", "seq": 0}, (", ", ":"))
@example({"stream": "ORDERS", "seq": 7, "duplicate": True}, (", ", ":"))
def test_the_usual_acknowledgement_is_parsed_as_json(
    fields: dict[str, Any], separators: tuple[str, str]
) -> None:
    data = json.dumps(fields, separators=separators).encode()
    try:
        ack = parse_puback(data)
    except DeliveryError:
        assert (
            "error" in fields
            or not 0 < _number(fields.get("seq")) < 2**63
            or (type(fields.get("stream")) is not str)
        )
    else:
        assert ack == (fields["stream"], fields["seq"], fields.get("duplicate") is True)


def _number(value: object) -> int:
    return value if type(value) is int else 0


@for_each(
    "data",
    [
        b'{"stream":"S", "seq":01}',
        b'{"stream":"S", "seq":1_0}',
        b'{"stream":"S", "seq":\xd9\xa1}',
        b'{"stream":"S", "seq":1}}',
        b'{"stream":"S", "seq":1}\0',
        b'{"stream":"S"\x0b"seq":1}',
        b"{'stream':'S', 'seq':1}",
    ],
)
def test_an_acknowledgement_that_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(DeliveryError):
        parse_puback(data)


MESSAGE = {"subject": "h.a", "seq": 1, "data": "aGk=", "time": "2026-01-02T03:04:05.678901234Z"}


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 2},
        {"seq": True},
        {"seq": "1"},
        {"subject": 1},
        {"data": "*"},
        {"data": 7},
        {"data": "é"},
        {"hdrs": "="},
        {"time": "yesterday"},
        {"time": "9999-99-99T99:99:99Z"},
        {"time": 5},
    ],
)
async def test_a_message_that_is_none_is_an_error(stage: Stage, change: dict[str, Any]) -> None:
    class Liar(API):
        async def request(self, what: str, body: Any = None) -> dict[str, Any]:
            return {"message": MESSAGE | change}

    with pytest.raises(DeliveryError):
        await Liar(stage.link).message("S", 1)


async def test_a_message_is_read_as_it_is_kept(stage: Stage) -> None:
    await stage.send(b"\x00\xff", headers={"A": "1", "B": "ü"})
    stored = await stage.api.message("S", 1)

    assert (stored.data, stored.headers) == (b"\x00\xff", [("A", "1"), ("B", "ü")])
    with pytest.raises(DeliveryError) as caught:
        await stage.api.message("S", 2)
    assert caught.value.err_code == 10037


@pytest.mark.parametrize("answer", [{}, {"config": 1}, {"config": {"ack_wait": "x"}}])
async def test_a_consumer_that_is_none_is_an_error(stage: Stage, answer: dict[str, Any]) -> None:
    class Liar(API):
        async def request(self, what: str, body: Any = None) -> dict[str, Any]:
            return answer

    with pytest.raises(XKeyMsgError):
        await find_durable(Liar(stage.link), "S", "d", None)


@pytest.mark.parametrize(
    ("position", "expected"), [({"consumer_seq": 7, "stream_seq": 5}, (7, 5)), (None, (0, 0))]
)
async def test_a_consumer_has_a_position(stage: Stage, position: Any, expected: Any) -> None:
    class Reply(API):
        async def request(self, what: str, body: Any = None) -> dict[str, Any]:
            return {"config": {"ack_policy": "explicit"}, "delivered": position}

    durable = await find_durable(Reply(stage.link), "S", "d", None)
    assert (durable.delivered, durable.sequence) == expected


HUGE = 10**4000


@pytest.mark.parametrize("number", [HUGE, -HUGE, 2**63, -1, 0, True, 1.5, "1", None, [1]])
async def test_a_consumer_of_whatever_numbers_is_one_that_can_be_worked_with(
    stage: Stage, number: Any
) -> None:
    """As numbers of JSON have no end, and those of Python can be too large to divide."""

    class Liar(API):
        async def request(self, what: str, body: Any = None) -> dict[str, Any]:
            names = ("ack_wait", "max_ack_pending", "max_deliver", "max_batch", "max_expires")
            config = dict.fromkeys((*names, "max_bytes"), number)
            return {"config": config | {"ack_policy": "explicit", "backoff": [number, number]}}

    api = Liar(stage.link)
    durable = await find_durable(api, "S", "d", None)
    assert 0 < durable.ack_wait <= 2**63
    pending, deliver = durable.max_ack_pending, durable.max_deliver
    Failures(FailurePolicy(), max_ack_pending=pending, max_deliver=deliver)
    puller = Puller(
        api, "S", "d", prefetch=1, prefetch_bytes=1, expires=1.0, heartbeat=0.5
    )  # fmt: skip
    puller.apply_limits(durable.config)
    await puller.pull(0, 0)


@for_each("name", ["", "a.b", "*", ">", "a b", "a\n", "ä", "a" * 256])
def test_a_name_is_one_token(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_name("stream", name)


@for_each("wrong", [{"ack_wait": 0}, {"max_ack_pending": 0}, {"deliver": "some"}])
def test_a_durable_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        DurableOptions(**wrong)


def test_several_subjects_are_several_filters() -> None:
    assert "filter_subject" not in DurableOptions().config("d")
    assert DurableOptions(filter_subjects=["a"]).config("d")["filter_subject"] == "a"
    assert DurableOptions(filter_subjects=["a", "b"]).config("d")["filter_subjects"] == ["a", "b"]


async def test_the_timeout_of_a_connection_bounds_the_replies_of_jetstream(
    jetstream_server: NATSServer,
) -> None:
    options = ConnectOptions(
        servers=(jetstream_server.url,), jetstream_api_prefix="silent", timeout=3.5
    )
    async with open_link(options) as link:
        await link.subscribe("silent.>")
        with pytest.raises(DeliveryError, match=r"no answer within 3\.5 s"):
            await API(link).request("INFO")


async def test_a_quarantine_that_has_no_room_says_how_much_it_wants() -> None:
    with NATSServer("jetstream { store_dir: '{dir}/js', max_file_store: 256MB }") as server:
        async with open_link(ConnectOptions(servers=(server.url,))) as link:
            with pytest.raises(
                DeliveryError, match=r"XKM_UNPROVEN reserves 1024 MiB.*max_file_store"
            ):
                await create_quarantine(API(link))


def test_a_reason_is_one_short_line() -> None:
    error = {"err_code": 1, "description": "\x1b[2J\n2026 error forged " + "x" * 10_000}
    with pytest.raises(DeliveryError) as caught:
        parse_answer(json.dumps({"error": error}).encode())
    assert str(caught.value).startswith("JetStream refused: ?[2J?2026 error forged x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300

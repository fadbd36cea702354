"""The subject that acknowledges a message is the one source of its position: read strictly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg.client.jetstream.acks import Delivery, nak, parse_ack, term
from xkeymsg.envelope.subject import is_subject

SHORT = b"$JS.ACK.ORDERS.worker.3.42.7.1700000000123456789.5"
LONG = b"$JS.ACK.hub.Xn2mA.ORDERS.worker.3.42.7.1700000000123456789.5"
WANTED = Delivery(b"ORDERS", b"worker", 3, 42, 7, 1700000000123456789)


@for_each("reply", [SHORT, LONG, LONG + b".r4nd0m", LONG.replace(b"hub", b"_")])
def test_both_forms_are_read(reply: bytes) -> None:
    delivery = parse_ack(reply)

    assert delivery == WANTED
    assert delivery.position == ("ORDERS", 42, 1700000000123)


@for_each(
    "reply",
    [
        b"",
        b"$JS.ACK",
        b"_INBOX.abc",
        SHORT + b".1",  # ten tokens are of neither form
        SHORT + b"\n",
        SHORT[:-2],
        b" " + SHORT,
        SHORT.replace(b"ACK", b"ack"),
        SHORT.replace(b".42.", b".-42."),
        SHORT.replace(b".42.", b".+42."),
        SHORT.replace(b".42.", b".4_2."),
        SHORT.replace(b".42.", b". 42."),
        SHORT.replace(b".42.", ".٤٢.".encode()),
        SHORT.replace(b".42.", b".0."),
        SHORT.replace(b".42.", b".042."),
        SHORT.replace(b".3.", b".0."),
        SHORT.replace(b".42.", b"..") + b".1",
        SHORT.replace(b".7.", b".0."),
        SHORT.replace(b".7.", b".07."),
        SHORT.replace(b".7.", b".-7."),
        SHORT.replace(b".7.", b"..") + b".1",
        SHORT.replace(b".7.", b"." + b"9" * 19 + b"."),
        SHORT.replace(b".42.", b"." + b"9" * 19 + b"."),
        SHORT.replace(b".42.", b"." + b"1" * 5000 + b"."),
        SHORT.replace(b"1700000000123456789", b"9" * 19),
        SHORT.replace(b"ORDERS", b""),
        SHORT.replace(b"ORDERS", b"*"),
        SHORT.replace(b"ORDERS", b"a\x0bb"),
        LONG.replace(b"hub", b"h\x7fb"),
        LONG.replace(b"Xn2mA", b"X\x7f"),
        LONG.replace(b"hub", b"h" * 256),
        LONG + b".r\x7f",
        LONG + b"." + b"r" * 256,
        LONG + b".a.b",
        LONG + b".",
    ],
)
def test_nothing_looser_is(reply: bytes) -> None:
    assert parse_ack(reply) is None


@given(st.sampled_from([SHORT, LONG, LONG + b".r"]), st.integers(8, 80), st.binary(max_size=300))
def test_an_accepted_reply_can_be_published_to_as_it_is(reply: bytes, at: int, put: bytes) -> None:
    changed = reply[:at] + put + reply[at:]
    if parse_ack(changed) is not None:
        assert is_subject(changed)
        assert len(changed) < 2000


@given(st.binary(max_size=80))
def test_no_bytes_raise(tail: bytes) -> None:
    parse_ack(tail)
    parse_ack(b"$JS.ACK." + tail)


@given(st.integers(0, len(SHORT) - 1), st.integers(0, 255))
def test_one_changed_byte_never_gives_a_number_that_is_not_there(at: int, byte: int) -> None:
    changed = SHORT[:at] + bytes((byte,)) + SHORT[at + 1 :]
    delivery = parse_ack(changed)

    if delivery is not None:
        tokens = changed.split(b".")
        assert tokens[4:6] == [b"%d" % delivery.delivered, b"%d" % delivery.sequence]
        assert tokens[6:8] == [
            b"%d" % delivery.consumer_sequence,
            b"%d" % delivery.stored_ns,
        ]


def test_answers_are_those_of_the_protocol() -> None:
    assert nak(1.5) == b'-NAK {"delay":1500000000}'
    assert nak(0) == b'-NAK {"delay":1}'  # a delay of 0 would be the consumer's own
    assert term("refused") == b"+TERM refused"

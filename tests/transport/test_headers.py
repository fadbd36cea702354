"""Header blocks: what is encoded is read the same, and any bytes are read without an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.transport.inside import stock_headers
from xkeymsg.errors import MalformedError
from xkeymsg.transport.client import header_size
from xkeymsg.transport.headers import Status, encode_block, parse_block, parse_status

NAMES = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
VALUES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12
).map(lambda text: text.strip(" \t"))


@given(headers=st.dictionaries(NAMES, VALUES, max_size=8))
def test_what_is_encoded_is_read_the_same(headers: dict[str, str]) -> None:
    block = encode_block(headers)

    assert parse_block(block) == list(headers.items())
    assert parse_status(block) is None
    assert len(block) == header_size(headers)


def test_no_headers_are_no_block() -> None:
    assert encode_block({}) == b""
    assert parse_block(b"") == []


def test_the_stock_client_reads_the_same() -> None:
    block = encode_block({"a": "b", "Ä".encode().hex(): "ö"})

    assert stock_headers(block) == {"a": "b", "c384": "ö"}


@for_each(
    "headers",
    [
        *[{"": "x"}, {"a b": "x"}, {"a:": "x"}, {"ä": "x"}, {"a\r\n": "x"}],
        *[{"a": "x\r\ny: z"}, {"a": "x\ny"}, {"a": "x\ry"}, {"a": "\udcff"}],
    ],
)
def test_what_is_no_header_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        encode_block(headers)


@given(block=st.one_of(st.binary(), st.binary().map(lambda data: b"NATS/1.0 503" + data)))
def test_any_bytes_are_read_without_an_error(block: bytes) -> None:
    for name, value in parse_block(block):
        assert name.isascii()
        assert "\r\n" not in value
    parse_status(block)


def test_names_keep_their_case_and_may_repeat() -> None:
    block = (
        b"NATS/1.0\r\na: 1\r\nA:2\r\na:\t3 \r\n b: 4\r\nc\r\nd: \xff\r\n\xff: e\r\nf:g: h\r\n\r\n"
    )

    assert parse_block(block) == [
        ("a", "1"),
        ("A", "2"),
        ("a", "3"),
        ("d", "\udcff"),
        ("f", "g: h"),
    ]


def test_only_so_many_are_looked_at() -> None:
    assert len(parse_block(b"NATS/1.0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n")) == 128


@for_each(
    ("block", "status"),
    [
        (b"NATS/1.0 503\r\n\r\n", Status(503, "")),
        (b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n", Status(100, "Idle Heartbeat")),
        (b"NATS/1.0 404 \xff\r\n\r\n", Status(404, "\udcff")),
        (b"NATS/1.0\r\nStatus: 503\r\n\r\n", None),
        (b"NATS/1.0 50\r\n\r\n", None),
        (b"NATS/1.0 5033\r\n\r\n", None),
        (b"NATS/1.0 \xb2\xb2\xb2\r\n\r\n", None),
        (b"NATS/1.0 503", None),
        (b"HTTP/1.0 503\r\n\r\n", None),
        (b"", None),
    ],
)
def test_a_status_is_read_from_the_first_line_alone(block: bytes, status: Status | None) -> None:
    assert parse_status(block) == status

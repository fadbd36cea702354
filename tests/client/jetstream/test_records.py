"""Quarantine records: a valid one returns from its encoding, and an invalid one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg.client.jetstream.api import Stored
from xkeymsg.client.jetstream.quarantine_records import (
    QuarantineRecord,
    encode_record,
    parse_record,
    record_id,
)
from xkeymsg.errors import MalformedError
from xkeymsg.transport.headers import parse_block

KEY = b"k" * 32
RECORD = QuarantineRecord(
    "ORDERS",
    "billing",
    42,
    1_700_000_000_123,
    b"h.\xff %a",
    "refused",
    b"NATS/1.0\r\na: b\r\n\r\n",
    b"sealed",
)


def stored(record: QuarantineRecord, limit: int = 1 << 20) -> list[Stored]:
    frames = encode_record(record, record_id(KEY, record), "Q", limit)
    return [
        Stored(frame.subject, number, parse_block(frame.headers), frame.data, 0)
        for number, frame in enumerate(frames, 1)
    ]


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_a_record_comes_back_as_it_was(subject: bytes, headers: bytes, data: bytes) -> None:
    record = RECORD._replace(subject=subject, headers=headers, data=data)
    [one] = stored(record)

    assert parse_record(one) == (record, 1, 1)


def test_a_large_block_of_headers_is_left_out() -> None:
    [one] = stored(RECORD._replace(headers=b"NATS/1.0\r\n" + b"a: b\r\n" * 5000))

    assert parse_record(one).record == RECORD._replace(headers=b"")


@for_each("size", [65_000, 65_536, 200_000])
def test_what_is_too_large_with_its_headers_is_kept_in_pieces(size: int) -> None:
    record = RECORD._replace(data=bytes(size))
    frames = encode_record(record, record_id(KEY, record), "Q", 65_536)
    fragments = [parse_record(one) for one in stored(record, 65_536)]

    assert all(len(frame.headers) + len(frame.data) <= 65_536 for frame in frames)
    assert len({frame.subject for frame in frames}) == len(frames)
    assert b"".join(fragment.record.data for fragment in fragments) == record.data
    assert [(f.part, f.parts) for f in fragments] == [
        (number, len(frames)) for number in range(1, len(frames) + 1)
    ]


def test_a_name_is_that_of_one_delivery_place_under_one_key() -> None:
    names = {
        record_id(KEY, RECORD),
        record_id(b"l" * 32, RECORD),
        *(
            record_id(KEY, RECORD._replace(**change))
            for change in (
                {"stream": "OTHER"},
                {"consumer": "other"},
                {"sequence": 43},
                {"stored_ms": 1},
            )
        ),
    }

    assert len(names) == 6
    assert record_id(KEY, RECORD) == record_id(KEY, RECORD._replace(data=b"", reason="handler"))


@for_each(
    ("name", "value"),
    [
        ("Xkm-Stream", "a.b"),
        ("Xkm-Stream", ""),
        ("Xkm-Consumer", "*"),
        ("Xkm-Sequence", "0"),
        ("Xkm-Sequence", "-1"),
        ("Xkm-Sequence", "1" * 5000),
        ("Xkm-Sequence", "٤"),
        ("Xkm-Stored", "1.5"),
        ("Xkm-Reason", "malformed"),
        ("Xkm-Headers", "***"),
        ("Xkm-Headers", "\udcff"),
        ("Xkm-Subject", "\udcff"),
        ("Xkm-Part", "2/1"),
        ("Xkm-Part", "0/1"),
        ("Xkm-Part", "1/100"),
    ],
)
def test_what_is_no_record_is_malformed(name: str, value: str) -> None:
    [one] = stored(RECORD)
    headers = [(n, v) for n, v in one.headers if n != name] + [(name, value)]

    with pytest.raises(MalformedError):
        parse_record(one._replace(headers=headers))


@for_each("name", ["Xkm-Stream", "Xkm-Sequence", "Xkm-Stored", "Xkm-Reason"])
def test_a_record_lacks_nothing_and_says_nothing_twice(name: str) -> None:
    [one] = stored(RECORD)
    [found] = [pair for pair in one.headers if pair[0] == name]

    with pytest.raises(MalformedError):
        parse_record(one._replace(headers=[pair for pair in one.headers if pair != found]))
    with pytest.raises(MalformedError):
        parse_record(one._replace(headers=[*one.headers, found]))


def test_a_record_does_not_show_its_data() -> None:
    assert "sealed" not in repr(RECORD)

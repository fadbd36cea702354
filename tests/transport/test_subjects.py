"""Subjects: what goes onto the wire has one meaning there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.running import DEADLINE
from xkeymsg.errors import MalformedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.subjects import (
    covers,
    encode_pattern,
    encode_subject,
    is_written_pattern,
    is_written_subject,
    overlap,
)

ANY = st.text(st.sampled_from("ab.*> \t\r\n\x00\x0b\x7f\udcffö"), max_size=8)


@given(text=ANY)
def test_whatever_is_encoded_is_one_field_of_a_line(text: str) -> None:
    for encode in (encode_subject, encode_pattern):
        try:
            raw = encode(text)
        except MalformedError:
            continue
        assert raw == text.encode()
        assert raw.split() == [raw]
        assert all(raw.split(b"."))


@given(text=ANY)
def test_a_subject_is_a_pattern(text: str) -> None:
    try:
        raw = encode_subject(text)
    except MalformedError:
        return
    assert encode_pattern(text) == raw
    assert is_written_pattern(text) == is_written_subject(text) == text.isascii()


@for_each("text", ["a", "a.b", "a-b_c.$d.1", "A" * 2000])
def test_this_is_a_subject(text: str) -> None:
    assert encode_subject(text) == text.encode()
    assert is_written_subject(text)
    assert is_written_pattern(text)


@for_each("text", ["*", ">", "a.*", "a.>", "*.*.>", "a.*.b"])
def test_this_is_a_pattern_only(text: str) -> None:
    assert encode_pattern(text) == text.encode()
    assert is_written_pattern(text)
    assert not is_written_subject(text)
    with pytest.raises(MalformedError):
        encode_subject(text)


@for_each("text", ["", ".", "a.", ">.a", "a.>.b", "a b", "a*", "*a", "a>", "A" * 2001])
def test_this_is_neither(text: str) -> None:
    for encode in (encode_subject, encode_pattern):
        with pytest.raises(MalformedError):
            encode(text)


@for_each(
    ("one", "other", "both"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "*.b", True),
        ("a.>", "a.b.c", True),
        (">", "x", True),
        ("a.>", "a", False),
        ("a.*", "a.b.c", False),
        ("a.b", "a.c", False),
        ("a.*.c", "*.b.d", False),
    ],
)
def test_patterns_that_meet(one: str, other: str, both: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == both


TOKENS = st.sampled_from(["a", "b", "*"])
PATTERNS = st.tuples(st.lists(TOKENS, min_size=1, max_size=4), st.booleans()).map(
    lambda each: ".".join([*each[0], *([">"] if each[1] else [])])
)
SUBJECTS = ["a", "b", "a.b", "b.a", "a.a", "a.b.a", "a.b.b", "a.a.a.a", "b.b.b.b.b"]


async def test_patterns_are_those_of_a_server(server: NATSServer) -> None:
    patterns = ["a", "*", ">", "a.*", "a.>", "*.b", "*.b.>", "a.b.*", "*.*.*", "b.*.b.*.>"]
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        subscriptions = {pattern: await link.subscribe(pattern) for pattern in patterns}
        for subject in SUBJECTS:
            await link.publish(subject, b"")
        await link.confirm()
        for pattern, subscription in subscriptions.items():
            got = [
                (await subscription.next(DEADLINE)).subject_text
                for _ in range(subscription.pending)
            ]
            wanted = [each for each in SUBJECTS if covers(pattern, each)]
            assert got == wanted, pattern


@given(PATTERNS, st.sampled_from(SUBJECTS))
def test_a_pattern_by_its_definition(pattern: str, subject: str) -> None:
    def match(wanted: list[str], got: list[str]) -> bool:
        if not wanted or not got:
            return wanted == got
        if wanted == [">"]:
            return True
        return wanted[0] in ("*", got[0]) and match(wanted[1:], got[1:])

    expected = match(pattern.split("."), subject.split("."))
    assert covers(pattern, subject) == expected


@given(PATTERNS, PATTERNS)
def test_what_a_pattern_covers_it_overlaps(one: str, other: str) -> None:
    if covers(one, other):
        assert overlap(one, other)
        assert all(covers(one, each) for each in SUBJECTS if covers(other, each))
    if any(covers(one, each) and covers(other, each) for each in SUBJECTS):
        assert overlap(one, other)

"""Subjects: what goes onto the wire has one meaning there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xkeymsg.errors import MalformedError
from xkeymsg.transport.subjects import (
    encode_pattern,
    encode_subject,
    is_written_pattern,
    is_written_subject,
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


@pytest.mark.parametrize("text", ["a", "a.b", "a-b_c.$d.1", "A" * 2000])
def test_this_is_a_subject(text: str) -> None:
    assert encode_subject(text) == text.encode()
    assert is_written_subject(text)
    assert is_written_pattern(text)


@pytest.mark.parametrize("text", ["*", ">", "a.*", "a.>", "*.*.>", "a.*.b"])
def test_this_is_a_pattern_only(text: str) -> None:
    assert encode_pattern(text) == text.encode()
    assert is_written_pattern(text)
    assert not is_written_subject(text)
    with pytest.raises(MalformedError):
        encode_subject(text)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ">.a", "a.>.b", "a b", "a*", "*a", "a>", "A" * 2001]
)
def test_this_is_neither(text: str) -> None:
    for encode in (encode_subject, encode_pattern):
        with pytest.raises(MalformedError):
            encode(text)

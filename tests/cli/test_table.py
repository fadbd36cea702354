"""Tables hold what comes from outside in its column."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xkeymsg.cli.table import aligned, bare


@given(st.text())
def test_a_word_stays_and_all_else_is_quoted(text: str) -> None:
    shown = bare(text)
    assert shown.isprintable()
    assert shown == text or shown.startswith('"')
    assert len(shown.split()) == 1 or shown.startswith('"')


def test_wide_characters_take_two_columns() -> None:
    assert aligned([["日本", "x"], ["e\u0301", "x"]]) == ["日本  x", "e\u0301     x"]

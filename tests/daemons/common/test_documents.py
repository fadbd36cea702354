"""Documents in JSON: numbers as floats and exactly, and errors that repeat no value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg.daemons.common import documents
from xkeymsg.daemons.common.documents import parse_document, to_json
from xkeymsg.errors import EnvelopeError, LimitExceededError, MalformedError, XKeyMsgError

Loss = tuple[int, str]


@for_each(
    "text",
    [
        '{"a":"Jane Doe","b":1,"b":2}',
        '{"a":"Jane Doe",}',
        '{"a":"Jane Doe","b":NaN}',
        '{"a":"Jane Doe"',
        '["Jane Doe",1e999]',
        '["Jane Doe",1e-999]',
        '"Jane Doe',
        '"Jane Doe" Jane Doe',
        "[" * 100_000 + '"Jane Doe"',
    ],
    ids=lambda text: text[:24],
)
@for_each("exact", [False, True])
def test_an_error_repeats_no_value_of_a_document(text: str, exact: bool) -> None:
    if exact and "1e" in text:
        return
    with pytest.raises(EnvelopeError) as caught:
        parse_document(text.encode(), exact=exact)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "Jane" not in str(seen)
        assert "Jane" not in repr(seen)
        seen = seen.__cause__ or seen.__context__


@for_each(
    ("text", "said"),
    [
        ('{"a": [0, 1e999]}', "/a/1: number too large"),
        ('{"a": [0, -1e999]}', "/a/1: number too large"),
        ('{"a/b": [0, {"c": 1e-400}]}', "/a~1b/1/c: number too small"),
        ('{"a": 123.456e-789}', "/a: number too small"),
        ('{"a": -4.9E-325}', "/a: number too small"),
        ('{"a": 0.' + "0" * 400 + "1}", "/a: number too small"),
        ('{"a": [NaN]}', "/a/0: NaN is not a JSON number"),
        ('{"a": [-Infinity]}', "/a/0: -Infinity is not a JSON number"),
        ('{"a": {"b": 1, "b": 2}}', "/a: duplicate name in an object"),
        ('[{"b": 1, "b": 2}, NaN]', "/0: duplicate name in an object"),
        ('[NaN, {"b": 1, "b": 2}]', "/0: NaN"),
        ("1e999", "the document: number too large"),
    ],
)
def test_a_value_that_is_refused_is_named_by_its_place(text: str, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_document(text.encode())
    assert str(caught.value).startswith(said)


def test_an_integer_with_too_many_digits_is_named_by_its_place() -> None:
    with pytest.raises(LimitExceededError, match=r"^/a: digits of an integer: 4301 exceeds"):
        parse_document(b'{"a": -' + b"9" * 4301 + b"}")


@for_each("text", ["1e400", "1e-400", "-4.9e-325", "1.0e7000"])
def test_exact_numbers_have_no_bounds_of_floats(text: str) -> None:
    assert parse_document(text.encode(), exact=True) == Decimal(text)


@pytest.mark.parametrize("text", ["1e99999999999999999999", "1e-99999999999999999999"])
def test_an_exponent_beyond_all_decimals_is_refused(text: str) -> None:
    with pytest.raises(XKeyMsgError, match=r"^/0: .* exponent out of range"):
        parse_document(f"[{text}]".encode(), exact=True)


# --- digits ---------------------------------------------------------------------------------------


def losses(text: str, *, exact: bool = False) -> list[Loss]:
    found: list[Loss] = []
    parse_document(
        text.encode(), exact=exact, on_loss=lambda count, first: found.append((count, first()))
    )
    return found


@for_each(
    "number",
    [
        "1.00",
        "12500.00",
        "0.1234567890123456789",
        "1.000000000000000000E-245",
        "-65.613616999999977",
        "4.9e-324",
        "9007199254740993.0",
        "0.00",
        "0e-99999999999999999999",
    ],
)
def test_a_number_whose_digits_change_is_counted_with_its_place(number: str) -> None:
    assert losses(f'{{"a": [1, {{"b": {number}}}]}}') == [(1, "/a/1/b")]
    assert losses(number) == [(1, "the document")]


@for_each(
    "number",
    ["1", "1.0", "-0.0", "0.1", "1e5", "1E5", "12e-1", "0.0000001", "1e-7", "5e-324", "1" * 400],
)
def test_a_number_that_keeps_its_digits_is_not_counted(number: str) -> None:
    assert losses(f"[{number}]") == []


def test_all_are_counted_and_the_first_is_named() -> None:
    assert losses('{"a": 1.5, "b": [1.50, 2.50], "c": {"d": 3.50}}') == [(3, "/b/0")]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_a_float_prints_is_never_a_loss(value: float) -> None:
    assert losses(json.dumps(value)) == []


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


@given(NUMBERS)
def test_a_float_is_the_number_or_is_reported_or_refused(text: str) -> None:
    found: list[Loss] = []
    try:
        value = parse_document(
            text.encode(), on_loss=lambda count, first: found.append((count, first()))
        )
    except MalformedError:
        return
    assert found or Decimal(str(value)) == Decimal(text)


@given(NUMBERS)
def test_exact_numbers_go_through_with_all_their_digits(text: str) -> None:
    value = parse_document(f'{{"n": [{text}]}}'.encode(), exact=True)
    [number] = value["n"]
    is_integer = set(text) <= set("-0123456789")
    assert type(number) is (int if is_integer else Decimal)
    assert losses(text, exact=True) == []
    again = to_json(value).removeprefix('{"n": [').removesuffix("]}\n")
    assert Decimal(again).as_tuple() == Decimal(text).as_tuple() or is_integer
    json.loads(again)


def test_every_fraction_is_a_decimal_so_that_they_can_be_added() -> None:
    assert sum(parse_document(b"[1.50, 2.5, 1e2]", exact=True)) == Decimal("104.00")


# --- out ------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.integers() | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=None),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(VALUES, st.booleans(), st.booleans())
def test_decimals_are_numbers_and_nothing_else_changes(
    value: Any, pretty: bool, ascii_only: bool
) -> None:
    text = to_json(value, pretty=pretty, ascii_only=ascii_only)
    again = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert plain(again) == plain(value)


def plain(value: Any) -> Any:
    """A document whose numbers are tuples of sign, digits and exponent."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return Decimal(value).as_tuple() if isinstance(value, int | Decimal) else value


@for_each(
    ("number", "text"),
    [("12.50", "12.50"), ("1E-7", "1E-7"), ("0.0000001", "1E-7"), ("-0", "-0"), ("1E+3", "1E+3")],
)
def test_a_decimal_is_printed_with_its_digits(number: str, text: str) -> None:
    assert to_json({"a": Decimal(number)}) == f'{{"a": {text}}}\n'


def test_what_stands_for_a_decimal_while_it_is_written_cannot_be_guessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a text that a sender chose would become a number, or anything else."""
    drawn: list[bytes] = []

    def draw(size: int) -> bytes:
        drawn.append(bytes((len(drawn),)) * size)
        return drawn[-1]

    monkeypatch.setattr(documents, "random_bytes", draw)
    for _ in range(2):
        assert to_json([Decimal(1), "00" * 15, Decimal(2)]) == f'[1, "{"00" * 15}", 2]\n'
    assert to_json(["no number"]) == '["no number"]\n'
    assert [len(each) for each in drawn] == [16, 16]

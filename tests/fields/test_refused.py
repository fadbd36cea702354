"""Documents that are refused before anything is sealed."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, CAROL
from tests.fields.people import ALL, seal, view
from xkeymsg import (
    WITHHELD,
    LimitExceededError,
    Limits,
    MalformedError,
    Policy,
    Recipient,
    Sealer,
)


class Odd(IntEnum):
    ONE = 1


class Hostile:
    def __bool__(self) -> bool:
        raise RuntimeError("asked")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("asked")

    __hash__ = None  # type: ignore[assignment]


@for_each("place", ["{}", '{{"a": [0, {}]}}', "[{}]"])
@for_each(
    "value",
    [
        float("nan"), float("inf"), -float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Inf"),
        "\ud800", "a\udfff", {"\udc00": 1}, {1: 2}, {None: 1}, {b"a": 1}, {"a": 1, True: 2},
        {1, 2}, frozenset(), (1, 2), (), bytearray(b"a"), memoryview(b"a"), object(), Hostile(),
        1j, date(2026, 1, 1), timedelta(1), Odd.ONE, OrderedDict(a=1), UserDict(a=1), WITHHELD, ...,
        datetime(2026, 1, 1),  # noqa: DTZ001 - no offset
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
        type("Text", (str,), {})("a"), range(3), iter([]), int,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_document_cannot_hold_is_refused(place: str, value: Any) -> None:
    """F-2, F-3, F-4"""
    document = {"{}": value, "[{}]": [value]}.get(place, {"a": [0, value]})
    for policy in (ALL, Policy([("/a/1/x", ["all"]), ("/0/x", ["all"]), ("/**", ["all"])])):
        with pytest.raises(MalformedError) as caught:
            seal(document, policy)
        assert caught.value.code == "malformed"


@for_each(
    "value",
    [10**4300, -(10**4300), 1 << 100_000, Decimal(10**4300), Decimal("1E6177"), Decimal("1E-6177"),
     Decimal("0E+6177")],
    ids=str(type).format,
)  # fmt: skip
def test_numbers_that_are_too_long_are_refused(value: Any) -> None:
    """F-5"""
    with pytest.raises(LimitExceededError):
        seal({"a": value})


def nested(depth: int) -> Any:
    document: Any = 1
    for number in range(depth):
        document = {"a": document} if number % 2 else [document]
    return document


def test_depth_is_limited() -> None:
    """F-6, F-23: a cycle is too deep."""
    assert view(BOB, seal(nested(32))) == nested(32)
    circle: dict[str, Any] = {"b": 1}
    circle["a"] = [circle]
    for document in (nested(33), nested(900), circle):
        for policy in (ALL, Policy([("/a/0/b", ["all"]), ("/**", ["all"])])):
            with pytest.raises(LimitExceededError, match="depth"):
                seal(document, policy)


def test_size_is_limited() -> None:
    """F-6: as a reader of everything counts, and holes as each reader counts."""
    small = Sealer(ALICE, limits=Limits(nodes=20, fields=3, holes=2))
    tell = Policy([("/a/*", ["all"]), ("/b/*", ["all", "b"]), ("/**", ["b"])])
    readers = {"all": [BOB.public], "b": [CAROL.public]}
    with pytest.raises(LimitExceededError, match="number of values"):
        seal([0] * 20, sealer=small)
    with pytest.raises(LimitExceededError, match="number of fields"):
        seal({"a": [1], "b": [2], "c": 3, "d": 4}, tell, readers, small)
    with pytest.raises(LimitExceededError, match="withheld list positions"):
        seal([1, 2, 3, 4], Policy([("/3", ["all"]), ("/**", ["b"])]), readers, Sealer(
            ALICE, limits=Limits(holes=2)))  # fmt: skip


def test_holes_of_one_key_under_two_names_are_counted_together() -> None:
    """F-6, E-28: a key and a recipient without user are one."""
    policy = Policy([("/a/2", ["x"]), ("/b/2", ["y"]), ("/**", ["z"])])
    readers = {"x": [BOB.public], "y": [Recipient(BOB.public)], "z": [CAROL.public]}
    document = {"a": [0, 0, 1], "b": [0, 0, 1]}
    with pytest.raises(LimitExceededError, match="withheld list positions"):
        seal(document, policy, readers, Sealer(ALICE, limits=Limits(holes=3)))
    envelope = seal(document, policy, readers, Sealer(ALICE, limits=Limits(holes=4)))
    assert view(BOB, envelope) == {"a": [WITHHELD, WITHHELD, 1], "b": [WITHHELD, WITHHELD, 1]}

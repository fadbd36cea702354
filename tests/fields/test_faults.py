"""`faults` explains a refusal; `splitting` refuses by itself, whatever is found there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from xkeymsg import EnvelopeError, Limits, Policy, PolicyError
from xkeymsg.fields import split as splitting

LIMITS = Limits(depth=4, nodes=1000)
EVERYTHING = Policy([("/**", ["p"])])
IN_PIECES = Policy([("/a", ["p"]), ("/b/*/c", ["q"]), ("/b/*", ["q"]), ("/**", ["p", "q"])])


class Text(str):
    """A subclass of a type that documents can hold."""

    __slots__ = ()


BAD: dict[str, Any] = {
    "a date": date(2026, 1, 1),
    "a time without an offset": datetime(2026, 1, 1),  # noqa: DTZ001
    "a set": {1},
    "a tuple": (1,),
    "a subclass of str": Text("x"),
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a Decimal that is not finite": Decimal("NaN"),
    "an integer of too many digits": 10**4300,
    "a lone surrogate": "\ud800",
    "a name with a lone surrogate": {"\ud800": 1},
    "a name that is not text": {1: 1},
    "a name that is not text beside one that is": {"a": 1, b"b": 1},
    "too deep": [[[[[1]]]]],
    "too many values": [0] * 1001,
}


def silent(_document: Any, _limits: Limits) -> None:
    """Find no fault."""


@pytest.mark.parametrize("place", [lambda x: x, lambda x: {"a": 1, "b": [x]}, lambda x: {"a": [x]}])
@pytest.mark.parametrize("policy", [EVERYTHING, IN_PIECES])
@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_a_bad_document_is_refused_even_if_no_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, value: Any, policy: Policy, place: Callable[[Any], Any]
) -> None:
    with pytest.raises(EnvelopeError):
        splitting.split(place(value), policy, LIMITS)
    monkeypatch.setattr(splitting, "check", silent)
    monkeypatch.setattr(Policy, "walk", lambda *_: iter(()))
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever it is, nothing is sealed
        splitting.split(place(value), policy, LIMITS)


def test_a_denied_field_is_refused_even_if_it_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy([("/a", ["p"])])
    with pytest.raises(PolicyError, match="no rule for /b/0"):
        splitting.split({"a": 1, "b": [1]}, policy, LIMITS)
    monkeypatch.setattr(Policy, "walk", lambda *_: iter(()))
    with pytest.raises(EnvelopeError):
        splitting.split({"a": 1, "b": [1]}, policy, LIMITS)

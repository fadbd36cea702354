"""Many cases in one test: a test for each would cost more than what it does."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, wraps
from typing import Any, Final, TypeVar

import pytest

__all__ = ("Lazily", "check_each", "for_each")

_C = TypeVar("_C")
_V_co = TypeVar("_V_co", covariant=True)
_SHOWN: Final = 5
_PARAM: Final = type(pytest.param())


class Lazily(Mapping[str, _V_co]):
    """Values by names: the names are known at once, and a value is made at its first use."""

    def __init__(self, names: Iterable[str], make: Callable[[str], _V_co]) -> None:
        self._names = dict.fromkeys(names)
        self._make = cache(make)

    def __getitem__(self, name: str) -> _V_co:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _name(case: object) -> str:
    return str(getattr(case, "name", case))


def check_each(
    cases: Iterable[_C], check: Callable[[_C], None], name: Callable[[_C], str] = _name
) -> None:
    """Check all cases; fail with the name of each that does not hold, and the first tracebacks."""
    failed: list[tuple[str, BaseException]] = []
    for case in cases:
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever it is
            failed.append((name(case), error))
    if failed:
        told = "\n".join(f"{case}: {error!r}" for case, error in failed)
        shown = BaseExceptionGroup("the first of them", [error for _, error in failed[:_SHOWN]])
        raise AssertionError(told) from shown


def for_each(
    names: str | Sequence[str],
    cases: Iterable[Any],
    ids: Iterable[object] | Callable[[Any], Any] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `pytest.mark.parametrize`, but one test checks all cases.

    Cases share the fixtures of the test: it should have none that a case could change.
    """
    parameters = [each.strip() for each in names.split(",")] if isinstance(names, str) else names
    known = [] if ids is None or callable(ids) else list(ids)

    def parse(case: Any) -> tuple[Any, ...]:
        if isinstance(case, _PARAM):
            assert not case.marks, "a case with marks is a test of its own"
            return tuple(case.values)
        return tuple(case) if len(parameters) > 1 else (case,)

    def name(number: int) -> str:
        if known or isinstance(given[number], _PARAM):
            return str(known[number] if known else given[number].id)
        return ", ".join(map(ids if callable(ids) else reprlib.repr, parse(given[number])))

    given = list(cases)
    assert given, "no cases"
    parsed = [dict(zip(parameters, parse(case), strict=True)) for case in given]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        assert not inspect.iscoroutinefunction(function), "nobody would await it"

        @wraps(function)
        def check_all(**fixtures: Any) -> None:
            numbers = range(len(parsed))
            check_each(numbers, lambda number: function(**parsed[number], **fixtures), name)

        signature = inspect.signature(function)
        left = [each for each in signature.parameters.values() if each.name not in parameters]
        del check_all.__dict__["__wrapped__"]  # or pytest looks for the parameters of cases
        check_all.__dict__["__signature__"] = signature.replace(parameters=left)
        return check_all

    return decorate

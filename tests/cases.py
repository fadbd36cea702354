"""Many cases in one test: a test for each would cost more than what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Final, TypeVar

import pytest

__all__ = ("Lazily", "check_each")

_C = TypeVar("_C")
_V_co = TypeVar("_V_co", covariant=True)
_SHOWN: Final = 5


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

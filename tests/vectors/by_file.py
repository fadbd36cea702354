"""One test for each file of cases: a test for each vector would cost more than what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Named(Protocol):
    """A vector of either kind."""

    @property
    def name(self) -> str:
        """Its name, which no other has."""


_V = TypeVar("_V", bound=Named)


def by_file(vectors: Iterable[_V], file_of: Callable[[str], str]) -> dict[str, list[_V]]:
    """Return vectors by the name of the file that has their cases."""
    files: dict[str, list[_V]] = {}
    for vector in vectors:
        files.setdefault(file_of(vector.name), []).append(vector)
    return files


def check_each(vectors: Iterable[_V], check: Callable[[_V], None]) -> None:
    """Check vectors, all of them, and fail with the name of each that does not hold."""
    failed = []
    for vector in vectors:
        try:
            check(vector)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            failed.append((vector.name, error))
    assert not failed, "\n".join(f"{name}: {error!r}" for name, error in failed)

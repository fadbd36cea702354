"""Vectors by the files of their cases."""

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

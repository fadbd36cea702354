"""Searches a server's disk for given texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WINDOW = 8
"""Least length of a text in bytes: shorter ones occur by chance."""


class Found(NamedTuple):
    """The result of a search."""

    size: int
    """Number of bytes searched."""
    texts: dict[str, int]
    """The texts that were found, with the number of occurrences."""


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a document that is long enough, except resource types."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "resourceType":  # it is in the subject, which is public
                yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str) and len(value.encode()) >= WINDOW:
        yield value


def search(folder: Path, wanted: Iterable[str]) -> Found:
    """Search every file below a folder for many texts at once."""
    starting: dict[bytes, list[bytes]] = {}
    for text in set(wanted):
        needle = text.encode()
        starting.setdefault(needle[:WINDOW], []).append(needle)
    found: dict[str, int] = {}
    size = 0
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # a running program has removed it
            continue
        size += len(data)
        for at in range(len(data) - WINDOW + 1):
            for needle in starting.get(data[at : at + WINDOW], ()):
                if data.startswith(needle, at):
                    text = needle.decode()
                    found[text] = found.get(text, 0) + 1
    return Found(size, found)

"""Searches a server's disk for what should not be there, and for what should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WINDOW = 8
"""Bytes that a text has at least to be searched for: shorter ones turn up in noise."""


class Found(NamedTuple):
    """What a search has come to."""

    files: int
    size: int
    """Bytes that were searched."""
    texts: dict[str, int]
    """What was found, and how often."""


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a document that is long enough; what stands for types is none."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "resourceType":  # it is in the subject, which everybody sees
                yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str) and len(value.encode()) >= WINDOW:
        yield value


def search(folder: Path, wanted: Iterable[str]) -> Found:
    """Search every byte of every file below a folder for every one of many texts."""
    starting: dict[bytes, list[bytes]] = {}
    for text in set(wanted):
        needle = text.encode()
        starting.setdefault(needle[:WINDOW], []).append(needle)
    found: dict[str, int] = {}
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = 0
    for path in files:
        data = path.read_bytes()
        size += len(data)
        for at in range(len(data) - WINDOW + 1):
            for needle in starting.get(data[at : at + WINDOW], ()):
                if data.startswith(needle, at):
                    text = needle.decode()
                    found[text] = found.get(text, 0) + 1
    return Found(len(files), size, found)

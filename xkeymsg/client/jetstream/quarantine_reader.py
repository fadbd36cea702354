"""Reading quarantine streams: reassembles records, and tolerates anything else in the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.client.jetstream.quarantine_records import Fragment, QuarantineRecord, parse_record
from xkeymsg.errors import DeliveryError, MalformedError

__all__ = ("Entry", "drop", "entries", "entry_at")

_OPEN: Final = 16
"""Limit of incomplete records held while reading."""


class Entry(NamedTuple):
    """An entry of a quarantine stream."""

    number: int
    """The stream sequence of its first fragment."""
    places: tuple[int, ...]
    """The stream sequences of all its fragments."""
    kept_ms: int
    """When it was stored, in milliseconds since 1970."""
    record: QuarantineRecord | None
    """The record; None if it is invalid, or a fragment is missing."""


class _Pieces:
    """The fragments of a record read so far."""

    def __init__(self) -> None:
        self.stored: dict[int, Stored] = {}
        self.record: QuarantineRecord | None = None
        self.count = 0

    def add(self, fragment: Fragment, stored: Stored) -> None:
        self.record, self.count = fragment.record, fragment.parts
        self.stored[fragment.part] = stored

    def entry(self) -> Entry:
        """Return the entry of these fragments."""
        places = sorted(each.sequence for each in self.stored.values())
        whole = set(self.stored) == set(range(1, self.count + 1))
        record = None
        if whole and self.record is not None:
            data = b"".join(self.stored[part].data for part in range(1, self.count + 1))
            record = self.record._replace(data=data)
        first = min(self.stored.values(), key=lambda each: each.sequence)
        return Entry(places[0], tuple(places), first.stored_ms, record)


async def entries(
    api: API, stream: str, *, start: int = 1, subject: str | None = None
) -> AsyncIterator[Entry]:
    """Yield the entries of a quarantine stream from a sequence on.

    Raises:
        DeliveryError: If it does not exist, or may not be read.
    """
    pieces: dict[str, _Pieces] = {}
    sequence = start
    while True:
        stored = await api.next_message(stream, sequence, subject or f"{stream}.>")
        if stored is None:
            break
        sequence = stored.sequence + 1
        try:
            fragment = parse_record(stored)
        except MalformedError:
            yield Entry(stored.sequence, (stored.sequence,), stored.stored_ms, None)
            continue
        if fragment.parts == 1:
            place = stored.sequence
            yield Entry(place, (place,), stored.stored_ms, fragment.record)
            continue
        stem = stored.subject.rpartition(".")[0]
        group = pieces.setdefault(stem, _Pieces())
        group.add(fragment, stored)
        if len(group.stored) == fragment.parts:
            yield pieces.pop(stem).entry()
        elif len(pieces) > _OPEN:
            yield pieces.pop(next(iter(pieces))).entry()
    for group in pieces.values():
        yield group.entry()


async def entry_at(api: API, stream: str, number: int) -> Entry:
    """Return the entry whose first fragment has a sequence.

    Raises:
        DeliveryError: If it does not exist, or may not be read.
    """
    stored = await api.message(stream, number)
    try:
        several = parse_record(stored).parts > 1
    except MalformedError:
        several = False
    subject = f"{stored.subject.rpartition('.')[0]}.*" if several else stored.subject
    try:
        async for entry in entries(api, stream, start=number, subject=subject):
            return entry
    except MalformedError:  # the subject cannot be requested
        pass
    raise DeliveryError(f"no entry at {number}")


async def drop(api: API, stream: str, entry: Entry) -> None:
    """Delete an entry, its last fragment first, so that a remaining part shows as incomplete.

    Raises:
        DeliveryError: If it may not be deleted.
    """
    for place in reversed(entry.places):
        await api.delete_message(stream, place)

"""Reading a quarantine: its records, whole ones, whatever else somebody has put there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.client.jetstream.quarantine_records import Fragment, QuarantineRecord, parse_record
from xkeymsg.errors import DeliveryError, MalformedError

__all__ = ("Entry", "drop", "entries", "entry_at")

_OPEN: Final = 16
"""Records in pieces that are put together at a time."""


class Entry(NamedTuple):
    """What stands in a quarantine."""

    number: int
    """Its place there: that of its first piece."""
    places: tuple[int, ...]
    """The places of all its pieces."""
    kept_ms: int
    """When it was put there, in milliseconds since 1970."""
    record: QuarantineRecord | None
    """What it holds; None if it is no record, or a piece is missing."""


class _Pieces:
    """A record of which some pieces have come."""

    def __init__(self) -> None:
        self.stored: dict[int, Stored] = {}
        self.record: QuarantineRecord | None = None
        self.count = 0

    def add(self, fragment: Fragment, stored: Stored) -> None:
        self.record, self.count = fragment.record, fragment.parts
        self.stored[fragment.part] = stored

    def entry(self) -> Entry:
        """Return what there is of it."""
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
    """Yield what stands in a quarantine stream, from a place on.

    Raises:
        DeliveryError: If it is not there, or may not be read.
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
    """Return the entry whose first piece is at a place.

    Raises:
        DeliveryError: If there is none, or it may not be read.
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
    except MalformedError:  # a subject that cannot be asked for
        pass
    raise DeliveryError(f"nothing stands at {number} any more")


async def drop(api: API, stream: str, entry: Entry) -> None:
    """Delete an entry, the last piece first: what is left of it shows that it is not whole.

    Raises:
        DeliveryError: If it may not be deleted.
    """
    for place in reversed(entry.places):
        await api.delete_message(stream, place)

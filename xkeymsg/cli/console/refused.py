"""The newest messages in quarantine: where they come from, and what anyone can see of them.

Only receivers should be able to publish records; but nothing here is verified, and the message in a
record may be a stranger's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.seen import SeenSenders, look_at
from xkeymsg.cli.console.untrusted import minutes_ahead, number_in, table_in, time_in
from xkeymsg.client.jetstream.api import API, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND, Stored
from xkeymsg.client.jetstream.quarantine_records import parse_record
from xkeymsg.envelope.head import from_milliseconds
from xkeymsg.errors import DeliveryError, MalformedError, XKeyMsgError
from xkeymsg.keys import XKey

__all__ = ("QuarantineState", "Quarantines", "RefusedMessage")

_EVERY: Final = 3.0
"""Seconds between two rounds."""
_MOST: Final = 100
"""The newest records of a stream that are kept."""
_REQUESTS: Final = 200
"""Requests in a round: sequences may be gone."""
_BYTES: Final = 16 << 20
"""Bytes of records in a round; a single larger one is still read."""


class RefusedMessage(NamedTuple):
    """A record in quarantine."""

    number: int
    """Its sequence, as in `xkeymsg quarantine show`."""
    kept: datetime
    reason: str
    """`undecryptable`, `refused` or `handler`; empty if it is not a valid record."""
    stream: str = ""
    durable: str = ""
    sequence: int = 0
    subject: str = ""
    """On the wire."""
    part: str = ""
    """Of a message in several records: `2 of 3`."""
    size: int = 0
    """Bytes."""
    form: str = ""
    sender: XKey | None = None
    """As the message says."""
    created: datetime | None = None
    """As the message says."""
    recipients: int = 0
    is_signed: bool = False


class QuarantineState(NamedTuple):
    """A quarantine stream, and its newest records."""

    name: str
    is_proven: bool
    messages: int = 0
    last: int = 0
    """The last sequence."""
    oldest: datetime | None = None
    newest: tuple[RefusedMessage, ...] = ()
    """The newest first."""
    problem: str = ""
    """Why it cannot be read."""
    is_missing: bool = False
    """Whether there is no such stream."""
    made: datetime | None = None
    """When the stream was made."""
    minutes_ahead: int = 0
    """By how many minutes the server's clock is ahead of ours."""
    read: datetime | None = None
    """With `problem`: when it was read last."""

    @property
    def is_known(self) -> bool:
        """Whether it is known what the stream holds."""
        is_read = self.made is not None and not self.problem
        return self.is_missing or (is_read and not (self.messages and self.oldest is None))


class Quarantines:
    """Reads the newest records of both quarantine streams, repeatedly.

    Args:
        api: The JetStream API client.
        unproven: The stream of unauthenticated messages.
        proven: The stream of authenticated messages.
        seen: Is notified of senders.
        changes: Is notified of changes of the pages with senders or quarantines.
    """

    def __init__(
        self, api: API, unproven: str, proven: str, seen: SeenSenders, changes: Changes
    ) -> None:
        self._api, self._seen, self._changes = api, seen, changes
        self.states = [QuarantineState(proven, True), QuarantineState(unproven, False)]
        self.has_asked = False
        self._read_at: dict[str, datetime] = {}

    @property
    def by_sender(self) -> list[tuple[XKey | None, str, str, int]]:
        """The newest records by sender, reason and durable, with their number."""
        counts = Counter(
            (each.sender, each.reason, f"{each.stream} {each.durable}")
            for state in self.states
            for each in state.newest
        )
        return [(*key, count) for key, count in counts.most_common(_MOST)]

    @property
    def is_whole(self) -> bool:
        """Whether both streams were read, and are still."""
        return all(each.is_known for each in self.states)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            before = list(self.states)
            for at, state in enumerate(before):
                try:
                    self.states[at] = await self._read(state)
                    self._read_at[state.name] = datetime.now(UTC)
                except XKeyMsgError as error:
                    self.states[at] = self._failed(state, error)
            was_asked, self.has_asked = self.has_asked, True
            if self.states != before or not was_asked:
                for page in ("/fleet", "/refused", "/rotation"):
                    self._changes.note(page)
            await asyncio.sleep(_EVERY)

    def _failed(self, before: QuarantineState, error: XKeyMsgError) -> QuarantineState:
        if isinstance(error, DeliveryError) and error.err_code == STREAM_NOT_FOUND:
            problem = "there is no such stream: `xkeymsg quarantine init` makes it"
            return QuarantineState(before.name, before.is_proven, problem=problem, is_missing=True)
        read = self._read_at.get(before.name)
        return before._replace(problem=str(error)[:300], read=read)

    async def _read(self, before: QuarantineState) -> QuarantineState:
        info = await self._api.request(f"STREAM.INFO.{before.name}")
        state = table_in(info, "state")
        messages, last = number_in(state, "messages"), number_in(state, "last_seq")
        first = number_in(state, "first_seq")
        made = time_in(info, "created")
        found = QuarantineState(
            before.name, before.is_proven, messages, last, time_in(state, "first_ts"),
            minutes_ahead=minutes_ahead(info), made=made,
        )  # fmt: skip
        known = {each.number: each for each in before.newest}
        # If records were deleted, it is not known which.
        is_less = messages < before.messages + last - before.last
        if is_less or made != before.made or last < before.last:
            known = {}
        newest: list[RefusedMessage] = []
        left = _BYTES
        sequence, oldest = last, max(first, last - _REQUESTS + 1)
        while messages and sequence >= oldest and len(newest) < _MOST and left > 0:
            record = known.get(sequence)
            if record is None and (stored := await self._fetch(before.name, sequence)):
                record = self._summary(stored)
                left -= len(stored.data)
            if record is not None:
                newest.append(record)
            sequence -= 1
        return found._replace(newest=tuple(newest))

    async def _fetch(self, stream: str, sequence: int) -> Stored | None:
        try:
            return await self._api.message(stream, sequence)
        except DeliveryError as error:
            if error.err_code == MESSAGE_NOT_FOUND:
                return None
            raise

    def _summary(self, stored: Stored) -> RefusedMessage:
        kept = from_milliseconds(stored.stored_ms)
        try:
            fragment = parse_record(stored)
        except MalformedError:
            return RefusedMessage(stored.sequence, kept, "", size=len(stored.data))
        record = fragment.record
        is_whole = fragment.parts == 1
        # Only the first part has the head of a message.
        look = look_at(record.data, is_whole=is_whole) if fragment.part == 1 else look_at(b"")
        seen = look.inspection
        if seen is not None:
            self._seen.note(seen, record.stream)
        return RefusedMessage(
            number=stored.sequence,
            kept=kept,
            reason=record.reason,
            stream=record.stream,
            durable=record.consumer,
            sequence=record.sequence,
            subject=record.subject[:256].decode("utf-8", "backslashreplace"),
            part="" if is_whole else f"{fragment.part} of {fragment.parts}",
            size=len(record.data),
            form=look.form,
            sender=look.sender,
            created=None if seen is None else seen.created,
            recipients=0 if seen is None else len(seen.tags),
            is_signed=seen is not None and seen.signed,
        )

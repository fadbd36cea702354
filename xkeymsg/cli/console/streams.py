"""Samples stored messages: is anything on a protected subject not sealed, and what is pending?

A message that is not sealed passes through this process, and is forgotten after a look at its first
bytes: no page shows anything of it but its subject and its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.seen import SeenSenders, look_at
from xkeymsg.cli.console.untrusted import (
    items_in,
    minutes_ahead,
    number_in,
    table_in,
    text_in,
    time_in,
)
from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.envelope.head import from_milliseconds
from xkeymsg.errors import XKeyMsgError

__all__ = ("ConsumerState", "Sample", "SampledStream", "Streams")

_EVERY: Final = 5.0
"""Seconds between two rounds."""
_NEW, _OLD = 8, 8
"""Messages of a stream that a round reads: the newest, and some of the others."""
_MOST: Final = 256
"""Samples of a stream that are kept."""
_MOST_EXPOSED: Final = 20
_MOST_CONSUMERS: Final = 50
_BYTES: Final = 16 << 20
"""Bytes of messages in a round; a single larger one is still read."""


class Sample(NamedTuple):
    """The verdict on a stored message."""

    sequence: int
    subject: str
    at: datetime
    form: str
    """`xkm1`, `xkv1`, or empty if it is not sealed."""
    is_protected: bool
    """Whether its subject is one of the protected."""

    @property
    def is_exposed(self) -> bool:
        """Whether it should be sealed, and is not."""
        return self.is_protected and not self.form


class ConsumerState(NamedTuple):
    """A consumer of a stream."""

    name: str
    pending: int
    unacknowledged: int
    redelivered: int


class SampledStream(NamedTuple):
    """A stream, and the samples of it."""

    name: str
    messages: int = 0
    size: int = 0
    """Bytes."""
    first: int = 0
    last: int = 0
    """Sequences."""
    oldest: datetime | None = None
    """When the first message was stored."""
    consumers: tuple[ConsumerState, ...] = ()
    more_consumers: int = 0
    samples: tuple[Sample, ...] = ()
    exposed: tuple[Sample, ...] = ()
    """Those that should be sealed, and are not, the newest first; also of earlier samples."""
    made: datetime | None = None
    """When the stream was made."""
    minutes_ahead: int = 0
    """By how many minutes the server's clock is ahead of ours."""
    problem: str = ""
    """Why it could not be read."""
    read: datetime | None = None
    """With `problem`: when it was read last."""

    @property
    def is_known(self) -> bool:
        """Whether it is known since when the stream holds messages."""
        is_read = self.made is not None and not self.problem
        return is_read and not (self.messages and self.oldest is None)

    @property
    def protected(self) -> int:
        """The number of samples on protected subjects."""
        return sum(each.is_protected for each in self.samples)

    @property
    def share(self) -> float:
        """Which part of the samples on protected subjects is not sealed."""
        exposed = sum(each.is_exposed for each in self.samples)
        return exposed / self.protected if self.protected else 0.0


class Streams:
    """Samples the configured streams, repeatedly.

    Args:
        api: The JetStream API client.
        names: The streams.
        is_protected: Returns whether a message on a subject should be sealed.
        seen: Is notified of senders.
        changes: Is notified of changes of the pages with senders or streams.
    """

    def __init__(
        self,
        api: API,
        names: Iterable[str],
        is_protected: Callable[[str], bool],
        seen: SeenSenders,
        changes: Changes,
    ) -> None:
        self._api = api
        self._is_protected = is_protected
        self._seen, self._changes = seen, changes
        self.states = {name: SampledStream(name) for name in names}
        self._next = dict.fromkeys(self.states, 0)
        self._read_at: dict[str, datetime] = {}
        self.has_asked = False

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            before = dict(self.states)
            for name in self.states:
                try:
                    self.states[name] = await self._look(self.states[name])
                    self._read_at[name] = datetime.now(UTC)
                except XKeyMsgError as error:
                    read = self._read_at.get(name)
                    failed = self.states[name]._replace(problem=str(error)[:300], read=read)
                    self.states[name] = failed
            was_asked, self.has_asked = self.has_asked, True
            if self.states != before or not was_asked:
                for page in ("/fleet", "/rotation", "/streams"):
                    self._changes.note(page)
            await asyncio.sleep(_EVERY)

    async def _look(self, before: SampledStream) -> SampledStream:
        info = await self._api.request(f"STREAM.INFO.{before.name}")
        state = table_in(info, "state")
        made, last = time_in(info, "created"), number_in(state, "last_seq")
        if made != before.made or last < before.last:  # another stream: its sequences begin again
            before, self._next[before.name] = SampledStream(before.name), 0
        consumers, more = await self._consumers(before.name)
        found = before._replace(
            messages=number_in(state, "messages"),
            size=number_in(state, "bytes"),
            first=number_in(state, "first_seq"),
            last=last,
            oldest=time_in(state, "first_ts"),
            consumers=consumers,
            more_consumers=more,
            made=made,
            minutes_ahead=minutes_ahead(info),
            problem="",
            read=None,
        )
        kept = {each.sequence: each for each in before.samples if each.sequence >= found.first}
        exposed = {each.sequence: each for each in before.exposed if each.sequence >= found.first}
        if found.messages:
            await self._sample(found, kept)
        exposed |= {each.sequence: each for each in kept.values() if each.is_exposed}
        newest = sorted(exposed.values(), reverse=True)[:_MOST_EXPOSED]
        return found._replace(samples=tuple(kept.values())[-_MOST:], exposed=tuple(newest))

    async def _consumers(self, stream: str) -> tuple[tuple[ConsumerState, ...], int]:
        answer = await self._api.request(f"CONSUMER.LIST.{stream}")
        found = tuple(
            ConsumerState(
                text_in(each, "name"),
                number_in(each, "num_pending"),
                number_in(each, "num_ack_pending"),
                number_in(each, "num_redelivered"),
            )
            for each in items_in(answer, "consumers", _MOST_CONSUMERS)
        )
        return found, max(0, number_in(answer, "total") - len(found))

    async def _sample(self, state: SampledStream, kept: dict[int, Sample]) -> None:
        """Read the newest messages that were not read yet, and go on through the others."""
        left = _BYTES
        for sequence in self._chosen(state, kept):
            stored = await self._api.next_message(state.name, sequence, ">")
            if stored is not None and stored.sequence not in kept:
                kept[stored.sequence] = self._judge(state.name, stored)
                left -= len(stored.data)
            if left < 0:
                break

    def _chosen(self, state: SampledStream, kept: Container[int]) -> list[int]:
        """Return the sequences to read in a round."""
        new = range(max(state.last - _NEW + 1, state.first), state.last + 1)
        chosen = [each for each in new if each not in kept]
        step = max(1, (state.last - state.first + 1) // _MOST)
        at = max(self._next[state.name], state.first)
        for _ in range(_MOST):
            if at > state.last or len(chosen) >= _NEW + _OLD:
                break
            if at not in kept:
                chosen.append(at)
            at += step
        self._next[state.name] = at if at <= state.last else 0
        return chosen

    def _judge(self, stream: str, stored: Stored) -> Sample:
        look = look_at(stored.data)
        if look.inspection is not None:
            self._seen.note(look.inspection, stream)
        subject = stored.subject[:256]
        return Sample(
            stored.sequence,
            subject,
            from_milliseconds(stored.stored_ms),
            look.form,
            self._is_protected(stored.subject),
        )

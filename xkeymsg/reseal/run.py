"""`reseal_stream`: copies a stream into another one, for other recipients.

What decides on resuming, in this order: the ledger, for everything up to its last state; the copies
in the target since then, each verified with the own key; the target's duplicate window, for what
the server has received but not stored yet. Copies of a message in the source are replays: the
opener's memory is rebuilt from the messages that were stored within the replay window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.ambient import now_ns
from xkeymsg.client.client import Client
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.outgoing import Room
from xkeymsg.client.refusals import refusing
from xkeymsg.client.trust import To
from xkeymsg.display import cut
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    DeliveryError,
    EnvelopeError,
    NotARecipientError,
    NotLoadedError,
    OpenError,
    PayloadTooLargeError,
    ReplayError,
    SessionClonedError,
    TrustError,
    UnauthenticatedDeletionError,
    XKeyMsgError,
)
from xkeymsg.origins import id_text
from xkeymsg.reseal.copier import Copier, Documents, copy_id
from xkeymsg.reseal.ledger import AHEAD, Job, LedgerFile, ResealReport, opened
from xkeymsg.reseal.reader import Begin, StreamMessage, stored_messages
from xkeymsg.reseal.target import StreamState, create_target, prefix_of, stream_state

__all__ = ("Counted", "OnRefused", "counted_as", "mark_retrieved", "reseal_stream")

OnRefused = Callable[[int, XKeyMsgError], None]
"""Called with the sequence of a message that was refused, and why."""

_ID_SIZE: Final = 160
"""Upper bound of the header line with the id of a copy."""
_EVERY: Final = 500
"""Messages between two states of the ledger."""
_TIMEOUT: Final = 60.0


class Counted(NamedTuple):
    """What became of a message."""

    kind: str
    """`resealed`, `skipped` or `refused`."""
    reason: str


class _PendingCopy(NamedTuple):
    """A message of the source, and the acknowledgement of its copy."""

    sequence: int
    stored_ms: int
    name: str = ""
    """The id of the original, if it was opened."""
    ack: asyncio.Future[PubAck] | Counted | None = None
    """None if the target has the copy, and it is counted."""


def counted_as(error: XKeyMsgError) -> Counted:
    """Return what becomes of a message that cannot be resealed; raise what concerns all messages.

    Raises:
        XKeyMsgError: If the error is not about this message.
    """
    if isinstance(error, NotARecipientError):
        return Counted("skipped", "not_a_recipient")
    if isinstance(error, ReplayError) and not isinstance(error, SessionClonedError):
        return Counted("skipped", "copy")
    about = (
        EnvelopeError, OpenError, TrustError, PayloadTooLargeError, UnauthenticatedDeletionError
    )  # fmt: skip
    if isinstance(error, about) and not isinstance(error, NotLoadedError | ConflictError):
        return Counted("refused", error.code)
    raise error


@refusing
async def reseal_stream(
    client: Client,
    stream: str,
    *,
    into: str,
    to: To,
    ledger: str | Path,
    create: bool = False,
    subject: str = ">",
    since: float | None = None,
    documents: Documents = "refuse",
    max_age: float | None = None,
    on_refused: OnRefused | None = None,
) -> ResealReport:
    """Reseal the messages of a stream into another stream, for other recipients.

    The client's key opens the messages, and seals the copies: their sender is the client, and
    `Message.resealed` names the original. The originals stay. The call reads what the stream has
    when it begins; it can be interrupted at any time and called again with the same ledger.

    Args:
        client: The reader, whose trust admits the senders.
        stream: The stream to read.
        into: The stream for the copies; only resealers may be permitted to publish to it.
        to: Who may read the copies. An envelope does not name its recipients, so all must be given;
            the own key is added.
        ledger: A file that records the progress; one for each pair of streams.
        create: Whether to create the stream for the copies if it does not exist.
        subject: The subject or NATS pattern of the messages to read.
        since: Begin with the messages that were stored within so many seconds; by default, all.
        documents: `refuse`, or `part`: seal what the client can read of a document, for all
            recipients.
        max_age: How many seconds before it was stored a message may have been sealed.
        on_refused: Called with the sequence of each refused message, and the error.

    Returns:
        The counts of all calls with this ledger.

    Raises:
        ConfigurationError: If the streams or the ledger do not fit, or trust admits anyone.
        ConflictError: If the target has a message under the id of a copy that the client has not
            made: someone else may publish to it.
        DeliveryError: If a server refuses or does not answer; call again to resume.
        XKeyMsgError: If a recipient is unknown.
    """
    core, api = client._core, client.js.api  # noqa: SLF001 - private to the package
    copier = Copier(core, to, documents=documents, max_age=max_age)
    source, target = await _streams(api, stream, into, create=create)
    job = Job(
        source.name,
        source.created,
        target.name,
        target.created,
        subject,
        str(copier.public),
        copier.fingerprint(),
    )
    copier.begin(job)
    with opened(Path(ledger), job) as file:
        run = _Run(api, core, copier, file, source, target, on_refused)
        try:
            await run.find_copies()
            await run.remember()
            await run.copy_all(since)
        finally:
            await run.close()
        return file.ledger.report


async def _streams(
    api: API, stream: str, into: str, *, create: bool
) -> tuple[StreamState, StreamState]:
    if stream == into:
        raise ConfigurationError("a stream cannot be resealed into itself")
    if stream.startswith("OBJ_"):
        raise ConfigurationError("objects cannot be resealed: put them again for their recipients")
    source = await stream_state(api, stream)
    if source is None:
        raise ConfigurationError(f"no stream {stream}")
    target = await stream_state(api, into)
    if target is None and create:
        await create_target(api, into, source)
        target = await stream_state(api, into)
    if target is None:
        raise ConfigurationError(f"no stream {into}: create it with --create")
    return source, target


class _Run:
    """One call of `reseal_stream`."""

    def __init__(
        self,
        api: API,
        core: Core,
        copier: Copier,
        file: LedgerFile,
        source: StreamState,
        target: StreamState,
        on_refused: OnRefused | None,
    ) -> None:
        self._api, self._copier, self._file = api, copier, file
        self._ledger = file.ledger
        self._source, self._target = source, target
        for place, position in (
            (source, self._ledger.position),
            (target, self._ledger.target_position),
        ):
            if place.last < position:
                raise ConfigurationError(
                    f"stream {place.name} has lost messages that the ledger counts: use a new"
                    " ledger, and a new target stream"
                )
        self._prefix = prefix_of(target)
        self._on_refused = on_refused
        self._block = core.outgoing.block
        self._room = Room(api.link.max_payload, len(self._block) + _ID_SIZE)
        self._publisher = StreamPublisher(api)

    async def close(self) -> None:
        await self._publisher.close()

    async def find_copies(self) -> None:
        """Count the copies that were stored after the last state of the ledger."""
        ledger, begin = self._ledger, Begin(self._ledger.target_position + 1)
        async for stored in stored_messages(self._api, self._target.name, begin):
            ledger.target_position = stored.sequence
            name = self._own_copy(stored.header("Nats-Msg-Id"), stored.data)
            if name is None or name in ledger.ahead:
                continue
            if len(ledger.ahead) >= AHEAD:
                raise ConfigurationError(
                    f"stream {self._target.name} has more copies than the ledger knows: use the"
                    " ledger that they were made with, or another target stream"
                )
            ledger.ahead[name] = None
            ledger.count("resealed")
        self._file.save()

    def _own_copy(self, copy: str | None, data: bytes) -> str | None:
        """Return the id of the original if a message of the target is our own copy of it."""
        parts = (copy or "").split(".")
        if len(parts) != 3 or parts[0] != "reseal" or parts[2] != str(self._copier.public):
            return None
        message = self._copier.verify(data)
        if message is None or message.resealed is None:
            return None
        name = id_text(message.resealed.origins[-1].message_id)
        return name if name == parts[1] else None

    async def remember(self) -> None:
        """Rebuild the memory of messages that may be stored again after the ledger's position."""
        ledger = self._ledger
        if not ledger.position:
            return
        begin = Begin(since_ms=max(1, ledger.stored_ms - self._copier.window_ms))
        async for stored in self._messages(begin):
            if stored.sequence > ledger.position:
                return
            try:
                self._copier.open(stored, self._source.name)
            except XKeyMsgError as error:
                counted_as(error)

    async def copy_all(self, since: float | None) -> None:
        """Copy the messages after the ledger's position that the source has now."""
        ledger = self._ledger
        begin = Begin(ledger.position + 1)
        if since is not None and not ledger.position:
            if not ledger.stored_ms:  # another call must not begin later
                ledger.stored_ms = max(1, now_ns() // 10**6 - int(since * 1000))
                self._file.save()
            begin = Begin(since_ms=ledger.stored_ms)
        batch: list[_PendingCopy] = []
        async for stored in self._messages(begin):
            if stored.sequence > self._source.last:
                break
            batch.append(await self._start(stored))
            if len(batch) >= _EVERY:
                await self._finish(batch)
                batch = []
        await self._finish(batch)

    def _messages(self, begin: Begin) -> AsyncIterator[StreamMessage]:
        subject = self._ledger.job.subject
        return stored_messages(self._api, self._source.name, begin, subject=subject)

    async def _start(self, stored: StreamMessage) -> _PendingCopy:
        """Open a message, and send its copy."""
        place = _PendingCopy(stored.sequence, stored.stored_ms)
        if stored.header("Nats-TTL") is not None:
            return place._replace(ack=Counted("skipped", "ttl"))
        try:
            message = self._copier.open(stored, self._source.name)
            name = id_text(message.message_id)
            if name in self._ledger.ahead:
                return place._replace(name=name)
            envelope = self._copier.seal(message, self._room)
            line = f"Nats-Msg-Id: {copy_id(message.message_id, self._copier.public)}\r\n\r\n"
            headers = self._block[:-2] + line.encode()
            to = f"{self._prefix}{message.subject}"
            ack = await self._publisher.submit(to, envelope, headers, timeout=_TIMEOUT, known=True)
            ack.add_done_callback(mark_retrieved)
            return place._replace(name=name, ack=ack)
        except XKeyMsgError as error:
            verdict = counted_as(error)
            if verdict.kind == "refused" and self._on_refused is not None:
                self._on_refused(stored.sequence, error)
            return place._replace(ack=verdict)

    async def _finish(self, batch: list[_PendingCopy]) -> None:
        """Wait for the copies of a batch, and record all of it: a part would be counted again."""
        if not batch:
            return
        ledger, last = self._ledger, self._ledger.target_position
        verdicts = []
        for each in batch:
            verdict, sequence = await self._result(each)
            verdicts.append(verdict)
            last = max(last, sequence)
        for each, verdict in zip(batch, verdicts, strict=True):
            if verdict is not None:
                ledger.count(*verdict)
            ledger.ahead.pop(each.name, None)
        ledger.position, ledger.stored_ms = batch[-1].sequence, batch[-1].stored_ms
        ledger.target_position = last
        self._file.save()

    async def _result(self, each: _PendingCopy) -> tuple[Counted | None, int]:
        """Return how to count a message, and the sequence of its copy."""
        if not isinstance(each.ack, asyncio.Future):
            return each.ack, 0
        try:
            ack = await each.ack
        except PayloadTooLargeError as error:
            return counted_as(error), 0
        if ack.stream != self._target.name:
            raise DeliveryError(f"another stream stores the copies: {cut(ack.stream)!a}")
        if ack.duplicate:
            stored = await self._api.message(ack.stream, ack.sequence)
            found = dict(reversed(stored.headers)).get("Nats-Msg-Id")
            if self._own_copy(found, stored.data) != each.name:
                raise ConflictError(
                    f"stream {ack.stream} has another message under the id of a copy, perhaps one"
                    " for other recipients: only resealers may be permitted to publish to it"
                )
        return Counted("resealed", ""), ack.sequence


def mark_retrieved(ack: asyncio.Future[PubAck]) -> None:
    """Prevent a report of an error that is not awaited."""
    if not ack.cancelled():
        ack.exception()  # another error ends the run

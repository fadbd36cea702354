"""`reseal_bucket`: replaces the entries of a key-value bucket by ones for other recipients.

The newest entry of each key, a value or a tombstone, is replaced by compare-and-set on its
revision: an entry that changes meanwhile stays. A call begins again with all keys, and recognizes
what it has replaced before: the ledger only records the bucket's revision at the first call.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.ambient import now_ns
from xkeymsg.client.client import Client
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import (
    API,
    EXPECTED_LAST,
    WRONG_LAST,
    PubAck,
    check_name,
)
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.memory import RollbackMemory, Sealing, mark_name
from xkeymsg.client.outgoing import Room
from xkeymsg.client.refusals import refusing
from xkeymsg.client.trust import To
from xkeymsg.envelope.message import Message
from xkeymsg.errors import (
    ConfigurationError,
    ContentTypeError,
    DeliveryError,
    PayloadTooLargeError,
    StaleError,
    UnauthenticatedDeletionError,
    XKeyMsgError,
)
from xkeymsg.kv.codec import CLEAR_OPERATION, REPLACES, is_marker, operation_of, replaces_of
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.opener import View
from xkeymsg.reseal.copier import Copier, Documents, copy_id
from xkeymsg.reseal.ledger import Job, LedgerFile, ResealReport, opened
from xkeymsg.reseal.reader import Begin, StreamMessage, stored_messages
from xkeymsg.reseal.run import Counted, OnRefused, counted_as, mark_retrieved
from xkeymsg.reseal.target import stream_state
from xkeymsg.transport.subjects import covers

__all__ = ("reseal_bucket",)

_HEADERS_SIZE: Final = 256
_EVERY: Final = 256
_TIMEOUT: Final = 60.0
_WAIT_MS: Final = 5000
_RESEALED: Final = Counted("resealed", "")


async def _turn(message: Message) -> None:
    """Wait until the clock is not behind a value: readers would refuse its copy (K-17).

    Raises:
        StaleError: If that would take too long.
    """
    while (behind := Sealing.of_message(message).created_ms - now_ns() // 1_000_000) > 0:
        if behind > _WAIT_MS:
            raise StaleError(f"the clock here is {behind / 1000:.0f} s behind the value")
        await asyncio.sleep(behind / 1000)


class _Sent(NamedTuple):
    stored: StreamMessage
    name: bytes
    """The message id of the original."""
    ack: asyncio.Future[PubAck]


@refusing
async def reseal_bucket(
    client: Client,
    bucket: str,
    *,
    to: To,
    ledger: str | Path,
    documents: Documents = "refuse",
    max_age: float | None = None,
    on_refused: OnRefused | None = None,
    memory: RollbackMemory | None = None,
) -> ResealReport:
    """Reseal the current values of a key-value bucket in place, for other recipients.

    So are sealed tombstones, so that deleted keys stay deleted for the new recipients. Earlier
    values in the history of a key stay sealed to the recipients that they had. The call can be
    interrupted at any time and called again with the same ledger; what was written after the first
    call is skipped.

    Args:
        client: The reader, whose trust admits the writers.
        bucket: The bucket.
        to: Who may read the values from now on, all of them; the own key is added.
        ledger: A file that records the first call; one for each bucket and set of recipients.
        documents: As for `reseal_stream`.
        max_age: As for `reseal_stream`.
        on_refused: As for `reseal_stream`, with the revision.
        memory: What the client remembers of the bucket. Older entries than those are refused; their
            copies would be newer than all that other readers remember.

    Returns:
        The counts, one for each key.

    Raises:
        ConfigurationError: If there is no such bucket, it is a mirror, or the ledger belongs to
            another reseal.
        DeliveryError: If a server refuses or does not answer; call again to resume.
        XKeyMsgError: If a recipient is unknown.
    """
    core, api = client._core, client.js.api  # noqa: SLF001 - private to the package
    copier = Copier(core, to, documents=documents, max_age=max_age)
    stream = check_name("bucket", f"KV_{bucket}")
    state = await stream_state(api, stream)
    if state is None:
        raise ConfigurationError(f"no bucket {bucket}")
    if state.config.get("mirror") is not None:
        raise ConfigurationError("a mirror is read-only: reseal the mirrored bucket")
    subject = f"$KV.{bucket}.>"
    job = Job(
        stream,
        state.created,
        stream,
        state.created,
        subject,
        str(copier.public),
        copier.fingerprint(),
    )
    copier.begin(job)
    with opened(Path(ledger), job) as file:
        file.ledger.restart(state.last, now_ns() // 1_000_000)
        file.save()
        run = _BucketRun(api, core, copier, file, on_refused, memory)
        try:
            await run.replace_all()
        finally:
            await run.close()
        file.save()
        return file.ledger.report


class _BucketRun:
    """One call of `reseal_bucket`."""

    def __init__(
        self,
        api: API,
        core: Core,
        copier: Copier,
        file: LedgerFile,
        on_refused: OnRefused | None,
        memory: RollbackMemory | None,
    ) -> None:
        self._api, self._copier, self._ledger = api, copier, file.ledger
        self._memory = memory
        self._on_refused = on_refused
        self._block = core.outgoing.block
        self._room = Room(api.link.max_payload, len(self._block) + _HEADERS_SIZE)
        self._publisher = StreamPublisher(api)
        self._sent: list[_Sent] = []

    async def close(self) -> None:
        await self._publisher.close()

    async def replace_all(self) -> None:
        """Replace the newest entry of each key.

        Raises:
            DeliveryError: If the server delivers messages that are not of the bucket: their copies
                would be published to subjects of its choice.
        """
        job = self._ledger.job
        begin = Begin(last_of_subjects=True)
        async for stored in stored_messages(self._api, job.source, begin, subject=job.subject):
            if not covers(job.subject, stored.subject):
                raise DeliveryError("the server delivers messages of other subjects")
            try:
                verdict = await self._replace(stored)
            except XKeyMsgError as error:
                verdict = counted_as(error)
                if verdict.kind == "refused" and self._on_refused is not None:
                    self._on_refused(stored.sequence, error)
            if verdict is not None:
                self._ledger.count(*verdict)
            if len(self._sent) >= _EVERY:
                await self._finish()
        await self._finish()

    async def _replace(self, stored: StreamMessage) -> Counted | None:
        """Send the new entry of a key; return what became of the old one if nothing is sent."""
        if is_marker(StoredEntry(stored.subject, stored.sequence, stored.headers, stored.data)):
            raise UnauthenticatedDeletionError(
                "no admitted sender has deleted the key; `xkeymsg kv delete` seals a deletion"
            )
        if stored.header("Nats-TTL") is not None:
            return Counted("skipped", "ttl")
        if stored.sequence > self._ledger.target_position:
            is_own = self._copier.verify(stored.data, stored.subject) is not None
            return _RESEALED if is_own else Counted("skipped", "newer")
        message = self._copier.open(stored, self._ledger.job.source, match_wire=True)
        operation = operation_of(message, message.headers)
        replaces_of(message.headers)  # refuses an invalid one, which the copy would replace
        if self._memory is not None:
            name, seen = mark_name(stored.subject), Sealing.of_message(message)
            self._memory.accept(name, seen, stored.sequence, live=operation == "put")
        if isinstance(message, View) and message.withheld:
            raise ContentTypeError("the value would lose the parts that are withheld from you")
        await _turn(message)
        own = ((REPLACES, str(stored.sequence)),)
        envelope = self._copier.seal(message, self._room, own=own)
        headers = {
            "Nats-Msg-Id": copy_id(message.message_id, self._copier.public),
            EXPECTED_LAST: str(stored.sequence),
            **CLEAR_OPERATION[operation],
        }
        block = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        ack = await self._publisher.submit(
            stored.subject,
            envelope,
            self._block[:-2] + block + b"\r\n",
            timeout=_TIMEOUT,
            known=True,
        )
        ack.add_done_callback(mark_retrieved)
        self._sent.append(_Sent(stored, message.message_id, ack))
        return None

    async def _finish(self) -> None:
        """Wait for the values that were sent, and count them."""
        while self._sent:
            self._ledger.count(*await self._result(self._sent.pop(0)))

    async def _result(self, sent: _Sent) -> Counted:
        try:
            ack = await sent.ack
        except PayloadTooLargeError as error:
            return counted_as(error)
        except DeliveryError as error:
            if error.err_code not in WRONG_LAST:
                raise
            return await self._current(sent)  # an earlier attempt may be stored
        return await self._current(sent) if ack.duplicate else _RESEALED

    async def _current(self, sent: _Sent) -> Counted:
        """Return whether the current value of a key is our copy of the value that was read."""
        job, subject = self._ledger.job, sent.stored.subject
        begin = Begin(last_of_subjects=True)
        async for stored in stored_messages(self._api, job.source, begin, subject=subject):
            message = self._copier.verify(stored.data, subject)
            resealed = None if message is None else message.resealed
            if resealed is not None and resealed.origins[-1].message_id == sent.name:
                return _RESEALED
        return Counted("skipped", "changed")

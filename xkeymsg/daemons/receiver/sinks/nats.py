"""A subject on a NATS server that may see plaintext.

With JetStream the sink waits for the stream's acknowledgement. The `Nats-Msg-Id` is derived from
the message id and a digest of its line: a redelivered message is kept once, and a second message
to which a malicious sender gave the same id is not taken for the first.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Final

from xkeymsg import primitives
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.common.windows import short_windows
from xkeymsg.daemons.receiver.config import NATSSink
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, UnavailableError
from xkeymsg.errors import DeliveryError, MalformedError, PayloadTooLargeError, XKeyMsgError
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link

__all__ = ("NATS", "open_nats")

_TIMEOUT: Final = 10.0


class NATS:
    """Publishes records."""

    def __init__(self, section: NATSSink, link: Link) -> None:
        self._section = section
        self._link = link
        self._stream = StreamPublisher(API(link))

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Publish a batch, and wait until the server or the stream has it."""
        try:
            if self._section.jetstream:
                await self._store(batch)
            else:
                for record in batch:
                    await self._link.publish(self._subject(record), record.line)
                await self._link.confirm()
        except (PayloadTooLargeError, MalformedError) as error:
            raise RefusedError(str(error)) from None
        except DeliveryError as error:
            raise UnavailableError(str(error)) from None
        except XKeyMsgError as error:
            raise UnavailableError(f"{error.code}: {error}") from None

    async def duplicate_window(self) -> float:
        """Return for how many seconds the target stream recognizes a message; inf if unknown."""
        if not self._section.jetstream:
            return math.inf
        before, placeholder, _ = self._section.subject.partition("{subject}")
        windows = await short_windows(API(self._link), before + ">" * bool(placeholder), math.inf)
        return min(windows.values(), default=math.inf)

    async def close(self) -> None:
        """Cancel pending acknowledgements; the opener of the link closes it."""
        await self._stream.close()

    async def _store(self, batch: Sequence[Record]) -> None:
        """Return when the stream has answered about every record; raise the first refusal."""
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for record in batch:
                acks.append(await self._submit(record))  # noqa: PERF401 - known if one fails
            outcomes = await asyncio.gather(*acks, return_exceptions=True)
        except BaseException:
            for ack in acks:
                ack.cancel()
            raise
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _submit(self, record: Record) -> asyncio.Future[PubAck]:
        digest = record.id + primitives.sha256(record.line)[:8]
        name = base64.urlsafe_b64encode(digest).decode()
        headers = encode_block({"Nats-Msg-Id": name})
        return await self._stream.submit(
            self._subject(record), record.line, headers, timeout=_TIMEOUT, known=True
        )

    def _subject(self, record: Record) -> str:
        return self._section.subject.replace("{subject}", record.subject)


@contextlib.asynccontextmanager
async def open_nats(section: NATSSink, name: str) -> AsyncIterator[NATS]:
    """Connect for the life of a block.

    Raises:
        ConnectionFailedError: If it cannot connect in time.
    """
    async with open_link(section.options(name), keys=section.keys) as link:
        yield NATS(section, link)

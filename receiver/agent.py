"""The tutorial's receiver, for use without a configuration: listens and prints opened messages."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import anyio

from receiver.printer import Printer
from xkeymsg import xkv1
from xkeymsg.daemons.common.terminal import describe, quote, say
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.envelope.frame import MAGIC
from xkeymsg.errors import DeliveryError, MalformedError, XKeyMsgError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.opener import Opener
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.link import Event, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.raw import Raw

__all__ = ("receive",)


async def receive(
    options: ConnectOptions,
    pair: XKeyPair,
    output: Printer,
    *,
    subject: str,
    queue: str = "",
    count: int | None = None,
    wait: float | None = None,
) -> bool:
    """Listen on `subject` until `count` messages, `wait` seconds, SIGINT or SIGTERM.

    A message that cannot be opened is reported in one line on stderr. Any sender is admitted, in
    both formats: xkm1 names its sender; for xkv1 the header does.

    Returns:
        Whether every message could be opened.

    Raises:
        ConnectionFailedError: If the first connection fails; a lost one is re-established.
        DeliveryError: If the server refused the subscription, or fewer than `count` messages
            arrived.
    """
    received = opened = 0
    reader = _MessageReader(pair, subject)
    async with open_link(options, _unless_repeated()) as link:
        subscription = await link.subscribe(subject, queue=queue)
        await link.confirm()
        with anyio.move_on_after(wait) as time_left, _cancelled_by_signal(time_left):
            output.start(pair.public)
            async for message in subscription:
                received += 1
                try:
                    output.show(*reader.open(message))
                    opened += 1
                except XKeyMsgError as error:
                    _report(message, error)
                if received == count:
                    break
    if count is not None and received < count:
        raise DeliveryError(f"received {received} of {count} messages")
    return opened == received


def _report(message: Raw, error: XKeyMsgError) -> None:
    say("receiver", f"could not open a message on {quote(message.subject)}: {describe(error)}")


class _MessageReader:
    """Opens both formats for one key, from any sender; the first four bytes tell the format."""

    def __init__(self, pair: XKeyPair, subject: str) -> None:
        self._pair = pair
        self._subject = subject
        self._opener = Opener(pair, ANYONE)

    def open(self, message: Raw) -> tuple[str, XKey, bytes]:
        """Return the subject, the key that sealed it, and the data.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """
        if message.data[:4] == MAGIC:
            opened = self._opener.open(message.data, subject=self._subject)
            return opened.subject, opened.sender, opened.data
        hint = dict(reversed(parse_block(message.headers))).get("sender")  # the first of several
        if hint is None:
            raise MalformedError("the header 'sender' with the sender's key is missing")
        sender = XKey.parse(hint)
        return message.subject_text, sender, xkv1.open(message.data, key=self._pair, sender=sender)


@contextmanager
def _cancelled_by_signal(scope: anyio.CancelScope) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM cancel `scope`; a second one ends the process.

    The event loop alone does not suffice: it may be blocked in a write that nobody reads.
    """
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(scope.cancel)

    before = [(number, signal.signal(number, stop)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _unless_repeated() -> Callable[[Event], None]:
    """Report connection events on stderr, without consecutive duplicates."""
    last = ""

    def report(event: Event) -> None:
        nonlocal last
        if event.kind == "slow":
            text = f"messages arrive faster than they are opened: {event.dropped} dropped"
        elif event.error is not None:
            text = f"connection: {type(event.error).__name__}: {quote(str(event.error))}"
        else:
            text = "connection: re-established"
        if text != last:
            say("receiver", text)
        last = text

    return report

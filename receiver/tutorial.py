"""Without a configuration the receiver is the tutorial's: it listens and shows what it can open."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from nats.aio.msg import Msg

from receiver.output import Output
from xkeymsg.daemon.terminal import describe, quote, say
from xkeymsg.errors import DeliveryError, MalformedError, XKeyMsgError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.transport.connect import connect
from xkeymsg.transport.options import ConnectOptions

__all__ = ("receive",)


async def receive(
    options: ConnectOptions,
    pair: XKeyPair,
    output: Output,
    *,
    subject: str,
    queue: str = "",
    count: int | None = None,
    wait: float | None = None,
) -> bool:
    """Listen on `subject` until `count` messages came, `wait` seconds are over, SIGINT or SIGTERM.

    A message that cannot be opened is one line on stderr, and listening goes on. Any sender is
    admitted: this is the tutorial, and the header says whose key to open with.

    Returns:
        Whether every message could be opened.

    Raises:
        ConnectionFailedError: If there is no connection, or the server ended it for good.
        DeliveryError: If the server refused the subscription, or fewer than `count` messages came.
    """
    received = opened = 0
    async with connect(options, _unless_repeated()) as connection:
        subscription = await connection.client.subscribe(subject, queue=queue)
        await connection.confirm()
        with anyio.move_on_after(wait) as time_left, _cancelled_by_signal(time_left):
            output.start(pair.public)
            async for message in subscription.messages:
                received += 1
                opened += _show(message, pair, output)
                if received == count:
                    break
        if connection.closed.is_set():
            raise connection.failure()
    if count is not None and received < count:
        raise DeliveryError(f"{received} of {count} messages came")
    return opened == received


def _show(message: Msg, pair: XKeyPair, output: Output) -> bool:
    """Open a message and show it, or say on stderr why not; return whether it was opened."""
    hint = (message.headers or {}).get("sender")
    try:
        if hint is None:
            raise MalformedError("no header 'sender' says whose key it was sealed with")
        sender = XKey.parse(hint)
        data = pair.open(message.data, sender)
    except XKeyMsgError as error:
        say("receiver", f"could not open a message on {quote(message.subject)}: {describe(error)}")
        return False
    output.show(message.subject, sender, data)
    return True


@contextmanager
def _cancelled_by_signal(scope: anyio.CancelScope) -> Iterator[None]:
    """Let SIGINT and SIGTERM cancel `scope`: the way in which a receiver is told to stop."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, scope.cancel)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _unless_repeated() -> Callable[[Exception], None]:
    """Report the connection's errors on stderr, the same one in a row only once."""
    last = ""

    def report(error: Exception) -> None:
        nonlocal last
        text = f"{type(error).__name__}: {quote(str(error))}"
        if text != last:
            say("receiver", f"connection: {text}")
        last = text

    return report

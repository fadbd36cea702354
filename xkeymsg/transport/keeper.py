"""Keeping a connection: the first, and the next whenever one is lost.

A `Keeper` owns one `LeanClient` after another. When one is lost (the network, a server that was
killed or does not answer, an expired or revoked login, a violation) it makes the next, with
credentials read anew. Pauses grow from a quarter of a second to half a minute, with jitter, so that
a fleet does not return all at once. Only closing ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from nats import errors

from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.shown import safe_repr
from xkeymsg.transport.dial import close, dial
from xkeymsg.transport.lean import LeanClient
from xkeymsg.transport.options import ConnectOptions

__all__ = ("CLOSE_TIMEOUT", "Event", "Keeper")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that sending the rest may take at the end."""

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_STEADY: Final = 10.0
"""Seconds after which a connection counts as one that works: the next pause is a short one."""

_WATCH: Final = 5.0
"""Seconds between two looks at a connection: at the third without a sign of life it is left."""

_KEPT: Final = 16
"""So many errors are kept for `confirm`: whoever publishes, or a broker, may cause any number."""

_GRACE: Final = 1.0
"""Seconds for a task that was cancelled to come to its end; it waits for nothing."""


@safe_repr
@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a connection."""

    kind: Literal["connected", "disconnected", "slow", "error"]
    """`connected`: again, not the first time. `disconnected`: another connection is being made.
    `slow`: a subscription drops messages. `error`: the server refused something, or an attempt to
    connect failed; another follows."""
    error: Exception | None = None
    subject: str = ""
    """With `slow`: what the subscription listens on."""
    dropped: int = 0
    """With `slow`: how many messages it has dropped so far."""


class Keeper:
    """Has a connection, or is about to."""

    def __init__(
        self,
        options: ConnectOptions,
        on_event: Callable[[Event], None],
        on_connected: Callable[[LeanClient], None],
    ) -> None:
        self.state: Literal["connected", "reconnecting", "closed"] = "reconnecting"
        self.reconnects = 0
        """How many connections were made after the first."""
        self.client = LeanClient()
        """The connection, which may be lost."""
        self._options = options
        self._on_event = on_event
        self._on_connected = on_connected
        self._changed = asyncio.Event()
        self._ending = asyncio.Lock()
        self._asking = 0  # how many wait for something that has yet to be read
        self._noted: list[Exception] = []  # what no `confirm` has told
        self._confirming: list[list[Exception]] = []  # and what those that run will tell
        self._supervisor: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the first connection.

        Raises:
            ConfigurationError: If a file of the options does not hold what it should.
            KeyStoreError: If a file cannot be read.
            ConnectionFailedError: If there is none in time.
        """
        await dial(self.client, self._options, self._on_error, ping_interval=_WATCH)
        self._begin(self.client)
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Send what is to be sent, if that is possible in time, and end everything."""
        self.state = "closed"
        self._changed.set()
        self.client.refuse()
        async with self._ending:
            try:
                if self._supervisor is not None:
                    self._supervisor.cancel()
                    await asyncio.wait({self._supervisor}, timeout=_GRACE)
                if not self.client.lost.done():
                    await close(self.client, timeout)
            finally:
                await self.client.hang_up()

    async def ready(self) -> LeanClient:
        """Wait for a connection with room for more to send.

        Raises:
            DeliveryError: If there is none within `options.timeout`.
            ConnectionFailedError: If it is closed.
        """
        try:
            async with asyncio.timeout(self._options.timeout):
                while self.state != "closed":
                    client = self.client
                    if client.is_ready:
                        return client
                    if client.lost.done():
                        await self._changed.wait()
                    else:
                        await client.flushed.wait()
        except TimeoutError:
            why = "takes nothing" if self.state == "connected" else "is not there"
            raise DeliveryError(f"the server {why}, for {self._options.timeout:g} s") from None
        raise ConnectionFailedError("the connection is closed")

    async def confirm(self) -> None:
        """Wait until the server has taken, or refused, everything that was sent to it.

        All that it refused is told, and to everybody who waits: of two tasks that confirm at a time
        neither takes away what was refused to the other.

        Raises:
            DeliveryError: If it refused something, or may not have got it.
            ConnectionFailedError: If it is closed.
        """
        self._note_loss(self.client)
        told, self._noted = self._noted, []
        if not told or self.state == "connected":
            self._confirming.append(told)
            try:
                await self._round_trip()
            except DeliveryError:
                if not told:
                    raise
            except BaseException:
                self._noted = [*told, *self._noted][:_KEPT]
                raise
            finally:
                self._confirming = [each for each in self._confirming if each is not told]
        if told:
            raise DeliveryError("; ".join(map(str, told))) from told[0]

    async def _round_trip(self) -> None:
        """Wait until the server has read what was sent, and we what it had to say to it."""
        client = await self.ready()
        before, client.unconfirmed = client.unconfirmed, False
        try:
            async with asyncio.timeout(self._options.timeout):
                with self.asking():
                    answered = await client.ping()
        except BaseException as error:
            client.unconfirmed = before
            if isinstance(error, TimeoutError):
                seconds = self._options.timeout
                raise DeliveryError(f"no answer from the server within {seconds:g} s") from error
            raise
        if not answered:
            client.unconfirmed = True
            self._note_loss(client)

    @property
    def is_asking(self) -> bool:
        """Whether somebody waits for something that has yet to be read."""
        return self._asking > 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Count one more who waits in this block for something that has yet to be read."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def _note_loss(self, client: LeanClient) -> None:
        if client.lost.done() and client.unconfirmed:
            client.unconfirmed = False
            self._note(client.lost.result())

    def _note(self, error: Exception) -> None:
        """Keep an error for `confirm`: each once, and few."""
        for kept in self._confirming or [self._noted]:
            if len(kept) < _KEPT and str(error) not in map(str, kept):
                kept.append(error)

    def tell(self, event: Event) -> None:
        """Tell the program what happened; what it raises does not end a connection's keeping."""
        try:
            self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001 - not a cancellation: nothing is awaited
            context = {"message": "on_event raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, errors.UnexpectedEOF):
            return  # the connection is lost, which is told, and kept where it matters
        self._note(error)
        self.tell(Event("error", error))

    def _begin(self, client: LeanClient) -> None:
        self.client = client
        self.state = "connected"
        self._on_connected(client)
        self._changed.set()
        self._changed.clear()

    async def _supervise(self) -> None:
        loop, tries = asyncio.get_running_loop(), 0
        while True:
            begun = loop.time()
            error = await asyncio.shield(self.client.lost)
            self.state = "reconnecting"
            self._note_loss(self.client)
            self.tell(Event("disconnected", error))
            if loop.time() - begun > _STEADY:
                tries = 0
            await self.client.hang_up()
            client = None
            while client is None:
                await asyncio.sleep(_pause(tries))
                tries += 1
                client = await self._attempt()
            self._begin(client)
            self.reconnects += 1
            self.tell(Event("connected"))

    async def _attempt(self) -> LeanClient | None:
        """Try each server once; None if there is no connection now."""
        client = LeanClient(self.client.discovered)
        try:
            await dial(client, self._options, self._on_error, once=True, ping_interval=_WATCH)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is another attempt
            self.tell(Event("error", error))
            await client.hang_up()
            return None
        except BaseException:
            await client.hang_up()
            raise
        return client


def _pause(tries: int) -> float:
    """Return how long to wait before an attempt, in seconds."""
    most = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries, 10))
    return secrets.SystemRandom().uniform(0, most)

"""Connection supervision: connects, and reconnects after each loss.

A `Keeper` owns one `LeanClient` after another. When one is lost (the network, a server that was
killed or does not answer, an expired or revoked login, a violation) it makes the next one, and
reads the credentials again. Pauses grow from a quarter of a second to half a minute, with jitter,
so that the clients of a fleet do not all reconnect at once. Only closing ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from nats import errors

from xkeymsg.display import safe_repr
from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.dial import close, dial
from xkeymsg.transport.lean_client import LeanClient
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys

__all__ = ("CLOSE_TIMEOUT", "FIRST_PAUSE", "LONGEST_PAUSE", "WATCH", "Event", "Keeper", "pause")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for sending buffered data on close."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
_STEADY: Final = 10.0
"""Seconds after which a connection counts as stable: the next pause is short again."""

WATCH: Final = 5.0
"""Seconds between liveness checks; the third silent one ends the connection."""

_KEPT: Final = 16
"""Errors kept for `confirm`; a publisher or broker may cause any number."""

_GRACE: Final = 1.0
"""Seconds for a cancelled task to end; it waits for nothing."""


@safe_repr
@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a connection."""

    kind: Literal["connected", "disconnected", "slow", "error"]
    """`connected`: reconnected; not sent for the first connection. `disconnected`: reconnecting.
    `slow`: a subscription drops messages. `error`: the server refused an operation, or a connection
    attempt failed; another follows."""
    error: Exception | None = None
    subject: str = ""
    """With `slow`: the subject of the subscription."""
    dropped: int = 0
    """With `slow`: how many messages it has dropped so far."""


class Keeper:
    """Owns the current connection, and replaces it when it is lost."""

    def __init__(
        self,
        options: ConnectOptions,
        on_event: Callable[[Event], None],
        on_connected: Callable[[LeanClient], None],
        keys: StoredKeys | None = None,
    ) -> None:
        self.state: Literal["connected", "reconnecting", "closed"] = "reconnecting"
        self.reconnects = 0
        """Number of connections made after the first."""
        self.client = LeanClient()
        """The current connection, which may be lost."""
        self._options = options
        self._on_event = on_event
        self._on_connected = on_connected
        self._keys = keys
        self._changed = asyncio.Event()
        self._ending = asyncio.Lock()
        self._asking = 0  # number of callers that wait for a reply
        self._noted: list[Exception] = []  # errors not yet raised by a `confirm`
        self._confirming: list[list[Exception]] = []  # errors that each running one will raise
        self._supervisor: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the first connection.

        Raises:
            ConfigurationError: If a file of the options has invalid content.
            KeyStoreError: If a file cannot be read.
            ConnectionFailedError: If connecting fails or times out.
        """
        self._keys = self._keys or StoredKeys(self._options)
        await self._dial(self.client)
        self._begin(self.client)
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Send buffered data, if that is possible in time, and close."""
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
        """Wait for a connection with room in its send buffer.

        Raises:
            DeliveryError: After `options.timeout`.
            ConnectionFailedError: If the keeper is closed.
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
            connected, seconds = self.state == "connected", self._options.timeout
            why = "the server reads nothing" if connected else "no connection to a server"
            raise DeliveryError(f"{why} (waited {seconds:g} s)") from None
        raise ConnectionFailedError("the connection is closed")

    async def confirm(self) -> None:
        """Wait until the server has accepted, or refused, everything that was sent to it.

        Reports every refusal to every waiting caller: of two tasks that confirm at the same time,
        neither hides a refusal from the other.

        Raises:
            DeliveryError: If the server refused a message, or may not have received it.
            ConnectionFailedError: If the keeper is closed.
        """
        self._note_loss(self.client)
        reported, self._noted = self._noted, []
        if not reported or self.state == "connected":
            self._confirming.append(reported)
            try:
                await self._round_trip()
            except DeliveryError:
                if not reported:
                    raise
            except BaseException:
                self._noted = [*reported, *self._noted][:_KEPT]
                raise
            finally:
                self._confirming = [each for each in self._confirming if each is not reported]
        if reported:
            raise DeliveryError("; ".join(map(str, reported))) from reported[0]

    async def _round_trip(self) -> None:
        """Wait until the server has read all that was sent, and its errors have been read here."""
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
        """Whether a caller waits for a reply."""
        return self._asking > 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Context: the caller waits for a reply."""
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
        """Keep an error for `confirm`, without duplicates and up to a limit."""
        for kept in self._confirming or [self._noted]:
            if len(kept) < _KEPT and str(error) not in map(str, kept):
                kept.append(error)

    def tell(self, event: Event) -> None:
        """Notify the program of an event; an exception it raises does not end the supervision."""
        try:
            self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001 - not a cancellation: nothing is awaited
            context = {"message": "on_event raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, errors.UnexpectedEOF):
            return  # a lost connection is reported, and noted where it matters, by `_supervise`
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
                await asyncio.sleep(pause(tries))
                tries += 1
                client = await self._attempt(tries)
            self._begin(client)
            self.reconnects += 1
            # Report the connection when the server has its subscriptions, not before; one that is
            # lost meanwhile is not reported. Without a reply, the watch finds out later.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.timeout):
                    await client.ping()
            if not client.lost.done():
                self.tell(Event("connected"))

    async def _attempt(self, tries: int) -> LeanClient | None:
        """Try each server once; return None if all attempts fail."""
        client = LeanClient(self.client.discovered)
        try:
            await self._dial(client, tries)
        except Exception as error:  # noqa: BLE001 - another attempt follows any error
            self.tell(Event("error", error))
            await client.hang_up()
            return None
        except BaseException:
            await client.hang_up()
            raise
        return client

    async def _dial(self, client: LeanClient, tries: int = 0) -> None:
        """Connect a client, with the keys that were read from stores at first."""
        on_error, keys = self._on_error, self._keys
        await dial(client, self._options, on_error, tries=tries, keys=keys, ping_interval=WATCH)


def pause(tries: int) -> float:
    """Return the pause before an attempt, in seconds."""
    most = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 10))
    return secrets.SystemRandom().uniform(0, most)

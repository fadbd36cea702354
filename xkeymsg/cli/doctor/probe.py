"""Tests of a login's permissions on a server, and requests for the server's information."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from nats import errors

from xkeymsg.cli.doctor.findings import table_of
from xkeymsg.client.jetstream.api import nanoseconds
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.client import HardenedClient
from xkeymsg.transport.dial import dialled
from xkeymsg.transport.options import ConnectOptions

__all__ = ("Probe", "open_probe", "parse_time")

_NO_RIGHT: Final = "permissions violation"


class Probe:
    """A connection that records every refusal, and every time reported by the server."""

    def __init__(
        self,
        client: HardenedClient,
        timeout: float,
        refused: asyncio.Queue[str],
        now: Callable[[], int],
    ) -> None:
        self.client = client
        self.now = now
        self.times: list[tuple[float, float, float]] = []
        """Our time before a request, the server's in its response, ours after it, in seconds."""
        self.hears = True
        """Whether responses reach us."""
        self._timeout = timeout
        self.refusals = refused

    def is_local(self) -> bool:
        """Return whether the server is on this machine."""
        url = self.client.connected_url
        host = "" if url is None else url.hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def flush(self) -> None:
        """Wait until the server has accepted or refused everything sent.

        Raises:
            nats.errors.Error: If the server does not respond in time.
        """
        await self.client.flush(self._timeout)  # type: ignore[arg-type]  # fractions work

    async def ask(self, subject: str) -> Mapping[str, Any]:
        """Send a request to the server, and record the time in its response.

        Raises:
            DeliveryError: If it is not permitted, nobody responds, or the response is not a JSON
                object.
        """
        if not self.hears:
            raise DeliveryError("no response without an inbox")
        self._forget()
        before = self.now()
        asking = asyncio.ensure_future(self.client.request(subject, timeout=self._timeout))
        refusal = asyncio.ensure_future(self.refusals.get())
        try:
            await asyncio.wait({asking, refusal}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise DeliveryError(refusal.result())
            content = _json((await asking).data)
        except errors.NoRespondersError:
            raise DeliveryError("no responders") from None
        except (errors.TimeoutError, TimeoutError):
            raise DeliveryError(f"no response within {self._timeout:g} s") from None
        finally:
            for task in (asking, refusal):
                task.cancel()
            await asyncio.gather(asking, refusal, return_exceptions=True)
        told = parse_time(table_of(content, "server").get("time")) or parse_time(content.get("ts"))
        if told is not None:
            self.times.append((before / 1e9, told, self.now() / 1e9))
        return content

    async def try_subscribing(self, subject: str) -> str | None:
        """Subscribe briefly; return the server's reason for refusing it, or None.

        It uses no queue group, because a message of the group would be lost.

        Raises:
            nats.errors.Error: If the server does not respond in time.
        """
        self._forget()
        subscription = await self.client.subscribe(subject, pending_msgs_limit=1)
        try:
            await self.flush()
        finally:
            with contextlib.suppress(errors.Error):
                await subscription.unsubscribe()
        return self._refusal()

    async def try_publishing(self, subject: str) -> str | None:
        """Publish an empty message; return the server's reason for refusing it, or None.

        Raises:
            nats.errors.Error: If the server does not respond in time.
        """
        self._forget()
        await self.client.publish(subject)
        await self.flush()
        return self._refusal()

    def _forget(self) -> None:
        """Discard earlier refusals: they belong to something else."""
        while not self.refusals.empty():
            self.refusals.get_nowait()

    def _refusal(self) -> str | None:
        return None if self.refusals.empty() else self.refusals.get_nowait()


@contextlib.asynccontextmanager
async def open_probe(options: ConnectOptions, now: Callable[[], int]) -> AsyncIterator[Probe]:
    """Connect for the life of a block.

    Args:
        options: The server and login; every wait is limited by `options.timeout`.
        now: Our time, in nanoseconds since 1970.

    Raises:
        XKeyMsgError: As `dial`.
    """
    refused: asyncio.Queue[str] = asyncio.Queue(maxsize=64)

    def on_error(error: Exception) -> None:
        if _NO_RIGHT in str(error).lower() and not refused.full():
            refused.put_nowait(str(error).removeprefix("nats: "))

    async with dialled(options, on_error) as client:
        yield Probe(client, options.timeout, refused, now)


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise DeliveryError("the server's response is not a JSON object")
    return content


def parse_time(text: object) -> float | None:
    """Return a time of the server (RFC 3339) in seconds since 1970, or None if it is invalid."""
    try:
        return nanoseconds(text) / 1e9 if isinstance(text, str) else None
    except ValueError:
        return None

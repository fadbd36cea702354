"""Replies to `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` (ADR-32), for `nats micro`.

Anyone may send a request, and the requester chooses the reply subject. Replies therefore go only to
inboxes: a request with the reply subject `$JS.API.STREAM.PURGE.X`, or an application's subject,
would make us publish there with our own permissions. Replies are rate-limited, and contain names
from the configuration, numbers, codes, and the public keys that refused messages state as their
senders.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import string
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from xkeymsg.daemons.common.lifecycle import Lifecycle
from xkeymsg.daemons.common.sections import DaemonConfig
from xkeymsg.daemons.common.upkeep import version
from xkeymsg.display import safe_repr
from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription

__all__ = ("Endpoint", "MicroService", "announce", "answering", "as_service")

_TYPE: Final = "io.nats.micro.v1."
_LETTERS: Final = string.ascii_letters + string.digits
_RATE: Final = 50
"""Replies per second."""
_WAITING: Final = 64


@safe_repr
@dataclass
class Endpoint:
    """A route, as an endpoint of the service."""

    name: str
    subject: str
    queue: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    """An error code of this package."""
    seconds: float = 0.0
    """Total processing time."""
    data: dict[str, Any] = field(default_factory=dict)
    """Its part of `data` in the STATS reply: numbers, states and codes."""
    more: Callable[[], Mapping[str, Any]] = dict
    """Returns a further part of `data`, when it is requested."""

    def info(self) -> dict[str, Any]:
        """Return its part of the INFO reply."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "metadata": self.metadata,
        }

    def stats(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return its part of the STATS reply; `state` is that of the daemon."""
        spent = int(self.seconds * 1e9)
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": spent,
            "average_processing_time": spent // self.requests if self.requests else 0,
            "data": {**state, **self.metadata, **self.data, **self.more()},
        }


class MicroService:
    """A daemon, as a NATS service.

    Args:
        name: Its name.
        version: The version of this package.
        program: `xkeymsg-receiver` or `xkeymsg-sender`.
        description: What it does.
        endpoints: Its routes.
        state: Returns what the STATS reply says of the daemon, with each endpoint.
    """

    def __init__(
        self,
        name: str,
        version: str,
        program: str,
        description: str,
        endpoints: Sequence[Endpoint],
        state: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.name = name
        self.id = "".join(secrets.choice(_LETTERS) for _ in range(22))
        self._common: dict[str, Any] = {"name": name, "id": self.id, "version": version}
        self._common["metadata"] = {"program": program}
        self._state = state
        self._description = description
        self._endpoints = endpoints
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")

    def ping(self) -> dict[str, Any]:
        """Return the PING reply."""
        return {"type": _TYPE + "ping_response", **self._common}

    def info(self) -> dict[str, Any]:
        """Return the INFO reply."""
        return {
            "type": _TYPE + "info_response",
            **self._common,
            "description": self._description,
            "endpoints": [each.info() for each in self._endpoints],
        }

    def stats(self) -> dict[str, Any]:
        """Return the STATS reply."""
        state = self._state()
        return {
            "type": _TYPE + "stats_response",
            **self._common,
            "started": self._started,
            "endpoints": [each.stats(state) for each in self._endpoints],
        }


class _Answers:
    def __init__(self, link: Link, inboxes: tuple[str, ...]) -> None:
        self._link = link
        self._inboxes = inboxes
        self._left, self._second = _RATE, 0

    async def give(self, subscription: RawSubscription, answer: Callable[[], Any]) -> None:
        async for raw in subscription:
            reply = raw.reply_text
            second = int(asyncio.get_running_loop().time())
            if second != self._second:
                self._left, self._second = _RATE, second
            if self._left <= 0 or not reply.startswith(self._inboxes):
                continue
            self._left -= 1
            with contextlib.suppress(XKeyMsgError):  # the requester can retry
                await self._link.publish(reply, json.dumps(answer()).encode())


def announce(
    life: Lifecycle, config: DaemonConfig, key: str, routes: Iterable[str], health: str | None
) -> None:
    """Report that a daemon is ready, and log its settings."""
    life.ready()
    life.log.info(
        "ready",
        key=key,
        servers=config.nats.options(config.name).addresses,
        routes=",".join(routes),
        health=health or "off",
    )


def as_service(
    link: Link,
    config: DaemonConfig,
    program: str,
    description: str,
    endpoints: Sequence[Endpoint],
    state: Callable[[], Mapping[str, Any]],
) -> contextlib.AbstractAsyncContextManager[None]:
    """Answer as a NATS service while the block runs, unless the configuration says not to."""
    if not config.observe.micro:
        return contextlib.nullcontext()
    service = MicroService(config.name, version(), program, description, endpoints, state)
    return answering(link, service, inbox_prefix=config.nats.inbox_prefix)


@contextlib.asynccontextmanager
async def answering(link: Link, service: MicroService, *, inbox_prefix: str) -> AsyncIterator[None]:
    """Reply to requests while the block runs.

    Args:
        link: The connection.
        service: The service.
        inbox_prefix: A prefix of inboxes to accept, in addition to `_INBOX`, and to `_R_`, which
            replaces the inboxes of other accounts.
    """
    answers = _Answers(link, ("_INBOX.", "_R_.", f"{inbox_prefix}."))
    calls = {"PING": service.ping, "INFO": service.info, "STATS": service.stats}
    tasks: list[asyncio.Task[None]] = []
    subscriptions: list[RawSubscription] = []
    try:
        for verb, call in calls.items():
            for end in ("", f".{service.name}", f".{service.name}.{service.id}"):
                subscription = await link.subscribe(f"$SRV.{verb}{end}", max_messages=_WAITING)
                subscriptions.append(subscription)
                tasks.append(asyncio.create_task(answers.give(subscription, call)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for subscription in subscriptions:
            await subscription.unsubscribe()

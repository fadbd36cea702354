"""The daemons that answer as NATS services: who they are, and how they are.

Nothing here is authenticated: any client may answer as a service. Replies are bounded in number and
size, and a round of questions ends by the clock, not by the services.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.untrusted import (
    codes_in,
    items_in,
    number_in,
    parse_object,
    seconds_in,
    table_in,
    text_in,
)
from xkeymsg.errors import XKeyMsgError
from xkeymsg.nkey import is_public
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription

__all__ = ("PROGRAMS", "Daemon", "Fleet", "FleetRoute", "RefusalCount")

PROGRAMS: Final = ("xkeymsg-receiver", "xkeymsg-sender")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_EVERY: Final = 2.0
"""Seconds between two rounds."""
_ROUND: Final = 1.0
"""Seconds for the replies of a round."""
_MOST: Final = 512
"""Daemons, and replies in a round."""
_MOST_ROUTES: Final = 64
_REPLY: Final = 1 << 16
_BYTES: Final = 4 << 20
"""Bytes of the replies of a round."""
_SILENT: Final = 8.0
"""Seconds without a reply after which a daemon counts as silent."""
_FORGET: Final = 600.0
"""Seconds without a reply after which it is forgotten."""


class FleetRoute(NamedTuple):
    """A route of a daemon, as that reports it."""

    name: str
    subject: str
    stream: str
    durable: str
    requests: int
    errors: int
    last_error: str
    refused: Mapping[str, int]
    """Refused messages by code."""
    blocked: bool
    covers: float | None
    """Seconds that the replay window covers; None if all of it."""
    max_age: float | None
    """Seconds that it should cover; None if the route has none."""

    @property
    def is_short(self) -> bool:
        """Whether the replay window covers less than it should."""
        return None not in (self.covers, self.max_age) and self.covers < self.max_age  # type: ignore[operator]


class Daemon(NamedTuple):
    """A daemon, as it reports itself."""

    name: str
    id: str
    program: str
    version: str
    key: str
    key_age: float | None
    """Seconds."""
    ready: bool | None
    retired_senders: int
    """Senders of the last hour that seal with a key that is no longer current."""
    routes: tuple[FleetRoute, ...]
    answered: float
    """When it answered last, by the monotonic clock."""
    at: datetime
    """The same, by the wall clock."""

    @property
    def is_silent(self) -> bool:
        """Whether it has not answered for a time."""
        return monotonic() - self.answered > _SILENT

    @property
    def is_receiver(self) -> bool:
        """Whether it opens messages."""
        return self.program == PROGRAMS[0]

    @property
    def troubles(self) -> list[str]:
        """What is wrong with it."""
        found = ["does not answer"] if self.is_silent else []
        if not self.is_silent and self.ready is not True:
            found.append("does not say whether it is ready" if self.ready is None else "not ready")
        found += [f"route {each.name} is blocked" for each in self.routes if each.blocked]
        found += [
            f"route {each.name}: replay window is short" for each in self.routes if each.is_short
        ]
        if self.retired_senders:
            found.append(f"senders that use a retired key: {self.retired_senders}")
        return found


class RefusalCount(NamedTuple):
    """Messages that one route of one daemon has refused for one reason."""

    code: str
    daemon: str
    route: str
    durable: str
    total: int
    """Since the daemon started."""
    minute: int | None
    """In the last minute, or since the console has seen the daemon; None if it is silent."""


class Fleet:
    """Asks for the state of all daemons, repeatedly.

    Args:
        link: The connection.
        changes: Is notified of changes of the pages with daemons or their counts.
        most: The limit of daemons, and of replies in a round.
    """

    def __init__(self, link: Link, changes: Changes, *, most: int = _MOST) -> None:
        self._link, self._changes, self._most = link, changes, most
        self._daemons: dict[tuple[str, str], Daemon] = {}
        self._history: dict[tuple[str, str], list[tuple[float, dict[tuple[str, str], int]]]] = {}
        self.others = 0
        """Other services that answered in the last round."""
        self.is_cut = False
        """Whether the last round had more replies than are read."""
        self.has_asked = False
        self.problem = ""
        """Why the last round failed."""

    @property
    def daemons(self) -> list[Daemon]:
        """The daemons, by program and name."""
        return sorted(self._daemons.values(), key=lambda each: (each.program, each.name, each.id))

    @property
    def gaps(self) -> list[str]:
        """Why what is shown may be incomplete, or old."""
        found = [] if self.has_asked else ["the first answers are awaited"]
        found += [self.problem] if self.problem else []
        if self.is_cut:
            found.append("more answers than are read: not every daemon is shown")
        if self.has_asked and not self.problem and not self._daemons:
            found.append("no daemon has answered: does one run, with the permissions it needs?")
        return found

    @property
    def is_fine(self) -> bool:
        """Whether all daemons that answer are ready, and nothing is missing."""
        return not self.gaps and not any(each.troubles for each in self._daemons.values())

    @property
    def refusals(self) -> list[RefusalCount]:
        """The refused messages by code and route, the most frequent first."""
        found = []
        for at, daemon in self._daemons.items():
            before = self._history[at][0][1]
            for route in daemon.routes:
                for code, total in route.refused.items():
                    seen = before.get((route.name, code), 0)
                    minute = None if daemon.is_silent else max(0, total - seen)
                    found.append(
                        RefusalCount(code, daemon.name, route.name, route.durable, total, minute)
                    )
        return sorted(found, key=lambda each: (-(each.minute or 0), -each.total, each[:3]))

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            before = self._shown()
            try:
                await self._ask()
                self.problem = ""
            except XKeyMsgError as error:
                self.problem = str(error)[:300]
            self.has_asked = True
            self._forget()
            if self._shown() != before:
                for page in ("/fleet", "/refused", "/rotation"):
                    self._changes.note(page)
            await asyncio.sleep(_EVERY)

    def _shown(self) -> object:
        daemons = [
            (each._replace(answered=0.0, at=_EPOCH, key_age=None), each.is_silent)
            for each in self.daemons
        ]
        return daemons, self.others, self.is_cut, self.problem, self.has_asked

    async def _ask(self) -> None:
        link, inbox = self._link, self._link.new_inbox()
        replies = await link.subscribe(inbox, max_messages=self._most, max_bytes=_BYTES)
        try:
            await link.publish("$SRV.STATS", b"", reply=inbox)
            await self._take(replies)
        finally:
            await replies.unsubscribe()

    async def _take(self, replies: RawSubscription) -> None:
        end, left, others = monotonic() + _ROUND, _BYTES, set()
        self.is_cut = False
        for _ in range(self._most):
            try:
                raw = await replies.next(max(0.0, end - monotonic()))
            except XKeyMsgError:  # no more replies in time
                break
            left -= len(raw.data)
            if left < 0 or monotonic() > end:
                self.is_cut = True
                break
            answer = parse_object(raw.data, _REPLY)
            if answer is None or raw.says_nobody_listens:
                continue
            if (daemon := _daemon(answer)) is not None:
                self._add(daemon)
            elif answer.get("type") == "io.nats.micro.v1.stats_response":
                others.add(text_in(answer, "id"))
        else:
            self.is_cut = True
        self.others = len(others)

    def _add(self, daemon: Daemon) -> None:
        at = daemon.name, daemon.id
        if at not in self._daemons and len(self._daemons) >= self._most:
            oldest = min(self._daemons, key=lambda each: self._daemons[each].answered)
            if not self._daemons[oldest].is_silent:
                self.is_cut = True
                return
            del self._daemons[oldest], self._history[oldest]
        self._daemons[at] = daemon
        counts = {
            (route.name, code): total
            for route in daemon.routes
            for code, total in route.refused.items()
        }
        history = self._history.setdefault(at, [(daemon.answered, counts)])
        if history[-1][1] != counts or daemon.answered - history[-1][0] > 10:
            history.append((daemon.answered, counts))
        while len(history) > 1 and (history[1][0] < daemon.answered - 60 or len(history) > 40):
            del history[0]

    def _forget(self) -> None:
        for at, daemon in list(self._daemons.items()):
            if monotonic() - daemon.answered > _FORGET:
                del self._daemons[at], self._history[at]


def _daemon(answer: Mapping[str, Any]) -> Daemon | None:
    """Return the daemon that a reply describes; None if it is another service's."""
    program = text_in(table_in(answer, "metadata"), "program")
    name, number = text_in(answer, "name", 64), text_in(answer, "id", 64)
    if program not in PROGRAMS or not name or not number:
        return None
    endpoints = list(items_in(answer, "endpoints", _MOST_ROUTES))
    data = table_in(endpoints[0], "data") if endpoints else {}
    ready = data.get("ready")
    return Daemon(
        name=name,
        id=number,
        program=program,
        version=text_in(answer, "version", 32),
        key=key if is_public(key := text_in(data, "key", 64)) else "",
        key_age=seconds_in(data, "key_age"),
        ready=ready if isinstance(ready, bool) else None,
        retired_senders=number_in(data, "retired_senders"),
        routes=tuple(_routes(endpoints)),
        answered=monotonic(),
        at=datetime.now(UTC),
    )


def _routes(endpoints: list[Mapping[str, Any]]) -> Iterator[FleetRoute]:
    for each in endpoints:
        data = table_in(each, "data")
        replay = table_in(data, "replay")
        yield FleetRoute(
            name=text_in(each, "name", 64),
            subject=text_in(each, "subject"),
            stream=text_in(data, "stream", 64),
            durable=text_in(data, "durable", 64),
            requests=number_in(each, "num_requests"),
            errors=number_in(each, "num_errors"),
            last_error=text_in(each, "last_error", 64),
            refused=codes_in(data, "refused"),
            blocked=data.get("blocked") is True,
            covers=seconds_in(replay, "covers"),
            max_age=seconds_in(replay, "max_age"),
        )

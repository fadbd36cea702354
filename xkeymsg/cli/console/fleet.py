"""The daemons that answer as NATS services: who they are, and how they are.

Nothing here is authenticated: any client may answer as a service. Replies are bounded in number and
size, and a round of questions ends by the clock, not by the services.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

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

__all__ = ("PROGRAMS", "Daemon", "Fleet", "FleetRoute", "RefusalCount", "RefusedSender")

PROGRAMS: Final = ("xkeymsg-receiver", "xkeymsg-sender")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_EVERY: Final = 2.0
"""Seconds between two rounds."""
_ROUND: Final = 1.0
"""Seconds for the replies of a round."""
_MOST: Final = 512
"""Daemons, and replies in a round."""
_MOST_ROUTES: Final = 64
_MOST_SENDERS: Final = 64
"""Senders of each kind of a route."""
_REPLY: Final = 1 << 18
_BYTES: Final = 4 << 20
"""Bytes of the replies of a round, and of the last replies of all daemons."""
_SPACING: Final = 5.0
"""Seconds between two replies of a daemon that are kept for its rates."""
_SILENT: Final = 8.0
"""Seconds without a reply after which a daemon counts as silent."""
_FORGET: Final = 600.0
"""Seconds without a reply after which it is forgotten."""


class RefusedSender(NamedTuple):
    """Who sealed refused messages."""

    key: str
    """Of the form `X…`, perhaps not valid; empty for all senders that the daemon does not name."""
    is_authenticated: bool
    """Whether the daemon has verified it; otherwise anyone can have written it."""


_OTHERS: Final = RefusedSender("", False)
_KEY: Final = re.compile("X[A-Z2-7]{55}")


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
    senders: Mapping[tuple[str, RefusedSender], int]
    """Refused messages by code and sender, of a receiver; of a named one at least so many."""

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
    size: int
    """Bytes of the answer."""

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
        found += [
            f"route {each.name}: all {each.requests:,} messages failed"
            for each in self.routes
            if 0 < each.requests <= each.errors
        ]
        if self.retired_senders:
            found.append(f"senders that use a retired key: {self.retired_senders}")
        return found


class RefusalCount(NamedTuple):
    """Messages that one route of one daemon has refused for one reason, or also of one sender."""

    code: str
    daemon: str
    route: str
    durable: str
    total: int
    """Since the daemon started."""
    minute: int | None
    """In the last minute, or since the console has seen the daemon; None if it is silent."""
    sender: RefusedSender = _OTHERS


_Counted = TypeVar("_Counted")


def _frequent(count: RefusalCount) -> tuple[int, int, tuple[str, ...]]:
    """Sort the most frequent first."""
    return -(count.minute or 0), -count.total, count[:3]


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
        self._history: dict[tuple[str, str], list[Daemon]] = {}
        """What each has answered in the last minute, the oldest first."""
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
        found = [
            RefusalCount(code, *place, total, minute)
            for code, place, total, minute in self._counts(lambda route: route.refused)
        ]
        return sorted(found, key=_frequent)

    @property
    def refusals_by_sender(self) -> list[RefusalCount]:
        """The same by sender: first those of authenticated senders, last those of unnamed ones."""
        found = [
            RefusalCount(code, *place, total, minute, sender)
            for (code, sender), place, total, minute in self._counts(lambda route: route.senders)
        ]
        by_kind = sorted(found, key=_frequent)
        return sorted(
            by_kind, key=lambda each: (not each.sender.is_authenticated, not each.sender.key)
        )

    def _counts(
        self, of: Callable[[FleetRoute], Mapping[_Counted, int]]
    ) -> Iterator[tuple[_Counted, tuple[str, str, str], int, int | None]]:
        """Yield each count of the routes, with its place, its total, and that of a minute."""
        for at, daemon in self._daemons.items():
            before = {route.name: of(route) for route in self._history[at][0].routes}
            for route in daemon.routes:
                seen = before.get(route.name, {})
                for key, total in of(route).items():
                    minute = None if daemon.is_silent else max(0, total - seen.get(key, 0))
                    yield key, (daemon.name, route.name, route.durable), total, minute

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
            (each._replace(answered=0.0, at=_EPOCH, key_age=None, size=0), each.is_silent)
            for each in self.daemons
        ]
        before = [each[0].routes for each in self._history.values()]  # rates follow from it
        return daemons, before, self.others, self.is_cut, self.problem, self.has_asked

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
            if (daemon := _daemon(answer, len(raw.data))) is not None:
                self._add(daemon)
            elif answer.get("type") == "io.nats.micro.v1.stats_response":
                others.add(text_in(answer, "id"))
        else:
            self.is_cut = True
        self.others = len(others)

    def _add(self, daemon: Daemon) -> None:
        at = daemon.name, daemon.id
        others = {key: each for key, each in self._daemons.items() if key != at}
        size = daemon.size + sum(each.size for each in others.values())
        while len(others) >= self._most or size > _BYTES:
            oldest = min(others, key=lambda each: others[each].answered)
            if not others[oldest].is_silent:
                self.is_cut = True
                return
            size -= others.pop(oldest).size
            del self._daemons[oldest], self._history[oldest]
        self._daemons[at] = daemon
        history = self._history.setdefault(at, [daemon])
        if daemon.answered - history[-1].answered > _SPACING:
            history.append(daemon)
        while len(history) > 1 and history[1].answered < daemon.answered - 60:
            del history[0]

    def _forget(self) -> None:
        for at, daemon in list(self._daemons.items()):
            if monotonic() - daemon.answered > _FORGET:
                del self._daemons[at], self._history[at]


def _daemon(answer: Mapping[str, Any], size: int) -> Daemon | None:
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
        routes=tuple(_routes(endpoints, is_receiver=program == PROGRAMS[0])),
        answered=monotonic(),
        at=datetime.now(UTC),
        size=size,
    )


def _routes(endpoints: list[Mapping[str, Any]], *, is_receiver: bool) -> Iterator[FleetRoute]:
    for each in endpoints:
        data = table_in(each, "data")
        replay, refused = table_in(data, "replay"), codes_in(data, "refused")
        yield FleetRoute(
            name=text_in(each, "name", 64),
            subject=text_in(each, "subject"),
            stream=text_in(data, "stream", 64),
            durable=text_in(data, "durable", 64),
            requests=number_in(each, "num_requests"),
            errors=number_in(each, "num_errors"),
            last_error=text_in(each, "last_error", 64),
            refused=refused,
            blocked=data.get("blocked") is True,
            covers=seconds_in(replay, "covers"),
            max_age=seconds_in(replay, "max_age"),
            senders=_senders(table_in(data, "refused_senders"), refused) if is_receiver else {},
        )


def _senders(
    given: Mapping[str, Any], refused: Mapping[str, int]
) -> dict[tuple[str, RefusedSender], int]:
    """Return refused messages by code and sender; what is left is counted as of others."""
    found, left = dict[tuple[str, RefusedSender], int](), Counter(refused)
    for kind in ("authenticated", "stated"):
        named = table_in(given, kind)
        for key in list(named)[:_MOST_SENDERS]:
            sender = RefusedSender(key, kind == "authenticated")
            for code, count in codes_in(named, key).items() if _KEY.fullmatch(key) else ():
                found[code, sender] = count
                left[code] -= count
    return found | {(code, _OTHERS): count for code, count in left.items() if count > 0}

"""The console as a process: its connection, its collectors and its HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

from xkeymsg.cli.console.access import Accesses
from xkeymsg.cli.console.app import make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.config import ConsoleConfig, read_password
from xkeymsg.cli.console.connection import ConnectionProblems
from xkeymsg.cli.console.fleet import Fleet
from xkeymsg.cli.console.login import Login
from xkeymsg.cli.console.pages import Pages
from xkeymsg.cli.console.people import People
from xkeymsg.cli.console.refused import Quarantines
from xkeymsg.cli.console.seen import SeenSenders
from xkeymsg.cli.console.streams import Streams
from xkeymsg.cli.console.terminated import Terminations
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.cli.web.server import ended, served
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.tasks import Background
from xkeymsg.daemons.common import lifecycle
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.lifecycle import Lifecycle
from xkeymsg.daemons.common.listeners import listening
from xkeymsg.daemons.common.logs import Log, reason, set_up
from xkeymsg.transport.link import Event, Link, open_link
from xkeymsg.transport.subjects import covers

__all__ = ("run",)

_PAUSE: Final = 5.0
"""Seconds until a collector that has failed runs again."""


class _Collector(Protocol):
    """Keeps current what some pages show."""

    async def run(self) -> None:
        """Collect until cancelled."""


def run(config: ConsoleConfig) -> int:
    """Run the console until it stops; return the exit code."""
    set_up(config.log, "info")
    log, health = Log("xkeymsg.console"), Health()
    return lifecycle.run(_Console(config, log).work, lambda: Lifecycle(log, health, 5.0))


class _Console:
    def __init__(self, config: ConsoleConfig, log: Log) -> None:
        self._config, self._log = config, log
        self._changes = Changes()
        self._connection = ConnectionProblems(self._changes)

    async def work(self, life: Lifecycle) -> None:
        """Connect, serve until stopped, and finish."""
        config = self._config
        people = People(config.trust, config.nats, self._changes)
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                open_link(config.nats.options(config.name), self._note, config.nats.keys)
            )
            await stack.enter_async_context(people.following(link))
            background = await stack.enter_async_context(Background())
            pages = self._collect(link, people, background)
            with listening(config.listen) as (listener, where):
                app = make_app(
                    pages.all(), self._changes, hosts=local_hosts(where) | {*config.hosts},
                    scheme=self._scheme, login=self._login(), notices=pages.notices,
                )  # fmt: skip
                tls = config.tls
                certificate = None if tls is None else (tls.cert, tls.key)
                server = await stack.enter_async_context(served(app, listener, certificate))
                stack.callback(self._changes.close)
                life.ready()
                self._log.info("ready", listen=f"{self._scheme}://{where}/")
                await ended(server, life.stopping)
        self._log.info("stopped")

    def _collect(self, link: Link, people: People, background: Background) -> Pages:
        """Start the collectors."""
        config, changes = self._config, self._changes
        api = API(link)
        seen = SeenSenders(lambda key: bool(people.name_of(key)))
        accesses = Accesses(config.subject, people, changes)
        fleet = Fleet(link, changes)
        quarantines = Quarantines(api, config.unproven, config.proven, seen, changes)
        patterns = [each.subject for each in config.subject] or [">"]
        streams = Streams(
            api, config.streams, lambda text: any(covers(each, text) for each in patterns),
            seen, changes,
        )  # fmt: skip
        terminations = Terminations(link, config.streams, changes)
        collectors: dict[str, _Collector] = {
            "the source of trust": people, "the policies": accesses, "the fleet": fleet,
            "the quarantine": quarantines, "the streams": streams, "advisories": terminations,
        }  # fmt: skip
        for name, each in collectors.items():
            background.spawn(self._keep(name, each))
        websocket = config.websocket or ""
        return Pages(
            accesses, people, fleet, quarantines, terminations, streams, seen,
            connection=self._connection, retain=config.retain, websocket=websocket,
        )  # fmt: skip

    async def _keep(self, name: str, collector: _Collector) -> None:
        """Run a collector; an unforeseen error of one stops no page."""
        while True:
            try:
                await collector.run()
            except Exception as error:  # noqa: BLE001 - it is tried again
                self._log.often("error", "unexpected", "error", error=reason(error))
                self._connection.fail(name)
                await asyncio.sleep(_PAUSE)
            else:
                return  # nothing to collect

    def _login(self) -> Login | None:
        section = self._config.login
        if section is None:
            return None
        return Login(section.user, read_password(section.password_file))

    @property
    def _scheme(self) -> str:
        return "http" if self._config.tls is None else "https"

    def _note(self, event: Event) -> None:
        self._connection.note(event)
        if event.kind != "slow":
            self._log.often("warning", f"nats {event.kind}", "error", error=str(event.error or ""))

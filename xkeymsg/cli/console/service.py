"""The console as a process: its connection, its collectors and its HTTP server."""

from __future__ import annotations

import asyncio
import contextlib

from xkeymsg.cli.console.app import Page, make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.config import ConsoleConfig
from xkeymsg.cli.console.open_page import open_page
from xkeymsg.cli.web.guard import loopback_hosts
from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common import lifecycle
from xkeymsg.daemons.common.destinations import is_loopback
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.lifecycle import Lifecycle
from xkeymsg.daemons.common.listening import listening
from xkeymsg.daemons.common.logs import Log, set_up
from xkeymsg.transport.link import Event, open_link

__all__ = ("run",)


def run(config: ConsoleConfig) -> int:
    """Run the console until it stops; return the exit code."""
    set_up(config.log, "info")
    log, health = Log("xkeymsg.console"), Health()
    return lifecycle.run(_Console(config, log).work, lambda: Lifecycle(log, health, 5.0))


class _Console:
    def __init__(self, config: ConsoleConfig, log: Log) -> None:
        self._config, self._log = config, log
        self._changes = Changes()

    async def work(self, life: Lifecycle) -> None:
        """Connect, serve until stopped, and finish."""
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                open_link(config.nats.options(config.name), self._note, config.nats.keys)
            )
            del link
            with listening(config.listen) as (listener, where):
                app = make_app(
                    self._pages(), self._changes, hosts=self._hosts(where), scheme=self._scheme
                )
                tls = config.tls
                server = await stack.enter_async_context(
                    served(app, listener, None if tls is None else (tls.cert, tls.key))
                )
                stack.callback(self._changes.close)
                life.ready()
                self._log.info("ready", listen=f"{self._scheme}://{where}/")
                stopping = asyncio.create_task(life.stopping.wait())
                await asyncio.wait({server, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if server.done():
                    await server
        self._log.info("stopped")

    @property
    def _scheme(self) -> str:
        return "http" if self._config.tls is None else "https"

    def _hosts(self, where: str) -> frozenset[str]:
        """Return the values of `Host` to accept."""
        own = frozenset(self._config.hosts)
        if where.startswith("unix:"):
            return own | {"localhost"}
        host, _, port = where.rpartition(":")
        host = host.strip("[]")
        return own | loopback_hosts(host, int(port)) if is_loopback(host) else own

    def _pages(self) -> list[Page]:
        return [open_page(self._config.websocket or "")]

    def _note(self, event: Event) -> None:
        if event.kind != "slow":
            self._log.often("warning", f"nats {event.kind}", "error", error=str(event.error or ""))

"""The receiver daemon: sinks, routes and upkeep, as configured."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from time import monotonic
from typing import Any, Final

from xkeymsg.client.jetstream.events import Trouble
from xkeymsg.client.telemetry import tracing_of
from xkeymsg.daemons.common import lifecycle
from xkeymsg.daemons.common.health import Health, serving
from xkeymsg.daemons.common.identity import DaemonIdentity, daemon_state, self_test
from xkeymsg.daemons.common.lifecycle import Lifecycle
from xkeymsg.daemons.common.logs import Log, set_up
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.daemons.common.rotation import DaemonRotation, rotation_conditions
from xkeymsg.daemons.common.service import Endpoint, announce, as_service
from xkeymsg.daemons.common.trust import Following, conditions, load_trust
from xkeymsg.daemons.common.upkeep import Upkeep
from xkeymsg.daemons.receiver.activity import Activity
from xkeymsg.daemons.receiver.batches import Outlet
from xkeymsg.daemons.receiver.config import (
    CommandSink,
    FilesSink,
    HTTPSink,
    NATSSink,
    ReceiverConfig,
    ReceiverRoute,
    StdoutSink,
)
from xkeymsg.daemons.receiver.reports import ReceiverReporter
from xkeymsg.daemons.receiver.retention import needed_by
from xkeymsg.daemons.receiver.scope import RouteScope
from xkeymsg.daemons.receiver.senders import RouteSenders
from xkeymsg.daemons.receiver.sinks.command import Command
from xkeymsg.daemons.receiver.sinks.files import Files
from xkeymsg.daemons.receiver.sinks.nats import open_nats
from xkeymsg.daemons.receiver.sinks.sink import Sink
from xkeymsg.daemons.receiver.sinks.stdout import Stdout
from xkeymsg.daemons.receiver.stream_route import StreamRoute, prepare_quarantine
from xkeymsg.daemons.receiver.subject_route import SubjectRoute
from xkeymsg.display import cut
from xkeymsg.envelope.admission import ANYONE, Senders
from xkeymsg.errors import ConfigurationError, XKeyMsgError
from xkeymsg.keys import Keyring
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.subjects import overlap
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("run",)

Worker = SubjectRoute | StreamRoute

_MARGIN: Final = 10.0
"""Seconds beyond its timeout after which a sink counts as stuck."""
_COUNT: Final = 10.0
"""Seconds between two counts of senders."""
_CONDITIONS: Final[dict[Trouble, str]] = {
    "outage": "sinks",
    "unproved": "opening",
    "clock": "clock",
    "permission": "acknowledging",
}
"""The readiness conditions of stream routes, by the trouble that ends them."""


def run(config: ReceiverConfig) -> int:
    """Run the receiver until it stops; return the exit code."""
    set_up(config.observe.log, config.observe.level)
    log, metrics = Log("receiver"), Metrics()
    own = (*rotation_conditions(config.key), "key", "self-test")
    more = ("subscribed", "served", "quarantine", *_CONDITIONS.values())
    health = Health("connected", *conditions(config.trust), *own, *more)
    receiver = _Receiver(config, log, metrics, health)
    return lifecycle.run(receiver.work, lambda: Lifecycle(log, health, config.drain.seconds))


class _Receiver:
    def __init__(self, config: ReceiverConfig, log: Log, metrics: Metrics, health: Health) -> None:
        self._config = config
        self._log = log
        self._metrics = metrics
        self._health = health
        self._upkeep = Upkeep(log, metrics, health, key=lambda: self._identity.public)
        self._workers: list[Worker] = []
        self._tracing = tracing_of(config.observe.telemetry)
        self._endpoints: list[Endpoint] = []
        self._outlets: dict[str, Outlet] = {}
        self._stuck: list[str] = []
        self._activity = Activity(log)
        self._rotation: DaemonRotation | None = None
        self._counted = 0.0
        self._retired = 0

    async def work(self, life: Lifecycle) -> None:
        """Set up, run until stopped, and finish."""
        config, log = self._config, self._log
        self._senders: Senders = ANYONE
        if not config.trust.anyone:
            self._senders = load_trust(config.trust, config.nats.creds)
        self._identity = DaemonIdentity(config.key, self._senders)
        self._following = Following(
            config.trust, self._senders, self._upkeep, log, self._health, self._metrics.registry,
            lambda: (self._identity.keyring.active.public, self._identity.user or ""),
        )  # fmt: skip
        self._health.set("key", True)
        self_test(self._identity.keyring)
        self._health.set("self-test", True)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._following.close)
            where = stack.enter_context(
                serving(config.observe.listen, self._health, self._metrics.exposition)
            )
            subjects = [route.subject for route in config.route if route.subject]
            note = partial(self._upkeep.note, subjects=subjects)
            link = await stack.enter_async_context(
                open_link(config.nats.options(config.name), note, config.nats.keys)
            )
            await stack.enter_async_context(self._following.over(link))
            streams = link
            if subjects and any(route.stream for route in config.route):
                # A subject route that is slow pauses the reading of its connection.
                note = partial(self._upkeep.note, condition="streams connected")
                options = config.nats.options(config.name)
                streams = await stack.enter_async_context(
                    open_link(options, note, config.nats.keys)
                )
            await self._rotate(streams, stack)
            await self._begin(link, streams, life, stack)
            # Each by itself: a failure of another one must not keep trust from changing.
            workers = [worker.tick for worker in self._workers]
            life.on_tick(self._follow, *workers, partial(self._tick, link, streams))
            life.on_reload(self._reload)
            routes = [route.name for route in config.route]
            announce(life, config, self._identity.public, routes, where)
            self._warn()
            await self._run(life)
            log.info("stopped")

    async def _rotate(self, streams: Link, stack: contextlib.AsyncExitStack) -> None:
        """Have certificates decide about the keys, if that is configured."""
        config, followed = self._config, self._following.directory
        if followed is None:
            return
        if config.key.rotation is None:
            await stack.enter_async_context(followed.keeping(config.nats, self._identity))
            return
        self._rotation = DaemonRotation(
            config.key, config.nats, followed.directory, self._identity,
            log=self._log, health=self._health, registry=self._metrics.registry, use=self._rekey,
            holds=lambda until: needed_by(config, self._identity.section, streams, until),
        )  # fmt: skip
        await stack.enter_async_context(self._rotation.running())

    def _rekey(self, keyring: Keyring) -> None:
        for worker in self._workers:
            worker.rekey(keyring)

    def _warn(self) -> None:
        """Log a warning for each risky setting, and for each route on which no peer may send."""
        if self._config.trust.anyone:
            self._log.warning("any sender is admitted")
        for route in self._config.route:
            if "xkv1" in route.formats:
                why = "it authenticates neither subject nor time, and can be replayed"
                self._log.warning("xkv1 is accepted", route=route.name, why=why)
            for name in route.senders:
                if why := _unknown(self._senders, name):
                    self._log.warning("unknown sender", route=route.name, why=why)
            if isinstance(self._senders, PeersFile) and not _may_send(self._senders, route):
                why = cut(f"no peer has `subjects` that include {', '.join(route.accepted)}")
                self._log.warning("no peer may send", route=route.name, why=why)

    async def _begin(
        self, link: Link, streams: Link, life: Lifecycle, stack: contextlib.AsyncExitStack
    ) -> None:
        """Open the sinks, subscribe, and answer requests; no message is read before that."""
        config = self._config
        for name in config.sinks:
            self._outlets[name] = await self._open_sink(name, life, stack)
        if any(route.stream for route in config.route):
            await prepare_quarantine(config, streams)
        self._health.set("quarantine", True)
        for route in config.route:
            worker = self._worker(route, self._outlets[route.sink])
            if isinstance(worker, StreamRoute):
                await worker.begin(streams, self._identity.keyring)
            else:
                await worker.begin(link)
            self._workers.append(worker)
        await link.confirm()  # raises if the server refused a subscription
        self._health.set("subscribed", True)
        await stack.enter_async_context(
            as_service(
                link,
                config,
                "xkeymsg-receiver",
                "opens sealed messages",
                self._endpoints,
                self._state,
            )
        )

    def _state(self) -> dict[str, Any]:
        """Return what the STATS reply says of this daemon."""
        return daemon_state(self._identity, self._health) | {"retired_senders": self._retired}

    def _worker(self, route: ReceiverRoute, outlet: Outlet) -> Worker:
        endpoint = Endpoint(
            route.name, route.subject or route.accepted[0], route.queue or "", _metadata(route)
        )
        report = ReceiverReporter(
            route.name, self._log, self._metrics.route(route.name), endpoint,
            routes=len(self._config.route),
        )  # fmt: skip
        senders = self._senders
        if route.senders and isinstance(senders, PeersFile | Trust):
            senders = RouteSenders(senders, route.senders)

        def new_opening() -> RouteScope:
            return RouteScope(
                route,
                self._identity.keyring,
                senders,
                require_signature=self._config.trust.require_signature,
                on_opened=report.opened,
                on_message=partial(self._activity.note, senders),
                tracing=self._tracing,
            )

        self._endpoints.append(endpoint)
        if route.subject is not None:
            return SubjectRoute(route, new_opening(), outlet, report)
        return StreamRoute(self._config, route, new_opening, outlet, report)

    async def _open_sink(
        self, name: str, life: Lifecycle, stack: contextlib.AsyncExitStack
    ) -> Outlet:
        section = self._config.sinks[name]
        sink: Sink
        batches: dict[str, Any] = {}
        match section:
            case StdoutSink():
                sink, batches = Stdout(), {"batch": 256}
            case FilesSink():
                sink, batches = Files(section.folder), {"batch": 64, "parallel": 4}
            case NATSSink():
                sink = await stack.enter_async_context(open_nats(section, self._config.name))
                batches = {"batch": 256}
            case CommandSink():
                sink = Command(section, self._log)
            case HTTPSink():
                from xkeymsg.daemons.receiver.sinks.http import HTTP  # noqa: PLC0415 - costs 10 MB

                sink = HTTP(section)
        if isinstance(section, CommandSink | HTTPSink):
            batches = {
                key: getattr(section, key) for key in ("batch", "batch_bytes", "linger", "parallel")
            }
            batches["bound"] = section.timeout + _MARGIN
        outlet = Outlet(sink, on_gone=life.fail, **batches)
        stack.push_async_callback(outlet.close)
        return outlet

    async def _run(self, life: Lifecycle) -> None:
        """Run until stopped, then until every accepted message is settled."""
        tasks = {asyncio.create_task(worker.run()) for worker in self._workers}
        stopping = asyncio.create_task(life.stopping.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():  # a route ends by itself only if it cannot continue
                    life.fail(task.exception() or ConfigurationError("a route has ended"))
            if life.error is None:
                self._log.info("stopping")
                await asyncio.gather(*(worker.stop() for worker in self._workers))
                await asyncio.gather(*tasks)
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- ticks and reloads ------------------------------------------------------------------------

    def _follow(self) -> None:
        if self._following.tick():
            self._trust_changed()

    def _tick(self, link: Link, streams: Link) -> None:
        self._health.set("connected", link.state == "connected")
        if streams is not link:
            self._health.set("streams connected", streams.state == "connected")
        self._metrics.connected.set(link.state == streams.state == "connected")
        self._metrics.key_age.set(self._identity.age())
        routes = self._streams
        self._health.set("quarantine", not any(each.is_blocked for each in routes))
        self._health.set("served", not any(each.is_unserved for each in routes))
        self._watch_sinks()
        troubles = {code for each in routes for code in each.troubles}
        for code, condition in _CONDITIONS.items():
            is_stuck = condition == "sinks" and bool(self._stuck)
            self._health.set(condition, code not in troubles and not is_stuck)
        if isinstance(self._senders, Trust) and monotonic() >= self._counted + _COUNT:
            self._counted = monotonic()
            self._retired = self._activity.retired(self._senders.members)
            self._metrics.retired_senders.set(self._retired)
        self._metrics.ready.set(self._health.ready)  # last: it depends on the conditions above

    def _watch_sinks(self) -> None:
        stuck = [name for name, outlet in self._outlets.items() if outlet.is_stuck]
        for name in stuck:
            if name not in self._stuck:
                self._log.error("sink is stuck", sink=name)
        self._stuck = stuck

    async def _reload(self) -> None:
        if await self._following.reload():
            self._trust_changed()
        if self._rotation is not None:
            self._rotation.look_again()
        elif self._upkeep.reloaded("key", self._identity.reload):
            self._rekey(self._identity.keyring)
            self._unprove()
        sinks = self._config.sinks.values()
        self._upkeep.reload_logins(
            self._config.nats, *(each for each in sinks if isinstance(each, NATSSink))
        )

    @property
    def _streams(self) -> list[StreamRoute]:
        return [worker for worker in self._workers if isinstance(worker, StreamRoute)]

    def _trust_changed(self) -> None:
        self._activity.check()
        self._unprove()

    def _unprove(self) -> None:
        for route in self._streams:
            route.unprove()


def _metadata(route: ReceiverRoute) -> dict[str, str]:
    given = {"stream": route.stream, "durable": route.durable, "sink": route.sink}
    return {key: value for key, value in given.items() if value is not None}


def _unknown(senders: Senders, name: str) -> str:
    """Return why a name in `senders` stands for nobody now, or an empty text."""
    try:
        if isinstance(senders, PeersFile | Trust):
            senders.resolve(name)
    except XKeyMsgError as error:
        return str(error)
    return ""


def _may_send(peers: PeersFile, route: ReceiverRoute) -> bool:
    """Return whether a peer may send on a subject that a route accepts."""
    sent = [subject for peer in peers.current.peers.values() for subject in peer.subjects]
    return any(overlap(accepted, other) for accepted in route.accepted for other in sent)

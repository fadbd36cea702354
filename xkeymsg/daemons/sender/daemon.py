"""The sender daemon: sources, routes and upkeep, as configured."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.telemetry import tracing_of
from xkeymsg.daemons.common import lifecycle
from xkeymsg.daemons.common.health import Health, serving
from xkeymsg.daemons.common.identity import DaemonIdentity, daemon_state, self_test
from xkeymsg.daemons.common.lifecycle import Lifecycle
from xkeymsg.daemons.common.logs import Log, reason, set_up
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.daemons.common.rotation import DaemonRotation, rotation_conditions
from xkeymsg.daemons.common.service import Endpoint, announce, as_service
from xkeymsg.daemons.common.trust import Following, check_trust, conditions, load_trust
from xkeymsg.daemons.common.upkeep import Upkeep
from xkeymsg.daemons.common.windows import short_windows
from xkeymsg.daemons.sender.config import SenderConfig, SenderKeySection, SenderRoute
from xkeymsg.daemons.sender.config import load as load_file
from xkeymsg.daemons.sender.message_ids import LABEL, Names, names_key
from xkeymsg.daemons.sender.outputs import CoreOutput, Output, StreamOutput
from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.reports import SenderReporter
from xkeymsg.daemons.sender.route_sealer import Author, RouteSealer
from xkeymsg.daemons.sender.rules import RuleCounts
from xkeymsg.daemons.sender.sources.lines import LinesSource
from xkeymsg.daemons.sender.sources.stream import StreamSource
from xkeymsg.daemons.sender.sources.subject import SubjectSource
from xkeymsg.daemons.sender.subject_map import SubjectMap
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    NotLoadedError,
    UnknownKeyError,
    XKeyMsgError,
)
from xkeymsg.transport.credentials import read_login, read_user_key
from xkeymsg.transport.link import Link, open_link
from xkeymsg.trust.creds import parse_creds

__all__ = ("load", "run")

Worker = LinesSource | SubjectSource | StreamSource

_SOURCE: Final = "source connected"


def run(config: SenderConfig) -> int:
    """Run the sender until it stops; return the exit code."""
    set_up(config.observe.log, config.observe.level)
    log, metrics = Log("sender"), Metrics()
    remote = (_SOURCE,) if config.source is not None else ()
    more = (*rotation_conditions(config.key), "key", "self-test", "subscribed", "served", "sending")
    health = Health("connected", *remote, *conditions(config.trust), *more)
    sender = _SenderDaemon(config, log, metrics, health)
    return lifecycle.run(sender.work, lambda: Lifecycle(log, health, config.drain.seconds))


def load(path: Path) -> SenderConfig:
    """Read the sender's configuration file, and check offline that each route can seal.

    Raises:
        ConfigurationError: If the file is invalid, or a route cannot seal; the error has one line
            per fault.
    """
    config = load_file(path)
    trust = check_trust(config.trust, config.nats.creds, path)
    author = _author(DaemonIdentity(config.key, trust))
    problems = []
    for route in config.route:
        try:
            RouteSealer(route, trust, author).check()
        except XKeyMsgError as error:
            if config.trust.directory and isinstance(error, UnknownKeyError):
                continue  # the directory may have it
            problems.append(f'{path}: route["{route.name}"]: {error}')
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


def _author(identity: DaemonIdentity) -> Author:
    """Return the key pair, signer and user to seal with.

    Raises:
        XKeyMsgError: If the signer's key cannot be used.
    """
    section = identity.section
    assert isinstance(section, SenderKeySection)  # noqa: S101 - for the type checker
    signer = section.open_signer()
    if section.signer is not None:
        signer = read_user_key(section.signer)
    user = identity.user if signer is None else section.user
    return Author(identity.keyring.active, signer, user)


class _SenderDaemon:
    def __init__(self, config: SenderConfig, log: Log, metrics: Metrics, health: Health) -> None:
        self._config = config
        self._log = log
        self._metrics = metrics
        self._health = health
        self._upkeep = Upkeep(log, metrics, health, key=lambda: self._identity.public)
        self._workers: list[Worker] = []
        self._sealings: dict[str, RouteSealer] = {}
        self._reports: list[SenderReporter] = []
        self._stuck: BaseException | None = None
        self._tracing = tracing_of(config.observe.telemetry)
        self._rules = RuleCounts(metrics.registry)
        self._rotation: DaemonRotation | None = None

    async def work(self, life: Lifecycle) -> None:
        """Set up, run until stopped or until everything is sent, and finish."""
        config, log = self._config, self._log
        self._trust = load_trust(config.trust, config.nats.creds)
        self._identity = DaemonIdentity(config.key, self._trust)
        self._author = _author(self._identity)
        self._following = Following(
            config.trust, self._trust, self._upkeep, log, self._health, self._metrics.registry,
            lambda: (self._author.pair.public, self._author.user),
        )  # fmt: skip
        self_test(self._identity.keyring)
        for condition in ("key", "self-test", "sending"):
            self._health.set(condition, True)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._following.close)
            where = stack.enter_context(
                serving(config.observe.listen, self._health, self._metrics.exposition)
            )
            link = await stack.enter_async_context(
                open_link(config.nats.options(config.name), self._upkeep.note, config.nats.keys)
            )
            self._link = link
            await stack.enter_async_context(self._following.over(link))
            if self._following.directory is not None:
                await self._following.directory.loaded()  # names are not resolved before
            await self._rotate(stack)
            self._names_key = self._find_names_key()
            source = await self._open_source(stack)
            await self._begin(link, source, stack)
            # Each by itself: a failure of another one must not keep trust from changing.
            workers = [worker.tick for worker in self._workers]
            life.on_tick(self._follow, *workers, partial(self._tick, link, source))
            life.on_reload(self._reload)
            routes = [route.name for route in config.route]
            announce(life, config, self._identity.public, routes, where)
            await self._run(life)
            self._finish(life)
            log.info("stopped")

    async def _rotate(self, stack: contextlib.AsyncExitStack) -> None:
        """Have certificates decide about the keys, if that is configured."""
        config, followed = self._config, self._following.directory
        if followed is None:
            return
        if config.key.rotation is None:
            await stack.enter_async_context(followed.keeping(config.nats, self._identity))
            return
        self._rotation = DaemonRotation(
            config.key, config.nats, followed.directory, self._identity,
            log=self._log, health=self._health, registry=self._metrics.registry,
            use=lambda _: self._use(_author(self._identity)),
        )  # fmt: skip
        await stack.enter_async_context(self._rotation.running())
        await self._rotation.certified()

    def _find_names_key(self) -> bytes:
        """Return the key of message ids, which a rotation and a restart do not change."""
        creds = self._config.nats.options("").creds
        if self._rotation is not None and creds is not None:
            return names_key(parse_creds(read_login(creds))[1])
        return self._identity.keyring.active.derive(LABEL)

    async def _open_source(self, stack: contextlib.AsyncExitStack) -> Link | None:
        section = self._config.source
        if section is None:
            return None
        # Stream routes subscribe to an inbox only, and fail to begin without it.
        subjects = [r.subject for r in self._config.route if r.subject and not r.stream]
        note = partial(self._upkeep.note, condition=_SOURCE, subjects=subjects)
        options = section.options(self._config.name)
        return await stack.enter_async_context(open_link(options, note, section.keys))

    async def _begin(
        self, link: Link, source: Link | None, stack: contextlib.AsyncExitStack
    ) -> None:
        """Make the routes and subscribe; no message is read before that."""
        config = self._config
        core = CoreOutput(link)
        stack.push_async_callback(core.close)
        endpoints = []
        for route in config.route:
            output: Output = core
            if route.output == "jetstream":
                output = StreamOutput(link, in_flight=route.max_in_flight)
                stack.push_async_callback(output.close)
            endpoint = Endpoint(route.name, route.to, route.queue or "", _metadata(route))
            endpoints.append(endpoint)
            worker = self._worker(route, output, endpoint, stack)
            if source is not None and not isinstance(worker, LinesSource):
                await worker.begin(source)
            if isinstance(worker, StreamSource):
                await self._advise(route, worker)
            self._workers.append(worker)
        if source is not None:
            await source.confirm()  # raises if the server refused a subscription
        self._health.set("subscribed", True)
        await stack.enter_async_context(
            as_service(
                link,
                config,
                "xkeymsg-sender",
                "seals messages",
                endpoints,
                lambda: daemon_state(self._identity, self._health),
            )
        )

    def _worker(
        self,
        route: SenderRoute,
        output: Output,
        endpoint: Endpoint,
        stack: contextlib.AsyncExitStack,
    ) -> Worker:
        report = SenderReporter(route.name, self._log, self._metrics.route(route.name), endpoint)
        self._reports.append(report)
        sealing = RouteSealer(
            route,
            self._trust,
            self._author,
            max_payload=lambda: self._link.max_payload,
            on_loss=report.numbers_changed,
            rules=self._rules,
            tracing=self._tracing,
        )
        self._check(route, sealing)
        self._sealings[route.name] = sealing
        pipeline = Pipeline(route, sealing, output, report)
        names = Names(self._names_key, route.name)
        if route.stream is not None:
            return StreamSource(pipeline, names, drain=self._config.drain.seconds)
        if route.subject is not None:
            return SubjectSource(pipeline)
        return LinesSource(pipeline, names, on_progress=self._bar(route, stack))

    def _check(self, route: SenderRoute, sealing: RouteSealer) -> None:
        """Check that a route can seal; a user may publish its entry later."""
        try:
            sealing.check()
        except (UnknownKeyError, NotLoadedError) as error:
            if self._following.directory is None:
                raise
            self._log.warning("unknown recipient", route=route.name, why=str(error))

    async def _advise(self, route: SenderRoute, worker: StreamSource) -> None:
        """Warn of target streams in which a killed sender could leave duplicates."""
        api = API(self._link)
        pattern = SubjectMap(route.pattern, route.to).pattern
        for stream, window in (await short_windows(api, pattern, 2 * worker.ack_wait)).items():
            self._log.warning(
                "duplicate_window is short",
                route=route.name,
                stream=stream,
                seconds=window,
                ack_wait=worker.ack_wait,
            )

    def _bar(self, route: SenderRoute, stack: contextlib.AsyncExitStack) -> Callable[[int], object]:
        """Show a progress bar on a terminal, for the first route with files."""
        first = next((each for each in self._config.route if each.files), None)
        if route is not first or not sys.stderr.isatty():
            return lambda _: None
        length = sum(path.stat().st_size for path in route.files)
        bar = click.progressbar(length=length, label=route.name, file=sys.stderr)
        stack.enter_context(bar)
        return bar.update

    async def _run(self, life: Lifecycle) -> None:
        """Run until stopped, then until every accepted message is settled."""
        tasks = {asyncio.create_task(worker.run()): worker for worker in self._workers}
        stopping = asyncio.create_task(life.stopping.wait())
        working: set[asyncio.Task[None]] = set(tasks)
        try:
            while working and not stopping.done():
                await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                ended = {task for task in working if task.done()}
                working -= ended
                for task in ended:
                    self._ended(tasks[task], task.exception(), life)
            if working:
                self._log.info("stopping")
            await asyncio.gather(*(w.stop() for w in self._workers), return_exceptions=True)
            for task in working:
                await asyncio.wait({task})
                self._ended(tasks[task], task.exception(), life)
        finally:
            stopping.cancel()
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, worker: Worker, error: BaseException | None, life: Lifecycle) -> None:
        """Record the error of a lines route, and go on; the end of any other route is fatal."""
        if worker.ends:
            if error is not None:
                self._stuck = self._stuck or error
                self._log.error("route failed", route=worker.name, why=reason(error))
        elif not life.stopping.is_set() or error is not None:
            life.fail(error or ConfigurationError("a route has ended"))

    def _finish(self, life: Lifecycle) -> None:
        """Log the totals of each lines route; fail if anything was not sent."""
        if self._stuck is not None:
            life.fail(self._stuck)
        for worker, report in zip(self._workers, self._reports, strict=True):
            if isinstance(worker, LinesSource):
                sent = worker.sent
                self._log.info("sent", route=report.route, messages=sent, not_sent=report.unsent)
                if report.unsent:
                    life.fail(DeliveryError(f"{report.route}: {report.unsent} not sent"))

    # --- ticks and reloads ------------------------------------------------------------------------

    def _follow(self) -> None:
        if self._following.tick():
            self._mended()

    def _tick(self, link: Link, source: Link | None) -> None:
        connected = link.state == "connected"
        self._health.set("connected", connected)
        if source is not None:
            self._health.set(_SOURCE, source.state == "connected")
        self._metrics.connected.set(connected)
        self._metrics.key_age.set(self._identity.age())
        streams = [worker for worker in self._workers if isinstance(worker, StreamSource)]
        blocked = any(each.is_blocked for each in streams)
        self._health.set("sending", not blocked and self._stuck is None)
        self._health.set("served", not any(each.is_unserved for each in streams))
        self._metrics.ready.set(self._health.ready)  # last: it depends on the conditions above

    async def _reload(self) -> None:
        await self._following.reload()
        if self._rotation is not None:
            self._rotation.look_again()
        else:
            self._upkeep.reloaded("key", self._reload_key)
        self._upkeep.reload_logins(self._config.nats, self._config.source)
        for name, sealing in self._sealings.items():
            if sealing.has_policy:
                self._upkeep.reloaded("policy", sealing.reload, route=name)
        self._mended()

    def _reload_key(self) -> bool:
        new = self._identity.reread()
        author = _author(new)  # before anything is changed
        changed = self._identity.adopt(new)
        self._use(author)
        return changed

    def _use(self, author: Author) -> None:
        for sealing in self._sealings.values():
            sealing.rekey(author)
        self._author = author

    def _mended(self) -> None:
        for worker in self._workers:
            if isinstance(worker, StreamSource):
                worker.mended()


def _metadata(route: SenderRoute) -> dict[str, str]:
    kind = "stdin" if route.stdin else "files" if route.files else "subject"
    given = {"stream": route.stream, "durable": route.durable, "output": route.output}
    source = "stream" if route.stream else kind
    return {"source": source} | {key: value for key, value in given.items() if value is not None}

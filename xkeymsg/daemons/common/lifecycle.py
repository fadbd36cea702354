"""The lifecycle of a daemon: start, run, reload, drain, stop.

SIGTERM and SIGINT: accept no more messages, finish those accepted, and exit 0; if that takes too
long, log it, give up the rest, and exit 1. A second signal ends the process, and the programs that
it runs, at once. SIGHUP: reload keys, trust and policies. systemd is notified of each step, if it
started the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from time import monotonic
from types import FrameType
from typing import Any, Final

from xkeymsg.daemons.common import hangups
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.heap import give_back
from xkeymsg.daemons.common.logs import Log, reason, report_to
from xkeymsg.daemons.common.notify import notify, watchdog_seconds
from xkeymsg.daemons.common.processes import kill_all
from xkeymsg.daemons.common.terminal import EXIT_FAILED, EXIT_PIN
from xkeymsg.errors import PinError, XKeyMsgError

__all__ = ("GIVE_BACK", "Lifecycle", "run")

_TICK: Final = 1.0
GIVE_BACK: Final = 10.0
"""Seconds between releases of free memory."""
_CANCEL: Final = 2.0
"""Seconds in which a cancelled task must end."""
_HANGS: Final = 3.0
"""Further seconds until the process exits even if it is blocked, such as on a dead disk."""


class Lifecycle:
    """Interface between a daemon's work and its lifecycle."""

    def __init__(self, log: Log, health: Health, drain_seconds: float) -> None:
        self.log = log
        self.health = health
        self.drain_seconds = drain_seconds
        self.stopping = asyncio.Event()
        """Set when the work should accept no more, finish and return."""
        self.error: BaseException | None = None
        """The reason for a failure, if any."""
        self._is_ready = False
        self._reloads: list[Callable[[], Coroutine[Any, Any, object]]] = []
        self._reloading: asyncio.Task[None] | None = None
        self._again = False
        self._ticks: list[Callable[[], object]] = []

    def ready(self) -> None:
        """Report that startup is complete, and messages are processed."""
        self._is_ready = True
        notify("READY=1")
        if self._again:
            self.reload()

    @property
    def has_begun(self) -> bool:
        """Whether `ready` was called."""
        return self._is_ready

    def on_reload(self, reload: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await `reload` at SIGHUP; it logs its result itself, and should not raise."""
        self._reloads.append(reload)

    def on_tick(self, *ticks: Callable[[], object]) -> None:
        """Call each of these, which must be short, now and about once a second.

        A later failure of one does not keep the others from being called.
        """
        for tick in ticks:
            self._ticks.append(tick)
            tick()

    def fail(self, error: BaseException) -> None:
        """Stop because of an error: exit 1."""
        if self.error is None:
            self.error = error
        self.stop()

    def stop(self) -> None:
        """Start to stop."""
        if not self.stopping.is_set():
            self.health.stopping = True
            self.stopping.set()
            notify("STOPPING=1")
            hard = threading.Timer(self.drain_seconds + _CANCEL + _HANGS, _exit)
            hard.daemon = True
            hard.start()

    def reload(self) -> None:
        """Start all reload callbacks; again after those that run, which may have read old files.

        Before `ready`, this waits for it: what was loaded already may be old.
        """
        self._again = True
        if self._is_ready and (self._reloading is None or self._reloading.done()):
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        notify("RELOADING=1")
        while self._again:
            self._again = False
            for each in self._reloads:
                try:
                    await each()
                except Exception as error:  # noqa: BLE001 - one must not stop the others
                    self._unexpected(error)
        notify("READY=1")

    async def tick(self) -> None:
        """Run periodic tasks: watchdog, callbacks, log, heap."""
        watchdog = watchdog_seconds()
        pause = _TICK if watchdog is None else min(_TICK, watchdog / 3)
        given_back = monotonic()
        while True:
            self.health.turn()
            if watchdog is not None:
                notify("WATCHDOG=1")
            for each in self._ticks:
                self._guarded(each)
            self.log.flush()
            if monotonic() - given_back >= GIVE_BACK:
                given_back = monotonic()
                self._guarded(give_back)
            await asyncio.sleep(pause)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - one must not stop the others
            self._unexpected(error)

    def _unexpected(self, error: Exception) -> None:
        self.log.often("error", "unexpected", "error", error=reason(error))


def run(
    work: Callable[[Lifecycle], Coroutine[Any, Any, None]], life: Callable[[], Lifecycle]
) -> int:
    """Run a daemon until it stops, and return the exit code.

    Args:
        work: The daemon; calls `ready`, and after `stopping` is set drains and returns.
        life: Creates the lifecycle, within the event loop.
    """
    return asyncio.run(_run(work, life()))


async def _run(work: Callable[[Lifecycle], Coroutine[Any, Any, None]], life: Lifecycle) -> int:
    report_to(life.log, asyncio.get_running_loop())
    with _signals(life):
        ticking = asyncio.create_task(life.tick())
        working = asyncio.create_task(work(life))
        stopping = asyncio.create_task(life.stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done() and life.has_begun:
                await asyncio.wait({working}, timeout=life.drain_seconds)
            return await _end(working, life)
        finally:
            ticking.cancel()
            stopping.cancel()
            kill_all()
            life.log.flush(at_once=True)


async def _end(working: asyncio.Task[None], life: Lifecycle) -> int:
    if not working.done():
        if life.has_begun:
            life.log.error("not finished in time", seconds=life.drain_seconds)
            life.error = life.error or TimeoutError()
        working.cancel()
        await asyncio.wait({working}, timeout=_CANCEL)
    life.stop()
    if not working.done() or working.cancelled():
        return 0 if life.error is None else _failed(life)
    life.error = working.exception() or life.error
    return 0 if life.error is None else _failed(life)


def _failed(life: Lifecycle) -> int:
    error = life.error
    if isinstance(error, XKeyMsgError):
        life.log.error("failed", code=error.code, error=str(error))
    elif error is not None and not isinstance(error, TimeoutError):
        life.log.error("failed", error=reason(error))
    return EXIT_PIN if isinstance(error, PinError) else EXIT_FAILED


def _exit() -> None:
    kill_all()
    os._exit(1)


@contextlib.contextmanager
def _signals(life: Lifecycle) -> Iterator[None]:
    """Stop at the first SIGTERM or SIGINT, and end the process at the second.

    The second does not use the event loop, which may be blocked.
    """
    loop = asyncio.get_running_loop()

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        kill_all()
        os.kill(os.getpid(), number)

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        loop.call_soon_threadsafe(life.stop)

    def reload(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(life.reload)

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if hangups.take():
        life.reload()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

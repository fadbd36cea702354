"""The tasks of a directory: an unforeseen error is reported, and starts its task again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.display import origin
from xkeymsg.errors import XKeyMsgError

__all__ = ("DirectoryTasks", "jittered")

_FIRST: Final = 0.5
_LONGEST: Final = 60.0
"""Seconds between two attempts of a task that fails."""


class DirectoryTasks:
    """Keeps the tasks of a directory running, and reports each new problem once."""

    def __init__(self) -> None:
        self.tell: Callable[[XKeyMsgError], None] = lambda _: None
        """Called with each new problem."""
        self.failed: set[str] = set()
        """Tasks that an unforeseen error has ended, and that have not run for a time since."""
        self._told: dict[str, str] = {}

    def problem(self, what: str, error: XKeyMsgError | None = None) -> None:
        """Report a problem once, until it changes; None once it is solved."""
        text = "" if error is None else str(error)
        if self._told.get(what, "") != text:
            self._told[what] = text
            if error is not None:
                self.tell(error)

    def why(self, what: str) -> str:
        """Return the last problem of this kind; empty without one."""
        return self._told.get(what, "")

    async def keep(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task until it returns; after an unforeseen error, start it again.

        Args:
            what: Its name, for reports.
            work: Starts it.
        """
        pause = _FIRST
        while True:
            begun = monotonic()
            calm = asyncio.get_running_loop().call_later(pause, self._recovered, what)
            try:
                await work()
                return self._recovered(what)
            except Exception as error:  # noqa: BLE001 - it must not end for good
                self.failed.add(what)
                with suppress(Exception):  # of an application's callback
                    self.problem(what, _unforeseen(what, error))
            finally:
                calm.cancel()
            if monotonic() - begun > _LONGEST:
                pause = _FIRST
            await asyncio.sleep(jittered(pause))
            pause = min(2 * pause, _LONGEST)

    def _recovered(self, what: str) -> None:
        if what in self.failed:
            self.failed.discard(what)
            self.problem(what)


def _unforeseen(what: str, error: Exception) -> XKeyMsgError:
    if isinstance(error, XKeyMsgError):
        return error
    return XKeyMsgError(
        f"the task {what!r} of the directory failed and starts again: {origin(error)}; please"
        " report this"
    )


def jittered(seconds: float) -> float:
    """Return a duration that is up to a quarter longer, so that readers do not ask together."""
    return seconds * (1 + int.from_bytes(random_bytes(2), "big") / 0x40000)

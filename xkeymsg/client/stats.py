"""Counters of a client, and reports of its errors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.client.error_log import ErrorLog
from xkeymsg.display import safe_repr
from xkeymsg.errors import XKeyMsgError

__all__ = ("Events", "OnError", "Stats", "Where")


class Where(NamedTuple):
    """Where something went wrong."""

    what: Literal["message", "reply", "handler", "trust", "directory", "connection"]
    """`message`: a message of a subscription was refused. `reply`: a reply to a request was
    refused. `handler`: a handler of `serve` failed. `trust`: the source is unusable; the previous
    trust stays in use. `directory`: it cannot be read, or may be outdated. `connection`: the
    server refused an operation, the connection was lost, or messages were dropped."""
    subject: str = ""
    """The subject on the wire (unauthenticated), or the file; empty without either."""


OnError = Callable[[Exception, Where], None]
"""Called with every error, once for each message: a flood of messages means a flood of calls. Its
exceptions go to asyncio's exception handler, except KeyboardInterrupt and SystemExit. By default,
the logger `xkeymsg` gets a WARNING without content, at most one in ten seconds for each code."""


@safe_repr
@dataclass(slots=True)
class Stats:
    """Counters of a client since it was made."""

    published: int = 0
    """Messages passed to the connection, including requests and replies."""
    opened: int = 0
    """Opened messages and replies."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refused messages and replies, by error code; `internal` for errors that are not of this
    package."""
    failed: Counter[str] = field(default_factory=Counter)
    """Failed handlers, by the name of the exception's class."""
    dropped: int = 0
    """Messages dropped because a buffer was full."""


_KINDS: Final = {
    "message": "message refused",
    "reply": "reply refused",
    "handler": "handler failed",
    "trust": "trust not reloaded, the previous one stays in use",
    "directory": "directory",
    "connection": "connection",
}


class Events:
    """Counts refusals and failures, and reports them to a listener, or else to the log."""

    def __init__(self, stats: Stats, listener: OnError | None) -> None:
        self.stats = stats
        self._listener = _logging() if listener is None else listener

    def replaced(self, listener: OnError | None) -> Events:
        """Return a copy that notifies `listener` instead, if there is one."""
        return self if listener is None else Events(self.stats, listener)

    def refused(self, error: Exception, where: Where) -> None:
        """Count and report a refused message."""
        self.stats.refused[error.code if isinstance(error, XKeyMsgError) else "internal"] += 1
        self.tell(error, where)

    def failed(self, error: BaseException, where: Where) -> None:
        """Count and report a failed handler."""
        self.stats.failed[type(error).__name__] += 1
        self.tell(error if isinstance(error, Exception) else RuntimeError(repr(error)), where)

    def tell(self, error: Exception, where: Where) -> None:
        """Report an error; a listener's own exception goes to asyncio's exception handler."""
        try:
            self._listener(error, where)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001 - not a cancellation: nothing is awaited
            context: dict[str, Any] = {"message": "on_error raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)


def _logging() -> OnError:
    log = ErrorLog()
    return lambda error, where: log.tell(_KINDS[where.what], where.subject, error)

"""What a client has counted, and how it tells what went wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from xkeymsg.errors import XKeyMsgError
from xkeymsg.shown import safe_repr

__all__ = ("Events", "OnError", "Stats", "Where")


class Where(NamedTuple):
    """Where something went wrong."""

    what: Literal["message", "reply", "handler", "trust", "connection"]
    """`message`: one of a subscription was refused. `reply`: one to a request. `handler`: one of
    `serve` failed. `trust`: its source cannot be used, and what was in use before stays in use.
    `connection`: the server refused something, it was lost, or messages were dropped."""
    subject: str = ""
    """The subject on the wire, which anybody can have written, or the file; empty for none."""


OnError = Callable[[Exception, Where], None]
"""Told what went wrong, for each message: who floods a subject has it called as often. What it
raises is passed on to asyncio's exception handler, KeyboardInterrupt and SystemExit aside."""


@safe_repr
@dataclass(slots=True)
class Stats:
    """What a client has done since it was made."""

    published: int = 0
    """Messages that were handed to the connection: requests and replies too."""
    opened: int = 0
    """Messages and replies that were opened."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages and replies that were refused, by the code of the error; `internal` for one that
    is no error of this package."""
    failed: Counter[str] = field(default_factory=Counter)
    """Handlers that failed, by the name of the exception's class."""
    dropped: int = 0
    """Messages that found no room where they were to wait."""


class Events:
    """Counts what is refused, and tells of it."""

    def __init__(self, stats: Stats, *listeners: OnError | None) -> None:
        self.stats = stats
        self._listeners = tuple(each for each in listeners if each is not None)

    def also(self, listener: OnError | None) -> Events:
        """Return one that tells somebody else in the first place."""
        return self if listener is None else Events(self.stats, listener)

    def refused(self, error: Exception, where: Where) -> None:
        """Count a message that was refused, and tell of it."""
        self.stats.refused[error.code if isinstance(error, XKeyMsgError) else "internal"] += 1
        self.tell(error, where)

    def failed(self, error: BaseException, where: Where) -> None:
        """Count a handler that failed, and tell of it."""
        self.stats.failed[type(error).__name__] += 1
        self.tell(error if isinstance(error, Exception) else RuntimeError(repr(error)), where)

    def tell(self, error: Exception, where: Where) -> None:
        """Tell of an error; a listener that raises is told of as asyncio tells such."""
        for listener in self._listeners:
            try:
                listener(error, where)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as fault:  # noqa: BLE001 - not a cancellation: nothing is awaited
                context: dict[str, Any] = {"message": "on_error raised", "exception": fault}
                asyncio.get_running_loop().call_exception_handler(context)

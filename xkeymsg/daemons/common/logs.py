"""Log lines of a daemon: one event per line on stderr, as text or JSON.

    2026-11-25T15:33:01.123Z warning refused route=orders code=sender_not_admitted repeated=412

A line holds only what its caller names: an event, which is a constant, and fields. There is no
traceback, and no text of a foreign exception, which could repeat the content of a message: only its
class and where it was raised. Text from outside is escaped, so that it cannot look like another
line. Strangers decide how many messages are refused: a line that can repeat, ours or a library's,
is written at most once a second, with the number of events that it stands for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, Final, Literal

from xkeymsg.daemons.common.terminal import quote
from xkeymsg.display import origin, safe_repr
from xkeymsg.errors import XKeyMsgError

__all__ = ("Level", "Log", "reason", "report_to", "set_up")

_EVERY: Final = 1.0
"""Seconds between two lines of the same kind."""
_MOST: Final = 1024
"""Limit of remembered kinds of lines."""
_LONGEST: Final = 500
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:+>*$@-]+")
_OURS: Final = ("xkeymsg", "sender", "receiver")
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Level = Literal["debug", "info", "warning", "error"]


def reason(error: BaseException) -> str:
    """Describe an error without anything that could come from a message.

    Our own errors hold no plaintext and no secret in their text; of other errors, return the class
    and where it was raised.
    """
    if isinstance(error, XKeyMsgError):
        return ": ".join(filter(None, (error.code, str(error))))
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return origin(error)


class _Kind:
    """The lines of one kind since one was written."""

    __slots__ = ("at", "count", "write")

    def __init__(self, at: float) -> None:
        self.at = at
        self.count = 0
        self.write: Callable[[int], object] = bool


class _Limiter:
    """Writes one line of each kind at once, and at most one a second after that."""

    def __init__(self) -> None:
        self._lock = Lock()  # libraries log in threads
        self._kinds: dict[Hashable, _Kind] = {}

    def write(self, kind: Hashable, write: Callable[[int], object]) -> None:
        """Call `write` with the number of events of this kind that the line stands for, or keep it.

        Kinds beyond a limit count as one.
        """
        now = time.monotonic()
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= _MOST:
                kind = None
            last = self._kinds.get(kind)
            if last is not None and now - last.at < _EVERY:
                last.count, last.write = last.count + 1, write
                return
            self._kinds[kind] = _Kind(now)
        write(1 if last is None else last.count + 1)

    def flush(self, *, at_once: bool = False) -> None:
        """Write the lines whose second is over, or all of them."""
        now = time.monotonic()
        with self._lock:
            due = [(k, v) for k, v in self._kinds.items() if at_once or now - v.at >= _EVERY]
            for kind, last in due:
                if last.count:
                    self._kinds[kind] = _Kind(now)
                else:
                    del self._kinds[kind]
        for _, last in due:
            if last.count:
                last.write(last.count)


_limiter = _Limiter()  # of the process, as the loggers are


class Log:
    """Log of events; `often` limits each kind to one line a second."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, **fields: Any) -> None:
        """Log a normal event."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a possible fault, local or remote."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log an event that requires attention."""
        self._write("error", event, fields)

    def often(self, level: Level, event: str, *labels: str, **fields: Any) -> None:
        """Log an event that can repeat at any rate; at most one line a second of each kind.

        Args:
            level: The level.
            event: The event.
            labels: The names of the fields that distinguish kinds; they must have few values.
            fields: All fields.
        """
        if self._logger.isEnabledFor(_LEVELS[level]):
            kind = (level, event, *(fields.get(label) for label in labels))
            _limiter.write(kind, partial(self._write, level, event, fields))

    def flush(self, *, at_once: bool = False) -> None:
        """Log events that were counted but not logged; called once a second, and at the end."""
        _limiter.flush(at_once=at_once)

    def _write(self, level: Level, event: str, fields: dict[str, Any], stands_for: int = 1) -> None:
        if stands_for > 1:
            fields = {**fields, "repeated": stands_for}
        self._logger.log(_LEVELS[level], event, extra={"fields": fields})


@safe_repr
class _Limited(logging.StreamHandler[Any]):
    """Handler that limits the lines of libraries: each place in their code is a kind."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record of ours, which `Log.often` has limited, and limit any other."""
        if hasattr(record, "fields"):
            return bool(super().handle(record))
        _limiter.write((record.pathname, record.lineno), partial(self._write, record))
        return True

    def _write(self, record: logging.LogRecord, stands_for: int) -> None:
        record.repeated = stands_for
        super().handle(record)


class _Formatter(logging.Formatter):
    """Formatter of any record, ours or a library's, as one line."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        event = record.getMessage()[:_LONGEST]
        if not hasattr(record, "fields"):
            fields["logger"] = record.name
            if (stands_for := getattr(record, "repeated", 1)) > 1:
                fields["repeated"] = stands_for
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = reason(record.exc_info[1])
        at = datetime.fromtimestamp(record.created, UTC)
        time_text = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level = record.levelname.lower()
        if self._as_json:
            return json.dumps(
                {"time": time_text, "level": level, "event": event} | fields, default=str
            )
        pairs = "".join(f" {name}={_value(value)}" for name, value in fields.items())
        return f"{time_text} {level} {_value(event) if '=' in event else _safe(event)}{pairs}"


def _value(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return text[:_LONGEST]
    return quote(text[:_LONGEST])


def _safe(event: str) -> str:
    return quote(event)[1:-1]


def set_up(form: Literal["text", "json"], level: Level) -> None:
    """Log to stderr; from other packages only warnings and errors.

    Their lower levels, and even asyncio's errors, could contain anything.
    """
    global _limiter  # noqa: PLW0603 - the loggers are global too
    _limiter = _Limiter()
    handler = _Limited(sys.stderr)
    handler.setFormatter(_Formatter(as_json=form == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])
    # It logs the exception text of a failed task.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)


def report_to(log: Log, loop: asyncio.AbstractEventLoop) -> None:
    """Log a loop's unhandled exceptions by the rules of this module."""

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        why = reason(error) if isinstance(error, BaseException) else "unknown"
        log.often("error", "unexpected", "error", error=why)

    loop.set_exception_handler(report)

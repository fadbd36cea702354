"""Log lines of a daemon: one event per line on stderr, as text or JSON.

    2026-11-25T15:33:01.123Z warning refused route=orders code=sender_not_admitted repeated=412

A line holds only what its caller names: an event, which is a constant, and fields. There is no
traceback, and no text of a foreign exception, which could repeat the content of a message: only its
class and where it was raised. Text from outside is escaped, so that it cannot look like another
line. The same event with the same labels is logged at most once a second, with a count, because
strangers decide how many messages are refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from xkeymsg.daemons.common.terminal import quote
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
        return f"{error.code}: {error}" if str(error) else error.code
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error).__name__ + _place(trace)


def _place(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


class Log:
    """Log of events; `often` limits each kind to one line a second."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._seen: dict[tuple[Any, ...], tuple[float, int, dict[str, Any]]] = {}

    def debug(self, event: str, **fields: Any) -> None:
        """Log a detail for debugging."""
        self._write("debug", event, fields)

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
        """Log an event that others can cause at any rate; at most one line a second of each kind.

        Args:
            level: The level.
            event: The event.
            labels: The names of the fields that distinguish kinds; they must have few values.
            fields: All fields.
        """
        if not self._logger.isEnabledFor(_LEVELS[level]):
            return
        kind = (level, event, *(fields.get(label) for label in labels))
        now = time.monotonic()
        at, count, _ = self._seen.get(kind, (-_EVERY, 0, {}))
        if now - at < _EVERY:
            self._seen[kind] = at, count + 1, fields
            return
        if count:
            fields = {**fields, "repeated": count}
        if len(self._seen) >= _MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[kind] = now, 0, {}
        self._write(level, event, fields)

    def flush(self) -> None:
        """Log events that were counted but not logged; called once a second."""
        now = time.monotonic()
        for kind, (at, count, fields) in list(self._seen.items()):
            if now - at < _EVERY:
                continue
            if count:
                self._write(kind[0], kind[1], {**fields, "repeated": count})
                self._seen[kind] = now, 0, {}
            else:
                del self._seen[kind]

    def _write(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        self._logger.log(_LEVELS[level], event, extra={"fields": fields})


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
    handler = logging.StreamHandler(sys.stderr)
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

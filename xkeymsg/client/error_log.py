"""Default reports: without `on_error` or `on_event`, the logger `xkeymsg` gets a line at WARNING.

A line has the code of an error or the class of an exception, the place, and the application's
frames of the traceback. It has no text of an exception, which may repeat a message's content.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from os import sep
from pathlib import Path
from time import monotonic
from typing import Final

from xkeymsg.display import cut
from xkeymsg.errors import ConfigurationError, ServiceError, TransportError, XKeyMsgError

__all__ = ("ErrorLog",)

_log: Final = logging.getLogger("xkeymsg")

_PACKAGE: Final = str(Path(__file__).parents[1]) + sep
_EVERY: Final = 10.0
"""Seconds between two lines of one kind and code."""
_KINDS: Final = 256
_FRAMES: Final = 4


class ErrorLog:
    """Logs errors, at most one line for each kind and code in ten seconds, with a count."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, int]] = {}

    def tell(
        self,
        kind: str,
        place: str,
        error: BaseException | None,
        code: str = "",
        level: int = logging.WARNING,
    ) -> None:
        """Log an error.

        Args:
            kind: What happened, such as "message refused".
            place: The subject, file or stream; from outside, so it is quoted and cut.
            error: The error, if there is one. A `ServiceError` is a handler's answer: not logged.
            code: The code, if it is not the error's.
            level: The level of the line.
        """
        if isinstance(error, ServiceError):
            return
        own = error.code if isinstance(error, XKeyMsgError) else type(error).__name__
        if error is not None:
            code = f"{code} ({own})" if code and code != own else own
        now, name = self._clock(), (kind, code)
        until, held = self._known.get(name, (now, 0))
        if now < until:
            self._known[name] = until, held + 1
            return
        if len(self._known) >= _KINDS:
            self._known.clear()
        self._known[name] = now + _EVERY, 0
        more = f" ({held} more before)" if held else ""
        where = ascii(cut(place)) + (f": {code}" if code else "")
        _log.log(level, "%s: %s%s%s", kind, where, _details(error), more)


def _details(error: BaseException | None) -> str:
    if error is None:
        return ""
    # These texts name files, settings and servers. Texts of other errors may repeat content.
    text = f" ({error})" if isinstance(error, ConfigurationError | TransportError) else ""
    frames = list(traceback.extract_tb(error.__traceback__))
    # Frames of the application locate a bug in it; those of a refusal are the same each time.
    outside = [each for each in frames if not each.filename.startswith(_PACKAGE)]
    frames = (outside or ([] if isinstance(error, XKeyMsgError) else frames))[-_FRAMES:]
    return text + "".join(f", at {each.filename}:{each.lineno} in {each.name}" for each in frames)

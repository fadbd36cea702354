"""Check of the target streams' duplicate windows, at the start and if permitted."""

from __future__ import annotations

from typing import Any, Final

from xkeymsg.client.jetstream.api import API
from xkeymsg.errors import XKeyMsgError

__all__ = ("short_windows",)

_MOST: Final = 16
_NS: Final = 1e9
_MAX: Final = 2**63


async def short_windows(api: API, pattern: str, seconds: float) -> dict[str, float]:
    """Return the streams with a duplicate window shorter than `seconds`, and their windows.

    Args:
        api: The API of the target server.
        pattern: The subjects that are published.
        seconds: How long after its publication a message may be published again.
    """
    found = {}
    try:
        names = (await api.request("STREAM.NAMES", {"subject": pattern})).get("streams")
        for name in names[:_MOST] if isinstance(names, list) else ():
            config: Any = (await api.request(f"STREAM.INFO.{name}")).get("config")
            window = config.get("duplicate_window") if isinstance(config, dict) else None
            if isinstance(window, int) and abs(window) < _MAX and window / _NS < seconds:
                found[str(name)] = window / _NS
    except XKeyMsgError:
        pass  # not permitted, or no response: the check is only advice
    return found

"""Check of the target streams' duplicate windows, at the start and if permitted."""

from __future__ import annotations

from typing import Final

from xkeymsg.client.jetstream.api import API, int64
from xkeymsg.errors import XKeyMsgError

__all__ = ("short_windows",)

_MOST: Final = 16
_NS: Final = 1e9


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
            window = int64((await api.stream_config(name)).get("duplicate_window")) / _NS
            if 0 < window < seconds:
                found[str(name)] = window
    except XKeyMsgError:
        pass  # not permitted, or no response: the check is only advice
    return found

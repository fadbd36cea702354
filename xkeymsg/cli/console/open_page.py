"""The page "Open here": its script opens messages in the browser, with the viewer's own key.

The console sends this page, and nothing else: neither keys nor messages come back. The script is
built from js/console; `open.js.txt` beside it names its parts.
"""

from __future__ import annotations

from xkeymsg.cli.console.app import Page
from xkeymsg.cli.console.explanations import EXPLANATIONS

__all__ = ("open_page",)


def open_page(websocket: str) -> Page:
    """Return the page.

    Args:
        websocket: The URL of the NATS server's WebSocket; empty if subjects cannot be followed.
    """
    context = {"websocket": websocket, "explanations": EXPLANATIONS}
    connect = websocket or "'none'"  # and not even to the console
    return Page("/open", "Open here", "open.html", lambda: context, connect=connect, is_live=False)

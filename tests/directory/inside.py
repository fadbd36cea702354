"""The internals of the directory, for tests that cannot do without them.

No other module of these tests uses private names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from unittest.mock import AsyncMock

import pytest

from xkeymsg.client.jetstream.api import API
from xkeymsg.directory import directory as module
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.own_claims import OwnClaims
from xkeymsg.directory.settings import EVENTS
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.published_entries import Published


def alarms_of(directory: Directory) -> Collection[object]:
    """Return the entries with an alarm at this time."""
    return directory._published.alarms


async def lose_events(directory: Directory) -> None:
    """Unsubscribe from events, as if their permission were missing."""
    assert directory._api is not None
    for subscription in list(directory._api.link._subscriptions):
        if subscription.subject.startswith(EVENTS):
            await subscription.unsubscribe()


def bound(published: Published, most: int, size: int = 64 << 20) -> None:
    """Bound the entries, and the bytes of those that are not valid."""
    published._most, published._size = most, size


def answer_late(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Delay what the server says about the own account."""
    ask = OwnClaims._ask

    async def late(self: OwnClaims, link: Link, api: API, subject: str) -> None:
        await asyncio.sleep(seconds)
        await ask(self, link, api, subject)

    monkeypatch.setattr(OwnClaims, "_ask", late)


def wait_for_accounts(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let clients wait this long for account JWTs."""
    monkeypatch.setattr(module, "_ACCOUNTS", seconds)


def answer_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server say nothing about the own account."""
    monkeypatch.setattr(OwnClaims, "_ask", AsyncMock())


def asks_of(monkeypatch: pytest.MonkeyPatch) -> Collection[str]:
    """Return a list that gets each question to the server about the own account, once answered."""
    ask, asked = OwnClaims._ask, list[str]()

    async def noted(self: OwnClaims, link: Link, api: API, subject: str) -> None:
        await ask(self, link, api, subject)
        asked.append(subject)

    monkeypatch.setattr(OwnClaims, "_ask", noted)
    return asked

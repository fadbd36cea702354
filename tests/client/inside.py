"""The internals of clients, for tests that cannot do without them.

No other module of these tests uses private names; those of streams have one of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from xkeymsg import Client, XKey
from xkeymsg.client.connection import Connection
from xkeymsg.client.error_log import ErrorLog
from xkeymsg.client.outgoing import Outgoing
from xkeymsg.client.subscription import Subscription
from xkeymsg.client.trust import ClientTrust
from xkeymsg.transport.raw import RawSubscription


def connection_of(client: Client) -> Connection:
    """Return the connection, on which a client itself sends and receives bytes."""
    return client._connection


def outgoing_of(client: Client) -> Outgoing:
    return client._outgoing


def trust_of(client: Client) -> ClientTrust:
    return client._client_trust


def forbid_sealing(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """Let a client fail when it seals anything."""
    monkeypatch.setattr(client._outgoing._sealer, "seal", None)


def reply_key(client: Client) -> XKey:
    """Return the key to which replies are sealed, which only those who are asked learn."""
    return client._requests._pair.public


def questions(client: Client) -> Mapping[bytes, Any]:
    """Return the requests that wait for replies."""
    return client._requests._waiting


def raw_of(subscription: Subscription[Any]) -> RawSubscription:
    """Return the messages that a subscription has received but not opened."""
    assert subscription._raw is not None
    return subscription._raw


def kinds_known(log: ErrorLog) -> int:
    """Return for how many kinds of errors a log keeps a count."""
    return len(log._known)

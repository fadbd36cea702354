"""The internals of consumers, for tests that cannot do without them.

No other module of these tests uses private names. They play a broker that writes what it likes to
a consumer's inbox, lose acknowledgements, and check that what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.jetstream.failures import Failures
from xkeymsg.client.jetstream.holds import Outage
from xkeymsg.client.jetstream.pending import Answers
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription


def puller_of(consumer: Consumer[Any]) -> Puller:
    return consumer._puller


def answers_of(consumer: Consumer[Any]) -> Answers:
    return consumer._answers


def api_of(consumer: Consumer[Any]) -> API:
    return consumer._api


def inbox_of(link: Link, consumer: Consumer[Any]) -> RawSubscription:
    """Return the subscription to which the server delivers a consumer's messages."""
    inbox = f"{consumer._puller.inbox}.*"
    [subscription] = [each for each in link._subscriptions if each.subject == inbox]
    return subscription


def queued_in(consumer: Consumer[Any]) -> int:
    """Return how many messages wait for a worker."""
    return len(consumer._lanes._new)


def ignore_statuses(patch: pytest.MonkeyPatch, consumer: Consumer[Any]) -> None:
    """Lose what the server says about requests."""
    patch.setattr(consumer._puller, "_take_status", lambda raw: None)


def publisher_of(js: JetStream) -> StreamPublisher:
    return js._publisher


def failures_kept(judge: Failures) -> int:
    return len(judge._failed)


def note_cleanups(
    monkeypatch: pytest.MonkeyPatch, judge: Failures, note: Callable[[], None]
) -> None:
    """Call a function instead of each search for old entries."""
    monkeypatch.setattr(judge, "_forget", lambda now: note())


def attempts_kept(outage: Outage) -> int:
    return len(outage._attempts)


def is_trying(outage: Outage) -> bool:
    """Return whether a message is being tried although the outage is on."""
    return outage._tried is not None

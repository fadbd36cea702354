"""The tutorial's story across languages: Go's programs, JavaScript's and ours, on a real server."""

from __future__ import annotations

import shutil
from typing import Final

import pytest

from tests.interop.programs import Ours, Peer, find_tool
from xkeymsg.testing import NATSServer

# The first test that needs a language builds its programs; with a cold cache that takes a while.
pytestmark = pytest.mark.timeout(1200)  # who comes first waits for the foreign programs to be built

# Each text, and how Go's %q shows it, JavaScript's JSON and ours: quoted and on one line.
TEXTS: Final = {
    "Hello Secure World": '"Hello Secure World"',
    'Grüße an "alle"\n\t\\☃': r'"Grüße an \"alle\"\n\t\\☃"',
    "": '""',
}


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Peer:
    """The programs of the language that the test is parametrised with."""
    found: Peer = request.getfixturevalue(request.param)
    return found


def _tell(server: NATSServer, sender: Peer, receiver: Peer) -> None:
    """Send every text, one process each, and see the receiver read them all."""
    with receiver.listen(server.url, len(TEXTS)) as listening:
        for text, shown in TEXTS.items():
            key = sender.send(server.url, listening.key, text)
            listening.reads(shown, key)
        listening.stops()


@pytest.mark.parametrize("peer", ["go", "node"], indirect=True)
def test_our_receiver_reads_what_a_foreign_sender_sent(
    server: NATSServer, ours: Ours, peer: Peer
) -> None:
    _tell(server, peer, ours)


@pytest.mark.parametrize("peer", ["go", "node"], indirect=True)
def test_a_foreign_receiver_reads_what_our_sender_sent(
    server: NATSServer, ours: Ours, peer: Peer
) -> None:
    _tell(server, ours, peer)


@pytest.mark.parametrize("peer", ["go", "node"], indirect=True)
def test_only_the_receiver_that_a_message_is_for_reads_it_and_the_others_go_on(
    server: NATSServer, ours: Ours, peer: Peer
) -> None:
    with ours.listen(server.url, 4) as our_receiver, peer.listen(server.url, 4) as their_receiver:
        for sender in (peer, ours):
            to_us = sender.send(server.url, our_receiver.key, "for ours")
            our_receiver.reads('"for ours"', to_us)
            their_receiver.refuses(to_us)

            to_them = sender.send(server.url, their_receiver.key, "for theirs")
            their_receiver.reads('"for theirs"', to_them)
            our_receiver.refuses(to_them)
        our_receiver.stops()
        their_receiver.stops()


def test_two_receivers_of_ours_read_only_what_is_for_each(server: NATSServer, ours: Ours) -> None:
    with ours.listen(server.url, 2) as first, ours.listen(server.url, 2) as second:
        key = ours.send(server.url, first.key, "for the first")
        first.reads('"for the first"', key)
        second.refuses(key)

        key = ours.send(server.url, second.key, "for the second")
        second.reads('"for the second"', key)
        first.refuses(key)
        first.stops()
        second.stops()


def test_the_foreign_programs_understand_each_other(
    server: NATSServer, go: Peer, node: Peer
) -> None:
    # The control: where this fails as well, the fault is not ours.
    _tell(server, go, node)
    _tell(server, node, go)


@pytest.mark.parametrize(
    ("variable", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_missing_toolchain_is_a_skip_but_in_ci_a_failure(
    monkeypatch: pytest.MonkeyPatch, variable: str, outcome: type[Exception]
) -> None:
    monkeypatch.setenv("CI", variable)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(outcome, match="NO GO IN PATH"):
        find_tool("go")

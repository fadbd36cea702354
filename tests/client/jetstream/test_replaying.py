"""One run of a quarantine replay: a scope of its own, in which a message is handled once."""

from __future__ import annotations

import time

import pytest

from tests.client.jetstream.conftest import ALICE, BOB
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.client.jetstream.quarantine_replay import Replay
from xkeymsg.errors import ReplayError
from xkeymsg.keys import Keyring
from xkeymsg.sealer import Sealer


def record(data: bytes, sequence: int) -> QuarantineRecord:
    now_ms = time.time_ns() // 1_000_000
    return QuarantineRecord("S", "d", sequence, now_ms, b"h.a", "handler", b"", data)


def run() -> Replay:
    return Replay(Keyring(BOB), {ALICE.public}, ["h.>"])


def test_a_message_is_marked_when_it_is_handled_and_not_when_it_opens() -> None:
    sealed = Sealer(ALICE).seal(b"x", to=[BOB.public], subject="h.a")
    replay = run()
    message = replay.open(record(sealed, 1))

    with pytest.raises(ReplayError) as first:
        replay.open(record(sealed, 2))
    assert first.value.pending  # so that the second record may not be dropped yet

    replay.settle(message)
    with pytest.raises(ReplayError) as second:
        replay.open(record(sealed, 2))
    assert not second.value.pending


def test_another_run_opens_it_again() -> None:
    sealed = Sealer(ALICE).seal(b"x", to=[BOB.public], subject="h.a")
    for _ in range(2):
        replay = run()
        replay.settle(replay.open(record(sealed, 1)))

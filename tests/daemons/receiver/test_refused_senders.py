"""Refused messages by sender and code, under a flood of invented senders."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random  # noqa: TID251 - a run has to be repeatable

import pytest

from xkeymsg import Sealer, XKeyPair
from xkeymsg.daemons.receiver.refused_senders import MOST_COUNTS, RefusedSenders
from xkeymsg.envelope.inspect import sender_of
from xkeymsg.errors import ReplayError, SenderNotAdmittedError
from xkeymsg.keys import XKey

WARD, STRANGER, READER = (XKeyPair.generate() for _ in range(3))
NOT_ADMITTED = SenderNotAdmittedError("x")
REPLAY = ReplayError("x")
REPLAY.public_code = "refused"  # a wrapped key has verified


def sealed_by(pair: XKeyPair) -> bytes:
    return Sealer(pair).seal(b"secret words", to=[READER.public], subject="a")


ENVELOPE = sealed_by(STRANGER)


def invented(number: int) -> bytes:
    """An envelope that states a sender whose key nobody has."""
    return ENVELOPE.replace(sender_of(ENVELOPE), number.to_bytes(31, "big") + b"\1")


def test_a_sender_is_authenticated_only_once_its_wrapped_key_has_verified() -> None:
    senders = RefusedSenders(1)
    for error in (REPLAY, REPLAY, NOT_ADMITTED, RuntimeError("x")):
        senders.note(sealed_by(WARD), getattr(error, "code", "error"), error)
    assert senders.counts() == {
        "authenticated": {str(WARD.public): {"replay": 2}},
        "stated": {str(WARD.public): {"sender_not_admitted": 1, "error": 1}},
    }


def test_a_flood_of_invented_senders_hides_neither_proven_nor_frequent_ones() -> None:
    senders, ward, stranger = RefusedSenders(1), sealed_by(WARD), sealed_by(STRANGER)
    senders.note(ward, "replay", REPLAY)
    for number in range(20_000):
        senders.note(invented(number), "sender_not_admitted", NOT_ADMITTED)
        if not number % 10:
            senders.note(stranger, "sender_not_admitted", NOT_ADMITTED)
    found = senders.counts()
    assert found["authenticated"] == {str(WARD.public): {"replay": 1}}
    assert len(found["stated"]) == 16
    counts = {sender: sum(codes.values()) for sender, codes in found["stated"].items()}
    assert 1_900 < counts.pop(str(STRANGER.public)) <= 2_000
    assert {*counts.values()} == {1}
    assert len(json.dumps(found)) < 2_000


@pytest.mark.parametrize("seed", range(10))
def test_each_count_is_a_lower_bound_and_the_frequent_are_named(seed: int) -> None:
    choose, senders, true = Random(seed), RefusedSenders(1), Counter[str]()
    for _ in range(3_000):
        envelope = invented(int(choose.paretovariate(0.7)))
        true[str(XKey(sender_of(envelope)))] += 1
        senders.note(envelope, "authentication", NOT_ADMITTED)
    named = {
        sender: codes["authentication"] for sender, codes in senders.counts()["stated"].items()
    }
    assert all(0 < count <= true[sender] for sender, count in named.items())
    assert {sender for sender, count in true.items() if count > 3_000 / 16} <= named.keys()


@pytest.mark.parametrize("routes", [1, 16, 64, 1_000])
def test_routes_share_the_bound(routes: int) -> None:
    every = [RefusedSenders(routes) for _ in range(routes)]
    for senders in every:
        for number in range(40):
            for error in (REPLAY, NOT_ADMITTED):
                senders.note(invented(number), error.code, error)
    for kind in ("authenticated", "stated"):
        total = sum(len(senders.counts()[kind]) for senders in every)
        assert routes <= total <= max(MOST_COUNTS, routes)


@pytest.mark.parametrize(
    "data", [b"", b"plain", b"xkv1" + bytes(200), b"xkm1", ENVELOPE[:40], bytes(5_000),
             ENVELOPE.replace(sender_of(ENVELOPE), bytes(32)),
             ENVELOPE.replace(sender_of(ENVELOPE), b"\xff" * 32)],
    ids=range(8),
)  # fmt: skip
def test_what_states_no_valid_sender_is_not_counted(data: bytes) -> None:
    senders = RefusedSenders(1)
    senders.note(data, "malformed", NOT_ADMITTED)
    assert senders.counts() == {"authenticated": {}, "stated": {}}


def test_large_messages_are_counted_in_threads() -> None:
    senders, envelopes = RefusedSenders(1), [invented(number) for number in range(100)]

    def flood(_: int) -> None:
        for envelope in envelopes:
            senders.note(envelope, "authentication", NOT_ADMITTED)
            senders.counts()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(flood, range(4)))
    assert len(senders.counts()["stated"]) == 16

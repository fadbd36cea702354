"""Keys of unused sessions do not stay in a reader's memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envelope.cast import ALICE, BOB, SUBJECT, code_of, pair
from tests.envelope.forge import Rogue
from tests.envelope.inside import caches, names_in
from tests.envelope.together import together
from xkeymsg import AtRest, Opener, primitives
from xkeymsg.envelope import recent_cache
from xkeymsg.envelope.recent_cache import IDLE, RecentCache


class Hours:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    clock = Hours()
    monkeypatch.setattr(recent_cache, "monotonic", clock)
    return clock


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Record the keys of each X25519."""
    seen: list[bytes] = []
    x25519 = primitives.x25519

    def counted(secret: bytes, public: bytes) -> bytes | None:
        seen.append(public)
        return x25519(secret, public)

    monkeypatch.setattr(primitives, "x25519", counted)
    return iter([seen])


def take(opener: Opener, rogue: Rogue) -> bytes:
    return opener.open(rogue.envelope(b"x"), subject=SUBJECT).data


def test_the_keys_of_a_session_that_has_ended_are_forgotten(hours: Hours) -> None:
    # A later thief of the reader's memory does not find them there.
    opener = Opener(BOB, {ALICE.public}, replay=AtRest())
    take(opener, Rogue())
    for number in range(3):
        hours.now += IDLE
        take(opener, Rogue(ephemeral=pair(number)))
    names = {bytes(ALICE.public) + bytes(pair(number).public) for number in (1, 2)}
    assert names_in(caches(opener)[0].sessions) == names


def test_months_of_sessions_keep_two_hours_of_them(hours: Hours) -> None:
    kept = RecentCache[int](16_384)
    for number in range(60 * 24 * 17):  # at 5,000 messages a second, a new one in 210 s
        kept.add(number.to_bytes(8, "big"), number)
        hours.now += 210
    assert len(kept) <= 2 * IDLE / 210 + 2


def test_a_session_in_use_stays_and_costs_no_exchange_of_keys(
    hours: Hours, exchanges: Iterator[list[bytes]]
) -> None:
    opener, seen = Opener(BOB, {ALICE.public}, replay=AtRest()), next(exchanges)
    rogues = [Rogue(ephemeral=pair(number)).envelope() for number in range(10)]
    own = [Rogue(counter=counter).envelope(b"x") for counter in range(1, 12)]
    opener.open(own[0], subject=SUBJECT)
    for envelope, mine in zip(rogues, own[1:], strict=True):
        hours.now += IDLE * 0.7
        opener.open(envelope, subject=SUBJECT)
        before = len(seen)
        opener.open(mine, subject=SUBJECT)
        assert len(seen) == before


def test_what_is_forgotten_is_computed_again_and_judged_again(hours: Hours) -> None:
    # The elder generation does not bypass a check: a damaged message is still refused.
    admitted = {ALICE.public}
    opener = Opener(BOB, admitted, replay=AtRest())
    envelopes = [Rogue(counter=counter).envelope(b"x") for counter in range(1, 4)]
    opener.open(envelopes[0], subject=SUBJECT)
    hours.now += IDLE
    take(opener, Rogue(ephemeral=pair(1)))
    assert opener.open(envelopes[1], subject=SUBJECT).data == b"x"
    hours.now += 3 * IDLE
    take(opener, Rogue(ephemeral=pair(2)))
    take(opener, Rogue(ephemeral=pair(3)))
    assert opener.open(envelopes[2], subject=SUBJECT).data == b"x"
    damaged = envelopes[2][:-1] + bytes([envelopes[2][-1] ^ 1])
    assert code_of(opener, damaged) == "authentication"


def test_the_number_bounds_both_generations_and_the_oldest_goes_first(hours: Hours) -> None:
    kept = RecentCache[int](4)
    for number in range(3):
        kept.add(bytes([number]), number)
    hours.now += IDLE
    for number in range(3, 6):
        kept.add(bytes([number]), number)
        assert len(kept) <= 4
    assert [kept.get(bytes([number])) for number in range(6)] == [None, None, 2, 3, 4, 5]


def test_who_looks_while_a_generation_ends_finds_what_is_in_use(hours: Hours) -> None:
    kept = RecentCache[int](1000)
    kept.add(b"in use", 7)

    def work(number: int) -> None:
        for turn in range(2000):  # only the first thread, which has just read, moves the clock
            assert kept.get(b"in use") == 7
            if not number and not turn % 100:
                hours.now += IDLE / 2
            kept.add(b"%d %d" % (number, turn % 50), turn)

    together(4, work)

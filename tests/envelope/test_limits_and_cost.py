"""The cost that strangers can cause to a reader, counted instead of timed."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Self

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    BOB,
    MALLORY,
    NOW,
    SUBJECT,
    Clock,
    code_of,
    pair,
    reader,
)
from tests.envelope.forge import Pieces, Rogue
from tests.envelope.inside import caches, decoded_head, strangers_in
from tests.reference.encoding import header
from xkeymsg import (
    ANYONE,
    AtRest,
    Limits,
    Opener,
    Sealer,
    StreamPosition,
    XKeyMsgError,
    primitives,
)
from xkeymsg.envelope import frame, unlock
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.replay import ReplayMemory

MIB = 1024 * 1024


def strangers(count: int, first: int = 0) -> Iterator[bytes]:
    """Yield messages of `count` senders, each with its own session, one per millisecond."""
    for number in range(first, first + count):
        one = pair(100_000 + number)
        rogue = Rogue(S=one.public, secret=one, ephemeral=one, created_ms=NOW + number)
        yield rogue.envelope()


class Memory:
    """Measures the growth of Python's memory in a `with` block.

    The block keeps the interpreter's lock, so that other threads, such as pytest-xdist's, do not
    allocate in the meantime.
    """

    grown = most = 0

    def __enter__(self) -> Self:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        gc.freeze()  # a complete collection then sees only what is made from now on
        tracemalloc.start()
        return self

    def __exit__(self, *failure: object) -> None:
        _, self.most = tracemalloc.get_traced_memory()
        gc.collect()
        gc.unfreeze()
        self.grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        sys.setswitchinterval(self._interval)


def test_an_envelope_beyond_the_limit_is_refused_before_it_is_looked_at() -> None:
    # E-10
    for data in (bytes(8 * MIB + 1), b"xkm2" + bytes(8 * MIB)):
        assert code_of(reader(), data) == "limit_exceeded"
    envelope = Rogue().envelope()
    small = Opener(BOB, {ALICE.public}, limits=Limits(envelope=len(envelope) - 1))
    assert code_of(small, envelope) == "limit_exceeded"
    fits = Opener(BOB, {ALICE.public}, limits=Limits(envelope=len(envelope)), replay=AtRest())
    assert fits.open(envelope, subject=">").data == b""


@for_each("size", [1025, 65_536, 10_000_000, 2**32 - 1])
def test_a_head_that_announces_too_much_is_refused_before_it_is_looked_for(size: int) -> None:
    # E-8, E-14: even if the bytes are present.
    announced = b"xkm1\x96" + header("bin", size)
    assert code_of(reader(), announced) == "limit_exceeded"
    assert code_of(reader(), announced + bytes(min(size, 7 * MIB))) == "limit_exceeded"


def test_a_head_of_1024_bytes_is_looked_at() -> None:
    assert code_of(reader(), b"xkm1\x96" + header("bin", 1024) + bytes(1024)) == "malformed"


def test_a_hundred_thousand_recipients_are_refused_before_anything_is_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # E-30: the attacker appends tags to a genuine head, and as many wraps.
    def never(*pieces: object) -> bytes:
        raise AssertionError("hashed")

    pieces = Pieces.of(Rogue().envelope())
    tags = b"".join(number.to_bytes(8, "big") for number in range(100_000))
    many = pieces._replace(tags=tags, wraps=bytes(4_900_000)).join()
    monkeypatch.setattr(primitives, "sha256", never)
    assert code_of(reader(), many) == "limit_exceeded"


@pytest.mark.parametrize("size", [8 * 1024, 65_535])
def test_a_stranger_makes_a_reader_look_at_some_hundred_bytes(size: int) -> None:
    # Its head is refused, whatever number of tags it announces.
    opener = reader()
    pieces = Pieces.of(Rogue(S=MALLORY.public, secret=MALLORY).envelope())
    front = b"xkm1\x96" + header("bin", len(pieces.head)) + pieces.head
    envelope = front + header("bin", size) + bytes(size + 99)
    assert code_of(opener, envelope) == "sender_not_admitted"
    with Memory() as memory:
        assert code_of(opener, envelope) == "sender_not_admitted"
    assert memory.most < 8 * 1024


def test_the_limit_of_recipients_may_be_lowered() -> None:
    pieces = Pieces.of(Rogue().envelope())
    two = pieces._replace(tags=pieces.tags + b"\xff" * 8, wraps=pieces.wraps * 2).join()
    opener = Opener(BOB, {ALICE.public}, limits=Limits(recipients=1), replay=AtRest())
    assert code_of(opener, two) == "limit_exceeded"


def test_the_last_of_1024_recipients_opens() -> None:
    keys = [pair(number) for number in range(1024)]
    envelope = Sealer(ALICE).seal(b"x", to=[one.public for one in keys], subject=SUBJECT)
    assert reader(keys[-1]).open(envelope, subject=SUBJECT).data == b"x"


def test_a_tag_that_stands_across_two_others_is_not_found() -> None:
    # It would shift another recipient's wrap to ours.
    tags = b"".join(n.to_bytes(8, "big") for n in (1, 2, 3))
    assert frame.find_tag(tags, (2).to_bytes(8, "big")) == 1
    assert frame.find_tag(tags, tags[4:12]) is None
    assert frame.find_tag(bytes(8) + b"\0" * 7 + b"\1", bytes(7) + b"\1") == 1


def test_thousands_of_strangers_do_not_grow_the_memory(clock: Clock) -> None:
    # E-39, E-79: where anyone may send, each message has a new sender and a new session.
    opener = Opener(BOB, ANYONE)
    for envelope in strangers(300):
        opener.open(envelope, subject=">")
    envelopes = list(strangers(2000, first=300))
    with Memory() as memory:
        for envelope in envelopes:
            opener.open(envelope, subject=">")
    assert memory.grown < 2 * MIB
    admitted, others = caches(opener)
    assert len(others.senders) <= 64
    assert len(others.sessions) <= 256
    assert (len(admitted.senders), len(admitted.sessions)) == (0, 0)


def marked(counter: int, head: Head) -> ReplayMemory:
    """Return the memory of 20,000 strangers, made without sealing, which would take minutes."""
    memory = ReplayMemory(Limits(), NOW - 10**6)
    nonce = counter.to_bytes(4, "big") + b"random.."
    for number in range(20_000):
        name = number.to_bytes(32, "big")
        mark = head._replace(sender=name, ephemeral=name, created_ms=NOW + number, nonce=nonce)
        memory.mark(mark, None, admitted=False, now_ms=NOW)
    return memory


def opened_head(clock: Clock) -> Head:
    return decoded_head(Opener(BOB, ANYONE).open(Rogue().envelope(), subject=">"))


@pytest.mark.parametrize("counter", [1, 2**20])
def test_what_is_remembered_of_strangers_stays_within_its_budget(
    clock: Clock, counter: int
) -> None:
    head = opened_head(clock)
    with Memory() as memory:
        marks = marked(counter, head)
    assert memory.grown < MIB + 1000
    assert marks.state(NOW).size <= MIB + 1000


def test_the_last_counter_costs_no_more_than_the_first(clock: Clock) -> None:
    # A bitmap up to 2^20 would be 128 KiB: eight strangers would fill the common budget.
    near, far = (marked(counter, opened_head(clock)) for counter in (1, 2**20))
    assert len(strangers_in(far).sessions) == len(strangers_in(near).sessions) > 500


def charged(heads: Iterable[Head], limits: Limits) -> tuple[int, int]:
    """Mark messages; return the bytes that they take and the bytes charged."""
    memory, empty = ReplayMemory(limits, NOW - 10**6), ReplayMemory(limits, 0).state(NOW).size
    with Memory() as used:
        for head in heads:
            memory.mark(head, None, admitted=True, now_ms=NOW)
    return used.grown, memory.state(NOW).size - empty


@pytest.mark.parametrize("step", [1, 2, 5, 6, 20, 100, 1024])
def test_a_mark_takes_no_more_than_is_charged_for_it(clock: Clock, step: int) -> None:
    # Counters of two sessions, consecutive or with gaps, in all kinds of pages.
    head = opened_head(clock)
    heads = (
        head._replace(ephemeral=bytes([n]) * 32, nonce=counter.to_bytes(4, "big") + b"random..")
        for n in range(2)
        for counter in range(1, min(2**20, 3000 * step), step)
    )
    grown, charge = charged(heads, Limits())
    assert grown <= charge
    assert charge < 1.6 * grown


@pytest.mark.parametrize("count", [1000, 2731, 5462])
def test_a_session_and_a_sender_take_no_more_than_is_charged_for_them(
    clock: Clock, count: int
) -> None:
    # Even just after a dict was enlarged, at two thirds of a power of two.
    head = opened_head(clock)
    sessions = (head._replace(ephemeral=n.to_bytes(32, "big")) for n in range(count))
    grown, charge = charged(sessions, Limits())
    assert grown <= charge
    senders = (head._replace(sender=n.to_bytes(32, "big")) for n in range(count))
    grown, charge = charged(senders, Limits())
    assert grown <= charge


def test_a_busy_session_takes_less_than_two_bytes_a_message(clock: Clock) -> None:
    head = opened_head(clock)
    nonces = (counter.to_bytes(4, "big") + b"random.." for counter in range(1, 40_001))
    grown, charge = charged((head._replace(nonce=nonce) for nonce in nonces), Limits())
    assert grown <= charge < 60_000


def test_what_was_dropped_gives_its_memory_back(clock: Clock) -> None:
    # Senders fill the budget one after the other. Each leaves a record, but no large empty dict.
    head, limits = opened_head(clock), Limits(replay_bytes=MIB)
    heads = (
        head._replace(
            sender=bytes([sender]) * 32,
            ephemeral=number.to_bytes(32, "big"),
            created_ms=NOW + sender * 2000 + number,
        )
        for sender in range(12)
        for number in range(2000)
    )
    grown, charge = charged(heads, limits)
    assert grown <= charge <= MIB


def test_pending_messages_are_bounded_and_take_some_400_bytes(clock: Clock) -> None:
    # E-86: as many sessions as messages, none settled.
    memory, head = ReplayMemory(Limits(replay_pending=10_000), 0), opened_head(clock)
    with Memory() as used:
        for number in range(30_000):
            name, time = number.to_bytes(32, "big"), NOW + number
            position = StreamPosition("ORDERS", 1000 + number, time)
            mark = head._replace(ephemeral=name, created_ms=time)
            memory.mark(mark, position, admitted=True, now_ms=NOW)
    assert memory.state(NOW).pending == 10_000
    assert used.grown < 10_000 * 500


def test_strangers_do_not_displace_the_keys_of_admitted_senders(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    # E-39: one opener accepts Alice by name, and anyone on another subject.
    opener = Opener(BOB, {ALICE.public}, replay=AtRest())
    opener.open(Rogue().envelope(), subject=">")
    for envelope in strangers(300):
        opener.open(envelope, subject=">", senders=ANYONE)
    count, x25519 = 0, primitives.x25519

    def counted(secret: bytes, public: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return x25519(secret, public)

    envelope = Rogue(counter=2).envelope()
    monkeypatch.setattr(primitives, "x25519", counted)
    opener.open(envelope, subject=">")
    assert count == 0


def test_the_caches_of_admitted_senders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    # An admitted sender may begin any number of sessions.
    monkeypatch.setattr(unlock, "ADMITTED_SENDERS", 4)
    monkeypatch.setattr(unlock, "ADMITTED_SESSIONS", 4)
    names = [pair(100_000 + number).public for number in range(20)]
    opener = Opener(BOB, names, replay=AtRest())
    for _ in range(2):
        for envelope in strangers(20):
            assert opener.open(envelope, subject=">").admitted
            cache, _ = caches(opener)
            assert len(cache.senders) <= 4
            assert len(cache.sessions) <= 4


def test_garbage_of_every_size_is_refused_with_an_error_of_ours() -> None:
    opener = reader()
    for size in (0, 1, 4, 5, 6, 7, 100, 221, 1000, 65_536, MIB):
        for front in (b"", b"xkm1", b"xkm1\x96", b"xkm1\x96\xc4", b"xkm1\x96\xc5\x04\x00"):
            with pytest.raises(XKeyMsgError):
                opener.open(front + bytes(size), subject=">")

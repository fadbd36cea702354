"""The order of opening is the defence: an early refusal costs and reveals little."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    EVE,
    MALLORY,
    SUBJECT,
    code_of,
    pair,
    reader,
    to,
)
from tests.envelope.forge import Pieces, Rogue
from tests.envelope.inside import caches, session_of
from xkeymsg import (
    ANYONE,
    AtRest,
    AuthenticationError,
    BadKeyError,
    Keyring,
    Limits,
    Opener,
    Sealer,
    XKeyMsgError,
    primitives,
)
from xkeymsg.envelope import frame


class Calls:
    """Counts of expensive calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.x25519 = self.parsed = self.hashed = 0
        x25519, sha256, parse = primitives.x25519, primitives.sha256, frame.parse_body

        def multiplied(secret: bytes, public: bytes) -> bytes | None:
            self.x25519 += 1
            return x25519(secret, public)

        def hashed(*pieces: bytes | memoryview) -> bytes:
            self.hashed += 1
            return sha256(*pieces)

        def parsed(data: bytes, start: int, end: int, limits: Limits) -> frame.Body:
            self.parsed += 1
            return parse(data, start, end, limits)

        monkeypatch.setattr(primitives, "x25519", multiplied)
        monkeypatch.setattr(primitives, "sha256", hashed)
        monkeypatch.setattr(frame, "parse_body", parsed)

    def of(self, work: Callable[[], object]) -> tuple[int, int, int]:
        """Return the number of X25519, parsed bodies and hashes in one call."""
        before = self.x25519, self.parsed, self.hashed
        with contextlib.suppress(XKeyMsgError):
            work()
        return (
            self.x25519 - before[0],
            self.parsed - before[1],
            self.hashed - before[2],
        )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, pure: None) -> Calls:
    return Calls(monkeypatch)


def attempt(opener: Opener, envelope: bytes) -> Callable[[], object]:
    return lambda: opener.open(envelope, subject=">")


def test_bytes_other_than_an_envelope_cost_nothing(calls: Calls) -> None:
    for garbage in (b"", b"garbage", b"xkm1\x96", b"xkm2" + bytes(999), b"xkm1\x96\xc6\xff"):
        assert calls.of(attempt(reader(), garbage)) == (0, 0, 0)


def test_a_sender_that_is_not_admitted_costs_no_x25519_and_no_hash(calls: Calls) -> None:
    # E-62
    envelope = Rogue(S=MALLORY.public, secret=MALLORY).envelope()
    assert calls.of(attempt(reader(), envelope)) == (0, 0, 0)


def test_a_wrong_identity_costs_no_x25519_and_no_hash(calls: Calls) -> None:
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public})
    assert calls.of(attempt(opener, Rogue().envelope())) == (0, 0, 0)


def test_the_first_message_costs_one_x25519_for_each_of_the_senders_keys(calls: Calls) -> None:
    assert calls.of(attempt(reader(), Rogue().envelope())) == (2, 1, 1)


def test_further_messages_of_a_session_cost_none(calls: Calls) -> None:
    opener = reader()
    opener.open(Rogue().envelope(), subject=">")
    for counter in (2, 3):
        assert calls.of(attempt(opener, Rogue(counter=counter).envelope())) == (0, 1, 1)


def test_a_new_session_of_a_known_sender_costs_one(calls: Calls) -> None:
    opener = reader()
    opener.open(Rogue().envelope(), subject=">")
    assert calls.of(attempt(opener, Rogue(ephemeral=pair(1)).envelope())) == (1, 1, 1)


def test_a_user_does_not_double_the_cost_of_a_key(calls: Calls) -> None:
    # dh_s is computed once per own key and S, although there are two U to try.
    keyring = Keyring(BOB, user=BOB_USER.public)
    opener = Opener(keyring, {ALICE.public}, replay=AtRest())
    assert calls.of(attempt(opener, Rogue().envelope())) == (2, 1, 1)


def test_each_retired_key_costs_one_x25519_with_a_new_sender_and_none_after(calls: Calls) -> None:
    keyring = Keyring(BOB, retired=[CAROL, DAVE], user=BOB_USER.public)
    opener = Opener(keyring, {ALICE.public}, replay=AtRest())
    assert calls.of(attempt(opener, Rogue(to=to(DAVE)).envelope())) == (3 + 1, 1, 1)
    assert calls.of(attempt(opener, Rogue(to=to(DAVE), counter=2).envelope())) == (0, 1, 1)


def test_somebody_elses_session_under_an_admitted_name_costs_no_x25519(calls: Calls) -> None:
    # E-36: the attacker writes Alice's key into the head, and its own E and tags.
    opener = reader()
    opener.open(Rogue().envelope(), subject=">")
    for number in range(5):
        forged = Rogue(secret=EVE, ephemeral=pair(number), to=to(CAROL)).envelope()
        assert calls.of(attempt(opener, forged)) == (0, 0, 0)


def test_a_message_for_others_costs_no_x25519_and_no_hash(calls: Calls) -> None:
    opener = reader()
    opener.open(Rogue().envelope(), subject=">")
    assert calls.of(attempt(opener, Rogue(to=to(CAROL, DAVE)).envelope())) == (0, 0, 0)


def test_behind_genuine_head_and_tags_nothing_is_parsed(calls: Calls) -> None:
    # E-40: the attacker has seen a genuine message, and puts a megabyte of nested arrays after its
    # head and tags. They are only hashed.
    opener = reader()
    pieces = Pieces.of(Rogue().envelope())
    front = b"xkm1\x96" + b"\xc4" + bytes([len(pieces.head)]) + pieces.head + b"\xc4\x08"
    hostile = front + pieces.tags + b"\x91" * 1_000_000 + b"\xc4\x31" + pieces.wraps
    with pytest.raises(AuthenticationError):
        opener.open(hostile, subject=">")
    assert (calls.parsed, calls.hashed) == (0, 1)
    opener.open(Rogue().envelope(), subject=">")
    assert calls.of(attempt(opener, hostile)) == (0, 0, 1)


def test_the_body_is_parsed_only_behind_a_verified_wrap(calls: Calls) -> None:
    pieces = Pieces.of(Rogue().envelope())
    for changed in (
        pieces._replace(wraps=bytes(49)),
        pieces._replace(parts=(b"",)),
        pieces._replace(views=(b"",) * 300),
        pieces._replace(signature=b"1"),
    ):
        assert calls.of(attempt(reader(), changed.join()))[1] == 0


def test_the_envelope_is_hashed_once_for_all_keys_of_a_reader(calls: Calls) -> None:
    keyring = Keyring(BOB, retired=[CAROL, DAVE])
    opener = Opener(keyring, {ALICE.public}, replay=AtRest())
    envelope = Rogue(to=to(BOB, CAROL, DAVE)).envelope()
    damaged = envelope[:-147] + bytes(147)
    assert calls.of(attempt(opener, damaged)) == (6, 0, 1)


def sessions_kept(opener: Opener) -> list[dict[bytes, object]]:
    return [{**cache.sessions.younger} for cache in caches(opener)]


def test_nothing_of_a_session_is_kept_before_a_wrap_has_verified() -> None:
    # E-38: the attacker replays genuine heads and tags with another body.
    pieces = Pieces.of(Rogue().envelope())
    for senders in ({ALICE.public}, ANYONE):
        opener = Opener(BOB, senders, replay=AtRest())
        assert code_of(opener, pieces._replace(wraps=bytes(49)).join()) == "authentication"
        assert code_of(opener, Rogue(to=to(CAROL)).envelope()) == "not_a_recipient"
        assert sessions_kept(opener) == [{}, {}]
        opener.open(pieces.join(), subject=">")
        assert sum(map(len, sessions_kept(opener))) == 1


def test_a_bad_body_behind_a_good_wrap_does_not_matter_to_the_cache() -> None:
    # The key is right: the sender itself sent an invalid body, as nobody else could have.
    opener = reader()
    assert code_of(opener, Rogue().envelope(parts=[])) == "malformed"
    assert len(sessions_kept(opener)[0]) == 1


def test_a_shared_secret_of_zeros_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-2: static, then ephemeral; the check is required, even though sound keys cannot cause it.
    envelope, opener = Rogue().envelope(), reader()
    x25519 = primitives.x25519
    for zero in (bytes(ALICE.public), Rogue().E):
        monkeypatch.setattr(
            primitives, "x25519", lambda s, p, zero=zero: None if p == zero else x25519(s, p)
        )
        with pytest.raises(BadKeyError) as caught:
            opener.open(envelope, subject=">")
        assert caught.value.public_code == "undecryptable"
    assert sessions_kept(opener) == [{}, {}]


def test_a_sealers_own_session_is_warm_for_its_reader(calls: Calls) -> None:
    opener, sealer = reader(), Sealer(ALICE)
    ephemeral = session_of(sealer)
    sealer.seal(b"", to=[BOB.public], subject=SUBJECT)
    cost = calls.of(lambda: sealer.seal(b"", to=[BOB.public], subject=SUBJECT))
    assert cost == (0, 0, 1)
    opener.open(sealer.seal(b"", to=[BOB.public], subject=SUBJECT), subject=">")
    rogue = Rogue(ephemeral=ephemeral, counter=9)
    assert calls.of(attempt(opener, rogue.envelope())) == (0, 1, 1)

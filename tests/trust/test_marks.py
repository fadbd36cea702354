"""Nothing rolls back, and nobody can turn the marks against honest users (T-9, T-11 to T-16)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.cases import for_each
from tests.trust.chains.world import Key, Scene
from tests.trust.reader import NOW, Reader
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    ExpiredClaimError,
    NotYetValidError,
    RevokedError,
    RollbackError,
    UnknownKeyError,
    UntrustedOperatorError,
    WrongIssuerError,
)
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Prefix
from xkeymsg.trust.marks import Marks, Seen

S = Scene("marks", NOW)
SECOND_OPERATOR = Key(Prefix.OPERATOR, "second signing")
BOTH_OPERATORS = S.operator_jwt([S.operator_key, SECOND_OPERATOR])


def account(*keys: object, age: int, issuer: Key | None = None, **nats: object) -> str:
    return S.account_jwt(*keys, issuer=issuer, top={"iat": NOW - age}, **nats)


def user(key: Key, age: int, *permissions: str) -> str:
    tags = [f"perm:{permission}" for permission in permissions]
    return S.user_jwt(key, {"iat": NOW - age}, tags=tags)


def certificate(number: int, age: int, **claims: Any) -> str:
    pair = XKeyPair(hashlib.sha256(b"%d" % number).digest())
    times = {"iat": NOW - age, "nbf": NOW - age}
    return S.certificate(sub=str(pair.public), **(times | claims))


BEFORE = account(S.key, S.second, S.scope(), age=900)
REMOVED = account(S.key, age=5)
HONEST = user(S.key, 800, "clinic")


@pytest.fixture
def reader() -> Reader:
    return Reader(S)


def test_1_a_thief_with_a_newer_text_cannot_lock_a_user_out_after_his_key_was_removed(
    reader: Reader,
) -> None:
    reader.admit([BEFORE], [HONEST])
    assert reader.admit([BEFORE], [HONEST, user(S.second, 10)]).permissions == set()
    assert reader.admit([REMOVED], [HONEST]).permissions == {"clinic"}


def test_2_nor_with_a_text_of_equal_iat(reader: Reader) -> None:
    reader.admit([BEFORE], [HONEST])
    reader.admit([BEFORE], [HONEST, user(S.second, 800)])
    assert reader.admit([REMOVED], [HONEST]).permissions == {"clinic"}


def test_3_a_new_operator_identity_keeps_the_marks(reader: Reader) -> None:
    reader.admit([REMOVED], [HONEST])
    reader.trust(S.other_operator_jwt(), S.other_operator.public)
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [user(S.second, 700, "audit")])
    assert reader.admit([REMOVED], [HONEST]).permissions == {"clinic"}
    reader.operator = S.operator_jwt()
    with pytest.raises(UntrustedOperatorError):  # the old identity is worth nothing
        reader.admit([REMOVED], [HONEST])


def test_4_a_retired_xkey_cannot_be_shown_as_the_current_one(reader: Reader) -> None:
    """T-14."""
    retired, present = certificate(1, 600), certificate(2, 60)
    identity = reader.admit([BEFORE], [HONEST], [retired, present])
    assert reader.current(identity).not_before == NOW - 60
    alone = reader.admit([BEFORE], [HONEST], [retired])
    with pytest.raises(RollbackError):
        reader.current(alone)
    alone.check_sender(alone.keys[0].key, NOW - 500)  # it still admits messages of its time


def test_5_the_holder_of_a_scoped_key_cannot_displace_another_user(reader: Reader) -> None:
    reader.admit([BEFORE], [HONEST])
    mine = S.scoped_user({"iat": NOW - 1})
    assert reader.admit([BEFORE], [HONEST, mine]).permissions == {"clinic"}
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [mine])


def test_6_an_older_account_jwt_does_not_bring_a_removed_key_back(reader: Reader) -> None:
    reader.admit([REMOVED], [HONEST])
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [HONEST])


def test_7_of_two_edits_of_one_second_the_removal_holds(reader: Reader) -> None:
    reader.admit([REMOVED], [HONEST])
    both = [REMOVED, account(S.key, S.second, age=5)]
    with pytest.raises(WrongIssuerError):
        reader.admit(both, [user(S.second, 3, "audit")])


def test_8_an_older_user_jwt_does_not_bring_a_permission_back(reader: Reader) -> None:
    reader.admit([BEFORE], [user(S.key, 800, "clinic", "audit")])
    reader.admit([BEFORE], [user(S.key, 500, "clinic")])
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [user(S.key, 800, "clinic", "audit")])


def test_9_an_account_taken_over_by_a_stolen_operator_key_comes_back_with_its_removal() -> None:
    reader = Reader(S, BOTH_OPERATORS)
    reader.admit([REMOVED], [HONEST])
    reader.admit([account(S.second, age=1, issuer=SECOND_OPERATOR)], [user(S.second, 1)])
    reader.operator = S.operator_jwt(top={"iat": NOW - 2})
    assert reader.admit([REMOVED], [HONEST]).permissions == {"clinic"}
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [HONEST])


def test_an_older_operator_jwt_does_not_bring_a_removed_operator_key_back() -> None:
    reader = Reader(S, S.operator_jwt(top={"iat": NOW - 5}))
    reader.admit([REMOVED], [HONEST])
    reader.operator = BOTH_OPERATORS
    with pytest.raises(RollbackError):
        reader.admit([REMOVED], [HONEST])


def test_a_refused_user_leaves_no_mark(reader: Reader) -> None:
    revoking = account(S.key, age=5, revocations={S.user.public: NOW - 100})
    with pytest.raises(RevokedError):
        reader.admit([revoking], [user(S.key, 100)])
    later = account(S.key, age=1)  # it was a mistake, and has been taken back
    assert reader.admit([later], [HONEST]).permissions == {"clinic"}


# Certificates (T-14)


def test_the_current_xkey_is_the_newest_that_has_come(reader: Reader) -> None:
    upcoming = certificate(3, 0, nbf=NOW + 600, exp=NOW + 9000)
    identity = reader.admit([BEFORE], [HONEST], [upcoming, certificate(1, 600), certificate(2, 60)])
    assert reader.current(identity).not_before == NOW - 60
    reader.now = NOW + 600
    assert reader.current(identity).not_before == NOW + 600


def test_an_older_xkey_is_not_current_because_the_newest_has_expired_or_is_revoked(
    reader: Reader,
) -> None:
    newest = certificate(2, 60, exp=NOW + 5)
    identity = reader.admit([BEFORE], [HONEST], [certificate(1, 600), newest])
    reader.now = NOW + 6
    with pytest.raises(ExpiredClaimError):
        reader.current(identity)
    revoking = account(S.key, age=5, revocations={str(identity.keys[1].key): NOW})
    with pytest.raises(RevokedError):
        reader.current(reader.admit([revoking], [HONEST], [certificate(1, 600), newest]))


def test_two_equally_new_xkeys_are_a_conflict(reader: Reader) -> None:
    identity = reader.admit([BEFORE], [HONEST], [certificate(1, 60), certificate(2, 60)])
    with pytest.raises(ConflictError):
        reader.current(identity)
    later = certificate(3, 60, iat=NOW - 59)
    identity = reader.admit([BEFORE], [HONEST], [certificate(1, 60), certificate(2, 60), later])
    assert reader.current(identity).issued == NOW - 59


def test_without_certificates_there_is_no_current_xkey(reader: Reader) -> None:
    with pytest.raises(UnknownKeyError):
        reader.current(reader.admit([BEFORE], [HONEST]))


def test_a_certificate_that_takes_no_part_harms_no_other(reader: Reader) -> None:
    too_long = certificate(2, 60, exp=NOW + 40 * 86_400)
    elsewhere = certificate(
        3, 60, nats={"type": "xkey", "version": 2, "issuer_account": S.stranger.public}
    )
    identity = reader.admit([BEFORE], [HONEST], [certificate(1, 600), too_long, elsewhere])
    assert reader.current(identity).not_before == NOW - 600


def test_messages_around_the_life_of_a_certificate(reader: Reader) -> None:
    """T-6, T-7: the time of the message counts, within the skew."""
    ending = S.user_jwt(top={"exp": NOW + 900})
    identity = reader.admit([BEFORE], [ending], [certificate(1, 600, exp=NOW + 1000)])
    [known] = identity.keys
    assert known.not_after == NOW + 900  # the user's own end
    identity.check_sender(known.key, NOW - 600)
    identity.check_sender(known.key, NOW - 630, 30)
    identity.check_sender(known.key, NOW + 930, 30)
    with pytest.raises(NotYetValidError):
        identity.check_sender(known.key, NOW - 631, 30)
    with pytest.raises(ExpiredClaimError):
        identity.check_sender(known.key, NOW + 931, 30)
    with pytest.raises(UnknownKeyError):
        identity.check_sender(XKeyPair(bytes(32)).public, NOW)


def test_a_renewed_certificate_of_one_xkey_closes_the_gap(reader: Reader) -> None:
    first = certificate(1, 600, exp=NOW - 300)
    again = certificate(1, 400)
    identity = reader.admit([BEFORE], [HONEST], [first, again])
    for at in (NOW - 600, NOW - 350, NOW - 200, NOW):
        identity.check_sender(identity.keys[0].key, at)


def test_two_users_may_certify_one_xkey(reader: Reader) -> None:
    """A certificate is a claim: refusing would let any user silence another."""
    other = Reader(Scene("other", NOW))
    xkey = str(S.xkey.public)
    theirs = other.admit(
        [other.scene.account_jwt()], [other.scene.user_jwt()], [other.scene.certificate(sub=xkey)]
    )
    ours = reader.admit([BEFORE], [HONEST], [S.certificate()])
    assert ours.keys[0].key == theirs.keys[0].key
    assert ours.user != theirs.user


# The marks themselves


def test_merging_takes_the_maximum_of_each_mark() -> None:
    """T-15."""
    one, two = Marks(), Marks()
    one.record([Seen("A", "O", 5), Seen("A", "P", 1)])
    one.record_certificate("U", 9)
    two.record([Seen("A", "O", 3), Seen("A", "P", 2), Seen("B", "O", 7)])
    two.record_certificate("U", 8)
    merged = Marks()
    merged.merge(one)
    merged.merge(two)
    text = json.loads(merged.dump())
    assert text["issued"] == {"A": {"O": 5, "P": 2}, "B": {"O": 7}}
    assert text["certified"] == {"U": 9}
    again = merged.dump()
    merged.merge(two)
    assert merged.dump() == again


def test_recording_says_what_has_changed_and_never_lowers() -> None:
    marks = Marks()
    assert marks.record([Seen("A", "O", 5)])
    assert not marks.record([Seen("A", "O", 5), Seen("A", "O", 4)])
    assert marks.record_certificate("U", 5)
    assert not marks.record_certificate("U", 4)
    assert marks.certified("U") == 5
    assert marks.certified("V") == 0


def test_a_clock_that_was_in_2100_is_reported_and_forgotten_on_order(reader: Reader) -> None:
    """T-16."""
    century = 4_102_444_800
    reader.now = century
    late = S.user_jwt(top={"iat": century})
    reader.admit([BEFORE], [HONEST, late])
    reader.now = NOW
    assert reader.marks.ahead(NOW + 30) == (S.user.public,)
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [HONEST])
    reader.marks.forget(S.user.public)
    assert reader.marks.ahead(NOW + 30) == ()
    assert reader.admit([BEFORE], [HONEST]).permissions == {"clinic"}


def test_marks_of_certificates_can_be_ahead_too() -> None:
    marks = Marks()
    marks.record_certificate("U", 100)
    assert marks.ahead(99) == ("U",)
    assert marks.ahead(100) == ()
    marks.forget("U")
    assert marks.ahead(99) == ()


def test_marks_survive_a_file(reader: Reader) -> None:
    identity = reader.admit([REMOVED], [HONEST], [certificate(1, 60)])
    reader.current(identity)
    text = reader.marks.dump()
    loaded = Marks.load(text)
    assert loaded.dump() == text
    reader.marks = loaded
    with pytest.raises(RollbackError):
        reader.admit([BEFORE], [HONEST])


GOOD = {"version": 1, "issued": {S.user.public: {S.key.public: 5}}, "certified": {}}


@for_each(
    "content",
    [
        {},
        [],
        7,
        GOOD | {"version": 2},
        GOOD | {"more": {}},
        {key: GOOD[key] for key in ("version", "issued")},
        GOOD | {"issued": []},
        GOOD | {"issued": {"x": {S.key.public: 5}}},
        GOOD | {"issued": {S.user.public: {}}},
        GOOD | {"issued": {S.user.public: {S.key.public: "5"}}},
        GOOD | {"issued": {S.user.public: {S.key.public: 5.0}}},
        GOOD | {"issued": {S.user.public: {S.key.public: True}}},
        GOOD | {"issued": {S.user.public: {S.key.public: 0}}},
        GOOD | {"certified": {S.user.public: -1}},
        GOOD | {"certified": None},
    ],
    ids=str,
)
def test_damaged_marks_are_not_empty_marks(content: object) -> None:
    assert Marks.load(json.dumps(GOOD)).dump()
    with pytest.raises(ConfigurationError):
        Marks.load(json.dumps(content))


@for_each("text", ["", "{", "[" * 100_000, "\x00"])
def test_text_that_is_not_json_is_damaged(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Marks.load(text)

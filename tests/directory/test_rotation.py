"""The states of own keys, and the next step: a function of keys, certificates and the clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.trust.store import Person, Store
from xkeymsg import XKey, XKeyPair
from xkeymsg.directory.rotation import (
    LIFE,
    OwnKeys,
    RotationStep,
    RotationTimes,
    certified_key,
    new_certificate,
)
from xkeymsg.trust.claims import Account, Certificate, User
from xkeymsg.trust.identity import CertifiedKey

T0 = 1_700_000_000
TIMES = RotationTimes(interval=1000, lead=100, retain=5000)
A, B, C = (XKeyPair.generate().public for _ in range(3))


def known(key: XKey, begin: int, *, life: int = LIFE, revoked: bool = False) -> CertifiedKey:
    return CertifiedKey(key, T0 + begin, T0 + begin + life, T0 + begin - 1, revoked)


def keys(
    held: Iterable[XKey], certified: Iterable[CertifiedKey], at: int, shown: object = None
) -> OwnKeys:
    certified = list(certified)
    listed = certified if shown is None else list(shown)  # type: ignore[call-overload]
    return OwnKeys(list(held), certified, listed, T0 + at)


def step(own: OwnKeys, **more: int) -> tuple[str, XKey | None, int] | None:
    found = own.step(TIMES, **more)
    return None if found is None else (found.action, found.key, found.not_before - T0)


def test_an_empty_store_gets_a_key_that_is_current_at_once() -> None:
    assert keys([], [], 0).step(TIMES) == RotationStep("create")
    assert step(keys([A], [], 5)) == ("certify", A, 5)
    own = keys([A], [known(A, 5)], 6)
    assert own.current == known(A, 5)
    assert step(own) is None
    assert own.next_rotation(TIMES) == T0 + 1005


def test_the_next_key_is_made_a_lead_before_its_time_and_takes_over_by_the_clock() -> None:
    first = [known(A, 0)]
    assert step(keys([A], first, 899)) is None
    assert keys([A], first, 900).step(TIMES) == RotationStep("create")
    assert step(keys([A, B], first, 900)) == ("certify", B, 1000)
    both = [*first, known(B, 1000)]
    before, after = keys([A, B], both, 999), keys([A, B], both, 1000)
    assert (before.current, before.upcoming) == (known(A, 0), [known(B, 1000)])
    assert (after.current, after.upcoming) == (known(B, 1000), [])
    assert before.retired_at(A) is None
    assert after.retired_at(A) == T0 + 1000
    assert step(before) is step(after) is None


def test_a_secret_that_an_interruption_left_is_certified_instead_of_making_another() -> None:
    assert step(keys([A, B], [known(A, 0)], 400)) == ("certify", B, 500)


def test_a_certificate_that_is_not_shown_in_time_is_signed_again_for_a_later_time() -> None:
    both = [known(A, 0), known(B, 1000)]
    assert step(keys([A, B], both, 949, [known(A, 0)])) is None
    assert step(keys([A, B], both, 951, [known(A, 0)])) == ("certify", B, 1051)
    assert step(keys([A, B], both, 1500, [known(A, 0)])) == ("certify", B, 1600)
    assert step(keys([A, B], both, 1500)) is None


def test_a_key_is_used_to_seal_only_after_the_directory_has_shown_it() -> None:
    both = [known(A, 0), known(B, 1000)]
    assert keys([A, B], both, 1500, [known(A, 0)]).sealing == known(A, 0)
    assert keys([A, B], both, 1500).sealing == known(B, 1000)
    assert keys([A, B], both, 1500, []).sealing == known(B, 1000)
    assert keys([], [], 0).sealing is None


@pytest.mark.parametrize("upcoming", [False, True])
def test_a_revoked_current_key_is_followed_at_once(upcoming: bool) -> None:
    revoked = known(A, 0, revoked=True)
    if upcoming:
        assert step(keys([A, B], [revoked, known(B, 1000)], 950)) == ("certify", B, 950)
    else:
        assert keys([A], [revoked], 500).step(TIMES) == RotationStep("create")
        assert step(keys([A, B], [revoked], 500)) == ("certify", B, 500)


def test_a_revoked_key_without_a_certificate_is_not_certified_again(tmp_path: Path) -> None:
    """A store that outlives its user: the new user must not make a stolen xkey valid again."""
    store = Store(tmp_path / "HOSPITAL")
    account = Account.decode(store.account_jwt(revocations={str(A): store.now}))
    own = OwnKeys([A], [], [], store.now + 3600, [account])
    assert own.uncertified == [A]  # it still opens messages
    assert own.step(TIMES) == RotationStep("create")
    own = OwnKeys([A, B], [], [], store.now + 3600, [account])
    assert own.step(TIMES) == RotationStep("certify", B, store.now + 3600)


def test_a_revoked_upcoming_key_is_replaced() -> None:
    both = [known(A, 0), known(B, 1000, revoked=True)]
    assert keys([A, B], both, 950).step(TIMES) == RotationStep("create")
    assert step(keys([A, B, C], both, 950)) == ("certify", C, 1000)
    assert keys([A, B], both, 1001).step(TIMES) == RotationStep("create")


def test_a_rotation_now_has_no_lead() -> None:
    since = T0 + 5
    own = keys([A], [known(A, 0)], 5)
    assert own.step(TIMES, since=since) == RotationStep("create")
    assert step(keys([A, B], [known(A, 0)], 5), since=since) == ("certify", B, 5)
    both = [known(A, 0), known(B, 1000)]
    assert step(keys([A, B], both, 950), since=T0 + 950) == ("certify", B, 950)


def test_a_rotation_now_is_done_once_and_needs_no_memory() -> None:
    since, both = T0 + 5, [known(A, 0), known(B, 6)]
    for at in (6, 7, 500):
        assert step(keys([A, B], both, at), since=since) is None
    assert step(keys([A, B], both, 6, [known(A, 0)]), since=since) is None
    # Published late: signed again, still without a lead.
    assert step(keys([A, B], both, 60, [known(A, 0)]), since=since) == ("certify", B, 60)
    # The next rotations are not affected.
    assert keys([A, B], both, 906).step(TIMES, since=since) == RotationStep("create")
    three = [*both, known(C, 1006)]
    assert step(keys([A, B, C], three, 1500, both), since=since) == ("certify", C, 1600)


def test_keys_outside_of_the_store_are_neither_certified_nor_renewed() -> None:
    def own(held: list[XKey], certified: list[CertifiedKey], at: int) -> OwnKeys:
        return OwnKeys(held, certified, certified, T0 + at, stored=[B])

    assert step(own([A, B], [known(B, 0)], 5)) is None
    assert step(own([A, B], [known(A, 0)], 5)) == ("certify", B, 105)
    assert own([A], [known(A, 0)], LIFE - 1).renewal() is None
    both, since = [known(B, 0), known(A, 50)], T0 + 5
    assert step(own([A, B], both, 5)) is None
    assert own([A, B], both, 5).step(TIMES, since=since) == RotationStep("create")
    assert own([A, B], both, 950).step(TIMES) == RotationStep("create")


def test_a_request_from_the_future_is_ignored_until_then() -> None:
    assert step(keys([A], [known(A, 0)], 5), since=T0 + 6) is None
    assert keys([A], [known(A, 0)], 6).step(TIMES, since=T0 + 6) == RotationStep("create")


def test_a_certificate_of_a_secret_that_is_not_here_is_reported_before_its_time() -> None:
    both = [known(A, 0), known(B, 1000)]
    assert [each.key for each in keys([A], [known(A, 0)], 950, both).missing] == [B]
    assert [each.key for each in keys([A], [known(A, 0)], 1500, both).missing] == [B]
    assert keys([B], [known(B, 1000)], 1500, both).missing == []
    for later in (-1, 0, 1):  # a thief of the user's key chooses both times
        thief = known(C, 1000)._replace(issued=known(B, 1000).issued + later)
        found = keys([B], [known(B, 1000)], 1500, [known(B, 1000), thief]).missing
        assert bool(found) is (later >= 0)
    gone = [*both, known(C, 1200, revoked=True)]
    assert keys([B], [known(B, 1000)], 1500, gone).missing == []


def test_retired_secrets_and_certificates_are_deleted_after_they_were_retained() -> None:
    three = [known(A, 0), known(B, 1000), known(C, 2000)]
    assert keys([A, B, C], three, 5999).retired(5000) == []
    assert keys([A, B, C], three, 6000).retired(5000) == [RotationStep("delete", A, T0 + 1000)]
    assert [each.key for each in keys([C], three, 7000).retired(5000)] == [A, B]


def test_a_certificate_is_renewed_if_no_other_key_can_follow_before_it_ends() -> None:
    first = [known(A, 0)]
    end = LIFE - LIFE // 10
    assert keys([A], first, end - 1).renewal() is None
    assert keys([A], first, end).renewal() == RotationStep("certify", A, T0 + end)
    both = [*first, known(B, end + 50)]
    assert keys([A, B], both, end, first).renewal() is not None
    assert keys([A, B], both, end).renewal() is None
    assert keys([A], [known(A, 0, revoked=True)], end).renewal() is None


def test_a_clock_that_is_set_back_does_not_sign_again_and_again() -> None:
    own = keys([A], [known(A, 500)], 100)
    assert step(own) == ("certify", A, 100)
    again = keys([A], [known(A, 100), known(A, 500)], 101)
    assert again.current == known(A, 100)
    assert step(again) is None


@for_each("interrupted", [*itertools.product([False, True], repeat=3)])
def test_every_interruption_ends_with_one_next_key(interrupted: tuple[bool, ...]) -> None:
    """A process that was killed after any step, with or without its effects."""
    created, certified, published = interrupted
    store, certificates, shown = [A], {A: known(A, 0)}, {known(A, 0)}
    if created:
        store.append(B)
        if certified:
            certificates[B] = known(B, 1000)
            if published:
                shown.add(known(B, 1000))
    fresh = iter([B, C] if not created else [C])
    for at in range(900, 1300, 10):
        own = keys(store, certificates.values(), at, shown)
        while (found := own.step(TIMES)) is not None:
            if found.key is None:
                store.append(next(fresh))
            else:
                certificates[found.key] = known(found.key, found.not_before - T0)
            own = keys(store, certificates.values(), at, shown)
        shown |= {*certificates.values()}
    assert store == [A, B]
    assert own.current is not None
    assert own.current.key == B


def test_a_certificate_is_valid_and_later_than_all_that_is_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    alice = Person("alice", store.key)
    user = User.decode(store.user_jwt(alice))
    begin, last = store.now + 100, CertifiedKey(B, 0, 0, store.now + 50, False)
    revocations = {"*": store.now + 55, alice.user: store.now + 60, str(B): store.now + 70}
    account = Account.decode(store.account_jwt(revocations=revocations))
    text = new_certificate(
        user, alice.signer, A, begin, now=store.now, known=[last], accounts=[account]
    )
    found = certified_key(Certificate.decode(text))
    assert (found.key, found.not_before, found.not_after) == (A, begin, begin + LIFE)
    assert found.issued == store.now + 61


def test_a_user_that_ends_soon_does_not_make_the_owner_sign_again_and_again() -> None:
    shown = known(A, 0)._replace(not_after=T0 + 600)
    own = keys([A], [known(A, 0)], 599, [shown])
    assert own.renewal() is None
    assert step(own) is None

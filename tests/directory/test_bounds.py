"""What floods can cost a reader: memory, time, and the entries of others (T-19, T-23)."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from tests.directory.inside import bound
from tests.directory.realm import Realm
from tests.trust.chains.world import Key
from xkeymsg import Trust
from xkeymsg.directory.entries import OwnEntry
from xkeymsg.directory.settings import place_of, subject_of
from xkeymsg.errors import MalformedClaimError, NotLoadedError, WrongAccountError
from xkeymsg.nkey import Prefix
from xkeymsg.trust.claims import Account, Certificate
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place


def test_a_flood_of_events_leaves_room_for_the_bucket(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    account, bob = realm.account.public, realm.person("bob")
    for size in (10, 16_000):
        for number in range(60_000 if size == 10 else 6000):
            published.put(Place(account, f"U{number}"), b"x" * size, stored=False)
    assert not published.put(Place(account, "U"), b"x", stored=False)  # the bucket is read again
    assert published.has_room
    assert published.put(realm.place(bob), realm.entry(bob), stored=True)
    published.loaded = True
    lookup.verify(60.0)
    assert trust.resolve("bob")
    assert published.pending == 0
    assert not published.alarms
    assert published.put(Place(account, "U"), b"x", stored=False)


def test_a_flood_of_events_does_not_delay_a_revocation(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    account, bob = realm.account.public, realm.person("bob")
    realm.revocations[bob.user] = realm.now
    published.put(Place(account, ""), realm.clinic_jwt(age=10).encode(), stored=True)
    turns = 0
    while not trust.has_news:
        for number in range(5000):  # more than are indexed in a slice
            published.put(Place(account, f"U{number}"), b"x" * 100, stored=False)
        lookup.verify(0.001)
        turns += 1
        assert turns < 1000


def test_what_entries_state_is_bounded_with_their_text(realm: Realm) -> None:
    bob, account = realm.person("bob"), realm.account.public
    tags = [f"p{number:x}" for number in range(1100)]
    value = realm.user_jwt(bob, *tags).encode()
    published = Published({"": account}, size=2 << 20)
    tracemalloc.start()
    try:
        for number in range(100):
            published.put(Place(account, f"U{number}"), value, stored=True)
        before, most = tracemalloc.get_traced_memory()[0], 0
        for _ in published.steps():
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert most - before < 8 << 20


def test_events_of_users_that_nobody_issued_are_not_kept(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    unlisted = Key(Prefix.ACCOUNT, "unlisted")
    known = len(published.certificates)
    for number in range(20):
        person = realm.person(f"stranger-{number}", unlisted)
        published.put(realm.place(person), realm.entry(person), stored=False)
        lookup.verify(60.0)
    assert len(published.certificates) == known
    assert not trust.members.refused


def test_claims_of_users_that_are_not_valid_are_bounded_in_bytes(
    realm: Realm, trust: Trust
) -> None:
    published, lookup = trust.attach()
    bound(published, 50_000, size=16_000)
    unlisted = Key(Prefix.ACCOUNT, "unlisted")
    for number in range(50):
        person = realm.person(f"stranger-{number}", unlisted)
        published.put(realm.place(person), realm.entry(person), stored=True)
        lookup.verify(60.0)
        assert len(published.certificates) < 12
        assert len(trust.members.refused) < 12
        assert len(trust.members.known[""].users) < 12
    bob = realm.person("bob")
    published.put(realm.place(bob), realm.entry(bob), stored=True)
    lookup.verify(60.0)
    published.loaded = True
    assert trust.resolve("bob")


def test_a_question_verifies_a_bounded_number_of_claims(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    bob, account = realm.person("bob"), realm.account.public
    jwt, [certificate] = realm.texts(bob)
    value = "\n".join([jwt, *[certificate] * 24]).encode()
    published.loaded = True
    for number in range(100):  # each states the name
        published.put(Place(account, f"U{number}"), value, stored=True)
    lookup.verify(0.0)
    while not published.is_indexed:
        lookup.verify(0.0)
    with pytest.raises(NotLoadedError):
        trust.resolve("bob")
    lookup.verify(60.0)
    published.put(realm.place(bob), value, stored=True)
    lookup.verify(60.0)
    assert trust.resolve("bob")


def test_an_entry_over_the_limits_is_not_read_by_its_owner(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = realm.person("bob")
    own = OwnEntry(*realm.texts(bob))
    honest = own.merged(b"", ())
    calls: list[str] = []
    monkeypatch.setattr(Certificate, "decode", calls.append)
    for present in (b"\n" * 262_144, b"a.b.c\n" * 40_000, b"x" * 17_000):
        assert own.merged(present, ()) == honest
    assert not calls


@pytest.mark.parametrize("key", ["U", "", "x" * 4000, "\x1b[2J", "A" * 56, "Account", "account.x"])
def test_a_key_of_the_bucket_is_a_public_key_of_a_user(realm: Realm, key: str) -> None:
    account = realm.account.public
    assert place_of(f"$KV.XKEYS.{account}.{key}") is None
    place = realm.place(realm.person("bob"))
    assert place_of(subject_of(place)) == place
    assert place_of(f"$KV.XKEYS.{account}.account") == Place(account, "")


def test_the_server_cannot_show_the_jwt_of_another_account(realm: Realm, trust: Trust) -> None:
    trust.attach()
    with pytest.raises(WrongAccountError):
        trust.take_account(realm.insurer_jwt(age=5))
    assert not trust.has_news


def test_nesting_is_bounded_in_texts_of_any_shape(realm: Realm) -> None:
    def account(value: object) -> str:
        return realm.account_jwt(realm.second, imports=value)

    flat: list[object] = [[[], {}]] * 20_000
    Account.decode(account(flat))
    text = json.loads("[" * 29 + '"[[[[{{{{]"' + "]" * 29)
    Account.decode(account(text))  # in `nats`, in the claims
    with pytest.raises(MalformedClaimError, match="nested"):
        Account.decode(account([[text]]))

"""Bounds of what a hostile writer can make a reader keep (T-19, T-20)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.directory.inside import bound
from tests.directory.realm import Realm
from tests.trust.chains.world import Key
from xkeymsg import Trust
from xkeymsg.errors import NotLoadedError, UnknownKeyError
from xkeymsg.nkey import Prefix
from xkeymsg.trust.stores.published import Published
from xkeymsg.trust.stores.published_entry import Place


@pytest.fixture
def realm(tmp_path: Path) -> Realm:
    return Realm(tmp_path / "HOSPITAL")


@pytest.fixture
def trust(realm: Realm) -> Trust:
    return realm.trust(realm.login(realm.person("alice")))


def drain(published: Published) -> None:
    for _ in published.steps():
        pass


def test_unverified_text_is_bounded_in_number_and_bytes(realm: Realm) -> None:
    account = realm.account.public
    published = Published({"": account}, entries=10, size=300_000)
    for number in range(50):
        published.put(Place(account, f"U{number}"), b"x" * 10, stored=True)
    assert published.pending == 10
    assert published.ignored["full"] == 40
    drain(published)
    for number in range(50):
        published.put(Place(account, f"U{number}"), b"x" * 16_000, stored=True)
        assert published.pending * 16_000 <= 300_000
    drain(published)
    assert published.pending == 0
    assert len(published.alarms) <= 64
    assert not published.certificates


def test_entries_of_other_accounts_and_large_ones_are_dropped_unread(realm: Realm) -> None:
    account = realm.account.public
    published = Published({"": account})
    published.put(Place(realm.insurer.public, "U"), b"x", stored=True)
    published.put(Place(account, "U"), b"x" * 16_385, stored=True)
    published.put(Place(account, ""), b"x" * 262_145, stored=True)
    assert published.pending == 0
    assert published.ignored == {"oversized": 2}


def test_users_that_are_not_valid_make_room_for_those_that_are(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    bound(published, 5)
    unlisted = Key(Prefix.ACCOUNT, "unlisted")
    for number in range(20):
        person = realm.person(f"stranger-{number}", unlisted)
        published.put(Place(realm.account.public, person.user), realm.entry(person), stored=True)
        lookup.verify(60.0)
    bob = realm.person("bob")
    published.put(realm.place(bob), realm.entry(bob), stored=True)
    lookup.verify(60.0)
    published.loaded = True
    assert len(published.certificates) <= 5
    [found] = trust.resolve("bob")
    assert found.key == bob.pair.public


def test_a_second_holder_of_a_name_is_verified_before_the_name_is_resolved(
    realm: Realm, trust: Trust
) -> None:
    bob, other = realm.person("bob"), realm.person("bob-2")
    other.name = "bob"
    published, lookup = trust.attach()
    published.put(realm.place(bob), realm.entry(bob), stored=True)
    lookup.verify(60.0)
    with pytest.raises(NotLoadedError):
        trust.resolve("bob")
    published.put(realm.place(other), realm.entry(other), stored=True)
    lookup.verify(0.0)  # indexed, not verified
    published.loaded = True
    with pytest.raises(Exception, match="2 users have the name"):
        trust.resolve("bob")


def test_old_entries_do_not_bring_back_what_was_superseded(realm: Realm, trust: Trust) -> None:
    bob = realm.person("bob")
    old = realm.entry(bob, "billing", age=700)
    published, lookup = trust.attach()
    published.loaded = True
    for value in (old, realm.entry(bob, age=600), old, b"", b"garbage"):
        published.put(realm.place(bob), value, stored=True)
        lookup.verify(60.0)
    with pytest.raises(UnknownKeyError):
        trust.resolve("perm:billing")
    [found] = trust.resolve("bob")
    assert found.key == bob.pair.public
    assert list(published.alarms) == [realm.place(bob)]

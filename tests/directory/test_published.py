"""Bounds of what a hostile writer can make a reader keep (T-19, T-20)."""

from __future__ import annotations

import base64
import json
import time

import pytest

from tests.directory.inside import bound
from tests.directory.realm import Realm
from tests.trust.chains.world import Key
from xkeymsg import Trust
from xkeymsg.errors import NotLoadedError, SenderRevokedError, UnknownKeyError
from xkeymsg.nkey import Prefix
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place


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


def test_blank_entries_count_as_deleted_and_stop_nothing(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    bob, account = realm.person("bob"), realm.account.public
    for value in (b"", b"\n", b" \r\n\t\n"):
        for place in (Place(account, ""), Place(account, "U"), realm.place(bob)):
            for stored in (True, False):
                assert published.put(place, value, stored=stored)
            lookup.take_now(place, value)
    assert published.ignored == {"deleted": 9, "event": 9}
    assert {str(each).partition(": ")[2] for each in published.alarms.values()} == {
        "the entry was deleted: publish it again (`xkeymsg directory publish`)"
    }
    published.put(realm.place(bob), realm.entry(bob), stored=True)
    lookup.verify(60.0)
    published.loaded = True
    assert trust.resolve("bob")


def test_an_entry_read_by_itself_has_the_limits_of_the_others(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    place = realm.place(realm.person("bob"))
    for value in (b"x" * 16_385, b"x\n" * 26):
        lookup.take_now(place, value)
        assert not published.ignored
        assert published.put(place, value, stored=True)
        assert published.pending == 0
        assert published.ignored.popitem()[0] in ("oversized", "malformed_claim")


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
    assert len(trust.members.refused) <= 5
    [found] = trust.resolve("bob")
    assert found.key == bob.pair.public


def test_users_that_are_not_valid_are_bounded_in_bytes(realm: Realm) -> None:
    creds = realm.login(realm.person("alice"))
    trust = realm.trust(creds)
    published, lookup = trust.attach()
    bound(published, 50_000, size=40_000)
    unlisted = Key(Prefix.ACCOUNT, "unlisted")
    for number in range(20):
        person = realm.person(f"stranger-{number}", unlisted)
        entry = realm.entry(person, *(f"p{number}" for number in range(500)))
        published.put(Place(realm.account.public, person.user), entry, stored=True)
        lookup.verify(60.0)
    assert 2 <= len(published.certificates) <= 6
    assert len(trust.members.refused) <= 6
    trust.reload(force=True)
    [user] = trust.members.identities.values()
    assert user.name == "alice"


def test_users_whose_issuer_was_removed_make_room(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    stolen = Key(Prefix.ACCOUNT, "stolen")
    realm.write_clinic(signing_keys=[realm.key.public, stolen.public], age=800)
    trust.reload(force=True)
    bound(published, 5)
    for number in range(4):
        person = realm.person(f"minted-{number}", stolen)
        published.put(Place(realm.account.public, person.user), realm.entry(person), stored=True)
        lookup.verify(60.0)
    assert len(trust.members.identities) == 5
    realm.write_clinic(age=700)
    trust.reload(force=True)
    bob = realm.person("bob")
    published.put(realm.place(bob), realm.entry(bob), stored=True)
    lookup.verify(60.0)
    published.loaded = True
    [found] = trust.resolve("bob")
    assert found.key == bob.pair.public


def test_users_that_become_invalid_displace_others_when_all_are_judged(
    realm: Realm, trust: Trust
) -> None:
    published, lookup = trust.attach()
    removed, unlisted = Key(Prefix.ACCOUNT, "removed"), Key(Prefix.ACCOUNT, "unlisted")
    realm.write_clinic(signing_keys=[realm.key.public, removed.public], age=800)
    trust.reload(force=True)
    bound(published, 50_000, size=10_000)
    for number in range(10):
        person = realm.person(f"user-{number}", removed if number < 5 else unlisted)
        published.put(Place(realm.account.public, person.user), realm.entry(person), stored=True)
        lookup.verify(60.0)
    realm.write_clinic(age=700)
    trust.reload(force=True)
    assert len(published.certificates) == len(trust.members.refused) + 1
    assert 3 <= len(trust.members.refused) <= 7
    assert [each.name for each in trust.members.identities.values()] == ["alice"]


def test_the_xkeys_of_a_user_that_was_dropped_are_forgotten(realm: Realm, trust: Trust) -> None:
    published, lookup = trust.attach()
    published.loaded = True
    bound(published, 3)
    strangers = [realm.person(f"stranger-{number}") for number in range(5)]
    realm.revocations |= {each.user: realm.now for each in strangers}
    realm.write_clinic(age=700)
    trust.reload(force=True)
    for person in strangers:
        published.put(Place(realm.account.public, person.user), realm.entry(person), stored=True)
        lookup.verify(60.0)
    first, last = strangers[0].pair.public, strangers[-1].pair.public
    with pytest.raises(SenderRevokedError):
        trust.admit(last, "a", 0)
    assert trust.admit(first, "a", 0) is None


def test_the_index_of_unverified_entries_is_bounded(realm: Realm) -> None:
    account, size = realm.account.public, 300_000
    published = Published({"": account}, size=size)
    tags = [f"perm:p{number}" for number in range(500)]
    for number in range(50):
        claims = json.dumps({"nats": {"tags": [*tags, f"perm:of-{number}"]}}).encode()
        value = b"." + base64.urlsafe_b64encode(claims) + b"."
        published.put(Place(account, f"U{number}"), value, stored=True)
    arrived, most = published.pending, 0
    for _ in published.steps():
        most = max(most, published.states(f"{account} perm:p0", 100))
    while published.pending:
        drain(published)
    assert arrived > 20
    assert 1 <= most <= 3  # of 250 KB each
    assert published.has_room


def test_a_user_from_the_future_displaces_nobody(realm: Realm, trust: Trust) -> None:
    bob = realm.person("bob")
    published, lookup = trust.attach()
    published.loaded = True
    present, future = realm.entry(bob, "billing"), realm.entry(bob, age=-4_000_000)
    for value, stored in ((present, True), (future, False), (realm.entry(bob, age=850), False)):
        published.put(realm.place(bob), value, stored=stored)
        lookup.verify(60.0)
        [found] = trust.resolve("perm:billing")
        assert found.key == bob.pair.public


def test_an_account_from_the_future_displaces_nothing_and_is_replaced(
    realm: Realm, trust: Trust
) -> None:
    bob = realm.person("bob")
    published, lookup = trust.attach()
    published.loaded = True
    published.put(realm.place(bob), realm.entry(bob, "billing"), stored=True)
    future = realm.clinic_jwt(age=-4_000_000).encode()
    published.put(Place(realm.account.public, ""), future, stored=True)
    lookup.verify(60.0)
    trust.take_news()
    assert trust.resolve("perm:billing")
    assert published.shown == {realm.account.public: 0}  # so its owner publishes its own again


def test_a_user_that_begins_later_replaces_its_predecessor_then(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = realm.person("bob")
    published, lookup = trust.attach()
    published.loaded = True
    now = int(time.time())
    for value in (
        realm.entry(bob, "billing"), realm.entry(bob, age=0, top={"nbf": now + 300}),
    ):  # fmt: skip
        published.put(realm.place(bob), value, stored=True)
        lookup.verify(60.0)
        assert trust.resolve("perm:billing")
    monkeypatch.setattr("xkeymsg.trust.stores.chains.now_ns", lambda: (now + 310) * 10**9)
    trust.reload(force=True)
    with pytest.raises(UnknownKeyError):
        trust.resolve("perm:billing")


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

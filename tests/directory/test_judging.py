"""Judging a large folder again: nobody waits for it, and nothing that comes meanwhile is lost."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.directory.realm import Realm
from tests.running import DEADLINE
from tests.trust.store import Person
from xkeymsg import Trust, UnknownKeyError
from xkeymsg.errors import RevokedError
from xkeymsg.trust import chain, members
from xkeymsg.trust.stores.folder import ClaimsFolder
from xkeymsg.trust.stores.lookup import Lookup
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place


@contextmanager
def slowly(trust: Trust, monkeypatch: pytest.MonkeyPatch, step: str) -> Iterator[None]:
    """Reload in a thread that stops in the middle for the duration of the block."""
    inside, go_on = threading.Event(), threading.Event()
    identify, scan = chain.identify, ClaimsFolder.scan
    thread = threading.Thread(target=trust.reload, kwargs={"force": True})

    def stop() -> None:
        if threading.current_thread() is thread:
            inside.set()
            assert go_on.wait(DEADLINE)

    def identified(*arguments: Any) -> Any:
        stop()
        return identify(*arguments)

    def scanned(folder: ClaimsFolder) -> bool:
        stop()
        return scan(folder)

    with monkeypatch.context() as patch:
        where: Any = members if step == "identify" else ClaimsFolder
        patch.setattr(where, step, identified if step == "identify" else scanned)
        thread.start()
        assert inside.wait(DEADLINE)
        try:
            yield
        finally:
            assert not go_on.is_set()  # nobody has waited for it
            go_on.set()
            thread.join(DEADLINE)


def known(realm: Realm, trust: Trust, person: Person) -> tuple[Published, Lookup]:
    """Let a loaded directory have a person's entry."""
    published, lookup = trust.attach()
    published.loaded = True
    published.put(realm.place(person), realm.entry(person), stored=True)
    lookup.verify(60.0)
    return published, lookup


def show_account(realm: Realm, published: Published, lookup: Lookup) -> None:
    """Let the bucket show a newer account JWT, with the revocations of the realm."""
    place, text = Place(realm.account.public, ""), realm.clinic_jwt(age=5).encode()
    published.put(place, text, stored=True)
    lookup.verify(60.0)


@pytest.mark.parametrize("step", ["scan", "identify"])
def test_a_name_is_resolved_while_everything_is_judged(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """An event loop asks, whose heartbeats must not be late."""
    bob, carol, dave = (realm.person(name) for name in ("bob", "carol", "dave"))
    published, lookup = known(realm, trust, bob)
    realm.write_clinic(age=700)
    with slowly(trust, monkeypatch, step):
        published.put(realm.place(carol), realm.entry(carol), stored=True)
        published.index(realm.place(dave), realm.entry(dave), stored=True)
        lookup.verify(60.0)
        for person in (bob, carol, dave):
            [found] = trust.resolve(person.name)
            assert found.key == person.pair.public
            assert trust.admit(person.pair.public, "ehr.new", realm.now * 1000) is not None
    assert trust.revision == 0
    for person in (bob, carol, dave):  # what came meanwhile is not lost
        [found] = trust.resolve(person.name)
        assert found.key == person.pair.public


def test_a_revocation_that_comes_while_everything_is_judged_counts(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = realm.person("bob")
    published, lookup = known(realm, trust, bob)
    realm.write_clinic(age=700)
    realm.revocations[bob.user] = realm.now
    with slowly(trust, monkeypatch, "identify"):
        show_account(realm, published, lookup)
    assert trust.has_news
    assert trust.take_news()
    assert isinstance(trust.members.refused["", bob.user], RevokedError)
    with pytest.raises(UnknownKeyError):
        trust.resolve("bob")


def test_a_revocation_counts_while_the_folder_is_read(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on a file system that does not answer."""
    bob = realm.person("bob")
    published, lookup = known(realm, trust, bob)
    realm.revocations[bob.user] = realm.now
    with slowly(trust, monkeypatch, "scan"):
        show_account(realm, published, lookup)
        judging = threading.Thread(target=trust.take_news, daemon=True)
        judging.start()
        judging.join(DEADLINE)
        with pytest.raises(UnknownKeyError):
            trust.resolve("bob")
    with pytest.raises(UnknownKeyError):
        trust.resolve("bob")


def test_judging_that_failed_is_done_again(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = realm.person("bob")
    published, lookup = known(realm, trust, bob)
    realm.revocations[bob.user] = realm.now
    show_account(realm, published, lookup)
    with monkeypatch.context() as patch:
        patch.setattr(trust.marks, "record", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trust.take_news()
    assert trust.has_news
    assert trust.reload()
    assert isinstance(trust.members.refused["", bob.user], RevokedError)


def test_an_account_jwt_by_the_operators_identity_comes_from_the_server_and_is_kept(
    realm: Realm,
) -> None:
    """If the reader's configuration permits that (T-3)."""
    bob, creds = realm.person("bob"), realm.login(realm.person("alice"))
    trust = realm.trust(creds, operator_identity_issues=True)
    published, lookup = known(realm, trust, bob)
    realm.revocations[bob.user] = realm.now
    text = realm.clinic_jwt(age=5, issuer=realm.operator)
    trust.take_account(text)
    event = realm.clinic_jwt(age=7).encode()
    published.put(Place(realm.account.public, ""), event, stored=False)
    lookup.verify(60.0)
    assert trust.take_news()
    assert isinstance(trust.members.refused["", bob.user], RevokedError)
    [account] = trust.members.known[""].authority.accounts
    assert account.claims.text == text


def test_a_forked_child_does_not_wait_for_what_a_thread_of_its_parent_verifies(
    realm: Realm, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, carol = realm.person("bob"), realm.person("carol")
    published, lookup = known(realm, trust, bob)
    published.index(realm.place(carol), realm.entry(carol), stored=True)
    inside, go_on = threading.Event(), threading.Event()

    def stop(_: object) -> Iterator[None]:
        inside.set()
        assert go_on.wait(DEADLINE)
        yield None

    with monkeypatch.context() as patch:
        patch.setattr(published, "at", stop)
        thread = threading.Thread(target=lookup.take_accounts)
        thread.start()
        assert inside.wait(DEADLINE)
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(10, exit=True)
        try:
            os._exit(trust.resolve("carol")[0].key != carol.pair.public)
        finally:
            os._exit(1)
    go_on.set()
    thread.join(DEADLINE)
    assert os.waitpid(child, 0)[1] == 0

"""The senders of one route: names and permissions narrow what trust admits, and add nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trust.chains.world import Key
from tests.trust.store import Person, Store
from xkeymsg import PeersFile, SenderRevokedError, Trust, XKey, XKeyPair
from xkeymsg.ambient import now_ns
from xkeymsg.daemons.receiver.senders import RouteSenders
from xkeymsg.errors import XKeyMsgError
from xkeymsg.keys import decode_user
from xkeymsg.nkey import Prefix, encode_public

USER = encode_public(Prefix.USER, bytes(range(1, 33)))


def now() -> int:
    return now_ns() // 1_000_000


def admits(senders: RouteSenders, sender: XKey, subject: str = "a", at: int = 0) -> bool:
    return senders.admit(sender, subject, at or now()) is not None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "HOSPITAL")
    store.add("alice")
    store.add("bob", "billing")
    return store


def narrowed(trust: Trust | PeersFile, *names: str) -> RouteSenders:
    return RouteSenders(trust, names)


def test_users_are_admitted_by_name_by_key_and_by_permission(store: Store) -> None:
    trust = store.load()
    alice, bob = (trust.resolve(name)[0].key for name in ("alice", "bob"))
    bobs = encode_public(Prefix.USER, trust.resolve("bob")[0].user)
    for name in ("bob", "perm:billing", bobs):
        assert admits(narrowed(trust, name), bob)
        assert not admits(narrowed(trust, name), alice)
    assert admits(narrowed(trust, "bob", "alice"), alice)
    for name in ("carol", "perm:audit", "perm:", "x/bob", "BOB", ""):
        assert not admits(narrowed(trust, name), bob)
    assert not admits(narrowed(trust, "bob"), XKeyPair.generate().public)


def test_a_name_admits_nobody_that_trust_does_not(store: Store) -> None:
    trust = store.load()
    bob = trust.resolve("bob")[0].key
    late = now() + 40 * 86_400_000
    assert not admits(narrowed(trust, "bob"), bob, at=late)
    store.write_account(age=5, revocations={"*": store.now})
    trust.reload(force=True)
    with pytest.raises(SenderRevokedError):
        narrowed(trust, "bob").admit(bob, "a", now())


def test_a_message_of_a_user_that_has_expired_since_is_admitted(store: Store) -> None:
    carol = store.add("carol", top={"exp": store.now - 20})
    trust = store.load()
    senders = narrowed(trust, "carol")
    for age in (60, 5):  # within the difference of two clocks, too
        at = (store.now - age) * 1000
        assert (trust.admit(carol.pair.public, "a", at) is None) == (
            senders.admit(carol.pair.public, "a", at) is None
        )
    assert not admits(senders, carol.pair.public, at=(store.now + 60) * 1000)


def test_a_second_user_of_the_same_xkey_is_not_admitted_with_the_first(store: Store) -> None:
    mallory = store.add("mallory")
    bobs = store.add("bob").pair
    trust = store.load()
    bob = trust.resolve("bob")[0]
    store.write_xkeys(mallory, store.certificate(mallory, pair=bobs))
    trust.reload(force=True)
    found = narrowed(trust, "bob").admit(bob.key, "a", now())
    assert found is not None
    assert found.users == {bob.user}
    found = narrowed(trust, "mallory").admit(bob.key, "a", now())
    assert found is not None
    assert found.users == {decode_user(mallory.user)}


def test_an_ambiguous_name_admits_nobody(store: Store) -> None:
    trust = store.load()
    bob = trust.resolve("bob")[0].key
    senders = narrowed(trust, "bob")
    assert admits(senders, bob)
    store.add("BOB")
    trust.reload(force=True)
    assert trust.admit(bob, "a", now()) is not None
    assert not admits(senders, bob)


def test_peers_are_narrowed_by_name_and_permission_until_the_file_changes(tmp_path: Path) -> None:
    alice, bob = XKeyPair.generate().public, XKeyPair.generate().public
    path = tmp_path / "peers.toml"
    text = (
        f'[peers.alice]\nxkeys = ["{alice}"]\nsubjects = ["a"]\n'
        f'[peers.bob]\nxkeys = ["{bob}"]\nsubjects = ["a"]\nuser = "{USER}"\npermissions = ["p"]\n'
    )
    path.write_text(text)
    peers = PeersFile(path)
    assert admits(narrowed(peers, "alice"), alice)
    assert not admits(narrowed(peers, "alice", "nobody"), bob)
    by_permission = narrowed(peers, "perm:p")
    found = by_permission.admit(bob, "a", now())
    assert found is not None
    assert found.users == {decode_user(USER)}
    assert not admits(by_permission, bob, "b")
    path.write_text(text.replace('permissions = ["p"]', ""))
    peers.reload()
    assert not admits(by_permission, bob)


def test_users_of_another_account_are_judged_when_the_own_account_has_ended(store: Store) -> None:
    """The signing key of the operator that issued it was removed."""
    insurer, issuer = Key(Prefix.ACCOUNT, "insurer"), Key(Prefix.OPERATOR, "second signing")
    key = Key(Prefix.ACCOUNT, "insurer signing")
    claims = Person("claims", key)
    below = "accounts/INSURER"
    text = store.account_jwt(key, account=insurer, issuer=issuer)
    store.write(f"{below}/INSURER.jwt", text)
    store.write(f"{below}/users/claims.jwt", store.user_jwt(claims, account=insurer))
    store.write(f"{below}/users/claims.xkeys", store.certificate(claims, account=insurer))
    store.write_operator([store.operator_key, issuer])
    trust = store.load(accounts={"insurer": insurer.public})
    senders = narrowed(trust, "insurer/claims", "perm:billing", "alice")
    assert admits(senders, claims.pair.public)
    store.write_operator([issuer], age=5)
    with pytest.raises(XKeyMsgError, match="does not list the key"):
        trust.reload(force=True)
    assert "" not in trust.members.known
    assert admits(senders, claims.pair.public)
    assert not admits(narrowed(trust, "perm:billing", "alice"), claims.pair.public)

"""`Trust`: names, permissions and admission from a folder of claims (T-17, T-18)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import for_each
from tests.trust.chains.world import Key
from tests.trust.store import HOUR, Person, Store
from xkeymsg import Recipient, Resolver, Trust, XKeyPair
from xkeymsg.errors import (
    AmbiguousNameError,
    ConfigurationError,
    ConflictError,
    ExpiredClaimError,
    KeyFormatError,
    RollbackError,
    SenderRevokedError,
    TrustError,
    UnknownKeyError,
    UntrustedOperatorError,
    WrongIssuerError,
)
from xkeymsg.nkey import Prefix, decode_public
from xkeymsg.trust.claims import Operator

NSC = Path(__file__).parent.parent / "data" / "nsc-store"
CLINIC = "ACSWIKCWRSVEAQJOGD4QA6QAFZWVZV7TROU3EE7QGBYAWVRBLHH3ZYRR"


def raw(person: Person) -> bytes:
    return decode_public(Prefix.USER, person.user)


def users(trust: Trust, person: Person, subject: str = "ehr.new", at: int = 0) -> set[bytes]:
    """The users that a person's xkey sends for now, or `at` seconds later."""
    store_now = person_now(trust)
    found = trust.admit(person.pair.public, subject, (store_now + at) * 1000)
    return set() if found is None else set(found.users)


def person_now(trust: Trust) -> int:
    from time import time  # noqa: PLC0415

    return int(time())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "HOSPITAL")


# --- a store of nsc -------------------------------------------------------------------------------


@for_each("below", [".", "stores", "stores/HOSPITAL"])
def test_a_store_of_nsc_is_read_as_it_is(below: str) -> None:
    operator = Operator.decode((NSC / "stores/HOSPITAL/HOSPITAL.jwt").read_text())
    trust = Trust.load(NSC / below, anchor=operator.claims.subject, account=CLINIC)
    names = {each.name for each in trust.members.identities.values()}
    assert names == {"ward-a", "ward-b", "reader:billing-eu", "reader:sneaky", "device",
                     "zürich-labor"}  # fmt: skip
    assert trust.error is None
    report = trust.report()
    assert (report.valid, report.refused) == (6, {"revoked": 1})
    assert [(each.role, each.scoped) for each in trust.valid_signers()] == [
        ("", False), ("", False), ("reader", True),
    ]  # fmt: skip


def test_credentials_name_the_own_account_and_user() -> None:
    operator = Operator.decode((NSC / "stores/HOSPITAL/HOSPITAL.jwt").read_text())
    creds = NSC / "creds/HOSPITAL/CLINIC/ward-a.creds"
    trust = Trust.load(NSC, anchor=operator.claims.subject, creds=creds)
    assert trust.account == CLINIC
    assert (trust.user or "").startswith("U")


def test_several_accounts_without_own_one_are_an_error_that_lists_them() -> None:
    operator = Operator.decode((NSC / "stores/HOSPITAL/HOSPITAL.jwt").read_text())
    with pytest.raises(ConfigurationError, match=f"2 accounts: .*{CLINIC}"):
        Trust.load(NSC, anchor=operator.claims.subject)


def test_the_only_account_is_the_own_one(store: Store) -> None:
    store.add("alice")
    assert Trust.load(store.folder, anchor=store.operator.public).account == store.account.public


# --- names ----------------------------------------------------------------------------------------


def test_a_user_by_name_by_key_and_by_permission(store: Store) -> None:
    alice, bob = store.add("alice", "clinic"), store.add("bob", "clinic", "audit")
    trust = store.load()
    assert isinstance(trust, Resolver)
    key = Recipient(alice.pair.public, alice.user)
    assert trust.resolve("alice") == (key,)
    assert trust.resolve(alice.user) == (key,)
    assert set(trust.resolve("perm:clinic")) == {key, Recipient(bob.pair.public, bob.user)}
    assert trust.resolve("perm:audit") == (Recipient(bob.pair.public, bob.user),)
    assert trust.resolve("alice") is trust.resolve("alice")


@pytest.mark.parametrize(
    "name", ["eve", "Alice", "perm:none", "perm:", "", "insurer/alice", "/alice"]
)
def test_an_unknown_name_is_an_error(store: Store, name: str) -> None:
    store.add("alice", "clinic")
    with pytest.raises(UnknownKeyError) as caught:
        store.load().resolve(name)
    assert ("not in `accounts`" in str(caught.value)) == ("/" in name)


def test_a_seed_given_as_a_name_is_not_shown(store: Store) -> None:
    seed = XKeyPair.generate().seed()
    with pytest.raises(UnknownKeyError) as caught:
        store.load().resolve(seed)
    assert seed not in str(caught.value)


def test_a_name_that_is_not_a_str_is_a_bug_of_the_caller(store: Store) -> None:
    with pytest.raises(TypeError):
        store.load().resolve(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", ["Ward", "\uff57ard"])
def test_two_valid_users_of_similar_names_are_ambiguous(store: Store, other: str) -> None:
    store.add("ward")
    store.add(other)
    trust = store.load()
    with pytest.raises(AmbiguousNameError):
        trust.resolve("ward")


def test_a_pin_decides_who_has_a_name(store: Store) -> None:
    ward = store.add("ward")
    other = Person("ward", store.key)
    store.write(
        "accounts/CLINIC/users/x.jwt",
        store.user_jwt(other, top={"sub": Key(Prefix.USER, "x").public}),
    )
    with pytest.raises(AmbiguousNameError):
        store.load().resolve("ward")
    pinned = store.load(pins={"ward": ward.user})
    assert pinned.resolve("ward") == (Recipient(ward.pair.public, ward.user),)
    gone = store.load(pins={"ward": Key(Prefix.USER, "gone").public})
    with pytest.raises(UnknownKeyError):
        gone.resolve("ward")


def test_a_scoped_key_issues_names_in_its_own_name_space_only(store: Store) -> None:
    store.write_account(store.key, store.scope())
    honest = store.add("billing-eu")
    (store.folder / "accounts/CLINIC/users/billing-eu.jwt").unlink()
    thief = Person("billing-eu", store.scoped)
    thief.key = Key(Prefix.USER, "thief")
    store.write("accounts/CLINIC/users/thief.jwt", store.user_jwt(thief))
    store.write("accounts/CLINIC/users/thief.xkeys", store.certificate(thief))
    trust = store.load()
    assert trust.resolve("reader:billing-eu") == (Recipient(thief.pair.public, thief.user),)
    with pytest.raises(UnknownKeyError):  # even while the honest entry is withheld
        trust.resolve("billing-eu")
    store.write("accounts/CLINIC/users/honest.jwt", store.user_jwt(honest))
    trust.reload(force=True)
    assert trust.resolve("billing-eu") == (Recipient(honest.pair.public, honest.user),)


def test_another_account_is_reached_by_its_alias(store: Store) -> None:
    store.add("claims", "clinic")
    insurer = Key(Prefix.ACCOUNT, "insurer")
    store.write_account(name="INSURER", account=insurer)
    theirs = Person("claims", store.key)
    theirs.key = Key(Prefix.USER, "their claims")
    store.write_user(theirs, "clinic", "audit", account=insurer, folder="INSURER")
    store.write_xkeys(theirs, store.certificate(theirs, account=insurer), folder="INSURER")
    trust = store.load(accounts={"insurer": insurer.public})
    key = (Recipient(theirs.pair.public, theirs.user),)
    assert trust.resolve("insurer/claims") == key
    assert trust.resolve(f"insurer/{theirs.user}") == trust.resolve(theirs.user) == key
    assert trust.resolve("claims") != key
    assert key[0] not in trust.resolve("perm:clinic")  # of the own account only
    for name in ("perm:audit", "insurer/perm:audit", "other/claims", "INSURER/claims"):
        with pytest.raises(UnknownKeyError):
            trust.resolve(name)
    assert users(trust, theirs) == {raw(theirs)}
    assert users(store.load(), theirs) == set()  # not configured
    assert [each.identity for each in trust.valid_signers("insurer")].count(True) == 1


# --- the current key ------------------------------------------------------------------------------


def test_a_message_is_sealed_to_the_current_xkey_only(store: Store) -> None:
    alice = store.add("alice")
    new, upcoming = XKeyPair.generate(), XKeyPair.generate()
    store.write_xkeys(
        alice,
        store.certificate(alice),
        store.certificate(alice, new, age=60),
        store.certificate(alice, upcoming, age=-HOUR),
    )
    trust = store.load()
    assert trust.resolve("alice") == (Recipient(new.public, alice.user),)


def test_an_xkey_becomes_current_when_its_time_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = store.add("alice", "clinic")
    new = XKeyPair.generate()
    store.write_xkeys(alice, store.certificate(alice), store.certificate(alice, new, age=-HOUR))
    trust = store.load()
    before = trust.resolve("alice")
    assert trust.resolve("perm:clinic") == before
    monkeypatch.setattr("xkeymsg.trust.stores.chains.now_ns", lambda: (store.now + HOUR) * 10**9)
    assert trust.resolve("alice") == (Recipient(new.public, alice.user),)
    assert trust.resolve("perm:clinic") == trust.resolve("alice")


def test_an_expired_xkey_is_not_sealed_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = store.add("alice", "clinic"), store.add("bob", "clinic")
    store.write_xkeys(alice, store.certificate(alice, life=HOUR))
    trust = store.load()
    assert len(trust.resolve("perm:clinic")) == 2
    monkeypatch.setattr("xkeymsg.trust.stores.chains.now_ns", lambda: (store.now + HOUR) * 10**9)
    with pytest.raises(ExpiredClaimError):
        trust.resolve("alice")
    assert trust.resolve("perm:clinic") == (Recipient(bob.pair.public, bob.user),)


def test_two_equally_new_xkeys_are_a_conflict(store: Store) -> None:
    alice = store.add("alice", "clinic")
    certificates = [store.certificate(alice), store.certificate(alice, XKeyPair.generate())]
    store.write_xkeys(alice, *certificates)
    with pytest.raises(ConflictError):
        store.load().resolve("alice")
    with pytest.raises(UnknownKeyError, match="perm:clinic"):
        store.load().resolve("perm:clinic")


def test_a_retired_xkey_shown_alone_is_not_current_again(store: Store) -> None:
    """T-14: with marks, also for a name that nobody resolved before the rollback."""
    alice = store.add("alice")
    store.write_xkeys(
        alice, store.certificate(alice), store.certificate(alice, XKeyPair.generate(), age=60)
    )
    trust = store.load()
    trust.resolve("alice")
    store.write_xkeys(alice, store.certificate(alice))
    assert trust.reload(force=True)
    with pytest.raises(RollbackError):
        trust.resolve("alice")
    assert users(trust, alice) == {raw(alice)}  # it still admits messages of its time


# --- admission ------------------------------------------------------------------------------------


def test_an_xkey_sends_for_its_user_where_the_user_may_publish(store: Store) -> None:
    alice = store.add("alice", pub={"allow": ["ehr.>"], "deny": ["ehr.admin.>"]})
    trust = store.load()
    assert users(trust, alice, "ehr.new") == {raw(alice)}
    assert users(trust, alice, "ehr.admin.x") == set()
    assert users(trust, alice, "other") == set()
    assert trust.admit(XKeyPair.generate().public, "ehr.new", store.now * 1000) is None


def test_replies_are_admitted_by_their_request_alone(store: Store) -> None:
    alice = store.add("alice")
    trust = store.load()
    assert users(trust, alice, "_XKM.REPLY.x") == users(trust, alice, "_XKM") == set()
    vouched = trust.vouch(alice.pair.public)
    assert vouched is not None
    assert vouched.users == {raw(alice)}
    assert trust.vouch(XKeyPair.generate().public) is None


def test_xkv1_names_no_user_and_is_never_admitted(store: Store) -> None:
    alice = store.add("alice")
    assert not store.load().admits_xkv1(alice.pair.public, "ehr.new")


def test_one_xkey_certified_by_two_users_sends_for_the_one_that_the_message_names(
    store: Store,
) -> None:
    alice = store.add("alice", pub={"allow": ["a"]})
    eve = store.add("eve", pub={"allow": ["e", "both"]})
    store.write_xkeys(eve, store.certificate(eve, alice.pair))
    store.write_user(alice, pub={"allow": ["a", "both"]})
    trust = store.load()
    assert users(trust, alice, "a") == {raw(alice)}
    assert users(trust, alice, "e") == {raw(eve)}
    assert users(trust, alice, "both") == {raw(alice), raw(eve)}
    assert trust.user_of(alice.pair.public) is None
    assert trust.resolve("alice") != trust.resolve("eve")


def test_the_user_of_an_own_xkey(store: Store) -> None:
    alice = store.add("alice")
    trust = store.load()
    assert trust.user_of(alice.pair.public) == alice.user
    trust.check_own(alice.pair.public, alice.user)
    with pytest.raises(UnknownKeyError):
        trust.check_own(XKeyPair.generate().public, alice.user)
    with pytest.raises(TrustError):
        trust.check_own(alice.pair.public, Key(Prefix.USER, "gone").public)


@pytest.mark.parametrize("what", ["user", "everyone", "xkey", "signing key"])
def test_what_is_withdrawn_is_refused_at_any_time_of_the_message(store: Store, what: str) -> None:
    """T-6: nobody knows when the theft was."""
    alice = store.add("alice")
    trust = store.load()
    assert users(trust, alice, at=-600) == {raw(alice)}
    name = {"user": alice.user, "everyone": "*", "xkey": str(alice.pair.public)}.get(what)
    if name is None:
        store.write_account(store.second, age=5)
    else:
        store.write_account(age=5, revocations={name: store.now})
    assert trust.reload(force=True)
    for at in (0, -600):
        with pytest.raises(SenderRevokedError):
            users(trust, alice, at=at)
    with pytest.raises(SenderRevokedError):
        trust.vouch(alice.pair.public)
    with pytest.raises(TrustError):
        trust.resolve("alice")


def test_messages_around_the_life_of_a_certificate(store: Store) -> None:
    """T-7: the message's own time counts, within the skew."""
    alice = store.add("alice")
    store.write_xkeys(alice, store.certificate(alice, age=7200, life=HOUR))
    trust = store.load()
    assert users(trust, alice) == set()
    assert users(trust, alice, at=-HOUR - 5) == {raw(alice)}
    assert users(trust, alice, at=-HOUR + 25) == {raw(alice)}
    assert users(trust, alice, at=-HOUR + 45) == set()
    assert users(trust, alice, at=-7200 - 40) == set()


# --- changes --------------------------------------------------------------------------------------


def test_each_change_raises_the_generation_and_no_verdict_outlives_it(store: Store) -> None:
    alice = store.add("alice", "clinic")
    trust = store.load()
    before = trust.generation
    assert not trust.reload(force=True)
    assert trust.generation == before
    assert users(trust, alice) == {raw(alice)}
    trust.resolve("perm:clinic")
    store.write_user(alice, "audit", pub={"deny": [">"]}, age=5)
    assert trust.reload(force=True)
    assert trust.generation > before
    assert users(trust, alice) == set()
    with pytest.raises(UnknownKeyError):
        trust.resolve("perm:clinic")


def test_who_joins_and_leaves_an_audience_is_counted(store: Store) -> None:
    alice, bob = store.add("alice", "clinic"), store.add("bob")
    trust = store.load()
    trust.resolve("perm:clinic")
    assert list(trust.take_changes()) == []
    store.write_user(bob, "clinic", age=5)
    trust.reload(force=True)
    (joined,) = trust.take_changes()
    assert joined == ("perm:clinic", (bob.user,), ())
    (store.folder / "accounts/CLINIC/users/alice.jwt").unlink()
    trust.reload(force=True)
    (left,) = trust.take_changes()
    assert left == ("perm:clinic", (), (alice.user,))
    (store.folder / "accounts/CLINIC/users/bob.jwt").unlink()
    trust.reload(force=True)
    assert [each.left for each in trust.take_changes()] == [(bob.user,)]
    assert (trust.report().joined, trust.report().left) == (1, 2)


def test_a_new_xkey_of_the_same_user_changes_no_audience(store: Store) -> None:
    alice = store.add("alice", "clinic")
    trust = store.load()
    before = trust.resolve("perm:clinic")
    store.write_xkeys(alice, store.certificate(alice, XKeyPair.generate(), age=5))
    trust.reload(force=True)
    assert trust.resolve("perm:clinic") != before
    assert list(trust.take_changes()) == []


def test_a_user_that_begins_later_counts_when_its_time_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = store.add("alice")
    store.write_user(alice, top={"nbf": store.now + HOUR})
    trust = store.load()
    assert trust.report().refused == {"not_yet_valid": 1}
    with pytest.raises(UnknownKeyError):
        trust.resolve("alice")
    monkeypatch.setattr("xkeymsg.trust.stores.chains.now_ns", lambda: (store.now + HOUR) * 10**9)
    assert trust.reload(force=True)
    assert trust.resolve("alice")


def test_users_that_end_soon_are_counted(store: Store) -> None:
    alice = store.add("alice")
    store.write_user(alice, top={"exp": store.now + 13 * 24 * HOUR})
    store.add("bob")
    ended = store.add("carol")
    store.write_user(ended, top={"exp": store.now - 5})
    report = store.load().report()
    assert (report.valid, report.expiring, report.refused) == (2, 1, {"expired_claim": 1})
    assert report.xkeys_expiring == 2


# --- the operator and the account -----------------------------------------------------------------


def test_an_operator_by_another_anchor_is_refused(store: Store) -> None:
    with pytest.raises(UntrustedOperatorError):
        Trust.load(
            store.folder,
            anchor=Key(Prefix.OPERATOR, "other").public,
            account=store.account.public,
        )


def test_a_planned_change_of_the_operator_lists_both_anchors(store: Store) -> None:
    store.add("alice")
    new = Key(Prefix.OPERATOR, "new identity")
    trust = Trust.load(
        store.folder, anchor=[store.operator.public, new.public], account=store.account.public
    )
    store.operator = new
    store.write_operator(age=5)
    assert trust.reload(force=True)
    assert trust.resolve("alice")
    assert trust.error is None


@pytest.mark.parametrize(
    "more",
    [
        {"anchor": "OX"},
        {"anchor": ()},
        {"account": "UX"},
        {"accounts": {"": "A"}},
        {"accounts": {"a/b": CLINIC}},
        {"accounts": {"a": "AX"}},
        {"accounts": {Key(Prefix.ACCOUNT, "swapped").seed: "insurer"}},
        {"pins": {"a": "UX"}},
        {"pins": {"other/a": Key(Prefix.USER, "x").public}},
        {"pins": {"perm:a": Key(Prefix.USER, "x").public}},
        {"creds": "missing.creds"},
    ],
)
def test_invalid_arguments_are_errors_of_configuration(
    store: Store, more: dict[str, object]
) -> None:
    given = {"anchor": store.operator.public, "account": store.account.public} | more
    with pytest.raises((ConfigurationError, KeyFormatError)) as caught:
        Trust.load(store.folder, **given)  # type: ignore[arg-type]
    assert Key(Prefix.ACCOUNT, "swapped").seed not in str(caught.value)


def test_an_account_listed_twice_is_an_error(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        store.load(accounts={"self": store.account.public})


def test_identities_as_issuers_follow_the_configuration(store: Store) -> None:
    store.write_account(issuer=store.operator)
    with pytest.raises(WrongIssuerError):
        store.load()
    assert store.load(operator_identity_issues=True).account == store.account.public
    store.write_account(age=5)
    store.add("alice", issuer=store.account)
    assert store.load().resolve("alice")
    assert store.load(account_identity_issues=False).report().refused == {"identity_issuer": 1}

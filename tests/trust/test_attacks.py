"""Attacks on trust while messages flow: each change counts for the next message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trust.chains.world import Key, b64
from tests.trust.store import HOUR, Person, Store
from xkeymsg import (
    Limits,
    Message,
    NotARecipientError,
    Opener,
    Policy,
    Sealer,
    SenderNotAdmittedError,
    SenderRevokedError,
    StreamPosition,
    Trust,
    UnknownKeyError,
    UserKey,
    XKeyMsgError,
    XKeyPair,
)
from xkeymsg.errors import ConfigurationError, RollbackError, TrustError
from xkeymsg.keys import decode_user
from xkeymsg.nkey import Prefix
from xkeymsg.trust.stores.judge import Judge
from xkeymsg.trust.stores.marks_file import forget_marks
from xkeymsg.trust.stores.published_entry import Place

DAY = 24 * HOUR
POLICY = Policy.parse(
    '[[rule]]\npattern = "/audit"\nreaders = ["audit"]\n'
    '[[rule]]\npattern = "/name"\nreaders = ["audit", "clinic"]\n'
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "HOSPITAL")


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "marks.json"


@pytest.fixture
def clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set all clocks, in seconds from now."""

    def set_to(seconds: int) -> None:
        for module in ("trust.stores.chains", "opener", "sealer"):
            name = f"xkeymsg.{module}.now_ns"
            monkeypatch.setattr(name, lambda: (store.now + seconds) * 10**9)

    return set_to


def sealed(sender: Person, trust: Trust, to: str, subject: str = "ehr.new", **more: Any) -> bytes:
    with_user = Sealer(sender.pair, identity=sender.user)
    return with_user.seal(b"secret", to=trust.resolve(to), subject=subject, **more)


def opener(reader: Person, trust: Trust, **more: Any) -> Opener:
    return Opener(reader.keyring, trust, **more)


def read(reader: Person, trust: Trust, envelope: bytes, **more: Any) -> Message:
    return opener(reader, trust).open(envelope, subject=">", **more)


class Stream:
    """Messages that wait in a stream; the broker says when it has stored them."""

    def __init__(self, reader: Person, trust: Trust, max_age: float) -> None:
        self.opener = opener(reader, trust, limits=Limits(max_age=max_age))
        self.sequence = 0

    def read(self, envelope: bytes, stored: float) -> Message:
        self.sequence += 1
        position = StreamPosition("S", self.sequence, int(stored * 1000))
        return self.opener.open(envelope, subject=">", position=position)


# --- keys of others -------------------------------------------------------------------------------


@pytest.mark.parametrize("about", ["mallory", "victim"])
def test_whoever_makes_a_user_of_its_own_withdraws_the_xkey_of_nobody(
    store: Store, about: str
) -> None:
    """A certificate is a claim: anyone can make one for any xkey, and a user JWT of no account.

    The victim is not known yet, so its messages have to wait, not to be refused for good.
    """
    stranger = Key(Prefix.ACCOUNT, "stranger")
    victim, mallory = Person("victim", store.key), Person("mallory", stranger)
    forged = mallory if about == "mallory" else Person("victim", stranger)
    store.write_user(forged, age=-5)
    store.write_xkeys(forged, store.certificate(forged, victim.pair))
    reader = store.add("reader")
    trust = store.load()
    assert trust.admit(victim.pair.public, "ehr.new", store.now * 1000) is None
    with pytest.raises(SenderNotAdmittedError) as refused:
        read(reader, trust, sealed(victim, trust, "reader"))
    assert refused.value.retryable
    store.write_user(victim)
    store.write_xkeys(victim, store.certificate(victim))
    assert trust.reload(force=True)
    assert read(reader, trust, sealed(victim, trust, "reader")).data == b"secret"


def test_a_revoked_user_withdraws_the_xkey_of_nobody_but_itself(store: Store) -> None:
    victim, reader = Person("victim", store.key), store.add("reader")
    mallory = store.add("mallory")
    store.write_xkeys(mallory, store.certificate(mallory, victim.pair))
    store.write_account(age=5, revocations={mallory.user: store.now})
    trust = store.load()
    with pytest.raises(SenderNotAdmittedError) as refused:
        read(reader, trust, sealed(victim, trust, "reader"))
    assert refused.value.retryable
    false = Person("mallory", store.key)
    false.pair = victim.pair
    with pytest.raises(SenderRevokedError) as revoked:
        read(reader, trust, sealed(false, trust, "reader"))
    assert not revoked.value.retryable


def test_a_removed_signing_key_is_remembered_by_the_marks_alone(store: Store, marks: Path) -> None:
    """After its removal, a thief of the key can still make users, and certify any xkey."""
    alice, reader = store.add("alice", issuer=store.second), store.add("reader")
    store.write_account(store.key, store.second)
    store.load(marks=marks).close()
    store.write_account(age=5)
    trust = store.load(marks=marks)
    with pytest.raises(SenderRevokedError):
        read(reader, trust, sealed(alice, trust, "reader"))
    for name, age in (("minted", -1), ("victim", -1)):
        minted, victim = Person(name, store.second), Person("victim", store.key)
        store.write_user(minted, age=age)
        store.write_xkeys(minted, store.certificate(minted, victim.pair))
        trust.reload(force=True)
        assert trust.admit(victim.pair.public, "ehr.new", store.now * 1000) is None
    trust.close()


def test_an_error_lists_a_bounded_number_of_users_that_have_lost_a_key(store: Store) -> None:
    pair = XKeyPair.generate()
    for number in range(80):
        each = store.add(f"user-{number}")
        store.write_xkeys(each, store.certificate(each, pair))
    store.write_account(age=5, revocations={"*": store.now})
    with pytest.raises(SenderRevokedError) as revoked:
        store.load().admit(pair.public, "ehr.new", store.now * 1000)
    assert len(revoked.value.users) == 64


def test_a_user_that_loses_a_key_while_others_are_listed_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread judges entries of the directory."""
    pair, people = XKeyPair.generate(), [store.add(f"user-{number}") for number in range(3)]
    for each in people:
        store.write_xkeys(each, store.certificate(each, pair))
    store.write_account(age=5, revocations={"*": store.now})
    found = store.load().members
    late = people.pop().user
    users = dict(found.known[""].users)
    found.known[""].users.pop(late)  # type: ignore[attr-defined]
    found.judge("", late, store.now)

    def decoded(user: str) -> bytes:
        found.known[""].users[late] = users[late]  # type: ignore[index]
        found.judge("", late, store.now)
        return decode_user(user)

    monkeypatch.setattr("xkeymsg.trust.members.decode_user", decoded)
    with pytest.raises(SenderRevokedError) as revoked:
        found.admit(pair.public, "ehr.new", store.now)
    assert revoked.value.users == {decode_user(each.user) for each in people}


# --- stolen keys ----------------------------------------------------------------------------------


def test_a_removed_signing_key_silences_what_it_signed_and_nothing_else(store: Store) -> None:
    store.write_account(store.key, store.second)
    honest, thief = store.add("honest"), store.add("thief", issuer=store.second)
    reader = store.add("reader")
    trust = store.load()
    inbox = opener(reader, trust)
    assert inbox.open(sealed(thief, trust, "reader"), subject=">").data == b"secret"
    before = sealed(thief, trust, "reader")
    store.write_account(store.key, age=5)
    trust.reload(force=True)
    # The session's keys are cached; the admission is not. What was sealed before is refused, too.
    for envelope in (before, sealed(thief, trust, "reader")):
        with pytest.raises(SenderRevokedError):
            inbox.open(envelope, subject=">")
    with pytest.raises(UnknownKeyError):
        trust.resolve("thief")
    assert inbox.open(sealed(honest, trust, "reader"), subject=">").data == b"secret"


def test_a_thief_of_a_signing_key_cannot_lock_a_user_out_after_its_removal(
    store: Store, marks: Path
) -> None:
    """T-12: on the live path, with marks on disk."""
    store.write_account(store.key, store.second)
    alice, reader = store.add("alice", "clinic"), store.add("reader")
    trust = store.load(marks=marks)
    stolen = Person("alice", store.second)
    honest = (store.folder / "accounts/CLINIC/users/alice.jwt").read_text()
    store.write_user(stolen, age=1, top={"sub": alice.user})  # newer, without permissions
    trust.reload(force=True)
    with pytest.raises(UnknownKeyError):
        trust.resolve("perm:clinic")
    store.write_account(store.key, age=5)
    store.write("accounts/CLINIC/users/alice.jwt", honest)
    trust.reload(force=True)
    assert trust.resolve("perm:clinic")
    assert read(reader, trust, sealed(alice, trust, "reader")).data == b"secret"
    trust.close()
    assert store.load(marks=marks).resolve("perm:clinic")


def test_a_stolen_scoped_key_that_mints_a_permission_gets_no_field(store: Store) -> None:
    store.write_account(store.key, store.scope(), tags=["grant:reader:clinic"])
    auditor, alice = store.add("auditor", "audit"), store.add("alice")
    thief = store.add("sneaky", "audit", "clinic", issuer=store.scoped)
    trust = store.load()
    readers = {name: trust.resolve(f"perm:{name}") for name in ("audit", "clinic")}
    envelope = Sealer(alice.pair, identity=alice.user).seal_document(
        {"audit": "private", "name": "Jane"}, policy=POLICY, readers=readers, subject="ehr.new"
    )
    seen = opener(thief, trust).open_document(envelope, subject=">")
    assert seen.document == {"name": "Jane"}  # what the operator granted the role
    assert opener(auditor, trust).open_document(envelope, subject=">").document["audit"]
    [identity] = [each for each in trust.members.identities.values() if each.role]
    assert identity.ungranted == {"audit"}


def test_a_scoped_key_cannot_take_over_or_silence_a_name(store: Store) -> None:
    store.write_account(store.key, store.scope())
    honest = store.add("billing-eu")
    thief = Person("billing-eu", store.scoped)
    thief.key = Key(Prefix.USER, "thief")
    for name in (
        "billing-eu",
        "reader:billing-eu",
        "Billing-EU",
        "x/billing-eu",
        "billing-eu\u200b",
    ):
        thief.name = name
        store.write("accounts/CLINIC/users/thief.jwt", store.user_jwt(thief))
        trust = store.load()
        assert [each.key for each in trust.resolve("billing-eu")] == [honest.pair.public]


def test_a_key_substituted_in_the_folder_needs_the_users_signature(store: Store) -> None:
    alice, eve = store.add("alice"), store.add("eve")
    store.write_xkeys(alice, store.certificate(eve), store.certificate(eve, age=1))
    trust = store.load()
    with pytest.raises(UnknownKeyError):
        trust.resolve("alice")
    forged = Person("alice", store.key)
    forged.key = eve.key
    store.write_xkeys(alice, store.certificate(forged, eve.pair, iss=alice.user))
    fresh = store.load()
    assert fresh.error is not None
    assert fresh.error.code == "bad_signature"
    with pytest.raises(UnknownKeyError):
        fresh.resolve("alice")


def test_a_login_nonce_is_not_a_certificate(store: Store) -> None:
    """A broker that lets a user sign whatever it likes as a nonce gets no certificate."""
    alice = store.add("alice")
    text = store.certificate(alice, XKeyPair.generate(), age=1)
    signed, _, _ = text.rpartition(".")
    nonce = b64(UserKey(alice.key.seed).sign(signed.encode()))
    store.write_xkeys(alice, f"{signed}.{nonce}")
    trust = store.load()
    assert trust.error is not None
    assert trust.error.code == "bad_signature"


# --- one xkey of two users ------------------------------------------------------------------------


def test_a_user_who_certifies_anothers_xkey_can_neither_silence_nor_impersonate(
    store: Store,
) -> None:
    alice, eve, reader = store.add("alice"), store.add("eve"), store.add("reader")
    store.write_xkeys(eve, store.certificate(eve, alice.pair, age=1))
    trust = store.load()
    assert read(reader, trust, sealed(alice, trust, "reader")).data == b"secret"
    # What is sealed to eve under the claimed key does not open for alice, who holds it.
    envelope = sealed(reader, trust, "eve")
    with pytest.raises(NotARecipientError):
        read(alice, trust, envelope)


def test_a_message_that_names_no_user_or_another_is_refused(store: Store) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    trust = store.load()
    to = trust.resolve("reader")
    for identity in (None, reader.user):
        envelope = Sealer(alice.pair, identity=identity).seal(b"", to=to, subject="a")
        with pytest.raises(SenderNotAdmittedError):
            read(reader, trust, envelope)


def test_a_signature_of_the_users_key_is_verified(store: Store) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    trust = store.load()
    strict = opener(reader, trust, require_signature=True)
    envelope = Sealer(alice.pair, signer=alice.signer).seal(
        b"", to=trust.resolve("reader"), subject="a"
    )
    assert strict.open(envelope, subject="a").signer == alice.user
    with pytest.raises(XKeyMsgError, match="signed"):
        strict.open(sealed(alice, trust, "reader"), subject=">")


@pytest.mark.parametrize("thief", ["account", "key", "operator", "stranger"])
def test_a_forged_revocation_revokes_nobody(store: Store, thief: str) -> None:
    """Only a signing key of the operator revokes: neither the account nor the identity does."""
    alice, reader = store.add("alice"), store.add("reader")
    trust = store.load()
    keys = {"account": store.account, "key": store.key, "operator": store.operator}
    issuer = keys.get(thief, Key(Prefix.OPERATOR, "stranger"))
    forged = store.account_jwt(age=5, issuer=issuer, revocations={alice.user: store.now, "*": 1})
    store.write("accounts/CLINIC/CLINIC.jwt", forged)
    with pytest.raises(TrustError):
        trust.reload(force=True)
    assert read(reader, trust, sealed(alice, trust, "reader")).data == b"secret"
    published, lookup = trust.attach()
    published.loaded = True
    published.put(Place(trust.account, ""), forged.encode(), stored=True)
    lookup.verify(60.0)
    trust.take_news()
    assert published.alarms
    assert read(reader, trust, sealed(alice, trust, "reader")).data == b"secret"


# --- times ----------------------------------------------------------------------------------------


def test_expiry_while_messages_flow(store: Store, clock: Callable[[int], None]) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    store.write_user(alice, top={"exp": store.now + HOUR})
    trust = store.load()
    inbox = opener(reader, trust)
    clock(HOUR - 60)
    in_time = sealed(alice, trust, "reader")
    assert inbox.open(sealed(alice, trust, "reader"), subject=">").data == b"secret"
    clock(HOUR + 60)
    with pytest.raises(SenderNotAdmittedError):
        inbox.open(sealed(alice, trust, "reader"), subject=">")
    assert inbox.open(in_time, subject=">").data == b"secret"  # sealed in time, and fresh
    with pytest.raises(TrustError):
        trust.resolve("alice")


WEEK = 8 * 86400.0


def test_a_stream_of_a_week_around_expiry_and_rotation(
    store: Store, clock: Callable[[int], None]
) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    store.write_xkeys(alice, store.certificate(alice, age=60, life=DAY))
    store.write_xkeys(reader, store.certificate(reader, life=20 * DAY))
    trust = store.load()
    stream = Stream(reader, trust, WEEK)
    old, other = sealed(alice, trust, "reader"), sealed(alice, trust, "reader")
    clock(2 * DAY)
    late = sealed(alice, trust, "reader")  # with an xkey that has expired
    new = XKeyPair.generate()
    store.now += 2 * DAY
    store.write_xkeys(
        alice,
        store.certificate(alice, age=2 * DAY + 60, life=DAY),
        store.certificate(alice, new, age=60),
    )
    store.now -= 2 * DAY
    trust.reload(force=True)
    clock(7 * DAY)
    assert stream.read(old, store.now).data == b"secret"
    with pytest.raises(SenderNotAdmittedError):
        stream.read(late, store.now + 2 * DAY)
    # The broker lies about the time of storage: the sender's own time counts.
    with pytest.raises(SenderNotAdmittedError):
        stream.read(late, store.now)
    # Once the texts are gone, nothing is known about the old key.
    store.now += 2 * DAY
    store.write_xkeys(alice, store.certificate(alice, new, age=60))
    trust.reload(force=True)
    with pytest.raises(SenderNotAdmittedError):
        stream.read(other, store.now - 2 * DAY)


@pytest.mark.parametrize("what", ["user", "xkey", "*"])
def test_after_a_revocation_no_message_opens_whatever_its_time(
    store: Store, clock: Callable[[int], None], what: str
) -> None:
    alice, reader, other = store.add("alice"), store.add("reader"), store.add("other")
    trust = store.load()
    stream = Stream(reader, trust, WEEK)
    envelopes = [sealed(alice, trust, "reader") for _ in range(2)]
    kept = sealed(other, trust, "reader")
    clock(6 * HOUR)
    name = {"user": alice.user, "xkey": str(alice.pair.public), "*": "*"}[what]
    store.write_account(age=5, revocations={name: store.now - 10})
    trust.reload(force=True)
    for envelope, stored in zip(envelopes, (store.now, store.now + HOUR), strict=True):
        with pytest.raises(SenderRevokedError):
            stream.read(envelope, stored)
    if what != "*":
        assert stream.read(kept, store.now).data == b"secret"


def test_a_permission_taken_away_ends_with_the_next_message(store: Store) -> None:
    alice, bob = store.add("alice"), store.add("bob", "clinic")
    store.add("carol", "clinic")
    trust = store.load()
    before = sealed(alice, trust, "perm:clinic")
    store.write_user(bob, age=5)
    trust.reload(force=True)
    after = sealed(alice, trust, "perm:clinic")
    assert read(bob, trust, before).data == b"secret"
    with pytest.raises(NotARecipientError):
        read(bob, trust, after)


def test_a_user_re_issued_and_a_new_operator_identity_change_nothing(store: Store) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    trust = store.load()
    envelope = sealed(alice, trust, "reader")
    store.write_user(alice, age=5)
    trust.reload(force=True)
    assert read(reader, trust, envelope).data == b"secret"
    old, store.operator = store.operator, Key(Prefix.OPERATOR, "new identity")
    store.write_operator(age=5)
    with pytest.raises(TrustError):  # not before the anchor is configured
        trust.reload(force=True)
    assert read(reader, trust, envelope).data == b"secret"
    fresh = store.load()
    assert read(reader, fresh, envelope).data == b"secret"
    store.operator = old
    store.write_operator(age=1)
    with pytest.raises(TrustError):  # the old identity is worth nothing
        fresh.reload(force=True)


# --- marks ----------------------------------------------------------------------------------------


def test_older_claims_do_not_come_back_after_a_restart(store: Store, marks: Path) -> None:
    alice = store.add("alice", "audit")
    older = {
        path: path.read_text()
        for path in store.folder.rglob("*")
        if path.suffix in (".jwt", ".xkeys")
    }
    store.write_user(alice, age=5)
    store.write_account(age=5)
    store.load(marks=marks).close()
    for path, text in older.items():
        path.write_text(text)
    trust = store.load(marks=marks)
    assert isinstance(trust.error, RollbackError)
    assert trust.report().refused == {"rollback": 1}
    with pytest.raises(UnknownKeyError):
        trust.resolve("perm:audit")
    store.write_account(age=5)
    trust.reload(force=True)
    assert trust.error is None
    assert trust.report().refused == {"rollback": 1}


def test_a_folder_that_is_rolled_back_during_a_restart_restores_no_revoked_user(
    store: Store, marks: Path
) -> None:
    """The attacker writes the folder: the account JWT beside the marks is newer."""
    alice = store.add("alice")
    store.write_account(age=5, revocations={alice.user: store.now - 10})
    store.load(marks=marks).close()
    store.write_account()
    trust = store.load(marks=marks)
    assert isinstance(trust.error, RollbackError)
    with pytest.raises(SenderRevokedError):
        trust.admit(alice.pair.public, "a", store.now * 1000)
    trust.close()
    marks.write_text(marks.read_text().partition("\n")[0] + "\n")  # without the JWT: fails closed
    with pytest.raises(RollbackError):
        store.load(marks=marks)


@pytest.mark.parametrize("line", ["older", "of a stranger", "damaged", "a user", "not text"])
def test_a_hostile_account_jwt_beside_the_marks_does_not_count(
    store: Store, marks: Path, line: str
) -> None:
    """Its form, signature, issuer and time are checked as if it came from the folder."""
    alice = store.add("alice")
    older, stranger = store.account_jwt(store.key), Key(Prefix.OPERATOR, "stranger")
    store.write_account(age=5, revocations={alice.user: store.now - 10})
    store.load(marks=marks).close()
    text = {
        "older": older,
        "of a stranger": store.account_jwt(store.key, age=1, issuer=stranger),
        "damaged": store.account_jwt(store.key, age=1)[:-4] + "AAAA",
        "a user": (store.folder / "accounts/CLINIC/users/alice.jwt").read_text(),
        "not text": "\x1b\u2028.." * 9,
    }[line]
    store.write_account()
    with marks.open("a") as file:
        file.write(f"{text}\n")
    trust = store.load(marks=marks)
    with pytest.raises(SenderRevokedError):
        trust.admit(alice.pair.public, "a", store.now * 1000)
    trust.close()
    marks.write_text(marks.read_text().partition("\n")[0] + f"\n{text}\n")
    with pytest.raises(RollbackError):
        store.load(marks=marks)


def test_a_kept_account_jwt_of_a_removed_signing_key_does_not_count(
    store: Store, marks: Path
) -> None:
    alice = store.add("alice")
    thief = Key(Prefix.OPERATOR, "stolen signing key")
    store.write_operator([store.operator_key, thief], age=900)
    store.write_account(age=5, issuer=thief)
    store.load(marks=marks).close()
    store.write_operator(age=800)
    store.write_account()
    trust = store.load(marks=marks)
    assert trust.error is None
    assert trust.resolve("alice")[0].key == alice.pair.public


def test_an_older_account_in_a_running_folder_is_reported_and_the_newer_one_remains(
    store: Store,
) -> None:
    alice = store.add("alice")
    trust = store.load()
    store.write_account(age=5, revocations={alice.user: store.now - 10})
    trust.reload(force=True)
    store.write_account()
    with pytest.raises(RollbackError):
        trust.reload(force=True)
    with pytest.raises(SenderRevokedError):
        trust.admit(alice.pair.public, "a", store.now * 1000)
    store.write_account(age=1)  # the administrator means it
    trust.reload(force=True)
    assert trust.error is None
    assert trust.resolve("alice")


def test_the_marks_of_an_account_are_on_disk_before_its_newer_claim_counts(
    store: Store, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("alice")
    trust = store.load(marks=marks)
    order: list[str] = []
    finish, save = Judge.finish, type(trust.marks).save

    def saving(self: Any) -> None:
        order.append("saved" if self.marks.changed else "unchanged")
        save(self)

    def judging(self: Judge, *arguments: Any) -> Any:
        order.append("judged")
        return finish(self, *arguments)

    monkeypatch.setattr(type(trust.marks), "save", saving)
    monkeypatch.setattr(Judge, "finish", judging)
    store.write_account(age=5)
    trust.reload(force=True)
    assert order[:2] == ["saved", "judged"]


@pytest.mark.parametrize("resolved", [True, False])
def test_a_retired_xkey_does_not_come_back_after_a_restart(
    store: Store, marks: Path, resolved: bool
) -> None:
    """T-14: whether a sender has used the newer one or not."""
    alice = store.add("alice")
    older = store.certificate(alice)
    store.write_xkeys(alice, older, store.certificate(alice, XKeyPair.generate(), age=60))
    trust = store.load(marks=marks)
    if resolved:
        trust.resolve("alice")
    trust.close()
    store.write_xkeys(alice, older)
    with pytest.raises(RollbackError):
        store.load(marks=marks).resolve("alice")


def test_an_xkey_that_becomes_current_later_leaves_a_mark(
    store: Store, marks: Path, clock: Callable[[int], None]
) -> None:
    alice = store.add("alice")
    older, newer = store.certificate(alice), XKeyPair.generate()
    store.write_xkeys(alice, older, store.certificate(alice, newer, age=-HOUR))
    trust = store.load(marks=marks)
    clock(HOUR)
    assert trust.resolve("alice")[0].key == newer.public
    trust.reload(force=True)
    trust.close()
    store.write_xkeys(alice, older)
    with pytest.raises(RollbackError):
        store.load(marks=marks).resolve("alice")


def test_a_lost_file_of_marks_permits_what_the_folder_says(store: Store, marks: Path) -> None:
    """What bounds a rollback then is the folder itself, and `exp`."""
    store.add("alice")
    store.load(marks=marks).close()
    marks.unlink()
    kept = store.load(marks=marks)
    assert kept.error is None
    kept.close()
    marks.write_text("")
    trust = None
    with pytest.raises(ConfigurationError, match="damaged"):
        trust = store.load(marks=marks)
    assert trust is None


def test_marks_that_cannot_be_written_are_a_problem_while_everything_works(
    store: Store, tmp_path: Path
) -> None:
    alice, reader = store.add("alice"), store.add("reader")
    trust = store.load(marks=tmp_path / "missing" / "marks.json")
    assert "cannot write" in str(trust.error)
    assert read(reader, trust, sealed(alice, trust, "reader")).data == b"secret"
    (tmp_path / "missing").mkdir()
    trust.reload(force=True)
    assert trust.error is None


def test_a_clock_in_2100_and_back(store: Store, marks: Path, clock: Callable[[int], None]) -> None:
    """T-16: not ready, with both causes named, until an administrator forgets the marks."""
    alice, reader = store.add("alice"), store.add("reader")
    far = 75 * 365 * DAY
    clock(far)
    store.write_user(alice, age=-far)  # issued by somebody with the same wrong clock
    trust = store.load(marks=marks)
    clock(0)
    store.write_user(alice)
    with pytest.raises(ConfigurationError) as caught:
        trust.reload(force=True)
    assert alice.user in str(caught.value)
    assert "this clock is wrong" in str(caught.value)
    assert "xkeymsg trust forget" in str(caught.value)
    assert trust.report().refused == {"rollback": 1}
    assert trust.resolve("reader")  # the others are unharmed
    trust.close()
    forget_marks(marks, [alice.user])
    mended = store.load(marks=marks)
    assert mended.error is None
    assert read(reader, mended, sealed(alice, mended, "reader")).data == b"secret"


def test_a_claim_from_the_future_does_not_count_before_its_time(
    store: Store, clock: Callable[[int], None]
) -> None:
    store.add("alice")
    store.write_user(store.add("bob"), age=-DAY)
    trust = store.load()
    assert trust.report().refused == {"future_claim": 1}
    clock(DAY)
    trust.reload(force=True)
    assert trust.report().refused == {}


def test_a_clock_set_back_does_not_keep_the_verdicts_of_the_future(
    store: Store, clock: Callable[[int], None]
) -> None:
    alice = store.add("alice")
    store.write_user(alice, top={"nbf": store.now + DAY})
    clock(2 * DAY)
    trust = store.load()
    clock(0)
    trust.reload(force=True)
    with pytest.raises(UnknownKeyError):
        trust.resolve("alice")


def test_no_error_and_no_repr_shows_the_text_of_a_claim(store: Store) -> None:
    """A bearer JWT is a password."""
    alice = store.add("alice", bearer_token=True)
    text = (store.folder / "accounts/CLINIC/users/alice.jwt").read_text()
    (store.folder / "accounts/CLINIC/users/x.jwt").write_text(text[:-8])
    trust = store.load()
    shown = f"{trust!r} {trust.error} {trust.members.refused} {trust.report()}"
    assert not any(part in shown for part in text.split("."))
    assert trust.members.identities["", alice.user].bearer

"""`edit-user`, `revoke`, `remove-signing-key`, `init --identity-only` and `forget`."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.trust.admin import Admin
from tests.running import run
from xkeymsg import XKeyPair
from xkeymsg.errors import RollbackError, SenderRevokedError, TrustError
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.trust.claims import Account, Certificate, User
from xkeymsg.trust.creds import parse_creds
from xkeymsg.trust.jwt import Kind, issue


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    return Admin(tmp_path)


@pytest.fixture
def anchor(admin: Admin) -> str:
    return admin.begin("CLINIC")


def user(admin: Admin, name: str) -> User:
    return User.decode((admin.folder / f"accounts/CLINIC/users/{name}.jwt").read_text())


def account(admin: Admin, name: str = "CLINIC") -> Account:
    return Account.decode((admin.folder / f"accounts/{name}/{name}.jwt").read_text())


def signing_key(admin: Admin, name: str = "CLINIC") -> str:
    [key] = account(admin, name).signers
    return key


# --- edit-user ------------------------------------------------------------------------------------


def test_an_added_permission_needs_no_operator_key(admin: Admin, anchor: str) -> None:
    admin.join("ward-a", "--permission", "clinic")
    before = user(admin, "ward-a").claims.issued
    text = (admin.folder / "accounts/CLINIC/CLINIC.jwt").read_text()
    admin.run("edit-user", "CLINIC", "ward-a", "--permission", "audit")
    after = user(admin, "ward-a")
    assert after.claims.issued > before
    assert after.tags == {"perm:clinic", "perm:audit"}
    assert (admin.folder / "accounts/CLINIC/CLINIC.jwt").read_text() == text
    claims, _ = parse_creds(admin.creds("ward-a").read_text())
    assert claims.text == after.claims.text


@pytest.mark.parametrize(
    "change",
    [("--drop-permission", "audit"), ("--allow-pub", "ehr.>"), ("--expires", "1d")],
)
def test_what_takes_away_also_revokes_the_old_jwt(
    admin: Admin, anchor: str, change: tuple[str, str]
) -> None:
    member = admin.join("ward-a", "--permission", "clinic", "--permission", "audit")
    old = user(admin, "ward-a").claims
    trust = admin.load(anchor)
    admin.run("edit-user", "CLINIC", "ward-a", *change)
    assert account(admin).revokes(old)
    assert not account(admin).revokes(user(admin, "ward-a").claims)
    trust.reload(force=True)
    assert trust.vouch(member.pair.public) is not None, "its certificate is still valid"
    (admin.folder / "accounts/CLINIC/users/ward-a.jwt").write_text(old.text)
    trust.reload(force=True)
    assert trust.vouch(member.pair.public) is None, "older than the one seen"
    with pytest.raises(SenderRevokedError):
        admin.load(anchor).vouch(member.pair.public)


@pytest.mark.usefixtures("anchor")
def test_a_change_is_not_said_to_end_a_certificate_that_was_revoked_before(admin: Admin) -> None:
    member = admin.join("ward-a", "--permission", "audit")
    admin.run("revoke", "CLINIC", member.pair.public)
    done = admin.done("edit-user", "CLINIC", "ward-a", "--drop-permission", "audit")
    assert done.returncode == 0
    assert b"become invalid" not in done.stderr


def test_taking_away_without_an_operator_key_changes_nothing(admin: Admin, anchor: str) -> None:
    admin.join("ward-a", "--permission", "audit")
    [key] = (admin.keys / "O").rglob(f"{account(admin).claims.issuer}.nk")
    key.rename(admin.root / "away.nk")
    error = admin.refused("edit-user", "CLINIC", "ward-a", "--drop-permission", "audit")
    assert account(admin).claims.issuer in error
    away = ("--operator-key", admin.root / "away.nk")
    admin.run("edit-user", "CLINIC", "ward-a", "--drop-permission", "audit", *away)


def test_a_user_keeps_its_role(admin: Admin, anchor: str) -> None:
    unscoped = signing_key(admin)
    scoped = admin.run("add-signing-key", "CLINIC", "--role", "reader", "--grant", "billing")
    admin.join("ward-a", "-K", unscoped)
    admin.join("bill", "-K", "reader", "--permission", "billing")
    assert "add a new user" in admin.refused("edit-user", "CLINIC", "ward-a", "-K", scoped)
    assert "add a new user" in admin.refused("edit-user", "CLINIC", "bill", "-K", unscoped)
    admin.run("edit-user", "CLINIC", "bill", "--expires", "200d")
    assert user(admin, "bill").claims.issuer == scoped


# --- revoke ---------------------------------------------------------------------------------------


def test_users_xkeys_and_single_jwts_are_revoked(admin: Admin, anchor: str) -> None:
    a, b, c, d = (admin.join(name) for name in "abcd")
    (admin.root / "old.jwt").write_text(user(admin, "d").claims.text)
    admin.run("edit-user", "CLINIC", "d", "--permission", "clinic")
    trust = admin.load(anchor)
    admin.run("revoke", "CLINIC", "a", b.user, c.pair.public, admin.root / "old.jwt")
    trust.reload(force=True)
    for revoked in (a, b, c):
        with pytest.raises(SenderRevokedError):
            trust.vouch(revoked.pair.public)
    assert trust.vouch(d.pair.public) is not None, "only its old JWT is revoked"
    assert admin.status() == {"a": "revoked", "b": "revoked", "c": "valid", "d": "valid"}
    # A new key of the user whose xkey was revoked counts; neither comes back by itself.
    assert "revoked" in admin.refused("certify", "CLINIC", "c", c.pair.public)
    (admin.folder / "accounts/CLINIC/users/a.jwt").unlink()
    again = ("add-user", "CLINIC", "a2", "--public-key", a.user)
    assert "revoked" in admin.refused(*again)
    admin.run("certify", "CLINIC", "c", XKeyPair.generate().public)
    assert "(revoked)" in admin.run("describe", "c")


@pytest.mark.parametrize("ahead", [1, 30, 86_400])
def test_a_certificate_that_only_the_directory_has_is_revoked_with_its_xkey(
    admin: Admin, anchor: str, ahead: int
) -> None:
    """Whenever it was made: an owner who does not know of the revocation may make another one."""
    member = admin.join("a")
    path = admin.folder / "accounts/CLINIC/users/a.xkeys"
    claims = Certificate.decode(path.read_text().strip()).claims
    path.unlink()
    admin.run("revoke", "CLINIC", member.pair.public)
    assert account(admin).revokes(claims._replace(issued=int(time.time()) + ahead))


def test_a_certificate_of_the_second_after_a_revocation_counts(admin: Admin, anchor: str) -> None:
    member, pair = admin.join("a"), XKeyPair.generate()
    admin.run("revoke", "CLINIC", member.pair.public)
    admin.run("certify", "CLINIC", "a", pair.public)
    [recipient] = admin.load(anchor).resolve("a")
    assert recipient.key == pair.public


@pytest.mark.parametrize("target", ["*", "a"])
def test_certificates_made_before_a_revocation_do_not_count_for_a_user_that_is_issued_again(
    admin: Admin, anchor: str, target: str
) -> None:
    """Also those of the second of the user JWT, and with a key that is certified after it."""
    member, pair = admin.join("a"), XKeyPair.generate()
    path = admin.folder / "accounts/CLINIC/users/a.xkeys"
    made = Certificate.decode(path.read_text().strip()).claims
    in_directory = made._replace(issued=user(admin, "a").claims.issued + 1)
    admin.run("revoke", "CLINIC", target)
    admin.run("edit-user", "CLINIC", "a", "--reinstate")
    admin.run("certify", "CLINIC", "a", pair.public)
    assert account(admin).revokes(in_directory)
    trust = admin.load(anchor)
    with pytest.raises(SenderRevokedError):
        trust.vouch(member.pair.public)
    assert trust.vouch(pair.public) is not None


def test_all_users_are_revoked_and_later_ones_are_not(admin: Admin, anchor: str) -> None:
    admin.join("a")
    admin.run("revoke", "CLINIC", "*")
    b = admin.join("b")
    assert admin.status() == {"a": "revoked", "b": "valid"}
    trust = admin.load(anchor)
    assert trust.vouch(b.pair.public) is not None, "issued after the revocation, to the second"
    assert "--reinstate" in admin.refused("edit-user", "CLINIC", "a", "--permission", "clinic")
    admin.run("edit-user", "CLINIC", "a", "--permission", "clinic", "--reinstate")
    assert admin.status()["a"] == "valid", "issued after the revocation"


def test_what_is_not_there_cannot_be_revoked(admin: Admin, anchor: str) -> None:
    admin.join("ward-a")
    assert "did you mean 'ward-a'" in admin.refused("revoke", "CLINIC", "ward-b")
    admin.run("add-account", "OTHER")
    admin.run("add-signing-key", "OTHER")
    path = admin.folder / "accounts/CLINIC/users/ward-a.jwt"
    assert "wrong_account" in admin.refused("revoke", "OTHER", path)


# --- remove-signing-key ---------------------------------------------------------------------------


def rows(output: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in output.splitlines()]


def test_users_are_issued_again_but_not_those_that_were_revoked(admin: Admin, anchor: str) -> None:
    leaked = signing_key(admin)
    a, b = admin.join("a"), admin.join("b")
    admin.run("revoke", "CLINIC", "b")
    (admin.root / "stolen.jwt").write_text(user(admin, "a").claims.text)
    second = admin.run("add-signing-key", "CLINIC")
    c = admin.join("c", "-K", second)
    trust = admin.load(anchor)
    output = admin.run("remove-signing-key", leaked, "--reissue")
    assert rows(output) == [
        ["user", "a", a.user, f"issued again by {second}"],
        ["user", "b", b.user, "stays revoked"],
    ]
    assert admin.status() == {"a": "valid", "b": "refused", "c": "valid"}
    assert parse_creds(admin.creds("a").read_text())[0].issuer == second
    trust.reload(force=True)
    for member in (a, c):
        assert trust.vouch(member.pair.public) is not None
    with pytest.raises(SenderRevokedError):
        trust.vouch(b.pair.public)


def test_a_removal_can_be_completed_later(admin: Admin, anchor: str) -> None:
    leaked = signing_key(admin)
    member = admin.join("a")
    done = admin.done("remove-signing-key", leaked, "--reissue")
    assert done.returncode == 1
    assert "not issued again: wrong_issuer" in done.stdout.decode()
    assert admin.status() == {"a": "refused"}
    second = admin.run("add-signing-key", "CLINIC")
    assert rows(admin.run("remove-signing-key", leaked, "--reissue")) == [
        ["user", "a", member.user, f"issued again by {second}"]
    ]
    assert admin.status() == {"a": "valid"}
    assert "is not a signing key here" in admin.refused("remove-signing-key", leaked)


def test_users_of_a_scoped_key_go_to_a_key_of_their_role(admin: Admin, anchor: str) -> None:
    first = admin.run("add-signing-key", "CLINIC", "--role", "reader", "--grant", "billing")
    admin.join("bill", "-K", first, "--permission", "billing")
    second = admin.run("add-signing-key", "CLINIC", "--role", "reader")
    admin.run("remove-signing-key", first, "--reissue")
    assert user(admin, "bill").claims.issuer == second
    assert admin.described()["users"][0]["permissions"] == ["billing"]


def test_users_of_a_removed_scoped_key_never_go_to_an_unscoped_one(
    admin: Admin, anchor: str
) -> None:
    scoped = admin.run("add-signing-key", "CLINIC", "--role", "reader", "--grant", "billing")
    admin.join("bill", "-K", scoped, "--permission", "billing")
    [unscoped] = [key for key, scope in account(admin).signers.items() if scope is None]
    assert admin.done("remove-signing-key", scoped).returncode == 1
    for more in (("--reissue",), ("--reissue-with", unscoped)):
        done = admin.done("remove-signing-key", scoped, *more)
        assert done.returncode == 1
        assert "not issued again" in done.stdout.decode()
    assert admin.status() == {"bill": "refused"}
    second = admin.run("add-signing-key", "CLINIC", "--role", "reader")
    admin.run("remove-signing-key", scoped, "--reissue-with", second)
    assert admin.described()["users"][0]["permissions"] == ["billing"]
    assert "| Known As       | reader:bill" in admin.run("describe", "bill")


def test_a_forged_user_is_not_issued_again_by_an_edit(admin: Admin, anchor: str) -> None:
    admin.join("a")
    thief = Admin(admin.root / "thief")
    thief.root.mkdir()
    thief.begin("CLINIC")
    [path] = (thief.keys / "A").rglob(f"{signing_key(thief)}.nk")
    claims = user(admin, "a").claims
    forged = issue(
        Kind.USER, SigningKey(path.read_text(), Prefix.ACCOUNT), claims.subject,
        {**claims.nats, "tags": ["perm:audit"]}, issued=claims.issued, name="a",
    )  # fmt: skip
    (admin.folder / "accounts/CLINIC/users/a.jwt").write_text(forged)
    assert "wrong_issuer" in admin.refused("edit-user", "CLINIC", "a", "--permission", "clinic")


def test_concurrent_edits_are_all_kept(admin: Admin, anchor: str) -> None:
    command = ("xkeymsg.cli", "trust", "add-signing-key", str(admin.folder), "CLINIC")
    with ThreadPoolExecutor(4) as threads:
        started = [threads.submit(run, *command) for _ in range(4)]
    made = {each.result().stdout.decode().strip() for each in started}
    assert len(made) == 4
    assert made < account(admin).signers.keys()


def test_a_key_of_the_operator_takes_accounts_along(admin: Admin, anchor: str) -> None:
    leaked = account(admin).claims.issuer
    member = admin.join("a")
    listed = admin.done("remove-signing-key", leaked, "--dry-run")
    assert listed.returncode == 1
    key = account(admin).claims.subject
    assert rows(listed.stdout.decode()) == [
        ["account", "CLINIC", key, "becomes invalid with 1 user"]
    ]
    assert admin.status() == {"a": "valid"}, "a dry run changes nothing"
    second = admin.run("add-signing-key")
    trust = admin.load(anchor)
    admin.run("remove-signing-key", leaked, "--reissue")
    assert account(admin).claims.issuer == second
    trust.reload(force=True)
    assert trust.vouch(member.pair.public) is not None
    # What the stolen key signs from now on is worth nothing.
    [path] = (admin.keys / "O").rglob(f"{leaked}.nk")
    thief = SigningKey(path.read_text(), Prefix.OPERATOR)
    claims = account(admin).claims
    forged = issue(Kind.ACCOUNT, thief, key, claims.nats, issued=claims.issued + 5)
    (admin.folder / "accounts/CLINIC/CLINIC.jwt").write_text(forged)
    with pytest.raises(TrustError):
        trust.reload(force=True)
    assert trust.vouch(member.pair.public) is not None


def test_identities_are_not_signing_keys(admin: Admin, anchor: str) -> None:
    assert "--identity-only" in admin.refused("remove-signing-key", anchor)
    identity = account(admin).claims.subject
    assert "account's identity" in admin.refused("remove-signing-key", identity)


# --- the operator's identity ----------------------------------------------------------------------


def test_a_new_identity_keeps_accounts_and_users(admin: Admin, anchor: str) -> None:
    member = admin.join("a")
    old_operator = (admin.folder / "HOSPITAL.jwt").read_text()
    new = admin.run("init", "--identity-only")
    assert new != anchor
    assert admin.status() == {"a": "valid"}
    trust = admin.load(new)
    assert trust.vouch(member.pair.public) is not None
    # The old identity is worth nothing to readers of the new anchor.
    (admin.folder / "HOSPITAL.jwt").write_text(old_operator)
    with pytest.raises(TrustError):
        trust.reload(force=True)
    assert admin.done("verify", "--anchor", new).returncode == 1


def test_an_operator_is_not_overwritten(admin: Admin, anchor: str) -> None:
    assert "there is an operator already" in admin.refused("init")
    assert "already" in admin.refused("add-account", "CLINIC")
    key = signing_key(admin)
    assert "already" in admin.refused("add-signing-key", "CLINIC", "--public-key", key)
    admin.run("add-user", "CLINIC", "a")
    admin.creds("a").rename(admin.creds("b"))
    assert "already exists" in admin.refused("add-user", "CLINIC", "b")


# --- time -----------------------------------------------------------------------------------------


def test_each_edit_of_a_second_is_newer_than_the_last(admin: Admin, anchor: str) -> None:
    times = []
    for _ in range(3):
        admin.run("add-signing-key", "CLINIC")
        times.append(account(admin).claims.issued)
    assert sorted(set(times)) == times


def test_a_jwt_from_the_future_is_not_topped(admin: Admin, anchor: str) -> None:
    claims = account(admin).claims
    [path] = (admin.keys / "O").rglob(f"{claims.issuer}.nk")
    signer = SigningKey(path.read_text(), Prefix.OPERATOR)
    for ahead in (29, 100):  # readers accept 30 seconds
        text = issue(
            Kind.ACCOUNT, signer, claims.subject, claims.nats, issued=claims.issued + ahead
        )
        (admin.folder / "accounts/CLINIC/CLINIC.jwt").write_text(text)
    assert "future_claim" in admin.refused("revoke", "CLINIC", "*")


def test_users_get_90_days_and_certificates_at_most_30(admin: Admin, anchor: str) -> None:
    admin.run("add-user", "CLINIC", "a")
    claims = user(admin, "a").claims
    assert 0 <= claims.expires - claims.issued - 90 * 86_400 <= 2
    xkey = XKeyPair.generate().public
    assert admin.done("certify", "CLINIC", "a", xkey, "--life", "31d").returncode == 2
    admin.run("add-user", "CLINIC", "b", "--expires", "never")
    assert user(admin, "b").claims.expires == 0


def test_only_the_user_certifies_its_xkeys(admin: Admin, anchor: str) -> None:
    admin.join("a")
    b = admin.join("b")
    xkey = XKeyPair.generate().public
    assert "wrong_issuer" in admin.refused("certify", "CLINIC", "a", xkey, "-K", b.creds)
    assert "wrong_issuer" in admin.refused("certify", "CLINIC", "a", xkey, "-K", signing_key(admin))
    admin.run("revoke", "CLINIC", "a")
    assert "revoked" in admin.refused("certify", "CLINIC", "a", xkey)


def test_certificates_of_earlier_keys_stay_and_the_newest_is_current(
    admin: Admin, anchor: str
) -> None:
    member = admin.join("a")
    for _ in range(2):
        pair = XKeyPair.generate()
        admin.run("certify", "CLINIC", "a", pair.public)
    trust = admin.load(anchor)
    [recipient] = trust.resolve("a")
    assert recipient.key == pair.public
    assert trust.vouch(member.pair.public) is not None


def test_a_user_with_a_key_of_its_own_gets_a_jwt_only(admin: Admin, anchor: str) -> None:
    made = run("xkeymsg.cli", "keygen", "--type", "user", "--out", str(admin.root / "u.nk"))
    key = made.stdout.decode().strip()
    assert admin.run("add-user", "CLINIC", "a", "--public-key", key) == key
    assert not admin.creds("a").exists()
    xkey = XKeyPair.generate().public
    admin.run("certify", "CLINIC", "a", xkey, "-K", admin.root / "u.nk")
    assert [str(each.key) for each in admin.load(anchor).resolve("a")] == [str(xkey)]


# --- marks ----------------------------------------------------------------------------------------


def test_marks_are_forgotten_on_request(admin: Admin, anchor: str) -> None:
    admin.join("a")
    old = (admin.folder / "accounts/CLINIC/CLINIC.jwt").read_text()
    marks = admin.root / "marks.json"
    admin.run("add-signing-key", "CLINIC")
    admin.load(anchor, marks=marks).close()
    (admin.folder / "accounts/CLINIC/CLINIC.jwt").write_text(old)
    trust = admin.load(anchor, marks=marks)
    assert isinstance(trust.error, RollbackError)
    trust.close()
    key = account(admin).claims.subject
    forget = ("xkeymsg.cli", "trust", "forget", str(marks))
    assert run(*forget, "ward-a").returncode == 1
    assert run(*forget, key).returncode == 0
    trust = admin.load(anchor, marks=marks)
    assert trust.error is None
    in_use = run(*forget, key)
    assert in_use.returncode == 1
    assert b"in use" in in_use.stderr
    trust.close()

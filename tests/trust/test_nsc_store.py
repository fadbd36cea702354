"""A store that nsc made is read whole, with the expectations of its README (T-1 to T-10)."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.trust.chains.world import Key
from xkeymsg.errors import IdentityIssuerError, RevokedError
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.trust.chain import Authority, TrustPolicy, authorize, certify, identify
from xkeymsg.trust.claims import FOREVER, Account, Certificate, Operator, User
from xkeymsg.trust.creds import parse_creds
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.jwt import Kind, decode, issue, jti
from xkeymsg.trust.marks import Marks

STORE = Path(__file__).parent.parent / "data" / "nsc-store"
HOSPITAL = STORE / "stores" / "HOSPITAL"
CLINIC = HOSPITAL / "accounts" / "CLINIC"
NOW = 1_795_919_065 + 3600  # an hour after it was made
NAMES = sorted(path.stem for path in (CLINIC / "users").iterdir())
TEXTS = {path.stem: path.read_text() for path in HOSPITAL.rglob("*.jwt")}


def read(name: str) -> str:
    return TEXTS[name]


@cache
def clinic(account: str = "CLINIC") -> Authority:
    operator, claims = Operator.decode(read("HOSPITAL")), Account.decode(read(account))
    policy = TrustPolicy(anchors=frozenset({operator.claims.subject}))
    return authorize(policy, operator, claims.claims.subject, [claims], NOW, Marks())


def identity(name: str) -> Identity:
    user = User.decode(read(name))
    return identify(clinic(), user.claims.subject, [user], NOW, Marks())


def test_every_file_is_read() -> None:
    assert set(TEXTS) == {"HOSPITAL", "CLINIC", "INSURER", *NAMES}
    assert len(NAMES) == 7


def test_the_operator_demands_signing_keys() -> None:
    assert clinic().operator.strict
    assert len(clinic().operator.signers) == 1


def test_the_clinic_has_two_signing_keys_and_a_scoped_one() -> None:
    assert sorted(clinic().issuers.values()) == [False, True, True]
    [account] = clinic().accounts
    [role] = [scope.role for scope in account.signers.values() if scope]
    assert role == "reader"
    assert account.tags == {"grant:reader:billing"}


@for_each(
    ("file", "name", "permissions", "ungranted"),
    [
        ("ward-a", "ward-a", {"clinic"}, set()),
        ("ward-b", "ward-b", {"clinic", "audit"}, set()),
        ("billing-eu", "reader:billing-eu", {"billing"}, set()),
        ("sneaky", "reader:sneaky", set(), {"audit"}),
        ("device", "device", {"clinic"}, set()),
        ("zürich-labor", "zürich-labor", {"research"}, set()),
    ],
)
def test_users_hold_what_the_readme_says(
    file: str, name: str, permissions: set[str], ungranted: set[str]
) -> None:
    found = identity(file)
    assert (found.name, set(found.permissions)) == (name, permissions)
    assert found.ungranted == ungranted
    assert found.bearer == (file == "device")
    found.check_life(NOW)


def test_only_one_of_them_ends() -> None:
    ends = {name: identity(name).valid_until for name in NAMES if name != "gone"}
    assert {name for name, end in ends.items() if end != FOREVER} == {"ward-b"}


def test_gone_is_revoked() -> None:
    with pytest.raises(RevokedError):
        identity("gone")


def test_a_scoped_user_sends_where_its_template_says() -> None:
    found = identity("billing-eu")
    own = f"$KV.XKEYS.{found.account}.{found.user}"
    assert found.may_send(own)
    assert found.may_send("$JS.API.INFO")
    assert not found.may_send(own[:-1] + ("A" if own[-1] != "A" else "B"))
    assert not found.may_send("ehr.billing.1")


def test_nobody_may_issue_users_of_the_insurer() -> None:
    insurer = clinic("INSURER")
    assert insurer.issuers == {}
    [seed] = [path.read_text() for path in (STORE / "keys" / "A" / "BH").iterdir()]
    user = issue(
        Kind.USER, SigningKey(seed, Prefix.ACCOUNT), Key(Prefix.USER, "x").public, {}, issued=NOW
    )
    with pytest.raises(IdentityIssuerError):
        identify(insurer, Key(Prefix.USER, "x").public, [User.decode(user)], NOW, Marks())


@for_each("name", sorted(TEXTS))
def test_jti_is_the_one_that_nsc_computed(name: str) -> None:
    part = read(name).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert jti(claims) == claims["jti"]


@for_each("name", NAMES)
def test_credentials_hold_the_user_of_the_store(name: str) -> None:
    creds = (STORE / "creds" / "HOSPITAL" / "CLINIC" / f"{name}.creds").read_text()
    claims, key = parse_creds(creds)
    assert claims.text == read(name)
    assert key.public == claims.subject


def test_a_certificate_by_a_user_of_the_store() -> None:
    creds = (STORE / "creds" / "HOSPITAL" / "CLINIC" / "ward-a.creds").read_text()
    claims, key = parse_creds(creds)
    found = identity("ward-a")
    xkey = str(XKeyPair(bytes(range(32))).public)
    text = issue(
        Kind.XKEY, key, xkey, {"issuer_account": found.account},
        issued=NOW, not_before=NOW, expires=NOW + 86_400,
    )  # fmt: skip
    certified = certify(clinic(), found, [Certificate.decode(text)], NOW)
    assert str(certified.current(NOW).key) == xkey
    assert certified == found._replace(keys=certified.keys)
    assert claims.subject == found.user


def test_the_seeds_of_the_store_are_its_keys() -> None:
    for path in (STORE / "keys").rglob("*.nk"):
        kind = {prefix.letter: prefix for prefix in Prefix}[path.name[0]]
        assert SigningKey(path.read_text(), kind).public == path.stem


def test_a_claim_of_one_place_does_not_fit_another() -> None:
    for name, kind in (("HOSPITAL", Kind.OPERATOR), ("CLINIC", Kind.ACCOUNT), ("gone", Kind.USER)):
        assert decode(read(name), kind).kind is kind

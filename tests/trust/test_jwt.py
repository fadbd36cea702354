"""Reading and writing claims and credentials (T-1, T-6)."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cases import check_each, for_each
from tests.trust.chains.rows import ROWS, Row, decode_b64
from tests.trust.chains.verdicts import judge, ours
from tests.trust.chains.world import Key, Scene, b64, token
from xkeymsg.errors import (
    BadSignatureError,
    ConfigurationError,
    KeyFormatError,
    MalformedClaimError,
    TrustError,
    WrongIssuerError,
    XKeyMsgError,
)
from xkeymsg.nkey import Prefix, SigningKey
from xkeymsg.trust.claims import Account, Certificate, Operator, User
from xkeymsg.trust.creds import format_creds, parse_creds
from xkeymsg.trust.jwt import (
    CERTIFICATE_DOMAIN,
    UNLIMITED_ACCOUNT,
    UNLIMITED_USER,
    Kind,
    decode,
    issue,
    issue_time,
    jti,
)

NOW = 1_800_000_000
S = Scene("jwt", NOW)
READERS: dict[Kind, Any] = {
    Kind.OPERATOR: Operator,
    Kind.ACCOUNT: Account,
    Kind.USER: User,
    Kind.XKEY: Certificate,
}


def issued(kind: Kind, **more: Any) -> str:
    signers: dict[Kind, tuple[Key, str, dict[str, Any]]] = {
        Kind.OPERATOR: (S.operator, S.operator.public, {"signing_keys": [S.operator_key.public]}),
        Kind.ACCOUNT: (
            S.operator_key,
            S.account.public,
            {**UNLIMITED_ACCOUNT, "signing_keys": [S.key.public, S.scope()]},
        ),
        Kind.USER: (
            S.key, S.user.public, {**UNLIMITED_USER, "issuer_account": S.account.public}
        ),
        Kind.ACTIVATION: (S.key, S.account.public, {"subject": "a", "kind": "stream"}),
        Kind.XKEY: (S.user, str(S.xkey.public), {"issuer_account": S.account.public}),
    }  # fmt: skip
    signer, subject, nats = signers[kind]
    times = {"not_before": NOW, "expires": NOW + 9} if kind is Kind.XKEY else {}
    return issue(kind, signer, subject, nats, issued=NOW, **(times | more))


@for_each("kind", Kind)
def test_what_is_issued_is_read(kind: Kind) -> None:
    text = issued(kind)
    claims = decode(text, kind)
    assert (claims.text, claims.issued, claims.kind) == (text, NOW, kind)
    if kind in READERS:  # no reader uses activation tokens
        assert READERS[kind].decode(text).claims.subject == claims.subject
    for other in set(Kind) - {kind}:
        with pytest.raises((MalformedClaimError, WrongIssuerError)):
            decode(text, other)


def test_a_certificate_has_the_members_of_the_format_and_no_others() -> None:
    header, claims, signature = issued(Kind.XKEY).split(".")
    assert json.loads(decode_b64(header)) == {"typ": "JWT", "alg": "ed25519-xkey"}
    assert json.loads(decode_b64(claims)) == {
        "exp": NOW + 9,
        "iat": NOW,
        "iss": S.user.public,
        "nbf": NOW,
        "sub": str(S.xkey.public),
        "nats": {"issuer_account": S.account.public, "type": "xkey", "version": 2},
    }
    signed = b"\xffxkm1/xkey\0" + f"{header}.{claims}".encode()
    assert decode_b64(signature) == S.user.sign(signed)


def test_no_login_nonce_is_a_certificate() -> None:
    """A broker has every client sign a nonce, which travels as JSON."""
    with pytest.raises(UnicodeDecodeError):
        (CERTIFICATE_DOMAIN + b"x").decode()
    unsigned = S.certificate().rpartition(".")[0]
    nonce = S.user.sign(unsigned.encode())
    with pytest.raises(BadSignatureError):
        decode(f"{unsigned}.{b64(nonce)}", Kind.XKEY)


@for_each(
    ("change", "error"),
    [
        ({"subject": "X" + "A" * 55}, MalformedClaimError),
        ({"nats": {"tags": [1.5]}}, MalformedClaimError),
        ({"issued": 0}, MalformedClaimError),
        ({"expires": -1}, MalformedClaimError),
        ({"name": "\ud800"}, MalformedClaimError),
        ({"signer": S.operator}, WrongIssuerError),
        ({"nats": {"tags": ["x" * 20_000]}}, MalformedClaimError),
    ],
    ids=str,
)
def test_nothing_is_issued_that_no_reader_takes(
    change: dict[str, Any], error: type[TrustError]
) -> None:
    honest: dict[str, Any] = {
        "kind": Kind.USER, "signer": S.key, "subject": S.user.public, "nats": {}, "issued": NOW,
    }  # fmt: skip
    issue(**honest)
    with pytest.raises(error):
        issue(**(honest | change))


def test_a_signer_that_signs_something_else_is_noticed() -> None:
    class Wrong(SigningKey):
        def sign(self, data: bytes) -> bytes:
            return super().sign(data + b"x")

    with pytest.raises(BadSignatureError):
        issue(Kind.USER, Wrong(S.key.seed, Prefix.ACCOUNT), S.user.public, {}, issued=NOW)


@for_each(
    ("now", "last", "revoked", "expected"),
    [
        (100, 0, 0, 100),
        (100, 100, 0, 101),
        (100, 99, 0, 100),
        (100, 120, 130, 131),
        (100, 50, 60, 100),
    ],
)
def test_a_new_claim_is_newer_than_the_last_and_than_its_revocation(
    now: int, last: int, revoked: int, expected: int
) -> None:
    """T-6."""
    assert issue_time(now, last, revoked) == expected


def test_jti_is_of_the_standard_claims_alone() -> None:
    claims = {"iat": NOW, "iss": "A", "sub": "U", "name": "<&>\u2028 ü"}
    same = jti(claims)
    assert jti(claims | {"nats": {"tags": ["x"]}, "jti": "other", "exp": 0}) == same
    assert jti(claims | {"exp": 1}) != same
    text = r'{"iat":1800000000,"iss":"A","name":"\u003c\u0026\u003e\u2028 ü","sub":"U"}'
    assert len(same) == 52
    digest = hashlib.new("sha512_256", text.encode()).digest()
    assert base64.b32decode(same + "====") == digest


# Credentials


def test_credentials_come_back() -> None:
    jwt = issued(Kind.USER, name="zürich")
    text = format_creds(jwt, S.user.seed)
    assert text.splitlines()[1] == jwt
    claims, key = parse_creds(text)
    assert (claims.text, claims.name, key.public) == (jwt, "zürich", S.user.public)
    assert parse_creds(text.replace("\n", "\r\n"))[0].text == jwt


def test_credentials_of_two_users_are_refused() -> None:
    jwt, other = issued(Kind.USER), Key(Prefix.USER, "other").seed
    with pytest.raises(ConfigurationError):
        format_creds(jwt, other)
    text = format_creds(jwt, S.user.seed).replace(S.user.seed, other)
    with pytest.raises(ConfigurationError) as caught:
        parse_creds(text)
    assert other not in str(caught.value)


@pytest.mark.parametrize(
    "marker", ["-----BEGIN NATS USER JWT-----", "-----BEGIN USER NKEY SEED-----"]
)
def test_credentials_that_lack_a_part_are_refused(marker: str) -> None:
    text = format_creds(issued(Kind.USER), S.user.seed).replace(marker, "-----")
    with pytest.raises(ConfigurationError):
        parse_creds(text)


def test_a_mistyped_seed_is_refused_and_not_shown() -> None:
    text = format_creds(issued(Kind.USER), S.user.seed)
    with pytest.raises(KeyFormatError) as caught:
        parse_creds(text.replace(S.user.seed, "SU" + S.user.seed[3:] + "A"))
    assert S.user.seed[5:20] not in str(caught.value)


def test_only_user_jwts_make_credentials() -> None:
    with pytest.raises(TrustError):
        format_creds(issued(Kind.ACCOUNT), S.user.seed)


# What errors and representations show


def test_neither_repr_nor_error_shows_a_text() -> None:
    """A bearer JWT is a password; a name is a stranger's choice."""
    text = S.user_jwt(top={"name": "n" * 5000}, bearer_token=True)
    user = User.decode(text)
    for shown in (repr(user), repr(user.claims), str(user)):
        assert text[60:90] not in shown
        assert "nnnn" not in shown
        assert len(shown) < 2000
    assert S.key.seed not in repr(S.key)


def test_errors_are_short_and_repeat_nothing() -> None:
    check_each([row for row in ROWS if row.ours != "admitted"], has_a_short_error)


def has_a_short_error(row: Row) -> None:
    chain = row.chain(NOW)
    error = None
    try:
        judge(chain, NOW)
    except TrustError as caught:
        error = caught
    assert error is not None
    assert len(str(error)) < 250
    assert "\n" not in str(error)
    for text in (*chain.users, *chain.accounts):
        assert text[70:100] not in str(error) or len(text) < 100


@for_each("kind", Kind)
@for_each("value", [b"", None, 7, bytearray()], ids=repr)
def test_a_wrong_argument_type_is_a_type_error(kind: Kind, value: Any) -> None:
    with pytest.raises(TypeError):
        decode(value, kind)


@for_each("kind", Kind)
@for_each(
    "text",
    ["", ".", "..", "...", "a.b.c", "\ud800.b.c", "\0" * 10, "é.é.é", "." * 300_000, "=.=.="],
    ids=lambda text: ascii(text)[:12],
)
def test_text_that_is_no_claim_is_malformed(kind: Kind, text: str) -> None:
    with pytest.raises(MalformedClaimError):
        decode(text, kind)


@pytest.fixture
def deep_stack() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_json_does_not_reach_the_stack(opening: bytes) -> None:
    """An application may have raised Python's limit, which then no longer guards it."""
    with pytest.raises(MalformedClaimError):
        decode(token(opening * 30_000, S.operator_key), Kind.ACCOUNT)


def test_integers_are_bounded_before_they_are_converted() -> None:
    digits = b"9" * 150_000
    with pytest.raises(MalformedClaimError):
        decode(token(b'{"exp":' + digits + b"}", S.operator_key), Kind.ACCOUNT)


@for_each("number", [2**63, -(2**63), 10**19, -(10**30)])
def test_integers_have_64_bits(number: int) -> None:
    with pytest.raises(MalformedClaimError):
        decode(S.user_jwt(top={"zzz": number}), Kind.USER)
    decode(S.user_jwt(top={"zzz": 2**63 - 1}), Kind.USER)


def test_every_spelling_of_the_last_character_but_one_is_refused() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = S.user_jwt()
    taken = []
    for character in alphabet:
        try:
            decode(text[:-1] + character, Kind.USER)
        except XKeyMsgError:
            continue
        taken.append(character)
    assert taken == [text[-1]]


def test_the_table_is_the_same_at_any_time() -> None:
    """Nothing in it depends on the present."""
    for now in (NOW, int(time.time())):
        assert all(ours(row.chain(now), now)[0] == row.ours for row in ROWS[:20])

"""The NATS libraries read every claim that we issue, and we every claim that they issue (T-1).

Peers are github.com/nats-io/jwt/v2 (Go: the code of nats-server and nsc) and @nats-io/jwt.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.cli.trust.admin import Admin
from tests.interop.programs import Foreign
from tests.running import DEADLINE
from tests.trust.chains.rows import ROWS
from tests.trust.chains.world import Scene
from xkeymsg.errors import MalformedClaimError
from xkeymsg.nkey import Prefix
from xkeymsg.trust.chain import TrustPolicy, authorize, identify
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.creds import format_creds, parse_creds
from xkeymsg.trust.jwt import UNLIMITED_ACCOUNT, UNLIMITED_USER, Kind, decode, issue, jti
from xkeymsg.trust.marks import Marks

S = Scene("interop", int(time.time()))
LATER = S.now + 86_400
NAMES = ["alice", "", "<a & b>", 'quoted "x" \\', "tab\t and \x00\x1f\x7f\b\f", "sep\u2028\u2029"]
FOREIGN_NAMES = ["zürich-labor", "名前", "\U0001f511"]


def ask(peer: Foreign, requests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        peer.claims, input=lines, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]


def our_claims() -> list[tuple[Kind, str]]:
    """Claims of all kinds, with all that we write."""
    made = []
    for name, expires in product([*NAMES, *FOREIGN_NAMES], (0, LATER)):
        for kind, signer, subject, nats in (
            (
                Kind.OPERATOR,
                S.operator,
                S.operator.public,
                {"signing_keys": [S.operator_key.public], "strict_signing_key_usage": True},
            ),
            (
                Kind.ACCOUNT,
                S.operator_key,
                S.account.public,
                {
                    **UNLIMITED_ACCOUNT,
                    "signing_keys": [S.key.public, S.scope(pub={"allow": ["a.>"]})],
                    "revocations": {S.user.public: S.now, str(S.xkey.public): S.now, "*": 1},
                    "tags": ["grant:reader:billing"],
                },
            ),
            (
                Kind.USER,
                S.key,
                S.user.public,
                {**UNLIMITED_USER, "issuer_account": S.account.public, "tags": ["perm:x"]},
            ),
            (Kind.USER, S.scoped, S.user.public, {"issuer_account": S.account.public}),
        ):
            text = issue(
                kind, signer, subject, nats,
                issued=S.now, name=name, expires=expires, not_before=S.now - 5,
            )  # fmt: skip
            made.append((kind, text))
    return made


def wanted(name: str, expires: int) -> list[dict[str, Any]]:
    """Requests for a whole chain, with a plain and a scoped user."""
    common = {"name": name, "expires": expires, "not_before": S.now - 5}
    user: dict[str, Any] = {
        "kind": "user",
        "subject": S.user.public,
        "issuer_account": S.account.public,
    }
    user |= {"user_seed": S.user.seed, "tags": ["perm:billing", "perm:audit"], "allow": ["in.>"]}
    return [
        common | each
        for each in (
            {
                "kind": "operator",
                "seed": S.operator.seed,
                "subject": S.operator.public,
                "signing_keys": [S.operator_key.public],
                "strict": True,
            },
            {
                "kind": "account",
                "seed": S.operator_key.seed,
                "subject": S.account.public,
                "signing_keys": [S.key.public],
                "scoped_key": S.scoped.public,
                "role": "reader",
                "allow": ["out.{{subject()}}"],
                "revoked": [S.stranger.as_kind(Prefix.USER)],
                "tags": ["grant:reader:billing"],
            },
            user | {"seed": S.key.seed, "scoped": False},
            user | {"seed": S.scoped.seed, "scoped": True},
        )
    ]


@pytest.fixture(params=["go", "node"])
def peer(request: pytest.FixtureRequest) -> Foreign:
    found: Foreign = request.getfixturevalue(request.param)
    return found


def test_they_read_what_we_issue(peer: Foreign) -> None:
    ours = our_claims()
    for (kind, text), said in zip(
        ours, ask(peer, ({"decode": text} for _, text in ours)), strict=True
    ):
        claims = decode(text, kind)
        assert "error" not in said
        assert (said["kind"], said.get("issues", 0)) == (kind.type, 0)
        assert (said["subject"], said["issuer"]) == (claims.subject, claims.issuer)
        assert said.get("exp", 0) == claims.expires
        if claims.name.isascii():  # the JavaScript library reads bytes as Latin-1
            assert said.get("name", "") == claims.name


def test_they_read_what_the_command_line_writes(peer: Foreign, tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.begin("CLINIC")
    admin.run("add-account", "SYS", "--system", "--jetstream")
    [key] = admin.described()["accounts"][0]["valid_signers"]
    admin.run("add-signing-key", "CLINIC", "--role", "reader", "--grant", "x", "--allow-sub", "a.>")
    admin.run("add-user", "CLINIC", "plain", "--permission", "x", "--allow-pub", "a.>", "-K", key)
    admin.run("add-user", "CLINIC", "scoped", "--permission", "x", "-K", "reader")
    admin.run("revoke", "CLINIC", "plain")
    texts = [path.read_text() for path in sorted(admin.folder.rglob("*.jwt"))]
    said = ask(peer, ({"decode": text} for text in texts))
    assert [(each.get("error"), each.get("issues", 0)) for each in said] == [(None, 0)] * 5
    kinds = sorted(each["kind"] for each in said)
    assert kinds == ["account", "account", "operator", "user", "user"]


def test_we_admit_chains_that_they_issue(peer: Foreign) -> None:
    ascii_names = [name for name in NAMES if name.isascii()]  # for the others: see below
    chains = [*product(ascii_names, (0, LATER))]
    requests = ({"issue": want} for chain in chains for want in wanted(*chain))
    answers = iter(ask(peer, requests))  # of one program: Node.js takes long to start
    for name, _ in chains:
        issued = [next(answers) for _ in range(4)]
        assert [said.get("error") for said in issued] == [None] * 4
        operator, account, plain, scoped = (said["token"] for said in issued)
        now = int(time.time())  # they issue by the clock, some time after the scene was made
        authority = authorize(
            TrustPolicy(anchors=frozenset({S.operator.public})),
            Operator.decode(operator),
            S.account.public,
            [Account.decode(account)],
            now,
            Marks(),
        )
        for text, expected, ungranted, subject in (
            (plain, {"billing", "audit"}, set(), "in.x"),
            (scoped, {"billing"}, {"audit"}, f"out.{S.user.public}"),
        ):
            user = User.decode(text)
            assert user.claims.name == name
            verdict = identify(authority, S.user.public, [user], now, Marks())
            assert set(verdict.permissions) == expected
            assert set(verdict.ungranted) == ungranted
            assert verdict.may_send(subject)
            assert not verdict.may_send("elsewhere")
            verdict.check_life(now)
    assert next(answers, None) is None


def test_go_computes_the_same_jti(go: Foreign) -> None:
    requests = [
        {"issue": want}
        for name, expires in product([*NAMES, *FOREIGN_NAMES], (0, LATER))
        for want in wanted(name, expires)
    ]
    for said in ask(go, requests):
        part = said["token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert jti(claims) == claims["jti"]


def test_credentials_go_both_ways(peer: Foreign) -> None:
    ours = format_creds(our_claims()[2][1], S.user.seed)
    [said] = ask(peer, [{"creds": ours}])
    assert (said["token"], said["seed"]) == (our_claims()[2][1], S.user.seed)
    [made] = ask(peer, [{"issue": wanted("alice", 0)[2]}])
    claims, key = parse_creds(made["creds"])
    assert (claims.text, key.public) == (made["token"], S.user.public)


def test_they_refuse_a_certificate_as_a_jwt(peer: Foreign) -> None:
    [said] = ask(peer, [{"decode": S.certificate()}])
    assert "alg" in said["error"]
    assert "kind" not in said


def test_names_that_the_javascript_library_writes_in_latin_1_are_refused(node: Foreign) -> None:
    """What it writes is not UTF-8, so that no two readers would see one name."""
    [said] = ask(node, [{"issue": wanted("zürich", 0)[2]}])
    with pytest.raises(MalformedClaimError):
        decode(said["token"], Kind.USER)


def test_go_reads_every_user_of_the_table_that_we_admit(go: Foreign) -> None:
    rows = [row for row in ROWS if row.ours == "admitted"]
    texts = [row.chain(S.now).users[0] for row in rows]
    said = ask(go, ({"decode": text} for text in texts))
    assert [row.name for row, each in zip(rows, said, strict=True) if "error" in each] == []

"""The table: one row a chain, with the verdict of nats-server and ours.

`agrees`, or the reason why not: `stricter: …`, or `not ours: …` for what cannot be decided from a
message. No row is laxer without such a reason.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.reference.ed25519 import L
from tests.trust.chains.world import (
    DOMAIN,
    HEADER,
    NO_LIMITS,
    XKEY_HEADER,
    Chain,
    Key,
    Scene,
    b64,
    token,
)
from tests.vectors.edge import by_small_order_key
from xkeymsg.nkey import Prefix, encode_public

__all__ = ("ROWS", "Row")

ADMITTED: Final = "admitted"
REFUSED: Final = "refused"
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MANY_USERS: Final = [Key(Prefix.USER, str(number)).public for number in range(700)]
YEAR: Final = 365 * 86_400


@dataclass(frozen=True, kw_only=True)
class Row:
    """One chain and both verdicts."""

    name: str
    rule: str
    make: Callable[[Scene], Chain]
    server: str = ADMITTED
    ours: str = ADMITTED
    """Our verdict: `admitted`, or the code of the refusal."""
    relation: str = "agrees"
    gives: Mapping[str, Any] = field(default_factory=dict)
    """Parts of our verdict."""
    sends: Mapping[str, bool] = field(default_factory=dict)
    """Subjects on which the user may send."""
    server_sends: Mapping[str, bool] = field(default_factory=dict)
    """Where the server decides otherwise."""
    signs: bool = True
    """Whether the user signs the login nonce."""
    large: bool = False
    """Whether the vectors leave it out."""

    def chain(self, now: int) -> Chain:
        return self.make(Scene(self.name, now))


ROWS: Final[list[Row]] = []


def row(rule: str, name: str, make: Callable[[Scene], Chain], **rest: Any) -> None:
    ROWS.append(Row(rule=rule, name=name, make=make, **rest))


def both_refuse(
    rule: str, name: str, code: str, make: Callable[[Scene], Chain], **rest: Any
) -> None:
    row(rule, name, make, server=REFUSED, ours=code, **rest)


def stricter(
    rule: str, name: str, code: str, why: str, make: Callable[[Scene], Chain], **rest: Any
) -> None:
    row(rule, name, make, ours=code, relation=f"stricter: {why}", **rest)


def body(scene: Scene, old: str = "", new: str = "", issuer: Key | None = None) -> str:
    """A user JWT with a change in the text of its claims."""
    text = json.dumps(scene.user_claims(issuer), separators=(",", ":"))
    assert old in text
    return token(text.replace(old, new, 1).encode(), issuer or scene.key)


def claims(scene: Scene) -> bytes:
    return json.dumps(scene.user_claims()).encode()


def some_tags(count: int) -> list[str]:
    return [f"t{number:06}" for number in range(count)]


def nested(scene: Scene, containers: int) -> Chain:
    """A user JWT with so many containers one in another."""
    inner = containers - 1  # the claims are one
    return scene.chain(user=body(scene, '"iat"', f'"zzz":{"[" * inner}{"]" * inner},"iat"'))


def header(scene: Scene, value: Mapping[str, Any] | bytes) -> str:
    return token(scene.user_claims(), scene.key, value)


def part(text: str, index: int, change: Callable[[str], str]) -> str:
    parts = text.split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def other_spare_bits(text: str) -> str:
    return text[:-1] + ALPHABET[ALPHABET.index(text[-1]) + 1]


def mistyped(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


def with_s_plus_l(signature: str) -> str:
    raw = decode_b64(signature)
    return b64(raw[:32] + (int.from_bytes(raw[32:], "little") + L).to_bytes(32, "little"))


def decode_b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def renamed(text: str) -> str:
    return b64(decode_b64(text).replace(b"alice", b"malic"))


def with_line_feed(text: str) -> str:
    return text[:9] + "\n" + text[9:]


def flipped(text: str, at: int = 5) -> str:
    raw = bytearray(decode_b64(text))
    raw[at] ^= 1
    return b64(bytes(raw))


# Issuers (T-2 to T-4)

row("T-3", "signing keys all the way", lambda s: s.chain(), gives={"name": "alice", "role": ""})
row(
    "T-3",
    "identity keys all the way, allowed by policy",
    lambda s: s.chain(
        account=s.account_jwt(issuer=s.operator),
        user=s.user_jwt(s.account),
        policy=replace(s.policy, operator_identity_issues=True),
    ),
)
stricter(
    "T-3",
    "account by the operator's identity",
    "identity_issuer",
    "a stolen identity must not issue accounts",
    lambda s: s.chain(account=s.account_jwt(issuer=s.operator)),
)
both_refuse(
    "T-3",
    "account by the operator's identity, strict operator",
    "identity_issuer",
    lambda s: s.chain(
        operator=s.operator_jwt(strict_signing_key_usage=True),
        account=s.account_jwt(issuer=s.operator),
        policy=replace(s.policy, operator_identity_issues=True),
    ),
)
stricter(
    "T-3",
    "operator lists its identity as a signing key, strict",
    "identity_issuer",
    "the identity stays the identity",
    lambda s: s.chain(
        operator=s.operator_jwt([s.operator, s.operator_key], strict_signing_key_usage=True),
        account=s.account_jwt(issuer=s.operator),
    ),
)
stricter(
    "T-4",
    "account lists its identity as a signing key, strict",
    "identity_issuer",
    "the identity stays the identity",
    lambda s: s.chain(
        operator=s.operator_jwt(strict_signing_key_usage=True),
        account=s.account_jwt(s.key, s.account),
        user=s.user_jwt(s.account),
    ),
)
stricter(
    "T-4",
    "account lists its identity as a signing key, forbidden by policy",
    "identity_issuer",
    "the identity stays the identity",
    lambda s: s.chain(
        account=s.account_jwt(s.key, s.account),
        user=s.user_jwt(s.account),
        policy=replace(s.policy, account_identity_issues=False),
    ),
)
row(
    "T-4",
    "account lists its identity as a scoped key, user with limits",
    lambda s: s.chain(
        account=s.account_jwt(s.key, s.scope("reader", s.account)),
        user=s.user_jwt(s.account, pub={"allow": ["b"]}),
    ),
    sends={"a": False, "b": True},
)
row(
    "T-4",
    "account lists its identity as a scoped key, whose template has no effect",
    lambda s: s.chain(
        account=s.account_jwt(s.key, s.scope("reader", s.account, pub={"allow": ["b"]})),
        user=s.user_jwt(s.account),
    ),
    sends={"a": True, "b": True},
)
row("T-4", "user by the account's identity", lambda s: s.chain(user=s.user_jwt(s.account)))
row(
    "T-4",
    "user by the account's identity, no issuer_account",
    lambda s: s.chain(user=s.user_jwt(s.account, issuer_account="")),
)
stricter(
    "T-4",
    "user by the account's identity, forbidden by policy",
    "identity_issuer",
    "the reader's policy",
    lambda s: s.chain(
        user=s.user_jwt(s.account), policy=replace(s.policy, account_identity_issues=False)
    ),
)
both_refuse(
    "T-4",
    "user by the account's identity, strict operator",
    "identity_issuer",
    lambda s: s.chain(
        operator=s.operator_jwt(strict_signing_key_usage=True), user=s.user_jwt(s.account)
    ),
)
both_refuse(
    "T-4",
    "user by the account's identity, strict operator, no signing key",
    "identity_issuer",
    lambda s: s.chain(
        operator=s.operator_jwt(strict_signing_key_usage=True),
        account=token(
            {**s.account_claims(), "nats": s.account_claims()["nats"] | {"signing_keys": []}},
            s.operator_key,
        ),
        user=s.user_jwt(s.account),
    ),
)
row(
    "T-4",
    "user by a signing key, strict operator",
    lambda s: s.chain(operator=s.operator_jwt(strict_signing_key_usage=True)),
)
both_refuse(
    "T-3",
    "account by another operator",
    "wrong_issuer",
    lambda s: s.chain(account=s.account_jwt(issuer=s.other_operator)),
)
both_refuse(
    "T-3",
    "account by itself",
    "wrong_issuer",
    lambda s: s.chain(account=s.account_jwt(issuer=s.account)),
)
both_refuse(
    "T-3",
    "account JWT of another account",
    "wrong_account",
    lambda s: s.chain(
        account=token(s.account_claims() | {"sub": s.stranger.public}, s.operator_key),
        user=s.user_jwt(issuer_account=s.account.public),
    ),
)
stricter(
    "T-2",
    "operator by its own signing key",
    "untrusted_operator",
    "whoever lists his own key could forge it; the server trusts its configuration",
    lambda s: s.chain(
        operator=token(
            s.operator_claims() | {"iss": s.operator_key.public, "aud": "own"}, s.operator_key
        )
    ),
)
stricter(
    "T-2",
    "operator by a stranger",
    "untrusted_operator",
    "the anchor has to issue it; the server trusts its configuration",
    lambda s: s.chain(
        operator=token(s.operator_claims() | {"iss": s.other_operator.public}, s.other_operator)
    ),
)
stricter(
    "T-2",
    "operator that is not an anchor",
    "untrusted_operator",
    "the reader's configuration",
    lambda s: s.chain(policy=replace(s.policy, anchors=frozenset({s.other_operator.public}))),
)
row(
    "T-2",
    "new operator identity with the same signing key",
    lambda s: s.chain(operator=s.other_operator_jwt(), policy=s.other_policy),
)
stricter(
    "T-2",
    "operator expired",
    "expired_claim",
    "the server never looks",
    lambda s: s.chain(operator=s.operator_jwt(top={"exp": s.now - 5})),
)
stricter(
    "T-6",
    "operator nbf in the future",
    "not_yet_valid",
    "the server never looks",
    lambda s: s.chain(operator=s.operator_jwt(top={"nbf": s.now + 600})),
)
both_refuse(
    "T-4", "user by an unlisted key", "wrong_issuer", lambda s: s.chain(user=s.user_jwt(s.stranger))
)
both_refuse(
    "T-4",
    "user by a signing key, no issuer_account",
    "wrong_account",
    lambda s: s.chain(user=s.user_jwt(issuer_account="")),
)
both_refuse(
    "T-4",
    "user by a signing key, issuer_account of another",
    "wrong_account",
    lambda s: s.chain(user=s.user_jwt(issuer_account=s.stranger.public)),
)
both_refuse(
    "T-4",
    "user by an operator key",
    "wrong_issuer",
    lambda s: s.chain(user=s.user_jwt(s.operator_key)),
)
both_refuse("T-4", "user by itself", "wrong_issuer", lambda s: s.chain(user=s.user_jwt(s.user)))
both_refuse(
    "T-4",
    "user by its key, written as an account's",
    "wrong_issuer",
    lambda s: s.chain(
        user=token(s.user_claims() | {"iss": s.user.as_kind(Prefix.ACCOUNT)}, s.user)
    ),
)

# Times and revocation (T-6)

both_refuse(
    "T-6",
    "user expired",
    "expired_claim",
    lambda s: s.chain(user=s.user_jwt(top={"exp": s.now - 5})),
)
row("T-6", "user expires later", lambda s: s.chain(user=s.user_jwt(top={"exp": s.now + 600})))
row("T-6", "user exp zero", lambda s: s.chain(user=s.user_jwt(top={"exp": 0})))
both_refuse(
    "T-6",
    "user nbf in the future",
    "not_yet_valid",
    lambda s: s.chain(user=s.user_jwt(top={"nbf": s.now + 600})),
)
row("T-6", "user nbf passed", lambda s: s.chain(user=s.user_jwt(top={"nbf": s.now - 5})))
row("T-1", "user iat within the skew", lambda s: s.chain(user=s.user_jwt(top={"iat": s.now + 20})))
stricter(
    "T-1",
    "user iat in the future",
    "future_claim",
    "its mark would lock out honest claims until then",
    lambda s: s.chain(user=s.user_jwt(top={"iat": s.now + YEAR})),
)
stricter(
    "T-1",
    "account iat in the future",
    "future_claim",
    "its mark would lock out honest claims until then",
    lambda s: s.chain(account=s.account_jwt(top={"iat": s.now + YEAR})),
)
stricter(
    "T-1",
    "user iat missing",
    "malformed_claim",
    "rollback and revocation need it",
    lambda s: s.chain(user=s.user_jwt(top={"iat": 0})),
)
both_refuse(
    "T-6",
    "account expired",
    "expired_claim",
    lambda s: s.chain(account=s.account_jwt(top={"exp": s.now - 5})),
)
both_refuse(
    "T-6",
    "account nbf in the future",
    "not_yet_valid",
    lambda s: s.chain(account=s.account_jwt(top={"nbf": s.now + 600})),
)


def revoked(name: str, at: Mapping[str, int], *, refused: bool = True) -> None:
    """A user of iat 1,000 s ago under revocations at so many seconds after that."""

    def make(s: Scene) -> Chain:
        keys = {"user": s.user.public, "xkey": str(s.xkey.public), "*": "*"}
        entries = {keys[key]: s.now - 1000 + after for key, after in at.items()}
        return s.chain(account=s.account_jwt(revocations=entries))

    verdict = {"server": REFUSED, "ours": "revoked"} if refused else {}
    row("T-6", name, make, **verdict)


revoked("revoked by key at its iat", {"user": 0})
revoked("revoked by key after its iat", {"user": 5})
revoked("revoked by key before its iat", {"user": -1}, refused=False)
revoked("revoked by * at its iat", {"*": 0})
revoked("revoked by * before its iat", {"*": -1}, refused=False)
revoked("revoked by *, older entry by key", {"*": 0, "user": -9})
revoked("revoked by key, older entry by *", {"*": -9, "user": 0})
revoked("an xkey in revocations", {"xkey": 500}, refused=False)

# Scoped keys (T-4, T-5, names)

row(
    "T-4",
    "scoped key, empty user",
    lambda s: s.chain(account=s.scoped_account(), user=s.scoped_user()),
    gives={"name": "reader:alice", "role": "reader"},
)
row(
    "T-4",
    "scoped key, zeros for limits",
    lambda s: s.chain(account=s.scoped_account(), user=s.scoped_user(subs=0, src=None)),
)


def scoped_with(what: str, **nats: Any) -> None:
    both_refuse(
        "T-4",
        f"scoped key, user with {what}",
        "excessive_claim",
        lambda s: s.chain(account=s.scoped_account(), user=s.scoped_user(**nats)),
    )


scoped_with("limits of -1", subs=-1, data=-1, payload=-1)
scoped_with("pub", pub={"allow": ["x"]})
scoped_with("an empty list in pub", pub={"allow": []})
scoped_with("sub", sub={"deny": ["x"]})
scoped_with("responses", resp={"max": 1, "ttl": 0})
scoped_with("bearer", bearer_token=True)
scoped_with("a source", src=["127.0.0.1/32"])
scoped_with("times", times=[{"start": "00:00:00", "end": "23:59:59"}])
scoped_with("an empty list of times", times=[])
row(
    "T-5",
    "scoped key, permission without a grant",
    lambda s: s.chain(account=s.scoped_account(), user=s.scoped_user(tags=["perm:audit"])),
    gives={"permissions": [], "ungranted": ["audit"]},
)
row(
    "T-5",
    "scoped key, permissions, one of them granted",
    lambda s: s.chain(
        account=s.scoped_account(tags=["grant:reader:billing", "grant:other:audit"]),
        user=s.scoped_user(tags=["perm:audit", "perm:billing"]),
    ),
    gives={"permissions": ["billing"], "ungranted": ["audit"]},
)


def role_without_grants(role: str, what: str) -> None:
    row(
        "T-5",
        f"scoped key, role {what}",
        lambda s: s.chain(
            account=s.scoped_account(
                role=role, tags=[f"grant:{role}:audit", "grant:reader:audit", "grant:a:b:audit"]
            ),
            user=s.scoped_user(tags=["perm:audit"]),
        ),
        gives={"permissions": [], "name": ""},
    )


role_without_grants("", "empty")
role_without_grants("Reader", "in upper case")
role_without_grants("a:b", "with a colon")
role_without_grants("reader ", "with a space")
role_without_grants("reader\n", "with a line feed")
role_without_grants("r\u0435ader", "with a Cyrillic letter")
row(
    "T-5",
    "two scoped keys of one role share its grants",
    lambda s: s.chain(
        account=s.account_jwt(
            s.scope("reader", s.second), s.scope("reader"), tags=["grant:reader:audit"]
        ),
        user=s.scoped_user(tags=["perm:audit"]),
    ),
    gives={"permissions": ["audit"]},
)
both_refuse(
    "T-3",
    "scoped key of an unknown kind",
    "malformed_claim",
    lambda s: s.chain(account=s.account_jwt({**s.scope(), "kind": "other"}), user=s.scoped_user()),
)
stricter(
    "T-3",
    "a key listed plain, then scoped",
    "malformed_claim",
    "the server takes the last; which one counts must not depend on the reader",
    lambda s: s.chain(account=s.account_jwt(s.scoped, s.scope()), user=s.scoped_user()),
)
stricter(
    "T-3",
    "a key listed scoped, then plain",
    "malformed_claim",
    "the server takes the last; which one counts must not depend on the reader",
    lambda s: s.chain(
        account=s.account_jwt(s.scope(), s.scoped),
        user=s.scoped_user(**NO_LIMITS),
    ),
)
stricter(
    "T-3",
    "a number among the signing keys",
    "malformed_claim",
    "the server ignores it",
    lambda s: s.chain(account=s.account_jwt(s.key, 7)),
)
both_refuse(
    "T-3",
    "a user key among the signing keys",
    "malformed_claim",
    lambda s: s.chain(account=s.account_jwt(s.key, s.user.public)),
)
row(
    "T-5",
    "tags in upper case",
    lambda s: s.chain(user=s.user_jwt(tags=["Perm:Billing", "perm:Audit", "PERM:x", "perm:ok"])),
    gives={"permissions": ["ok"], "ungranted": []},
)
row(
    "T-5",
    "tags that are not permissions",
    lambda s: s.chain(
        user=s.user_jwt(
            tags=[
                "perm:",
                "perm:*",
                "perm:>",
                "perm:a b",
                "perm:a\n",
                " perm:a",
                "perm:a:b",
                "perm",
            ]
        )
    ),
    gives={"permissions": [], "ungranted": []},
)
row(
    "T-5",
    "grant tags on a user grant nothing",
    lambda s: s.chain(
        account=s.scoped_account(), user=s.scoped_user(tags=["grant:reader:audit", "perm:audit"])
    ),
    gives={"permissions": []},
)

# Sending (T-8)


def sending(
    name: str,
    sends: Mapping[str, bool],
    *,
    account: Mapping[str, Any] | None = None,
    template: Mapping[str, Any] | None = None,
    top: Mapping[str, Any] | None = None,
    server: Mapping[str, bool] | None = None,
    why: str = "",
    **nats: Any,
) -> None:
    def make(s: Scene) -> Chain:
        if template is None:
            return s.chain(
                account=s.account_jwt(**(account or {})), user=s.user_jwt(top=top or {}, **nats)
            )
        return s.chain(
            account=s.account_jwt(s.scope(**template), **(account or {})),
            user=s.scoped_user(top or {}, **nats),
        )

    row(
        "T-8",
        name,
        make,
        sends=sends,
        server_sends=server or {},
        relation=f"stricter: {why}" if why else "agrees",
    )


sending("no permissions", {"a.b": True})
sending("allow", {"a": True, "b": False, "a.b": False}, pub={"allow": ["a"]})
sending(
    "allow with wildcards",
    {"a.b": True, "a.b.c": False, "x.b.c": True, "x": False},
    pub={"allow": ["a.*", "x.>"]},
)
sending("deny wins", {"a.b": True, "a.c": False}, pub={"allow": ["a.*"], "deny": ["a.c"]})
sending("deny alone", {"a": True, "b": False}, pub={"deny": ["b"]})
sending("only sub permissions", {"a": True}, sub={"allow": ["x"]})
sending("response permissions allow nothing else", {"a": False}, resp={"max": 1, "ttl": 0})
sending(
    "response permissions with allow",
    {"a": True, "b": False},
    resp={"max": 1, "ttl": 0},
    pub={"allow": ["a"]},
)
sending(
    "default permissions",
    {"a": True, "b": False},
    account={"default_permissions": {"pub": {"deny": ["b"]}, "sub": {}}},
)
sending(
    "default permissions, own ones instead",
    {"a": True, "b": True},
    account={"default_permissions": {"pub": {"deny": ["b"]}, "sub": {}}},
    sub={"allow": [">"]},
)
sending(
    "default permissions of a scoped user without a template",
    {"a": True, "b": False},
    account={"default_permissions": {"pub": {"deny": ["b"]}, "sub": {}}},
    template={},
)
sending("template", {"a": True, "b": False}, template={"pub": {"allow": ["a"]}})
sending("a sealed subject outside pub", {"ehr.1": False}, template={"pub": {"allow": ["in.>"]}})
sending(
    "template with name(), user named >",
    {"who.bob": False, "in.x": True},
    template={"pub": {"allow": ["who.{{name()}}", "in.>"]}},
    top={"name": ">"},
    server={"who.bob": True},
    why="the issuer chooses the name",
)
sending(
    "template with tag(perm), tag perm:*",
    {"ehr.audit.x": False},
    template={"pub": {"allow": ["ehr.{{tag(perm)}}.>"]}},
    tags=["perm:*"],
    server={"ehr.audit.x": True},
    why="the issuer chooses the tag",
)
sending(
    "template with tag(perm), honest",
    {"ehr.audit.x": False},
    template={"pub": {"allow": ["ehr.{{tag(perm)}}.>"]}},
    tags=["perm:audit"],
    server={"ehr.audit.x": True},
    why="the issuer chooses the tag",
)
sending(
    "template with name() in deny",
    {"a": False},
    template={"pub": {"deny": ["who.{{name()}}"]}},
    top={"name": "bob"},
    server={"a": True},
    why="the issuer chooses the name",
)
sending(
    "template with subject() in another spelling",
    {"{user}": False},
    template={"pub": {"allow": ["{{ SUBJECT() }}"]}},
    server={"{user}": True},
    why="one spelling",
)
row(
    "T-8",
    "template with subject() and account-subject()",
    lambda s: s.chain(
        account=s.scoped_account(pub={"allow": ["e.{{account-subject()}}.{{subject()}}"]}),
        user=s.scoped_user(),
    ),
    sends={"e.x.y": False, "e.{account}.{user}": True, "e.{account}.x": False},
)
both_refuse(
    "T-8",
    "invalid pattern in allow",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(pub={"allow": ["a..b"]})),
)
row(
    "T-8",
    "a queue in sub",
    lambda s: s.chain(user=s.user_jwt(sub={"allow": ["a q", "b"]})),
)
both_refuse(
    "T-8",
    "invalid pattern in sub",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(sub={"deny": ["a b c"]})),
)
both_refuse(
    "T-8",
    "invalid pattern in default permissions",
    "malformed_claim",
    lambda s: s.chain(account=s.account_jwt(default_permissions={"pub": {"deny": [".a"]}})),
)
both_refuse(
    "T-8",
    "a queue in pub",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(pub={"deny": ["a q"]})),
)

# What a message cannot tell


def connection(what: str, verdict: str, **nats: Any) -> None:
    row(
        "T-4",
        f"connection: {what}",
        lambda s: s.chain(user=s.user_jwt(**nats)),
        server=verdict,
        relation="agrees"
        if verdict == ADMITTED
        else "not ours: of the connection, not the message",
    )


connection("src elsewhere", REFUSED, src=["10.0.0.0/8"])
connection("src here", ADMITTED, src=["127.0.0.1/32"])
connection("times past", REFUSED, times=[{"start": "00:00:00", "end": "00:00:01"}])
connection("WebSocket only", REFUSED, allowed_connection_types=["WEBSOCKET"])
connection("proxy required", REFUSED, proxy_required=True)
row(
    "T-3",
    "account with an import that is not valid",
    lambda s: s.chain(
        account=s.account_jwt(imports=[{"subject": "a..b", "account": "x", "type": 1}])
    ),
    server=REFUSED,
    relation="not ours: exports, imports and limits are of the broker, not of who is who",
)
row(
    "T-4",
    "bearer, no signature",
    lambda s: s.chain(user=s.user_jwt(bearer_token=True)),
    signs=False,
    gives={"bearer": True},
)
row(
    "T-4",
    "bearer by a template, no signature",
    lambda s: s.chain(account=s.scoped_account(bearer_token=True), user=s.scoped_user()),
    signs=False,
    gives={"bearer": True},
)
both_refuse(
    "T-4",
    "bearer, forbidden by the account",
    "excessive_claim",
    lambda s: s.chain(
        account=s.account_jwt(
            limits=s.account_claims()["nats"]["limits"] | {"disallow_bearer": True}
        ),
        user=s.user_jwt(bearer_token=True),
    ),
    signs=False,
)
both_refuse(
    "T-4",
    "bearer by a template, forbidden by the account",
    "excessive_claim",
    lambda s: s.chain(
        account=s.account_jwt(
            s.scope(bearer_token=True),
            limits=s.account_claims()["nats"]["limits"] | {"disallow_bearer": True},
        ),
        user=s.scoped_user(),
    ),
    signs=False,
)

# Signatures (T-1)

both_refuse(
    "T-1",
    "claims tampered",
    "malformed_claim",
    lambda s: s.chain(user=part(s.user_jwt(), 1, lambda t: flipped(t, 0))),
)
both_refuse(
    "T-1", "name tampered", "bad_signature", lambda s: s.chain(user=part(s.user_jwt(), 1, renamed))
)
both_refuse(
    "T-1",
    "signature tampered",
    "bad_signature",
    lambda s: s.chain(user=part(s.user_jwt(), 2, flipped)),
)
both_refuse(
    "T-1",
    "signature of zeros",
    "bad_signature",
    lambda s: s.chain(user=part(s.user_jwt(), 2, lambda _: b64(bytes(64)))),
)
both_refuse(
    "T-1",
    "signature empty",
    "bad_signature",
    lambda s: s.chain(user=part(s.user_jwt(), 2, lambda _: "")),
)
both_refuse(
    "T-1",
    "signature with s plus the group order",
    "bad_signature",
    lambda s: s.chain(user=part(s.user_jwt(), 2, with_s_plus_l)),
)
stricter(
    "T-1",
    "signature with other spare bits",
    "malformed_claim",
    "else anyone makes other texts of one claim",
    lambda s: s.chain(user=part(s.user_jwt(), 2, other_spare_bits)),
)
stricter(
    "T-1",
    "line feed inside the signature",
    "malformed_claim",
    "else anyone makes other texts of one claim; Go ignores it",
    lambda s: s.chain(user=part(s.user_jwt(), 2, with_line_feed)),
)
both_refuse(
    "T-1",
    "line feed inside the claims",
    "malformed_claim",
    lambda s: s.chain(user=part(s.user_jwt(), 1, with_line_feed)),
)
both_refuse(
    "T-1",
    "padding after the signature",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt() + "=="),
)
both_refuse(
    "T-1",
    "the standard alphabet",
    "malformed_claim",
    lambda s: s.chain(user=part(s.user_jwt(), 2, lambda t: "+/" + t[2:])),
)
both_refuse("T-1", "four parts", "malformed_claim", lambda s: s.chain(user=s.user_jwt() + "."))
both_refuse(
    "T-1", "two parts", "malformed_claim", lambda s: s.chain(user=s.user_jwt().rpartition(".")[0])
)
both_refuse(
    "T-1",
    "account tampered",
    "bad_signature",
    lambda s: s.chain(account=part(s.account_jwt(), 2, flipped)),
)
both_refuse(
    "T-1",
    "operator tampered",
    "bad_signature",
    lambda s: s.chain(operator=part(s.operator_jwt(), 2, flipped)),
)


def by_small_order(s: Scene, raw: bytes) -> Chain:
    """A user that nobody issued, under an account that lists a key of small order."""
    issuer = encode_public(Prefix.ACCOUNT, raw)
    text = ".".join(
        b64(json.dumps(each).encode()) for each in (HEADER, s.user_claims() | {"iss": issuer})
    )
    user = f"{text}.{b64(by_small_order_key(raw, text.encode()))}"
    return s.chain(account=s.account_jwt(issuer), user=user)


stricter(
    "T-1",
    "signing key of order 1",
    "bad_signature",
    "anybody can sign for it",
    lambda s: by_small_order(s, (1).to_bytes(32, "little")),
)
stricter(
    "T-1",
    "signing key of order 4",
    "bad_signature",
    "anybody can sign for it",
    lambda s: by_small_order(s, bytes(32)),
)

# Headers and JSON (T-1)


def other_header(what: str, value: Mapping[str, Any] | bytes) -> None:
    stricter(
        "T-1",
        f"header {what}",
        "malformed_claim",
        "one header",
        lambda s: s.chain(user=header(s, value)),
    )


other_header("alg ed25519", {"typ": "JWT", "alg": "ed25519"})
other_header("alg in upper case", {"typ": "JWT", "alg": "ED25519-NKEY"})
other_header("typ jwt", {"typ": "jwt", "alg": "ed25519-nkey"})
other_header("with kid", HEADER | {"kid": "x"})
other_header("with a repeated name", b'{"typ":"JWT","alg":"none","alg":"ed25519-nkey"}')
other_header("with names in upper case", {"TYP": "JWT", "ALG": "ed25519-nkey"})
row(
    "T-1",
    "header in other order",
    lambda s: s.chain(user=header(s, {"alg": "ed25519-nkey", "typ": "JWT"})),
)
both_refuse(
    "T-1",
    "header alg none",
    "malformed_claim",
    lambda s: s.chain(user=header(s, {"typ": "JWT", "alg": "none"})),
)
both_refuse(
    "T-1",
    "header of a certificate",
    "malformed_claim",
    lambda s: s.chain(user=header(s, {"typ": "JWT", "alg": "ed25519-xkey"})),
)
both_refuse(
    "T-1", "certificate as a login", "malformed_claim", lambda s: s.chain(user=s.certificate())
)


def version_1(s: Scene) -> str:
    """Type at the top, and a signature over the claims alone."""
    claims = s.user_claims()
    old = {name: claims[name] for name in ("jti", "iat", "iss", "name", "sub")}
    old |= {"type": "user", "issuer_account": s.account.public, "nats": {"pub": {}, "sub": {}}}
    old_header, text = (
        b64(json.dumps(each).encode()) for each in ({"typ": "jwt", "alg": "ed25519"}, old)
    )
    return f"{old_header}.{text}.{b64(s.key.sign(text.encode()))}"


stricter(
    "T-1",
    "version 1",
    "malformed_claim",
    "its signature does not reach the header",
    lambda s: s.chain(user=version_1(s)),
)


def malformed(what: str, **nats: Any) -> None:
    both_refuse(
        "T-1", f"user {what}", "malformed_claim", lambda s: s.chain(user=s.user_jwt(**nats))
    )


malformed("version 3", version=3)
malformed("version 1 inside", version=1)
malformed("version a text", version="2")
malformed("type account", type="account")
malformed("type xkey", type="xkey")
malformed("type activation", type="activation")
malformed("tags not a list", tags="perm:x")
malformed("a tag not text", tags=[1])
malformed("bearer a text", bearer_token="true")
malformed("pub a list", pub=[])
malformed("allow a text", pub={"allow": "x"})
malformed("issuer_account a number", issuer_account=7)
both_refuse(
    "T-1",
    "user without version",
    "malformed_claim",
    lambda s: s.chain(user=body(s, ',"version":2')),
)
both_refuse(
    "T-1",
    "type also at the top",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"type": "account"})),
)
stricter(
    "T-1",
    "repeated name",
    "malformed_claim",
    "Go takes the last, others the first",
    lambda s: s.chain(user=body(s, '{"jti"', '{"sub":"UBAD","jti"')),
)
stricter(
    "T-1",
    "repeated name inside",
    "malformed_claim",
    "Go takes the last, others the first",
    lambda s: s.chain(user=body(s, '"pub":{}', '"pub":{"allow":["a"]},"pub":{}')),
)
stricter(
    "T-1",
    "names in other case at the top",
    "malformed_claim",
    "Go takes `SUB` for `sub`; others see two names",
    lambda s: s.chain(user=body(s, '"sub"', '"SUB"')),
)
stricter(
    "T-1",
    "second name in other case",
    "malformed_claim",
    "Go takes `Exp` for `exp`; others see a claim without an end",
    lambda s: s.chain(user=s.user_jwt(top={"Exp": s.now + 600})),
)
stricter(
    "T-1",
    "a name with a long s",
    "malformed_claim",
    "Go takes `i\u017fs` for `iss`",
    lambda s: s.chain(user=s.user_jwt(top={"i\u017f\u017f": s.key.public})),
)
stricter(
    "T-1",
    "tags in other case",
    "malformed_claim",
    "Go takes `Tags` for `tags`",
    lambda s: s.chain(user=s.user_jwt(Tags=["perm:x"])),
)
stricter(
    "T-1",
    "revocations in other case",
    "malformed_claim",
    "Go takes `Limits` for `limits`, others miss it",
    lambda s: s.chain(account=s.account_jwt(Revocations={})),
)
both_refuse(
    "T-1",
    "exp a float",
    "malformed_claim",
    lambda s: s.chain(user=body(s, '"iat"', '"exp":1e12,"iat"')),
)
both_refuse(
    "T-1",
    "exp a text",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"exp": "99999999999"})),
)
both_refuse(
    "T-1",
    "exp beyond 64 bits",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"exp": 2**63})),
)
both_refuse(
    "T-1", "exp negative", "malformed_claim", lambda s: s.chain(user=s.user_jwt(top={"exp": -5}))
)
both_refuse(
    "T-1", "exp true", "malformed_claim", lambda s: s.chain(user=s.user_jwt(top={"exp": True}))
)
stricter(
    "T-1",
    "exp null",
    "malformed_claim",
    "a time is a number or absent",
    lambda s: s.chain(user=s.user_jwt(top={"exp": None})),
)
both_refuse(
    "T-1", "aud a list", "malformed_claim", lambda s: s.chain(user=s.user_jwt(top={"aud": ["x"]}))
)
stricter(
    "T-1",
    "an unknown claim that is a float",
    "malformed_claim",
    "no number but integers",
    lambda s: s.chain(user=s.user_jwt(top={"zzz": 1.5})),
)
row("T-1", "unknown claims", lambda s: s.chain(user=s.user_jwt(top={"zzz": 1}, future={"a": [1]})))
row("T-1", "white space around the claims", lambda s: s.chain(user=body(s, '{"jti"', ' \n{"jti"')))
both_refuse(
    "T-1",
    "bytes after the claims",
    "malformed_claim",
    lambda s: s.chain(user=token(claims(s) + b" {}", s.key)),
)
both_refuse("T-1", "claims a list", "malformed_claim", lambda s: s.chain(user=token(b"[]", s.key)))
both_refuse("T-1", "claims empty", "malformed_claim", lambda s: s.chain(user=token(b"", s.key)))
both_refuse(
    "T-1",
    "byte order mark",
    "malformed_claim",
    lambda s: s.chain(user=token(b"\xef\xbb\xbf" + claims(s), s.key)),
)
stricter(
    "T-1",
    "invalid UTF-8 in the name",
    "malformed_claim",
    "not text",
    lambda s: s.chain(user=token(claims(s).replace(b"alice", b"\xff"), s.key)),
)
stricter(
    "T-1",
    "a lone surrogate in the name",
    "malformed_claim",
    "not text",
    lambda s: s.chain(user=body(s, "alice", "\\ud800")),
)
row(
    "T-1",
    "a pair of surrogates in the name",
    lambda s: s.chain(user=body(s, "alice", "\\ud83d\\ude00")),
    gives={"name": "\U0001f600"},
)
row("T-1", "32 containers", lambda s: nested(s, 32))
stricter("T-1", "33 containers", "malformed_claim", "depth is bounded", lambda s: nested(s, 33))
row(
    "T-1",
    "brackets in text are not containers",
    lambda s: s.chain(user=s.user_jwt(tags=["[" * 200, '"{\\' * 60])),
)
stricter(
    "T-1",
    "5,000 containers",
    "malformed_claim",
    "depth is bounded",
    lambda s: nested(s, 5000),
    large=True,
)
both_refuse(
    "T-1",
    "sub in lower case",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"sub": s.user.public.lower()})),
)
both_refuse(
    "T-1",
    "sub an account key",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"sub": s.stranger.public})),
)
both_refuse(
    "T-1",
    "sub with a wrong checksum",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(top={"sub": mistyped(s.user.public)})),
)
stricter(
    "T-1",
    "sub the all-zero user key",
    "malformed_claim",
    "it stands for a key without a user",
    lambda s: s.chain(
        user=s.user_jwt(top={"sub": encode_public(Prefix.USER, bytes(32))}, bearer_token=True)
    ),
    signs=False,
)
stricter(
    "T-1",
    "user JWT above 16 KiB",
    "malformed_claim",
    "sizes are bounded",
    lambda s: s.chain(user=s.user_jwt(tags=some_tags(1300))),
    large=True,
)
row(
    "T-1",
    "user JWT below 16 KiB",
    lambda s: s.chain(user=s.user_jwt(tags=some_tags(1150))),
    large=True,
)
both_refuse(
    "T-1",
    "user JWT of 200 kB",
    "malformed_claim",
    lambda s: s.chain(user=s.user_jwt(tags=some_tags(15_000))),
    large=True,
)
row(
    "T-6",
    "account with 700 revocations of others",
    lambda s: s.chain(account=s.account_jwt(revocations=dict.fromkeys(MANY_USERS, s.now))),
    large=True,
)

# Names


def naming(what: str, name: str, result: str) -> None:
    row(
        "T-10",
        f"name {what}",
        lambda s: s.chain(user=s.user_jwt(top={"name": name})),
        gives={"name": result},
    )


naming("unicode", "zürich-labor", "zürich-labor")
naming("missing", "", "")
naming("with a colon", "reader:alice", "")
naming("with a slash", "insurer/claims", "")
naming("a wildcard", ">", "")
naming("with white space", "a b", "")
naming("with a line feed", "a\n", "")
naming("with a control character", "a\x07", "")
naming("with a direction mark", "a\u202eb", "")
naming("with a zero-width space", "a\u200bb", "")
naming("with a variation selector", "a\ufe0f", "")
naming("with a Hangul filler", "a\u3164", "")
naming("with a full-width colon", "reader\uff1aalice", "")
naming("not in NFC", "e\u0301", "")
naming("of 64 characters", "a1" * 32, "a1" * 32)
naming("of 65 characters", "a1" * 32 + "b", "")
row(
    "T-10",
    "name like a key",
    lambda s: s.chain(user=s.user_jwt(top={"name": s.account.public})),
    gives={"name": ""},
)
row(
    "T-10",
    "a scoped user cannot leave its name space",
    lambda s: s.chain(account=s.scoped_account(), user=s.scoped_user({"name": "admin:alice"})),
    gives={"name": ""},
)

# Certificates (T-7): of ours alone; the server is asked about the login, which is honest.


LOGIN_ONLY: Final = "the login is honest, and servers know no certificates"


def certificate(name: str, code: str, make: Callable[[Scene], str]) -> None:
    relation = "agrees" if code == ADMITTED else f"stricter: {LOGIN_ONLY}"
    row(
        "T-7",
        f"certificate {name}",
        lambda s: s.chain(certificate=make(s)),
        ours=code,
        relation=relation,
    )


certificate("honest", ADMITTED, lambda s: s.certificate())
certificate(
    "by another user",
    "wrong_issuer",
    lambda s: s.certificate(Key(Prefix.USER, "b"), iss=Key(Prefix.USER, "b").public),
)
certificate(
    "by another key than it says", "bad_signature", lambda s: s.certificate(Key(Prefix.USER, "b"))
)
certificate(
    "by the account", "wrong_issuer", lambda s: s.certificate(s.account, iss=s.account.public)
)
certificate(
    "for another account",
    "wrong_account",
    lambda s: s.certificate(
        nats={"type": "xkey", "version": 2, "issuer_account": s.stranger.public}
    ),
)
certificate(
    "for no account",
    "malformed_claim",
    lambda s: s.certificate(nats={"type": "xkey", "version": 2}),
)
certificate(
    "without exp",
    "malformed_claim",
    lambda s: token(
        {k: v for k, v in s.certificate_claims().items() if k != "exp"}, s.user, XKEY_HEADER, DOMAIN
    ),
)
certificate(
    "without nbf",
    "malformed_claim",
    lambda s: token(
        {k: v for k, v in s.certificate_claims().items() if k != "nbf"}, s.user, XKEY_HEADER, DOMAIN
    ),
)
certificate("with exp zero", "certificate_life", lambda s: s.certificate(exp=0))
certificate(
    "that ends before it begins",
    "certificate_life",
    lambda s: s.certificate(nbf=s.now + 5, exp=s.now + 4),
)
certificate(
    "for 30 days", ADMITTED, lambda s: s.certificate(nbf=s.now - 60, exp=s.now - 60 + 30 * 86_400)
)
certificate(
    "for a second more than 30 days",
    "certificate_life",
    lambda s: s.certificate(nbf=s.now - 60, exp=s.now - 59 + 30 * 86_400),
)
certificate("expired", "expired_claim", lambda s: s.certificate(nbf=s.now - 900, exp=s.now - 5))
certificate("not yet valid", "not_yet_valid", lambda s: s.certificate(nbf=s.now + 600))
certificate("issued in the future", "future_claim", lambda s: s.certificate(iat=s.now + 600))
certificate("with a name", "malformed_claim", lambda s: s.certificate(name="alice"))
certificate(
    "with another member",
    "malformed_claim",
    lambda s: s.certificate(nats=s.certificate_claims()["nats"] | {"x": 1}),
)
certificate(
    "of a key of small order",
    "malformed_claim",
    lambda s: s.certificate(sub=encode_public(Prefix.CURVE, bytes(32))),
)
certificate(
    "without the signing domain",
    "bad_signature",
    lambda s: token(s.certificate_claims(), s.user, XKEY_HEADER),
)
certificate(
    "with the header of a JWT",
    "malformed_claim",
    lambda s: token(s.certificate_claims(), s.user, HEADER, DOMAIN),
)
certificate("that is a user JWT", "malformed_claim", lambda s: s.user_jwt())


def revoked_certificate(what: str, key: Callable[[Scene], str]) -> None:
    row(
        "T-6",
        f"certificate revoked by {what}",
        lambda s: s.chain(
            account=s.account_jwt(revocations={key(s): s.now - 60}),
            user=s.user_jwt(top={"iat": s.now - 30}),
            certificate=s.certificate(),
        ),
        ours="revoked",
        relation=f"stricter: {LOGIN_ONLY}",
    )


revoked_certificate("its xkey", lambda s: str(s.xkey.public))
revoked_certificate("its user", lambda s: s.user.public)
row(
    "T-6",
    "certificate issued after its xkey was revoked",
    lambda s: s.chain(
        account=s.account_jwt(revocations={str(s.xkey.public): s.now - 61}),
        certificate=s.certificate(),
    ),
    ours="revoked",
    relation=f"stricter: {LOGIN_ONLY}",
)

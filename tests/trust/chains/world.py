"""Keys, and a writer of claims that can write every wrong one; independent of `trust.jwt.issue`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Prefix, SigningKey, decode_public, encode_public, encode_seed
from xkeymsg.trust.chain import TrustPolicy

__all__ = (
    "ACCOUNT",
    "DOMAIN",
    "HEADER",
    "USER",
    "XKEY_HEADER",
    "Chain",
    "Key",
    "Scene",
    "b64",
    "token",
)

HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
XKEY_HEADER: Final = {"typ": "JWT", "alg": "ed25519-xkey"}
DOMAIN: Final = b"\xffxkm1/xkey\x00"
NO_LIMITS: Final = {"subs": -1, "data": -1, "payload": -1}
USER: Final = {"pub": {}, "sub": {}, **NO_LIMITS}
ACCOUNT: Final = {
    "limits": {**NO_LIMITS, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Key(SigningKey):
    """A key whose seed is made from a label."""

    def __init__(self, kind: Prefix, label: str) -> None:
        self.secret = hashlib.sha256(f"{kind.name} {label}".encode()).digest()
        self.seed = encode_seed(kind, self.secret)
        super().__init__(self.seed, kind)

    def as_kind(self, kind: Prefix) -> str:
        """The same 32 bytes as a public key of another kind."""
        for own in Prefix:
            if own.letter == self.public[0]:
                return encode_public(kind, decode_public(own, self.public))
        raise AssertionError


def token(
    claims: Mapping[str, Any] | bytes,
    key: SigningKey,
    header: Mapping[str, Any] | bytes = HEADER,
    domain: bytes = b"",
) -> str:
    """Sign claims, or any bytes in their place."""
    parts = (
        part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
        for part in (header, claims)
    )
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(key.sign(domain + text.encode()))}"


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a reader, or a server, is given."""

    operator: str
    account: str
    """The configured account's key."""
    accounts: tuple[str, ...]
    user: str
    users: tuple[str, ...]
    certificates: tuple[str, ...] = ()
    policy: TrustPolicy
    marks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By subject and issuer."""


class Scene:
    """The keys of one row, and honest claims by them."""

    def __init__(self, row: str, now: int) -> None:
        self.now = now
        # Of all rows: so that they share servers.
        self.operator = Key(Prefix.OPERATOR, "identity")
        self.operator_key = Key(Prefix.OPERATOR, "signing")
        self.other_operator = Key(Prefix.OPERATOR, "other")
        self.account = Key(Prefix.ACCOUNT, row)
        self.key = Key(Prefix.ACCOUNT, f"{row} signing")
        self.second = Key(Prefix.ACCOUNT, f"{row} second")
        self.scoped = Key(Prefix.ACCOUNT, f"{row} scoped")
        self.stranger = Key(Prefix.ACCOUNT, f"{row} stranger")
        self.user = Key(Prefix.USER, row)
        self.xkey = XKeyPair(hashlib.sha256(f"xkey {row}".encode()).digest())
        self.policy = TrustPolicy(anchors=frozenset({self.operator.public}))

    # Claims as dictionaries: a row changes them, and signs the result.

    def operator_claims(self, keys: Iterable[Key] = (), **nats: Any) -> dict[str, Any]:
        listed = [key.public for key in keys] or [self.operator_key.public]
        nats = {"signing_keys": listed, "type": "operator", "version": 2} | nats
        return self._claims(self.operator, self.operator, "O", nats)

    def account_claims(self, *keys: Any, issuer: Key | None = None, **nats: Any) -> dict[str, Any]:
        listed = [key.public if isinstance(key, Key) else key for key in keys or (self.key,)]
        nats = {**ACCOUNT, "signing_keys": listed, "type": "account", "version": 2} | nats
        return self._claims(self.account, issuer or self.operator_key, "A", nats)

    def user_claims(self, issuer: Key | None = None, **nats: Any) -> dict[str, Any]:
        issuer = issuer or self.key
        base = {"pub": {}, "sub": {}} if issuer is self.scoped else USER
        nats = {**base, "issuer_account": self.account.public, "type": "user", "version": 2} | nats
        return self._claims(self.user, issuer, "alice", nats)

    def _claims(self, subject: Key, issuer: Key, name: str, nats: dict[str, Any]) -> dict[str, Any]:
        claims = {"jti": "X", "iat": self.now - 1000, "iss": issuer.public, "name": name}
        return claims | {"sub": subject.public, "nats": nats}

    def scope(
        self, role: str = "reader", key: Key | None = None, **template: Any
    ) -> dict[str, Any]:
        """An entry of `signing_keys` for the scoped key."""
        return {
            "kind": "user_scope",
            "key": (key or self.scoped).public,
            "role": role,
            "template": USER | template,
        }

    # Honest claims, signed; `top` changes members at the top.

    def operator_jwt(self, keys: Iterable[Key] = (), top: Any = (), **nats: Any) -> str:
        return token(self.operator_claims(keys, **nats) | dict(top), self.operator)

    def other_operator_jwt(self) -> str:
        """A new identity of the operator, with the same signing key."""
        own = {"iss": self.other_operator.public, "sub": self.other_operator.public}
        return token(self.operator_claims() | own, self.other_operator)

    @property
    def other_policy(self) -> TrustPolicy:
        """With the new identity as the only anchor."""
        return replace(self.policy, anchors=frozenset({self.other_operator.public}))

    def account_jwt(self, *keys: Any, issuer: Key | None = None, top: Any = (), **nats: Any) -> str:
        claims = self.account_claims(*keys, issuer=issuer, **nats) | dict(top)
        return token(claims, issuer or self.operator_key)

    def scoped_account(
        self, *more: Any, role: str = "reader", tags: Any = (), **template: Any
    ) -> str:
        """An account with the scoped key."""
        return self.account_jwt(self.scope(role, **template), *more, tags=list(tags))

    def user_jwt(self, issuer: Key | None = None, top: Any = (), **nats: Any) -> str:
        return token(self.user_claims(issuer, **nats) | dict(top), issuer or self.key)

    def scoped_user(self, top: Any = (), **nats: Any) -> str:
        return self.user_jwt(self.scoped, top, **nats)

    def certificate_claims(self, **top: Any) -> dict[str, Any]:
        nats = {"type": "xkey", "version": 2, "issuer_account": self.account.public}
        claims = {"iss": self.user.public, "sub": str(self.xkey.public), "iat": self.now - 60}
        return claims | {"nbf": self.now - 60, "exp": self.now + 86_400, "nats": nats} | top

    def certificate(self, key: SigningKey | None = None, **top: Any) -> str:
        return token(self.certificate_claims(**top), key or self.user, XKEY_HEADER, DOMAIN)

    def chain(
        self,
        *,
        operator: str | None = None,
        account: str | tuple[str, ...] | None = None,
        user: str | tuple[str, ...] | None = None,
        certificate: str | tuple[str, ...] = (),
        account_key: str = "",
        policy: TrustPolicy | None = None,
        marks: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Chain:
        def several(value: str | tuple[str, ...] | None, honest: str) -> tuple[str, ...]:
            value = honest if value is None else value
            return (value,) if isinstance(value, str) else value

        return Chain(
            operator=operator or self.operator_jwt(),
            account=account_key or self.account.public,
            accounts=several(account, self.account_jwt()),
            user=self.user.public,
            users=several(user, self.user_jwt()),
            certificates=several(certificate, ""),
            policy=policy or self.policy,
            marks=marks or {},
        )

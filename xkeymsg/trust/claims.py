"""The typed claims of a chain: operator, account, user and xkey certificate, with their rights.

Each is read in one strict form (T-1); the rules between them are in `trust.chain`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from xkeymsg.envelope.subject import matcher
from xkeymsg.errors import (
    ConfigurationError,
    KeyFormatError,
    MalformedClaimError,
)
from xkeymsg.keys import XKey
from xkeymsg.nkey import Prefix, decode_public
from xkeymsg.trust.jwt import Claims, Kind, decode, exact_names, list_of_text

__all__ = ("FOREVER", "Account", "Certificate", "Operator", "Rights", "SigningScope", "User")

FOREVER: Final = 2**63 - 1
"""`valid_until` of a chain without an end."""


class Rights(NamedTuple):
    """The subjects on which a user may publish."""

    allow: tuple[str, ...] | None
    """None allows all."""
    deny: tuple[str, ...]

    def permit(self, subject: str) -> bool:
        """Return whether these rights permit a subject (T-8)."""
        if any(_matches(pattern, subject, invalid=True) for pattern in self.deny):
            return False
        return self.allow is None or any(_matches(each, subject) for each in self.allow)


def _matches(pattern: str, subject: str, *, invalid: bool = False) -> bool:
    try:
        return matcher(pattern)(subject)
    except ConfigurationError:
        return invalid


class SigningScope(NamedTuple):
    """The rights that a scoped signing key gives to its users."""

    role: str
    rights: Rights | None
    """With templates; None for the account's default permissions."""
    bearer: bool


_PERMISSION_NAMES: Final = frozenset({"pub", "sub", "resp"})
_SIDE_NAMES: Final = frozenset({"allow", "deny"})
_LIMIT_NAMES: Final = frozenset(
    {"subs", "data", "payload", "src", "times", "times_location"}
    | {"bearer_token", "proxy_required", "allowed_connection_types"}
)
_COMMON_NAMES: Final = frozenset({"type", "version"})
_OPERATOR_NAMES: Final = _COMMON_NAMES | {"signing_keys", "strict_signing_key_usage"}
_ACCOUNT_NAMES: Final = _COMMON_NAMES | {
    "signing_keys", "revocations", "tags", "limits", "default_permissions",
}  # fmt: skip
_USER_NAMES: Final = _COMMON_NAMES | {"issuer_account", "tags"} | _PERMISSION_NAMES | _LIMIT_NAMES
_SCOPE_NAMES: Final = frozenset({"kind", "key", "role", "template"})
_TEMPLATE_NAMES: Final = _PERMISSION_NAMES | _LIMIT_NAMES


def _object(members: Mapping[str, Any], name: str, known: frozenset[str]) -> Mapping[str, Any]:
    """Return a member that is an object, or absent."""
    value = members.get(name, {})
    if type(value) is not dict:
        raise MalformedClaimError(f"`{name}` is not an object")
    return exact_names(value, known)


def _flag(members: Mapping[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise MalformedClaimError(f"`{name}` is not a boolean")
    return value


def _rights(members: Mapping[str, Any], *, template: bool = False) -> Rights | None:
    """Return permissions, or None if all are empty."""
    pub, sub = _object(members, "pub", _SIDE_NAMES), _object(members, "sub", _SIDE_NAMES)
    responds = members.get("resp") is not None
    if not (pub or sub or responds):
        return None
    allow, deny = list_of_text(pub, "allow"), list_of_text(pub, "deny")
    receives = list_of_text(sub, "allow") + list_of_text(sub, "deny")
    sound = template or (
        all(map(_PATTERN.fullmatch, allow + deny)) and all(map(_QUEUE.fullmatch, receives))
    )
    if not sound:
        raise MalformedClaimError("a permission is not a subject or pattern")
    if not (allow or deny or receives or responds):
        return None
    return Rights(allow or (() if responds else None), deny)


# The check of nats-server, which does not apply to templates.
_PATTERN: Final = re.compile(r"[^ .]+(?:\.[^ .]+)*")
_QUEUE: Final = re.compile(rf"{_PATTERN.pattern}(?: {_PATTERN.pattern})?")


def _public(prefix: Prefix, text: Any) -> str:
    try:
        decode_public(prefix, text)
    except (KeyFormatError, TypeError):
        raise MalformedClaimError(f"expected a public key {prefix.letter}…") from None
    return str(text)


class Operator(NamedTuple):
    """A decoded operator JWT."""

    claims: Claims
    signers: frozenset[str]
    """Its signing keys, without its identity."""
    strict: bool

    @classmethod
    def decode(cls, text: str) -> Operator:
        """Decode an operator JWT; check its form and signature.

        Raises:
            TrustError: If they are invalid.
        """
        claims = decode(text, Kind.OPERATOR)
        nats = exact_names(claims.nats, _OPERATOR_NAMES)
        keys = {_public(Prefix.OPERATOR, key) for key in list_of_text(nats, "signing_keys")}
        return cls(
            claims, frozenset(keys - {claims.subject}), _flag(nats, "strict_signing_key_usage")
        )


class Account(NamedTuple):
    """A decoded account JWT."""

    claims: Claims
    signers: Mapping[str, SigningScope | None]
    """Its signing keys, without its identity; None is unscoped."""
    revocations: Mapping[str, int]
    tags: frozenset[str]
    defaults: Rights | None
    forbids_bearer: bool

    @classmethod
    def decode(cls, text: str) -> Account:
        """Decode an account JWT; check its form and signature.

        Raises:
            TrustError: If they are invalid.
        """
        claims = decode(text, Kind.ACCOUNT)
        nats = exact_names(claims.nats, _ACCOUNT_NAMES)
        revocations = nats.get("revocations", {})
        if type(revocations) is not dict or {type(at) for at in revocations.values()} - {int}:
            raise MalformedClaimError("`revocations` does not map keys to times")
        keys = nats.get("signing_keys", [])
        if type(keys) is not list:
            raise MalformedClaimError("`signing_keys` is not a list")
        signers = dict(map(_signer, keys))
        if len(signers) != len(keys):
            raise MalformedClaimError("a signing key is listed twice")
        signers.pop(claims.subject, None)
        return cls(
            claims=claims,
            signers=signers,
            revocations=revocations,
            tags=frozenset(list_of_text(nats, "tags")),
            defaults=_rights(_object(nats, "default_permissions", _PERMISSION_NAMES)),
            forbids_bearer=_flag(
                _object(nats, "limits", frozenset({"disallow_bearer"})), "disallow_bearer"
            ),
        )

    def revokes(self, claims: Claims) -> bool:
        """Return whether a user JWT or a certificate is revoked (T-6).

        An xkey is revoked for good. Its owner may not know of the revocation yet, and a certificate
        that it signs meanwhile must not make a stolen key valid again.
        """
        times, user = self.revocations, claims.subject
        if claims.kind is Kind.XKEY:
            if claims.subject in times:
                return True
            user = claims.issuer
        until = max(times.get(user, -FOREVER), times.get("*", -FOREVER))
        return until >= claims.issued


def _signer(entry: object) -> tuple[str, SigningScope | None]:
    if type(entry) is not dict:
        return _public(Prefix.ACCOUNT, entry), None
    exact_names(entry, _SCOPE_NAMES)
    role = entry.get("role", "")
    if entry.get("kind") != "user_scope" or type(role) is not str:
        raise MalformedClaimError("a signing key has an unknown kind of scope")
    template = _object(entry, "template", _TEMPLATE_NAMES)
    scope = SigningScope(role, _rights(template, template=True), _flag(template, "bearer_token"))
    return _public(Prefix.ACCOUNT, entry.get("key")), scope


class User(NamedTuple):
    """A decoded user JWT."""

    claims: Claims
    account: str
    """The account that it names, or else its issuer."""
    tags: frozenset[str]
    rights: Rights | None
    bearer: bool

    @classmethod
    def decode(cls, text: str) -> User:
        """Decode a user JWT; check its form and signature.

        Raises:
            TrustError: If they are invalid.
        """
        claims = decode(text, Kind.USER)
        nats = exact_names(claims.nats, _USER_NAMES)
        account = nats.get("issuer_account", "")
        if type(account) is not str:
            raise MalformedClaimError("`issuer_account` is not text")
        tags, rights = frozenset(list_of_text(nats, "tags")), _rights(nats)
        return cls(claims, account or claims.issuer, tags, rights, _flag(nats, "bearer_token"))

    @property
    def is_empty(self) -> bool:
        """Whether it has no permissions and limits of its own."""
        # Go compares with the zero value, which an empty list or object is not, except `pub: {}`.
        nats = self.claims.nats
        if nats.get("pub", {}) or nats.get("sub", {}) or nats.get("resp") is not None:
            return False
        return all(nats.get(name) in (None, 0, "") for name in _LIMIT_NAMES)


_CERTIFICATE_NAMES: Final = {"iss", "sub", "iat", "nbf", "exp", "nats"}
_CERTIFICATE_NATS: Final = {"type", "version", "issuer_account"}


class Certificate(NamedTuple):
    """A decoded xkey certificate."""

    claims: Claims
    key: XKey
    account: object

    @classmethod
    def decode(cls, text: str) -> Certificate:
        """Decode a certificate; check its form and signature.

        Raises:
            TrustError: If they are invalid.
        """
        claims = decode(text, Kind.XKEY)
        if claims.members.keys() != _CERTIFICATE_NAMES or claims.nats.keys() != _CERTIFICATE_NATS:
            raise MalformedClaimError("a certificate has missing or unknown members")
        try:
            key = XKey(claims.raw_subject)
        except KeyFormatError:
            raise MalformedClaimError("the certified xkey is unsafe or not canonical") from None
        return cls(claims, key, claims.nats["issuer_account"])

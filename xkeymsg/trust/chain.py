"""Who is who, and who may do what: the rules over a chain of claims.

A chain is operator -> account -> user -> xkey certificate. The rules, T-1 to T-10 in
docs/spec/trust.md; the rollback marks are those of `trust.marks`:

- **T-1 Form** of each claim: `trust.jwt`. `iat` must not be above our clock plus the skew.
- **T-2 Operator.** The operator JWT is self-issued by a configured anchor: `iss == sub == anchor`,
  never by a signing key, and it comes from local configuration only. If it could travel, a stolen
  identity key would be enough to list the thief's signing key.
- **T-3 Account.** The configured account, issued by one of the operator's signing keys. The
  operator's identity may issue only if the policy allows it and the operator JWT does not have
  `strict_signing_key_usage`. An identity among its own signing keys still counts as the identity.
- **T-4 User.** Issued by a signing key of the account, or by its identity unless the policy or
  `strict_signing_key_usage` forbids it; `issuer_account` names the account. A user of a scoped key
  has no permissions and limits of its own. A bearer token is refused where the account forbids it.
- **T-5 Permissions** are the user's tags that *are* `perm:[a-z0-9._-]+`. A user of a scoped key
  holds one only if the account is tagged `grant:<role>:<permission>` and the role is itself
  `[a-z0-9._-]+`: an operator key signs those tags. Other tags grant nothing.
- **T-6 Life and revocation.** A JWT does not count before `nbf`, by our clock. `exp` is compared
  with the time in question: that of a message, or now. `revocations` of the account reach a user
  JWT by `U` or `*`, a certificate by `X`, `U` or `*`, if their time is at or after its `iat`.
- **T-7 Certificate.** Signed by the user; it names the account, has `nbf` and `exp`, and lives at
  most as long as the policy allows (30 days). It ends with its own `exp` or the user's, whichever
  is earlier. It has the members of the format and no others.
- **T-8 Sending.** A user may send on a subject if its `pub` permissions allow it: deny wins, an
  empty allow list allows all, except to users with response permissions. The account's
  `default_permissions` count for users without their own; a scope's template for scoped users.
  In templates only `{{subject()}}` and `{{account-subject()}}` are expanded: an allow entry with
  any other expression gives nothing, a deny entry with one denies all.
- **T-9 Newest.** The newest claim counts (`trust.marks`). Claims of one `iat` are never merged: the
  verdict is computed with each; all must admit, and what all of them give is what is given. A
  claim that breaks a rule above other than expiry and revocation takes no part: otherwise an
  invalid claim displaces a valid one.
- **T-10 Verdict.** An immutable `Identity`, valid until the earliest `exp` of its chain.

Names: users of unscoped keys have plain names; those of a scoped key live in the name space of its
role, `reader:billing-eu`, so its holder cannot take over other names. A name is NFC, at most 64
characters, without `/ : * >`, white space or invisible characters, and not like a key; a user
without a valid name is reachable by key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from xkeymsg.envelope.subject import matcher
from xkeymsg.errors import (
    CertificateLifeError,
    ConfigurationError,
    ConflictError,
    ExcessiveClaimError,
    ExpiredClaimError,
    FutureClaimError,
    IdentityIssuerError,
    KeyFormatError,
    MalformedClaimError,
    NotYetValidError,
    RevokedError,
    RollbackError,
    TrustError,
    UnknownKeyError,
    UntrustedOperatorError,
    WrongAccountError,
    WrongIssuerError,
)
from xkeymsg.fields.files import PERMISSION as _PERMISSION
from xkeymsg.keys import XKey
from xkeymsg.nkey import Prefix, decode_public
from xkeymsg.shown import safe_repr
from xkeymsg.trust.jwt import Claims, Kind, decode, exact_names, list_of_text
from xkeymsg.trust.marks import Marks, Seen

__all__ = (
    "Account",
    "Authority",
    "Certificate",
    "CertifiedKey",
    "Identity",
    "Operator",
    "Rights",
    "SigningScope",
    "TrustPolicy",
    "User",
    "authorize",
    "certify",
    "check_certificate",
    "fold_name",
    "identify",
    "is_name",
)

FOREVER: Final = 2**63 - 1
"""`valid_until` of a chain without an end."""

_PERM: Final = "perm:"


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """What a reader decides by its configuration."""

    anchors: frozenset[str]
    """Public keys `O…` of operators' identities."""
    operator_identity_issues: bool = False
    """Whether an operator's identity may issue accounts."""
    account_identity_issues: bool = True
    """Whether an account's identity may issue users."""
    certificate_life: int = 30 * 86_400
    """How long a certificate may live, in seconds."""
    skew: int = 30
    """How far clocks may differ, in seconds."""


class Rights(NamedTuple):
    """On which subjects a user may publish."""

    allow: tuple[str, ...] | None
    """None allows all."""
    deny: tuple[str, ...]

    def permit(self, subject: str) -> bool:
        """Tell whether these rights permit a subject (T-8)."""
        if any(_matches(pattern, subject, invalid=True) for pattern in self.deny):
            return False
        return self.allow is None or any(_matches(each, subject) for each in self.allow)


def _matches(pattern: str, subject: str, *, invalid: bool = False) -> bool:
    try:
        return matcher(pattern)(subject)
    except ConfigurationError:
        return invalid


class SigningScope(NamedTuple):
    """What a scoped signing key gives to its users."""

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
    if value:
        exact_names(value, known)
    return value


def _flag(members: Mapping[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise MalformedClaimError(f"`{name}` is not a boolean")
    return value


def _rights(members: Mapping[str, Any], *, template: bool = False) -> Rights | None:
    """Return permissions, or None where there are none at all."""
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


# As nats-server checks it: templates are not.
_PATTERN: Final = re.compile(r"[^ .]+(?:\.[^ .]+)*")
_QUEUE: Final = re.compile(rf"{_PATTERN.pattern}(?: {_PATTERN.pattern})?")


def _nats(claims: Claims, known: frozenset[str]) -> Mapping[str, Any]:
    exact_names(claims.nats, known)
    return claims.nats


def _public(prefix: Prefix, text: Any) -> str:
    try:
        decode_public(prefix, text)
    except (KeyFormatError, TypeError):
        raise MalformedClaimError(f"not a public key {prefix.letter}… where one belongs") from None
    return str(text)


class Operator(NamedTuple):
    """An operator JWT, read."""

    claims: Claims
    signers: frozenset[str]
    """Its signing keys, without its identity."""
    strict: bool

    @classmethod
    def decode(cls, text: str) -> Operator:
        """Read an operator JWT; check its form and signature.

        Raises:
            TrustError: If they are not right.
        """
        claims = decode(text, Kind.OPERATOR)
        nats = _nats(claims, _OPERATOR_NAMES)
        keys = {_public(Prefix.OPERATOR, key) for key in list_of_text(nats, "signing_keys")}
        return cls(
            claims, frozenset(keys - {claims.subject}), _flag(nats, "strict_signing_key_usage")
        )


class Account(NamedTuple):
    """An account JWT, read."""

    claims: Claims
    signers: Mapping[str, SigningScope | None]
    """Its signing keys, without its identity; None is unscoped."""
    revocations: Mapping[str, int]
    tags: frozenset[str]
    defaults: Rights | None
    forbids_bearer: bool

    @classmethod
    def decode(cls, text: str) -> Account:
        """Read an account JWT; check its form and signature.

        Raises:
            TrustError: If they are not right.
        """
        claims = decode(text, Kind.ACCOUNT)
        nats = _nats(claims, _ACCOUNT_NAMES)
        revocations = nats.get("revocations", {})
        if type(revocations) is not dict or {type(at) for at in revocations.values()} - {int}:
            raise MalformedClaimError("`revocations` is not keys with times")
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

    def revokes(self, issued: int, *keys: str) -> bool:
        """Tell whether a claim about one of these keys is revoked (T-6)."""
        times = self.revocations
        return bool(times) and any(times.get(key, -FOREVER) >= issued for key in (*keys, "*"))


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
    """A user JWT, read."""

    claims: Claims
    account: str
    """The account that it names; its issuer if it names none."""
    tags: frozenset[str]
    rights: Rights | None
    bearer: bool

    @classmethod
    def decode(cls, text: str) -> User:
        """Read a user JWT; check its form and signature.

        Raises:
            TrustError: If they are not right.
        """
        claims = decode(text, Kind.USER)
        nats = _nats(claims, _USER_NAMES)
        account = nats.get("issuer_account", "")
        if type(account) is not str:
            raise MalformedClaimError("`issuer_account` is not text")
        return cls(
            claims=claims,
            account=account or claims.issuer,
            tags=frozenset(list_of_text(nats, "tags")),
            rights=_rights(nats),
            bearer=_flag(nats, "bearer_token"),
        )

    @property
    def is_empty(self) -> bool:
        """Whether it has no permissions and limits of its own."""
        # Go compares with a zero value: an empty list or object is not one, but for `pub: {}`.
        nats = self.claims.nats
        if nats.get("pub", {}) or nats.get("sub", {}) or nats.get("resp") is not None:
            return False
        return all(nats.get(name) in (None, 0, "") for name in _LIMIT_NAMES)


_CERTIFICATE_NAMES: Final = {"iss", "sub", "iat", "nbf", "exp", "nats"}
_CERTIFICATE_NATS: Final = {"type", "version", "issuer_account"}


class Certificate(NamedTuple):
    """An xkey certificate, read."""

    claims: Claims
    key: XKey
    account: object

    @classmethod
    def decode(cls, text: str) -> Certificate:
        """Read a certificate; check its form and signature.

        Raises:
            TrustError: If they are not right.
        """
        claims = decode(text, Kind.XKEY)
        if claims.members.keys() != _CERTIFICATE_NAMES or claims.nats.keys() != _CERTIFICATE_NATS:
            raise MalformedClaimError("a certificate has other members than those of the format")
        try:
            key = XKey(claims.raw_subject)
        except KeyFormatError:
            raise MalformedClaimError("the certified xkey is unsafe or not canonical") from None
        return cls(claims, key, claims.nats["issuer_account"])


class CertifiedKey(NamedTuple):
    """An xkey that a user has certified."""

    key: XKey
    not_before: int
    not_after: int
    issued: int
    revoked: bool


class Authority(NamedTuple):
    """An operator and the newest claims of one account: who may issue users (T-2, T-3)."""

    policy: TrustPolicy
    operator: Operator
    accounts: tuple[Account, ...]
    """Several, if they have one `iat`."""
    issuers: Mapping[str, bool]
    """Who may issue users now, and whether unscoped."""
    seen: tuple[Seen, ...]
    """To be recorded in the marks before this is used."""

    @property
    def account(self) -> str:
        """The account's public key."""
        return self.accounts[0].claims.subject


class Identity(NamedTuple):
    """The verdict on a user (T-10)."""

    account: str
    user: str
    name: str
    """Its name, `reader:…` for a user of a scoped key; empty if it has no valid one."""
    role: str
    """The role of the scoped key that issued it; empty for an unscoped one."""
    permissions: frozenset[str]
    ungranted: frozenset[str]
    """Permissions that its tags ask for and its issuer may not give."""
    bearer: bool
    """Whether its JWT is a password, which must not be published."""
    rights: frozenset[Rights]
    """Each of them has to permit a subject."""
    valid_until: int
    seen: tuple[Seen, ...]
    """To be recorded in the marks before this is used."""
    keys: tuple[CertifiedKey, ...] = ()

    def may_send(self, subject: str) -> bool:
        """Tell whether the user may send on a sealed subject (T-8)."""
        return all(rights.permit(subject) for rights in self.rights)

    def check_life(self, at: int, skew: int = 0) -> None:
        """Check that the chain was alive at a time (T-6).

        Raises:
            ExpiredClaimError: If it was not.
        """
        if at - skew > self.valid_until:
            raise ExpiredClaimError(f"{self.user}: the user or a claim above it has expired")

    def check_sender(self, key: XKey, at: int, skew: int = 0) -> None:
        """Check that an xkey was this user's at the time of a message (T-6, T-7).

        Raises:
            ExpiredClaimError: If its certificates, or the chain, had expired.
            NotYetValidError: If its certificates were not valid yet.
            RevokedError: If its certificates are revoked.
            UnknownKeyError: If the user has not certified it.
        """
        self.check_life(at, skew)
        refusal: TrustError = UnknownKeyError(f"{self.user} has not certified this xkey")
        for known in self.keys:
            if known.key == key:
                try:
                    return _check_time(known, at, skew)
                except TrustError as error:
                    refusal = error
        raise refusal

    def current(self, now: int, mark: int = 0) -> CertifiedKey:
        """Return the one xkey to seal to now: that of the newest `nbf` that has come (T-14).

        Revoked and expired ones take part in the order: an older key must not come back for them.

        Args:
            now: Our clock, in seconds.
            mark: `Marks.certified` of this user.

        Raises:
            ConflictError: If two different xkeys are equally new.
            ExpiredClaimError: If the newest, or the chain, has expired.
            RevokedError: If the newest is revoked.
            RollbackError: If a newer one was current before.
            UnknownKeyError: If there is none.
        """
        self.check_life(now)
        reached = [known for known in self.keys if known.not_before <= now]
        if not reached:
            raise UnknownKeyError(f"{self.user} has no certified xkey")
        newest = max(reached, key=_age)
        if newest.not_before < mark:
            raise RollbackError(f"{self.user}: a newer xkey was current before")
        if any(known.key != newest.key and _age(known) == _age(newest) for known in reached):
            raise ConflictError(f"{self.user}: two xkeys are equally new")
        _check_time(newest, now, 0)
        return newest


def _age(known: CertifiedKey) -> tuple[int, int]:
    return known.not_before, known.issued


def _check_time(known: CertifiedKey, at: int, skew: int) -> None:
    if known.revoked:
        raise RevokedError("the account has revoked this xkey or its user")
    if at + skew < known.not_before:
        raise NotYetValidError("the certificate was not valid yet")
    if at - skew > known.not_after:
        raise ExpiredClaimError("the certificate has expired")


def authorize(
    policy: TrustPolicy,
    operator: Operator,
    account: str,
    candidates: Iterable[Account],
    now: int,
    marks: Marks,
) -> Authority:
    """Apply T-2, T-3 and T-9: which claims of a configured account count.

    Args:
        policy: Anchors, and who may issue.
        operator: From local configuration.
        account: The configured public key `A…`.
        candidates: All that is known of the account.
        now: Our clock, in seconds.
        marks: What was admitted before.

    Raises:
        TrustError: If none counts; the error is that of the newest.
    """
    claims = operator.claims
    _check_times(claims, now, policy.skew)
    if not (claims.issuer == claims.subject and claims.subject in policy.anchors):
        raise UntrustedOperatorError("the operator JWT is not self-issued by a configured anchor")
    marks.newest(claims.subject, [(claims.issuer, claims.issued, claims)], {claims.issuer: True})
    may_issue = policy.operator_identity_issues and not operator.strict

    def check(candidate: Account) -> None:
        if candidate.claims.subject != account:
            raise WrongAccountError(f"the JWT is not of the account {account}")
        if candidate.claims.issuer == claims.subject and not may_issue:
            raise IdentityIssuerError(
                "the operator's identity issued the account: use a signing key"
            )
        if candidate.claims.issuer not in operators:
            raise WrongIssuerError("the operator does not list the key that issued the account")
        _check_times(candidate.claims, now, policy.skew)

    operators = dict.fromkeys(operator.signers, True) | (
        {claims.subject: True} if may_issue else {}
    )
    newest = _newest(account, candidates, check, operators, marks)
    common = frozenset.intersection(*(frozenset(each.signers) for each in newest))
    issuers = {key: all(each.signers[key] is None for each in newest) for key in common}
    if policy.account_identity_issues and not operator.strict:
        issuers[account] = True
    seen = Seen(claims.subject, claims.issuer, claims.issued)
    return Authority(policy, operator, newest, issuers, (seen, *map(_seen, newest)))


def identify(
    authority: Authority, user: str, candidates: Iterable[User], now: int, marks: Marks
) -> Identity:
    """Apply T-4 to T-6, T-8 and T-9: the verdict on a user under an account.

    `exp` is not compared here: see `Identity.check_life`.

    Args:
        authority: The account.
        user: The public key `U…`.
        candidates: All that is known of the user.
        now: Our clock, in seconds.
        marks: What was admitted before.

    Raises:
        TrustError: If none of the candidates counts (the error is that of the newest), or one that
            counts does not admit.
    """

    def check(candidate: User) -> None:
        claims = candidate.claims
        if claims.subject != user:
            raise WrongIssuerError(f"the JWT is not of the user {user}")
        if candidate.account != authority.account:
            raise WrongAccountError(f"the user is not of the account {authority.account}")
        if claims.issuer not in authority.issuers:
            if claims.issuer == authority.account:
                raise IdentityIssuerError(
                    "the account's identity issued the user: use a signing key"
                )
            raise WrongIssuerError("the account does not list the key that issued the user")
        _check_times(claims, now, authority.policy.skew)
        for account in authority.accounts:
            _check_bounds(candidate, account)

    newest = _newest(user, candidates, check, authority.issuers, marks)
    seen = tuple(map(_seen, newest))
    verdicts = [
        _verdict(authority, account, each, seen)
        for account in authority.accounts
        for each in newest
    ]
    return verdicts[0] if len(verdicts) == 1 else _common(verdicts)


class _Text(Protocol):
    @property
    def claims(self) -> Claims: ...


Text = TypeVar("Text", bound=_Text)


def _seen(text: _Text) -> Seen:
    return Seen(text.claims.subject, text.claims.issuer, text.claims.issued)


def _newest(
    subject: str,
    candidates: Iterable[Text],
    check: Callable[[Text], None],
    issuers: Mapping[str, bool],
    marks: Marks,
) -> tuple[Text, ...]:
    """Return the candidates that count (T-9); raise the refusal of the newest if none passes."""
    passed: list[Text] = []
    refused: tuple[int, TrustError] = 0, UnknownKeyError(f"{subject}: no JWT is known")
    for candidate in candidates:
        try:
            check(candidate)
        except TrustError as error:
            refused = max(refused, (candidate.claims.issued, error), key=lambda each: each[0])
        else:
            passed.append(candidate)
    if not passed:
        raise refused[1]
    texts = {each.claims.text: each for each in passed}.values()  # a copy is not another claim
    ranked = [(each.claims.issuer, each.claims.issued, each) for each in texts]
    return marks.newest(subject, ranked, issuers)


def _check_times(claims: Claims, now: int, skew: int) -> None:
    if claims.issued > now + skew:
        raise FutureClaimError(f"{claims.kind}: `iat` is in the future")
    if claims.not_before > now:
        raise NotYetValidError(f"{claims.kind}: `nbf` is in the future")


def _check_bounds(user: User, account: Account) -> None:
    scope = account.signers.get(user.claims.issuer)
    if scope is not None and not user.is_empty:
        raise ExcessiveClaimError("a user of a scoped key has permissions or limits of its own")
    if account.forbids_bearer and (scope.bearer if scope else user.bearer):
        raise ExcessiveClaimError("the account forbids bearer tokens")


def _verdict(
    authority: Authority, account: Account, user: User, seen: tuple[Seen, ...]
) -> Identity:
    claims = user.claims
    if account.revokes(claims.issued, claims.subject):
        raise RevokedError(f"the account has revoked the user {claims.subject}")
    asked = {tag.removeprefix(_PERM) for tag in user.tags if tag.startswith(_PERM)}
    asked = {permission for permission in asked if _PERMISSION.fullmatch(permission)}
    scope = account.signers.get(claims.issuer)
    name, role, held, rights = claims.name, "", asked, user.rights
    if scope is not None:
        role = scope.role if _PERMISSION.fullmatch(scope.role) else ""
        held = {each for each in asked if role and f"grant:{role}:{each}" in account.tags}
        rights = scope.rights and _expand(scope.rights, claims.subject, account.claims.subject)
    name = name if is_name(name) and (scope is None or role) else ""
    rights = rights or account.defaults
    ends = (each.expires for each in (authority.operator.claims, account.claims, claims))
    return Identity(
        account=account.claims.subject,
        user=claims.subject,
        name=f"{role}:{name}" if role and name else name,
        role=role,
        permissions=frozenset(held),
        ungranted=frozenset(asked - held),
        bearer=scope.bearer if scope else user.bearer,
        rights=frozenset({rights} if rights else ()),
        valid_until=min((end for end in ends if end), default=FOREVER),
        seen=seen,
    )


def _expand(rights: Rights, user: str, account: str) -> Rights:
    """Expand the two safe expressions of a template; the others let their issuer choose (T-8)."""

    def expand(entries: Sequence[str], otherwise: tuple[str, ...]) -> Iterable[str]:
        for entry in entries:
            text = entry.replace("{{subject()}}", user).replace("{{account-subject()}}", account)
            yield from otherwise if "{{" in text or "}}" in text else (text,)

    allow = None if rights.allow is None else tuple(expand(rights.allow, ()))
    return Rights(allow, tuple(expand(rights.deny, (">",))))


def _common(verdicts: Sequence[Identity]) -> Identity:
    """Return what all verdicts give."""
    first = verdicts[0]
    names = {(each.name, each.role) for each in verdicts}
    permissions = frozenset.intersection(*(each.permissions for each in verdicts))
    asked = frozenset[str]().union(*(each.permissions | each.ungranted for each in verdicts))
    return first._replace(
        name=first.name if len(names) == 1 else "",
        role=first.role if len(names) == 1 else "",
        permissions=permissions,
        ungranted=asked - permissions,
        bearer=any(each.bearer for each in verdicts),
        rights=frozenset[Rights]().union(*(each.rights for each in verdicts)),
        valid_until=min(each.valid_until for each in verdicts),
    )


def check_certificate(
    authority: Authority, identity: Identity, certificate: Certificate, now: int
) -> CertifiedKey:
    """Apply T-7: the xkey that a certificate gives to a user. Expiry and revocation are in it.

    Raises:
        TrustError: If the certificate takes no part.
    """
    claims, policy = certificate.claims, authority.policy
    if claims.issuer != identity.user:
        raise WrongIssuerError(f"the certificate is not by the user {identity.user}")
    if certificate.account != identity.account:
        raise WrongAccountError(f"the certificate is not for the account {identity.account}")
    if not 0 < claims.expires - claims.not_before <= policy.certificate_life:
        raise CertificateLifeError(
            f"the certificate does not end within {policy.certificate_life} seconds of its `nbf`"
        )
    if claims.issued > now + policy.skew:
        raise FutureClaimError(f"{claims.kind}: `iat` is in the future")
    keys = claims.subject, claims.issuer
    return CertifiedKey(
        key=certificate.key,
        not_before=claims.not_before,
        not_after=min(claims.expires, identity.valid_until),
        issued=claims.issued,
        revoked=any(account.revokes(claims.issued, *keys) for account in authority.accounts),
    )


def certify(
    authority: Authority, identity: Identity, certificates: Iterable[Certificate], now: int
) -> Identity:
    """Return the identity with the xkeys of all certificates that take part."""
    known: set[CertifiedKey] = set()
    for certificate in certificates:
        try:
            known.add(check_certificate(authority, identity, certificate, now))
        except TrustError:
            continue
    return identity._replace(keys=tuple(sorted(known, key=_age)))


_MAX_NAME: Final = 64
_BARRED: Final = re.compile(
    # What separates, what matches, and what a reader may not see although it has another category.
    r"[/:*>\s\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U0001d159\U000e0100-\U000e01ef]"
)
_LIKE_A_KEY: Final = re.compile(r"[A-Za-z2-7]{54,60}")


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a user."""
    if not 0 < len(text) <= _MAX_NAME or _BARRED.search(text) or _LIKE_A_KEY.fullmatch(text):
        return False
    if text.isascii():
        return text.isprintable()
    if not unicodedata.is_normalized("NFC", text) or _BARRED.search(fold_name(text)):
        return False
    return not any(unicodedata.category(character)[0] in "CZ" for character in text)


def fold_name(name: str) -> str:
    """Return what two names share that people would take for one; two live users must not."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())

"""Identities and their rights: the rules over a chain of claims.

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
  JWT and its certificates by `U` or `*`, if their time is at or after its `iat`; a certificate by
  `X` whatever the time.
- **T-7 Certificate.** Signed by the user; it names the account, has `nbf` and `exp`, and lives at
  most as long as the policy allows (30 days). It ends with its own `exp` or the chain above it,
  whichever is earlier. It has the members of the format and no others.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from xkeymsg.display import safe_repr
from xkeymsg.errors import (
    CertificateLifeError,
    ExcessiveClaimError,
    FutureClaimError,
    IdentityIssuerError,
    NotYetValidError,
    RevokedError,
    TrustError,
    UnknownKeyError,
    UntrustedOperatorError,
    WrongAccountError,
    WrongIssuerError,
)
from xkeymsg.fields.files import PERMISSION as _PERMISSION
from xkeymsg.trust.claims import FOREVER, Account, Certificate, Operator, Rights, User
from xkeymsg.trust.identity import CertifiedKey, Identity, by_age
from xkeymsg.trust.jwt import Claims
from xkeymsg.trust.marks import Marks, Seen
from xkeymsg.trust.names import is_name

__all__ = (
    "Authority",
    "TrustPolicy",
    "account_issuers",
    "authorize",
    "certify",
    "check_certificate",
    "check_operator",
    "identify",
)


_PERM: Final = re.compile(rf"perm:({_PERMISSION.pattern})")


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """The trust settings of a reader."""

    anchors: frozenset[str]
    """Public keys `O…` of operators' identities."""
    operator_identity_issues: bool = False
    """Whether an operator's identity may issue accounts."""
    account_identity_issues: bool = True
    """Whether an account's identity may issue users."""
    certificate_life: int = 30 * 86_400
    """Maximum lifetime of a certificate, in seconds."""
    skew: int = 30
    """Maximum difference between clocks, in seconds."""


class Authority(NamedTuple):
    """An operator and the newest claims of one account: they decide who issues users (T-2, T-3)."""

    policy: TrustPolicy
    operator: Operator
    accounts: tuple[Account, ...]
    """Several if they have the same `iat`."""
    issuers: Mapping[str, bool]
    """The keys that may issue users now, and whether they are unscoped."""
    seen: tuple[Seen, ...]
    """Record these in the marks before using the authority."""

    @property
    def account(self) -> str:
        """The account's public key."""
        return self.accounts[0].claims.subject


def check_operator(policy: TrustPolicy, operator: Operator, now: int, marks: Marks) -> None:
    """Check that an operator JWT counts (T-2, T-12).

    Raises:
        TrustError: If it does not.
    """
    claims = operator.claims
    _check_times(claims, now, policy.skew)
    if not (claims.issuer == claims.subject and claims.subject in policy.anchors):
        raise UntrustedOperatorError("the operator JWT is not self-issued by a configured anchor")
    marks.newest(claims.subject, [(claims.issuer, claims.issued, claims)], {claims.issuer: True})


def account_issuers(policy: TrustPolicy, operator: Operator) -> dict[str, bool]:
    """Return the keys that may issue accounts, all unscoped (T-3)."""
    identity = policy.operator_identity_issues and not operator.strict
    return dict.fromkeys([*operator.signers, *[operator.claims.subject] * identity], True)


def authorize(
    policy: TrustPolicy,
    operator: Operator,
    account: str,
    candidates: Iterable[Account],
    now: int,
    marks: Marks,
) -> Authority:
    """Decide which claims of a configured account count (T-2, T-3, T-9).

    Args:
        policy: Anchors, and who may issue.
        operator: The operator JWT from local configuration.
        account: The configured public key `A…`.
        candidates: All known claims of the account.
        now: Our clock, in seconds.
        marks: The rollback marks.

    Raises:
        TrustError: If no claim counts; the error is that of the newest.
    """
    check_operator(policy, operator, now, marks)
    claims, operators = operator.claims, account_issuers(policy, operator)

    def check(candidate: Account) -> None:
        if candidate.claims.subject != account:
            raise WrongAccountError(f"the JWT does not belong to the account {account}")
        if candidate.claims.issuer == claims.subject and claims.subject not in operators:
            raise IdentityIssuerError(
                "the operator's identity issued the account: use a signing key"
            )
        if candidate.claims.issuer not in operators:
            raise WrongIssuerError("the operator does not list the key that issued the account")
        _check_times(candidate.claims, now, policy.skew)

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
    """Return the verdict on a user under an account (T-4 to T-6, T-8, T-9).

    `exp` is not compared here: see `Identity.check_life`.

    Args:
        authority: The account.
        user: The public key `U…`.
        candidates: All known claims of the user.
        now: Our clock, in seconds.
        marks: The rollback marks.

    Raises:
        TrustError: If none of the candidates counts (the error is that of the newest), or one that
            counts does not admit.
    """

    def check(candidate: User) -> None:
        claims = candidate.claims
        if claims.subject != user:
            raise WrongIssuerError(f"the JWT does not belong to the user {user}")
        if candidate.account != authority.account:
            raise WrongAccountError(f"the user does not belong to the account {authority.account}")
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
    passed: dict[str, tuple[str, int, Text]] = {}  # by text: a copy is not another claim
    refused: tuple[int, TrustError | None] = 0, None
    for candidate in candidates:
        claims = candidate.claims
        try:
            check(candidate)
        except TrustError as error:
            refused = max(refused, (claims.issued, error), key=lambda each: each[0])
        else:
            passed[claims.text] = claims.issuer, claims.issued, candidate
    if not passed:
        raise refused[1] or UnknownKeyError(f"{subject}: no known JWT")
    return marks.newest(subject, passed.values(), issuers)


def _check_issued(claims: Claims, now: int, skew: int) -> None:
    if claims.issued > now + skew:
        raise FutureClaimError(f"{claims.kind}: `iat` is in the future")


def _check_times(claims: Claims, now: int, skew: int) -> None:
    _check_issued(claims, now, skew)
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
    if account.revokes(claims):
        raise RevokedError(f"the account has revoked the user {claims.subject}")
    asked = frozenset([match[1] for match in map(_PERM.fullmatch, user.tags) if match])
    scope = account.signers.get(claims.issuer)
    name, role, held, rights = claims.name, "", asked, user.rights
    if scope is not None:
        role = scope.role if _PERMISSION.fullmatch(scope.role) else ""
        held = frozenset({p for p in asked if role and f"grant:{role}:{p}" in account.tags})
        rights = scope.rights and _expand(scope.rights, claims.subject, account.claims.subject)
    name = name if is_name(name) and (scope is None or role) else ""
    rights = rights or account.defaults
    ends = authority.operator.claims.expires, account.claims.expires, claims.expires
    return Identity(
        account=account.claims.subject,
        user=claims.subject,
        name=f"{role}:{name}" if role and name else name,
        role=role,
        permissions=held,
        ungranted=asked - held,
        bearer=scope.bearer if scope else user.bearer,
        rights=frozenset({rights} if rights else ()),
        valid_until=min(filter(None, ends), default=FOREVER),
        seen=seen,
    )


def _expand(rights: Rights, user: str, account: str) -> Rights:
    """Expand the two safe expressions of a template; others would let the issuer choose (T-8)."""

    def expand(entries: Sequence[str], otherwise: tuple[str, ...]) -> Iterable[str]:
        for entry in entries:
            text = entry.replace("{{subject()}}", user).replace("{{account-subject()}}", account)
            yield from otherwise if "{{" in text or "}}" in text else (text,)

    allow = None if rights.allow is None else tuple(expand(rights.allow, ()))
    return Rights(allow, tuple(expand(rights.deny, (">",))))


def _common(verdicts: Sequence[Identity]) -> Identity:
    """Return the intersection of all verdicts."""
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
    """Return the xkey that a certificate gives to a user, with its expiry and revocation (T-7).

    Raises:
        TrustError: If the certificate does not count.
    """
    claims, policy = certificate.claims, authority.policy
    if claims.issuer != identity.user:
        raise WrongIssuerError(f"the certificate was not issued by the user {identity.user}")
    if certificate.account != identity.account:
        raise WrongAccountError(f"the certificate is not for the account {identity.account}")
    if not 0 < claims.expires - claims.not_before <= policy.certificate_life:
        raise CertificateLifeError(
            f"the certificate does not end within {policy.certificate_life} seconds of its `nbf`"
        )
    _check_issued(claims, now, policy.skew)
    revoked = any(each.revokes(claims) for each in authority.accounts)
    not_after = min(claims.expires, identity.valid_until)
    return CertifiedKey(certificate.key, claims.not_before, not_after, claims.issued, revoked)


def certify(
    authority: Authority, identity: Identity, certificates: Iterable[Certificate], now: int
) -> Identity:
    """Return the identity with the xkeys of all certificates that count."""
    known: set[CertifiedKey] = set()
    for certificate in certificates:
        try:
            known.add(check_certificate(authority, identity, certificate, now))
        except TrustError:
            continue
    keys = tuple(sorted(known, key=by_age))
    return Identity(*identity[:-1], keys)  # half the time of `_replace`

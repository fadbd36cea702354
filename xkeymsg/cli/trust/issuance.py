"""Who may issue what, and the texts: nothing here writes a file.

The issuer is chosen and checked before a claim is made, and each claim is judged as a reader will
judge it before it is returned: a claim that readers would refuse never reaches the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from xkeymsg.cli.trust.keys import KeyFolder, given_key
from xkeymsg.cli.trust.store import AccountFile, TrustStore, now
from xkeymsg.display import cut
from xkeymsg.errors import (
    AmbiguousNameError,
    ConfigurationError,
    ExcessiveClaimError,
    IdentityIssuerError,
    TrustError,
    WrongIssuerError,
)
from xkeymsg.fields.files import PERMISSION
from xkeymsg.nkey import Signer, SigningKey
from xkeymsg.transport.subjects import is_written_pattern
from xkeymsg.trust.chain import Authority, TrustPolicy, check_operator, identify
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.jwt import UNLIMITED_USER, Claims, Kind, issue, issue_time
from xkeymsg.trust.marks import Marks
from xkeymsg.trust.names import fold_name

__all__ = (
    "SKEW",
    "Subjects",
    "account_signer",
    "check_clock",
    "check_user",
    "new_operator",
    "operator_signer",
    "permission_tags",
    "reissue",
    "reissue_account",
    "reissue_operator",
    "revoked_at",
    "scope_of",
    "user_nats",
    "user_signer",
)

SKEW: Final = 30
"""How many seconds after their clock readers accept `iat`."""
_EXPRESSIONS: Final = ("{{subject()}}", "{{account-subject()}}")


class Subjects(NamedTuple):
    """Subjects that a user, or the users of a scoped key, may use."""

    allow_pub: tuple[str, ...] = ()
    deny_pub: tuple[str, ...] = ()
    allow_sub: tuple[str, ...] = ()
    deny_sub: tuple[str, ...] = ()

    def nats(self) -> dict[str, Any]:
        """Return the members `pub` and `sub`."""
        return {
            side: {k: list(each) for k, each in (("allow", allow), ("deny", deny)) if each}
            for side, allow, deny in (
                ("pub", self.allow_pub, self.deny_pub),
                ("sub", self.allow_sub, self.deny_sub),
            )
        }

    def check(self, *, template: bool) -> None:
        """Check that each is a subject or pattern.

        Raises:
            ConfigurationError: If not. Of a template's expressions only two are safe: the holder of
                the scoped key chooses the values of the others.
        """
        for each in (subject for side in self for subject in side):
            text = each
            for expression in _EXPRESSIONS if template else ():
                text = text.replace(expression, "x")
            if template and ("{{" in text or "}}" in text):
                raise ConfigurationError(
                    f"{cut(each)!r}: only {{{{subject()}}}} and {{{{account-subject()}}}} are safe;"
                    " give the subjects of each permission literally"
                )
            if not is_written_pattern(text):
                raise ConfigurationError(f"{cut(each)!r} is not a NATS subject or pattern")


# --- issuers --------------------------------------------------------------------------------------


def operator_signer(store: TrustStore, given: str | None) -> SigningKey:
    """Return the operator's identity.

    Raises:
        WrongIssuerError: If `-K` is another key.
        KeyStoreError: If there is no seed.
    """
    identity = store.operator.claims.subject
    key = store.keys.find(identity) if given is None else given_key(given, store.keys)
    if key.public != identity:
        raise WrongIssuerError(f"only the operator's identity issues its JWT: use -K {identity}")
    return key


def account_signer(store: TrustStore, given: str | None, without: str = "") -> SigningKey:
    """Return a signing key of the operator.

    Args:
        store: The operator.
        given: The value of `-K`.
        without: A key that must not be used.

    Raises:
        WrongIssuerError: If `-K` may not issue accounts, or there is no signing key.
        ConfigurationError: If several could be used.
        KeyStoreError: If there is no seed.
    """
    allowed = dict.fromkeys(sorted(store.operator.signers - {without}))
    if not allowed:
        raise WrongIssuerError(
            "the operator has no signing key to issue accounts with: run"
            f" `xkeymsg trust add-signing-key {store.path}`"
        )
    identity = store.operator.claims.subject
    return _chosen("accounts", allowed, given, store.keys, "the operator's identity", identity)


def user_signer(
    store: TrustStore, account: AccountFile, given: str | None, without: str = ""
) -> SigningKey:
    """Return a key that may issue users of an account, preferably a signing key.

    Raises:
        TrustError: If the account is not valid; or `-K` may not issue users.
        ConfigurationError: If several could be used.
        KeyStoreError: If there is no seed.
    """
    issuers = store.authority(account.account).issuers
    signers = account.account.signers
    roles = {key: None if scope is None else scope.role for key, scope in signers.items()}
    allowed = {key: roles.get(key) for key in sorted(issuers) if key != without}
    if not allowed:
        raise WrongIssuerError(
            f"{account.name} has no signing key to issue users with: run"
            f" `xkeymsg trust add-signing-key {store.path} {account.name}`"
        )
    what = f"users of {account.name}"
    return _chosen(what, allowed, given, store.keys, "the account's identity", account.key)


def _chosen(
    what: str,
    allowed: Mapping[str, str | None],
    given: str | None,
    keys: KeyFolder,
    whose: str,
    identity: str,
) -> SigningKey:
    """Return the given key, or else the only unscoped one in the folder of seeds.

    Args:
        what: What the key is to issue.
        allowed: The keys that may, with their roles; None for an unscoped key.
        given: The value of `-K`.
        keys: The folder of seeds.
        whose: Who `identity` is, for errors.
        identity: The key that others should not use.
    """
    others = [key for key in allowed if key != identity] or list(allowed)
    instead = ", ".join(_shown(key, allowed[key], keys) for key in others[:8])
    if given is not None:
        key = given_key(given, keys, {key: role for key, role in allowed.items() if role})
        if key.public in allowed:
            return key
        if key.public == identity:
            raise IdentityIssuerError(f"{whose} may not issue {what}; use -K {instead}")
        raise WrongIssuerError(f"{key.public} may not issue {what}; use -K {instead}")
    here = [key for key in others if allowed[key] is None and keys.has(key)]
    if len(here) == 1:
        return keys.find(here[0])
    if here:
        raise ConfigurationError(f"several keys may issue {what}: use -K {', '.join(here[:8])}")
    raise ConfigurationError(
        f"no seed of an unscoped key that may issue {what} in {keys.path}: give one with -K,"
        f" of {instead}"
    )


def _shown(key: str, role: str | None, keys: KeyFolder) -> str:
    notes = [] if role is None else [f"role {cut(role)}"]
    if keys.has(key):
        notes.append("in the key folder")
    return f"{key} ({', '.join(notes)})" if notes else key


# --- claims ---------------------------------------------------------------------------------------


def reissue(
    kind: Kind,
    signer: Signer,
    last: Claims,
    nats: Mapping[str, Any],
    *,
    revoked: int = 0,
    expires: int | None = None,
) -> str:
    """Issue a newer JWT about the same subject.

    Args:
        kind: Operator, account or user.
        signer: The issuer.
        last: The claims to replace.
        nats: The new member `nats`.
        revoked: The greatest revocation that would apply to the new JWT.
        expires: The new `exp`; None keeps that of `last`.

    Raises:
        ConfigurationError: If the last one is dated in the future.
    """
    issued = issue_time(now(), last.issued, revoked)
    check_clock(issued)
    return issue(
        kind,
        signer,
        last.subject,
        nats,
        issued=issued,
        name=last.name,
        not_before=last.not_before,
        expires=last.expires if expires is None else expires,
    )


def revoked_at(account: Account, user: str) -> int:
    """Return the greatest revocation that would apply to a new claim of a user, or 0."""
    return max(0, *(account.revocations.get(key, 0) for key in (user, "*")))


def check_clock(issued: int) -> None:
    """Refuse to issue a claim that readers would refuse for its date.

    Raises:
        ConfigurationError: If it is dated in the future.
    """
    if issued > now() + SKEW:
        raise ConfigurationError(
            f"the claim to replace, or a revocation, is dated {issued - now()} seconds after this"
            " clock: readers would refuse a newer one; set the clock, or wait"
        )


def new_operator(signer: SigningKey, name: str, nats: Mapping[str, Any], issued: int) -> str:
    """Issue the first JWT of an operator's identity.

    Raises:
        TrustError: If readers would refuse it.
    """
    check_clock(issued)
    text = issue(Kind.OPERATOR, signer, signer.public, nats, issued=issued, name=name)
    _check_operator(Operator.decode(text))
    return text


def reissue_operator(store: TrustStore, signer: SigningKey, **nats: Any) -> str:
    """Issue a newer operator JWT with some members of `nats` changed."""
    last = store.operator.claims
    text = reissue(Kind.OPERATOR, signer, last, {**last.nats, **nats})
    _check_operator(Operator.decode(text))
    return text


def _check_operator(operator: Operator) -> None:
    policy = TrustPolicy(anchors=frozenset({operator.claims.subject}))
    check_operator(policy, operator, now(), Marks())


def reissue_account(
    store: TrustStore,
    account: AccountFile,
    signer: SigningKey,
    operator: Operator | None = None,
    **nats: Any,
) -> str:
    """Issue a newer account JWT with some members of `nats` changed.

    The JWT that it replaces must be valid: a forged one must not become an honest one.

    Raises:
        TrustError: If the JWT to replace is not valid, or readers would refuse the new one.
    """
    store.authority(account.account)
    last = account.account.claims
    text = reissue(Kind.ACCOUNT, signer, last, {**last.nats, **nats})
    store.authority(Account.decode(text), operator)
    return text


def scope_of(key: str, role: str, subjects: Subjects) -> dict[str, Any]:
    """Return the entry of a scoped signing key.

    Raises:
        ConfigurationError: If the role or a subject is invalid.
    """
    if not PERMISSION.fullmatch(role):
        raise ConfigurationError(f"invalid role {cut(role)!r} (allowed: a-z 0-9 . _ -)")
    subjects.check(template=True)
    template = {**UNLIMITED_USER, **subjects.nats()}
    return {"kind": "user_scope", "key": key, "role": role, "template": template}


def permission_tags(permissions: Iterable[str]) -> list[str]:
    """Return the tags of permissions.

    Raises:
        ConfigurationError: If one is invalid.
    """
    for each in permissions:
        if not PERMISSION.fullmatch(each):
            raise ConfigurationError(
                f"invalid permission name {cut(each)!r} (allowed: a-z 0-9 . _ -)"
            )
    return [f"perm:{each}" for each in dict.fromkeys(permissions)]


def user_nats(
    account: AccountFile, signer: SigningKey, tags: list[str], subjects: Subjects
) -> dict[str, Any]:
    """Return the member `nats` of a new user.

    Raises:
        ConfigurationError: If a subject is invalid.
        ExcessiveClaimError: If a user of a scoped key is given subjects of its own.
    """
    subjects.check(template=False)
    scoped = account.account.signers.get(signer.public) is not None
    if scoped and any(subjects):
        raise ExcessiveClaimError("the users of a scoped key have the subjects of its role only")
    limits = {} if scoped else UNLIMITED_USER
    nats = {**limits, **subjects.nats(), "issuer_account": account.key}
    return nats | ({"tags": tags} if tags else {})


def check_user(
    store: TrustStore, account: AccountFile, authority: Authority, text: str
) -> Identity:
    """Return the verdict on a new user JWT.

    Raises:
        TrustError: If readers would refuse it, drop a permission, or not find it by its name.
    """
    user = User.decode(text)
    key = user.claims.subject
    found = identify(authority, key, [user], now(), Marks())
    if found.ungranted:
        lacking = ", ".join(sorted(found.ungranted)[:8])
        raise ExcessiveClaimError(
            f"the role {cut(found.role)!r} may not grant {cut(lacking)}: {account.name} lacks the"
            f" tag grant:{cut(found.role)}:…; run `xkeymsg trust add-signing-key` with --grant"
        )
    if found.name:
        _check_unique(store, account, authority, found)
    return found


def _check_unique(
    store: TrustStore, account: AccountFile, authority: Authority, found: Identity
) -> None:
    folded, at = fold_name(found.name), now()
    for path, other in store.users(account):
        if other.claims.subject == found.user:
            continue
        try:
            identity = identify(authority, other.claims.subject, [other], at, Marks())
            identity.check_life(at)
        except TrustError:
            continue
        if fold_name(identity.name) == folded:
            raise AmbiguousNameError(f"{path}: another user is called {cut(identity.name)!r}")

"""The verdicts on a whole folder at one time: what `describe`, `verify` and `export` show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from xkeymsg.cli.trust.store import AccountFile, TrustStore
from xkeymsg.display import cut
from xkeymsg.errors import ExpiredClaimError, RevokedError, TrustError, XKeyMsgError
from xkeymsg.fields.files import PERMISSION
from xkeymsg.trust.chain import TrustPolicy, check_operator
from xkeymsg.trust.claims import FOREVER, Account, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.marks import Marks
from xkeymsg.trust.members import Members
from xkeymsg.trust.names import fold_name
from xkeymsg.trust.stores.judge import Judge
from xkeymsg.trust.stores.marks_file import MarksFile
from xkeymsg.trust.stores.signers import ValidSigner, valid_signers

__all__ = ("UserVerdict", "Verdicts")

_SAFE: Final = re.compile(r"\{\{(?:subject|account-subject)\(\)\}\}")


class UserVerdict(NamedTuple):
    """A user JWT of the folder, and what readers make of it."""

    account: AccountFile
    user: User
    identity: Identity | None
    status: str
    """`valid`, `revoked`, `expired` or `refused`."""
    error: TrustError | None

    @property
    def code(self) -> str | None:
        """Why it is not valid."""
        return None if self.error is None else self.error.code

    @property
    def ends(self) -> int:
        """When its chain ends; 0 for never."""
        identity = self.identity
        if identity is None:
            return self.user.claims.expires
        return 0 if identity.valid_until == FOREVER else identity.valid_until

    def json(self) -> dict[str, Any]:
        """Return the object of `describe --json`."""
        return {
            "account": self.account.name,
            "name": self.user.claims.name,
            "key": self.user.claims.subject,
            "permissions": sorted(self.identity.permissions) if self.identity else [],
            "status": self.status,
            "code": self.code,
            "bearer": self.identity.bearer if self.identity else self.user.bearer,
        }


class Verdicts:
    """What readers with default settings make of a folder at a time.

    Args:
        store: The folder.
        at: The time, in seconds.
        anchors: The operator identities that readers trust; by default that of the folder.
    """

    def __init__(self, store: TrustStore, at: int, anchors: frozenset[str] = frozenset()) -> None:
        self.store, self.at = store, at
        self.anchors = anchors or frozenset({store.operator.claims.subject})
        policy = TrustPolicy(anchors=self.anchors)
        accounts = {account.key: account.key for account in store.accounts}
        judge = Judge(store.source, policy, accounts, {}, MarksFile())
        self.members: Members = judge.judge(at)
        self.operator_error: TrustError | None = None
        try:
            check_operator(policy, store.operator, at, Marks())
        except TrustError as error:
            self.operator_error = error
        self._refusals = judge.refusals

    def account_error(self, account: AccountFile) -> XKeyMsgError | None:
        """Return why an account is not valid, or None."""
        if self.operator_error is not None:
            return self.operator_error
        if account.key not in self.members.known:
            return self._refusals.get(f"account {account.key}")
        if self._is_over(account.account.claims.expires):
            return ExpiredClaimError("the account JWT has expired")
        return None

    def _is_over(self, expires: int) -> bool:
        return 0 < expires < self.at

    def signers(self, account: AccountFile) -> tuple[ValidSigner, ...]:
        """Return the keys that may issue users of an account; none, if it is not valid."""
        known = self.members.known.get(account.key)
        if known is None or self.account_error(account) is not None:
            return ()
        return valid_signers(known.authority)

    def users(self) -> Iterator[UserVerdict]:
        """Yield every user of the folder."""
        for account in self.store.accounts:
            broken = self.account_error(account)
            for _, user in self.store.users(account):
                place = account.key, user.claims.subject
                identity = self.members.identities.get(place)
                error = self.members.refused.get(place)
                if identity is None and error is None and isinstance(broken, TrustError):
                    error = broken
                status = "revoked" if isinstance(error, RevokedError) else "refused"
                if identity is not None:
                    try:
                        identity.check_life(self.at)
                        status = "valid"
                    except ExpiredClaimError as expired:
                        status, error = "expired", expired
                yield UserVerdict(account, user, identity, status, error)

    def json(self, users: list[UserVerdict]) -> dict[str, Any]:
        """Return the object of `describe --json`."""
        operator = self.store.operator
        error = self.operator_error
        return {
            "operator": {
                "name": self.store.name,
                "key": operator.claims.subject,
                "signing_keys": sorted(operator.signers),
                "strict_signing_key_usage": operator.strict,
                "system_account": operator.claims.nats.get("system_account"),
                "issued": operator.claims.issued,
                "expires": operator.claims.expires or None,
                "code": None if error is None else error.code,
            },
            "accounts": [self._account_json(each) for each in self.store.accounts],
            "users": [each.json() for each in users],
        }

    def _account_json(self, account: AccountFile) -> dict[str, Any]:
        error = self.account_error(account)
        claims = account.account.claims
        return {
            "name": account.name,
            "key": account.key,
            "valid_signers": [each.key for each in self.signers(account)],
            "signing_keys": [
                {"key": key, "role": None if scope is None else scope.role}
                for key, scope in account.account.signers.items()
            ],
            "tags": sorted(account.account.tags),
            "revocations": dict(account.account.revocations),
            "issuer": claims.issuer,
            "issued": claims.issued,
            "expires": claims.expires or None,
            "code": None if error is None else error.code,
        }

    # --- what an administrator should know --------------------------------------------------------

    def errors(self) -> Iterator[str]:
        """Yield what readers refuse, apart from users that are revoked or have expired."""
        yield from map(str, self.store.source.faults.values())
        if self.operator_error is not None:
            yield f"operator {self.store.name}: {self.operator_error}"
            return
        for account in self.store.accounts:
            if (error := self.account_error(account)) is not None:
                yield f"account {cut(account.name)}: {error}"
        yield from self._user_errors()

    def _user_errors(self) -> Iterator[str]:
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        for each in self.users():
            if each.status == "refused" and self.account_error(each.account) is None:
                yield f"user {_name(each)}: {each.error}"
            if each.status == "valid" and each.identity and each.identity.name:
                names[each.account.key, fold_name(each.identity.name)].append(_name(each))
        for alike in names.values():
            if len(alike) > 1:
                yield f"several users have the same name, or one like it: {', '.join(alike[:8])}"

    def notes(self) -> Iterator[str]:
        """Yield what is valid, and yet risky or a mistake."""
        for account in self.store.accounts:
            yield from _account_notes(account.name, account.account)
        for each in self.users():
            if each.status == "valid" and each.identity is not None:
                yield from (f"user {_name(each)}: {note}" for note in _notes(each, each.identity))


def _notes(each: UserVerdict, identity: Identity) -> Iterator[str]:
    if identity.bearer:
        yield "a bearer token is a password: do not publish its JWT"
    if identity.ungranted:
        yield f"its role may not grant {cut(', '.join(sorted(identity.ungranted)[:8]))}"
    if not identity.name:
        yield "without a valid name; others reach it by its key only"
    for tag in sorted(each.user.tags):
        is_permission = tag.startswith("perm:") and PERMISSION.fullmatch(tag[5:])
        if tag.casefold().startswith("perm:") and not is_permission:
            yield f"the tag {cut(tag)!r} is not a permission"
    if each.ends == 0:
        yield "never expires"


def _name(each: UserVerdict) -> str:
    name = each.identity.name if each.identity else ""
    return f"{cut(each.account.name)}/{cut(name or each.user.claims.name or '-')}"


def _account_notes(name: str, account: Account) -> Iterator[str]:
    roles: dict[str, int] = defaultdict(int)
    for scope in account.signers.values():
        if scope is not None:
            roles[scope.role] += 1
            if not PERMISSION.fullmatch(scope.role):
                yield f"account {cut(name)}: the role {cut(scope.role)!r} grants nothing"
    for role, count in roles.items():
        if count > 1:
            yield f"account {cut(name)}: {count} keys have the role {cut(role)!r}, and share grants"
    for entry in account.claims.nats.get("signing_keys", []):
        if isinstance(entry, dict) and "{{" in _SAFE.sub("", str(entry.get("template"))):
            yield (
                f"account {cut(name)}: role {cut(str(entry.get('role')))!r}: its template has"
                " expressions whose values the holder of the key chooses"
            )

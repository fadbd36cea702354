"""Decides which claims of a folder and a directory count, and remembers the last valid ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from xkeymsg.errors import (
    ExpiredClaimError,
    RevokedError,
    RollbackError,
    TrustError,
    XKeyMsgError,
)
from xkeymsg.trust.chain import (
    Authority,
    TrustPolicy,
    account_issuers,
    authorize,
    check_operator,
)
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.jwt import Claims, Kind
from xkeymsg.trust.marks import Seen
from xkeymsg.trust.members import Known, Members
from xkeymsg.trust.stores.folder import ClaimsFolder
from xkeymsg.trust.stores.marks_file import MarksFile
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place, Verified, fault_of

__all__ = ("Judge",)

_NEVER: Final = 1 << 62


class Judge:
    """Makes `Members` of the claims in a folder, and of those in a directory.

    An operator or account JWT that does not count leaves the last valid one in use, as long as that
    still counts: the accounts of a removed signing key end, however valid they were. The last
    account JWTs survive a restart in the file of marks.

    Judging thousands of users takes a second, for which nobody may have to wait: `begin` and
    `finish` are short and called under the caller's lock, as is `take`, but `judge_users` is not.

    Args:
        source: The claims.
        policy: Anchors, and who may issue.
        accounts: Public keys of accounts by alias; the own one is "".
        pins: Names that stand for one user key.
        marks: The rollback marks; those of operator and accounts are on disk before use.
    """

    def __init__(
        self,
        source: ClaimsFolder,
        policy: TrustPolicy,
        accounts: Mapping[str, str],
        pins: Mapping[str, str],
        marks: MarksFile,
    ) -> None:
        self.source = source
        self.policy = policy
        self.marks = marks
        self.accounts = accounts
        self.published: Published | None = None
        self._has_news = False
        self.refusals: dict[str, XKeyMsgError] = {}
        """Why the operator, or an account, of the folder does not count; by what it is."""
        self.pins = pins
        self._operator: Operator | None = None
        self._authorities: dict[str, Authority] = {}
        self._judged = 0
        self._next = self._users_begin = 0
        self._taken: set[Place] | None = None
        """Users that the directory has shown, or dropped, from `begin` to `finish`."""

    @property
    def must_judge(self) -> bool:
        """Whether the directory has shown an account JWT, or judging was begun but not finished."""
        return self._has_news or self._taken is not None

    def is_due(self, now: int) -> bool:
        """Return whether the verdicts may have changed without a change of the folder.

        A claim begins, now is earlier, or there is another account JWT.
        """
        return self.must_judge or now >= self._next or now < self._judged - self.policy.skew

    def judge(self, now: int) -> Members:
        """Decide about all claims at a time in seconds; for callers without a directory."""
        return self.finish(self.judge_users(self.begin(now), now), now)

    def begin(self, now: int) -> Mapping[str, Known]:
        """Decide about operator and accounts, and return the claims to judge."""
        self.refusals, self._has_news = {}, False
        self._judged, self._taken = now, set()
        operator = self._valid_operator(now)
        known: dict[str, Known] = {}
        for alias, account in self.accounts.items():
            authority = operator and self._authority(operator, alias, account, now)
            if authority:
                known[alias] = self._known(authority, account)
        accounts: list[Iterable[Account]] = [*self.source.known.values()]
        if self.published is not None:
            accounts += self.published.accounts.values()
        above: list[Claims] = [each.claims for texts in accounts for each in texts]
        if self.source.operator is not None:
            above.append(self.source.operator.claims)
        self._next = self._first_begin(above, now)
        return known

    def judge_users(self, known: Mapping[str, Known], now: int) -> Members:
        """Decide about all users; the marks of operator and accounts are on disk before."""
        authorities = [each.authority for each in known.values()]
        seen = [seen for each in authorities for seen in each.seen]
        self.marks.record(seen, [each.accounts for each in authorities], sync=True)
        members = Members(known, self.pins, now, self.marks.marks, self.marks.lock)
        for identity in members.identities.values():
            self._record(identity, now)
        tables: list[Any] = [t for each in known.values() for t in (each.users, each.certificates)]
        claims = (each.claims for table in tables for texts in table.values() for each in texts)
        self._users_begin = self._first_begin(claims, now)
        return members

    def finish(self, members: Members, now: int) -> Members:
        """Judge again what the directory has shown since `begin`, and return the members."""
        taken, self._taken = self._taken or (), None
        for place in taken:
            alias = self._alias(place.account)
            if (known := members.known.get(alias)) is not None:
                self._merge(known, *place)
                if (identity := members.judge(alias, place.user, now)) is not None:
                    self._record(identity, now)
        if self.published is not None:
            for place in tuple(self.published.certificates):
                at = self._alias(place.account), place.user
                self.published.judged(place, admitted=at in members.identities)
            self._drop(members, now)
        self._next = min(self._next, self._users_begin)
        return members

    def _first_begin(self, claims: Iterable[Claims], now: int) -> int:
        """Return when the next of these claims begins to count."""
        return min((time for each in claims if (time := self._begin(each)) > now), default=_NEVER)

    def _record(self, identity: Identity, now: int) -> None:
        self.marks.record(identity.seen)
        with self.marks.lock, suppress(TrustError):
            current = identity.current(now)
            self.marks.marks.record_certificate(identity.user, current.not_before)

    def take(self, members: Members, found: Verified, now: int) -> bool:
        """Judge the user of an entry of the directory again; return whether anything has changed.

        An account JWT changes every verdict under it, so it only sets `has_news`.
        """
        published, place = self.published, found.place
        if published is None:
            return False
        alias = self._alias(place.account)
        known = members.known.get(alias)
        if place.user:
            issuers: Collection[str] = known.authority.issuers if known else ()
        else:
            issuers = account_issuers(self.policy, self._operator) if self._operator else ()
        is_new = published.add(found, issuers, lambda claims: self._begin(claims) <= now)
        if place.user:
            return self._take_user(members, alias, found, now, is_new=is_new)
        self._has_news |= is_new
        if known is not None:
            self._check_shown(found, found.accounts, known.authority.seen, issuers)
        return False

    def _take_user(
        self, members: Members, alias: str, found: Verified, now: int, *, is_new: bool
    ) -> bool:
        user = found.place.user
        assert self.published is not None  # noqa: S101 - for mypy
        if alias in members.known and is_new:
            self._merge(members.known[alias], *found.place)
            members.judge(alias, user, now)
        identity = members.identities.get((alias, user))
        if identity is not None:
            self._check_shown(found, found.users, identity.seen)
        if not is_new:
            return False
        if self._taken is not None:
            self._taken.add(found.place)
        if identity is not None:
            self._record(identity, now)
        elif (
            found.stored
            and (refusal := members.refused.get((alias, user))) is not None
            and not isinstance(refusal, (RevokedError, ExpiredClaimError))  # users leave
        ):
            self.published.alarm(found.place, fault_of(found.place, refusal))
        self.published.judged(found.place, admitted=identity is not None)
        self._drop(members, now)
        claims = [each.claims for each in found.users] + [c.claims for c in found.certificates]
        self._next = min(self._next, self._first_begin(claims, now))
        return alias in members.known

    def _alias(self, account: str) -> str:
        return next(alias for alias, key in self.accounts.items() if key == account)

    def _drop(self, members: Members, now: int) -> None:
        """Take out of the members what the directory has dropped to make room."""
        assert self.published is not None  # noqa: S101 - for mypy
        for account, user in self.published.take_dropped():
            if self._taken is not None:
                self._taken.add(Place(account, user))
            alias = self._alias(account)
            if (known := members.known.get(alias)) is not None:
                self._merge(known, account, user)
                members.judge(alias, user, now)

    def _check_shown(
        self,
        found: Verified,
        texts: Iterable[Account | User],
        seen: Collection[Seen],
        signers: Collection[str] = (),
    ) -> None:
        """Raise an alarm if the bucket has a JWT that does not count.

        Newer ones by `signers` are judged later.
        """
        newest = max((each.issued for each in seen), default=0)
        for claims in (each.claims for each in texts if found.stored):
            own = Seen(claims.subject, claims.issuer, claims.issued)
            if own in seen or (claims.issuer in signers and claims.issued > newest):
                continue
            why = RollbackError(
                f"{found.place}: the bucket has a JWT that does not count: publish the newest one"
                " (`xkeymsg directory publish`)"
            )
            assert self.published is not None  # noqa: S101 - for mypy
            self.published.alarm(found.place, why)

    def _known(self, authority: Authority, account: str) -> Known:
        """Return the claims of the folder and the directory under an authority."""
        source, published = self.source, self.published
        users = source.users.get(account, {})
        if published is None:
            return Known(authority, users, source.certificates)
        known = Known(authority, dict(users), dict(source.certificates))
        for user in published.users.get(account, {}):
            self._merge(known, account, user)
        return known

    def _merge(self, known: Known, account: str, user: str) -> None:
        """Set the claims about a user to those of the folder and the directory."""
        source, published = self.source, self.published
        assert published is not None  # noqa: S101 - for mypy
        users: Any = known.users
        certificates: Any = known.certificates
        texts = published.users.get(account, {}).get(user, ())
        users[user] = [*source.users.get(account, {}).get(user, ()), *texts]
        certified = published.certificates.get(Place(account, user), ())
        certificates[user] = [*source.certificates.get(user, ()), *certified]
        for table in (users, certificates):
            if not table[user]:
                del table[user]

    def _begin(self, claims: Claims) -> int:
        """Return when a claim begins to count; `nbf` of a certificate is compared when asked."""
        begin = 0 if claims.kind is Kind.XKEY else claims.not_before
        return max(begin, claims.issued - self.policy.skew)

    def _valid_operator(self, now: int) -> Operator | None:
        """Return the operator of the folder, or else the last valid one."""
        for operator in (self.source.operator, self._operator):
            if operator is None:
                continue
            try:
                check_operator(self.policy, operator, now, self.marks.marks)
            except TrustError as error:
                self._refused("operator", error)
            else:
                self._operator = operator
                return operator
        return None

    def _authority(
        self, operator: Operator, alias: str, account: str, now: int
    ) -> Authority | None:
        """Return the authority by the known account JWTs, or else by the last valid ones."""
        last = self._authorities.get(alias)
        texts: list[Iterable[Account]] = [self.source.known.get(account, ())]
        if self.published is not None and (shown := self.published.accounts.get(account)):
            texts.insert(0, [*texts[0], *shown])
        for candidates in [*texts, last.accounts if last else (), self.marks.kept(account)]:
            try:
                authority = authorize(
                    self.policy, operator, account, candidates, now, self.marks.marks
                )
            except TrustError as error:
                self._refused(f"account {account}", error)
            else:
                self._authorities[alias] = authority
                return authority
        return None

    def _refused(self, what: str, error: TrustError) -> None:
        refusal = type(error)(f"{self.source.path}: {what}: {error}")
        self.refusals.setdefault(what, refusal)

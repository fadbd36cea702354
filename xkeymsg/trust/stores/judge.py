"""Decides which claims of a folder and a directory count, and remembers the last valid ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from xkeymsg.errors import RollbackError, TrustError, XKeyMsgError
from xkeymsg.trust.chain import Authority, TrustPolicy, authorize, check_operator
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.jwt import Claims, Kind
from xkeymsg.trust.marks import Seen
from xkeymsg.trust.members import Known, Members
from xkeymsg.trust.stores.folder import ClaimsFolder
from xkeymsg.trust.stores.marks_file import MarksFile
from xkeymsg.trust.stores.published import Published
from xkeymsg.trust.stores.published_entry import Place, Verified

__all__ = ("Judge",)

_NEVER: Final = 1 << 62


class Judge:
    """Makes `Members` of the claims in a folder, and of those in a directory.

    An operator or account JWT that does not count leaves the last valid one in use, as long as that
    still counts: the accounts of a removed signing key end, however valid they were. Not
    thread-safe.

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
        self.has_news = False
        """Whether the directory has shown an account JWT that is not judged yet."""
        self.refusals: dict[str, XKeyMsgError] = {}
        """Why the operator, or an account, of the folder does not count; by what it is."""
        self.pins = pins
        self._operator: Operator | None = None
        self._authorities: dict[str, Authority] = {}
        self._judged = 0
        self._next = 0

    def is_due(self, now: int) -> bool:
        """Return whether the verdicts may have changed without a change of the folder.

        A claim begins, now is earlier, or there is another account JWT.
        """
        return self.has_news or now >= self._next or now < self._judged - self.policy.skew

    def judge(self, now: int) -> Members:
        """Decide about all claims at a time in seconds."""
        self.refusals, self.has_news = {}, False
        operator = self._valid_operator(now)
        known: dict[str, Known] = {}
        for alias, account in self.accounts.items():
            authority = operator and self._authority(operator, alias, account, now)
            if authority:
                known[alias] = self._known(authority, account)
        seen = [seen for each in known.values() for seen in each.authority.seen]
        self.marks.record(seen, sync=True)
        members = Members(known, self.pins, now, self.marks.marks, self.marks.lock)
        self.marks.record(seen for each in members.identities.values() for seen in each.seen)
        for identity in members.identities.values():
            self._record_current(identity, now)
        if self.published is not None:
            for place in tuple(self.published.certificates):
                at = self._alias(place.account), place.user
                self.published.judged(place, admitted=at in members.identities)
            self._drop(members, now)
        begin = map(self._begin, self._claims())
        self._next = min((time for time in begin if time > now), default=_NEVER)
        self._judged = now
        return members

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
            issuers = self._operator.signers if self._operator else ()
        is_new = published.add(found, issuers, lambda claims: self._begin(claims) <= now)
        if place.user:
            return self._take_user(members, alias, found, now, is_new=is_new)
        self.has_news |= is_new
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
        if identity is not None:
            self.marks.record(identity.seen)
            self._record_current(identity, now)
        elif found.stored and (alias, user) in members.refused:
            self.published.alarm(found.place, _placed(members.refused[alias, user], found.place))
        self.published.judged(found.place, admitted=identity is not None)
        self._drop(members, now)
        claims = [each.claims for each in found.users] + [c.claims for c in found.certificates]
        begin = (time for each in claims if (time := self._begin(each)) > now)
        self._next = min(self._next, *begin, _NEVER)
        return alias in members.known

    def _alias(self, account: str) -> str:
        return next(alias for alias, key in self.accounts.items() if key == account)

    def _drop(self, members: Members, now: int) -> None:
        """Take out of the members what the directory has dropped to make room."""
        assert self.published is not None  # noqa: S101 - for mypy
        for account, user in self.published.take_dropped():
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

    def _record_current(self, identity: Identity, now: int) -> None:
        with self.marks.lock, suppress(TrustError):
            current = identity.current(now)
            self.marks.marks.record_certificate(identity.user, current.not_before)

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

    def _claims(self) -> Iterator[Claims]:
        source = self.source
        if source.operator is not None:
            yield source.operator.claims
        yield from (each.claims for texts in source.known.values() for each in texts)
        for users in source.users.values():
            yield from (each.claims for texts in users.values() for each in texts)
        for certificates in source.certificates.values():
            yield from (each.claims for each in certificates)
        if self.published is not None:
            yield from self.published.claims

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
        """Return the authority by the known account JWTs, or else by the last valid one."""
        last = self._authorities.get(alias)
        texts: list[Iterable[Account]] = [self.source.known.get(account, ())]
        if self.published is not None and (shown := self.published.accounts.get(account)):
            texts.insert(0, [*texts[0], *shown])
        for candidates in [*texts, *([last.accounts] if last else [])]:
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


def _placed(error: TrustError, place: Place) -> TrustError:
    return type(error)(f"{place}: {error}")

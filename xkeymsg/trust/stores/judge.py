"""Decides which claims of a folder count, and remembers the last valid ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from xkeymsg.errors import TrustError, XKeyMsgError
from xkeymsg.trust.chain import Authority, TrustPolicy, authorize, check_operator
from xkeymsg.trust.claims import Account, Operator
from xkeymsg.trust.jwt import Claims
from xkeymsg.trust.members import Known, Members
from xkeymsg.trust.stores.folder import ClaimsFolder
from xkeymsg.trust.stores.marks_file import MarksFile

__all__ = ("Judge",)

_NEVER: Final = 1 << 62


class Judge:
    """Makes `Members` of the claims in a folder.

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
        self.refusals: dict[str, XKeyMsgError] = {}
        """Why the operator, or an account, of the folder does not count; by what it is."""
        self._accounts, self._pins = accounts, pins
        self._operator: Operator | None = None
        self._authorities: dict[str, Authority] = {}
        self._judged = 0
        self._next = 0

    def is_due(self, now: int) -> bool:
        """Return whether time alone has changed the verdicts: a claim begins, or now is earlier."""
        return now >= self._next or now < self._judged - self.policy.skew

    def judge(self, now: int) -> Members:
        """Decide about all claims at a time in seconds."""
        self.refusals = {}
        operator = self._valid_operator(now)
        known: dict[str, Known] = {}
        for alias, account in self._accounts.items():
            authority = operator and self._authority(operator, alias, account, now)
            if authority:
                users = self.source.users.get(account, {})
                known[alias] = Known(authority, users, self.source.certificates)
        seen = [seen for each in known.values() for seen in each.authority.seen]
        self.marks.record(seen, sync=True)
        members = Members(known, self._pins, now, self.marks.marks, self.marks.lock)
        self.marks.record(seen for each in members.identities.values() for seen in each.seen)
        with self.marks.lock:
            for identity in members.identities.values():
                with suppress(TrustError):
                    current = identity.current(now)
                    self.marks.marks.record_certificate(identity.user, current.not_before)
        begin = (max(each.not_before, each.issued - self.policy.skew) for each in self._claims())
        self._next = min((time for time in begin if time > now), default=_NEVER)
        self._judged = now
        return members

    def _claims(self) -> Iterator[Claims]:
        source = self.source
        if source.operator is not None:
            yield source.operator.claims
        yield from (each.claims for texts in source.known.values() for each in texts)
        for users in source.users.values():
            yield from (each.claims for texts in users.values() for each in texts)
        for certificates in source.certificates.values():
            # Their `nbf` is compared at each question.
            yield from (each.claims._replace(not_before=0) for each in certificates)

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
        """Return the authority by the folder's account JWT, or else by the last valid one."""
        last = self._authorities.get(alias)
        texts: list[Iterable[Account]] = [self.source.known.get(account, ())]
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

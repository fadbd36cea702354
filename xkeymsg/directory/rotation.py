"""The states of a user's keys, and what to do next: nothing of it is stored.

Keys, their certificates and the clock decide. An xkey is *upcoming* before the `nbf` of its newest
certificate, *current* if that is the newest `nbf` reached, and *retired* after that, until its
secret is deleted. Steps can be repeated, and an interrupted one is found and finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple

from xkeymsg.keys import XKey
from xkeymsg.nkey import Signer
from xkeymsg.trust.claims import Account, Certificate, User
from xkeymsg.trust.identity import CertifiedKey, by_age
from xkeymsg.trust.jwt import Kind, issue, issue_time
from xkeymsg.trust.members import Members

__all__ = (
    "LIFE",
    "RENEW",
    "OwnKeys",
    "RotationStep",
    "RotationTimes",
    "certified_key",
    "new_certificate",
    "shown_keys",
)

LIFE: Final = 30 * 86_400
"""Seconds for which a certificate is valid: the longest life that readers accept."""
RENEW: Final = 10
"""A certificate is renewed in the last of so many parts of its life if no key can follow it."""


class RotationTimes(NamedTuple):
    """Durations in seconds."""

    interval: int
    """How long a key is current."""
    lead: int
    """How long before its `nbf` a certificate is published."""
    retain: int | None
    """How long a retired secret is kept; None: forever."""


class RotationStep(NamedTuple):
    """The next change: "create" makes a secret, "certify" signs its certificate."""

    action: Literal["create", "certify", "delete"]
    key: XKey | None = None
    not_before: int = 0
    """Of the certificate; for a key to delete, when it was retired."""


def certified_key(certificate: Certificate, accounts: Iterable[Account] = ()) -> CertifiedKey:
    """Return what a certificate says, as `Identity.keys` has it.

    Args:
        certificate: The certificate.
        accounts: The account's JWTs that count: they may revoke it.
    """
    claims = certificate.claims
    revoked = any(each.revokes(claims) for each in accounts)
    return CertifiedKey(certificate.key, claims.not_before, claims.expires, claims.issued, revoked)


def shown_keys(members: Members, user: str) -> tuple[CertifiedKey, ...]:
    """Return what the folder and the directory show of a user of the own account."""
    identity = members.identities.get(("", user))
    return () if identity is None else identity.keys


class OwnKeys:
    """The keys of the own user at a time.

    Args:
        held: The keys whose secrets are here.
        certified: The certificates beside the secrets.
        shown: Those that the directory has shown; they end with the user's JWT at the latest.
        now: Our clock, in seconds.
        accounts: The account's JWTs that count: a revoked xkey is not certified again.
        stored: The keys in the store, which alone are certified; by default, all that are held.
    """

    def __init__(
        self,
        held: Collection[XKey],
        certified: Iterable[CertifiedKey],
        shown: Iterable[CertifiedKey],
        now: int,
        accounts: Iterable[Account] = (),
        *,
        stored: Collection[XKey] | None = None,
    ) -> None:
        self._now = now
        self._held = held
        self._stored = held if stored is None else stored
        shown = tuple(shown)
        self._shown = {(each.key, each.not_before, each.issued) for each in shown}
        newest: dict[XKey, CertifiedKey] = {}
        # Of one certificate, the last is what the certificate itself says.
        for each in sorted((*shown, *certified), key=by_age):
            if each.key not in newest or each.not_before <= now:
                newest[each.key] = each
        self._newest = newest
        self.ordered = sorted((c for key, c in newest.items() if key in held), key=by_age)
        """The newest certificate reached of each key that is held, or its first; oldest first."""
        reached = [each for each in self.ordered if each.not_before <= now]
        self.current = reached[-1] if reached else None
        """The current key, usable or not."""
        self.upcoming = [each for each in self.ordered if each.not_before > now]
        self.uncertified = [key for key in held if key not in newest]
        revoked = {key for each in accounts for key in each.revocations}
        self.certifiable = [
            key for key in self.uncertified if key in self._stored and str(key) not in revoked
        ]

    @property
    def missing(self) -> list[CertifiedKey]:
        """Certificates of secrets that are not here, though others seal to them now or soon."""
        age = (0, 0) if self.current is None else by_age(self.current)
        return [
            each for each in self._newest.values()
            if each.key not in self._held and by_age(each) >= age
            and each.not_after >= self._now and not each.revoked
        ]  # fmt: skip

    @property
    def sealing(self) -> CertifiedKey | None:
        """The key to seal with: the newest usable one that the directory has shown, or else any."""
        usable = [e for e in self.ordered if e.not_before <= self._now and self._is_usable(e)]
        shown = [each for each in usable if self.is_shown(each)]
        return max(shown or usable, key=by_age, default=None)

    def is_shown(self, certificate: CertifiedKey) -> bool:
        """Return whether the directory has shown a certificate."""
        return (certificate.key, certificate.not_before, certificate.issued) in self._shown

    def retired_at(self, key: XKey) -> int | None:
        """Return when a key was retired; None if it was not, or has no certificate."""
        own = self._newest.get(key)
        if own is None:
            return None
        later = [e.not_before for e in self.ordered if e.key != key and by_age(e) > by_age(own)]
        return min(later) if later and min(later) <= self._now else None

    def retired(self, retain: int) -> list[RotationStep]:
        """Return which secrets and certificates have been kept long enough, oldest first."""
        found = []
        for each in sorted(self._newest.values(), key=by_age):
            retired = self.retired_at(each.key)
            if retired is not None and retired + retain <= self._now:
                found.append(RotationStep("delete", each.key, retired))
        return found

    def next_rotation(self, times: RotationTimes) -> int:
        """Return when the next key becomes current."""
        if self.upcoming:
            return self.upcoming[0].not_before
        return self._now if self.current is None else self.current.not_before + times.interval

    def step(self, times: RotationTimes, *, since: int = 0) -> RotationStep | None:
        """Return what the owner does next, apart from publishing and deleting.

        Args:
            times: The settings.
            since: A key that became current before this time is replaced at once, without a lead;
                a time in the future is ignored.
        """
        now, current = self._now, self.current
        usable = current is not None and self._is_usable(current)
        at_once = current is not None and current.not_before < since <= now
        # Nobody seals to an unusable key, so nobody needs time to learn of its successor.
        begin = now + times.lead if usable and not at_once else now
        # Nor does an older key replace a revoked one, once its time has come.
        begin = min([begin, *(each.not_before for each in self.upcoming if each.revoked)])
        if self.certifiable:
            return RotationStep("certify", self.certifiable[0], begin)
        following = [e for e in self.upcoming if e.key in self._stored and not e.revoked]
        if following:
            late = [each for each in following if self._is_late(each, begin, times)]
            return RotationStep("certify", late[0].key, begin) if late else None
        if current is None or not usable or at_once:
            return RotationStep("create")
        if not self.is_shown(current) and (before := self._before(current)) is not None:
            if before.not_before < since <= current.not_before:  # it follows at once, and still so
                begin = now
                if current.not_before >= now - times.lead // 2:
                    return None
            return RotationStep("certify", current.key, begin)
        is_due = now >= current.not_before + times.interval - times.lead
        return RotationStep("create") if is_due else None

    def renewal(self) -> RotationStep | None:
        """Return the renewal of a current certificate that ends before another key can follow."""
        current = self.current
        if current is None or current.revoked or current.key not in self._stored:
            return None
        if current.not_after - self._now > (current.not_after - current.not_before) // RENEW:
            return None
        if any(self.is_shown(each) for each in self.upcoming):
            return None
        return RotationStep("certify", current.key, self._now)

    def _before(self, current: CertifiedKey) -> CertifiedKey | None:
        """Return the usable key to which others seal while the current one is not shown."""
        for each in reversed(self.ordered[: self.ordered.index(current)]):
            if self.is_shown(each):
                return each if self._is_usable(each) else None
        return None

    def _is_late(self, upcoming: CertifiedKey, begin: int, times: RotationTimes) -> bool:
        """Return whether a certificate has to be signed again: published too late, or at once."""
        if begin == self._now:
            return True
        return not self.is_shown(upcoming) and upcoming.not_before < begin - times.lead // 2

    def _is_usable(self, known: CertifiedKey) -> bool:
        return not known.revoked and self._now <= known.not_after


def new_certificate(
    user: User,
    signer: Signer,
    key: XKey,
    not_before: int,
    *,
    now: int,
    known: Iterable[CertifiedKey] = (),
    accounts: Iterable[Account] = (),
) -> str:
    """Sign a certificate of the user's own xkey, later than all known claims.

    Args:
        user: The user JWT.
        signer: The user's own key.
        key: The xkey.
        not_before: `nbf`.
        now: Our clock, in seconds.
        known: The certificates that exist.
        accounts: The account's JWTs that count; it is later than their revocations, too.

    Raises:
        TrustError: If the result is not a valid certificate.
    """
    last = max([user.claims.issued, *(each.issued for each in known)])
    names = user.claims.subject, "*"
    revoked = max((a.revocations.get(each, 0) for a in accounts for each in names), default=0)
    return issue(
        Kind.XKEY, signer, str(key), {"issuer_account": user.account},
        issued=issue_time(now, last, revoked), not_before=not_before, expires=not_before + LIFE,
    )  # fmt: skip

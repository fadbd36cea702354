"""The verdict of a chain on a user, and the xkeys that the user has certified (T-7 to T-10)."""

from __future__ import annotations

from typing import NamedTuple

from xkeymsg.errors import (
    ConflictError,
    ExpiredClaimError,
    NotYetValidError,
    RevokedError,
    RollbackError,
    TrustError,
    UnknownKeyError,
)
from xkeymsg.keys import XKey
from xkeymsg.trust.claims import Rights
from xkeymsg.trust.marks import Seen

__all__ = ("CertifiedKey", "Identity", "by_age")


class CertifiedKey(NamedTuple):
    """An xkey that a user has certified; times in seconds since 1970."""

    key: XKey
    not_before: int
    not_after: int
    issued: int
    revoked: bool


class Identity(NamedTuple):
    """The verdict on a user (T-10)."""

    account: str
    user: str
    name: str
    """Its name, `reader:…` for a user of a scoped key; empty if it has no valid name."""
    role: str
    """The role of the scoped key that issued it; empty for an unscoped key, or an invalid role."""
    permissions: frozenset[str]
    ungranted: frozenset[str]
    """Permissions that its tags request but its issuer may not grant."""
    bearer: bool
    """Whether its JWT is a bearer token, which must not be published."""
    rights: frozenset[Rights]
    """A subject is permitted if all of these permit it."""
    valid_until: int
    """The last second of its chain, since 1970."""
    seen: tuple[Seen, ...]
    """Record these in the marks before using the identity."""
    keys: tuple[CertifiedKey, ...] = ()

    def may_send(self, subject: str) -> bool:
        """Return whether the user may send on a sealed subject (T-8)."""
        return all(rights.permit(subject) for rights in self.rights)

    def check_life(self, at: int, skew: int = 0) -> None:
        """Check that the chain had not expired at a time (T-6).

        Raises:
            ExpiredClaimError: If it had.
        """
        if at - skew > self.valid_until:
            raise ExpiredClaimError(f"{self.user}: the user or a claim above it has expired")

    def check_sender(self, key: XKey, at: int, skew: int = 0) -> None:
        """Check that an xkey belonged to this user at the time of a message (T-6, T-7).

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
        """Return the one xkey to seal to now: the newest `nbf` not in the future (T-14).

        Revoked and expired xkeys take part in the order: an older key must not replace them.

        Args:
            now: Our clock, in seconds.
            mark: `Marks.certified` of this user.

        Raises:
            ConflictError: If two different xkeys are equally new.
            ExpiredClaimError: If the newest, or the chain, has expired.
            RevokedError: If the newest is revoked.
            RollbackError: If a newer xkey was current before.
            UnknownKeyError: If the user has no certified xkey.
        """
        self.check_life(now)
        reached = [known for known in self.keys if known.not_before <= now]
        if not reached:
            raise UnknownKeyError(f"{self.user} has no certified xkey")
        newest = max(reached, key=by_age)
        if newest.not_before < mark:
            raise RollbackError(f"{self.user}: a newer xkey was current before")
        if any(known.key != newest.key and by_age(known) == by_age(newest) for known in reached):
            raise ConflictError(f"{self.user}: two xkeys are equally new")
        _check_time(newest, now, 0)
        return newest


def by_age(known: CertifiedKey) -> tuple[int, int]:
    """Return the sort key of certified keys, oldest first."""
    return known.not_before, known.issued


def _check_time(known: CertifiedKey, at: int, skew: int) -> None:
    if known.revoked:
        raise RevokedError("the account has revoked this xkey or its user")
    if at + skew < known.not_before:
        raise NotYetValidError("the certificate was not valid yet")
    if at - skew > known.not_after:
        raise ExpiredClaimError("the certificate has expired")

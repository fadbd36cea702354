"""Who is who: the users of the configured accounts.

`Members` answers for a resolver: which keys a name stands for (T-10, T-14), and which users an
xkey sends for (T-6 to T-8). It is built for a set of claims, and decides again about a user whose
claims change; `exp`, and the life of certificates, are compared with the time of each question.

Names: `billing-eu`, or `reader:billing-eu` for a user of a scoped key; `insurer/claims` for another
account, by its local alias; a user key `U…`; `perm:billing` for the holders of a permission in the
own account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Final, NamedTuple

from xkeymsg.display import origin
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.subject import REPLIES
from xkeymsg.errors import (
    AmbiguousNameError,
    RevokedError,
    SenderRevokedError,
    TrustError,
    UnknownKeyError,
    WrongIssuerError,
)
from xkeymsg.keys import Recipient, XKey, decode_user
from xkeymsg.nkey import is_seed, quoted_name
from xkeymsg.refusals import bare
from xkeymsg.trust.chain import Authority, certify, identify
from xkeymsg.trust.claims import FOREVER, Certificate, User
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.marks import Marks, Seen
from xkeymsg.trust.names import fold_name, is_name
from xkeymsg.trust.resolver import PERMISSION

__all__ = ("Answer", "Known", "Members")

_MOST_SENDERS: Final = 4096
"""Cached pairs of sender and subject: others choose both."""


class Known(NamedTuple):
    """An account, and all claims about its users, by their keys."""

    authority: Authority
    users: Mapping[str, Sequence[User]]
    certificates: Mapping[str, Sequence[Certificate]]


class Answer(NamedTuple):
    """The recipients that a name stands for, while `since <= now < until`, in seconds."""

    recipients: tuple[Recipient, ...]
    since: int
    until: int


_MOST_LOST: Final = 64
"""Users of one withdrawn xkey that an error lists."""

_Place = str | XKey | tuple[XKey]
"""A folded `alias/name`, a permission, or an xkey; `(xkey,)` has the users who have lost it."""
_Claim = tuple[Admission, list[tuple[int, int]]]
"""A user that has certified a key, and the times for which it has, in seconds."""


class Members:
    """The users of the configured accounts. Thread-safe but for `judge`.

    Args:
        known: The accounts by alias; the own one is "".
        pins: Names that stand for one user key, whoever else uses the name.
        now: Our clock, in seconds.
        marks: The rollback marks. Record `seen` of the identities before using them.
        lock: Guards the marks of certificates.
    """

    def __init__(
        self,
        known: Mapping[str, Known],
        pins: Mapping[str, str],
        now: int,
        marks: Marks,
        lock: Lock,
    ) -> None:
        self.known = known
        self.identities: dict[tuple[str, str], Identity] = {}
        """By alias and user key."""
        self.refused: dict[tuple[str, str], TrustError] = {}
        """Why a user has no identity."""
        self.answers: dict[str, Answer] = {}
        """Resolved names; use `resolve` if one is missing, or has ended."""
        self._pins, self._marks, self._lock = pins, marks, lock
        self._index: dict[_Place, dict[tuple[str, str], Any]] = {}
        self._withdrawn: dict[tuple[str, str], set[_Place]] = {}
        self._senders: dict[tuple[XKey, str], list[_Claim]] = {}
        for alias, user in ((a, user) for a, account in known.items() for user in account.users):
            self.judge(alias, user, now)

    def judge(self, alias: str, user: str, now: int) -> Identity | None:
        """Decide about one user by the claims in `known`; call it again when they have changed.

        Not thread-safe, but others may ask meanwhile: they see the old verdict or the new one. A
        user without a claim leaves no trace.
        """
        (authority, users, certificates), at = self.known[alias], (alias, user)
        certified = certificates.get(user, ())
        before = {*_places(alias, self.identities.get(at)), *self._withdrawn.pop(at, ())}
        try:
            verdict = identify(authority, user, users.get(user, ()), now, self._marks)
        except Exception as error:  # noqa: BLE001 - one user must not stop the others
            identity, after = None, set[_Place]()
            if user in users:
                known = error if isinstance(error, TrustError) else TrustError(origin(error))
                self.refused[at] = bare(known)
            else:
                self.refused.pop(at, None)
            self.identities.pop(at, None)
            if self._was_admitted(error, authority, users.get(user, ())):
                self._withdrawn[at] = after = {(each.key,) for each in certified}
        else:
            self.identities[at] = identity = certify(authority, verdict, certified, now)
            self.refused.pop(at, None)
            after = {*_places(alias, identity)}
        for place in after:
            self._index.setdefault(place, {})[at] = identity
        for place in before - after:
            self._index[place].pop(at)
            if not self._index[place]:
                del self._index[place]
        # Answers of the state before may still be on their way into the old caches.
        self.answers, self._senders = {}, {}
        return identity

    def _was_admitted(self, error: Exception, authority: Authority, texts: Sequence[User]) -> bool:
        """Return whether a refused user is revoked, or was admitted before (T-18).

        A wrong issuer alone is no reason: anyone can certify any xkey.
        """
        if not isinstance(error, WrongIssuerError):
            return isinstance(error, RevokedError)
        seen = [Seen(t.claims.subject, t.claims.issuer, t.claims.issued) for t in texts]
        revoked = [each.revocations for each in authority.accounts]
        return any(
            self._marks.admitted(s) or any(r.get(s.subject, 0) >= s.issued for r in revoked)
            for s in seen
        )

    def found(self, place: str | XKey) -> Sequence[Identity]:
        """Return the users at a place: with a folded `alias/name`, a permission, or an xkey."""
        return tuple(self._index.get(place, {}).values())

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender, at the time of a message in seconds, or None.

        Args:
            sender: The sender's key.
            subject: The sealed subject; empty for any.
            at: The time.

        Raises:
            SenderRevokedError: If nobody may send with this key, and it or a user of it is revoked;
                `users` lists them.
        """
        claims = (senders := self._senders).get((sender, subject))
        if claims is None:
            if len(senders) >= _MOST_SENDERS:
                senders.clear()
            claims = senders[sender, subject] = list(self._claims(sender, subject))
        found = [who for who, times in claims if any(a <= at <= b for a, b in times)]
        if len(found) > 1:
            return Admission(frozenset[bytes]().union(*(each.users for each in found)))
        if not found and (lost := self._index.get((sender,))):
            error = SenderRevokedError("the sender's key or user is revoked")
            error.users = frozenset(decode_user(user) for _, user in tuple(lost)[:_MOST_LOST])
            raise error
        return found[0] if found else None

    def _claims(self, sender: XKey, subject: str) -> Iterator[_Claim]:
        for identity in self.found(sender):
            skew = next(iter(self.known.values())).authority.policy.skew
            if not f"{subject}.".startswith(f"{REPLIES}.") and (
                not subject or identity.may_send(subject)
            ):
                valid = [key for key in identity.keys if key.key == sender and not key.revoked]
                times = [(k.not_before - skew, k.not_after + skew) for k in valid]
                yield Admission(frozenset({decode_user(identity.user)})), times

    def resolve(self, name: str, now: int) -> Answer:
        """Return the current keys that a name stands for, and remember the answer.

        Raises:
            AmbiguousNameError: If several valid users have the name, or one like it.
            UnknownKeyError: If nobody has the name, or holds the permission.
            TrustError: If the user has no key to seal to.
        """
        answers, holders = self.answers, self.holders(name, now)
        found: dict[Recipient, None] = {}
        until, refusal = FOREVER, TrustError("unreachable")
        for identity in holders:
            upcoming = (key.not_before for key in identity.keys if key.not_before > now)
            until = min(until, identity.valid_until + 1, *upcoming)
            try:
                with self._lock:
                    key = identity.current(now, self._marks.certified(identity.user))
                    self._marks.record_certificate(identity.user, key.not_before)
            except TrustError as error:
                refusal = error  # the other holders of a permission are recipients all the same
            else:
                until = min(until, key.not_after + 1)
                found[Recipient(key.key, identity.user)] = None
        if not found and name.startswith(PERMISSION):
            raise UnknownKeyError(f"no holder of {quoted_name(name)} has a valid xkey: {refusal}")
        if not found:
            raise refusal
        answers[name] = answer = Answer(tuple(found), now, until)
        return answer

    def holders(self, name: str, now: int) -> Sequence[Identity]:
        """Return the valid users with a name or permission: never empty.

        Raises:
            AmbiguousNameError: If several valid users have the name, or one like it.
            UnknownKeyError: If nobody has the name, or holds the permission.
        """
        alias, slash, own = name.rpartition("/")
        alias = alias or slash  # "/ward-a" is not "ward-a"
        if name.startswith(PERMISSION):
            found = self.found(name)
        elif ":" not in (user := self._pins.get(name, own)) and not is_name(user):  # a key
            places = [(each, user) for each in (self.known if user == name else (alias,))]
            found = [self.identities[place] for place in places if place in self.identities]
        else:
            found = [u for u in self.found(f"{alias}/{fold_name(own)}") if u.valid_until >= now]
            if len(found) > 1:
                raise AmbiguousNameError(f"{len(found)} users have the name {quoted_name(name)}")
            found = [identity for identity in found if identity.name == own]
        if not found and is_seed(name):
            raise UnknownKeyError("expected a name or a public key, not a secret seed")
        if not found:
            is_held = name.startswith(PERMISSION)
            what = "of the own account holds the permission" if is_held else "is called"
            where = "" if alias in self.known else "; its account is not in `accounts`"
            raise UnknownKeyError(f"no valid user {what} {quoted_name(name)}{where}")
        return found


def _places(alias: str, identity: Identity | None) -> Iterator[_Place]:
    """Yield the places of a user in the index."""
    if identity is not None:
        if identity.name:
            yield f"{alias}/{fold_name(identity.name)}"
        yield from (PERMISSION + each for each in ("" if alias else identity.permissions))
        yield from (known.key for known in identity.keys)
        yield from ((known.key,) for known in identity.keys if known.revoked)

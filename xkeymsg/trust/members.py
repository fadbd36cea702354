"""Who is who: the users of the configured accounts, as of one set of claims.

`Members` answers for a resolver: which keys a name stands for (T-10, T-14), and which users an
xkey sends for (T-6 to T-8). It is built once for each change of the claims; `exp`, and the life of
certificates, are compared with the time of each question. Names: `billing-eu`, or
`reader:billing-eu` for a user of a scoped key; `insurer/claims` for another account, by its local
alias; a user key `U…`; `perm:billing` for the holders of a permission in the own account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Final, NamedTuple

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
    """The recipients that a name stands for, while `since <= now < until`."""

    recipients: tuple[Recipient, ...]
    since: int
    until: int


_Claim = tuple[Admission, list[tuple[int, int]]]
"""A user that has certified a key, and the times for which it has, in seconds."""


class Members:
    """The users of the configured accounts. Immutable but for caches and marks; thread-safe.

    Args:
        known: The accounts by alias; the own one is "".
        pins: Names that stand for one user key, whoever else uses the name.
        now: Our clock, in seconds.
        marks: The rollback marks. Record `seen` in them before using the members.
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
        self._named: dict[str, list[Identity]] = {}
        self._keys: dict[XKey, list[Identity]] = {}
        self._withdrawn: set[XKey] = set()
        self._senders: dict[tuple[XKey, str], list[_Claim]] = {}
        self._skew = 0
        for alias, (authority, users, certificates) in known.items():
            self._skew = authority.policy.skew
            for user, texts in users.items():
                certified = certificates.get(user, ())
                try:
                    identity = identify(authority, user, texts, now, marks)
                except TrustError as error:
                    self.refused[alias, user] = bare(error)
                    if isinstance(error, RevokedError | WrongIssuerError):
                        self._withdrawn.update(each.key for each in certified)
                else:
                    self._add(alias, certify(authority, identity, certified, now))

    def _add(self, alias: str, identity: Identity) -> None:
        self.identities[alias, identity.user] = identity
        names = [f"{alias}/{fold_name(identity.name)}"] if identity.name else []
        if not alias:
            names += [PERMISSION + permission for permission in identity.permissions]
        for name in names:
            self._named.setdefault(name, []).append(identity)
        for key in {known.key for known in identity.keys}:
            self._keys.setdefault(key, []).append(identity)
        self._withdrawn.update(known.key for known in identity.keys if known.revoked)

    @property
    def seen(self) -> Iterator[Seen]:
        """The admitted claims of users, to be recorded in the marks."""
        return (seen for identity in self.identities.values() for seen in identity.seen)

    def claimants(self, key: XKey) -> Sequence[Identity]:
        """Return the users that have certified an xkey."""
        return self._keys.get(key, ())

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender, at the time of a message in seconds, or None.

        Args:
            sender: The sender's key.
            subject: The sealed subject; empty for any.
            at: The time.

        Raises:
            SenderRevokedError: If nobody may send with this key, and it or its user is revoked.
        """
        claims = self._senders.get((sender, subject))
        if claims is None:
            if len(self._senders) >= _MOST_SENDERS:
                self._senders.clear()
            claims = self._senders[sender, subject] = list(self._claims(sender, subject))
        found = [who for who, times in claims if any(a <= at <= b for a, b in times)]
        if len(found) > 1:
            return Admission(frozenset[bytes]().union(*(each.users for each in found)))
        if not found and sender in self._withdrawn:
            raise SenderRevokedError("the sender's key or user is revoked")
        return found[0] if found else None

    def _claims(self, sender: XKey, subject: str) -> Iterator[_Claim]:
        for identity in self._keys.get(sender, ()):
            if not f"{subject}.".startswith(f"{REPLIES}.") and (
                not subject or identity.may_send(subject)
            ):
                valid = [key for key in identity.keys if key.key == sender and not key.revoked]
                times = [(k.not_before - self._skew, k.not_after + self._skew) for k in valid]
                yield Admission(frozenset({decode_user(identity.user)})), times

    def resolve(self, name: str, now: int) -> Answer:
        """Return the current keys that a name stands for, and remember the answer.

        Raises:
            AmbiguousNameError: If several valid users have the name, or one like it.
            UnknownKeyError: If nobody has the name, or holds the permission.
            TrustError: If the user has no key to seal to.
        """
        holders = self.holders(name, now)
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
        self.answers[name] = answer = Answer(tuple(found), now, until)
        return answer

    def holders(self, name: str, now: int) -> Sequence[Identity]:
        """Return the valid users with a name or permission: never empty.

        Raises:
            AmbiguousNameError: If several valid users have the name, or one like it.
            UnknownKeyError: If nobody has the name, or holds the permission.
        """
        alias, slash, own = name.rpartition("/")
        alias = alias or slash  # "/ward-a" is not "ward-a"
        found: Sequence[Identity] = self._named.get(name, ())  # of a permission
        if name.startswith(PERMISSION):
            pass
        elif ":" not in (user := self._pins.get(name, own)) and not is_name(user):  # a key
            places = [(each, user) for each in (self.known if user == name else (alias,))]
            found = [self.identities[place] for place in places if place in self.identities]
        else:
            found = self._named.get(f"{alias}/{fold_name(own)}", ())
            found = [identity for identity in found if identity.valid_until >= now]
            if len(found) > 1:
                raise AmbiguousNameError(f"{len(found)} users have the name {quoted_name(name)}")
            found = [identity for identity in found if identity.name == own]
        if not found and is_seed(name):
            raise UnknownKeyError("expected a name or a public key, not a secret seed")
        if not found:
            what = "holds the permission" if name.startswith(PERMISSION) else "is called"
            where = "" if alias in self.known else "; its account is not in `accounts`"
            raise UnknownKeyError(f"no valid user {what} {quoted_name(name)}{where}")
        return found

"""Resolves recipients and admits senders, from any form of `trust`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeVar, runtime_checkable

from xkeymsg.ambient import now_ns
from xkeymsg.envelope.admission import ANYONE, Admission, Senders, admission_of
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import as_recipient
from xkeymsg.errors import MalformedError, UnknownKeyError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import is_seed
from xkeymsg.trust.resolver import Resolver
from xkeymsg.trust.stores.chains import Trust

__all__ = ("ONE", "ClientTrust", "Reloadable", "To")

To = str | XKey | Recipient | Iterable[str | XKey | Recipient]
"""A name (`"bob"`), all holders of a permission (`"perm:audit"`), a key, or several of these."""

ONE: Final = (str, XKey, Recipient)
"""The types of a single recipient, for `isinstance`."""

_AUDIENCES: Final = 1024
"""Cached sets of recipients; the cache is cleared when full."""

_Wanted = tuple[str | XKey | Recipient, ...]
_Answers = tuple[tuple[Recipient, ...], ...]
_Found = tuple[XKey | Recipient, ...]
_Each = TypeVar("_Each")
_Holders = dict[str, _Each]


@runtime_checkable
class Reloadable(Protocol):
    """Trust that can be read again when its source has changed, such as a peers file."""

    def reload(self) -> bool:
        """Check the source, and return whether the trust in use has changed."""


class ClientTrust:
    """Admits senders, and resolves names to recipients.

    Trust is queried for every message, so that a change applies to the next one. While its answers
    are equal, the same tuple of recipients is returned, by which a session recognizes its audience.

    Raises:
        ConfigurationError: If `trust` is not valid trust.
        KeyFormatError: If a mapping's value is not a public user key.
    """

    def __init__(self, trust: Senders) -> None:
        self.resolver = trust if isinstance(trust, Resolver) else None
        base = getattr(trust, "base", trust)  # of trust that narrows another one
        self._chains = base if isinstance(base, Trust) else None
        self.senders: Senders = trust
        """The admitted senders, in the form that an `Opener` takes."""
        if hasattr(trust, "admit"):
            pass  # `admit` decides, even if trust is also a mapping or a set
        elif isinstance(trust, Mapping):
            self.senders = dict(trust)
        elif isinstance(trust, Iterable) and not isinstance(trust, str | bytes):
            self.senders = frozenset(trust)
        admit = admission_of(self.senders)
        self._admit = admit
        self._known: dict[_Wanted, tuple[_Answers, _Found]] = {}
        self._last: tuple[_Wanted, _Answers, _Found] = ((), (), ())
        self._last_holders: tuple[
            _Holders[_Wanted], list[str], _Answers | None, _Holders[_Found]
        ] = ({}, [], None, {})

    @property
    def revision(self) -> int | None:
        """The revision of trust, for a source that has revisions."""
        return None if self.resolver is None else self.resolver.revision

    def always_to(self) -> tuple[Recipient, ...]:
        """Return the recipients that trust adds to every message."""
        return () if self.resolver is None else self.resolver.always_to()

    def recipients(self, to: To) -> tuple[XKey | Recipient, ...]:
        """Resolve `to` to recipients: never empty, and without those of `always_to`.

        Raises:
            UnknownKeyError: If a name is unknown.
            AmbiguousNameError: If a name matches more than one user.
            MalformedError: If `to` is empty.
            TypeError: If an element is neither a name nor a key.
        """
        wanted = (to,) if isinstance(to, ONE) else _listed(to)
        answers = tuple([self._resolve(one) for one in wanted if isinstance(one, str)])
        # Mostly the same as last time; comparing identical objects needs no hashing.
        last, said, found = self._last
        if last == wanted and said == answers:
            return found
        known = self._known.get(wanted)
        if known is not None and known[0] == answers:
            found = known[1]
        else:
            found = _merged(wanted, iter(answers))
            if len(self._known) >= _AUDIENCES:
                self._known.clear()
            self._known[wanted] = answers, found
        self._last = wanted, answers, found
        return found

    def holders(self, wanted: _Holders[_Wanted]) -> _Holders[_Found]:
        """Resolve the holders of each permission; the result must not be changed.

        Raises:
            XKeyMsgError: As `recipients`.
            TypeError: As `recipients`.
        """
        last, names, said, found = self._last_holders
        if last != wanted:  # usually equal; identical keys are compared without hashing
            several, said = map(_listed, wanted.values()), None
            names = [one for some in several for one in some if isinstance(one, str)]
            last = wanted
        answers = tuple(map(self._resolve, names))
        if said != answers:
            resolved = iter(answers)
            found = {name: _merged(some, resolved) for name, some in last.items()}
            self._last_holders = last, names, answers, found
        return found

    def knows(self, name: str) -> bool:
        """Return whether a name stands for anyone."""
        try:
            return bool(self._resolve(name))
        except UnknownKeyError:
            return False

    def want(self, user: str | None) -> None:
        """Have a directory that is not loaded yet read the entry of a sender's user."""
        if user is not None and self._chains is not None and self._chains.published:
            self._chains.published.want(user)

    def compare(self, message: Message) -> None:
        """Note whether the sender of a message has a directory that is behind ours."""
        if self._chains is not None and self._chains.published and message.revision:
            self._chains.published.compare(str(message.sender), message.revision)

    def vouch(self, key: XKey) -> Admission:
        """Return the users and signature that replies of a key must have, as far as trust knows."""
        if self.resolver is not None:
            return self.resolver.vouch(key) or Admission()
        # Trust that decides by subject would admit no sender on the subject of a reply.
        listed = type(self.senders) in (dict, frozenset)
        known = self._admit(bytes(key), "", 0) if listed else None
        return known or Admission()

    def admits_xkv1(self, sender: XKey, subject: str) -> Admission | None:
        """Return the verdict on a sender of xkv1; the subject is unauthenticated.

        Keys with a known user are not admitted: xkv1 cannot name the user.
        """
        if self.resolver is not None and not self.resolver.admits_xkv1(sender, subject):
            return None
        admission = self._admit(bytes(sender), subject, now_ns() // 1_000_000)
        if admission is None or admission.users or admission.always_signs:
            return None
        return admission

    def _resolve(self, name: str) -> tuple[Recipient, ...]:
        if self.resolver is None:
            if is_seed(name):
                raise UnknownKeyError("expected a name or a public key, not a secret seed")
            trust = "ANYONE" if self.senders is ANYONE else "a set of keys"
            raise UnknownKeyError(f"trust is {trust}, which cannot resolve names: use keys")
        return tuple(self.resolver.resolve(name))  # returns the same object if it is a tuple


def _listed(to: Iterable[str | XKey | Recipient]) -> _Wanted:
    wanted = tuple(to)
    if not wanted:
        raise MalformedError("no recipients")
    one: object
    for one in wanted:
        if not isinstance(one, ONE):
            raise TypeError(f"a recipient must be a name or a key, not {type(one).__name__}")
    return wanted


def _merged(wanted: _Wanted, resolved: Iterator[tuple[Recipient, ...]]) -> _Found:
    """Return the recipients without duplicates; `resolved` has those of each name, in order."""
    found: dict[Recipient, None] = {}
    for one in wanted:
        if isinstance(one, str):
            some = next(resolved)
            if not some:  # the resolver breaks its contract
                raise UnknownKeyError("the resolver returned no recipients for a name")
            found.update(dict.fromkeys(some))
        else:
            found[as_recipient(one)] = None
    return tuple(found)

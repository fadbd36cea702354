"""Resolves recipients and admits senders, from any form of `trust`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol, runtime_checkable

from xkeymsg.ambient import now_ns
from xkeymsg.envelope.admission import ANYONE, Admission, Senders, admission_of
from xkeymsg.envelope.plan import as_recipient
from xkeymsg.errors import MalformedError, UnknownKeyError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import is_seed
from xkeymsg.trust.resolver import Resolver

__all__ = ("ClientTrust", "Reloadable", "To")

To = str | XKey | Recipient | Iterable[str | XKey | Recipient]
"""A name (`"bob"`), all who hold a permission (`"perm:audit"`), a key, or several of these."""

_AUDIENCES: Final = 1024
"""How many sets of recipients are remembered; beyond, all are forgotten."""

_Wanted = tuple[str | XKey | Recipient, ...]
_Answers = tuple[tuple[Recipient, ...], ...]
_Found = tuple[XKey | Recipient, ...]


@runtime_checkable
class Reloadable(Protocol):
    """Trust that is read again when its source has changed, as a file of peers is."""

    def reload(self) -> bool:
        """Look at the source, and tell whether something else is in use now."""


class ClientTrust:
    """What trust says, and the recipients that names stand for.

    Trust is asked for every message, so that a change counts for the next one. As long as its
    answers are the same, so is the tuple of recipients, by which a session knows its audience.
    """

    def __init__(self, trust: Senders) -> None:
        """Take trust.

        Raises:
            ConfigurationError: If it is none.
            KeyFormatError: If a mapping's value is not a public user key.
        """
        self.resolver = trust if isinstance(trust, Resolver) else None
        self.senders: Senders = trust
        """Who may send, as an `Opener` takes it."""
        if hasattr(trust, "admit"):
            pass  # it decides, also where it is a mapping or a set besides
        elif isinstance(trust, Mapping):
            self.senders = dict(trust)
        elif isinstance(trust, Iterable) and not isinstance(trust, str | bytes):
            self.senders = frozenset(trust)
        admit = admission_of(self.senders)
        self._admit = admit
        self._known: dict[_Wanted, tuple[_Answers, _Found]] = {}
        self._last: tuple[_Wanted, _Answers, _Found] = ((), (), ())

    @property
    def revision(self) -> int | None:
        """What trust's answers are of, for a source that counts."""
        return None if self.resolver is None else self.resolver.revision

    def always_to(self) -> tuple[Recipient, ...]:
        """Return whom every message is sealed to besides."""
        return () if self.resolver is None else self.resolver.always_to()

    def recipients(self, to: To) -> tuple[XKey | Recipient, ...]:
        """Return whom `to` stands for: never empty, and without those of `always_to`.

        Raises:
            UnknownKeyError: If a name stands for nobody.
            AmbiguousNameError: If it stands for more than one.
            MalformedError: If nobody is named.
            TypeError: If something in it is neither name nor key.
        """
        wanted = (to,) if isinstance(to, str | XKey | Recipient) else _listed(to)
        answers = tuple([self._resolve(one) for one in wanted if isinstance(one, str)])
        # Mostly as the last time; where names and keys are the same objects, nothing is hashed.
        last, said, found = self._last
        if last == wanted and said == answers:
            return found
        known = self._known.get(wanted)
        if known is not None and known[0] == answers:
            found = known[1]
        else:
            found = _merged(wanted, answers)
            if len(self._known) >= _AUDIENCES:
                self._known.clear()
            self._known[wanted] = answers, found
        self._last = wanted, answers, found
        return found

    def vouch(self, key: XKey) -> Admission:
        """Return what the answers of a key have to show: all that trust knows of it."""
        if self.resolver is not None:
            return self.resolver.vouch(key) or Admission()
        # Trust that goes by subjects admits nobody for that of an answer.
        listed = type(self.senders) in (dict, frozenset)
        known = self._admit(bytes(key), "", 0) if listed else None
        return known or Admission()

    def admits_xkv1(self, sender: XKey, subject: str) -> Admission | None:
        """Return the verdict on who sends xkv1, on a subject that is the broker's word.

        A key of which a user is known does not count: xkv1 cannot name the user.
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
            raise UnknownKeyError(f"trust is {trust}, which knows no names: give keys")
        return tuple(self.resolver.resolve(name))  # the same one, if it is one


def _listed(to: Iterable[str | XKey | Recipient]) -> tuple[str | XKey | Recipient, ...]:
    wanted = tuple(to)
    if not wanted:
        raise MalformedError("no recipients")
    one: object
    for one in wanted:
        if not isinstance(one, str | XKey | Recipient):
            raise TypeError(f"a recipient is a name or a key, not {type(one).__name__}")
    return wanted


def _merged(
    wanted: tuple[str | XKey | Recipient, ...], answers: _Answers
) -> tuple[XKey | Recipient, ...]:
    found: dict[Recipient, None] = {}
    resolved = iter(answers)
    for one in wanted:
        if isinstance(one, str):
            some = next(resolved)
            if not some:  # of a resolver that breaks its promise
                raise UnknownKeyError("a name stands for nobody")
            found.update(dict.fromkeys(some))
        else:
            found[as_recipient(one)] = None
    return tuple(found)

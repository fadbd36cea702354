"""Sender admission: which keys may send, and as which users (spec, "Sender admission")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from xkeymsg import nkey
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKey

__all__ = ("ANYONE", "Admission", "Admit", "SenderTrust", "Senders", "admission_of", "knows_users")


class Admission(NamedTuple):
    """The verdict on a sending key."""

    users: frozenset[bytes] = frozenset()
    """The raw user keys known for it; if empty, identities and signatures are ignored."""
    always_signs: bool = False
    """Whether unsigned messages of this sender are refused."""
    admitted: bool = True
    """False if anyone may send: nothing is known about the key."""


class SenderTrust(Protocol):
    """A source of trust in senders: a file of peers, a directory."""

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender for a *sealed* subject, or None to refuse it.

        Args:
            sender: The sender's key, as the message states it.
            subject: The subject that the message is sealed for.
            at: The time of sealing in milliseconds since 1970, for keys and certificates with a
                validity period. The sender states it; freshness (E-73, E-81) bounds it, except
                for data at rest.
        """


class _Anyone:
    def __repr__(self) -> str:
        return "ANYONE"


ANYONE: Final = _Anyone()
"""Admit every sender, explicitly: a message then shows which key sealed it, and nothing more."""

Senders = Iterable[XKey] | Mapping[XKey, str] | SenderTrust | _Anyone
"""A set of keys; a mapping from key to user nkey `U…`; trust; or ANYONE."""

Admit = Callable[[bytes, str, int], Admission | None]
"""Returns the verdict on a raw sender key, sealed subject, and time of sealing in ms."""


def admission_of(senders: Senders) -> Admit:
    """Return the function that admits these senders.

    Raises:
        ConfigurationError: If `senders` has another type, or holds anything other than keys.
        KeyFormatError: If a mapping's value is not a public user key.
        TypeError: If a mapping's value is not a str.
    """
    if isinstance(senders, _Anyone):
        verdict = Admission(admitted=False)
        return lambda _sender, _subject, _at: verdict
    admit = getattr(senders, "admit", None)
    if admit is not None:
        return lambda sender, subject, at: admit(XKey(sender), subject, at)
    if not isinstance(senders, Iterable) or isinstance(senders, str | bytes):
        raise ConfigurationError(
            "senders must be XKeys, a mapping of them, ANYONE, or trust,"
            " such as PeersFile('peers.toml')"
        )
    known = {_raw(key): Admission(_user(senders, key)) for key in senders}
    return lambda sender, _subject, _at: known.get(sender)


def _raw(key: object) -> bytes:
    if not isinstance(key, XKey):
        raise ConfigurationError("senders must be XKeys: parse strings with XKey.parse('X…')")
    return bytes(key)


def _user(senders: object, key: object) -> frozenset[bytes]:
    if not isinstance(senders, Mapping):
        return frozenset()
    return frozenset({nkey.decode_public(nkey.Prefix.USER, senders[key])})


def knows_users(senders: Senders) -> bool:
    """Return whether user keys can be known; without them, signatures are ignored (E-65)."""
    return isinstance(senders, Mapping) or hasattr(senders, "admit")

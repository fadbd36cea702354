"""Whom a reader admits as a sender, and which users may claim a key (spec, "Sender admission")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from xkeymsg import nkey
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKey

__all__ = ("ANYONE", "Admission", "Admit", "Senders", "Trust", "admission_of", "knows_users")


class Admission(NamedTuple):
    """The verdict on a sending key."""

    users: frozenset[bytes] = frozenset()
    """The raw user keys known for it; with none known, no identity and no signature counts."""
    always_signs: bool = False
    """Whether an unsigned message of this sender is refused."""
    admitted: bool = True
    """False where anyone may send: nothing is known of the key."""


class Trust(Protocol):
    """Whoever knows senders: a file of peers, a directory."""

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender for a *sealed* subject, or None to refuse it.

        Args:
            sender: The key that the message names as its sender's.
            subject: The subject that it is sealed for.
            at: When the message says that it was sealed, in milliseconds since 1970: keys and
                certificates have a life. The sender states it; freshness (E-73, E-81) bounds it.
        """


class _Anyone:
    def __repr__(self) -> str:
        return "ANYONE"


ANYONE: Final = _Anyone()
"""Admit every sender, said aloud: a message then shows which key sealed it, and nothing more."""

Senders = Iterable[XKey] | Mapping[XKey, str] | Trust | _Anyone
"""A set of keys; a mapping from key to user nkey `U…`; trust; or ANYONE."""

Admit = Callable[[bytes, str, int], Admission | None]
"""The verdict on a sender's raw key, sealed subject, and time of sealing in milliseconds."""


def admission_of(senders: Senders) -> Admit:
    """Return the function that admits these senders.

    Raises:
        ConfigurationError: If a mapping, or a set, holds something else than keys.
        KeyFormatError: If a mapping's value is not a public user key.
    """
    if isinstance(senders, _Anyone):
        verdict = Admission(admitted=False)
        return lambda _sender, _subject, _at: verdict
    admit = getattr(senders, "admit", None)
    if admit is not None:
        return lambda sender, subject, at: admit(XKey(sender), subject, at)
    if not isinstance(senders, Iterable) or isinstance(senders, str | bytes):
        raise ConfigurationError(
            "senders are XKeys, a mapping of them, ANYONE, or trust, as of Peers.load('peers.toml')"
        )
    known = {_raw(key): Admission(_user(senders, key)) for key in senders}
    return lambda sender, _subject, _at: known.get(sender)


def _raw(key: object) -> bytes:
    if not isinstance(key, XKey):
        raise ConfigurationError("senders are XKeys: XKey.parse('X…') makes one of a string")
    return bytes(key)


def _user(senders: object, key: object) -> frozenset[bytes]:
    if not isinstance(senders, Mapping):
        return frozenset()
    return frozenset({nkey.decode_public(nkey.Prefix.USER, senders[key])})


def knows_users(senders: Senders) -> bool:
    """Tell whether user keys can be known, so that a signature can count at all (E-66)."""
    return isinstance(senders, Mapping) or hasattr(senders, "admit")

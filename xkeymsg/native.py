"""The native core, if it is installed: three functions of the core in Rust (docs/native.md).

Sealing with a prepared route, wraps included, and opening from the wrap to the plaintexts. What it
does not open, Python opens, or refuses: every error is made in one place. It is used only if it
states the interface that is expected here. `XKEYMSG_NATIVE=0`, or any value but 1 that is not
empty, switches it off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final
from warnings import warn

from xkeymsg.envelope.derive import PairKeys
from xkeymsg.envelope.seal import Wrap
from xkeymsg.envelope.session import LIFETIME, Session
from xkeymsg.envelope.unlock import Admitted, Read, Unlocked, Unlocker
from xkeymsg.keys import Keyring, Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.primitives import AEAD

__all__ = ("INTERFACE", "NativeSession", "NativeUnlocker", "load", "session", "unlocker")

INTERFACE: Final = "xkm1 2"
"""The format, and the version of the interface between both distributions."""


def load() -> Any:
    """Return the native core; None if it is missing, switched off, or unusable, with a warning."""
    if (os.environ.get("XKEYMSG_NATIVE") or "1") != "1":
        return None
    try:
        found = import_module("xkeymsg_native")
    except Exception as error:  # noqa: BLE001 - damaged, or built for another machine
        if isinstance(error, ModuleNotFoundError) and error.name == "xkeymsg_native":
            return None
        found = None
    if getattr(found, "INTERFACE", None) == INTERFACE:
        return found
    warn(f"{_UNUSABLE}; install xkeymsg[native] again", RuntimeWarning, stacklevel=2)
    return None


_UNUSABLE: Final = "xkeymsg-native is not used: it is of another version, or cannot be loaded"
core: Any = load()
_new: Final = tuple.__new__


def session(pair: XKeyPair, pairs: Callable[[Recipient], PairKeys]) -> Session:
    """Begin a session."""
    return (Session if core is None else NativeSession)(pair, pairs)


def unlocker(keyring: Keyring, limits: Limits) -> Unlocker:
    """Return an unlocker."""
    return (Unlocker if core is None else NativeUnlocker)(keyring, limits)


class NativeSession(Session):
    """A session whose secrets, counter and limits are in the native core."""

    def _begin(self, secret: bytes | None) -> bytes:
        self._core = core.Session(LIFETIME, secret)
        self.seal = self._core.seal  # type: ignore[method-assign] # no call in between
        return self._core.public  # type: ignore[no-any-return]

    def end(self) -> None:  # noqa: D102 - as in the class above
        super().end()
        self._core.end()

    def _wrap(self, recipient: XKey, auth_key: bytes) -> Wrap:
        return self._core.wrap_key(bytes(recipient), auth_key)  # type: ignore[no-any-return]


class NativeUnlocker(Unlocker):
    """Keeps the keys of sessions in the native core, and opens with them there."""

    def _aead(self, key: bytes) -> AEAD:
        return core.Key(key, self._limits)  # type: ignore[no-any-return]

    def unlock(self, admitted: Admitted) -> Unlocked | Read:  # noqa: D102 - as in the class above
        located, admission = admitted
        _, view, head, _ = located
        cache = self._admitted if admission.admitted else self._others
        keys: dict[int, Any] = cache.sessions.younger.get(head[0] + head[1]) or {}
        others = b""
        for number, _ in self._numbered if keys else ():
            if number not in keys and cache.senders.get(head[0]) is None:
                break  # Python computes the pair keys, after it has checked the form of the tags
            tag, key = keys.get(number) or (self._tag(cache, number, head), None)
            # Refused if a tag of an earlier candidate is there, too (E-37).
            if key is not None and (opened := key.open(located, tag, others)) is not None:
                body, granted = opened
                return _new(Read, (view, head, admission, body, granted))
            others += tag
        return super().unlock(admitted)

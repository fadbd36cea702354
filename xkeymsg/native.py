"""The native core, if it is installed: three functions of the heart in Rust (docs/native.md).

Sealing with a prepared route, wraps included, and opening from the wrap to the plaintexts. What it
does not open, Python opens, or refuses: every error is made in one place. It is used only if it
states the interface that is expected here, and `XKEYMSG_NATIVE=0` switches it off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final
from warnings import warn

from xkeymsg import nkey
from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.envelope import frame
from xkeymsg.envelope.content import PADDED
from xkeymsg.envelope.derive import PairKeys
from xkeymsg.envelope.plan import Contents
from xkeymsg.envelope.seal import Plan, Wrap, sign
from xkeymsg.envelope.session import LIFETIME, Session
from xkeymsg.envelope.unlock import Cache, Located, Opened, Unlocker
from xkeymsg.keys import Keyring, Recipient, XKey, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.primitives import AEAD

__all__ = ("INTERFACE", "NativeSession", "NativeUnlocker", "load", "session", "unlocker", "used")

INTERFACE: Final = "xkm1 1"
"""The format, and the version of the interface between both distributions."""


def load() -> Any:
    """Return the native core; None if it is missing, switched off, or unusable, with a warning."""
    if os.environ.get("XKEYMSG_NATIVE") == "0":
        return None
    try:
        found = import_module("xkeymsg_native")
    except ModuleNotFoundError:
        return None
    except ImportError:
        warn("xkeymsg-native cannot be loaded and is not used", RuntimeWarning, stacklevel=2)
        return None
    if getattr(found, "INTERFACE", None) != INTERFACE:
        text = "xkeymsg-native is of another version and is not used: install the matching one"
        warn(text, RuntimeWarning, stacklevel=2)
        return None
    return found


core: Any = load()
_new: Final = tuple.__new__


def used() -> str:
    """Return which core seals and opens, for people."""
    return "pure Python" if core is None else f"native core {core.__version__}"


def session(pair: XKeyPair, pairs: Callable[[Recipient], PairKeys]) -> Session:
    """Begin a session."""
    return (Session if core is None else NativeSession)(pair, pairs)


def unlocker(keyring: Keyring, limits: Limits) -> Unlocker:
    """Return an unlocker."""
    return (Unlocker if core is None else NativeUnlocker)(keyring, limits)


class NativeSession(Session):
    """A session whose secrets, counter and limits are in the native core."""

    def _begin(self, secret: bytes | None) -> bytes:
        self._core = core.Session(monotonic() + LIFETIME, secret)
        return self._core.public  # type: ignore[no-any-return]

    def end(self) -> None:  # noqa: D102 - as in the class above
        super().end()
        self._core.end()

    def seal(  # noqa: D102 - as in the class above
        self, plan: Plan, now_ns: int, contents: Contents, signer: nkey.Signer | None
    ) -> bytes:
        keys = len(contents) + len(plan.audience.views)
        drawn = random_bytes(40 + 64 * (keys // 2))
        signing = None if signer is None else partial(sign, signer)
        sealed: bytes = self._core.seal(plan, now_ns, monotonic(), drawn, contents, keys, signing)
        return sealed

    def _wrap(self, recipient: XKey, auth_key: bytes) -> Wrap:
        key: Wrap = self._core.wrap_key(bytes(recipient), auth_key)
        return key


class NativeUnlocker(Unlocker):
    """Keeps the keys of sessions in the native core, and opens with them there."""

    def __init__(self, keyring: Keyring, limits: Limits) -> None:
        super().__init__(keyring, limits)
        self._most = limits.recipients, limits.views, limits.parts

    def _aead(self, key: bytes) -> AEAD:
        return core.Key(key)  # type: ignore[no-any-return]

    def _open(self, located: Located, cache: Cache) -> Opened | None:
        envelope, _, head, at = located
        sender, ephemeral, nonce, _, _, _, identity, _ = head
        keys: dict[int, Any] | None = cache.sessions.get(sender + ephemeral)
        if keys is None:
            return None
        others, signable = b"", identity is not None
        for number, _ in self._numbered:
            tag, key = keys.get(number) or (self._tag(cache, number, head), None)
            if key is not None:  # refused if a tag of an earlier candidate is there, too (E-37)
                found = key.open(envelope, at, ephemeral, nonce, tag, others, signable, self._most)
                if found is not None:
                    return _opened(*found)
            others += tag
        return None


def _opened(views: Any, parts: Any, signature: Any, end: int, metadata: bool, texts: Any) -> Opened:
    placed = [
        _new(frame.FramePart, (frame.KINDS[kind], kind >= PADDED, start, last))
        for kind, start, last in parts
    ]
    return _new(frame.Body, (views, tuple(placed), signature, end, metadata)), texts

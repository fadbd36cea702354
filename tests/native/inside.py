"""The internals that the tests of the native core cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xkeymsg import Limits, Recipient, XKeyPair, native, primitives
from xkeymsg.envelope import derive
from xkeymsg.envelope.session import Session
from xkeymsg.envelope.unlock import Located, Opened, Unlocker
from xkeymsg.native import NativeSession, NativeUnlocker


def with_known_secrets(
    pair: XKeyPair,
    pairs: Callable[[Recipient], derive.PairKeys],
    secret: bytes,
    hedge: bytes,
    ends: float = float("inf"),
) -> tuple[Session, NativeSession]:
    """Begin one session twice, in Python and in the native core."""
    python = Session(pair, pairs, secret=secret)
    python._hedge = primitives.keyed_hash(primitives.label(b"xkm1/hedge"), hedge)
    python._ends = ends
    natively = NativeSession(pair, pairs, secret=secret)
    natively._core = native.core.Session(ends, secret, hedge)
    assert natively.public == natively._core.public == python.public
    return python, natively


def core_of(session: NativeSession) -> Any:
    """Return the object of the native core."""
    return session._core


def open_at_once(unlocker: NativeUnlocker, located: Located) -> Opened | None:
    """Open natively, without Python's help."""
    return unlocker._open(located, unlocker._admitted)


def limits_of(unlocker: Unlocker) -> Limits:
    return unlocker._limits


def keys_of(unlocker: Unlocker) -> tuple[object, ...]:
    """Return the keys and users under which a reader may be addressed."""
    return unlocker._own

"""The internals that the tests of the native core cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest import mock

from xkeymsg import Limits, Sealer, XKeyPair, native, primitives
from xkeymsg.envelope.session import LIFETIME, Session
from xkeymsg.envelope.unlock import Admitted, Read, Unlocker
from xkeymsg.native import NativeSession, NativeUnlocker


def with_known_secrets(
    pair: XKeyPair,
    secret: bytes,
    hedge: bytes,
    clock: Callable[[], float] | None = None,
) -> tuple[Session, NativeSession]:
    """Begin one session twice, in Python and in the native core, which may get a clock."""
    pairs = Sealer(pair)._pairs
    python = Session(pair, pairs, secret=secret)
    python._hedge = primitives.keyed_hash(primitives.label(b"xkm1/hedge"), hedge)
    natively = NativeSession(pair, pairs, secret=secret)
    natively._core = native.core.Session(LIFETIME, secret, hedge, clock)
    assert natively.public == natively._core.public == python.public
    return python, natively


def core_of(session: NativeSession) -> Any:
    """Return the object of the native core."""
    return session._core


class Left(Exception):  # noqa: N818 - no error
    """The native core has left an envelope to Python."""


def open_at_once(unlocker: NativeUnlocker, admitted: Admitted) -> Read | None:
    """Open natively, without Python's help; return what was opened, or None."""

    def leave(*_: object) -> None:
        raise Left

    with mock.patch.object(Unlocker, "unlock", leave), suppress(Left):
        opened = unlocker.unlock(admitted)
        assert isinstance(opened, Read)
        return opened
    return None


def limits_of(unlocker: Unlocker) -> Limits:
    return unlocker._limits


def keys_of(unlocker: Unlocker) -> tuple[object, ...]:
    """Return the keys and users under which a reader may be addressed."""
    return unlocker._own

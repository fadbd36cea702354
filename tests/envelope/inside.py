"""The internals of sealers and openers, for tests that cannot do without them.

No other module of these tests uses private names.

- Time: vectors are opened, and parts sealed, at a given time.
- Secrets: what an ended session keeps, and what a thief of its memory has.
- Bounds: the sizes of caches and of the replay memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import pytest

from tests.envelope.cast import BOB, FIELDS, NOW, SUBJECT, Raw
from tests.envelope.forge import head_of
from tests.reference.head import Head
from xkeymsg import Message, Opener, Sealer, UserKey, XKey, XKeyPair, ambient, native, nkey
from xkeymsg import sealer as sealing
from xkeymsg.arguments import Buffer
from xkeymsg.envelope import session as sessions
from xkeymsg.envelope.admission import Admit, Senders
from xkeymsg.envelope.head import Head as DecodedHead
from xkeymsg.envelope.recent_cache import RecentCache
from xkeymsg.envelope.replay import ReplayMemory, StreamPosition
from xkeymsg.envelope.session import Session
from xkeymsg.envelope.unlock import Unlocker
from xkeymsg.native import NativeSession
from xkeymsg.opener import Form

# --- at a given time ------------------------------------------------------------------------------


def open_at(
    opener: Opener,
    now: int,
    envelope: Buffer,
    form: Form[Any, Any],
    subject: str | Iterable[str],
    senders: Senders | None = None,
    wire_subject: str | None = None,
    position: StreamPosition | None = None,
) -> Any:
    """Open any form of content at a given time, in milliseconds."""
    return opener._open(now, envelope, form, subject, senders, wire_subject, position)


def opened_at(
    opener: Opener, now: int, envelope: bytes, form: Form[Any, Any] = FIELDS, subject: str = ">"
) -> Raw:
    """Open at a given time, in milliseconds."""
    raw: Raw = open_at(opener, now, envelope, form, subject)
    return raw


def open_fields(opener: Opener, envelope: bytes, now: int = NOW) -> dict[int, bytes]:
    """Open a document as the layer above does; return the contents of its parts by position."""
    contents: dict[int, bytes] = opened_at(opener, now, envelope).content
    return contents


def seal_parts(
    sealer: Sealer,
    parts: Sequence[bytes],
    *,
    grants: Mapping[Any, Iterable[int]],
    subject: str,
    headers: Any = (),
    content_type: str | None = None,
    expires: float | None = None,
    revision: int | None = None,
) -> bytes:
    """Seal parts of any contents, as the layer above does with parts of a document."""
    contents = sealer._planner.contents(parts, headers, content_type)
    metadata = len(contents) > len(parts)
    sharing = sealer._planner.sharing(grants, len(parts), metadata=metadata)
    now = sealing.now_ns()  # type: ignore[attr-defined]  # the clock that tests set
    return sealer._seal_at(now, contents, sharing, subject, expires, revision)


def seal_at(sealer: Sealer, now_ns: int, data: bytes, to: XKey, subject: str) -> bytes:
    """Seal a payload at a given time, in nanoseconds."""
    contents = sealer._planner.payload(data, None)
    return sealer._seal_at(now_ns, contents, (to,), subject, None, None)


# --- sessions -------------------------------------------------------------------------------------


def seal(sealer: Sealer, data: bytes = b"") -> Head:
    """Seal to Bob and return the head."""
    return head_of(sealer.seal(data, to=[BOB.public], subject=SUBJECT))


def is_idle(sealer: Sealer) -> bool:
    """Return whether the sealer has no session."""
    return sealer._session is None


def running(sealer: Sealer) -> Session:
    assert sealer._session is not None
    return sealer._session


def session_of(sealer: Sealer) -> XKeyPair:
    """Begin a session, and return its secret ephemeral key, known to a malicious sender only."""
    ephemeral = XKeyPair.generate()
    kind = type(native.session(sealer._pair, sealer._pairs))
    sealer._session = kind(sealer._pair, sealer._pairs, secret=ephemeral._secret)
    return ephemeral


def ephemeral_of(session: Session) -> XKeyPair:
    """Return the ephemeral key that a session of the Python code keeps."""
    assert session._ephemeral is not None
    return session._ephemeral


def secret_in_memory(own: XKeyPair) -> bytes:
    """Return the object that holds a pair's secret bytes."""
    return own._secret


def seed_text(key: UserKey) -> str:
    """Return the seed `SU…` of a user key, which nothing exports."""
    seed: bytes = key._pair.seed
    return seed.decode()


def user_seed(key: UserKey) -> bytes:
    """Return the 32 secret bytes."""
    return nkey.decode_seed(nkey.Prefix.USER, seed_text(key))


def skip_to(monkeypatch: pytest.MonkeyPatch, session: Session, counter: int) -> None:
    """Let the next message of a session have this counter."""
    if isinstance(session, NativeSession):
        plan = session.plan((BOB.public,), SUBJECT, b"")
        for _ in range(counter - 2):  # the session has sealed one message
            with suppress(ValueError):  # without random bytes, only the counter is taken
                session._core.seal(plan, 0, [], None, b"")
    else:
        monkeypatch.setattr(session, "_counter", itertools.count(counter))


def set_monotonic(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Set the clock of sessions that cannot be set back."""
    monkeypatch.setattr(sessions, "monotonic", clock)
    if native.core is not None:
        core = SimpleNamespace(Session=partial(native.core.Session, clock=clock))
        monkeypatch.setattr(native, "core", core)


def cached_in_session(session: Session) -> dict[str, int]:
    """Return how many entries each cache has, by the name of its limit."""
    return {"AUDIENCES": len(session._audiences), "RECIPIENTS": len(session._recipients)}


HARMLESS: Final = {"public", "prefix", "_pairs", "_counter", "_ends", "_core", "seal"}
"""Attributes that an ended session may keep: none holds a secret of the session."""


def is_empty(ended: Session) -> bool:
    """Return whether a session holds no secret. Add new secret attributes here."""
    left = {name: value for name, value in vars(ended).items() if name not in HARMLESS}
    wraps = [plan.audience.wraps for _, plan in left.pop("_last")]
    expected: dict[str, object] = {
        "_ephemeral": None,
        "_hedge": None,
        "_recipients": {},
        "_audiences": {},
    }
    natively = not isinstance(ended, NativeSession) or ended._core.ended
    return left == expected and not any(wraps) and natively


def alarms() -> list[Any]:
    """Return the functions that the timer will call."""
    return [entry[2]() for entry in ambient._alarm._due]


# --- openers --------------------------------------------------------------------------------------


def decoded_head(message: Message) -> DecodedHead:
    return message._head


def admission(opener: Opener) -> Admit:
    assert opener._admit is not None
    return opener._admit


def unlocker_of(opener: Opener) -> Unlocker:
    return opener._unlocker


def caches(opener: Opener) -> tuple[Any, Any]:
    """Return the key caches of admitted senders, and of all others."""
    return opener._unlocker._admitted, opener._unlocker._others


def names_in(cache: RecentCache[Any]) -> set[bytes]:
    return {*cache.younger, *cache._elder}


# --- the replay memory ----------------------------------------------------------------------------


def memory_of(opener: Opener) -> ReplayMemory:
    return opener._memory


def share_memory(opener: Opener, memory: ReplayMemory) -> None:
    """Let an opener continue with the replay memory of another."""
    opener._memory = memory


def admitted_in(memory: ReplayMemory) -> Mapping[bytes, Any]:
    """Return what is kept for each admitted sender."""
    return memory._senders


def strangers_in(memory: ReplayMemory) -> Any:
    """Return what is kept for all other senders together."""
    return memory._strangers


def charged_for_admitted(memory: ReplayMemory) -> int:
    return memory._cost


def as_after_a_fork(memory: ReplayMemory) -> None:
    """Do what a forked child does first: the parent's thread may hold the lock."""
    memory._after_fork()


def slow_down_marking(monkeypatch: pytest.MonkeyPatch, between: Any) -> None:
    """Call a function between testing and setting a mark."""
    look = ReplayMemory._check_marks

    def slowly(memory: ReplayMemory, *arguments: Any) -> None:
        look(memory, *arguments)
        between()

    monkeypatch.setattr(ReplayMemory, "_check_marks", slowly)

"""What is wiped stays in no freed memory (ADR 0017, "What is wiped")."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.envelope.cast import ALICE, BOB, SUBJECT
from tests.envelope.forge import head_of
from tests.native.inside import core_of, with_known_secrets
from tests.native.test_session import NO_ATTRIBUTES, SECRETS
from xkeymsg import Keyring, Limits, Recipient, native, primitives
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.plan import Sharing
from xkeymsg.envelope.session import LIFETIME, SessionEndedError
from xkeymsg.envelope.unlock import Admitted, Read, locate

MAPS = Path("/proc/self/maps")

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not in use")

PARTS = 40
NOW_NS = 2**60


def object_bytes(thing: Any) -> bytes:
    """Return the memory of an object."""
    return ctypes.string_at(id(thing), type(thing).__basicsize__)


@pytest.mark.parametrize("how", ["end", "time"])
def test_a_session_that_has_ended_does_not_contain_its_secrets(how: str) -> None:
    # E-21
    times = iter([0.0, LIFETIME])
    _, session = with_known_secrets(ALICE, *SECRETS, clock=lambda: next(times))
    core, plan = core_of(session), session.plan((Recipient(BOB.public),), SUBJECT, NO_ATTRIBUTES)
    held = object_bytes(core)
    if how == "end":
        core.end()
    else:  # the counter takes the same way
        with pytest.raises(SessionEndedError):
            core.seal(plan, NOW_NS, [(0, b"")], None, bytes(40))
    assert core.ended
    left = object_bytes(core)
    assert SECRETS[0] in held
    assert SECRETS[0] not in left
    # The other secret is inside a hash, of which no word is left.
    words = {held[at : at + 8] for at in range(0, len(held) - 7, 8)}
    secret = {word for word in words if word.count(0) < 3 and word not in core.public}
    assert len(secret) > 10
    assert sum(word in left for word in secret) <= 3, "the type of the object, and the like"


@pytest.mark.parametrize(
    ("make", "secret"),
    [
        (lambda: native.core.Key(b"0123456789abcdef" * 2, Limits()), b"0123456789abcdef" * 2),
        (lambda: native.core.Session(LIFETIME, *SECRETS), SECRETS[0]),
    ],
)
def test_a_key_or_session_that_is_freed_leaves_no_secret(
    make: Callable[[], object], secret: bytes
) -> None:
    thing = make()
    address, size = id(thing), type(thing).__basicsize__
    assert secret in object_bytes(thing)
    del thing
    # The allocator writes into the first 16 bytes, and keeps the memory.
    assert secret[16:] not in ctypes.string_at(address, size)


def heap() -> bytes:
    """Return the memory of the C library's `malloc`, in which Python keeps no small object."""
    found = b""
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in MAPS.read_text().splitlines():
            if line.endswith("[heap]"):
                first, end = (int(address, 16) for address in line.split()[0].split("-"))
                memory.seek(first)
                found += memory.read(end - first)
    return found


def keys_from(drawn: bytes) -> list[bytes]:
    """Return the keys of the parts and of the view (E-27)."""
    hedge = primitives.keyed_hash(primitives.label(b"xkm1/hedge"), SECRETS[1])
    cuts = [0, 40, *range(104, len(drawn), 64), len(drawn)]
    keys = []
    for number, (first, end) in enumerate(pairwise(cuts)):
        mixed = hedge.copy()
        position = 0 if number == 0 else 1 + first - 40
        mixed.update(drawn[first:end] + NOW_NS.to_bytes(8, "big") + position.to_bytes(4, "big"))
        made = mixed.digest()[8 if number == 0 else 0 :]
        keys += [made[:32], made[32:]]
    return [key for key in keys if len(key) == 32][: PARTS + 1]


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not show a process its memory")
def test_the_keys_of_a_message_are_in_no_freed_memory_after_sealing_and_opening() -> None:
    _, session = with_known_secrets(ALICE, *SECRETS)
    sharing = Sharing({Recipient(BOB.public): frozenset(range(PARTS))}, PARTS)
    plan = session.plan(sharing, SUBJECT, NO_ATTRIBUTES)
    unlocker = native.NativeUnlocker(Keyring.of(BOB), Limits())
    contents = [(1, b"content")] * PARTS

    def seal(drawn: bytes) -> bytes:
        sealed: bytes = core_of(session).seal(plan, NOW_NS, contents, None, drawn)
        return sealed

    def unlock(envelope: bytes) -> object:
        return unlocker.unlock(Admitted(locate(envelope, Limits()), Admission()))

    size = 40 + 32 * PARTS
    unlock(seal(bytes(size)))  # the first message of a session is opened by Python
    drawn = bytes(range(256)) * 6
    sealed = seal(drawn[:size])
    opened = unlock(seal(drawn[-size:]))
    found = heap()
    for each in (drawn[:size], drawn[-size:]):
        # `free` writes into the first 16 bytes.
        assert sum(key[16:] in found for key in keys_from(each)) == 0
    assert isinstance(opened, Read), "by the native core"
    nonce, keys = head_of(sealed).nonce, keys_from(drawn[:size])
    again = native.core.assemble(plan, nonce, NOW_NS // 10**6, contents, keys, None)
    assert again == sealed, "these were the keys"

"""Sessions of the native core: their counter, their end, forks, threads and copies."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - to show that a session does not go in
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.envelope.cast import ALICE, ALICE_USER, BOB, SUBJECT, reader
from tests.envelope.forge import grant_of, head_of
from tests.envelope.inside import running, seal
from tests.envelope.test_forks import tell
from tests.envelope.together import together
from tests.native.inside import core_of, with_known_secrets
from tests.running import DEADLINE
from xkeymsg import (
    Limits,
    Recipient,
    Sealer,
    SignatureInvalidError,
    XKeyMsgError,
    native,
)
from xkeymsg.envelope.plan import Sharing
from xkeymsg.envelope.seal import Plan, assemble
from xkeymsg.envelope.session import LIFETIME, SessionEndedError

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not in use")

NO_ATTRIBUTES = b"\x93\xc0\xc0\xc0"
SECRETS = b"e" * 32, b"h" * 32


class Session:
    """A native session with known secrets, used below the seam."""

    def __init__(self) -> None:
        self.now = 1000.0
        _, session = with_known_secrets(ALICE, *SECRETS, clock=lambda: self.now)
        self.core = core_of(session)
        self.plan: Plan = session.plan((BOB.public,), SUBJECT, NO_ATTRIBUTES)

    def seal(self, now_ns: int = 2**60, drawn: bytes = bytes(40)) -> bytes:
        sealed: bytes = self.core.seal(self.plan, now_ns, [(0, b"x")], None, drawn)
        return sealed


def test_the_counter_begins_with_1_and_goes_up() -> None:
    # E-23
    session = Session()
    assert [head_of(session.seal()).counter for _ in range(4)] == [1, 2, 3, 4]


def test_a_failed_attempt_consumes_a_counter() -> None:
    session = Session()
    with pytest.raises(ValueError, match="out of range"):
        session.seal(drawn=bytes(39))
    assert head_of(session.seal()).counter == 2


def test_a_signer_that_fails_consumes_a_counter_and_its_error_arrives() -> None:
    class Token:
        public_key = ALICE_USER.public_key
        works = False

        def sign(self, data: bytes, /) -> bytes:
            if not self.works:
                raise OSError("not plugged in")
            return b"short"

    token = Token()
    sealer = Sealer(ALICE, signer=token)
    with pytest.raises(OSError, match="plugged"):
        seal(sealer)
    token.works = True
    with pytest.raises(SignatureInvalidError):
        seal(sealer)


def test_a_session_ends_at_its_time_and_keeps_nothing() -> None:
    # E-22
    session = Session()
    session.now += LIFETIME - 0.1
    session.seal()
    session.now += 0.2
    with pytest.raises(SessionEndedError):
        session.seal()
    assert session.core.ended
    session.now = 0.0
    with pytest.raises(SessionEndedError):
        session.seal()
    with pytest.raises(SessionEndedError):
        session.core.wrap_key(bytes(BOB.public), bytes(32))


def test_a_clock_that_is_no_number_ends_a_session() -> None:
    session = Session()
    session.now = float("nan")
    with pytest.raises(SessionEndedError):
        session.seal()


@pytest.mark.parametrize("lifetime", [0.0, -1.0, float("nan")])
def test_the_clock_of_the_system_ends_a_session(lifetime: float) -> None:
    core, plan = native.core.Session(lifetime), Session().plan
    with pytest.raises(SessionEndedError):
        core.seal(plan, 2**60, [(0, b"x")], None)
    assert core.ended


def test_the_clock_of_the_system_runs() -> None:
    core, plan = native.core.Session(0.2), Session().plan
    time.sleep(0.25)
    with pytest.raises(SessionEndedError):
        core.seal(plan, 2**60, [(0, b"x")], None)
    assert core.ended


def test_what_ends_amid_a_message_draws_nothing() -> None:
    # E-27: another thread ends the session after the plan, or while the clock is read.
    sealer = Sealer(ALICE)
    first = seal(sealer)
    ended = running(sealer)
    plan = ended.plan((BOB.public,), SUBJECT, b"")
    ended.end()
    with pytest.raises(SessionEndedError):
        ended.seal(plan, 0, [(0, b"")], None)
    assert seal(sealer).E != first.E
    calls = count()
    core: Any = native.core.Session(
        LIFETIME, clock=lambda: float((next(calls) and core.end()) or 0)
    )
    with pytest.raises(SessionEndedError):
        core.seal(plan, 0, [(0, b"")], None)


def test_a_session_holds_no_route_and_its_keys_after_its_end() -> None:
    # E-21: also if a plan is used for the first time while the session ends, or by a child.
    session = Session()
    plan = session.plan._replace(before=b"other")
    held = sys.getrefcount(plan)
    session.core.seal(plan, 2**60, [(0, b"x")], None)
    assert sys.getrefcount(plan) == held + 1
    session.core.end()
    assert sys.getrefcount(plan) == held
    with pytest.raises(SessionEndedError):
        session.core.seal(plan, 2**60, [(0, b"x")], None)
    assert sys.getrefcount(plan) == held


def test_each_message_has_the_route_of_its_own_plan() -> None:
    # A plan that is freed may be followed by another one at its address.
    session = Session()
    for number in range(200):
        plan = session.plan._replace(before=b"%d" % number)
        assert session.core.seal(plan, 2**60, [(0, b"")], None).startswith(b"%d" % number)


def test_python_makes_the_same_bytes_from_a_native_plan() -> None:
    python, natively = with_known_secrets(ALICE, *SECRETS)
    to = (BOB.public, ALICE.public)
    made = {
        assemble(
            each.plan(to, SUBJECT, NO_ATTRIBUTES), b"\0\0\0\1random..", 2**41, [(0, b"x")],
            [b"k" * 32], ALICE_USER,
        )
        for each in (python, natively)
    }  # fmt: skip
    assert len(made) == 1


def test_random_bytes_are_drawn_for_each_message() -> None:
    sessions = Session(), Session()
    sealed = [each.core.seal(each.plan, 2**60, [(0, b"x")], None) for each in sessions]
    nonces = {head_of(each).nonce for each in sealed}
    assert {nonce[:4] for nonce in nonces} == {b"\0\0\0\1"}
    assert len(nonces) == 2


def test_the_secret_of_the_session_and_the_clock_are_mixed_in() -> None:
    # E-27: even if the kernel's randomness repeats, after a snapshot was restored.
    one, two = Session(), Session()
    same = one.seal(now_ns=2**60), two.seal(now_ns=2**60)
    assert same[0] == same[1], "all secrets, random bytes, counters and clocks are equal"
    later = Session().seal(now_ns=2**60 + 1)
    assert head_of(later).nonce[:4] == head_of(same[0]).nonce[:4]
    assert head_of(later).nonce != head_of(same[0]).nonce
    core = native.core.Session(1000.0, SECRETS[0], b"i" * 32)
    other = core.seal(one.plan, 2**60, [(0, b"x")], None, bytes(40))
    assert head_of(other).nonce[4:] != head_of(same[0]).nonce[4:]


def test_the_secrets_of_sessions_are_drawn() -> None:
    sessions = [native.core.Session(1000.0) for _ in range(50)]
    assert len({session.public for session in sessions}) == 50
    # E-27: nor is the secret that is mixed in the same one.
    plan, nonces = Session().plan, set()
    for _ in range(50):
        core = native.core.Session(1000.0, SECRETS[0])
        nonces.add(head_of(core.seal(plan, 2**60, [(0, b"x")], None, bytes(40))).nonce)
    assert len(nonces) == 50


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_all_random_bytes_of_a_message_with_several_keys_are_drawn(parts: int) -> None:
    # E-26: the key of the view is the last one.
    sharing = Sharing({Recipient(BOB.public): frozenset(range(parts))}, parts)
    keys, nonces = set(), set()
    for _ in range(2):
        _, session = with_known_secrets(ALICE, *SECRETS)
        plan = session.plan(sharing, SUBJECT, NO_ATTRIBUTES)
        sealed = core_of(session).seal(plan, 2**60, [(1, b"x")] * parts, None)
        keys.add(grant_of(BOB, sealed)[1:])
        nonces.add(head_of(sealed).nonce)
    assert (len(keys), len(nonces)) == (2, 2)


def test_threads_never_share_a_counter() -> None:
    # E-23
    session = Session()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        made = together(8, lambda _: [head_of(session.seal()).counter for _ in range(300)])
    finally:
        sys.setswitchinterval(interval)
    counters = [counter for each in made if isinstance(each, list) for counter in each]
    assert sorted(counters) == list(range(1, 2401))


def test_threads_that_seal_without_the_lock_of_the_interpreter_do_not_mix_anything_up() -> None:
    sealer, size = Sealer(ALICE), 1 << 17

    def work(number: int) -> set[bytes]:
        data, opener = bytes([number]) * size, reader(BOB)
        sealed = [sealer.seal(data, to=[BOB.public], subject=SUBJECT) for _ in range(5)]
        return {opener.open(envelope, subject=SUBJECT).data for envelope in sealed}

    assert sorted(map(str, together(4, work))) == sorted(str({bytes([n]) * size}) for n in range(4))


@pytest.mark.parametrize("seals", [True, False])
def test_other_threads_run_while_a_large_message_is_sealed_or_opened(seals: bool) -> None:
    sealer, opener, data = Sealer(ALICE), reader(BOB), bytes(4 << 20)

    def seal() -> bytes:
        return sealer.seal(data, to=[BOB.public], subject=SUBJECT)

    envelope, gate, ran = seal(), threading.Semaphore(0), threading.Event()
    opener.open(envelope, subject=SUBJECT)

    def other() -> None:
        gate.acquire()
        ran.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    interval, end = sys.getswitchinterval(), time.monotonic() + DEADLINE
    sys.setswitchinterval(1000)  # a thread that runs keeps the lock, unless it gives it away
    try:
        gate.release()
        while not ran.is_set() and time.monotonic() < end:
            seal() if seals else opener.open(envelope, subject=SUBJECT)
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join(DEADLINE)


def test_a_route_that_is_freed_may_use_its_session() -> None:
    # What is freed can run Python code: no lock is held meanwhile.
    tell(
        """
seal()
core, outcomes = sealer._session._core, []
class Plan(tuple):
    def __del__(self):
        try:
            core.seal(plan, 0, [(0, b"")], None)
            outcomes.append("sealed")
        except Exception as error:
            outcomes.append(type(error).__name__)
plan = sealer._session.plan((BOB.public,), SUBJECT, b"")
core.seal(Plan(plan), 0, [(0, b"")], None)
core.seal(plan, 0, [(0, b"")], None)
core.seal(Plan(plan), 0, [(0, b"")], None)
core.end()
assert outcomes == ["sealed", "SessionEndedError"], outcomes
"""
    )


def test_a_child_process_cannot_use_the_session_of_its_parent() -> None:
    # E-24: even if nothing tells the sealer about the fork.
    tell(
        """
seal()
session = sealer._session
plan = session.plan((BOB.public,), SUBJECT, b"")
def work():
    assert session._core.ended
    for attempt in (
        lambda: session._core.seal(plan, 0, [(0, b"")], None),
        lambda: session._core.wrap_key(bytes(BOB.public), bytes(32)),
    ):
        try:
            attempt()
        except Exception as error:
            assert type(error).__name__ == "SessionEndedError", error
        else:
            return b"sealed"
    session._core.end()
    return b"refused"
assert in_child(work) == b"refused"
assert not session._core.ended
assert head_of(seal()).counter == 2
"""
    )


PICKLES = [partial(pickle.dumps, protocol=each) for each in range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, *PICKLES])
def test_neither_a_session_nor_a_key_can_be_copied_or_pickled(
    take: Callable[[object], object],
) -> None:
    # E-25
    for thing in (native.core.Session(1000.0), native.core.Key(bytes(32), Limits())):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            take(thing)


def test_nothing_shows_a_secret_or_can_be_added() -> None:
    session, key = native.core.Session(1000.0, *SECRETS), native.core.Key(b"k" * 32, Limits())
    for thing in (session, key):
        assert repr(thing) == str(thing) == f"<{type(thing).__name__}>"
        assert not hasattr(thing, "__dict__")
        with pytest.raises(AttributeError):
            thing.secret = b""
        with pytest.raises(TypeError):
            type("Sub", (type(thing),), {})
    names = {name for name in dir(session) if not name.startswith("_")}
    assert names == {"end", "ended", "public", "seal", "wrap_key"}
    assert {name for name in dir(key) if not name.startswith("_")} == {"decrypt", "open"}


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_a_key_or_secret_of_another_length_is_refused(wrong: bytes) -> None:
    makers: tuple[Callable[[bytes], object], ...] = (
        lambda key: native.core.Key(key, Limits()),
        lambda key: native.core.Session(0.0, key),
    )
    for make in makers:
        with pytest.raises(ValueError, match="out of range"):
            make(wrong)


def test_a_shared_secret_of_zeros_is_refused() -> None:
    # E-2: no sound key causes it, but the check is required.
    with pytest.raises(XKeyMsgError) as caught:
        native.core.Session(1000.0).wrap_key(bytes(32), bytes(32))
    assert caught.value.code == "bad_key"


def test_impossible_plans_and_contents_are_refused_and_nothing_crashes() -> None:
    session = Session()
    plan: Any = session.plan
    audience = plan.audience
    hostile: list[tuple[Any, Any]] = [
        (plan, []),
        (plan, ()),
        (plan, [(0, b""), (0, b"")]),
        (plan, [(256, b"")]),
        (plan, [(0, "text")]),
        (plan, [(0,)]),
        ((), [(0, b"")]),
        (None, [(0, b"")]),
        (plan._replace(audience=audience._replace(views=((0,), (9,)))), [(0, b"")] * 2),
        (plan._replace(audience=audience._replace(views=((0, 1),), order=(7,))), [(0, b"")] * 2),
        (plan._replace(audience=audience._replace(views=((0, 1),), order=())), [(0, b"")] * 2),
        (plan._replace(audience=audience._replace(wraps=(print,))), [(0, b"")]),
        (plan._replace(before=None), [(0, b"")]),
    ]
    for changed, contents in hostile:
        with pytest.raises((TypeError, ValueError, OverflowError, IndexError)):
            session.core.seal(changed, 2**60, contents, None)
    assert head_of(session.seal()).counter <= len(hostile) + 1


def test_a_time_before_1970_or_after_the_year_2554_is_refused() -> None:
    session = Session()
    for now in (-1, 2**64):
        with pytest.raises(OverflowError):
            session.seal(now_ns=now)
    assert head_of(session.seal(now_ns=2**64 - 1)).created_ms == (2**64 - 1) // 10**6

"""The effects of a fork on sealers and openers.

Each case runs as a separate program, in which nothing has been sealed or opened: a fork copies the
memory of the test process, and from Python 3.12 on it warns if that process has threads.
"""

from __future__ import annotations

from tests.cases import for_each
from tests.running import run


def tell(story: str) -> None:
    """Run a program to its end."""
    done = run("tests.envelope.story", story)
    assert done.returncode == 0, done.stderr.decode()


def test_a_child_seals_in_a_session_of_its_own() -> None:
    # E-24: with the parent's counter and key, both would seal different messages under one nonce.
    tell(
        """
seal()
there = head_of(in_child(seal))
here = head_of(seal())
assert here.counter == 2
assert there.counter == 1
assert there.E != here.E
"""
    )


def test_children_of_one_parent_have_different_sessions() -> None:
    tell(
        """
seal()
heads = [head_of(in_child(seal)) for _ in range(5)]
assert len({head.E for head in heads}) == 5
"""
    )


def test_a_child_of_a_child_has_a_session_of_its_own() -> None:
    tell(
        """
seal()
def work():
    mine = seal()
    theirs = in_child(seal)
    assert head_of(mine).E != head_of(theirs).E
    return theirs
assert head_of(in_child(work)).E != head_of(seal()).E
"""
    )


def test_a_childs_messages_open() -> None:
    tell('seal(); assert reader().open(in_child(seal), subject=SUBJECT).data == b"x"')


def test_a_parents_session_is_not_in_the_childs_sealer() -> None:
    tell('seal(); in_child(lambda: b"" if sealer._session is None else 1/0)')


@for_each(
    "lock",
    ["sealer._lock", "opener._memory._lock", "ambient._alarm._condition"],
)
def test_a_lock_that_another_thread_held_at_the_fork_does_not_stop_the_child(lock: str) -> None:
    tell(
        f"""
opener = Opener(BOB, {{ALICE.public}})
first, second = seal(), seal()
held, done = threading.Event(), threading.Event()
def hold():
    with {lock}:
        held.set()
        done.wait(50)
threading.Thread(target=hold, daemon=True).start()
held.wait(50)
def work():
    opener.open(first, subject=SUBJECT)
    return seal()
child = in_child(work)
done.set()
opener.open(second, subject=SUBJECT)
opener.open(child, subject=SUBJECT)
"""
    )


def test_the_child_has_new_locks_for_the_caches() -> None:
    tell(
        """
opener = Opener(BOB, {ALICE.public})
caches = opener._unlocker._admitted, opener._unlocker._others
kept = [each for cache in caches for each in (cache.senders, cache.sessions)]
envelope = seal()
with contextlib.ExitStack() as held:
    for each in kept:
        held.enter_context(each._lock)
    in_child(lambda: opener.open(envelope, subject=SUBJECT).data)
"""
    )


def test_an_opener_remembers_in_the_child_what_was_opened_before_the_fork() -> None:
    tell(
        """
opener = Opener(BOB, {ALICE.public})
envelope = seal()
opener.open(envelope, subject=SUBJECT)
def work():
    try:
        opener.open(envelope, subject=SUBJECT)
    except ReplayError:
        return b"refused"
assert in_child(work) == b"refused"
"""
    )


def test_after_a_fork_each_process_remembers_for_itself() -> None:
    # The limit stated in the documents: workers without shared state do not see each other's marks.
    tell(
        """
opener = Opener(BOB, {ALICE.public})
envelope = seal()
assert in_child(lambda: opener.open(envelope, subject=SUBJECT).data) == b"x"
assert opener.open(envelope, subject=SUBJECT).data == b"x"
"""
    )


def test_the_timer_works_in_the_child_as_well() -> None:
    # The parent's thread does not exist in the child: a new session needs a new one.
    tell(
        """
from xkeymsg import sealer as sealing
seal()
sealing.LIFETIME = 0.05
def work():
    seal()
    end = time.monotonic() + 50
    while not is_empty(running(sealer)) and time.monotonic() < end:
        time.sleep(0.01)
    return b"dropped" if is_empty(running(sealer)) else b"kept"
assert in_child(work) == b"dropped"
"""
    )


def test_a_fork_amid_sealing_threads_leaves_a_child_that_seals() -> None:
    tell(
        """
stop = threading.Event()
def work():
    while not stop.is_set():
        seal()
        sealer.close()
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
heads = [head_of(in_child(seal)) for _ in range(20)]
stop.set()
assert len({head.E for head in heads}) == 20
"""
    )

"""Scenarios of the replay memory (E-70 to E-86)."""

from __future__ import annotations

from tests.vectors.people import ALICE, CAROL, DAVE, MALLORY, person
from tests.vectors.stage import ONE, SENDER, Stage, requires
from tests.vectors.vector import NOW

THREE = SENDER + 3 * ONE
"""A budget for one sender with three sessions: with the fourth, two are dropped."""
MINUTE = 60_000


@requires("E-82")
def stream_redelivery_while_pending(stage: Stage) -> None:
    """The handler fails, and the message is delivered again at its place."""
    message = stage.seal("order")
    stage.deliver(message, 7)
    stage.deliver(message, 7)
    stage.release(message)
    stage.deliver(message, 7)
    stage.settle(message)
    stage.deliver(message, 7, "replay-final")


@requires("E-83", "E-76")
def stream_copy_while_pending_and_when_final(stage: Stage) -> None:
    """A copy waits for the first; when that was handled, the copy is dropped."""
    message = stage.seal("order")
    stage.deliver(message, 7)
    for _ in range(2):
        stage.deliver(message, 8, "replay-pending")
        stage.deliver(message, 7, "replay-pending", stream="COPIES")
        stage.release(message)
    stage.settle(message)
    stage.deliver(message, 8, "replay-final")
    stage.deliver(message, 7, "replay-final", stream="COPIES")


@requires("E-83")
def stream_settled_opens_at_no_place(stage: Stage) -> None:
    """The broker calls a copy of a handled message a redelivery, at its own place or another."""
    message, other = stage.seal("order"), stage.seal("other", 2)
    stage.handle(message, 7)
    stage.handle(other, 8)
    for place in (7, 8, 1, 9):
        stage.deliver(message, place, "replay-final")


@requires("E-71")
def stream_clone_while_pending_and_when_final(stage: Stage) -> None:
    """Two copies of one sender run; where the second message is stored makes no difference."""
    first, second = stage.seal("first"), stage.seal("second")
    stage.deliver(first, 7)
    stage.deliver(second, 7, "session_cloned")
    stage.deliver(second, 8, "session_cloned")
    stage.release(first)
    stage.deliver(second, 8, "session_cloned")
    stage.settle(first)
    stage.deliver(second, 7, "session_cloned")
    stage.deliver(second, 8, "session_cloned")


@requires("E-71", "E-76")
def stream_clone_with_the_tag_of_the_first(stage: Stage) -> None:
    """Pending messages are compared by all 8 bytes, marked ones by a tag of one byte."""
    first = stage.seal("first", tail=(10**18).to_bytes(8, "big"))
    same = stage.seal("same_tag", tail=(10**18 + 255).to_bytes(8, "big"))
    next_one = stage.seal("next_tag", tail=(10**18 + 256).to_bytes(8, "big"))
    front = stage.seal("other_first_bytes", tail=(10**18 + 2**40).to_bytes(8, "big"))
    stage.deliver(first, 7)
    stage.deliver(same, 8, "session_cloned")
    stage.settle(first)
    stage.deliver(same, 8, "replay-final")
    stage.deliver(next_one, 8, "session_cloned")
    stage.deliver(front, 8, "session_cloned")


@requires("E-85", "E-72")
def stream_settled_otherwise_opens_again(stage: Stage) -> None:
    """No quarantine took the record: the message is forgotten, and opens wherever it comes."""
    message = stage.seal("order")
    stage.deliver(message, 7)
    stage.deliver(message, 8, "replay-pending")
    stage.forget(message)
    stage.deliver(message, 8)
    stage.deliver(message, 7, "replay-pending")
    stage.settle(message)
    stage.deliver(message, 7, "replay-final")


@requires("E-85")
def stream_settling_needs_a_pending_message(stage: Stage) -> None:
    """A message that was forgotten is not marked by a handler that returns late."""
    message = stage.seal("order")
    stage.deliver(message, 7)
    stage.forget(message)
    stage.settle(message)
    stage.release(message)
    stage.deliver(message, 8)


@requires("E-72")
def stream_refused_leaves_nothing(stage: Stage) -> None:
    """A clone that was refused is neither pending nor marked."""
    first, second = stage.seal("first"), stage.seal("second")
    stage.deliver(first, 7)
    stage.deliver(second, 8, "session_cloned")
    stage.forget(first)
    stage.deliver(second, 8)


@requires("E-82", "E-75")
def stream_redelivery_below_the_floor(stage: Stage) -> None:
    """The floor rises above a pending message; its redelivery opens, a message like it does not."""
    stage.limit(limit_replay=THREE)
    old = stage.seal("old", 1, created=NOW - MINUTE)
    unseen = stage.seal("unseen", 2, created=NOW - MINUTE)
    stage.deliver(old, 7)
    stage.flood(4, sender=ALICE)
    stage.deliver(unseen, 8, "stale")
    stage.release(old)
    stage.deliver(old, 7)
    stage.deliver(old, 9, "replay-pending")
    stage.settle(old)
    stage.deliver(old, 7, "replay-final")


@requires("E-78", "E-75")
def dropped_session_that_is_known_again(stage: Stage) -> None:
    """A session is dropped, and an honest newer message makes it known again. A copy of what it
    had marked is unmarked in a known session, and has to stay closed."""
    stage.limit(limit_replay=THREE)
    copied = stage.seal("copied", 1, created=NOW - MINUTE)
    newer = stage.seal("newer", 2, created=NOW + 20_000)
    stage.handle(copied, 7)
    stage.flood(3, sender=ALICE)
    stage.deliver(copied, 8, "stale")
    stage.handle(newer, 9)
    stage.deliver(copied, 7, "stale")
    stage.deliver(copied, 8, "stale")
    stage.deliver(newer, 10, "replay-final")


@requires("E-78", "E-75")
def dropped_page_raises_the_floor_of_its_session(stage: Stage) -> None:
    """Of two pages of a session the first is dropped, and its marks with it. Nothing at or below
    its newest message opens in this session; other sessions are not touched."""
    stage.limit(limit_replay=3200)
    first = stage.seal("first", 1, created=NOW - 3000)
    newest = stage.seal("newest", 1023, created=NOW - 2000)
    second = stage.seal("second", 1024, created=NOW - 1000)
    for place, message in enumerate((newest, first, second)):
        stage.handle(message, place)
    stage.flood(2, sender=ALICE)
    stage.deliver(first, 10, "stale")
    stage.deliver(newest, 1, "stale")
    stage.deliver(stage.seal("same_time", 3, created=NOW - 2000), 11, "stale")
    stage.deliver(stage.seal("above", 2, created=NOW - 1999), 12)
    stage.deliver(second, 13, "replay-final")
    stage.deliver(stage.seal("elsewhere", session="other", created=NOW - 2500), 14)


@requires("E-78", "E-75")
def forgotten_session_raises_the_floor_of_its_sender(stage: Stage) -> None:
    """With the last page the session goes, and its floor to the sender: a session that is new here
    begins with it."""
    stage.limit(limit_replay=THREE)
    stage.handle(stage.seal("first", created=NOW - 3000), 7)
    stage.handle(stage.seal("second", session="two", created=NOW - 2000), 8)
    stage.flood(2, sender=ALICE)
    stage.deliver(stage.seal("at_floor", session="new", created=NOW - 2000), 10, "stale")
    above = stage.seal("above", 2, session="new", created=NOW - 1999)
    stage.handle(above, 11)
    stage.deliver(stage.seal("still_below", 3, session="new", created=NOW - 2000), 12, "stale")


@requires("E-75")
def floor_of_a_known_session_counts(stage: Stage) -> None:
    """Other sessions of the sender are dropped; one that is known is measured by its own floor."""
    stage.limit(limit_replay=THREE)
    gone = stage.seal("gone", session="gone", created=NOW - 1000)
    stage.handle(gone, 7)
    stage.handle(stage.seal("also_gone", session="too", created=NOW - 900), 8)
    stage.handle(stage.seal("kept", 1), 9)
    stage.flood(1, sender=ALICE)
    stage.deliver(gone, 10, "stale")
    stage.deliver(stage.seal("late", 2, created=NOW - 2 * MINUTE), 11)


@requires("E-79")
def sender_that_holds_most_gives_first(stage: Stage) -> None:
    """Mallory begins a session for each message and dates them ahead; Alice is quiet and late."""
    stage.limit(limit_replay=2 * THREE)
    alice = stage.seal("alice", 1, created=NOW - MINUTE)
    stage.handle(alice, 7)
    flood = stage.flood(12, sender=MALLORY, created=NOW + 29_000)
    stage.deliver(alice, 8, "replay-final")
    for counter in (2, 1024):
        message = stage.seal(f"late_{counter}", counter, created=NOW - 2 * MINUTE)
        stage.handle(message, 8 + counter)
    stage.handle(stage.seal("new", session="new", created=NOW - 2 * MINUTE), 9)
    stage.deliver(flood[0], 5000, "stale")
    stage.deliver(flood[-1], 5001, "replay-final")


@requires("E-79")
def oldest_page_is_the_one_made_first(stage: Stage) -> None:
    """When a page was made counts, not what its messages say: one dated ahead goes first."""
    stage.limit(limit_replay=THREE)
    first = stage.seal("first", session="ahead", created=NOW + 20_000)
    second = stage.seal("second", session="early", created=NOW - MINUTE)
    third = stage.seal("third", session="middle", created=NOW)
    for place, message in enumerate((first, second, third)):
        stage.handle(message, place)
    more = stage.seal("more", 2, session="ahead", created=NOW + 20_001)
    stage.handle(more, 7)
    stage.handle(stage.seal("last", session="last", created=NOW + 25_000), 8)
    stage.deliver(first, 9, "stale")
    stage.deliver(more, 9, "stale")
    stage.deliver(second, 10, "stale")
    stage.deliver(third, 11, "replay-final")


@requires("E-79")
def idle_page_goes_first(stage: Stage) -> None:
    """Nothing of Alice came for an hour; her page goes before those of Mallory, who holds more."""
    stage.limit(limit_replay=4600)
    alice = stage.seal("alice")
    stage.handle(alice, 7)
    stage.wait(3600)
    flood = stage.flood(4, sender=MALLORY, created=NOW + 1)
    stage.deliver(alice, 8, "stale")
    for one in flood:
        stage.deliver(one, 9, "replay-final")


@requires("E-79")
def page_in_use_is_not_idle(stage: Stage) -> None:
    """A second before the hour, and after a new mark, the page of the largest sender goes."""
    stage.limit(limit_replay=4600)
    alice = stage.seal("alice")
    stage.handle(alice, 7)
    stage.wait(1800)
    stage.handle(stage.seal("alice_again", 2), 8)
    stage.wait(3599)
    flood = stage.flood(4, sender=MALLORY, created=NOW + 1)
    stage.deliver(alice, 9, "replay-final")
    stage.deliver(flood[0], 10, "stale")


@requires("E-79", "E-75")
def flood_of_strangers(stage: Stage) -> None:
    """Strangers fill the budget that they share. A stranger that was quiet is below their floor,
    an admitted sender is not touched."""
    stage.limit(limit_replay_unadmitted=THREE)
    alice, dave = stage.seal("alice", created=NOW - MINUTE), person("replay/dave")
    stage.handle(alice, 7)
    quiet = stage.seal("dave", sender=dave, created=NOW - MINUTE)
    stage.handle(quiet, 8, admitted=False)
    for n in range(5):
        stage.flood(1, sender=person(f"replay/stranger {n}"), created=NOW + n, admitted=False)
    stage.deliver(quiet, 9, "stale", admitted=False)
    stage.deliver(alice, 10, "replay-final")
    stage.deliver(stage.seal("late", 2, created=NOW - 2 * MINUTE), 11)
    new = stage.seal("new_session", session="new", created=NOW - 2 * MINUTE)
    stage.deliver(new, 12)


@requires("E-79", "E-75")
def sender_that_becomes_admitted(stage: Stage) -> None:
    """It keeps the session that it has among the strangers, with marks and floor; elsewhere it
    begins with the floor of the strangers."""
    stage.limit(limit_replay_unadmitted=THREE)
    stage.flood(3, sender=MALLORY, admitted=False)
    kept = stage.seal("kept", 1, created=NOW + 5)
    stage.handle(kept, 7, admitted=False)
    stage.deliver(kept, 8, "replay-final")
    stage.deliver(stage.seal("below", session="new", created=NOW), 9, "stale")
    late = stage.seal("late", 2, created=NOW + 2)
    stage.handle(late, 10)
    stage.deliver(kept, 11, "replay-final")
    stage.deliver(stage.seal("still_below", session="new", created=NOW + 1), 12, "stale")
    stage.deliver(stage.seal("above", 2, session="new", created=NOW + 2), 13)
    stage.flood(5, sender=MALLORY, created=NOW + 10_000, admitted=False)
    stage.deliver(stage.seal("not_touched", 3, session="new", created=NOW + 2), 14)


@requires("E-79", "E-78")
def sender_that_was_admitted_before(stage: Stage) -> None:
    """Its floor stays its own where anybody may send: what was dropped of it does not open there,
    and a flood of strangers does not touch it."""
    stage.limit(limit_replay=THREE, limit_replay_unadmitted=THREE)
    flood = stage.flood(4, sender=ALICE)
    stage.deliver(flood[0], 7, "stale", admitted=False)
    stage.flood(5, sender=MALLORY, created=NOW + 10_000, admitted=False)
    stage.deliver(flood[3], 8, "replay-final", admitted=False)
    stage.deliver(stage.seal("new", session="new", created=NOW + 3), 9, admitted=False)


@requires("E-79", "E-78")
def sender_whose_record_was_forgotten(stage: Stage) -> None:
    """There is no room for two senders: the strangers take the floor of the one without sessions,
    and it begins with that when it comes again."""
    stage.limit(limit_replay=SENDER + ONE)
    alice = stage.seal("alice", created=NOW + 10)
    stage.handle(alice, 7)
    stage.handle(stage.seal("mallory", sender=MALLORY), 8)
    stage.deliver(alice, 9, "stale")
    carol = person("replay/carol")
    stage.deliver(stage.seal("carol", sender=carol, created=NOW + 10), 10, "stale", admitted=False)
    stage.deliver(stage.seal("alice_later", 2, created=NOW + 11), 11)


@requires("E-86", "E-83")
def pending_over_the_bound(stage: Stage) -> None:
    """One that waits for a redelivery is forgotten before one in hand that is older."""
    stage.limit(limit_pending=3)
    a, b, c, d = (stage.seal(name, n) for n, name in enumerate("abcd", 1))
    for place, one in enumerate((a, b, c)):
        stage.deliver(one, place)
    stage.release(c)
    stage.release(b)
    stage.deliver(d, 3)
    stage.deliver(a, 10, "replay-pending")
    stage.deliver(b, 11, "replay-pending")
    stage.forget(a)
    stage.deliver(c, 12)


@requires("E-86")
def pending_all_in_hand(stage: Stage) -> None:
    """A caller that never settles: the oldest is forgotten; one that was redelivered is young."""
    stage.limit(limit_pending=2)
    a, b, c = (stage.seal(name, n) for n, name in enumerate("abc", 1))
    stage.deliver(a, 1)
    stage.deliver(b, 2)
    stage.deliver(a, 1)
    stage.deliver(c, 3)
    stage.deliver(a, 10, "replay-pending")
    stage.deliver(c, 11, "replay-pending")
    stage.deliver(b, 12)


@requires("E-86", "E-75")
def forgotten_pending_below_the_floor(stage: Stage) -> None:
    """It is neither pending nor marked, so that the floor decides."""
    stage.limit(limit_pending=1, limit_replay=THREE)
    old = stage.seal("old", session="old", created=NOW - MINUTE)
    stage.deliver(old, 7)
    stage.flood(4, sender=ALICE)
    stage.deliver(old, 7, "stale")


@requires("E-72", "E-76", "E-71")
def live_message_is_marked_at_once(stage: Stage) -> None:
    """No handler settles it."""
    stage.limit(started=NOW)
    first, clone = stage.seal("first"), stage.seal("clone")
    stage.live(first)
    stage.live(first, "replay-final")
    stage.live(clone, "session_cloned")
    stage.settle(first)
    stage.release(first)
    stage.live(first, "replay-final")


@requires("E-78", "E-75", "E-79")
def live_session_that_is_known_again(stage: Stage) -> None:
    """As in a stream: what was dropped does not open when its session is known again."""
    stage.limit(limit_replay=THREE)
    copied = stage.seal("copied", 1, created=NOW - MINUTE)
    stage.live(copied)
    for n in range(3):
        stage.live(stage.seal(f"other_{n}", session=f"other {n}"))
    stage.live(copied, "stale")
    stage.live(stage.seal("newer", 2, created=NOW + 20_000))
    stage.live(copied, "stale")


@requires("E-73", "E-75")
def live_clock_that_is_set_back(stage: Stage) -> None:
    """What looked too old while the clock was ahead is fresh again; an unmarked message opens."""
    message, other = stage.seal("message"), stage.seal("other", session="two")
    stage.now(NOW + 60 * MINUTE)
    stage.live(message, "stale")
    stage.live(stage.seal("later", session="later", created=NOW + 60 * MINUTE))
    stage.now(NOW)
    stage.live(message)
    stage.live(other)
    stage.live(message, "replay-final")


@requires("E-70")
def stream_scopes_are_separate(stage: Stage) -> None:
    """A second durable receives an honest copy; each scope remembers its own."""
    message, clone = stage.seal("order"), stage.seal("clone")
    stage.deliver(message, 7)
    stage.scope("second")
    stage.deliver(message, 7)
    stage.deliver(message, 8, "replay-pending")
    stage.settle(message)
    stage.scope("third")
    stage.deliver(clone, 7)
    stage.scope("first")
    stage.deliver(message, 7)
    stage.deliver(message, 8, "replay-pending")
    stage.scope("second")
    stage.deliver(message, 7, "replay-final")


@requires("E-70")
def live_scopes_are_separate(stage: Stage) -> None:
    """Overlapping subscriptions each receive an honest copy."""
    stage.limit(started=NOW)
    message = stage.seal("order")
    stage.live(message)
    stage.scope("second")
    stage.live(message)
    stage.live(message, "replay-final")
    stage.scope("first")
    stage.live(message, "replay-final")


@requires("E-79", "E-78")
def sender_with_a_session_keeps_its_record(stage: Stage) -> None:
    """Two records and one session are more than the budget: the record without sessions goes.
    A flood of strangers does not touch the other."""
    stage.limit(limit_replay=SENDER + ONE, limit_replay_unadmitted=THREE)
    stage.handle(stage.seal("alice"), 7)
    mallory = stage.seal("mallory", sender=MALLORY)
    stage.handle(mallory, 8)
    for n in range(5):
        stage.flood(1, sender=person(f"replay/stranger {n}"), created=NOW + 10 + n, admitted=False)
    stage.deliver(mallory, 9, "replay-final")
    late = stage.seal("late", 2, sender=MALLORY, created=NOW - MINUTE)
    stage.deliver(late, 10)
    stage.deliver(mallory, 11, "replay-final", admitted=False)


@requires("E-78", "E-75")
def floor_of_a_sender_does_not_fall(stage: Stage) -> None:
    """The session that is forgotten last has the older messages."""
    stage.limit(limit_replay=SENDER + 4 * ONE)
    stage.handle(stage.seal("newer", session="newer", created=NOW + 5000), 1)
    stage.handle(stage.seal("older", session="older", created=NOW - 5000), 2)
    stage.flood(3, sender=ALICE, created=NOW + 10_000)
    stage.deliver(stage.seal("between", session="new", created=NOW), 9, "stale")
    stage.deliver(stage.seal("at_floor", session="new", created=NOW + 5000), 10, "stale")


@requires("E-78", "E-75")
def floor_of_a_session_does_not_fall(stage: Stage) -> None:
    """The page that is dropped last has the older messages."""
    stage.limit(limit_replay=SENDER + 320 + 4 * 445)
    for place, (counter, created) in enumerate(((1, 5000), (1024, -5000), (2048, 8000))):
        stage.handle(stage.seal(f"page_{place}", counter, created=NOW + created), place)
    for place in (3, 4, 5):
        message = stage.seal(f"page_{place}", place * 1024, created=NOW + 8000 + place)
        stage.handle(message, place)
    stage.deliver(stage.seal("between", 2, created=NOW), 9, "stale")
    stage.deliver(stage.seal("same_page", 1025, created=NOW), 10, "stale")
    stage.deliver(stage.seal("above", 3, created=NOW + 5001), 11)


@requires("E-79")
def pages_have_1024_counters(stage: Stage) -> None:
    """Counters 1 to 1,023 are one page, and are charged as one; 1,024 begins the next."""
    stage.limit(limit_replay=SENDER + ONE + 4 * 5)
    first = stage.seal("first", 1)
    stage.handle(first, 1)
    for counter in (511, 512, 1023):
        stage.handle(stage.seal(f"counter_{counter}", counter), counter)
    stage.deliver(first, 5000, "replay-final")
    last = stage.seal("counter_1024", 1024, created=NOW + 1)
    stage.handle(last, 1024)
    stage.deliver(first, 5001, "stale")
    stage.deliver(last, 5002, "replay-final")


def deliver_twins(stage: Stage, *, early_first: bool) -> None:
    """Deliver two messages with one counter and nonce, and different times, at one place."""
    stage.limit(limit_replay=THREE)
    tail = b"the same"
    early = stage.seal("early", session="twins", created=NOW - MINUTE, tail=tail)
    late = stage.seal("late", session="twins", created=NOW, tail=tail)
    first, second = (early, late) if early_first else (late, early)
    stage.deliver(first, 7)
    stage.deliver(second, 7)
    stage.settle(second)
    stage.flood(3, sender=ALICE, created=NOW - MINUTE // 2)
    stage.deliver(late, 8, "stale")
    stage.deliver(early, 7, "stale")


@requires("E-78", "E-82")
def redelivery_with_a_later_time(stage: Stage) -> None:
    """The sender made two messages with one nonce: the later time counts for the floor."""
    deliver_twins(stage, early_first=True)


@requires("E-78", "E-82")
def redelivery_with_an_earlier_time(stage: Stage) -> None:
    """The same in the other order."""
    deliver_twins(stage, early_first=False)


@requires("E-86", "E-82")
def redelivered_message_is_in_hand_again(stage: Stage) -> None:
    """It was released and delivered again; another one waits, and is forgotten before it."""
    stage.limit(limit_pending=2)
    a, b, c = (stage.seal(name, n) for n, name in enumerate("abc", 1))
    stage.deliver(a, 1)
    stage.release(a)
    stage.deliver(a, 1)
    stage.deliver(b, 2)
    stage.release(b)
    stage.deliver(c, 3)
    stage.deliver(a, 10, "replay-pending")
    stage.deliver(b, 12)


@requires("E-86")
def waiting_messages_in_the_order_of_their_release(stage: Stage) -> None:
    """The first that was released is forgotten, not the first that was opened."""
    stage.limit(limit_pending=3)
    a, b, c, d = (stage.seal(name, n) for n, name in enumerate("abcd", 1))
    for place, one in enumerate((a, b, c)):
        stage.deliver(one, place)
    stage.release(b)
    stage.release(a)
    stage.deliver(d, 4)
    stage.deliver(a, 10, "replay-pending")
    stage.deliver(c, 11, "replay-pending")
    stage.deliver(b, 12)


@requires("E-72", "E-76", "E-71")
def marked_message_below_the_floor(stage: Stage) -> None:
    """The floor of a session rose above a message that is still marked: the mark decides."""
    stage.limit(limit_replay=SENDER + 320 + 3 * 445 - 1)
    stage.handle(stage.seal("dropped", 1, created=NOW + 5000), 1)
    marked = stage.seal("marked", 1024, created=NOW - 5000)
    clone = stage.seal("clone", 1024, created=NOW - 5000)
    stage.handle(marked, 2)
    stage.handle(stage.seal("last", 2048), 3)
    stage.deliver(stage.seal("unmarked", 1025, created=NOW + 5000), 4, "stale")
    last = stage.seal("above", 2, created=NOW + 5001)
    stage.deliver(last, 5)
    stage.deliver(marked, 6, "replay-final")
    stage.deliver(clone, 7, "session_cloned")


@requires("E-79")
def budget_exceeded_by_one_byte(stage: Stage) -> None:
    """A budget that holds a sender and two sessions but for one byte."""
    stage.limit(limit_replay=SENDER + 2 * ONE - 1)
    first, second = stage.seal("first", session="first"), stage.seal("second", session="second")
    stage.handle(first, 1)
    stage.handle(second, 2)
    stage.deliver(first, 3, "stale")
    stage.deliver(second, 4, "replay-final")


@requires("E-79")
def budget_exceeded_by_one_mark(stage: Stage) -> None:
    """Each mark of a page is charged; the fifth of the second session is too much."""
    stage.limit(limit_replay=SENDER + 2 * ONE + 3 * 5)
    first = stage.seal("first", session="first")
    stage.handle(first, 1)
    for counter in range(1, 5):
        stage.handle(stage.seal(f"mark_{counter}", counter, session="second"), 10 + counter)
    stage.deliver(first, 3, "replay-final")
    stage.handle(stage.seal("mark_5", 5, session="second"), 15)
    stage.deliver(first, 4, "stale")


@requires("E-79")
def oldest_page_with_a_new_mark(stage: Stage) -> None:
    """The oldest page is the one made first, whenever it was marked again."""
    stage.limit(limit_replay=SENDER + 4 * ONE)
    first = stage.seal("first", 1, session="first")
    second = stage.seal("second", 1, session="second")
    stage.handle(first, 1)
    stage.handle(second, 2)
    stage.handle(stage.seal("third", 1, session="third"), 3)
    stage.wait(60)
    stage.handle(stage.seal("first_again", 2, session="first"), 4)
    stage.handle(stage.seal("more", 1, session="more", created=NOW + 1), 5)
    stage.deliver(first, 6, "stale")
    stage.deliver(second, 7, "replay-final")


@requires("E-79")
def sixteenth_of_the_budget_free_but_for_a_byte(stage: Stage) -> None:
    """After one page, a byte less than 1/16 of the budget is free: another page is dropped."""
    stage.limit(limit_replay=(SENDER + 4 * ONE) // 15 * 16 - 1)
    second, third = stage.flood(5, sender=ALICE)[1:3]
    stage.deliver(second, 1, "stale")
    stage.deliver(third, 2, "replay-final")


@requires("E-79")
def sixteenth_of_the_budget_free_exactly(stage: Stage) -> None:
    """With the fifth session the budget is exceeded; after one page, 1/16 of it is free."""
    stage.limit(limit_replay=(SENDER + 4 * ONE) // 15 * 16)
    first, second = stage.flood(5, sender=ALICE)[:2]
    stage.deliver(first, 1, "stale")
    stage.deliver(second, 2, "replay-final")


@requires("E-82")
def redelivery_with_another_time_of_storing(stage: Stage) -> None:
    """Stream and sequence are the place; the time of storing is not part of it."""
    message = stage.seal("order")
    stage.deliver(message, 7)
    stage.deliver(message, 7, stored=NOW + 1000)
    stage.deliver(message, 8, "replay-pending")


@requires("E-79")
def redelivery_as_an_admitted_sender(stage: Stage) -> None:
    """The sender was admitted between two deliveries: the last opening counts for the mark."""
    stage.limit(limit_replay_unadmitted=THREE)
    message = stage.seal("order")
    stage.deliver(message, 7, admitted=False)
    stage.deliver(message, 7)
    stage.settle(message)
    stage.flood(4, sender=MALLORY, admitted=False)
    stage.deliver(message, 8, "replay-final")


@requires("E-79")
def redelivery_as_a_stranger(stage: Stage) -> None:
    """The sender was removed between two deliveries: its mark is one of the strangers'."""
    stage.limit(limit_replay_unadmitted=THREE)
    message = stage.seal("order")
    stage.deliver(message, 7)
    stage.deliver(message, 7, admitted=False)
    stage.settle(message)
    stage.flood(4, sender=MALLORY, admitted=False)
    stage.deliver(message, 8, "stale")


@requires("E-79")
def removed_sender_keeps_its_record(stage: Stage) -> None:
    """A sender that is no longer admitted has a record: strangers do not displace its marks."""
    stage.limit(limit_replay_unadmitted=THREE)
    stage.handle(stage.seal("admitted"), 1)
    removed = stage.seal("removed", 2, session="two")
    stage.handle(removed, 2, admitted=False)
    stage.flood(4, sender=MALLORY, admitted=False)
    stage.deliver(removed, 3, "replay-final", admitted=False)


@requires("E-86")
def released_twice(stage: Stage) -> None:
    """A message that waits already is released again: it has waited since the first time."""
    stage.limit(limit_pending=2)
    a, b, c = (stage.seal(name, n) for n, name in enumerate("abc", 1))
    stage.deliver(a, 1)
    stage.deliver(b, 2)
    stage.release(a)
    stage.release(b)
    stage.release(a)
    stage.deliver(c, 3)
    stage.deliver(b, 12, "replay-pending")
    stage.deliver(a, 11)


@requires("E-85", "E-86", "E-71")
def settled_after_a_clone_took_its_place(stage: Stage) -> None:
    """A handler returns late, when its message is forgotten and a clone of it is in hand."""
    stage.limit(limit_pending=2)
    first, clone, other = stage.seal("first"), stage.seal("clone"), stage.seal("other", 2)
    stage.deliver(first, 7)
    stage.forget(first)
    stage.deliver(other, 8)
    stage.deliver(clone, 9)
    stage.settle(first)
    stage.forget(first)
    stage.release(first)
    stage.deliver(clone, 10, "replay-pending")
    stage.deliver(first, 10, "session_cloned")
    stage.deliver(stage.seal("third", 3), 11)
    stage.deliver(clone, 10, "replay-pending")


@requires("E-79")
def senders_that_leave_no_room(stage: Stage) -> None:
    """The records of senders without pages leave less than 1/16 of the budget free. All of them are
    forgotten, and the floor of the strangers, with which a new sender begins, becomes theirs."""
    three_senders(stage, 3 * SENDER + ONE + 35)
    stage.deliver(stage.seal("at_floor", sender=DAVE, created=NOW + 10), 4, "stale")
    stage.deliver(stage.seal("above", sender=DAVE, created=NOW + 11), 5)


@requires("E-79")
def senders_that_leave_a_sixteenth_exactly(stage: Stage) -> None:
    """No page is left to drop, and exactly 1/16 of the budget is free: no sender is forgotten."""
    three_senders(stage, (3 * SENDER + ONE) // 15 * 16)
    stage.deliver(stage.seal("stranger", sender=DAVE, created=NOW - 1), 4)
    stage.deliver(stage.seal("at_floor", session="new"), 5, "stale")


@requires("E-79")
def senders_that_leave_a_byte_less_than_a_sixteenth(stage: Stage) -> None:
    """No page is left to drop, and a byte less than 1/16 of the budget is free: senders without
    sessions are forgotten."""
    three_senders(stage, (3 * SENDER + ONE) // 15 * 16 - 1)
    stage.deliver(stage.seal("at_floor", sender=DAVE, created=NOW + 10), 4, "stale")
    stage.deliver(stage.seal("above", sender=DAVE, created=NOW + 11), 5)


def three_senders(stage: Stage, budget: int) -> None:
    """Mark a message of each of three senders; the pages of the first two are dropped."""
    stage.limit(limit_replay=budget)
    stage.handle(stage.seal("alice"), 1)
    stage.handle(stage.seal("mallory", sender=MALLORY, created=NOW + 10), 2)
    stage.handle(stage.seal("carol", sender=CAROL), 3)


@requires("E-79")
def sender_without_pages_keeps_its_record(stage: Stage) -> None:
    """There is room for the record of a sender without pages: its floor stays its own."""
    stage.limit(limit_replay=2 * SENDER + 2 * ONE - 1)
    stage.handle(stage.seal("alice"), 1)
    stage.handle(stage.seal("mallory", sender=MALLORY), 2)
    stage.deliver(stage.seal("dave", sender=DAVE, created=NOW - 1), 3)
    stage.deliver(stage.seal("at_floor", session="new"), 4, "stale")
    stage.deliver(stage.seal("above", session="new", created=NOW + 1), 5)

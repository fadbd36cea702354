"""Step 15: replay, under each policy (E-71, E-72, E-76, E-77, E-82, E-83)."""

from __future__ import annotations

from dataclasses import replace

from tests.vectors.builder import Scene, each, flipped
from tests.vectors.people import ALICE, MALLORY
from tests.vectors.vector import NOW, Vector

LIVE = f"live {NOW}"


def stored(sequence: int, stream: str = "ORDERS") -> str:
    return f"stream {stream} {sequence} {NOW}"


def live_first(scene: Scene) -> Vector:
    """A message that other vectors open before theirs."""
    return scene.success(scene.payload(session="live", counter=5), "E-72", policy=LIVE)


def live_replay(scene: Scene) -> Vector:
    """The same bytes again."""
    made = scene.same_as(live_first)
    return scene.refused("replay", made, "E-76", policy=LIVE, after=[live_first])


def live_replay_of_the_first_of_two(scene: Scene) -> Vector:
    """A later counter of the session went between."""
    made = scene.same_as(live_first)
    return scene.refused(
        "replay", made, "E-76", policy=LIVE, after=[live_first, live_later_counter]
    )


def live_later_counter(scene: Scene) -> Vector:
    """The next message of the session."""
    made = scene.payload(session="live", counter=6)
    return scene.success(made, "E-77", policy=LIVE, after=[])


def live_same_counter_other_message(scene: Scene) -> Vector:
    """Two copies of one sender run, as after restoring a snapshot: one counter, two nonces."""
    made = scene.payload(session="live", counter=5)
    return scene.refused("session_cloned", made, "E-71", policy=LIVE, after=[live_first])


@each(first=4, last=11)
def live_same_counter_and_another_byte(scene: Scene, at: int) -> Vector:
    """All 8 random bytes of the nonce are compared, the first and the last of them too."""
    nonce = flipped(scene.same_as(live_first).plan.head.nonce, at)
    made = scene.payload(session="live", counter=5, model=lambda head: replace(head, nonce=nonce))
    return scene.refused("session_cloned", made, "E-71", policy=LIVE, after=[live_first])


@each(lower=4, first=1, higher=6, last=2**20)
def live_counter(scene: Scene, counter: int) -> Vector:
    """Counters come in any order and at any distance; a session serves many subjects."""
    made = scene.payload(session="live", counter=counter)
    return scene.success(made, "E-77", policy=LIVE, after=[live_first])


def live_same_counter_in_another_session(scene: Scene) -> Vector:
    """A message is known by sender, session and counter together."""
    made = scene.payload(session="live too", counter=5)
    return scene.success(made, "E-77", policy=LIVE, after=[live_first])


def live_same_counter_and_session_of_another_sender(scene: Scene) -> Vector:
    """Mallory uses Alice's E: whoever can do so cannot burn her counters."""
    made = scene.payload(session="live", counter=5, sender=MALLORY)
    both = [ALICE.xkey_text, MALLORY.xkey_text]
    return scene.success(made, "E-77", policy=LIVE, after=[live_first], sender=both)


def live_from_a_stranger(scene: Scene) -> Vector:
    """Replay is checked for those who are not admitted, too."""
    made = scene.payload(session="stranger")
    return scene.success(made, "E-72", policy=LIVE, sender=[])


def live_replay_from_a_stranger(scene: Scene) -> Vector:
    """The same bytes again."""
    made = scene.same_as(live_from_a_stranger)
    return scene.refused(
        "replay", made, "E-76", policy=LIVE, sender=[], after=[live_from_a_stranger]
    )


def live_signature_invalid(scene: Scene) -> Vector:
    """Whoever stole Bob's key makes a message in Alice's name, but cannot sign it."""
    made = scene.payload(session="marks", signer=ALICE, signature=flipped)
    return scene.refused(
        "signature_invalid", made, "E-64", "E-3", "E-5", policy=LIVE, sender=[ALICE.mapping]
    )


def live_counter_of_a_refused_message(scene: Scene) -> Vector:
    """A message that is refused leaves no mark: Alice's own opens."""
    made = scene.payload(session="marks", signer=ALICE)
    return scene.success(
        made, "E-72", policy=LIVE, sender=[ALICE.mapping], after=[live_signature_invalid]
    )


def live_replay_with_the_signature_altered(scene: Scene) -> Vector:
    """The signature is verified before the memory is asked."""
    made = scene.payload(session="marks", signer=ALICE, signature=flipped)
    return scene.refused(
        "signature_invalid", made, "E-64", "E-3", "E-5", "E-88",
        policy=LIVE, sender=[ALICE.mapping], after=[live_signed],
    )  # fmt: skip


def live_signed(scene: Scene) -> Vector:
    """A signed message that another vector opens before its own."""
    made = scene.payload(session="marks", signer=ALICE)
    return scene.success(made, "E-72", policy=LIVE, sender=[ALICE.mapping])


def live_subject_not_expected(scene: Scene) -> Vector:
    """The message of `live_first`, where another subject is expected."""
    made = scene.same_as(live_first)
    return scene.refused("subject_mismatch", made, "E-67", policy=LIVE, subject=["news"])


def live_again_after_a_refusal(scene: Scene) -> Vector:
    """The first try was refused for its subject, so this is no replay."""
    made = scene.same_as(live_first)
    return scene.success(made, "E-72", policy=LIVE, after=[live_subject_not_expected])


def stream_first(scene: Scene) -> Vector:
    """A message that other vectors open before theirs."""
    made = scene.payload(session="stream", counter=5)
    return scene.success(made, "E-82", policy=stored(7))


def stream_redelivery(scene: Scene) -> Vector:
    """The same message at the same place: the broker did not see the acknowledgement."""
    made = scene.same_as(stream_first)
    return scene.success(made, "E-82", policy=stored(7), after=[stream_first])


@each(sequence=stored(8), earlier_sequence=stored(6), stream=stored(7, "OTHER"))
def stream_replay_at_another(scene: Scene, policy: str) -> Vector:
    """The same bytes, stored again."""
    made = scene.same_as(stream_first)
    return scene.refused("replay", made, "E-83", policy=policy, after=[stream_first])


@each(same=7, other=8)
def stream_same_counter_other_message_at_the(scene: Scene, sequence: int) -> Vector:
    """Two copies of one sender run; where the second was stored makes no difference."""
    made = scene.payload(session="stream", counter=5)
    return scene.refused(
        "session_cloned", made, "E-71", policy=stored(sequence), after=[stream_first]
    )


def stream_lower_counter(scene: Scene) -> Vector:
    """Any order here too."""
    made = scene.payload(session="stream", counter=4)
    return scene.success(made, "E-82", policy=stored(8), after=[stream_first])


def file_again(scene: Scene) -> Vector:
    """At rest nothing is marked, and a file can be opened as often as one likes."""
    made = scene.same_as(file_once)
    return scene.success(made, "E-72", after=[file_once])


def file_once(scene: Scene) -> Vector:
    """A file that is opened twice."""
    return scene.success(scene.payload(session="file"), "E-72")

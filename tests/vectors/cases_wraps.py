"""Steps 6 and 7: one's own tag and wrap (E-35 to E-37), before anything else (E-40)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.reference import Part
from tests.reference.seal import Row
from tests.vectors.builder import Forged, Scene, each, fields, flipped
from tests.vectors.people import ALICE, BOB, BOB_RETIRED, CAROL, DAVE, MALLORY, Person, to
from tests.vectors.vector import NOW, Vector

BOTH = [to(BOB), to(CAROL)]
AS_USER = [to(BOB, user=BOB.user)]
OLD_KEY = [to(BOB_RETIRED)]
KEYS = [BOB, BOB_RETIRED]


def not_a_recipient(scene: Scene) -> Vector:
    """Sealed to Carol, read by Bob."""
    return scene.undecryptable("not_a_recipient", scene.payload(to=[to(CAROL)]), "E-35")


def not_a_recipient_as_no_user(scene: Scene) -> Vector:
    """Sealed to Bob's user key; the reader has none of its own, and tries zeros only."""
    return scene.undecryptable("not_a_recipient", scene.payload(to=AS_USER), "E-35")


def not_a_recipient_as_another_user(scene: Scene) -> Vector:
    """Carol had Bob's xkey certified as her own: what is sealed to her nobody can open."""
    made = scene.payload(to=[to(BOB, user=CAROL.user)])
    return scene.undecryptable("not_a_recipient", made, "E-35", user=BOB.user_text)


def not_a_recipient_without_zeros(scene: Scene) -> Vector:
    """Sealed without a user key, and the reader does not try zeros."""
    made = scene.payload()
    return scene.undecryptable("not_a_recipient", made, "E-35", user=BOB.user_text, zero_user=False)


def recipient_as_user(scene: Scene) -> Vector:
    """Sealed to the reader's user key."""
    made = scene.payload(to=AS_USER)
    return scene.success(made, "E-35", user=BOB.user_text, zero_user=False)


def recipient_by_zeros(scene: Scene) -> Vector:
    """The reader has a user key, and was addressed without."""
    return scene.success(scene.payload(), "E-35", user=BOB.user_text)


def recipient_by_a_retired_key(scene: Scene) -> Vector:
    """The active key has no tag here, the retired one has."""
    return scene.success(scene.payload(to=OLD_KEY), "E-35", identity=KEYS)


def recipient_by_a_retired_key_as_user(scene: Scene) -> Vector:
    """The third of the four combinations that are tried."""
    made = scene.payload(to=[to(BOB_RETIRED, user=BOB.user)])
    return scene.success(made, "E-35", identity=KEYS, user=BOB.user_text)


def twice(scene: Scene, *, swapped: bool = False, spoiled: bool = False) -> Forged:
    """A document in which the first combination is granted one part and the last another."""
    both = [to(BOB, 0, user=BOB.user, spoiled=spoiled), to(BOB_RETIRED, 1)]
    return scene.sealed(
        Part(1, fields("a", "first")),
        Part(1, fields("b", "last")),
        to=both[::-1] if swapped else both,
    )


def twice_opened(scene: Scene, made: Forged, letter: str, identity: Sequence[Person]) -> Vector:
    content = fields(letter, "first" if letter == "a" else "last")
    return scene.success(
        made, "E-37", identity=identity, user=BOB.user_text, kind="document", content=content
    )


def recipient_by_two_combinations(scene: Scene) -> Vector:
    """Active key and user key come first; the other's grant is not added."""
    return twice_opened(scene, twice(scene), "a", KEYS)


def recipient_by_two_combinations_named_in_reverse(scene: Scene) -> Vector:
    """The reader's order decides, not the sender's."""
    return twice_opened(scene, twice(scene, swapped=True), "a", KEYS)


def recipient_by_two_combinations_retired_key_first(scene: Scene) -> Vector:
    """The same envelope, and a reader with its keys in the other order."""
    made = scene.same_as(recipient_by_two_combinations)
    return twice_opened(scene, made, "b", KEYS[::-1])


def recipient_by_the_second_wrap(scene: Scene) -> Vector:
    """The wrap of the first combination was altered on the way; the second still opens."""
    return twice_opened(scene, twice(scene, spoiled=True), "b", KEYS)


def recipient_by_two_wraps_both_altered(scene: Scene) -> Vector:
    """Every matching wrap fails."""
    two = [to(BOB), to(BOB_RETIRED)]
    made = scene.payload(to=two, wraps=lambda wraps: [flipped(wrap) for wrap in wraps])
    return scene.undecryptable("authentication", made, "E-37", identity=KEYS)


def as_user_and_without(scene: Scene, user_of: Person, zeros_of: Person) -> Forged:
    """A document that one key reads as a user, and one without."""
    return scene.sealed(
        Part(1, fields("a", "first")),
        Part(1, fields("b", "last")),
        to=[to(user_of, 0, user=BOB.user), to(zeros_of, 1)],
    )


def recipient_as_user_before_zeros(scene: Scene) -> Vector:
    """For one own key, the own user comes before zeros."""
    return twice_opened(scene, as_user_and_without(scene, BOB, BOB), "a", [BOB])


def recipient_by_zeros_before_a_retired_key_as_user(scene: Scene) -> Vector:
    """Both users of the first key come before the second key."""
    return twice_opened(scene, as_user_and_without(scene, BOB_RETIRED, BOB), "b", KEYS)


@each(index=0, key=10, end_of_the_key=32, tag=33, end_of_the_tag=48)
def wrap_altered_in_the(scene: Scene, at: int) -> Vector:
    """One bit of one's own wrap differs."""
    made = scene.payload(wraps=lambda wraps: [flipped(wraps[0], at)])
    return scene.undecryptable("authentication", made, "E-37")


def wraps_of_others_altered(scene: Scene) -> Vector:
    """The other recipients' wraps are the only bytes that a recipient does not authenticate."""
    others = [to(CAROL, spoiled=True), to(DAVE, spoiled=True)]
    return scene.success(scene.payload(to=[to(BOB), *others]), "E-37")


def wraps_swapped(scene: Scene) -> Vector:
    """Wraps are in the order of the tags."""
    made = scene.payload(to=BOTH, wraps=lambda wraps: wraps[::-1])
    return scene.undecryptable("authentication", made, "E-37")


def wrap_without_associated_data(scene: Scene) -> Vector:
    """The wrap opens, but binds nothing."""
    made = scene.payload(aad=lambda _: b"")
    return scene.undecryptable("authentication", made, "E-37")


def wrap_of_another_message(scene: Scene) -> Vector:
    """T of a message that differs in its payload; sessions and nonces may repeat in a clone."""
    made = scene.payload(aad=flipped)
    return scene.undecryptable("authentication", made, "E-37")


def wrap_under_another_key(scene: Scene) -> Vector:
    """A stranger copies head and tags of a real message and has no K."""
    made = scene.payload(rows=lambda rows: [replace(row, K=bytes(32)) for row in rows])
    return scene.undecryptable("authentication", made, "E-37")


def wrap_with_the_key_of_a_co_recipient(scene: Scene) -> Vector:
    """Carol knows the content key and her own K; neither makes a wrap for Bob."""

    def forge_for_bob(rows: list[Row]) -> list[Row]:
        return [replace(row, K=rows[1 - place].K) for place, row in enumerate(rows)]

    made = scene.payload(to=BOTH, rows=forge_for_bob)
    return scene.undecryptable("authentication", made, "E-37")


@each(
    time=98, subject=100, views=128, type=132, commit=140, ciphertext=170, signature_header=187
)  # fmt: skip
def altered_on_the_way_in_the(scene: Scene, at: int) -> Vector:
    """One bit in front of the wraps was changed: T differs for every recipient."""
    made = scene.payload(to=BOTH, envelope=lambda envelope: flipped(envelope, at))
    return scene.undecryptable("authentication", made, "E-37", "E-40")


def tag_of_another_altered(scene: Scene) -> Vector:
    """T covers all tags: nobody is added to a message, or taken from it, unnoticed."""
    theirs = Row(b"\xff" * 8, bytes(32), 0, bytes(32))
    made = scene.payload(
        rows=lambda rows: [*rows, theirs],
        envelope=lambda envelope: envelope.replace(theirs.tag, flipped(theirs.tag)),
    )
    return scene.undecryptable("authentication", made, "E-37")


def signature_stripped_on_the_way(scene: Scene) -> Vector:
    """Without its signature the message has another T."""

    def strip(envelope: bytes) -> bytes:
        at = envelope.index(b"\xc4\x40")
        return envelope[:at] + b"\xc4\x00" + envelope[at + 66 :]

    made = scene.payload(signer=ALICE, envelope=strip)
    return scene.undecryptable("authentication", made, "E-37", sender=[ALICE.mapping])


def unreadable_behind_the_tags(scene: Scene) -> Vector:
    """What lies behind the tags is not parsed before a wrap has verified."""

    def garble(envelope: bytes) -> bytes:
        p, q = envelope.index(b"\x90\x91\xc4\x36"), len(envelope) - 51
        return envelope[:p] + b"\xc1" * (q - p) + envelope[q:]

    made = scene.payload(envelope=garble)
    return scene.undecryptable("authentication", made, "E-40", "E-37", "E-88")


def too_many_views_and_no_wrap(scene: Scene) -> Vector:
    """Nor are the limits of what lies there."""
    made = scene.payload(views_element=lambda _: b"\xdd\xff\xff\xff\xff", aad=flipped)
    return scene.undecryptable("authentication", made, "E-40", "E-37", "E-88")


def another_sender_in_the_head(scene: Scene) -> Vector:
    """Mallory puts her key over Alice's: the tag is not hers."""
    made = scene.payload(envelope=lambda envelope: envelope.replace(ALICE.xkey, MALLORY.xkey))
    return scene.undecryptable("not_a_recipient", made, "E-35", sender=[MALLORY.xkey_text])


def another_time_in_the_head(scene: Scene) -> Vector:
    """A stale message made fresh."""
    later = (NOW + 1000).to_bytes(8, "big")
    made = scene.payload(
        envelope=lambda envelope: envelope.replace(NOW.to_bytes(8, "big"), later, 1)
    )
    return scene.undecryptable("authentication", made, "E-37", now=NOW + 1000)

"""Step 3, the values in the head: E-18 to E-20."""

from __future__ import annotations

from dataclasses import replace

from tests.reference import crypto
from tests.reference.encoding import array, string, uint
from tests.reference.head import Head
from tests.vectors.builder import Scene, each, replaced
from tests.vectors.cases_head import ATTRS, CREATED, NIL, SUBJECT
from tests.vectors.people import ALICE, MALLORY
from tests.vectors.vector import Vector

HIGH_BIT = 1 << 255


def number(value: int) -> bytes:
    return value.to_bytes(32, "little")


def with_high_bit(key: bytes) -> bytes:
    return number(int.from_bytes(key, "little") | HIGH_BIT)


UNSOUND = {
    "zero": crypto.LOW_ORDER[0],
    "one": crypto.LOW_ORDER[1],
    "of_order_8": crypto.LOW_ORDER[2],
    "of_order_8_too": crypto.LOW_ORDER[3],
    "p_minus_1": crypto.LOW_ORDER[4],
    "p": number(crypto.P),
    "p_plus_1": number(crypto.P + 1),
    "p_plus_9": number(crypto.P + 9),
    "all_ones_below_the_high_bit": number(2**255 - 1),
    "all_ones": number(2**256 - 1),
    "zero_with_the_high_bit": number(HIGH_BIT),
}


@each(**UNSOUND)
def sender_key(scene: Scene, key: bytes) -> Vector:
    """S has a low order, so that everybody knows the secret shared with it; or is not reduced."""
    made = scene.payload(model=lambda head: replace(head, S=key))
    return scene.undecryptable("bad_key", made, "E-18", sender=[])


@each(**UNSOUND)
def sender_key_not_admitted(scene: Scene, key: bytes) -> Vector:
    """The key is checked before the sender is admitted."""
    made = scene.payload(model=lambda head: replace(head, S=key))
    return scene.undecryptable("bad_key", made, "E-18", "E-88")


@each(**UNSOUND)
def session_key_of_a_sender_not_admitted(scene: Scene, key: bytes) -> Vector:
    """The key is checked before the sender is admitted."""
    made = scene.payload(sender=MALLORY, model=lambda head: replace(head, E=key))
    return scene.undecryptable("bad_key", made, "E-18", "E-88")


def sender_key_with_the_high_bit(scene: Scene) -> Vector:
    """X25519 ignores this bit: a second spelling of the same key. All else fits."""
    made = scene.payload(model=lambda head: replace(head, S=with_high_bit(head.S)))
    return scene.undecryptable("bad_key", made, "E-18", sender=[])


@each(**UNSOUND)
def session_key(scene: Scene, key: bytes) -> Vector:
    """E has a low order, so that the secret shared with it is zero; or is not reduced."""
    made = scene.payload(model=lambda head: replace(head, E=key))
    return scene.undecryptable("bad_key", made, "E-18")


def session_key_with_the_high_bit(scene: Scene) -> Vector:
    """A second spelling would be a second session with the same keys. All else fits."""
    made = scene.payload(model=lambda head: replace(head, E=with_high_bit(head.E)))
    return scene.undecryptable("bad_key", made, "E-18")


@each(sender="S", session="E")
def greatest_sound_key_of(scene: Scene, name: str) -> Vector:
    """p - 2 is reduced and of no low order: sound, though a point of the twist."""
    key = number(crypto.P - 2)

    def edit(head: Head) -> Head:
        return replace(head, S=key) if name == "S" else replace(head, E=key)

    made = scene.payload(model=edit)
    head = replace(made.plan.head, S=key) if name == "S" else replace(made.plan.head, E=key)
    return scene.success(replace(made, plan=replace(made.plan, head=head)), "E-18", sender=[])


@each(zero=0, above_the_last=2**20 + 1, all_ones=2**32 - 1)
def counter(scene: Scene, value: int) -> Vector:
    """Counters are 1 to 2^20."""
    return scene.undecryptable("malformed", scene.payload(counter=value), "E-19")


def counter_the_last(scene: Scene) -> Vector:
    """2^20 is still a counter."""
    return scene.success(scene.payload(counter=2**20), "E-19")


@each(zero=0, below_the_first=2**32 - 1, above_the_last=2**53, largest=2**64 - 1)
def created(scene: Scene, value: int) -> Vector:
    """created_ms is at least 2^32 and below 2^53: exact in every language, of a fixed length."""
    made = scene.payload(head_fields=replaced(CREATED, uint(value)))
    return scene.undecryptable("malformed", made, "E-19")


@each(the_first=2**32, the_last=2**53 - 1)
def created_at(scene: Scene, value: int) -> Vector:
    """The bounds themselves are allowed; the policy `file` has no others."""
    return scene.success(scene.payload(created=value), "E-19")


@each(above_the_last=2**53, largest=2**64 - 1)
def revision(scene: Scene, value: int) -> Vector:
    """A revision is below 2^53."""
    return scene.undecryptable("malformed", scene.payload(revision=value), "E-19")


@each(zero=0, the_last=2**53 - 1)
def revision_is(scene: Scene, value: int) -> Vector:
    """Zero is a revision, unlike nil; so is the greatest."""
    return scene.success(scene.payload(revision=value), "E-19")


@each(zero=0, below_the_first=2**32 - 1, above_the_last=2**53, largest=2**64 - 1)
def expires(scene: Scene, value: int) -> Vector:
    """expires_ms has the range of created_ms. Out of it, it is malformed and not expired."""
    made = scene.payload(head_fields=replaced(ATTRS, array([NIL, NIL, uint(value)])))
    return scene.undecryptable("malformed", made, "E-19")


@each(the_first=(2**32, 2**32 - 1), the_last=(2**53 - 1, 2**53 - 2))
def expires_at(scene: Scene, times: tuple[int, int]) -> Vector:
    """The bounds themselves are allowed; the reader's clock is one millisecond before."""
    made = scene.payload(created=2**32, expires=times[0])
    return scene.success(made, "E-19", now=times[1])


@each(
    empty="",
    with_a_space="or ders",
    with_a_tab="or\tders",
    with_a_line_feed="orders\n",
    with_nul="orders\x00",
    with_delete="orders\x7f",
    with_a_star="*",
    with_a_star_as_token="orders.*.eu",
    with_a_star_in_a_token="ord*ers",
    with_a_greater=">",
    with_a_greater_as_last_token="orders.>",
    with_a_greater_in_a_token="ord>ers",
    with_a_dot_first=".orders",
    with_a_dot_last="orders.",
    with_two_dots="orders..eu",
    of_a_dot=".",
)
def subject_rule(scene: Scene, subject: str) -> Vector:
    """Broker, policy and handler would read such a subject differently."""
    made = scene.payload(subject=subject)
    return scene.undecryptable("malformed", made, "E-20")


@each(
    of_255_bytes="s" * 255,
    of_one_byte="a",
    not_ascii="caf\u00e9.\u6771\u4eac.\U0001f512",
    with_a_byte_order_mark="\ufefforders",
    with_a_c1_control="orders\u0085",
    with_a_no_break_space="or\u00a0ders",
    decomposed="cafe\u0301",
    with_other_signs="$KV.!\"#%&'()+,-/:;<=?@[\\]^_`{|}~.Az09",
)
def subject_allowed(scene: Scene, subject: str) -> Vector:
    """Any other well-formed UTF-8 is a subject; it is neither normalized nor folded."""
    made = scene.payload(subject=subject)
    if not subject.isprintable():  # nothing for the header of a text file
        return scene.success(made, "E-20", "E-7")
    return scene.success(made, "E-20", "E-7", subject=[subject], wire=subject)


def sender_key_before_counter(scene: Scene) -> Vector:
    """Two values are wrong: the keys are checked first."""
    made = scene.payload(model=lambda head: replace(head, S=bytes(32)), counter=0)
    return scene.undecryptable("bad_key", made, "E-18", "E-88", sender=[])


def subject_limit_before_sender_key(scene: Scene) -> Vector:
    """Form and limits of all fields come before any value."""
    made = scene.payload(
        model=lambda head: replace(head, S=bytes(32)),
        head_fields=replaced(SUBJECT, string("s" * 256)),
    )
    return scene.undecryptable("limit_exceeded", made, "E-16", "E-88", sender=[])


def counter_of_a_sender_not_admitted(scene: Scene) -> Vector:
    """The head is checked whole before anybody asks who sent it."""
    made = scene.payload(sender=MALLORY, counter=0)
    return scene.undecryptable("malformed", made, "E-19", "E-88", sender=[ALICE.xkey_text])

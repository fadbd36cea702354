"""Order of checks (E-88, F-61), where two checks of one message fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.reference.encoding import array, header, string
from tests.reference.head import Head
from tests.vectors.builder import Scene, each, fields, flipped, padded, replaced
from tests.vectors.cases_head import ATTRS, NIL, SUBJECT
from tests.vectors.people import ALICE, BOB, CAROL, MALLORY, to
from tests.vectors.vector import NOW, Vector

ONE = fields("a", "one")
TOO_DEEP = b"\x91\x92\x90" + b"\x91" * 33 + b"\x90"
NO_PAIRS = b"\x90"
TOO_MANY_HEADERS = b"\x92" + NIL + header("array", 1001)
LIVE = f"live {NOW - 3_600_000}"
FOUR_ATTRS = array([NIL] * 4)


@each(
    unsound_key=lambda head: replace(head, S=bytes(32)),
    key_of_the_session=lambda head: replace(head, E=bytes(32)),
)
def head_form_before(scene: Scene, model: Callable[[Head], Head]) -> Vector:
    """The keys are checked after the whole head has been decoded."""
    made = scene.payload(model=model, head_fields=replaced(ATTRS, array([NIL] * 2)))
    return scene.undecryptable("malformed", made, "E-15", "E-88", sender=[])


@each(
    unsound_key=lambda head: replace(head, S=bytes(32)),
    subject=lambda head: replace(head, subject="orders.*"),
)
def head_end_before(scene: Scene, model: Callable[[Head], Head]) -> Vector:
    """A byte after attrs is found before any value is checked."""
    made = scene.payload(sender=MALLORY, model=model, head=lambda head: head + NIL)
    return scene.undecryptable("malformed", made, "E-15", "E-88", sender=[])


def head_version_before_unsound_key(scene: Scene) -> Vector:
    """The header of attrs is read before the keys are checked."""
    made = scene.payload(
        model=lambda head: replace(head, S=bytes(32)), head_fields=replaced(ATTRS, FOUR_ATTRS)
    )
    return scene.undecryptable("unsupported_version", made, "E-17", "E-88", sender=[])


@each(star="orders.*", space="or ders", empty="")
def head_version_before_a_subject_with(scene: Scene, subject: str) -> Vector:
    """The rules for subjects are checked after the whole head has been decoded."""
    made = scene.payload(subject=subject, head_fields=replaced(ATTRS, FOUR_ATTRS))
    return scene.undecryptable("unsupported_version", made, "E-17", "E-88")


def head_version_before_counter(scene: Scene) -> Vector:
    """The range of the counter is checked after the whole head has been decoded."""
    made = scene.payload(counter=0, head_fields=replaced(ATTRS, FOUR_ATTRS))
    return scene.undecryptable("unsupported_version", made, "E-17", "E-88")


def sender_key_before_subject(scene: Scene) -> Vector:
    """E-18 comes before E-20."""
    made = scene.payload(model=lambda head: replace(head, S=bytes(32)), subject="orders.*")
    return scene.undecryptable("bad_key", made, "E-18", "E-88", sender=[])


@each(
    counter=lambda head: replace(head, nonce=bytes(4) + head.nonce[4:]),
    created=lambda head: replace(head, created_ms=2**32 - 1),
    revision=lambda head: replace(head, revision=2**53),
    expires=lambda head: replace(head, expires_ms=2**53),
)
def session_key_before(scene: Scene, model: Callable[[Head], Head]) -> Vector:
    """E-18 comes before E-19."""
    made = scene.payload(model=lambda head: replace(model(head), E=bytes(32)))
    return scene.undecryptable("bad_key", made, "E-18", "E-88")


def session_key_before_sender_not_admitted(scene: Scene) -> Vector:
    """All values of the head are checked before the sender is admitted."""
    made = scene.payload(sender=MALLORY, model=lambda head: replace(head, E=bytes(32)))
    return scene.undecryptable("bad_key", made, "E-18", "E-88")


def subject_rule_before_sender_not_admitted(scene: Scene) -> Vector:
    """All values of the head are checked before the sender is admitted."""
    made = scene.payload(sender=MALLORY, subject="orders.*")
    return scene.undecryptable("malformed", made, "E-20", "E-88")


def subject_limit_before_utf_8(scene: Scene) -> Vector:
    """A limit is checked on the header, before the text."""
    made = scene.payload(head_fields=replaced(SUBJECT, string(b"\xff" * 256)))
    return scene.undecryptable("limit_exceeded", made, "E-16", "E-8")


def sender_not_admitted_before_identity_of_another(scene: Scene) -> Vector:
    """E-62 and E-63 have one code and one step; nothing after them is read."""
    made = scene.payload(sender=MALLORY, identity=ALICE.user, tags=lambda tags: tags[:-1])
    return scene.undecryptable("sender_not_admitted", made, "E-62", "E-88", sender=[ALICE.mapping])


def identity_before_tags(scene: Scene) -> Vector:
    """Step 4 ends before the tags are read."""
    made = scene.payload(identity=MALLORY.user, tags=lambda tags: tags[:-1])
    return scene.undecryptable("sender_not_admitted", made, "E-63", "E-88", sender=[ALICE.mapping])


def tags_order_before_wraps_header(scene: Scene) -> Vector:
    """The tags are checked before the header of the wraps, with the same code."""
    made = scene.payload(tags=lambda tags: tags * 2, wraps_header=lambda _: b"\xc1\xc1")
    return scene.undecryptable("malformed", made, "E-32", "E-88")


def wraps_header_before_not_a_recipient(scene: Scene) -> Vector:
    """Step 5 comes before step 6."""
    made = scene.payload(to=[to(CAROL)], wraps_header=lambda _: b"\xc1\xc1")
    return scene.undecryptable("malformed", made, "E-34", "E-88")


def signature_element_before_index(scene: Scene) -> Vector:
    """The elements are checked before the index of the wrap, with the same code and step."""
    made = scene.payload(
        signature=lambda _: bytes(64), rows=lambda rows: [replace(rows[0], index=1)]
    )
    return scene.refused("malformed", made, "E-50", "E-88")


def signature_without_identity_before_subject(scene: Scene) -> Vector:
    """The signature element is checked in step 8, although the signature is verified later."""
    made = scene.payload(signature=lambda _: bytes(64))
    return scene.refused("malformed", made, "E-50", "E-88", subject=["news"])


def subject_before_content_type_and_padding(scene: Scene) -> Vector:
    """The sealed subject is compared before the content is looked at."""
    made = scene.sealed(Part(17, b""))
    return scene.refused("subject_mismatch", made, "E-67", "E-88", subject=["news"])


def commitment_before_subject(scene: Scene) -> Vector:
    """Parts are opened before the subject is compared."""
    made = scene.payload(parts=lambda parts: [flipped(parts[0], 1)])
    return scene.refused("commitment", made, "E-55", "E-88", subject=["news"])


def content_type_before_expiry(scene: Scene) -> Vector:
    """The content is parsed before the time is compared."""
    made = scene.sealed(Part(1, ONE), created=NOW - 1000, expires=NOW)
    return scene.refused("content_type", made, "E-61", "E-88")


def signature_missing_and_stale(scene: Scene) -> Vector:
    """Freshness is checked before a signature is required."""
    made = scene.payload(created=NOW - 300_001, identity=ALICE.user)
    return scene.refused(
        "stale", made, "E-73", "E-88",
        policy=LIVE, sender=[ALICE.mapping], require_signature=True,
    )  # fmt: skip


def signature_missing_and_expired(scene: Scene) -> Vector:
    """Expiry is checked before a signature is required."""
    made = scene.payload(created=NOW - 1000, expires=NOW, identity=ALICE.user)
    return scene.refused(
        "expired", made, "E-69", "E-88", sender=[ALICE.mapping], require_signature=True
    )


def signature_missing_and_fields_malformed(scene: Scene) -> Vector:
    """Fields are parsed before a signature is required."""
    made = scene.sealed(Part(1, NO_PAIRS), identity=ALICE.user)
    return scene.refused(
        "malformed", made, "F-21", "E-88",
        kind="document", sender=[ALICE.mapping], require_signature=True,
    )  # fmt: skip


def signature_missing_and_replay(scene: Scene) -> Vector:
    """A signature is required before the replay memory is asked."""
    made = scene.same_as(live_unsigned)
    return scene.refused(
        "signature_missing", made, "E-66", "E-88",
        policy=LIVE, sender=[ALICE.mapping], require_signature=True, after=[live_unsigned],
    )  # fmt: skip


def live_unsigned(scene: Scene) -> Vector:
    """A message that another vector opens before its own."""
    made = scene.payload(identity=ALICE.user)
    return scene.success(made, "E-72", policy=LIVE, sender=[ALICE.mapping])


def fields_malformed_and_expired(scene: Scene) -> Vector:
    """Fields are parsed before the time is compared."""
    made = scene.sealed(Part(1, NO_PAIRS), created=NOW - 1000, expires=NOW)
    return scene.refused("malformed", made, "F-21", "E-88", kind="document")


# --- within step 12


def padding_before_array(scene: Scene) -> Vector:
    """The padding of all parts is removed before the metadata are parsed."""
    made = scene.sealed(Part(3, TOO_MANY_HEADERS), Part(17, ONE), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "E-58", "F-61", kind="document")


def padding_before_array_of_a_message(scene: Scene) -> Vector:
    """A message without its padding mark, whose array announces too many headers."""
    made = scene.sealed(Part(18, TOO_MANY_HEADERS))
    return scene.refused("malformed", made, "E-58", "F-61")


def padding_before_fields(scene: Scene) -> Vector:
    """The padding of all parts is removed before any fields are parsed."""
    made = scene.sealed(Part(1, TOO_DEEP), Part(17, ONE), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "E-58", "F-61", kind="document")


def array_before_fields(scene: Scene) -> Vector:
    """The metadata are parsed before the fields, wherever they stand."""
    made = scene.sealed(Part(1, NO_PAIRS), Part(3, TOO_MANY_HEADERS), to=[to(BOB, 0, 1)])
    return scene.refused("limit_exceeded", made, "E-60", "F-61", kind="document")


def malformed_array_before_fields_beyond_a_limit(scene: Scene) -> Vector:
    """The same with the codes exchanged."""
    metadata = MessageArray("a", ()).encode() + b"\x00"
    made = scene.sealed(Part(1, TOO_DEEP), Part(3, metadata), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "E-59", "F-61", kind="document")


def fields_before_joining(scene: Scene) -> Vector:
    """Every plaintext is parsed before two are joined: here both begin with the same path."""
    made = scene.sealed(
        Part(1, ONE), Part(1, ONE[:1] + ONE[1:]), Part(1, TOO_DEEP), to=[to(BOB, 0, 1, 2)]
    )
    return scene.refused("limit_exceeded", made, "F-23", "F-61", kind="document")


def joining_before_holes(scene: Scene) -> Vector:
    """Two equal paths, and an index that would leave too many holes."""
    far = array([array([array([b"\xce\xff\xff\xff\xff"]), NIL])])
    made = scene.sealed(Part(1, far), Part(1, far), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "F-51", "F-61", kind="document")


def padding_of_a_part_not_granted(scene: Scene) -> Vector:
    """A reader checks the padding of the parts that it is granted."""
    made = scene.sealed(padded(1, ONE), Part(17, ONE), to=[to(BOB, 0), to(CAROL, 0, 1)])
    return scene.success(made, "E-58", kind="document", content=ONE)

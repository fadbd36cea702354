"""Step 4: who is admitted, and as whom (E-62 to E-65)."""

from __future__ import annotations

from tests.vectors.builder import Scene, each, flipped
from tests.vectors.people import ALICE, BOB, CAROL, MALLORY, Person
from tests.vectors.vector import Vector


def sender_not_in_the_set(scene: Scene) -> Vector:
    """Mallory seals to Bob, who admits Alice."""
    made = scene.payload(sender=MALLORY)
    return scene.undecryptable("sender_not_admitted", made, "E-62", sender=[ALICE.xkey_text])


def sender_not_in_the_mapping(scene: Scene) -> Vector:
    """Mallory claims Alice's identity, but the mapping is asked for the xkey."""
    made = scene.payload(sender=MALLORY, identity=ALICE.user)
    return scene.undecryptable("sender_not_admitted", made, "E-62", sender=[ALICE.mapping])


def sender_in_a_set_of_several(scene: Scene) -> Vector:
    """Any of them is admitted."""
    made = scene.payload(sender=MALLORY)
    return scene.success(made, "E-62", sender=[ALICE.xkey_text, MALLORY.xkey_text])


def sender_is_anyone(scene: Scene) -> Vector:
    """A reader without an admission list opens a stranger's message, and says so."""
    made = scene.payload(sender=MALLORY)
    return scene.success(made, "E-62", sender=[])


def sender_not_admitted_and_tags_malformed(scene: Scene) -> Vector:
    """Nothing behind the head is looked at for a sender who is not admitted."""
    made = scene.payload(sender=MALLORY, tags=lambda tags: tags[:-1])
    return scene.undecryptable(
        "sender_not_admitted", made, "E-62", "E-88", sender=[ALICE.xkey_text]
    )


def identity_missing_under_a_mapping(scene: Scene) -> Vector:
    """The user key for this xkey is known, and the message names none."""
    made = scene.payload()
    return scene.undecryptable("sender_not_admitted", made, "E-63", sender=[ALICE.mapping])


def identity_of_another_user(scene: Scene) -> Vector:
    """Mallory had Alice's xkey certified as her own, and claims Alice's message with it."""
    made = scene.payload(identity=MALLORY.user)
    return scene.undecryptable("sender_not_admitted", made, "E-63", sender=[ALICE.mapping])


def identity_of_another_user_with_a_signature(scene: Scene) -> Vector:
    """A valid signature of somebody else does not help: identity is compared first."""
    made = scene.payload(signer=MALLORY)
    return scene.undecryptable("sender_not_admitted", made, "E-63", sender=[ALICE.mapping])


def identity_mapped_for_another_xkey(scene: Scene) -> Vector:
    """Both keys are in the mapping, but not as a pair."""
    made = scene.payload(identity=CAROL.user)
    mapping = [ALICE.mapping, CAROL.mapping]
    return scene.undecryptable("sender_not_admitted", made, "E-63", sender=mapping)


def identity_unsigned(scene: Scene) -> Vector:
    """The mapping knows the identity, and no signature is demanded."""
    made = scene.payload(identity=ALICE.user)
    return scene.success(made, "E-63", sender=[ALICE.mapping])


def identity_signed(scene: Scene) -> Vector:
    """The mapping knows the identity, and its signature is valid."""
    made = scene.payload(signer=ALICE)
    return scene.success(
        made, "E-63", "E-64", "E-66", sender=[ALICE.mapping], require_signature=True
    )


SEVERAL = (ALICE.mapping, f"{ALICE.xkey_text} {CAROL.user_text}", MALLORY.xkey_text)
"""Two users are known for Alice's xkey, none for Mallory's."""


@each(first=ALICE, second=CAROL)
def identity_of_several_users(scene: Scene, signer: Person) -> Vector:
    """Any user that is known for the xkey is accepted."""
    made = scene.payload(signer=signer)
    return scene.success(made, "E-63", "E-64", sender=SEVERAL, require_signature=True)


def identity_is_none_of_several_users(scene: Scene) -> Vector:
    """The user is known, but not for this xkey."""
    made = scene.payload(identity=MALLORY.user)
    return scene.undecryptable("sender_not_admitted", made, "E-63", sender=SEVERAL)


def signature_of_another_of_several_users(scene: Scene) -> Vector:
    """The signature has to be that of the identity, not of any known user."""
    made = scene.payload(signer=CAROL, identity=ALICE.user)
    return scene.refused("signature_invalid", made, "E-64", "E-5", sender=SEVERAL)


def sender_without_user_among_others_with(scene: Scene) -> Vector:
    """No user is known for this sender: it is admitted, and its signature is not evaluated."""
    made = scene.payload(sender=MALLORY, signer=MALLORY, signature=flipped)
    return scene.success(made, "E-65", sender=SEVERAL)


def signature_required_where_no_user_is_known(scene: Scene) -> Vector:
    """A valid signature by an unknown user: the message counts as unsigned."""
    made = scene.payload(sender=MALLORY, signer=MALLORY)
    return scene.refused(
        "signature_missing", made, "E-66", "E-65", sender=SEVERAL, require_signature=True
    )


def sender_not_in_the_list_of_several(scene: Scene) -> Vector:
    """Its user is known for another xkey only."""
    made = scene.payload(sender=CAROL, signer=CAROL)
    return scene.undecryptable("sender_not_admitted", made, "E-62", sender=SEVERAL)


def identity_unknown_under_a_set(scene: Scene) -> Vector:
    """A set knows no user keys: identity is not compared with anything, nor reported."""
    made = scene.payload(identity=MALLORY.user)
    return scene.success(made, "E-65", sender=[ALICE.xkey_text])


def identity_is_no_point_and_nobody_asks(scene: Scene) -> Vector:
    """Where no signature is evaluated, identity is 32 bytes and nothing more."""
    made = scene.payload(identity=b"\xff" * 32)
    return scene.success(made, "E-65", sender=[ALICE.xkey_text])


def signature_invalid_under_a_set(scene: Scene) -> Vector:
    """A self-declared signer proves nothing, so the signature is not evaluated."""
    made = scene.payload(signer=ALICE, signature=flipped)
    return scene.success(made, "E-65", sender=[ALICE.xkey_text])


def signature_invalid_under_anyone(scene: Scene) -> Vector:
    """The same without any admission list."""
    made = scene.payload(signer=ALICE, signature=flipped)
    return scene.success(made, "E-65", sender=[])


def sealed_to_oneself(scene: Scene) -> Vector:
    """A sender may seal to its own key: R = S."""
    made = scene.payload(sender=BOB)
    return scene.success(made, "E-35", sender=[BOB.xkey_text])


def sent_back_to_its_sender(scene: Scene) -> Vector:
    """Alice's message to Bob is no message for Alice, though she knows the same shared secret."""
    made = scene.payload()
    return scene.undecryptable(
        "not_a_recipient", made, "E-35", identity=[ALICE], sender=[ALICE.xkey_text]
    )

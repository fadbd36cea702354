"""Steps 8 and 14: the signature element (E-41, E-49, E-50), and who has to sign (E-64, E-66)."""

from __future__ import annotations

from typing import Unpack

from tests.reference import ed25519
from tests.vectors.builder import Asked, Forged, Scene, each, flipped
from tests.vectors.forge import Bytes
from tests.vectors.people import ALICE, MALLORY
from tests.vectors.vector import Vector


def invalid(scene: Scene, made: Forged, *spec: str, **asked: Unpack[Asked]) -> Vector:
    """Refused where Alice's user key is known."""
    asked.setdefault("sender", [ALICE.mapping])
    return scene.refused("signature_invalid", made, *spec, **asked)


@each(one=1, n_32=32, n_63=63, n_65=65, n_128=128)
def signature_of_length(scene: Scene, length: int) -> Vector:
    """A signature has 64 bytes, or none."""
    made = scene.payload(signer=ALICE, signature=lambda signature: (signature * 2)[:length])
    return scene.refused("malformed", made, "E-49")


@each(
    str=b"\xd9\x40",
    not_shortest=b"\xc5\x00\x40",
    not_shortest_in_four=b"\xc6\x00\x00\x00\x40",
    ext=b"\xc7\x40\x00",
    array=b"\xdc\x00\x40",
)
def signature_as(scene: Scene, header: bytes) -> Vector:
    """The signature is a bin with the shortest header."""
    made = scene.payload(signer=ALICE, signature_element=lambda element: header + element[2:])
    return scene.refused("malformed", made, "E-6", "E-49")


@each(nil=b"\xc0", empty_str=b"\xa0", not_shortest=b"\xc5\x00\x00", empty_array=b"\x90")
def signature_absent_as(scene: Scene, element: bytes) -> Vector:
    """Without signature the element is c4 00."""
    made = scene.payload(signature_element=lambda _: element)
    return scene.refused("malformed", made, "E-6", "E-49")


def signature_element_missing(scene: Scene) -> Vector:
    """The parts end where the wraps begin. Step 8: outside, this is `refused`."""
    made = scene.payload(signature_element=lambda _: b"")
    return scene.refused("malformed", made, "E-41", "E-8", "E-90")


def signature_cut(scene: Scene) -> Vector:
    """It would reach one byte into the header of the wraps."""
    made = scene.payload(signer=ALICE, signature_element=lambda element: element[:-1])
    return scene.refused("malformed", made, "E-41")


def signature_and_a_byte_behind_it(scene: Scene) -> Vector:
    """The element ends exactly where the header of the wraps begins."""
    made = scene.payload(signer=ALICE, signature_element=lambda element: element + b"\x00")
    return scene.refused("malformed", made, "E-41")


def signature_absent_and_a_byte_behind_it(scene: Scene) -> Vector:
    """The same without a signature."""
    made = scene.payload(signature_element=lambda element: element + b"\x00")
    return scene.refused("malformed", made, "E-41")


def signature_without_identity(scene: Scene) -> Vector:
    """Nobody could say whose it is."""
    made = scene.payload(sign=lambda message: ed25519.sign(ALICE.signing_seed, message))
    return scene.refused("malformed", made, "E-50")


def signature_without_identity_from_anyone(scene: Scene) -> Vector:
    """The form is checked for every sender."""
    made = scene.payload(sign=lambda _: bytes(64))
    return scene.refused("malformed", made, "E-50", sender=[])


@each(first_byte=0, last_byte_of_r=31, first_byte_of_sigma=32, last_byte=63)
def signature_altered_in_the(scene: Scene, at: int) -> Vector:
    """The wrap was made over the change, so only the signature tells."""
    made = scene.payload(signer=ALICE, signature=lambda signature: flipped(signature, at))
    return invalid(scene, made, "E-64", "E-3", "E-4", "E-5")


def signature_of_zeros(scene: Scene) -> Vector:
    """R = 0 is a point of small order."""
    made = scene.payload(signer=ALICE, signature=lambda _: bytes(64))
    return invalid(scene, made, "E-64", "E-4")


def signed_by(scene: Scene, message_of: Bytes, seed: bytes = ALICE.signing_seed) -> Forged:
    """A signature of something else than the 43 bytes."""
    return scene.payload(
        identity=ALICE.user, sign=lambda message: ed25519.sign(seed, message_of(message))
    )


@each(
    without_the_first_byte=lambda message: message[1:],
    without_the_label=lambda message: message[:1] + message[10:],
    without_the_zero=lambda message: message[:10] + message[11:],
    of_the_digest_alone=lambda message: message[11:],
    of_another_label=lambda message: message.replace(b"sign", b"view"),
    of_another_version=lambda message: message.replace(b"xkm1", b"xkm2"),
    of_another_digest=flipped,
)
def signed_message(scene: Scene, message_of: Bytes) -> Vector:
    """A signature by the right key that was not made for this message."""
    return invalid(scene, signed_by(scene, message_of), "E-64", "E-5")


def signed_by_another(scene: Scene) -> Vector:
    """Mallory signs, and names Alice."""
    made = signed_by(scene, lambda message: message, MALLORY.signing_seed)
    return invalid(scene, made, "E-64", "E-5")


def signature_invalid_though_demanded(scene: Scene) -> Vector:
    """It is there, so it is not missing."""
    made = scene.payload(signer=ALICE, signature=flipped)
    return invalid(scene, made, "E-64", "E-3", "E-5", require_signature=True)


def signature_invalid_though_known_before(scene: Scene) -> Vector:
    """A valid message of the session went before; each signature is checked."""
    made = scene.payload(signer=ALICE, session="signing", counter=2, signature=flipped)
    return invalid(scene, made, "E-64", "E-3", "E-5", after=[signed_in_a_session])


def signed_in_a_session(scene: Scene) -> Vector:
    """The first message of a session that another vector goes on with."""
    made = scene.payload(signer=ALICE, session="signing")
    return scene.success(made, "E-64", sender=[ALICE.mapping])


def signature_missing(scene: Scene) -> Vector:
    """The caller demands a signature, and identity alone is none."""
    made = scene.payload(identity=ALICE.user)
    return scene.refused(
        "signature_missing", made, "E-66", sender=[ALICE.mapping], require_signature=True
    )


def signature_of_another_envelope(scene: Scene) -> Vector:
    """Alice signed a message to Carol; its signature is valid there only."""
    other = scene.payload(signer=ALICE, session="moved")
    at = other.envelope.index(b"\xc4\x40") + 2
    made = scene.payload(
        signer=ALICE, session="moved", counter=2, signature=lambda _: other.envelope[at : at + 64]
    )
    return invalid(scene, made, "E-64", "E-5")

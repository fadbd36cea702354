"""Signatures: what they prove, and forgeries that resemble them."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    MALLORY_USER,
    SUBJECT,
    code_of,
    raw_user,
    reader,
)
from tests.envelope.forge import Pieces, Rogue, thief_of
from tests.envelope.inside import user_seed
from tests.reference import crypto, ed25519
from tests.reference.encoding import array, binary
from xkeymsg import AtRest, Opener, Sealer, UserKey, nkey

L = 2**252 + 27742317777372353535851937790883648493
IDENTITY = raw_user(ALICE_USER)
SEED = user_seed(ALICE_USER)
THIEF = thief_of(BOB).but(identity=IDENTITY)
"""A thief of Bob's key: the wraps verify, and only the signature is left to check."""


def demanding() -> Opener:
    """Return Bob's opener that requires Alice's signature."""
    senders = {ALICE.public: ALICE_USER.public}
    return Opener(BOB, senders, require_signature=True, replay=AtRest())


def tolerant() -> Opener:
    """Return Bob's opener that knows Alice's user and does not require a signature."""
    return Opener(BOB, {ALICE.public: ALICE_USER.public}, replay=AtRest())


def knows(identity: bytes) -> Opener:
    """Return Bob's opener with a directory in which Alice's user has this raw key."""
    user = nkey.encode_public(nkey.Prefix.USER, identity)
    return Opener(BOB, {ALICE.public: user}, replay=AtRest())


def sealed(signer: UserKey | None = ALICE_USER) -> bytes:
    identity = ALICE_USER.public if signer is None else None
    sealer = Sealer(ALICE, signer=signer, identity=identity)
    return sealer.seal(b"pay 10", to=[BOB.public, CAROL.public], subject=SUBJECT)


def test_a_signed_message_tells_its_signer() -> None:
    assert demanding().open(sealed(), subject=SUBJECT).signer == ALICE_USER.public


def test_a_signature_proves_the_bytes_to_a_third_party() -> None:
    # A judge has the envelope and Alice's public user key, but no secret.
    envelope = sealed()
    pieces = Pieces.of(envelope)
    covered = envelope[: envelope.index(binary(pieces.signature))]
    message = b"\xff" + b"xkm1/sign" + b"\0" + crypto.sha256(covered)
    assert len(message) == 43
    Ed25519PublicKey.from_public_bytes(IDENTITY).verify(pieces.signature, message)


def test_a_signature_that_is_stripped_on_the_way_breaks_the_wraps() -> None:
    stripped = Pieces.of(sealed())._replace(signature=b"").join()
    for opener in (demanding(), tolerant(), reader()):
        assert code_of(opener, stripped) == "authentication"


def test_a_stripped_signature_is_missed_where_it_is_demanded() -> None:
    # The thief of Bob's key removes it, and makes new wraps.
    envelope = THIEF.envelope(b"pay 10")
    assert code_of(demanding(), envelope) == "signature_missing"
    assert tolerant().open(envelope, subject=">").signer is None


def test_a_signature_of_another_user_is_invalid() -> None:
    # Replaced: Mallory signs, under Alice's name and under her own.
    forged = THIEF.signed(user_seed(MALLORY_USER), b"pay 99")
    assert code_of(demanding(), forged) == "signature_invalid"
    assert code_of(tolerant(), forged) == "signature_invalid"
    named = THIEF.but(identity=raw_user(MALLORY_USER)).signed(user_seed(MALLORY_USER))
    assert code_of(demanding(), named) == "sender_not_admitted"


def test_a_signature_of_another_message_is_invalid() -> None:
    # Transplanted: the thief has a message signed by Alice, even of the same session.
    signed = THIEF.signed(SEED, b"pay 10")
    signature = Pieces.of(signed).signature
    assert demanding().open(signed, subject=">").data == b"pay 10"
    for other in (THIEF, THIEF.but(counter=2), THIEF.but(subject="b")):
        forged = other.envelope(b"pay 99", signature=signature)
        assert code_of(demanding(), forged) == "signature_invalid"


@for_each(
    "change",
    [
        {"counter": 2},
        {"tail": b"another."},
        {"created_ms": 2**40},
        {"subject": "other"},
        {"revision": 1},
        {"expires_ms": 2**52},
        {"ephemeral": CAROL},
    ],
    ids=str,
)
def test_a_signature_covers_every_field_of_the_head(change: dict[str, object]) -> None:
    # E-64: the thief keeps the payload and the signature, and changes the head.
    signature = THIEF.signature(SEED, [THIEF.part(0, b"x")])
    changed = THIEF.but(**change)
    forged = changed.envelope(b"x", signature=signature)
    assert code_of(demanding(), forged) in ("signature_invalid", "expired")


def test_a_signature_covers_the_tags_views_and_parts() -> None:
    parts = [THIEF.part(j, b"x", 1) for j in (0, 1)]
    views = [THIEF.view(0, b"\0" + bytes(32)), THIEF.view(1, b"\1" + bytes(32))]
    digests = {
        THIEF.digest(parts, views),
        THIEF.digest(parts[::-1], views),
        THIEF.digest(parts, views[::-1]),
        THIEF.digest(parts, views[:1]),
        THIEF.but(to=(*THIEF.to, *Rogue().to)).digest(parts, views),
    }
    assert len(digests) == 5


def test_a_self_declared_signer_is_not_reported() -> None:
    # E-65: Mallory has a key pair and a user key, both her own. Nobody certifies that they belong
    # together, so her signature only proves that she can sign.
    envelope = sealed(MALLORY_USER)
    message = reader().open(envelope, subject=SUBJECT)
    assert message.signer is None


def test_a_signature_that_does_not_count_is_not_looked_at() -> None:
    # E-65
    rogue = Rogue(identity=IDENTITY)
    assert reader().open(rogue.envelope(signature=bytes(64)), subject=">").signer is None


def test_a_signature_without_identity_is_malformed() -> None:
    # E-50: without identity the signer would be unknown.
    rogue = Rogue()
    assert code_of(reader(), rogue.envelope(signature=bytes(64))) == "malformed"
    assert code_of(reader(), rogue.signed(SEED)) == "malformed"


@for_each("size", [1, 32, 63, 65, 128, 255, 256])
def test_a_signature_of_another_length_is_malformed(size: int) -> None:
    # E-49
    rogue = Rogue(identity=IDENTITY)
    assert code_of(reader(), rogue.envelope(signature=bytes(size))) == "malformed"


def test_a_signature_of_a_login_nonce_is_invalid() -> None:
    # An nkey signs any text that a broker sends at login, so a hostile broker has a signing oracle.
    # It wants Alice's signature over D of a forged message.
    def oracle(info: str) -> bytes:
        nonce: str = json.loads(info)["nonce"]
        return ALICE_USER.sign(nonce.encode())

    digest = THIEF.digest([THIEF.part(0, b"pay 99")])
    wanted = crypto.signed_message(digest)
    with pytest.raises(UnicodeDecodeError):
        wanted.decode()  # no text begins with 0xff
    for text in (digest.hex(), wanted.decode("latin-1"), wanted[1:].decode("latin-1")):
        signature = oracle(json.dumps({"nonce": text}))
        forged = THIEF.envelope(b"pay 99", signature=signature)
        assert code_of(demanding(), forged) == "signature_invalid"


def test_a_signature_over_the_bare_digest_or_under_another_label_is_invalid() -> None:
    parts = [THIEF.part(0, b"x")]
    digest = THIEF.digest(parts)
    for message in (digest, b"xkm1/sign\0" + digest, b"\xffxkm2/sign\0" + digest):
        forged = THIEF.envelope(parts=parts, signature=ALICE_USER.sign(message))
        assert code_of(demanding(), forged) == "signature_invalid"


def small_order_signature() -> tuple[bytes, bytes]:
    """Return a key of order 1, and one signature that is valid for every message under it."""
    identity = b"\1" + bytes(31)
    one = (1).to_bytes(32, "little")
    return identity, ed25519.encode(ed25519.B) + one


def test_one_signature_fits_every_message_under_a_key_of_small_order() -> None:
    # The premise: OpenSSL accepts it. [1]B - [k]A = B for every k, as A is neutral.
    identity, signature = small_order_signature()
    for message in (b"pay 10", b"pay 99"):
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)


@for_each("identity", ed25519.SMALL_ORDER)
def test_a_key_of_small_order_signs_nothing(identity: bytes) -> None:
    # E-4: Mallory has had such a key registered as a user key, and the thief uses it.
    _, signature = small_order_signature()
    forged = THIEF.but(identity=identity).envelope(b"pay 99", signature=signature)
    assert code_of(knows(identity), forged) == "signature_invalid"


def test_a_signature_cannot_be_made_into_another_one() -> None:
    # E-3: s + L is the same number; a second signature would make a second message.
    signature = THIEF.signature(SEED, [THIEF.part(0, b"x")])
    scalar = int.from_bytes(signature[32:], "little")
    for other in (scalar + L, scalar | 1 << 255, scalar ^ 1, 0, L):
        changed = signature[:32] + other.to_bytes(32, "little")
        assert code_of(demanding(), THIEF.envelope(b"x", signature=changed)) == "signature_invalid"


@for_each("point", ed25519.SMALL_ORDER)
def test_a_first_half_of_small_order_is_refused(point: bytes) -> None:
    # E-4
    signature = THIEF.signature(SEED, [THIEF.part(0, b"x")])
    changed = point + signature[32:]
    assert code_of(demanding(), THIEF.envelope(b"x", signature=changed)) == "signature_invalid"


def test_a_signature_that_only_holds_eight_times_over_is_refused() -> None:
    # E-5: Alice herself wants one reader to accept and another to refuse, and adds a point of order
    # 8 to the first half. Verifiers that multiply by the cofactor do not notice.
    scalar, _ = ed25519.expand(SEED)
    torsion = ed25519.decode(ed25519.SMALL_ORDER[-1])
    assert torsion is not None
    first = ed25519.add(ed25519.multiply(12_345, ed25519.B), torsion)
    parts = [THIEF.part(0, b"x")]
    message = crypto.signed_message(THIEF.digest(parts))
    challenge = ed25519.challenge(ed25519.encode(first), IDENTITY, message)
    second = (12_345 + challenge * scalar) % L
    public = ed25519.decode(IDENTITY)
    assert public is not None
    both = ed25519.add(first, ed25519.multiply(challenge, public))
    sides = ed25519.multiply(second, ed25519.B), both
    once, eight_times = (
        len({ed25519.encode(ed25519.multiply(times, side)) for side in sides}) for times in (1, 8)
    )
    assert (once, eight_times) == (2, 1)
    signature = ed25519.encode(first) + second.to_bytes(32, "little")
    forged = THIEF.envelope(parts=parts, signature=signature)
    assert code_of(demanding(), forged) == "signature_invalid"


def test_a_key_that_is_not_canonical_signs_nothing() -> None:
    # E-4: y = p + 1 is the point with y = 1 in other bytes, and 2^255 - 1 is not a point.
    p = 2**255 - 19
    for y in (p, p + 1, p + 3, p + 18):
        identity = y.to_bytes(32, "little")
        forged = THIEF.but(identity=identity).envelope(signature=small_order_signature()[1])
        assert code_of(knows(identity), forged) == "signature_invalid"


def test_a_key_that_is_not_a_point_is_refused() -> None:
    identity = next(
        candidate
        for candidate in (bytes([n]) + bytes(31) for n in range(2, 256))
        if ed25519.decode(candidate) is None
    )
    forged = THIEF.but(identity=identity).envelope(signature=small_order_signature()[1])
    assert code_of(knows(identity), forged) == "signature_invalid"


def test_the_signature_is_not_checked_before_subject_and_age() -> None:
    # The opening order: cheaper and more informative checks come first.
    forged = THIEF.envelope(signature=bytes(64))
    assert code_of(demanding(), forged, "other") == "subject_mismatch"
    stale = THIEF.but(created_ms=2**33).envelope(signature=bytes(64))
    live = Opener(BOB, {ALICE.public: ALICE_USER.public}, require_signature=True)
    assert code_of(live, stale) == "stale"


def test_the_sign_element_is_what_the_specification_says() -> None:
    unsigned, signed = Pieces.of(sealed(None)), Pieces.of(sealed())
    assert (len(unsigned.signature), len(signed.signature)) == (0, 64)
    assert signed.body().endswith(array(map(binary, signed.parts)) + b"\xc4\x40" + signed.signature)

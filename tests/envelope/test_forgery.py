"""Attempts to make or alter a message in another sender's name."""

from __future__ import annotations

import pytest

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    EVE,
    MALLORY,
    SUBJECT,
    code_of,
    raw_secret,
    raw_user,
    reader,
    to,
)
from tests.envelope.forge import (
    CONTENT_KEYS,
    Pieces,
    Rogue,
    grant_of,
    head_of,
    key_of,
    nonce_of,
    thief_of,
    transcript_of,
)
from tests.envelope.inside import admitted_in, memory_of, user_seed
from tests.reference import crypto
from xkeymsg import (
    AtRest,
    AuthenticationError,
    CommitmentError,
    MalformedError,
    NotARecipientError,
    Opener,
    Recipient,
    Sealer,
    UnsupportedVersionError,
    xkv1,
)


@pytest.fixture
def to_both() -> bytes:
    """Return an unsigned message of Alice to Bob and Carol."""
    return Sealer(ALICE).seal(b"pay 10", to=[BOB.public, CAROL.public], subject=SUBJECT)


def rewritten_by_bob(envelope: bytes, data: bytes) -> Pieces:
    """Encrypt another payload under CK, which Bob knows, with its commitment."""
    head = head_of(envelope)
    content_key = grant_of(BOB, envelope)[1:]
    keys = crypto.part_keys(content_key, head.E, head.nonce, 0)
    part = b"\0" + keys[1] + crypto.seal(keys[0], crypto.ZERO12, data, b"")
    return Pieces.of(envelope)._replace(parts=(part,))


def wrapped_by_bob(pieces: Pieces, original: bytes) -> bytes:
    """Replace every wrap by one under the only K that Bob has."""
    changed = pieces.join()
    key, grant = key_of(BOB, original).K, grant_of(BOB, original)
    wrap = crypto.seal(key, nonce_of(original), grant, transcript_of(changed))
    return pieces._replace(wraps=wrap * (len(pieces.tags) // 8)).join()


def test_a_co_recipient_cannot_rewrite_the_message_for_another(to_both: bytes) -> None:
    # Bob has CK and his own K. He rewrites Alice's payload, and makes new wraps with these keys.
    forged = wrapped_by_bob(rewritten_by_bob(to_both, b"pay 99"), to_both)
    with pytest.raises(AuthenticationError):
        reader(CAROL).open(forged, subject=SUBJECT)


def test_a_co_recipient_can_deceive_itself_only(to_both: bytes) -> None:
    # The forgery above is well-formed: Bob, whose K it is under, opens it.
    forged = wrapped_by_bob(rewritten_by_bob(to_both, b"pay 99"), to_both)
    assert reader(BOB).open(forged, subject=SUBJECT).data == b"pay 99"


def test_a_co_recipient_cannot_keep_the_others_wrap_for_another_payload(to_both: bytes) -> None:
    # Bob keeps Carol's wrap as Alice made it: it holds the CK under which he encrypted.
    forged = rewritten_by_bob(to_both, b"pay 99").join()
    with pytest.raises(AuthenticationError):
        reader(CAROL).open(forged, subject=SUBJECT)


def test_a_co_recipient_cannot_add_a_recipient(to_both: bytes) -> None:
    # Bob adds a wrap for Eve, whose tag he would have to know; Carol's wrap does not cover it.
    pieces = Pieces.of(to_both)
    longer = pieces._replace(tags=pieces.tags + b"\xff" * 8, wraps=pieces.wraps + bytes(49))
    assert code_of(reader(CAROL), longer.join()) == "authentication"
    assert code_of(reader(EVE), longer.join()) == "not_a_recipient"


def test_nobody_can_remove_a_recipient(to_both: bytes) -> None:
    pieces = Pieces.of(to_both)
    for gone in (0, 1):
        left = pieces._replace(
            tags=pieces.tags[8 * (1 - gone) :][:8], wraps=pieces.wraps[49 * (1 - gone) :][:49]
        ).join()
        codes = {code_of(reader(own), left) for own in (BOB, CAROL)}
        assert codes == {"authentication", "not_a_recipient"}


def test_altering_the_wrap_of_another_stops_that_other_only(to_both: bytes) -> None:
    # The limit stated in the specification: for Carol it equals dropping the message.
    pieces = Pieces.of(to_both)
    place = pieces.tags.index(key_of(CAROL, to_both).tag) // 8
    wraps = bytearray(pieces.wraps)
    wraps[49 * place] ^= 1
    damaged = pieces._replace(wraps=bytes(wraps)).join()
    assert reader(BOB).open(damaged, subject=SUBJECT).data == b"pay 10"
    with pytest.raises(AuthenticationError):
        reader(CAROL).open(damaged, subject=SUBJECT)


def test_a_recipient_listed_twice_is_refused_by_every_reader() -> None:
    # E-32: a careless sender wraps twice for Bob, under one K and nonce. From two wraps of
    # different content anybody computes the one-time key of Poly1305, and can then forge wraps for
    # Bob.
    rogue = Rogue(to=to(BOB, BOB))
    grants = [b"\0" + CONTENT_KEYS[0], b"\0" + CONTENT_KEYS[1]]
    assert code_of(reader(), rogue.envelope(grants=grants)) == "malformed"
    with_carol = Rogue(to=to(BOB, BOB, CAROL))
    assert code_of(reader(CAROL), with_carol.envelope()) == "malformed"


def test_a_sealer_gives_a_recipient_listed_twice_one_wrap() -> None:
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public, Recipient(BOB.public)], subject=SUBJECT)
    assert len(Pieces.of(envelope).wraps) == 49


def test_a_message_to_bob_does_not_come_back_as_one_from_bob() -> None:
    # Reflection. Alice reads messages from Bob; the attacker returns her own messages to her.
    envelope = Sealer(ALICE).seal(b"pay 10", to=[BOB.public], subject=SUBJECT)
    own = reader(ALICE, {BOB.public})
    assert code_of(own, envelope) == "sender_not_admitted"
    assert code_of(reader(ALICE, {ALICE.public, BOB.public}), envelope) == "not_a_recipient"
    turned = envelope.replace(bytes(ALICE.public), bytes(BOB.public))
    assert code_of(own, turned) == "not_a_recipient"


def test_the_key_of_a_pair_has_a_direction() -> None:
    # The defence against reflection: the same two parties have another tag and another K.
    there = Rogue(S=ALICE.public, secret=ALICE, to=to(BOB)).rows()
    back = Rogue(S=BOB.public, secret=BOB, to=to(ALICE)).rows()
    assert there[0].tag != back[0].tag
    assert there[0].K != back[0].K


def test_a_sender_named_in_the_head_alone_is_not_authenticated() -> None:
    # Mallory has a key of her own, and writes Alice's key into the head.
    forged = Rogue(S=MALLORY.public, secret=MALLORY).envelope(b"pay 99")
    spoofed = forged.replace(bytes(MALLORY.public), bytes(ALICE.public))
    with pytest.raises(NotARecipientError):
        reader().open(spoofed, subject=">")


def test_a_genuine_head_with_tags_does_not_carry_another_body() -> None:
    # Mallory has seen a message of Alice. She copies head and tags, so that Bob finds his tag, and
    # wraps her own payload under her own keys.
    genuine = Sealer(ALICE).seal(b"pay 10", to=[BOB.public], subject=SUBJECT)
    hers = Pieces.of(Rogue(S=MALLORY.public, secret=MALLORY).envelope(b"pay 99"))
    forged = Pieces.of(genuine)._replace(parts=hers.parts, wraps=hers.wraps)
    with pytest.raises(AuthenticationError):
        reader().open(forged.join(), subject=">")


def test_whoever_steals_a_senders_key_later_does_not_open_what_it_sealed() -> None:
    # The thief has s and all sent messages; e is gone. It can identify the recipients, but cannot
    # compute K: the ephemeral half is missing.
    envelope = Sealer(ALICE).seal(b"secret", to=[BOB.public], subject=SUBJECT)
    pieces, head = Pieces.of(envelope), head_of(envelope)
    dh_s = crypto.x25519(raw_secret(ALICE), bytes(BOB.public))
    tag_key, auth_key = crypto.pair_keys(dh_s, head.S, bytes(BOB.public), bytes(32))
    assert crypto.tag_of(tag_key, head.E) == pieces.tags
    for guess in (dh_s, crypto.x25519(raw_secret(ALICE), head.E), head.E):
        key = crypto.wrap_key(auth_key, guess, head.E, bytes(BOB.public))
        found = crypto.unseal(key, head.nonce, pieces.wraps, transcript_of(envelope))
        assert found is None


def test_an_envelope_names_no_recipient_and_its_tags_change_with_the_session() -> None:
    tags = set()
    for _ in range(3):
        envelope = Sealer(ALICE).seal(b"", to=[BOB.public, CAROL.public], subject=SUBJECT)
        assert bytes(BOB.public) not in envelope
        assert bytes(CAROL.public) not in envelope
        tags.add(Pieces.of(envelope).tags)
    assert len(tags) == 3


def test_a_thief_of_the_readers_key_can_pretend_to_be_anyone_where_nothing_is_signed() -> None:
    # Key-compromise impersonation, a limit stated in the specification: the thief computes both
    # shared secrets as Bob does.
    message = reader().open(thief_of(BOB).envelope(b"pay 99"), subject=">")
    assert (message.data, message.sender) == (b"pay 99", ALICE.public)


def test_a_required_signature_stops_a_thief_of_the_readers_key() -> None:
    # The same thief, and a reader that requires a signature, which Bob's key cannot make.
    senders = {ALICE.public: ALICE_USER.public}
    opener = Opener(BOB, senders, require_signature=True, replay=AtRest())
    thief = thief_of(BOB).but(identity=raw_user(ALICE_USER))
    assert code_of(opener, thief.envelope(b"pay 99")) == "signature_missing"
    assert code_of(opener, thief.signed(b"\7" * 32, b"pay 99")) == "signature_invalid"
    honest = thief.signed(user_seed(ALICE_USER), b"pay 10")
    assert opener.open(honest, subject=">").signer == ALICE_USER.public


def test_a_thief_cannot_burn_the_counters_of_a_sender_who_signs() -> None:
    # E-72: the mark follows the signature. Otherwise the thief could mark counters that Alice has
    # not yet used, and her messages would be taken for replays.
    senders = {ALICE.public: ALICE_USER.public}
    opener = Opener(BOB, senders, require_signature=True)
    sealer = Sealer(ALICE, signer=ALICE_USER)
    first = sealer.seal(b"1", to=[BOB.public], subject=SUBJECT)
    head = head_of(first)
    thief = thief_of(BOB).but(created_ms=head.created_ms, identity=raw_user(ALICE_USER))
    for counter in (1, 2):
        assert code_of(opener, thief.but(counter=counter).envelope()) == "signature_missing"
    assert opener.open(first, subject=SUBJECT).data == b"1"
    assert admitted_in(memory_of(opener))[head.S].sessions.keys() == {head.S + head.E}


def test_a_forwarded_message_is_from_its_forwarder() -> None:
    # Surreptitious forwarding. Bob has a signed message of Alice, and wants Carol to believe that
    # Alice wrote to her. He seals it again, including Alice's signature and identity.
    original = Sealer(ALICE, signer=ALICE_USER).seal(b"love", to=[BOB.public], subject=SUBJECT)
    signature = Pieces.of(original).signature
    bob = Rogue(S=BOB.public, secret=BOB, identity=raw_user(ALICE_USER), to=to(CAROL))
    forwarded = bob.envelope(b"love", signature=signature)
    senders = {ALICE.public: ALICE_USER.public, BOB.public: ALICE_USER.public}
    carol = Opener(CAROL, senders, replay=AtRest())
    assert code_of(carol, forwarded) == "signature_invalid"
    as_alice = forwarded.replace(bytes(BOB.public), bytes(ALICE.public))
    assert code_of(carol, as_alice) == "not_a_recipient"
    assert reader(CAROL, {BOB.public}).open(forwarded, subject=">").sender == BOB.public


def test_an_xkv1_box_and_an_envelope_are_not_interchangeable() -> None:
    with pytest.raises(MalformedError):
        reader().open(xkv1.seal(b"x" * 300, key=ALICE, to=BOB.public), subject=">")
    with pytest.raises(UnsupportedVersionError):
        xkv1.open(
            Sealer(ALICE).seal(b"x", to=[BOB.public], subject=SUBJECT), key=BOB, sender=ALICE.public
        )


def test_an_xkv1_box_cannot_stand_for_a_part() -> None:
    # Between the same two parties, under the same static keys. An outsider who puts it into an
    # envelope breaks the wrap; the sender itself breaks the commitment.
    box = xkv1.seal(b"x" * 100, key=ALICE, to=BOB.public)
    pieces = Pieces.of(Sealer(ALICE).seal(b"x", to=[BOB.public], subject=SUBJECT))
    assert code_of(reader(), pieces._replace(parts=(b"\0" + box,)).join()) == "authentication"
    with pytest.raises(CommitmentError):
        reader().open(Rogue().envelope(parts=[b"\0" + box]), subject=">")


def test_a_wrap_cannot_stand_for_an_xkv1_box() -> None:
    # 49 bytes under a key of the same pair, given to a program that opens xkv1.
    rogue = Rogue()
    wrap = Pieces.of(rogue.envelope()).wraps
    for nonce in (rogue.nonce + bytes(12), bytes(12) + rogue.nonce, bytes(24)):
        with pytest.raises(AuthenticationError):
            xkv1.open(b"xkv1" + nonce + wrap, key=BOB, sender=ALICE.public)


def test_an_xkv1_box_cannot_stand_for_a_wrap() -> None:
    # A box over five bytes has the length of a wrap.
    box = xkv1.seal(b"\0five", key=ALICE, to=BOB.public)
    assert len(box) == 49
    pieces = Pieces.of(Rogue().envelope())
    assert code_of(reader(), pieces._replace(wraps=box).join()) == "authentication"

"""Key ownership: users who claim another user's key, as senders and as recipients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    MALLORY,
    MALLORY_USER,
    SUBJECT,
    code_of,
    raw_user,
    reader,
)
from tests.envelope.forge import Rogue, thief_of
from xkeymsg import (
    ANYONE,
    Admission,
    AtRest,
    KeyFormatError,
    Keyring,
    Opener,
    Recipient,
    Sealer,
    SenderNotAdmittedError,
    SignatureMissingError,
    XKey,
    nkey,
)

Verdict = Callable[[XKey, str], Admission | None]


class _Directory:
    """Trust with a verdict given by the test."""

    def __init__(self, verdict: Admission | None) -> None:
        self._verdict = verdict

    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        return self._verdict


def known(*users: bytes, always_signs: bool = False) -> Opener:
    verdict = Admission(users=frozenset(users), always_signs=always_signs)
    return Opener(BOB, _Directory(verdict), replay=AtRest())


def seal(sealer: Sealer) -> bytes:
    return sealer.seal(b"x", to=[BOB.public], subject=SUBJECT)


def test_a_sender_that_is_not_admitted_is_refused() -> None:
    # E-62
    assert code_of(reader(senders={MALLORY.public}), seal(Sealer(ALICE))) == "sender_not_admitted"
    assert code_of(Opener(BOB, _Directory(None)), seal(Sealer(ALICE))) == "sender_not_admitted"


def test_a_message_without_identity_is_refused_where_the_senders_user_is_known() -> None:
    # E-63
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public})
    assert code_of(opener, seal(Sealer(ALICE))) == "sender_not_admitted"


def test_another_user_cannot_claim_my_messages() -> None:
    # E-63: Mallory has had Alice's xkey certified as her own, which needs the public key only.
    # Alice's messages name Alice, and readers that know the key as Mallory's refuse them.
    envelope = seal(Sealer(ALICE, identity=ALICE_USER.public))
    assert code_of(known(raw_user(MALLORY_USER)), envelope) == "sender_not_admitted"


def test_where_both_are_certified_the_message_itself_tells_whose_it_is() -> None:
    both = known(raw_user(ALICE_USER), raw_user(MALLORY_USER))
    message = both.open(seal(Sealer(ALICE, signer=ALICE_USER)), subject=SUBJECT)
    assert message.signer == ALICE_USER.public


def test_mallory_cannot_write_herself_into_alices_message() -> None:
    envelope = seal(Sealer(ALICE, identity=ALICE_USER.public))
    changed = envelope.replace(raw_user(ALICE_USER), raw_user(MALLORY_USER))
    both = known(raw_user(ALICE_USER), raw_user(MALLORY_USER))
    assert code_of(both, changed) == "authentication"


def test_an_identity_does_not_count_where_no_user_is_known() -> None:
    # E-65: a message's statement about its sender is the sender's claim.
    message = reader().open(seal(Sealer(ALICE, identity=MALLORY_USER.public)), subject=SUBJECT)
    assert message.signer is None
    assert not hasattr(message, "identity")


def test_an_unsigned_message_that_names_its_user_is_admitted_and_unsigned() -> None:
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public})
    message = opener.open(seal(Sealer(ALICE, identity=ALICE_USER.public)), subject=SUBJECT)
    assert message.admitted is True
    assert message.signer is None


def test_a_sender_that_always_signs_is_refused_unsigned() -> None:
    # E-66: directory trust requires it, without a request of the caller.
    opener = known(raw_user(ALICE_USER), always_signs=True)
    with pytest.raises(SignatureMissingError):
        opener.open(seal(Sealer(ALICE, identity=ALICE_USER.public)), subject=SUBJECT)
    assert opener.open(seal(Sealer(ALICE, signer=ALICE_USER)), subject=SUBJECT).signer


def test_a_sender_that_always_signs_without_a_known_user_is_refused() -> None:
    # E-65, E-66: no user is known whose signature could count.
    opener = known(always_signs=True)
    assert code_of(opener, seal(Sealer(ALICE, signer=ALICE_USER))) == "signature_missing"


def test_a_message_for_mallory_does_not_open_as_one_for_bob() -> None:
    # Mallory has had *Bob's* xkey certified as her own. Alice resolves "mallory" and seals to it:
    # Bob, who alone could compute the shared secrets, must not take the message as meant for him.
    for_mallory = Sealer(ALICE).seal(
        b"you are fired", to=[Recipient(BOB.public, MALLORY_USER.public)], subject=SUBJECT
    )
    for keys in (BOB, Keyring(BOB), Keyring(BOB, user=BOB_USER.public)):
        assert code_of(Opener(keys, {ALICE.public}), for_mallory) == "not_a_recipient"


def test_mallory_cannot_open_it_either() -> None:
    for_mallory = Sealer(ALICE).seal(
        b"you are fired", to=[Recipient(BOB.public, MALLORY_USER.public)], subject=SUBJECT
    )
    keyring = Keyring(MALLORY, user=MALLORY_USER.public)
    assert code_of(Opener(keyring, {ALICE.public}), for_mallory) == "not_a_recipient"


def test_a_user_key_of_zeros_does_not_stand_for_no_user() -> None:
    # E-91. Mallory is a user under the key of 32 zeros, which is also U for no user, and certifies
    # Bob's xkey: Bob would open Alice's messages to her as sealed to his bare key.
    nobody = nkey.encode_public(nkey.Prefix.USER, bytes(32))
    with pytest.raises(KeyFormatError, match="zeros"):
        Recipient(BOB.public, nobody)
    with pytest.raises(KeyFormatError, match="zeros"):
        Keyring(BOB, user=nobody)


def test_a_message_to_a_user_opens_for_that_user() -> None:
    envelope = Sealer(ALICE).seal(
        b"x", to=[Recipient(BOB.public, BOB_USER.public)], subject=SUBJECT
    )
    opener = Opener(Keyring(BOB, user=BOB_USER.public), {ALICE.public})
    assert opener.open(envelope, subject=SUBJECT).data == b"x"
    assert code_of(reader(), envelope) == "not_a_recipient"


def test_a_key_of_its_own_does_not_help_who_only_names_it() -> None:
    # The wrap is Alice's: Mallory cannot make one for (Bob, Bob's user) from her own.
    thief = thief_of(MALLORY)
    envelope = thief.but(to=(Recipient(BOB.public, BOB_USER.public),)).envelope()
    keyring = Keyring(BOB, user=BOB_USER.public)
    assert code_of(Opener(keyring, {ALICE.public}, replay=AtRest()), envelope) == "not_a_recipient"


def test_the_users_of_a_reader_are_tried_in_order() -> None:
    # Its user comes first: the damaged wrap is the one for the bare key, and is not reached.
    keyring = Keyring(BOB, user=BOB_USER.public)
    rogue = Rogue(to=(Recipient(BOB.public), Recipient(BOB.public, BOB_USER.public)))
    bare = rogue.key(rogue.to[0]).tag
    place = [key.tag for key in rogue.rows()].index(bare)
    envelope = bytearray(rogue.envelope(b"x"))
    envelope[len(envelope) - 98 + 49 * place] ^= 1
    opener = Opener(keyring, {ALICE.public}, replay=AtRest())
    assert opener.open(bytes(envelope), subject=">").data == b"x"


def test_the_admission_of_the_call_is_that_of_the_call() -> None:
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public}, replay=AtRest())
    envelope = seal(Sealer(ALICE, signer=ALICE_USER))
    assert opener.open(envelope, subject=SUBJECT).signer == ALICE_USER.public
    unknown = opener.open(envelope, subject=SUBJECT, senders=ANYONE)
    assert (unknown.signer, unknown.admitted) == (None, False)
    with pytest.raises(SenderNotAdmittedError):
        opener.open(envelope, subject=SUBJECT, senders={ALICE.public: MALLORY_USER.public})

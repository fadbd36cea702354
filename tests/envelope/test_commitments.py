"""A malicious sender gives its readers different plaintexts in the same bytes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, CAROL, SUBJECT, code_of, reader, to
from tests.envelope.forge import CONTENT_KEYS, FIELDS, VIEW_KEYS, Pieces, Rogue, grant_list
from tests.envelope.inside import open_fields, session_of
from tests.envelope.salamander import opens, salamander
from tests.reference import crypto
from xkeymsg import CommitmentError, Opener, Sealer, XKeyMsgError, XKeyPair

BOTH = to(BOB, CAROL)


def refusals(envelope: bytes) -> Counter[str]:
    """Return the codes of both readers."""
    return Counter(outcome(reader(own), envelope) for own in (BOB, CAROL))


def outcome(opener: Opener, envelope: bytes) -> str:
    try:
        opener.open(envelope, subject=">")
    except XKeyMsgError as error:
        return error.code
    return "opened"


def test_one_ciphertext_can_open_under_two_keys() -> None:
    # The premise of the following tests: the cipher alone does not bind its plaintext.
    first, second = b"\1" * 32, b"\2" * 32
    sealed = salamander(first, second, b"rest")
    plaintexts = opens(first, sealed), opens(second, sealed)
    assert None not in plaintexts
    assert plaintexts[0] != plaintexts[1]


def two_plaintexts(rogue: Rogue) -> tuple[bytes, bytes]:
    """Return a part that opens under both CK_0 and CK_1, with either commitment."""
    keys = [crypto.part_keys(CONTENT_KEYS[j], rogue.E, rogue.nonce, 0) for j in (0, 1)]
    sealed = salamander(keys[0][0], keys[1][0])
    assert opens(keys[0][0], sealed) != opens(keys[1][0], sealed)
    return b"\0" + keys[0][1] + sealed, b"\0" + keys[1][1] + sealed


@pytest.mark.parametrize("committed", [0, 1])
def test_two_wraps_with_different_keys_do_not_both_open(committed: int) -> None:
    # E-55: Alice gives Bob CK_0 and Carol CK_1, and the ciphertext opens under both.
    rogue = Rogue(to=BOTH)
    part = two_plaintexts(rogue)[committed]
    grants = [b"\0" + CONTENT_KEYS[0], b"\0" + CONTENT_KEYS[1]]
    envelope = rogue.envelope(parts=[part], grants=grants)
    assert refusals(envelope) == Counter({"opened": 1, "commitment": 1})


def test_one_view_does_not_open_under_two_keys() -> None:
    # E-52: one view, two VK, two lists. Each list would give its reader different content keys.
    rogue = Rogue(to=BOTH)
    keys = [crypto.view_keys(VIEW_KEYS[v], rogue.E, rogue.nonce, 0) for v in (0, 1)]
    sealed = salamander(keys[0][0], keys[1][0], b"\0")
    assert None not in (opens(keys[0][0], sealed), opens(keys[1][0], sealed))
    views = [keys[0][1] + sealed, rogue.view(1, grant_list([0, 1]))]
    parts = [rogue.part(j, b"", FIELDS) for j in (0, 1)]
    for first in (0, 1):
        grants = [b"\0" + VIEW_KEYS[first], b"\0" + VIEW_KEYS[1 - first]]
        envelope = rogue.envelope(parts=parts, views=views, grants=grants)
        codes = [fields_code(own, envelope) for own in (BOB, CAROL)]
        assert codes.count("commitment") == 1
        assert "opened" not in codes, "the list of the other reader decrypts to random bytes"


def fields_code(own: XKeyPair, envelope: bytes) -> str:
    try:
        open_fields(reader(own), envelope)
    except XKeyMsgError as error:
        return error.code
    return "opened"


def test_views_that_give_two_keys_for_one_part_do_not_both_open() -> None:
    # E-55: the views are valid, but their lists disagree about the key of part 0.
    rogue = Rogue(to=BOTH)
    parts = [rogue.part(j, b"%d" % j, FIELDS) for j in (0, 1)]
    other = b"\0" + b"\xee" * 32 + b"\1" + CONTENT_KEYS[1]
    views = [rogue.view(0, grant_list([0, 1])), rogue.view(1, other)]
    grants = [b"\0" + VIEW_KEYS[0], b"\1" + VIEW_KEYS[1]]
    envelope = rogue.envelope(parts=parts, views=views, grants=grants)
    codes = sorted(fields_code(own, envelope) for own in (BOB, CAROL))
    assert codes == ["commitment", "opened"]


def test_the_commitment_is_of_the_key_this_message_and_this_position() -> None:
    # A part of another position, message or session does not match, its commitment included.
    rogue = Rogue()
    for other, index in (
        (rogue, 1),
        (rogue.but(counter=2), 0),
        (rogue.but(tail=b"another."), 0),
        (rogue.but(ephemeral=CAROL), 0),
    ):
        part = other.part(index, b"x", key=CONTENT_KEYS[0])
        with pytest.raises(CommitmentError):
            reader().open(rogue.envelope(parts=[part]), subject=">")


def test_a_part_key_differs_from_a_view_key() -> None:
    # The same key under the other label gives another key and another commitment.
    rogue = Rogue()
    parts = [rogue.part(j, b"", FIELDS) for j in (0, 1)]
    keys = crypto.part_keys(VIEW_KEYS[0], rogue.E, rogue.nonce, 0)
    view = keys[1] + crypto.seal(keys[0], crypto.ZERO12, grant_list([0, 1]), b"")
    assert code_of(reader(), rogue.envelope(parts=parts, views=[view])) == "commitment"


@for_each("at", [1, 16, 32])
def test_a_wrong_commitment_is_refused_though_the_ciphertext_opens(at: int) -> None:
    rogue = Rogue()
    part = bytearray(rogue.part(0, b"fine"))
    part[at] ^= 1
    assert code_of(reader(), rogue.envelope(parts=[bytes(part)])) == "commitment"


def test_a_wrong_commitment_of_a_view_is_refused() -> None:
    rogue = Rogue()
    parts = [rogue.part(j, b"", FIELDS) for j in (0, 1)]
    view = bytearray(rogue.view(0, grant_list([0, 1])))
    view[31] ^= 0x80
    assert code_of(reader(), rogue.envelope(parts=parts, views=[bytes(view)])) == "commitment"


def test_a_session_that_is_warm_does_not_spare_the_commitment() -> None:
    # E-57: Alice is honest until Bob has cached her session, and cheats then. (CVE-2026-6550: a
    # shared cache skipped the check.)
    opener, sealer = reader(), Sealer(ALICE)
    ephemeral = session_of(sealer)
    for _ in range(3):
        opener.open(sealer.seal(b"fine", to=[BOB.public], subject=SUBJECT), subject=SUBJECT)
    rogue = Rogue(ephemeral=ephemeral, counter=9)
    assert opener.open(rogue.envelope(b"fine"), subject=">").data == b"fine"
    pieces = Pieces.of(rogue.but(counter=10).envelope(b"fine"))
    zeroed = pieces.parts[0][:1] + bytes(32) + pieces.parts[0][33:]
    with pytest.raises(CommitmentError):
        opener.open(rogue.but(counter=10).envelope(parts=[zeroed]), subject=">")


def test_the_commitment_of_every_granted_part_is_checked() -> None:
    rogue = Rogue()
    good = [rogue.part(j, b"x", FIELDS) for j in range(3)]
    for wrong in range(3):
        parts = list(good)
        parts[wrong] = rogue.part(wrong, b"x", FIELDS, key=b"\xee" * 32)
        view = rogue.view(0, grant_list(range(3)))
        envelope = rogue.envelope(parts=parts, views=[view])
        with pytest.raises(CommitmentError):
            open_fields(reader(), envelope)


def test_a_part_that_was_not_granted_is_not_checked() -> None:
    # Only its readers could open it; the wrap authenticates its bytes nevertheless.
    rogue = Rogue()
    parts = [rogue.part(0, b"mine", FIELDS), rogue.part(1, b"x", FIELDS, key=b"\xee" * 32)]
    envelope = rogue.envelope(parts=parts, views=[rogue.view(0, grant_list([0]))])
    assert open_fields(reader(), envelope) == {0: b"mine"}

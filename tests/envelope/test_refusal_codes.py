"""The code reported for messages with several faults, and the public code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    NOW,
    Clock,
    code_of,
    raw_user,
    reader,
    to,
)
from tests.envelope.forge import FIELDS, Rogue, thief_of
from tests.envelope.inside import user_seed
from xkeymsg import (
    Admission,
    AuthenticationError,
    Limits,
    NotARecipientError,
    Opener,
    SenderNotAdmittedError,
    XKey,
    XKeyMsgError,
)


class _Nobody:
    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        return None


def stories() -> Iterator[tuple[str, str, Opener, bytes]]:
    """Yield envelopes with faults in all steps from some step on, with one fault less each time."""
    signing = Opener(BOB, {ALICE.public: ALICE_USER.public}, require_signature=True)
    rogue = Rogue(identity=raw_user(ALICE_USER), created_ms=2**33, expires_ms=2**34)
    two = [rogue.part(j, b"x", FIELDS, key=b"\xee" * 32) for j in (0, 1)]
    wrong = rogue.envelope(parts=two, views=[rogue.view(0, b"\5" + bytes(32))])
    tiny = Opener(BOB, _Nobody(), limits=Limits(envelope=100))
    yield "limit_exceeded", "undecryptable", tiny, b"xkm2" + wrong
    yield "unsupported_version", "undecryptable", Opener(BOB, _Nobody()), b"xkm2" + wrong
    yield "malformed", "undecryptable", Opener(BOB, _Nobody()), b"xkm1\x96\xc4\2\x96\xc0" + wrong
    yield "sender_not_admitted", "undecryptable", Opener(BOB, _Nobody()), wrong[:300]
    yield "malformed", "undecryptable", signing, wrong[:300]
    for_carol = rogue.but(to=to(CAROL)).envelope(parts=two)
    yield "not_a_recipient", "undecryptable", signing, for_carol
    yield "authentication", "undecryptable", signing, wrong[:-1] + bytes([wrong[-1] ^ 1])
    yield "malformed", "refused", signing, wrong
    no_key = rogue.envelope(parts=two, views=[rogue.view(0, b"\0" + bytes(32))])
    yield "commitment", "refused", signing, no_key
    good = [rogue.part(j, b"x", FIELDS) for j in (0, 1)]
    document = rogue.envelope(parts=good, views=[rogue.view(0, b"\0" + b"\xc0\0" * 16)])
    yield "subject_mismatch", "refused", signing, document


@for_each(
    ("code", "outside", "opener", "envelope"), list(stories()), ids=lambda value: str(value)[:20]
)
def test_the_first_check_that_fails_counts(
    code: str, outside: str, opener: Opener, envelope: bytes
) -> None:
    # E-88, E-90
    with pytest.raises(XKeyMsgError) as caught:
        opener.open(envelope, subject="something.else")
    assert (caught.value.code, caught.value.public_code) == (code, outside)


def test_the_checks_of_the_content_come_in_order_too(clock: Clock) -> None:
    # E-88, steps 12 to 15, each with faults in all later steps.
    senders = {ALICE.public: ALICE_USER.public}
    opener = Opener(BOB, senders, require_signature=True)
    thief = thief_of(BOB).but(identity=raw_user(ALICE_USER))
    late = thief.but(created_ms=NOW - 10**6, expires_ms=NOW - 10**5)
    fields = [late.part(0, b"", FIELDS)]
    assert code_of(opener, late.envelope(parts=fields, signature=bytes(64))) == "content_type"
    assert code_of(opener, late.envelope(parts=[late.part(0, b"", 16)])) == "malformed"
    assert code_of(opener, late.envelope(signature=bytes(64))) == "expired"
    stale = late.but(expires_ms=None)
    assert code_of(opener, stale.envelope(signature=bytes(64))) == "stale"
    assert code_of(opener, thief.envelope()) == "signature_missing"
    assert code_of(opener, thief.envelope(signature=bytes(64))) == "signature_invalid"
    signed = thief.signed(user_seed(ALICE_USER))
    opener.open(signed, subject=">")
    assert code_of(opener, thief.envelope(signature=bytes(64))) == "signature_invalid"
    assert code_of(opener, signed) == "replay"


def test_the_step_and_not_the_class_decides_what_is_said_outside() -> None:
    # E-90: anybody can cause `authentication` of a wrap, only the sender that of a part.
    envelope = Rogue().envelope()
    broken = bytearray(Rogue().part(0, b"x"))
    broken[-1] ^= 1
    behind = Rogue().envelope(parts=[bytes(broken)])
    for data, outside in ((envelope[:-1] + b"\0", "undecryptable"), (behind, "refused")):
        with pytest.raises(AuthenticationError) as caught:
            reader().open(data, subject=">")
        assert caught.value.public_code == outside
    assert AuthenticationError().public_code == "undecryptable", "also for the next error"


def test_not_admitted_is_worth_another_try_and_not_a_recipient_is_not() -> None:
    # A directory may learn of the sender later.
    assert SenderNotAdmittedError.retryable
    assert not NotARecipientError.retryable

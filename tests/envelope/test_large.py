"""Large messages are sealed in place in the envelope, with the same result."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    SUBJECT,
    code_of,
    pair,
    raw_secret,
    reader,
)
from tests.envelope.forge import Pieces, grant_of, head_of
from tests.envelope.inside import open_fields, running, seal, seal_parts
from tests.envelope.together import together
from tests.reference import Reader, open_envelope
from xkeymsg import Opener, Sealer, UserKey
from xkeymsg.envelope import seal as assembly

LARGE = assembly.LARGE
SIZES = [LARGE - 1, LARGE, LARGE + 1, LARGE + 65_536]


@pytest.mark.parametrize("signer", [None, ALICE_USER])
@pytest.mark.parametrize("readers", [1, 5, 6, 40])
def test_in_place_or_not_the_bytes_are_the_same(
    monkeypatch: pytest.MonkeyPatch, signer: UserKey | None, readers: int
) -> None:
    # With the same numbers, the bytes do not depend on how the envelope was assembled.
    sealer = Sealer(ALICE)
    seal(sealer)
    session, data = running(sealer), bytes(range(256)) * (LARGE // 256 + 1)
    to = tuple(pair(number).public for number in range(readers))
    plan = session.plan(to, "a", b"\x93\xc0\xc0\xc0")

    def assembled() -> bytes:
        nonce, keys = b"\0\0\0\7random..", [b"k" * 32]
        return assembly.assemble(plan, nonce, 2**40, [(0, data)], keys, signer)

    placed = assembled()
    monkeypatch.setattr(assembly, "LARGE", len(data) + 1)
    assert assembled() == placed


@for_each("size", SIZES)
def test_a_large_message_opens_here_and_in_the_reference(size: int) -> None:
    data = b"\xa5" * size
    envelope = Sealer(ALICE, signer=ALICE_USER, padding=True).seal(
        data, to=[BOB.public, CAROL.public], subject=SUBJECT, headers={"A": "b"}
    )
    Pieces.of(envelope)
    opener = Opener(CAROL, {ALICE.public: ALICE_USER.public}, require_signature=True)
    assert opener.open(envelope, subject=SUBJECT).data == data
    now = head_of(envelope).created_ms
    assert open_envelope(envelope, Reader(keys=(raw_secret(BOB),)), now=now).payload == data


def test_the_parts_of_a_large_document_open() -> None:
    parts = [bytes(LARGE + 7), b"small"]
    envelope = seal_parts(Sealer(ALICE), parts, grants={BOB.public: [0, 1]}, subject=SUBJECT)
    assert open_fields(reader(), envelope) == dict(enumerate(parts))


def test_no_byte_of_a_large_message_can_be_changed() -> None:
    envelope = Sealer(ALICE).seal(bytes(LARGE), to=[BOB.public], subject=SUBJECT)
    opener = reader()
    for at in (*range(300), *range(300, len(envelope) - 120, 20_011), *range(-120, 0)):
        changed = bytearray(envelope)
        changed[at] ^= 1
        assert code_of(opener, bytes(changed)) in (
            "authentication", "malformed", "not_a_recipient", "sender_not_admitted", "bad_key",
            "limit_exceeded", "unsupported_version",
        )  # fmt: skip


def test_large_messages_have_keys_and_counters_of_their_own() -> None:
    # E-23, E-26
    sealer = Sealer(ALICE)
    sealed = [sealer.seal(bytes(LARGE), to=[BOB.public], subject=SUBJECT) for _ in range(3)]
    assert [head_of(envelope).counter for envelope in sealed] == [1, 2, 3]
    assert len({grant_of(BOB, envelope) for envelope in sealed}) == 3


def test_a_signer_that_fails_leaves_a_sealer_that_works() -> None:
    # The envelope is half written when the token is called, and nobody receives it.
    class Token:
        public_key = ALICE_USER.public_key
        works = False

        def sign(self, data: bytes, /) -> bytes:
            if not self.works:
                raise OSError("the token is not plugged in")
            return ALICE_USER.sign(data)

    token = Token()
    sealer = Sealer(ALICE, signer=token)
    with pytest.raises(OSError, match="plugged"):
        sealer.seal(bytes(LARGE), to=[BOB.public], subject=SUBJECT)
    token.works = True
    envelope = sealer.seal(bytes(LARGE), to=[BOB.public], subject=SUBJECT)
    assert head_of(envelope).counter == 2
    assert reader().open(envelope, subject=SUBJECT).data == bytes(LARGE)


def test_threads_do_not_write_into_each_others_messages() -> None:
    sealer = Sealer(ALICE)

    def work(number: int) -> set[bytes]:
        data, opener = bytes([number]) * LARGE, reader(pair(number))
        to = [pair(number).public]
        sealed = [sealer.seal(data, to=to, subject=SUBJECT) for _ in range(10)]
        return {opener.open(envelope, subject=SUBJECT).data[:4] for envelope in sealed}

    results = together(4, work)
    assert sorted(results, key=str) == [{bytes([number]) * 4} for number in range(4)]

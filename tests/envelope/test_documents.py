"""Documents: each reader opens its granted parts and learns nothing of the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    EVE,
    NOW,
    SUBJECT,
    Clock,
    code_of,
    pair,
    reader,
)
from tests.envelope.forge import FIELDS, METADATA, PADDED, Pieces
from tests.envelope.inside import open_fields, opened_at, seal_parts
from xkeymsg import (
    ContentTypeError,
    ExpiredError,
    LimitExceededError,
    Limits,
    MalformedError,
    NotARecipientError,
    Opener,
    Recipient,
    ReplayError,
    Sealer,
    XKey,
    XKeyMsgError,
)

Grants = Mapping[XKey | Recipient, Iterable[int]]
PARTS = [b"name", b"dose", b"bill"]


def seal(
    grants: Grants, parts: list[bytes] | None = None, sealer: Sealer | None = None, **more: object
) -> bytes:
    sealer = sealer or Sealer(ALICE)
    parts = PARTS if parts is None else parts
    return seal_parts(sealer, parts, grants=grants, subject=SUBJECT, **more)  # type: ignore[arg-type]


def test_each_reader_opens_what_it_was_granted() -> None:
    envelope = seal({BOB.public: [0, 1], CAROL.public: [2, 0], DAVE.public: [1]})
    assert open_fields(reader(BOB), envelope) == {0: b"name", 1: b"dose"}
    assert open_fields(reader(CAROL), envelope) == {0: b"name", 2: b"bill"}
    assert open_fields(reader(DAVE), envelope) == {1: b"dose"}


def test_a_reader_under_two_names_has_the_grants_of_both() -> None:
    # E-28
    envelope = seal({BOB.public: [0], Recipient(BOB.public): [2]})
    assert open_fields(reader(BOB), envelope) == {0: b"name", 2: b"bill"}
    assert len(Pieces.of(envelope).tags) == 8


def test_a_reader_without_any_part_gets_no_wrap() -> None:
    envelope = seal({BOB.public: [0], CAROL.public: []})
    assert len(Pieces.of(envelope).tags) == 8
    with pytest.raises(NotARecipientError):
        reader(CAROL).open(envelope, subject=">")


def test_a_grant_of_metadata_alone_makes_no_recipient() -> None:
    envelope = seal({BOB.public: [0], CAROL.public: []}, content_type="application/json")
    assert code_of(reader(CAROL), envelope) == "not_a_recipient"


def test_a_document_without_recipients_is_refused() -> None:
    with pytest.raises(MalformedError, match="no recipients"):
        seal({})
    with pytest.raises(MalformedError, match="no recipients"):
        seal({BOB.public: []})


def test_escrow_opens_every_part() -> None:
    envelope = seal({BOB.public: [0]}, sealer=Sealer(ALICE, always_to=[EVE.public]))
    assert open_fields(reader(EVE), envelope) == dict(enumerate(PARTS))


def test_equal_grants_share_a_view() -> None:
    keys = [pair(number).public for number in range(6)]
    envelope = seal({key: [number % 2] for number, key in enumerate(keys)})
    assert len(Pieces.of(envelope).views) == 2


def test_a_document_of_one_part_has_no_view() -> None:
    envelope = seal({BOB.public: [0], CAROL.public: [0]}, [b"all"])
    assert Pieces.of(envelope).views == ()
    assert open_fields(reader(CAROL), envelope) == {0: b"all"}


def test_a_document_of_one_part_with_metadata_has_one_view() -> None:
    envelope = seal({BOB.public: [0], CAROL.public: [0]}, [b"all"], headers={"A": "b"})
    assert len(Pieces.of(envelope).views) == 1
    assert open_fields(reader(CAROL), envelope) == {0: b"all"}


def test_content_type_and_headers_arrive_for_every_reader() -> None:
    envelope = seal(
        {BOB.public: [0], CAROL.public: [1]}, content_type="a/b", headers=[("A", "1"), ("A", "2")]
    )
    for own in (BOB, CAROL):
        opener = reader(own)
        opened = opened_at(opener, NOW, envelope)
        assert opened.content_type == "a/b"
        assert opened.headers.pairs == (("A", "1"), ("A", "2"))


def test_padding_hides_the_lengths_of_all_parts() -> None:
    sealer = Sealer(ALICE, padding=True)
    parts = [bytes(900), bytes(910), b""]
    envelope = seal({BOB.public: [0, 1, 2]}, parts, sealer, headers={"A": "b"})
    pieces = Pieces.of(envelope)
    assert [part[0] for part in pieces.parts] == [FIELDS + PADDED] * 3 + [METADATA + PADDED]
    assert len(pieces.parts[0]) == len(pieces.parts[1])
    assert open_fields(reader(), envelope) == dict(enumerate(parts))


@for_each("indices", [[3], [-1], [0, 99]])
def test_a_grant_of_a_part_that_is_not_there_is_refused(indices: list[int]) -> None:
    with pytest.raises(MalformedError, match="a missing part"):
        seal({BOB.public: indices})


def test_no_parts_are_no_document() -> None:
    with pytest.raises(XKeyMsgError):
        seal({BOB.public: []}, [])


def test_64_parts_are_sealed_and_65_are_not() -> None:
    assert open_fields(reader(), seal({BOB.public: [63]}, [b""] * 64)) == {63: b""}
    with pytest.raises(LimitExceededError, match="parts"):
        seal({BOB.public: [0]}, [b""] * 65)
    with pytest.raises(LimitExceededError, match="parts"):
        seal({BOB.public: [0]}, [b""] * 64, headers={"A": "b"})


def test_256_sets_of_parts_are_sealed_and_257_are_not() -> None:
    keys = [pair(number).public for number in range(257)]
    grants: dict[XKey | Recipient, list[int]]
    grants = {key: [9, *(bit for bit in range(9) if n >> bit & 1)] for n, key in enumerate(keys)}
    parts = [bytes([j]) for j in range(10)]
    with pytest.raises(LimitExceededError, match="views"):
        seal(grants, parts)
    del grants[keys[0]]
    envelope = seal(grants, parts)
    assert open_fields(reader(pair(255)), envelope).keys() == {*range(8), 9}


def test_local_limits_hold() -> None:
    with pytest.raises(LimitExceededError, match="parts"):
        seal({BOB.public: [0]}, sealer=Sealer(ALICE, limits=Limits(parts=2)))
    one_view = Sealer(ALICE, limits=Limits(views=1))
    one_reader = Sealer(ALICE, limits=Limits(recipients=1))
    with pytest.raises(LimitExceededError, match="views"):
        seal({BOB.public: [0], CAROL.public: [1]}, sealer=one_view)
    with pytest.raises(LimitExceededError, match="recipients"):
        seal({BOB.public: [0], CAROL.public: [1]}, sealer=one_reader)


def test_every_part_and_view_has_a_key_of_its_own() -> None:
    # E-26: equal contents under equal grants give different ciphertexts and commitments.
    envelope = seal({BOB.public: [0, 1], CAROL.public: [1, 2]}, [b"same"] * 3)
    pieces = Pieces.of(envelope)
    assert len({part[1:33] for part in pieces.parts}) == 3
    assert len({part[33:] for part in pieces.parts}) == 3
    assert len({view[:32] for view in pieces.views}) == 2


def test_a_document_is_refused_by_open() -> None:
    # E-61
    with pytest.raises(ContentTypeError):
        reader().open(seal({BOB.public: [0]}), subject=">")


def test_a_signed_document_tells_its_signer() -> None:
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public}, require_signature=True)
    envelope = seal({BOB.public: [0]}, sealer=Sealer(ALICE, signer=ALICE_USER))
    opened = opened_at(opener, time.time_ns() // 1_000_000, envelope)
    assert opened.signer == ALICE_USER.public


def test_a_document_opens_once(clock: Clock) -> None:
    opener, envelope = Opener(BOB, {ALICE.public}), seal({BOB.public: [0]})
    open_fields(opener, envelope)
    with pytest.raises(ReplayError):
        open_fields(opener, envelope)


def test_a_document_expires(clock: Clock) -> None:
    envelope = seal({BOB.public: [0]}, expires=1)
    assert open_fields(reader(), envelope, NOW + 999) == {0: b"name"}
    with pytest.raises(ExpiredError):
        open_fields(reader(), envelope, NOW + 1000)


def test_a_document_for_a_user_is_for_that_user() -> None:
    envelope = seal({Recipient(BOB.public, BOB_USER.public): [0]})
    assert code_of(reader(), envelope) == "not_a_recipient"


def test_documents_and_payloads_share_the_counter() -> None:
    sealer = Sealer(ALICE)
    nonces = [
        Pieces.of(envelope).head[71:75]
        for envelope in (
            sealer.seal(b"", to=[BOB.public], subject=SUBJECT),
            seal({BOB.public: [0]}, sealer=sealer),
            sealer.seal(b"", to=[BOB.public], subject=SUBJECT),
        )
    ]
    assert nonces == [n.to_bytes(4, "big") for n in (1, 2, 3)]


@for_each(
    "wrong",
    [
        {"parts": ["text"]},
        {"parts": [None]},
        {"grants": {str(BOB.public): [0]}},
        {"grants": {BOB.public: 0}},
        {"grants": {BOB.public: ["0"]}},
        {"grants": {BOB.public: [0.0]}},
        {"subject": b"orders"},
    ],
    ids=str,
)
def test_an_argument_of_the_wrong_type_is_the_callers_bug(wrong: dict[str, object]) -> None:
    arguments = {"parts": PARTS, "grants": {BOB.public: [0]}, "subject": SUBJECT} | wrong
    with pytest.raises(TypeError):
        seal_parts(Sealer(ALICE), **arguments)  # type: ignore[arg-type]

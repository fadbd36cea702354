"""Two implementations open any message that either of them seals."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.envelope.cast import ALICE, ALICE_USER, BOB, NOW, pair, raw_secret, raw_user, reader
from tests.envelope.cast import PAYLOAD as WHOLE
from tests.envelope.forge import (
    FIELDS,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    VIEW_KEYS,
    Pieces,
)
from tests.envelope.inside import open_at, opened_at, seal_parts, user_seed
from tests.envelope.peer import agreed
from tests.reference import Inputs, Part, Reader, RefusalError, open_envelope, seal_envelope
from tests.reference import Recipient as ReferenceRecipient
from tests.reference.content import MessageArray, pad
from tests.reference.head import decode_head
from tests.reference.limits import Limits as ReferenceLimits
from xkeymsg import Opener, Sealer

quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(max_size=40)
HEADERS = st.lists(
    st.tuples(TEXT.filter(lambda name: not name.lower().startswith("xkm-")), TEXT), max_size=5
)
TOKENS = st.text(
    st.characters(exclude_characters=".*>\x7f", min_codepoint=0x21, exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
)
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=4).map(".".join)
NUMBERS = st.sets(st.integers(0, 30), min_size=1, max_size=8)


@quietly
@given(
    st.binary(max_size=300), HEADERS, st.none() | TEXT, SUBJECTS, NUMBERS, st.booleans(),
    st.booleans(), st.none() | st.integers(0, 2**53 - 1), st.none() | st.integers(1, 10**9),
)  # fmt: skip
def test_what_is_sealed_opens_for_every_recipient_here_and_in_the_reference(
    data: bytes,
    headers: list[tuple[str, str]],
    content_type: str | None,
    subject: str,
    numbers: set[int],
    padding: bool,
    signed: bool,
    revision: int | None,
    expires: int | None,
) -> None:
    sealer = Sealer(ALICE, signer=ALICE_USER if signed else None, padding=padding)
    envelope = sealer.seal(
        data,
        to=[pair(number).public for number in numbers],
        subject=subject,
        headers=headers,
        content_type=content_type,
        revision=revision,
        expires=None if expires is None else expires / 1000,
    )
    pieces = Pieces.of(envelope)  # encodes it again, to the same bytes
    assert decode_head(pieces.head, ReferenceLimits()).encode() == pieces.head
    senders = {ALICE.public: ALICE_USER.public} if signed else {ALICE.public}
    own = pair(max(numbers))
    now = decode_head(pieces.head, ReferenceLimits()).created_ms
    opener = Opener(own, senders, require_signature=signed)
    message = open_at(opener, now, envelope, WHOLE, subject, wire_subject=subject)
    assert (message.content, message.content_type) == (data, content_type)
    assert message.headers.pairs == tuple(headers)
    theirs = open_envelope(envelope, Reader(keys=(raw_secret(own),), subjects=(subject,)), now=now)
    assert (theirs.payload, theirs.content_type) == (data, content_type)
    assert theirs.headers == tuple(headers)
    assert theirs.head.subject == subject
    assert theirs.head.revision == revision
    assert theirs.recipients == len(numbers)


@quietly
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), HEADERS, st.booleans(), st.data())
def test_every_reader_of_a_document_gets_its_parts_here_and_in_the_reference(
    parts: list[bytes], headers: list[tuple[str, str]], padding: bool, data: st.DataObject
) -> None:
    indices = st.sets(st.integers(0, len(parts) - 1), min_size=1)
    granted = data.draw(st.dictionaries(st.integers(0, 9), indices, min_size=1, max_size=6))
    sealer = Sealer(ALICE, padding=padding)
    envelope = seal_parts(
        sealer,
        parts,
        grants={pair(number).public: numbers for number, numbers in granted.items()},
        subject="a",
        headers=headers,
    )
    Pieces.of(envelope)
    for number, numbers in granted.items():
        expected = {index: parts[index] for index in numbers}
        opener = reader(pair(number))
        opened = opened_at(opener, NOW, envelope)
        assert opened.content == expected
        assert opened.headers.pairs == tuple(headers)
        keys = (raw_secret(pair(number)),)
        theirs = open_envelope(envelope, Reader(keys=keys, kind="parts"), now=NOW)
        assert dict(theirs.fields) == expected
        assert theirs.parts_withheld == len(parts) - len(numbers)


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    """Draw inputs that a sender in another language may seal."""
    count = draw(st.integers(1, 4))
    content, padding = draw(st.binary(max_size=60)), draw(st.integers(0, 9))
    message = MessageArray(draw(st.none() | TEXT), tuple(draw(HEADERS))).encode()
    if draw(st.booleans()):
        whole = {PAYLOAD: content, MESSAGE: message + content}
        kind = draw(st.sampled_from([*whole]))
        parts = [Part(kind, whole[kind])]
    else:
        parts = [Part(FIELDS, content) for _ in range(draw(st.integers(1, 4)))]
        if draw(st.booleans()):
            parts.insert(draw(st.integers(0, len(parts))), Part(METADATA, message))
    if draw(st.booleans()):
        parts = [Part(kind + PADDED, pad(plain, padding)) for kind, plain in parts]
    metadata = {at for at, part in enumerate(parts) if part.type % PADDED == METADATA}
    fields = st.sets(st.sampled_from(sorted({*range(len(parts))} - metadata)), min_size=1)
    others = [bytes(pair(number).public) for number in range(1, count)]
    signed = draw(st.booleans())
    return Inputs(
        s=raw_secret(ALICE),
        e=draw(st.binary(min_size=32, max_size=32)),
        nonce=draw(st.integers(1, 2**20)).to_bytes(4, "big")
        + draw(st.binary(min_size=8, max_size=8)),
        created_ms=NOW,
        subject=draw(SUBJECTS),
        recipients=tuple(
            ReferenceRecipient(R=key, grants=frozenset(draw(fields) | metadata))
            for key in (bytes(BOB.public), *others)
        ),
        parts=tuple(parts),
        content_keys=tuple(draw(st.binary(min_size=32, max_size=32)) for _ in parts),
        view_keys=VIEW_KEYS,
        revision=draw(st.none() | st.integers(0, 2**53 - 1)),
        identity=raw_user(ALICE_USER) if signed else None,
        expires_ms=draw(st.none() | st.integers(NOW + 1, 2**53 - 1)),
        signing_seed=user_seed(ALICE_USER) if signed else None,
    )


@quietly
@given(inputs())
def test_what_the_reference_seals_opens(given: Inputs) -> None:
    try:
        envelope = seal_envelope(given)
    except RefusalError:
        assume(False)
    assert "opened" in agreed(envelope)

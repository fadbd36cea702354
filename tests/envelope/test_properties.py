"""What holds for every message, and for every sequence of bytes."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    NOW,
    pair,
    raw_user,
    reader,
    user_seed,
)
from tests.envelope.forge import (
    FIELDS,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
    key_of,
)
from tests.envelope.peer import agreed, package, reference
from tests.reference import Inputs, Part, Reader, RefusalError, open_envelope, seal_envelope
from tests.reference import Recipient as ReferenceRecipient
from tests.reference.content import MessageArray, pad
from tests.reference.encoding import Cursor, array, binary
from tests.reference.head import decode_head
from tests.reference.limits import Limits as ReferenceLimits
from xkeymsg import ANYONE, Opener, Recipient, Sealer, XKeyMsgError

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
GENUINE = Rogue(identity=raw_user(ALICE_USER)).envelope(b"pay 10")
DOCUMENT = Rogue().document([b"name", b"dose", b"bill"], [[0, 2]])
SEEDS = [GENUINE, DOCUMENT, b"xkm1\x96", b"xkm2", b""]


def test_there_are_seeds_that_open() -> None:
    assert package(GENUINE).code == "opened"
    assert package(DOCUMENT, document=True).code == "opened"


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
        expires=None if expires is None else timedelta(milliseconds=expires),
    )
    pieces = Pieces.of(envelope)  # which encodes it again, to the same bytes
    assert decode_head(pieces.head, ReferenceLimits()).encode() == pieces.head
    senders = {ALICE.public: ALICE_USER.public} if signed else {ALICE.public}
    own = pair(max(numbers))
    now = decode_head(pieces.head, ReferenceLimits()).created_ms
    message = Opener(own, senders, require_signature=signed)._open_at(
        now, envelope, reader()._payload, subject, None, subject, None
    )
    assert message.content[:2] == (data, content_type)
    assert message.content[2].pairs == tuple(headers)
    theirs = open_envelope(envelope, Reader(keys=(own._secret,), subjects=(subject,)), now=now)
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
    envelope = sealer.seal_parts(
        parts,
        grants={pair(number).public: numbers for number, numbers in granted.items()},
        subject="a",
        headers=headers,
    )
    Pieces.of(envelope)
    for number, numbers in granted.items():
        expected = {index: parts[index] for index in numbers}
        opener = reader(pair(number))
        opened = opener._open_at(NOW, envelope, opener._fields, ">", None, None, None)
        assert opened.content[0] == expected
        assert opened.content[2].pairs == tuple(headers)
        keys = (pair(number)._secret,)
        theirs = open_envelope(envelope, Reader(keys=keys, kind="document"), now=NOW)
        assert dict(theirs.fields) == expected
        assert theirs.parts_withheld == len(parts) - len(numbers)


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    """What a sender in another language may seal."""
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
        s=ALICE._secret,
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


@quietly
@given(st.binary(max_size=400))
@example(GENUINE)
def test_whatever_comes_is_opened_or_refused_with_an_error_of_ours(data: bytes) -> None:
    for prefix in (b"", b"xkm1\x96", GENUINE[:7], GENUINE[:105], GENUINE[:150]):
        for senders in (ANYONE, {ALICE.public: ALICE_USER.public}):
            opener = Opener(BOB, senders, replay="file")
            try:
                opener.open(prefix + data, subject=">")
            except XKeyMsgError as error:
                assert error.code


def changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace, at each place, so many bytes by others."""
    for at, size, other in changes:
        place = at % (len(seed) + 1)
        seed = seed[:place] + other + seed[place + size :]
    return seed


CHANGES = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 4), st.binary(max_size=4)),
    min_size=1,
    max_size=3,
)


@settings(quietly, max_examples=300)
@given(st.sampled_from(SEEDS), CHANGES)
def test_whatever_is_changed_on_the_way_both_refuse_it_for_the_same_reason(
    seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    data = changed(seed, changes)
    code = agreed(data)
    assert data == seed or "opened" not in code


@settings(quietly, max_examples=200)
@given(st.binary(min_size=1, max_size=8), st.integers(0, 2**16))
def test_whatever_happens_to_the_wrap_of_another_does_not_matter(other: bytes, at: int) -> None:
    envelope = Rogue(to=(Recipient(BOB.public), Recipient(CAROL.public))).envelope(b"x")
    pieces = Pieces.of(envelope)
    wraps = [pieces.wrap(0), pieces.wrap(1)]
    place = pieces.tags.index(key_of(CAROL, envelope).tag) // 8
    start = at % (49 - len(other))
    wraps[place] = wraps[place][:start] + other + wraps[place][start + len(other) :]
    assert agreed(pieces._replace(wraps=b"".join(wraps)).join()) == "opened/content_type"


def body_of(envelope: bytes) -> bytes:
    pieces = Pieces.of(envelope)
    assert len(pieces.wraps) == 49
    cursor = Cursor(envelope, 0, at=5)
    cursor.binary()
    cursor.binary()
    return envelope[cursor.at : -51]


BODIES = [body_of(GENUINE), body_of(DOCUMENT)]


@settings(quietly, max_examples=400)
@given(st.sampled_from(BODIES), CHANGES)
def test_whatever_a_malicious_sender_seals_both_judge_in_the_same_way(
    seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    # The wraps verify over the changed bytes: what is behind the tags is parsed.
    data = changed(seed, changes)
    grant = bytes([0]) + VIEW_KEYS[0]
    agreed(Rogue().envelope(body=data))
    agreed(Rogue().envelope(body=data, grants=[grant]))


@settings(quietly, max_examples=300)
@given(CHANGES, st.booleans())
def test_whatever_stands_in_the_head_both_judge_in_the_same_way(
    changes: list[tuple[int, int, bytes]], attributed: bool
) -> None:
    rogue = Rogue(revision=300, identity=raw_user(ALICE_USER), expires_ms=2**50)
    head = array((rogue if attributed else Rogue()).fields())
    agreed(rogue.envelope(head=changed(head, changes)))


@settings(quietly, max_examples=300)
@given(
    st.lists(st.integers(1, 2) | st.integers(0, 255), max_size=8),
    st.lists(st.sampled_from([FIELDS, FIELDS, METADATA, PAYLOAD, 17, 19, 4]), max_size=5),
    st.integers(0, 3),
)
def test_whatever_parts_a_malicious_sender_grants_both_judge_in_the_same_way(
    granted: list[int], kinds: list[int], index: int
) -> None:
    rogue = Rogue()
    content = {METADATA: b"\x92\xc0\x90", 17: b"x\x80", 19: b"\x92\xc0\x90\x80\0"}
    parts = [rogue.part(j, content.get(kind, b"x"), kind) for j, kind in enumerate(kinds)]
    views = [rogue.view(v, grant_list(granted)) for v in range(2)]
    grant = bytes([index]) + VIEW_KEYS[index]
    agreed(rogue.envelope(parts=parts, views=views, grants=[grant]))


ITEMS = st.sampled_from(
    [b"\x92", b"\x91", b"\x90", b"\x93", b"\xc0", b"\xa0", b"\xa1A", b"\xa1\xff", b"\xd9\x05value",
     b"\xd9\x20" + b"v" * 32, b"\xda\x01\x00" + b"v" * 256, b"\xdb\xff\xff\xff\xff", b"\xdc\x00\x10",
     b"\xdc\x03\xe9", b"\x80", b"\xc4\x01A", b"\xda\xff\xf0" + b"v" * 65_520]
)  # fmt: skip


@settings(quietly, max_examples=300)
@given(st.lists(ITEMS, max_size=8), st.sampled_from([MESSAGE, MESSAGE + PADDED, METADATA]))
def test_whatever_stands_for_a_message_array_both_judge_in_the_same_way(
    items: list[bytes], kind: int
) -> None:
    rogue = Rogue()
    for content in (b"".join(items), b"\x92\xc0" + b"".join(items)):
        plain = content + b"\x80" if kind >= PADDED else content
        if kind == METADATA:
            parts = [rogue.part(0, b"", FIELDS), rogue.part(1, plain, kind)]
            agreed(rogue.envelope(parts=parts, views=[rogue.view(0, grant_list([0, 1]))]))
        else:
            agreed(rogue.envelope(parts=[rogue.part(0, plain, kind)]))


@settings(quietly, max_examples=200)
@given(st.binary(max_size=40))
def test_padding_both_understand_in_the_same_way(plaintext: bytes) -> None:
    rogue = Rogue()
    for plain in (plaintext, plaintext + b"\x80", plaintext + b"\x80\0\0"):
        agreed(rogue.envelope(parts=[rogue.part(0, plain, PADDED)]))
    assert reference(rogue.envelope()).code == "opened"
    assert binary(b"") == b"\xc4\0"

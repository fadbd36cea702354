"""Both implementations agree on every sequence of bytes.

The package refuses nothing that the reference opens, opens nothing that it refuses, and gives the
same code (E-88). On any input, only our own errors escape.
"""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    CAROL,
    raw_user,
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
from tests.envelope.inside import caches
from tests.envelope.peer import SEASONED, agreed, package
from tests.examples import examples
from tests.reference.encoding import Cursor, array
from xkeymsg import ANYONE, AtRest, Opener, Recipient, XKeyMsgError

quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GENUINE = Rogue(identity=raw_user(ALICE_USER)).envelope(b"pay 10")
DOCUMENT = Rogue().document([b"name", b"dose", b"bill"], [[0, 2]])
SEEDS = [GENUINE, DOCUMENT, b"xkm1\x96", b"xkm2", b""]


def test_there_are_seeds_that_open() -> None:
    assert package(GENUINE).code == "opened"
    assert package(DOCUMENT, document=True).code == "opened"


def test_one_of_the_openers_remembers_what_begins_as_the_seeds_do() -> None:
    assert agreed(GENUINE) == "opened/content_type"
    assert agreed(DOCUMENT) == "content_type/opened"
    assert len(caches(SEASONED)[0].sessions) > 0


@quietly
@given(st.binary(max_size=400))
@example(GENUINE)
def test_whatever_comes_is_opened_or_refused_with_an_error_of_ours(data: bytes) -> None:
    for prefix in (b"", b"xkm1\x96", GENUINE[:7], GENUINE[:105], GENUINE[:150]):
        for senders in (ANYONE, {ALICE.public: ALICE_USER.public}):
            opener = Opener(BOB, senders, replay=AtRest())
            try:
                opener.open(prefix + data, subject=">")
            except XKeyMsgError:
                continue


def changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace `size` bytes at each place by other bytes."""
    for at, size, other in changes:
        place = at % (len(seed) + 1)
        seed = seed[:place] + other + seed[place + size :]
    return seed


CHANGES = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 4), st.binary(max_size=4)),
    min_size=1,
    max_size=3,
)


@settings(quietly, max_examples=examples(100))
@given(st.sampled_from(SEEDS), CHANGES)
def test_whatever_is_changed_on_the_way_both_refuse_it_for_the_same_reason(
    seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    data = changed(seed, changes)
    code = agreed(data)
    assert data == seed or "opened" not in code


@settings(quietly, max_examples=examples(66))
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


@settings(quietly, max_examples=examples(133))
@given(st.sampled_from(BODIES), CHANGES)
def test_whatever_a_malicious_sender_seals_both_judge_in_the_same_way(
    seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    # The wraps verify over the changed bytes, so that the bytes after the tags are parsed.
    data = changed(seed, changes)
    grant = bytes([0]) + VIEW_KEYS[0]
    agreed(Rogue().envelope(body=data))
    agreed(Rogue().envelope(body=data, grants=[grant]))


@settings(quietly, max_examples=examples(100))
@given(CHANGES, st.booleans())
def test_whatever_stands_in_the_head_both_judge_in_the_same_way(
    changes: list[tuple[int, int, bytes]], attributed: bool
) -> None:
    rogue = Rogue(revision=300, identity=raw_user(ALICE_USER), expires_ms=2**50)
    head = array((rogue if attributed else Rogue()).fields())
    agreed(rogue.envelope(head=changed(head, changes)))


@settings(quietly, max_examples=examples(100))
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
     b"\xd9\x20" + b"v" * 32, b"\xda\x01\x00" + b"v" * 256, b"\xdb\xff\xff\xff\xff",
     b"\xdc\x00\x10", b"\xdc\x03\xe9", b"\x80", b"\xc4\x01A", b"\xda\xff\xf0" + b"v" * 65_520]
)  # fmt: skip


@settings(quietly, max_examples=examples(100))
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


@settings(quietly, max_examples=examples(66))
@given(st.binary(max_size=40))
def test_padding_both_understand_in_the_same_way(plaintext: bytes) -> None:
    rogue = Rogue()
    for plain in (plaintext, plaintext + b"\x80", plaintext + b"\x80\0\0"):
        agreed(rogue.envelope(parts=[rogue.part(0, plain, PADDED)]))

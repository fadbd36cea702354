"""What the native core opens, what it leaves to Python, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, code_of, raw_user
from tests.envelope.forge import (
    CONTENT_KEYS,
    FIELDS,
    FRONT,
    METADATA,
    PAYLOAD,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
)
from tests.envelope.inside import caches
from tests.envelope.test_encodings import arrays, bins
from tests.native.cases import opened_by, read_by
from tests.native.inside import open_at_once
from tests.reference import crypto
from tests.reference.encoding import array, binary, header
from xkeymsg import AtRest, Keyring, Limits, Opener, native, primitives
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.unlock import Admitted, Unlocker, locate

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not in use")

ROGUE = Rogue(identity=raw_user(ALICE_USER))
HEAD = binary(array(ROGUE.fields()))
ROW = ROGUE.rows()[0]
TAG = ROW.tag
LOW, HIGH = bytes(8), b"\xff" * 8


def verdict(envelope: bytes, limits: Limits | None = None) -> str:
    """Return "opened" or the code of the refusal, which the native core leaves to Python."""
    keyring, limits = Keyring.of(BOB), limits or Limits()
    unlocker = native.NativeUnlocker(keyring, limits)
    unlocker.unlock(Admitted(locate(Rogue().envelope(), Limits()), Admission()))
    found = open_at_once(unlocker, Admitted(locate(envelope, Limits()), Admission()))
    expected = opened_by(partial(read_by, Unlocker(keyring, limits), envelope))
    if isinstance(expected, str):
        assert found is None
        return expected
    assert found is not None
    assert (found.body, found.granted) == expected
    return "opened"


def tagged(tags: bytes, count: int = 1, header_of_wraps: bytes = b"") -> bytes:
    """Return an envelope with an element of tags, and the same wrap for all of them."""
    body = array([]) + array([binary(ROGUE.part(0, b"x"))]) + binary(b"")
    front = FRONT + HEAD + tags + body + (header_of_wraps or header("bin", 49 * count))
    grant, transcript = b"\0" + CONTENT_KEYS[0], crypto.sha256(front)
    return front + crypto.seal(ROW.K, ROGUE.nonce, grant, transcript) * count


@pytest.mark.parametrize("admitted", [True, False])
def test_keys_are_used_for_the_kind_of_sender_for_which_they_were_cached(admitted: bool) -> None:
    # E-39: messages under ANYONE are opened natively as well, with keys of their own.
    unlocker = native.NativeUnlocker(Keyring.of(BOB), Limits())
    located = locate(Rogue().envelope(b"x"), Limits())
    same, other = (Admitted(located, Admission(admitted=each)) for each in (admitted, not admitted))
    assert open_at_once(unlocker, same) is None
    unlocker.unlock(same)
    opened = open_at_once(unlocker, same)
    assert opened is not None
    assert (opened.granted, opened.admission) == ({0: b"x"}, same.admission)
    assert open_at_once(unlocker, other) is None


@for_each(
    ("tags", "count"),
    [
        (binary(TAG), 1),
        (binary(LOW + TAG), 2),
        (binary(TAG + HIGH), 2),
        (binary(LOW + TAG + HIGH), 3),
    ],
)
def test_ascending_tags_are_opened(tags: bytes, count: int) -> None:
    assert verdict(tagged(tags, count)) == "opened"


@for_each(
    ("tags", "count"),
    [
        (binary(TAG + TAG), 2),
        (binary(LOW + TAG + TAG), 3),
        (binary(TAG + LOW), 2),
        (binary(HIGH + TAG), 2),
        (binary(LOW + TAG + HIGH + HIGH), 4),
        (binary(LOW + TAG + HIGH + TAG), 4),
        (binary(TAG + b"x"), 1),
        (binary(TAG + b"1234567"), 1),
        (binary(TAG + b"1234567"), 2),
        *((each, 1) for each in bins(TAG)),
    ],
)
def test_tags_of_another_form_are_refused(tags: bytes, count: int) -> None:
    # E-31, E-32: the sender is malicious, as its wraps verify.
    assert verdict(tagged(tags, count)) == "malformed"


@for_each("wrong", [b"\xc4\x32", b"\xd9\x31", b"\xc5\0\x31", b"\xc6\0\0\0\x31", b"\x31"])
def test_another_header_of_the_wraps_is_refused(wrong: bytes) -> None:
    # E-34
    assert verdict(tagged(binary(TAG), 1, wrong)) == "malformed"


def test_limits_of_the_reader_are_kept() -> None:
    # E-30, E-42, E-45
    two = tagged(binary(LOW + TAG), 2)
    assert verdict(two, Limits(recipients=2)) == "opened"
    assert verdict(two, Limits(recipients=1)) == "limit_exceeded"
    parts = [ROGUE.part(j, b"x", FIELDS) for j in range(3)]
    views = [ROGUE.view(v, grant_list([0])) for v in range(2)]
    document = ROGUE.envelope(parts=parts, views=views)
    assert verdict(document, Limits(parts=3, views=2)) == "opened"
    assert verdict(document, Limits(parts=2, views=2)) == "limit_exceeded"
    assert verdict(document, Limits(parts=3, views=1)) == "limit_exceeded"


def bodies() -> Iterator[bytes]:
    """Yield bodies with one element in another encoding."""
    no_views, unsigned = array([]), binary(b"")
    # 49 bytes are added to a content: one is the longest or shortest of each header.
    for size in (0, 206, 207, 65_486, 65_487):
        part = ROGUE.part(0, bytes(size))
        yield from (no_views + array([each]) + unsigned for each in bins(part))
    one = array([binary(ROGUE.part(0, b"x"))])
    yield from (each + one + unsigned for each in arrays(0, b""))
    yield from (no_views + each + unsigned for each in arrays(1, one[1:]))
    for signature in (b"", bytes(64)):
        yield from (no_views + one + each for each in bins(signature))
    for count in (2, 15, 16):
        parts = b"".join(binary(ROGUE.part(j, b"x", FIELDS)) for j in range(count))
        view = ROGUE.view(0, grant_list(range(count)))
        views, rest = array([binary(view)]), header("array", count) + parts + unsigned
        yield from (views + each + unsigned for each in arrays(count, parts))
        yield from (each + rest for each in arrays(1, binary(view)))
        yield from (array([each]) + rest for each in bins(view))


def test_a_body_in_its_own_encoding_is_opened() -> None:
    signature = ROGUE.envelope(signature=bytes(64))
    large = [ROGUE.envelope(bytes(size)) for size in (0, 206, 207, 65_486, 65_487)]
    documents = [ROGUE.document([b"x"] * count, [range(count)]) for count in (2, 15, 16)]
    assert {verdict(each) for each in (signature, *large, *documents)} == {"opened"}


def test_a_body_in_another_encoding_is_refused() -> None:
    # E-6, E-41
    wrong = [ROGUE.envelope(body=each, grants=[b"\0" + CONTENT_KEYS[0]]) for each in bodies()]
    wrong += [ROGUE.envelope(body=each, grants=[b"\0" + VIEW_KEYS[0]]) for each in bodies()]
    assert {verdict(each) for each in wrong} == {"malformed"}


def test_the_form_of_the_tags_is_checked_before_an_x25519(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-88: with a key on a token, an X25519 can also fail.
    opener = Opener(Keyring(CAROL, retired=[BOB]), {ALICE.public}, replay=AtRest())
    envelope, shared = Rogue().envelope(b"x"), list[bytes]()
    opener.open(envelope, subject=">")
    x25519 = primitives.x25519

    def counted(secret: bytes, public: bytes) -> bytes | None:
        shared.append(public)
        return x25519(secret, public)

    monkeypatch.setattr(primitives, "x25519", counted)
    # As after two hours of messages to one key, with a session that does not end.
    caches(opener)[0].senders.younger.clear()
    malformed = Pieces.of(envelope)._replace(tags=b"").join()
    assert code_of(opener, malformed) == "malformed"
    assert not shared
    assert opener.open(envelope, subject=">").data == b"x"
    assert shared == [bytes(ALICE.public)] * 2


def test_a_header_with_another_first_byte_is_refused() -> None:
    part = binary(ROGUE.part(0, bytes(65_536)))
    two = b"".join(binary(ROGUE.part(j, b"x", FIELDS)) for j in range(2))
    views = array([binary(ROGUE.view(0, grant_list([0])))])
    for first in range(256):
        byte = bytes([first])
        forms = (
            (array([]) + array([byte + part[1:]]) + binary(b""), CONTENT_KEYS[0]),
            (byte + array([part]) + binary(b""), CONTENT_KEYS[0]),
            (array([]) + byte + part + binary(b""), CONTENT_KEYS[0]),
            (array([]) + array([part]) + byte + b"\0", CONTENT_KEYS[0]),
            (byte + views[1:] + b"\x92" + two + binary(b""), VIEW_KEYS[0]),
            (views + byte + two + binary(b""), VIEW_KEYS[0]),
        )
        opened = [
            verdict(ROGUE.envelope(body=body, grants=[b"\0" + key])) == "opened"
            for body, key in forms
        ]
        assert sum(opened) == {0xC6: 1, 0x90: 1, 0x91: 2, 0xC4: 1, 0x92: 1}.get(first, 0)


CLEARED = bytes(32)
"""What is left in memory that ring has cleared, as the decryption failed."""


def test_a_wrap_that_does_not_verify_is_not_used() -> None:
    # E-37: whoever knows what a failed decryption leaves could choose that as the key of a part.
    for key in (CLEARED, CONTENT_KEYS[0]):
        genuine = ROGUE.envelope(parts=[ROGUE.part(0, b"x", key=key)], grants=[b"\0" + key])
        assert verdict(genuine) == "opened"
        assert verdict(genuine[:-1] + bytes([genuine[-1] ^ 1])) == "authentication"
        assert verdict(genuine[:-49] + bytes(49)) == "authentication"


def test_a_view_that_does_not_decrypt_is_not_used() -> None:
    # E-56: its commitment is right.
    parts = [ROGUE.part(j, b"x", FIELDS, key=CLEARED) for j in range(2)]
    for grants in (b"\0" + CLEARED, b"\1" + CLEARED):
        view = ROGUE.view(0, grants)
        assert verdict(ROGUE.envelope(parts=parts, views=[view])) == "opened"
        for wrong in (view[:-1] + bytes([view[-1] ^ 1]), view[:32] + bytes(49)):
            assert verdict(ROGUE.envelope(parts=parts, views=[wrong])) == "authentication"


def test_a_part_that_does_not_decrypt_is_not_used() -> None:
    part = ROGUE.part(0, b"x")
    assert verdict(ROGUE.envelope(parts=[part[:-17] + bytes(17)])) == "authentication"


def document(kinds: Sequence[int], *views: bytes) -> bytes:
    """Return a document, or something like it, whose first view is the reader's."""
    parts = [ROGUE.part(j, b"x", kind) for j, kind in enumerate(kinds)]
    return ROGUE.envelope(parts=parts, views=views)


def view(*granted: int, index: int = 0) -> bytes:
    return ROGUE.view(index, grant_list(granted))


FORMED = [
    document([FIELDS, FIELDS], view(0)),
    document([FIELDS, FIELDS], view(0), view(0, 1, index=1)),
    document([FIELDS, FIELDS, METADATA], view(1, 2)),
    document([METADATA, FIELDS], view(0, 1)),
    document([FIELDS]),
]
OTHER = view(0, index=1)
MALFORMED = [
    document([FIELDS], view(0)),
    document([PAYLOAD], view(0)),
    document([FIELDS, FIELDS]),
    document([]),
    document([], view(0)),
    document([PAYLOAD, PAYLOAD], view(0)),
    document([FIELDS, PAYLOAD], view(0)),
    document([METADATA]),
    document([METADATA, METADATA], view(0)),
    document([FIELDS, METADATA, METADATA], view(0, 1)),
    document([FIELDS, METADATA, METADATA], view(0, 1, 2)),
    document([FIELDS, METADATA], view(0)),
    document([FIELDS, METADATA], view(1)),
    document([FIELDS, FIELDS], view(0, 0)),
    document([FIELDS, FIELDS], view(1, 0)),
    document([FIELDS, FIELDS], view(1, 1)),
    document([FIELDS, FIELDS], view(0, 2)),
    document([FIELDS, FIELDS, FIELDS], view(0, 1, 1)),
    # The view of another reader; all agree on the form (E-43).
    *(
        document([FIELDS, FIELDS], view(0), each)
        for each in (
            OTHER[:-1],
            OTHER + b"x",
            OTHER[:48],
            OTHER[:47],
            b"",
            view(0, 1, 1, index=1),
        )
    ),
    document([FIELDS, FIELDS], view(0)[:-1]),
    document([FIELDS, FIELDS], view(0) + b"x"),
    # A part that the reader does not get (E-46).
    *(
        ROGUE.envelope(parts=[ROGUE.part(0, b"x", FIELDS), short], views=[view(0)])
        for short in (ROGUE.part(1, b"", FIELDS)[:-1], bytes([FIELDS]), b"")
    ),
]


def test_a_document_is_opened() -> None:
    assert {verdict(each) for each in FORMED} == {"opened"}


@for_each("envelope", MALFORMED)
def test_what_is_neither_a_payload_nor_a_document_is_refused(envelope: bytes) -> None:
    # E-43, E-44, E-46, E-48, E-53, E-54
    assert verdict(envelope) == "malformed"

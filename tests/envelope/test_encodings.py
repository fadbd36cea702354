"""Each value has one encoding: any other one is refused, even if the wraps verify."""

from __future__ import annotations

from tests.cases import for_each
from tests.envelope.cast import ALICE_USER, BOB, CAROL, NOW, code_of, raw_user, reader, to
from tests.envelope.forge import CONTENT_KEYS, FIELDS, FRONT, Pieces, Rogue, grant_list
from tests.reference import crypto
from tests.reference.encoding import array, binary, header, string, uint
from xkeymsg import XKeyPair

ROGUE = Rogue(revision=7, identity=raw_user(ALICE_USER), expires_ms=2**52)
GRANT = b"\0" + CONTENT_KEYS[0]


def bins(data: bytes) -> list[bytes]:
    """Return other encodings of a bin: longer headers, and types that others read as bytes."""
    size = len(data)
    longer = [
        bytes([tag]) + size.to_bytes(width, "big")
        for tag, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4))
        if size < 256**width
    ]
    other = [bytes([0xDB]) + size.to_bytes(4, "big"), bytes([0xDD]) + size.to_bytes(4, "big")]
    if size < 256:
        other += [bytes([0xD9, size]), bytes([0xC7, size, 1])]  # a str, and an extension
    if size < 32:
        other += [bytes([0xA0 | size])]
    headers = [each for each in longer + other if each != header("bin", size)]
    return [each + data for each in headers]


def uints(value: int) -> list[bytes]:
    """Return other encodings of a number: wider, signed, float, and non-numbers."""
    wider = [
        bytes([tag]) + value.to_bytes(width, "big")
        for tag, width in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD3, 8))
        if value < 256**width
    ]
    other = [b"\xca" + bytes(4), b"\xcb" + bytes(8), b"\xc2", b"\xc3", b"\xff", b"\xd0\x80"]
    return [each for each in wider + other if each != uint(value)]


def arrays(count: int, items: bytes) -> list[bytes]:
    longer = [b"\xdc" + count.to_bytes(2, "big"), b"\xdd" + count.to_bytes(4, "big")]
    other = [b"\xdf" + count.to_bytes(4, "big"), *([bytes([0x80 | count])] if count < 16 else [])]
    return [each + items for each in longer + other if each != header("array", count)]


def strings(data: bytes) -> list[bytes]:
    size = len(data)
    longer = [
        bytes([tag]) + size.to_bytes(width, "big")
        for tag, width in ((0xD9, 1), (0xDA, 2), (0xDB, 4))
    ]
    return [each + data for each in [*longer, header("bin", size)] if each != header("str", size)]


def heads() -> list[bytes]:
    """Return heads with the values of ROGUE in other encodings."""
    fields, attributes = ROGUE.fields(), ROGUE.attributes()
    raw = (bytes(ROGUE.S), ROGUE.E, ROGUE.nonce)
    others = [bins(each) for each in raw]
    others += [uints(ROGUE.created_ms), strings(ROGUE.subject.encode())]
    assert ROGUE.identity is not None
    inner = (uints(7), bins(ROGUE.identity), uints(2**52))
    others.append(
        [
            array([*attributes[:at], spelled, *attributes[at + 1 :]])
            for at, spellings in enumerate(inner)
            for spelled in spellings
        ]
        + arrays(3, b"".join(attributes))
    )
    return [
        array([*fields[:at], spelled, *fields[at + 1 :]])
        for at, spellings in enumerate(others)
        for spelled in spellings
    ] + arrays(6, b"".join(fields))


def test_the_head_in_its_own_spelling_opens() -> None:
    assert reader().open(ROGUE.envelope(b"x"), subject=">").data == b"x"


@for_each("head", heads())
def test_a_head_in_other_words_is_refused(head: bytes) -> None:
    # E-6, E-15
    assert code_of(reader(), ROGUE.envelope(head=head)) == "malformed"


@for_each(
    "wrong",
    [
        lambda fields: fields[:5],
        lambda fields: [*fields, b"\xc0"],
        lambda fields: [fields[1], fields[0], *fields[2:4], fields[5], fields[4]],
        lambda fields: [b"\xc0", *fields[1:]],
        lambda fields: [*fields[:3], b"\xc0", *fields[4:]],
        lambda fields: [*fields[:4], b"\xc0", fields[5]],
        lambda fields: [*fields[:5], b"\xc0"],
        lambda fields: [*fields[:5], array([])],
        lambda fields: [*fields[:5], array([b"\xc0", b"\xc0"])],
        lambda fields: [*fields[:5], array([b"\xc0", binary(bytes(31)), b"\xc0"])],
        lambda fields: [*fields[:5], array([b"\xc0", binary(bytes(33)), b"\xc0"])],
        lambda fields: [*fields[:5], array([b"\xc0", uint(7), b"\xc0"])],
        lambda fields: [*fields[:5], array([binary(bytes(32)), b"\xc0", b"\xc0"])],
        lambda fields: [binary(bytes(31)), *fields[1:]],
        lambda fields: [fields[0], binary(bytes(33)), *fields[2:]],
        lambda fields: [*fields[:2], binary(bytes(11)), *fields[3:]],
        lambda fields: [*fields[:2], binary(bytes(24)), *fields[3:]],
    ],
)
def test_a_head_of_another_form_is_refused(wrong: object) -> None:
    # E-15
    assert callable(wrong)
    head = array(wrong(Rogue().fields()))
    assert code_of(reader(), Rogue().envelope(head=head)) == "malformed"


def test_every_truncated_head_is_refused() -> None:
    whole = array(ROGUE.fields())
    for end in range(len(whole)):
        assert code_of(reader(), ROGUE.envelope(head=whole[:end])) == "malformed"


def test_a_byte_behind_the_attributes_is_refused() -> None:
    head = array(ROGUE.fields()) + b"\xc0"
    assert code_of(reader(), ROGUE.envelope(head=head)) == "malformed"


@for_each("extra", [b"\xc0", b"\xdb\xff\xff\xff\xff", b"\xc1", b""])
def test_a_fourth_attribute_is_of_a_later_version_whatever_it_is(extra: bytes) -> None:
    # E-17: the fourth attribute is not read.
    fields = Rogue().fields()
    head = array([*fields[:5], b"\x94\xc0\xc0\xc0" + extra])
    assert code_of(reader(), Rogue().envelope(head=head)) == "unsupported_version"


@for_each(
    ("field", "value"),
    [
        (2, binary(bytes(4) + b"random..")),
        (2, binary((2**20 + 1).to_bytes(4, "big") + b"random..")),
        (2, binary(b"\xff" * 12)),
        (3, uint(0)),
        (3, uint(NOW // 1000)),
        (3, uint(2**32 - 1)),
        (3, uint(2**53)),
        (3, uint(2**64 - 1)),
        (5, array([uint(2**53), b"\xc0", b"\xc0"])),
        (5, array([b"\xc0", b"\xc0", uint(2**32 - 1)])),
        (5, array([b"\xc0", b"\xc0", uint(2**53)])),
        (5, array([b"\xc0", b"\xc0", uint(0)])),
    ],
)
def test_a_number_out_of_its_range_is_refused(field: int, value: bytes) -> None:
    # E-19
    fields = Rogue().fields()
    fields[field] = value
    assert code_of(reader(), Rogue().envelope(head=array(fields))) == "malformed"


@for_each(
    "subject",
    [b"", b".", b"a.", b".a", b"a..b", b"a b", b"a\n", b"a\0", b"a\x7f", b"*", b"a.*", b"a*", b">",
     b"a.>", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"],
)  # fmt: skip
def test_an_invalid_subject_is_refused(subject: bytes) -> None:
    # E-7, E-20
    fields = Rogue().fields()
    fields[4] = string(subject)
    assert code_of(reader(), Rogue().envelope(head=array(fields))) == "malformed"


@for_each("size", [256, 300, 65_536])
def test_a_subject_that_announces_too_much_is_refused_before_it_is_looked_for(size: int) -> None:
    # E-8, E-16
    fields = Rogue().fields()
    fields[4] = header("str", size)
    assert code_of(reader(), Rogue().envelope(head=array(fields))) == "limit_exceeded"


def unsound() -> list[bytes]:
    p = 2**255 - 19
    second_name = bytes(BOB.public)[:31] + bytes([bytes(BOB.public)[31] | 0x80])
    others = (u.to_bytes(32, "little") for u in (p, p + 1, 2**255 - 1, 2**256 - 1))
    return [*crypto.LOW_ORDER, *others, second_name]


@for_each("key", unsound(), ids=bytes.hex)
@for_each("field", [0, 1])
def test_a_key_that_is_not_sound_is_refused(field: int, key: bytes) -> None:
    # E-18: with the first five the shared secret is public; the others are second encodings.
    fields = Rogue().fields()
    fields[field] = binary(key)
    assert code_of(reader(), Rogue().envelope(head=array(fields))) == "bad_key"


def test_form_comes_before_keys_and_keys_before_values() -> None:
    # E-88: of several faults in a head, the first in the order is reported.
    low, early, wild = binary(bytes(32)), uint(5), string("*")
    fields = Rogue().fields()
    more = b"\x94\xc0\xc0\xc0\xc0"

    def code(*head: bytes) -> str:
        return code_of(reader(), Rogue().envelope(head=array(head)))

    assert code(low, *fields[1:3], early, string("s" * 256), more) == "limit_exceeded"
    assert code(low, *fields[1:3], early, wild, more) == "unsupported_version"
    assert code(low, *fields[1:3], early, wild, fields[5]) == "bad_key"
    assert code(*fields[:3], early, wild, fields[5]) == "malformed"
    assert code(low, *fields[1:3], b"\xcf" + bytes(7) + b"\5", wild, more) == "malformed"
    assert code(low, *fields[1:3], b"\xcf\0", wild, more) == "malformed"


def outer_spellings(own: XKeyPair) -> dict[str, list[bytes]]:
    """Return the bytes before the wraps, with one element outside the head in another encoding."""
    rogue = Rogue(to=to(own))
    head, tags = array(rogue.fields()), rogue.rows()[0].tag
    part = rogue.part(0, b"x")
    spelled = {
        "head": [binary(head), *bins(head)],
        "tags": [binary(tags), *bins(tags)],
        "views": [b"\x90", *arrays(0, b"")],
        "parts": [array([binary(part)]), *arrays(1, binary(part))],
        "part": [b"", *[b"\x91" + each for each in bins(part)]],
        "signature": [binary(b""), *bins(b"")],
        "wraps": [header("bin", 49), *(each[:-49] for each in bins(bytes(49)))],
    }
    fronts: dict[str, list[bytes]] = {}
    for name, others in spelled.items():
        for other in others[1:]:
            chosen = {key: values[0] for key, values in spelled.items() if key != "part"}
            chosen["parts" if name == "part" else name] = other
            fronts.setdefault(name, []).append(FRONT + b"".join(chosen.values()))
    return fronts


@for_each("element", ["head", "tags", "views", "parts", "part", "signature", "wraps"])
def test_an_element_in_another_spelling_is_refused(element: str) -> None:
    # E-6, E-34: the wrap verifies over these very bytes.
    fronts = outer_spellings(BOB)[element]
    assert len(fronts) >= 3
    for front in fronts:
        assert code_of(reader(), Rogue().wrapped(front, [GRANT])) == "malformed"


def test_a_view_in_another_spelling_is_refused() -> None:
    rogue = Rogue()
    parts = array(binary(rogue.part(j, b"", FIELDS)) for j in (0, 1))
    for view in bins(rogue.view(0, grant_list([0, 1]))):
        body = array([view]) + parts + binary(b"")
        assert code_of(reader(), rogue.envelope(body=body)) == "malformed"


@for_each("start", [b"xkm1\xdc\x00\x06", b"xkm1\x97", b"xkm1\x95", b"xkm1\x86"])
def test_another_array_than_of_six_is_refused(start: bytes) -> None:
    # E-12
    assert code_of(reader(), start + Rogue().envelope()[5:]) == "malformed"


def test_tags_have_to_be_strictly_ascending() -> None:
    # E-32
    pieces = Pieces.of(Rogue(to=to(BOB, CAROL)).envelope())
    first, second = pieces.tags[:8], pieces.tags[8:]
    for tags in (second + first, first * 2, second * 2, first + second + second):
        wraps = bytes(49 * (len(tags) // 8))
        assert code_of(reader(), pieces._replace(tags=tags, wraps=wraps).join()) == "malformed"


@for_each("size", [0, 1, 7, 9, 15])
def test_tags_are_whole_and_at_least_one(size: int) -> None:
    # E-31
    pieces = Pieces.of(Rogue().envelope())
    assert code_of(reader(), pieces._replace(tags=bytes(size)).join()) == "malformed"


def test_wraps_that_reach_into_the_tags_are_refused() -> None:
    # E-33: more tags than the rest of the envelope has room for wraps.
    pieces = Pieces.of(Rogue().envelope())
    tags = b"".join(n.to_bytes(8, "big") for n in range(1, 1001))
    assert code_of(reader(), pieces._replace(tags=tags).join()) == "malformed"
    front = FRONT + binary(pieces.head) + binary(pieces.tags)
    for short in range(60):
        assert code_of(reader(), front + bytes(short)) == "malformed"


def test_text_is_not_normalised_and_a_byte_order_mark_is_data() -> None:
    # E-7
    for subject in ("\ufefforders", "caf\u00e9", "cafe\u0301"):
        opened = reader().open(Rogue(subject=subject).envelope(), subject=subject)
        assert opened.subject == subject

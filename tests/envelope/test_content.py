"""Headers, content type and padding: valid content round-trips, the rest is refused."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, SUBJECT, code_of, reader
from tests.envelope.forge import MESSAGE, PADDED, PAYLOAD, Pieces, Rogue
from tests.reference.content import MessageArray
from xkeymsg import (
    AtRest,
    Headers,
    LimitExceededError,
    Limits,
    MalformedError,
    Message,
    Opener,
    Sealer,
)
from xkeymsg.envelope.plan import Headers as SealedHeaders

RING = 65_536


def there_and_back(
    data: bytes = b"data", *, headers: SealedHeaders = (), content_type: str | None = None
) -> Message:
    envelope = Sealer(ALICE).seal(
        data, to=[BOB.public], subject=SUBJECT, headers=headers, content_type=content_type
    )
    return reader().open(envelope, subject=SUBJECT)


def part_type(envelope: bytes) -> int:
    return Pieces.of(envelope).parts[0][0]


def opens(content: bytes, kind: int = MESSAGE) -> Message:
    rogue = Rogue()
    return reader().open(rogue.envelope(parts=[rogue.part(0, content, kind)]), subject=">")


def refusal(content: bytes, kind: int = MESSAGE, limits: Limits | None = None) -> str:
    rogue = Rogue()
    opener = Opener(BOB, {ALICE.public}, replay=AtRest(), limits=limits)
    return code_of(opener, rogue.envelope(parts=[rogue.part(0, content, kind)]))


def test_content_type_and_headers_arrive() -> None:
    message = there_and_back(headers={"Trace": "7"}, content_type="text/plain")
    assert message.data == b"data"
    assert message.content_type == "text/plain"
    assert message.headers["Trace"] == "7"


def test_headers_keep_order_case_and_repetitions() -> None:
    pairs = [("b", "1"), ("A", "2"), ("b", "3"), ("B", "4"), ("", "")]
    headers = there_and_back(headers=pairs).headers
    assert headers.pairs == tuple(pairs)
    assert headers["b"] == "1"
    assert headers.all("b") == ("1", "3")
    assert list(headers) == ["b", "A", "B", ""]
    assert len(headers) == 4
    assert "a" not in headers


def test_headers_that_were_opened_can_be_sealed_again_with_all_their_repetitions() -> None:
    # A relay passes on the received headers. As a mapping, they show the first value of a name
    # only.
    opened = there_and_back(headers=[("To", "a"), ("To", "b")]).headers
    assert there_and_back(headers=opened).headers.pairs == (("To", "a"), ("To", "b"))


def test_headers_may_hold_any_text() -> None:
    # A transport may allow less: it has to check headers before it passes them on.
    pairs = [("a\r\nb", "\0"), ("é", "\U0010ffff"), ("\ufeff", "\ufeff")]
    assert there_and_back(headers=pairs, content_type="\n").headers.pairs == tuple(pairs)


def test_an_empty_content_type_is_not_none() -> None:
    assert there_and_back(content_type="").content_type == ""
    assert there_and_back().content_type is None


@for_each("headers", [(), [], {}, iter(()), Headers()])
def test_without_headers_and_content_type_it_is_a_plain_payload(headers: SealedHeaders) -> None:
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT, headers=headers)
    assert part_type(envelope) == PAYLOAD


def test_a_message_array_with_nothing_in_it_is_accepted_all_the_same() -> None:
    message = opens(b"\x92\xc0\x90" + b"data")
    assert (message.data, message.content_type, message.headers.pairs) == (b"data", None, ())


@for_each("name", ["xkm-", "xkm-wire", "XKM-Wire", "Xkm-"])
def test_names_of_the_transport_cannot_be_sealed(name: str) -> None:
    with pytest.raises(MalformedError, match="reserved"):
        there_and_back(headers={name: ""})


def test_text_that_is_not_unicode_cannot_be_sealed() -> None:
    for headers in ({"\ud800": ""}, {"A": "\ud800"}):
        with pytest.raises(MalformedError, match="Unicode"):
            there_and_back(headers=headers)
    with pytest.raises(MalformedError, match="Unicode"):
        there_and_back(content_type="\ud800")


def test_a_thousand_headers_are_sealed_and_no_more() -> None:
    # E-60
    assert len(there_and_back(headers=[("a", "")] * 1000).headers.pairs) == 1000
    with pytest.raises(LimitExceededError, match="headers"):
        there_and_back(headers=[("a", "")] * 1001)


def test_64_kib_of_headers_are_sealed_and_no_more() -> None:
    longest = "v" * (RING - 9)
    assert len(MessageArray(None, (("A", longest),)).encode()) == RING
    assert there_and_back(headers={"A": longest}).headers["A"] == longest
    with pytest.raises(LimitExceededError, match="bytes of headers"):
        there_and_back(headers={"A": longest + "v"})


def test_local_limits_of_headers_hold_on_both_sides() -> None:
    content = MessageArray(None, (("A", "b"), ("A", "b"))).encode()
    assert refusal(content, limits=Limits(headers=1)) == "limit_exceeded"
    assert refusal(content, limits=Limits(message_array=8)) == "limit_exceeded"
    sealer = Sealer(ALICE, limits=Limits(headers=1))
    with pytest.raises(LimitExceededError):
        sealer.seal(b"", to=[BOB.public], subject=SUBJECT, headers=[("A", ""), ("B", "")])


@for_each(
    "content",
    [
        b"",
        b"\x92",
        b"\x92\xc0",
        b"\x91\xc0",
        b"\x93\xc0\x90\xc0",
        b"\x90",
        b"\xdc\x00\x02\xc0\x90",
        b"\x92\x00\x90",
        b"\x92\xc2\x90",
        b"\x92\xc4\x00\x90",
        b"\x92\xc0\x80",
        b"\x92\xc0\xc0",
        b"\x92\xc0\xdc\x00\x00",
        b"\x92\xc0\x91",
        b"\x92\xc0\x91\xa0",
        b"\x92\xc0\x91\x91\xa0",
        b"\x92\xc0\x91\x92\xa0",
        b"\x92\xc0\x91\x92\xa0\xc0",
        b"\x92\xc0\x91\x92\xa0\xc4\x00",
        b"\x92\xc0\x91\x93\xa0\xa0\xa0",
        b"\x92\xd9\x01a\x90",
        b"\x92\xa2a\x90",
        b"\x92\xa1\xff\x90",
        b"\x92\xa3\xed\xa0\x80\x90",
        b"\x92\xa2\xc0\x80\x90",
        b"\x92\xa4\xf4\x90\x80\x80\x90",
        b"\x92\xdb\x00\x00\x00\x01a\x90",
    ],
)
def test_what_is_not_a_message_array_is_refused(content: bytes) -> None:
    # E-59, with the encodings of E-6 and E-7
    assert refusal(content) == "malformed"


def test_a_header_that_announces_too_much_is_refused_before_it_is_looked_for() -> None:
    # E-8, E-60: a sender can announce 4 GiB in five bytes.
    assert refusal(b"\x92\xdb\xff\xff\xff\xff") == "limit_exceeded"
    assert refusal(b"\x92\xc0\xdc\x03\xe9") == "limit_exceeded"
    assert refusal(b"\x92\xc0\xdd\xff\xff\xff\xff") == "limit_exceeded"


def test_an_item_that_would_end_behind_the_limit_exceeds_it() -> None:
    # E-60: the array of the next header begins exactly at the limit, where the content ends.
    front = b"\x92\xc0\x92" + b"\x92\xa1A"
    value = b"v" * (RING - len(front) - 3)
    up_to_the_limit = front + b"\xda" + len(value).to_bytes(2, "big") + value
    assert len(up_to_the_limit) == RING
    assert refusal(up_to_the_limit + b"\x92") == "limit_exceeded"
    assert refusal(up_to_the_limit + b"\x92\xa0\xa0") == "limit_exceeded"
    assert refusal(up_to_the_limit) == "malformed"


def test_the_form_of_an_item_counts_before_the_limit() -> None:
    # E-8: a str of 5 bytes with a header of two, the second of which exceeds the limit.
    front = b"\x92\xc0\x91\x92"
    name = b"n" * (RING - len(front) - 3 - 1)
    content = front + b"\xda" + len(name).to_bytes(2, "big") + name + b"\xd9\x05value"
    assert len(front) + 3 + len(name) == RING - 1
    assert refusal(content) == "malformed"


@for_each("size", [0, 1, 8, 16, 64, 100, 1000, 1024, 65_536])
def test_padding_hides_the_exact_length_and_comes_off_again(size: int) -> None:
    data = b"\x80" * size
    envelope = Sealer(ALICE, padding=True).seal(data, to=[BOB.public], subject=SUBJECT)
    assert part_type(envelope) == PAYLOAD + PADDED
    expected = {0: 1, 1: 2, 8: 10, 16: 18, 64: 72, 100: 104, 1000: 1024, 1024: 1088, 65_536: 67_584}
    assert len(Pieces.of(envelope).parts[0]) == 49 + expected[size]
    assert reader().open(envelope, subject=SUBJECT).data == data


def test_a_padded_message_with_headers_comes_back() -> None:
    envelope = Sealer(ALICE, padding=True).seal(
        b"\0\x80\0", to=[BOB.public], subject=SUBJECT, headers={"A": "b"}
    )
    assert part_type(envelope) == MESSAGE + PADDED
    message = reader().open(envelope, subject=SUBJECT)
    assert (message.data, message.headers["A"]) == (b"\0\x80\0", "b")


def test_lengths_that_differ_a_little_look_the_same() -> None:
    sealer = Sealer(ALICE, padding=True)
    sizes = {
        len(sealer.seal(bytes(size), to=[BOB.public], subject=SUBJECT)) for size in range(900, 1000)
    }
    assert len(sizes) <= 5


@for_each("plaintext", [b"", b"\0", bytes(100), b"\x81", b"data", b"\x80x\0"])
def test_a_padded_part_without_padding_is_refused(plaintext: bytes) -> None:
    # E-58
    assert refusal(plaintext, PAYLOAD + PADDED) == "malformed"


def test_a_sender_chooses_how_much_it_pads() -> None:
    assert opens(b"hi\x80" + bytes(10_000), PAYLOAD + PADDED).data == b"hi"
    assert opens(b"\x80", PAYLOAD + PADDED).data == b""
    assert opens(b"hi\x80\x80\0", PAYLOAD + PADDED).data == b"hi\x80"

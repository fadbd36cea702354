"""Encoding, keys, signatures, padding and subjects against the examples of the specification."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cases import for_each
from tests.reference import RefusalError, crypto, ed25519, nkeystring, seal
from tests.reference.content import MessageArray, pad, read_message_array, recommended_z, unpad
from tests.reference.encoding import Cursor, array, binary, string, uint
from tests.reference.limits import Limits
from tests.reference.subject import is_subject, matches


@for_each(
    ("encoded", "expected"),
    [
        (uint(0), "00"),
        (uint(127), "7f"),
        (uint(128), "cc80"),
        (uint(256), "cd0100"),
        (uint(65_536), "ce00010000"),
        (uint(2**32), "cf0000000100000000"),
        (binary(b""), "c400"),
        (array([]), "90"),
        (array([b"\xc0"] * 16), "dc0010" + "c0" * 16),
        (string("hi"), "a26869"),
        (string("h" * 32), "d920" + "68" * 32),
        (MessageArray("text/plain", (("A", "b"),)).encode() + b"hi",
         "92aa746578742f706c61696e9192a141a1626869"),
    ],
)  # fmt: skip
def test_values_are_encoded_as_shown(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


@for_each("kind", ["uint", "str", "bin", "array"])
def test_only_the_shortest_header_is_read(kind: str) -> None:
    for first in range(256):
        for value in (0, 5, 31, 127, 200, 300, 65_535, 65_536, 2**32 - 1, 2**32):
            for width in (0, 1, 2, 4, 8):
                if value >= 256**width and width:
                    continue
                tail = value.to_bytes(width, "big") if width else b""
                cursor = Cursor(bytes([first]) + tail, 3)
                try:
                    read = cursor.header(kind)
                except RefusalError:
                    continue
                assert cursor.data[: cursor.at] == seal_header(kind, read)


def seal_header(kind: str, value: int) -> bytes:
    """Return the shortest header by msgpack's own specification."""
    fixed = {"uint": (0x7F, 0), "str": (31, 0xA0), "array": (15, 0x90)}
    wide = {
        "uint": "cc cd ce cf",
        "str": "d9 da db",
        "bin": "c4 c5 c6",
        "array": "dc dd",
    }
    if kind in fixed and value <= fixed[kind][0]:
        return bytes([fixed[kind][1] + value])
    width = next(w for w in (1, 2, 4, 8) if value < 256**w and not (kind == "array" and w == 1))
    place = [1, 2, 4, 8].index(width) - (kind == "array")
    return bytes.fromhex(wide[kind].split()[place]) + value.to_bytes(width, "big")


@for_each(
    ("length", "padded"),
    [(0, 1), (1, 2), (8, 10), (16, 18), (64, 72), (100, 104), (1000, 1024), (1024, 1088),
     (65_536, 67_584)],
)  # fmt: skip
def test_the_recommended_padding_is_as_listed(length: int, padded: int) -> None:
    content = b"\x80" * length
    plaintext = pad(content, recommended_z(length))
    assert len(plaintext) == padded
    assert unpad(plaintext) == content


def test_the_label_is_padded_as_shown() -> None:
    assert crypto.pad16("xkm1/tag").hex() == "786b6d312f7461670000000000000000"


def test_no_listed_curve_key_is_sound_and_each_gives_zero() -> None:
    for key in crypto.LOW_ORDER:
        assert not crypto.is_sound(key)
        assert crypto.x25519(b"k" * 32, key) == crypto.ZERO32
    assert not crypto.is_sound(crypto.P.to_bytes(32, "little"))
    assert crypto.is_sound((crypto.P - 2).to_bytes(32, "little"))


def test_the_small_order_points_are_the_eight() -> None:
    points = [ed25519.decode(data) for data in ed25519.SMALL_ORDER]
    assert len(set(ed25519.SMALL_ORDER)) == 8
    for point in points:
        assert point is not None
        assert ed25519.encode(ed25519.multiply(8, point)) == ed25519.SMALL_ORDER[0]


def test_both_signers_agree_and_their_signatures_are_valid() -> None:
    for i in range(8):
        seed, message = bytes([i]) * 32, bytes([i]) * i
        signature = ed25519.sign(seed, message)
        assert signature == seal.sign(seed, message)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        assert ed25519.public(seed) == public
        assert ed25519.fault(public, message, signature) is None
        assert ed25519.fault(public, message + b"!", signature) == "E-5"


def test_nkeys_have_one_spelling() -> None:
    text = nkeystring.seed_text(b"k" * 32)
    assert text.startswith("SX")
    assert nkeystring.seed(text) == b"k" * 32
    assert nkeystring.xkey_text(b"k" * 32).startswith("X")
    assert nkeystring.user_text(b"k" * 32).startswith("U")
    for wrong in (text.lower(), text + "=", text[:-1], text[:-1] + "7", "SU" + text[2:]):
        with pytest.raises(ValueError):  # noqa: PT011 - binascii's texts are not ours
            nkeystring.seed(wrong)


@for_each(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.B", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        (">", "_XKM.a", False),
        ("_XKM.>", "_XKM.a", False),
        ("_XKM.a", "_XKM.a", True),
        (">", "_XKMA.a", True),
        (">", "a._XKM", True),
        ("a*", "ab", False),
    ],
)
def test_patterns(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@for_each("subject", ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "a\x7f", "a\n", "a" * 256])
def test_invalid_subjects_are_refused(subject: str) -> None:
    assert not is_subject(subject)


def test_an_array_may_have_65536_bytes_and_no_more() -> None:
    value = "v" * (65_536 - 9)
    full = MessageArray(None, (("n", value),)).encode()
    assert len(full) == 65_536
    assert read_message_array(full + b"payload", Limits())[1] == b"payload"
    over = MessageArray(None, (("n", value + "v"),)).encode()
    for end in (len(over), len(over) - 1, 9):
        with pytest.raises(RefusalError, match=r"limit_exceeded.*E-60"):
            read_message_array(over[:end], Limits())

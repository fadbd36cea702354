"""Nkey strings: one string a key, and nothing else is accepted."""

from __future__ import annotations

import base64
import binascii
import time

import nkeys
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg import KeyFormatError, nkey
from xkeymsg.nkey import Prefix, UserKey

RAW = bytes(range(32))
PUBLIC = nkey.encode_public(Prefix.CURVE, RAW)
SEED = nkey.encode_seed(Prefix.CURVE, RAW)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

raw_keys = st.binary(min_size=32, max_size=32)
prefixes = st.sampled_from(Prefix)
near_misses = st.one_of(
    st.text(max_size=70),
    st.text(alphabet=ALPHABET, min_size=56, max_size=56),
    st.text(alphabet=ALPHABET + "a189 \n_+-", min_size=56, max_size=58),
)


def plain_public(prefix: int, raw: bytes) -> str:
    """The encoding as the format is described, with the standard library alone."""
    body = bytes([prefix]) + raw
    body += binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body).decode().rstrip("=")


@given(prefixes, raw_keys)
def test_public_keys_round_trip_and_are_what_the_format_says(prefix: Prefix, raw: bytes) -> None:
    text = nkey.encode_public(prefix, raw)
    assert text == plain_public(prefix, raw)
    assert text[0] == prefix.letter
    assert nkey.decode_public(prefix, text) == raw


@given(prefixes, raw_keys)
def test_seeds_round_trip(prefix: Prefix, raw: bytes) -> None:
    text = nkey.encode_seed(prefix, raw)
    assert text[:2] == "S" + prefix.letter
    assert nkey.decode_seed(prefix, text) == raw


@given(raw_keys)
def test_user_seeds_are_those_of_the_nkeys_package(raw: bytes) -> None:
    theirs = nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER).decode()
    assert nkey.encode_seed(Prefix.USER, raw) == theirs
    assert UserKey(theirs).public == nkeys.from_seed(bytearray(theirs, "ascii")).public_key.decode()


@given(near_misses)
@example("")
@example("X" * 56)
@example(PUBLIC + "\n")
@example(" " + PUBLIC[1:])
@example(PUBLIC[:-1] + "_")
@example("\u017f" * 56)
def test_any_text_decodes_to_a_key_that_encodes_to_it_or_is_refused(text: str) -> None:
    try:
        raw = nkey.decode_public(Prefix.CURVE, text)
    except KeyFormatError:
        return
    assert nkey.encode_public(Prefix.CURVE, raw) == text


@given(near_misses)
@example(SEED + "=")
@example("S" * 58)
def test_any_text_decodes_to_a_seed_that_encodes_to_it_or_is_refused(text: str) -> None:
    try:
        raw = nkey.decode_seed(Prefix.CURVE, text)
    except KeyFormatError as error:
        shown = str(error)
    else:
        assert nkey.encode_seed(Prefix.CURVE, raw) == text
        return
    assert len(text) <= 8 or text not in shown


@for_each("place", range(56))
def test_one_mistyped_character_of_a_public_key_is_refused(place: int) -> None:
    for letter in set(ALPHABET) - {PUBLIC[place]}:
        with pytest.raises(KeyFormatError):
            nkey.decode_public(Prefix.CURVE, PUBLIC[:place] + letter + PUBLIC[place + 1 :])


@for_each("place", range(58))
def test_one_mistyped_character_of_a_seed_is_refused(place: int) -> None:
    for letter in set(ALPHABET) - {SEED[place]}:
        with pytest.raises(KeyFormatError):
            nkey.decode_seed(Prefix.CURVE, SEED[:place] + letter + SEED[place + 1 :])


@for_each("bits", [1, 2, 3])
def test_spare_bits_of_a_seed_have_to_be_zero(bits: int) -> None:
    loose = SEED[:-1] + ALPHABET[ALPHABET.index(SEED[-1]) | bits]
    padded = base64.b32decode(loose + "=" * 6)
    assert padded == base64.b32decode(SEED + "=" * 6), "the loose string holds the same bytes"
    with pytest.raises(KeyFormatError, match="last character"):
        nkey.decode_seed(Prefix.CURVE, loose)


@for_each("prefix", [p for p in Prefix if p is not Prefix.CURVE])
def test_a_key_of_another_kind_is_refused(prefix: Prefix) -> None:
    with pytest.raises(KeyFormatError, match="must begin with X"):
        nkey.decode_public(Prefix.CURVE, nkey.encode_public(prefix, RAW))
    with pytest.raises(KeyFormatError, match="must begin with SX"):
        nkey.decode_seed(Prefix.CURVE, nkey.encode_seed(prefix, RAW))


@for_each("text", [PUBLIC.lower(), f" {PUBLIC}", f"{PUBLIC}\n", PUBLIC + "A", "X"])
def test_looser_spellings_are_refused(text: str) -> None:
    with pytest.raises(KeyFormatError):
        nkey.decode_public(Prefix.CURVE, text)


def test_ten_megabytes_are_refused_without_reading_them() -> None:
    begin = time.process_time()
    for text in ("X" * 10_000_000, "\u2028" * 10_000_000):
        with pytest.raises(KeyFormatError, match="10000000"):
            nkey.decode_public(Prefix.CURVE, text)
    assert time.process_time() - begin < 1, "its length alone decides"


@for_each("value", [b"X", None, 5, bytearray(b"X")])
def test_what_is_not_text_is_the_callers_bug(value: object) -> None:
    with pytest.raises(TypeError):
        nkey.decode_public(Prefix.CURVE, value)  # type: ignore[arg-type]


def test_the_nkeys_package_takes_a_mistyped_seed_and_we_do_not() -> None:
    seed = nkey.encode_seed(Prefix.USER, RAW)
    typo = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    assert nkeys.from_seed(bytearray(typo, "ascii")).public_key
    with pytest.raises(KeyFormatError, match="checksum"):
        UserKey(typo)


@for_each("text", [SEED, SEED.lower(), f" {SEED}\n"])
def test_a_seed_in_the_place_of_a_public_key_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(KeyFormatError, match="not a secret seed") as caught:
        nkey.decode_public(Prefix.CURVE, text)
    assert SEED[5:20].lower() not in str(caught.value).lower()

"""Vectors of key strings (spec, Key strings): vectors/keys.json."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, Literal, NamedTuple

from tests.reference import crypto, ed25519, nkeystring
from tests.vectors.people import BOB

Kind = Literal["xkey", "user", "seed", "user-seed"]
EXAMPLE: Final = bytes(range(32))


class KeyVector(NamedTuple):
    """A text, and the key that it holds or None."""

    name: str
    kind: Kind
    text: str
    key: bytes | None
    comment: str

    @property
    def spec(self) -> list[str]:
        return ["E-91", "E-92"] if self.name == "user_zero" else ["E-92"]

    @property
    def expect(self) -> str:
        return "key_format" if self.key is None else "success"

    def json(self) -> dict[str, object]:
        shown: dict[str, object] = {"name": self.name, "expect": self.expect, "spec": self.spec}
        shown["comment"] = self.comment
        shown |= {"kind": self.kind, "text": self.text}
        return shown if self.key is None else {**shown, "key": self.key.hex()}


def raw(text: str) -> bytes:
    return base64.b32decode(text + "=" * (-len(text) % 8))


def bare(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


TEXTS: Final[dict[Kind, Callable[[bytes], str]]] = {
    "xkey": nkeystring.xkey_text,
    "user": nkeystring.user_text,
    "seed": nkeystring.seed_text,
    "user-seed": nkeystring.user_seed_text,
}
KEYS: Final[dict[Kind, bytes]] = {
    "xkey": crypto.pub(EXAMPLE),
    "user": ed25519.public(EXAMPLE),
    "seed": EXAMPLE,
    "user-seed": EXAMPLE,
}


LOOKALIKES: Final = (("O", "0"), ("I", "1"), ("L", "1"), ("B", "8"), ("7", "9"), ("A", "9"))
"""Letters of base32, and characters outside it that a lax decoder takes for them."""


def edits(text: str) -> Iterator[tuple[str, str, str]]:
    """Texts that are not the one text of a key: name, text, comment."""
    data, at = raw(text), len(text) // 2
    other = "A" if text[at] != "A" else "B"
    yield "empty", "", "No text"
    yield "lower_case", text.lower(), "Only upper case is allowed"
    yield "one_letter_in_lower_case", text[:-1] + text[-1].lower(), "Only upper case"
    yield "mistyped", text[:at] + other + text[at + 1 :], "The checksum differs"
    yield "digit_1", text[:at] + "1" + text[at + 1 :], "1 is not in the alphabet of base32"
    for letter, wrong in LOOKALIKES:
        if letter in text:
            swapped = text.replace(letter, wrong, 1)
            yield f"{wrong}_for_{letter}", swapped, f"{wrong} is not in the alphabet of base32"
    yield "short", text[:-1], "A letter is missing"
    yield "long", text + "A", "A letter too many"
    yield "twice", text * 2, "Two keys"
    yield "padded", text + "=" * (-len(text) % 8 or 8), "No padding"
    yield "space_first", " " + text, "No white space"
    yield "space_last", text + " ", "No white space"
    yield "line_feed_last", text + "\n", "No white space"
    yield "not_ascii", text[:at] + "\uff21" + text[at + 1 :], "A fullwidth A is another letter"
    yield "high_byte_of_crc_first", bare(data[:-2] + data[:-3:-1]), "The low byte comes first"
    crc = nkeystring.crc16(data[:-2])
    inverted = (crc ^ 0xFFFF).to_bytes(2, "little")
    yield "crc_inverted", bare(data[:-2] + inverted), "The checksum is not inverted"
    yield "crc_of_zero", bare(data[:-2] + bytes(2)), "Another checksum"
    yield "key_of_31_bytes", nkeystring.to_text(data[:-3]), "A key has 32 bytes"
    yield "key_of_33_bytes", nkeystring.to_text(data[:-2] + b"\x00"), "A key has 32 bytes"


def overflows(kind: Kind) -> Iterator[KeyVector]:
    """A key, and texts that a lax decoder reads as this key.

    Such a decoder does not check the alphabet, and a value of more than 5 bits changes the bits
    before it. An unknown character has the value -1; or values are computed from character codes,
    so that "8" has the value 32, and a lower-case letter 32 more than in upper case.
    """
    text, at, run = TEXTS[kind](KEYS[kind]), 24, "BABD7777"
    size = len(raw(text)) - 2
    key = raw(text[:at] + run + text[at + len(run) :])[size - 32 : size]
    text = TEXTS[kind](key)
    assert text[at : at + len(run)] == run
    yield KeyVector(f"{kind}_with_ones", kind, text, key, "A key with a run of ones")
    for name, wrong, comment in (
        ("unknown_after_ones", "BABD7779", "9 is not in the alphabet of base32"),
        ("8_after_an_odd_letter", "B8BD7777", "8 is not in the alphabet of base32"),
        ("8_that_carries", "A8BD7777", "8 is not in the alphabet of base32"),
        ("lower_case_after_an_odd_letter", "BABd7777", "Only upper case"),
    ):
        edited = text[:at] + wrong + text[at + len(run) :]
        yield KeyVector(f"{kind}_{name}", kind, edited, None, comment)


SPARE: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@cache
def everything() -> tuple[KeyVector, ...]:
    found = []
    for kind, key in KEYS.items():
        text = TEXTS[kind](key)
        found.append(KeyVector(f"{kind}_example", kind, text, key, "The example of the text"))
        found += [
            KeyVector(f"{kind}_{name}", kind, edited, None, comment)
            for name, edited, comment in edits(text)
            if edited != text
        ]
        for other in KEYS:
            if other != kind:
                name = f"{kind}_expected_and_{other}_given"
                found.append(
                    KeyVector(name, kind, TEXTS[other](KEYS[other]), None, "Another kind of key")
                )
        found += overflows(kind)
        account = nkeystring.to_text(bytes(1) + key)
        found.append(KeyVector(f"{kind}_account", kind, account, None, "A key of an account"))
        if kind in ("seed", "user-seed"):
            for bits in (1, 2, 3):
                last = SPARE[SPARE.index(text[-1]) + bits]
                comment = "The two spare bits are zero"
                found.append(
                    KeyVector(f"{kind}_spare_bits_{bits}", kind, text[:-1] + last, None, comment)
                )
    found.append(
        KeyVector("xkey_bob", "xkey", BOB.xkey_text, BOB.xkey, "A key of the other vectors")
    )
    found.append(KeyVector("seed_bob", "seed", BOB.seed_text, BOB.secret, "The seed of this key"))
    unsound = {
        **{f"of_low_order_{at}": key for at, key in enumerate(crypto.LOW_ORDER)},
        "p": crypto.P.to_bytes(32, "little"),
        "p_plus_2": (crypto.P + 2).to_bytes(32, "little"),
        "with_the_high_bit": BOB.xkey[:31] + bytes([BOB.xkey[31] | 0x80]),
        "all_ones": b"\xff" * 32,
    }
    found += [
        KeyVector(f"xkey_{name}", "xkey", nkeystring.xkey_text(key), None, "The key is not sound")
        for name, key in unsound.items()
    ]
    greatest = (crypto.P - 2).to_bytes(32, "little")
    text = nkeystring.xkey_text(greatest)
    found.append(KeyVector("xkey_p_minus_2", "xkey", text, greatest, "The greatest sound key"))
    text = nkeystring.user_text(bytes(32))
    comment = "A user key of a recipient or a reader: zeros stand for no user"
    found.append(KeyVector("user_zero", "user", text, None, comment))
    return tuple(found)


def as_json() -> str:
    objects = [vector.json() for vector in everything()]
    return json.dumps(objects, indent=1, ensure_ascii=True) + "\n"

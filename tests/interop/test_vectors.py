"""What other implementations of nkeys sealed and encoded, byte for byte.

`xkv1-go.json` was written by github.com/nats-io/nkeys (Go), `xkv1-js.json` by @nats-io/nkeys
(JavaScript); neither saw this package. A box has a random nonce, so that the foreign one is made
again here with the foreign nonce.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.cases import for_each
from tests.interop.inside import seal_with
from xkeymsg import nkey, xkv1
from xkeymsg.errors import (
    AuthenticationError,
    KeyFormatError,
    MalformedError,
    UnsupportedVersionError,
    XKeyMsgError,
)
from xkeymsg.keys import XKey, XKeyPair

FOLDER: Final = Path(__file__).parent.parent.parent / "vectors" / "xkv1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One sealed message, and both ends of it."""

    sender_seed: str
    sender: str
    recipient_seed: str
    recipient: str
    data: bytes
    sealed: bytes

    def __str__(self) -> str:
        return f"{len(self.data)}-bytes"


def _go() -> list[Box]:
    return [
        Box(
            sender_seed=case["SenderSeed"],
            sender=case["SenderPublic"],
            recipient_seed=case["RecipientSeed"],
            recipient=case["RecipientPublic"],
            data=base64.b64decode(case["PlaintextB64"], validate=True),
            sealed=base64.b64decode(case["SealedB64"], validate=True),
        )
        for case in json.loads((FOLDER / "xkv1-go.json").read_text())
    ]


JS: Final[dict[str, str]] = {
    name: value
    for name, value in json.loads((FOLDER / "xkv1-js.json").read_text()).items()
    if name != "exports"
}
ALICE_SEED: Final = JS["alice_seed"]
ALICE: Final = XKeyPair.from_seed(ALICE_SEED)
BOB: Final = XKeyPair.from_seed(JS["bob_seed"])


def _alice_to_bob(data: bytes, sealed: str) -> Box:
    return Box(
        sender_seed=ALICE_SEED,
        sender=JS["alice_pub"],
        recipient_seed=JS["bob_seed"],
        recipient=JS["bob_pub"],
        data=data,
        sealed=bytes.fromhex(sealed),
    )


GO_BOXES: Final = _go()
JS_BOXES: Final = [
    _alice_to_bob(name.removeprefix("sealed_").replace("empty", "").encode(), sealed)
    for name, sealed in JS.items()
    if name.startswith("sealed_")
]
# Go 0.4.9, from Alice to Bob of the JavaScript file.
OLDER_GO_BOX: Final = _alice_to_bob(
    b"from go",
    "786b763122516bb438a50b8374ce5912e0c86d8058fa0e0045633ad08b1c622a25eda6fd17276c6a6a22ecff9bb475"
    "2f1fea06",
)
BOXES: Final = [*GO_BOXES, *JS_BOXES, OLDER_GO_BOX]

# An empty list would make every parametrised test below pass without running.
assert len(GO_BOXES) == 9
assert len(JS_BOXES) == 2


@for_each("box", BOXES, ids=str)
def test_a_foreign_box_opens_to_its_plaintext(box: Box) -> None:
    recipient = XKeyPair.from_seed(box.recipient_seed)
    assert xkv1.open(box.sealed, key=recipient, sender=XKey.parse(box.sender)) == box.data


@for_each("box", BOXES, ids=str)
def test_a_foreign_box_is_made_again_byte_for_byte(box: Box) -> None:
    sender = XKeyPair.from_seed(box.sender_seed)
    nonce = box.sealed[4:28]
    assert seal_with(box.data, sender, XKey.parse(box.recipient), nonce) == box.sealed
    assert len(box.sealed) == len(box.data) + xkv1.OVERHEAD


@for_each("box", BOXES, ids=str)
def test_foreign_keys_read_and_write_back_as_they_were(box: Box) -> None:
    for seed, public in ((box.sender_seed, box.sender), (box.recipient_seed, box.recipient)):
        pair = XKeyPair.from_seed(seed)
        assert pair.seed() == seed
        assert str(pair.public) == public
        assert XKey.parse(public) == pair.public
        assert str(XKey(bytes(pair.public))) == public


@for_each("box", BOXES, ids=str)
def test_a_foreign_box_opens_for_no_other_pair_of_keys(box: Box) -> None:
    recipient = XKeyPair.from_seed(box.recipient_seed)
    with pytest.raises(AuthenticationError):
        xkv1.open(box.sealed, key=XKeyPair.generate(), sender=XKey.parse(box.sender))
    with pytest.raises(AuthenticationError):
        xkv1.open(box.sealed, key=recipient, sender=XKeyPair.generate().public)


@for_each("box", BOXES, ids=str)
def test_a_foreign_box_with_one_bit_flipped_is_refused(box: Box) -> None:
    recipient, sender = XKeyPair.from_seed(box.recipient_seed), XKey.parse(box.sender)
    # Its first four bytes are the version, and what is wrong with them has errors of its own.
    for place in {4, 27, 28, 43, len(box.sealed) - 1}:
        altered = bytearray(box.sealed)
        altered[place] ^= 1
        with pytest.raises(AuthenticationError):
            xkv1.open(bytes(altered), key=recipient, sender=sender)


def test_the_javascript_file_names_the_nonce_that_its_boxes_have() -> None:
    assert {box.sealed[4:28].hex() for box in JS_BOXES} == {JS["nonce"]}
    assert JS["opened_empty"] == ""
    assert JS["opened_Hello Secure World"] == "Hello Secure World"


def test_the_seeds_of_the_javascript_file_hold_the_bytes_that_made_them() -> None:
    assert XKeyPair(bytes(range(32))).seed() == ALICE_SEED
    assert XKeyPair(bytes(range(100, 132))).seed() == JS["bob_seed"]


SEALED: Final = bytes.fromhex(JS["sealed_Hello Secure World"])


def _altered(place: int) -> bytes:
    return SEALED[:place] + bytes([SEALED[place] ^ 1]) + SEALED[place + 1 :]


# What the JavaScript library was given, as far as its file says it, and the error of ours. Where it
# answers None or "not valid" for everything, ours tells what is wrong.
REFUSED: Final[dict[str, tuple[type[XKeyMsgError], Callable[[], object]]]] = {
    "tamper": (AuthenticationError, lambda: xkv1.open(_altered(30), key=BOB, sender=ALICE.public)),
    "e_short": (MalformedError, lambda: xkv1.open(SEALED[:28], key=BOB, sender=ALICE.public)),
    "e_short29": (MalformedError, lambda: xkv1.open(SEALED[:29], key=BOB, sender=ALICE.public)),
    "e_ver": (
        UnsupportedVersionError,
        lambda: xkv1.open(b"xkv2" + SEALED[4:], key=BOB, sender=ALICE.public),
    ),
    "e_badsender": (KeyFormatError, lambda: XKey.parse("XAAA")),
    "e_lower": (KeyFormatError, lambda: XKey.parse(JS["alice_pub"].lower())),
    "e_nl": (KeyFormatError, lambda: XKey.parse(JS["alice_pub"] + "\n")),
    # Sealing to the zero key makes a box that everybody can open; Go and JavaScript do it.
    "e_zeropub": (
        KeyFormatError,
        lambda: XKey.parse(nkey.encode_public(nkey.Prefix.CURVE, bytes(32))),
    ),
}
# A curve key of ours has nothing that signs, and nonces come from the private twin only.
NOT_OURS: Final = {"e_sign", "e_badnoncelen"}


def test_every_exotic_case_of_the_javascript_file_has_its_error_here() -> None:
    exotic = {name for name in JS if name.startswith("e_") or name == "tamper"}
    assert exotic == REFUSED.keys() | NOT_OURS
    assert not hasattr(ALICE, "sign")


@for_each("name", REFUSED)
def test_what_is_exotic_for_javascript_is_refused(name: str) -> None:
    error, call = REFUSED[name]
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error


def test_a_nonce_of_the_wrong_size_seals_nothing() -> None:
    with pytest.raises(ValueError, match=r"(?i)nonce"):
        seal_with(b"", ALICE, BOB.public, bytes(23))


PUBLIC: Final = JS["alice_pub"]


@for_each(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(PUBLIC[:-1], id="cut-off"),
        pytest.param(PUBLIC + "A", id="one-more"),
        pytest.param(PUBLIC + "=" * 8, id="padded"),
        pytest.param("\n" + PUBLIC[1:], id="a-newline-first"),
        pytest.param(PUBLIC[:28] + "\n" + PUBLIC[29:], id="a-newline-within"),
        pytest.param(PUBLIC[:27] + "\r\n" + PUBLIC[27:], id="wrapped-which-go-takes"),
        pytest.param(PUBLIC[:-2] + "FA", id="one-character-mistyped"),
        pytest.param(ALICE_SEED, id="a-seed"),
        pytest.param(JS["alice_priv"], id="a-private-key"),
    ],
)
def test_what_is_not_quite_a_public_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyFormatError) as raised:
        XKey.parse(text)
    assert not text or text.strip() not in str(raised.value)


@for_each(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(ALICE_SEED[:-1], id="cut-off"),
        pytest.param(ALICE_SEED + "\n", id="a-newline-last"),
        pytest.param(ALICE_SEED.lower(), id="lower-case"),
        pytest.param(ALICE_SEED[:30] + "B" + ALICE_SEED[31:], id="one-character-mistyped"),
        pytest.param(PUBLIC, id="a-public-key"),
        pytest.param(JS["alice_priv"], id="a-private-key"),
    ],
)
def test_what_is_not_quite_a_seed_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyFormatError) as raised:
        XKeyPair.from_seed(text)
    assert not text or text.strip() not in str(raised.value)


@for_each("last", "NOP")
def test_a_seed_has_one_string_though_go_and_javascript_take_four(last: str) -> None:
    # The last character of a seed carries three bits; Go and JavaScript ignore its other two.
    assert ALICE_SEED[-1] == "M"
    with pytest.raises(KeyFormatError):
        XKeyPair.from_seed(ALICE_SEED[:-1] + last)


def test_a_seed_of_the_nk_program_gives_the_public_key_that_it_gives() -> None:
    pair = XKeyPair.from_seed("SXAHAEN3OZZO3OLBL4SX4GZKDIJ7BTSQ4FJ2L2PDLH26PXZI4LBLYPJJSA")
    assert str(pair.public) == "XAGBKUBASX2DAHKNQ2NBKTWUICQSV7MGYALYVQMSA3IDAY6EO6LRGE6D"


@for_each(
    "text",
    [
        "XB2ME3SWDBSHZVZDGJR6AO47VFJ22EJNFTWGF6QFJ34UAIW65Q2QOI3S",
        "XBJCUSIMF6SOELLC3D7PKBR7LNBSE2S2FTA5BRK3T2DGU4YU5DSBKVC7",
        "XA7S7VZEEGE6TEBJFV4PO5DI7BIVBCZ4HA4LUDJ673RJZSEFQOHWB5C5",
        "XCAGOZTFPUN34K34NY5TBDIM2NJGWSZ2ZXQMVUG7AY3XVRWZTOGU73F3",
    ],
)
def test_the_public_keys_printed_in_the_tutorial_are_public_keys(text: str) -> None:
    assert str(XKey.parse(text)) == text


def test_a_user_key_of_the_same_32_bytes_is_the_one_that_javascript_makes() -> None:
    seed = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
    assert nkey.encode_seed(nkey.Prefix.USER, bytes(range(32))) == seed
    assert nkey.decode_seed(nkey.Prefix.USER, seed) == bytes(range(32))
    assert nkey.UserKey(seed).public == "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
    with pytest.raises(KeyFormatError):
        XKeyPair.from_seed(seed)

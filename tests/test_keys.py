"""Curve keys and xkv1."""

from __future__ import annotations

import copy
import io
import logging
import pickle  # noqa: TID251 - to show that secrets do not go in
import threading
import traceback
from collections.abc import Callable

import nacl.bindings
import nacl.exceptions
import nacl.public
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import raw_secret
from xkeymsg import (
    AuthenticationError,
    KeyFormatError,
    MalformedError,
    UnsupportedVersionError,
    XKey,
    XKeyMsgError,
    XKeyPair,
    primitives,
    xkv1,
)

ALICE = XKeyPair(bytes(range(32)))
BOB = XKeyPair(bytes(range(100, 132)))
EVE = XKeyPair(bytes(range(200, 232)))
P = 2**255 - 19


def little(number: int) -> bytes:
    return number.to_bytes(32, "little")


def order_eight() -> list[int]:
    """The u-coordinates of order 8 by their definition: doubling one gives u = 1 or u = -1 (mod p).

    On y² = x³ + 486662 x² + x a point doubles to ((u² - 1)²) / (4 u (u² + 486662 u + 1)).
    """
    known = [
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    ]
    for u in known:
        double = (u * u - 1) ** 2 * pow(4 * u * (u * u + 486662 * u + 1), -1, P) % P
        assert double == 1, "1 is a point of order 4"
    return known


def test_keys_of_small_order_are_refused() -> None:
    for u in (0, 1, P - 1, *order_eight()):
        with pytest.raises(KeyFormatError, match="small order"):
            XKey(little(u))


def test_keys_that_are_not_canonical_are_refused() -> None:
    raw = bytes(ALICE.public)
    for other in (little(P), little(P + 1), little(2**255 - 1), raw[:31] + bytes([raw[31] | 0x80])):
        with pytest.raises(KeyFormatError):
            XKey(other)
    assert bytes(XKey(little(P - 2))) == little(P - 2)


def test_a_refused_point_would_have_shared_the_zero_secret() -> None:
    with pytest.raises(nacl.exceptions.CryptoError):
        nacl.bindings.crypto_scalarmult(bytes(range(32)), little(1))


@for_each("raw", [b"", bytes(31), bytes(33), bytes(10_000_000)])
def test_a_raw_key_has_32_bytes(raw: bytes) -> None:
    with pytest.raises(KeyFormatError, match="32 bytes"):
        XKey(raw)
    with pytest.raises(KeyFormatError, match="32 bytes"):
        XKeyPair(raw)


def test_what_is_derived_is_of_the_secret_and_of_the_use() -> None:
    one, other = XKeyPair.generate(), XKeyPair.generate()
    seen = {pair.derive(label) for pair in (one, other) for label in (b"a", b"b", b"a\0b", b"")}
    assert len(seen) == 8
    assert {len(each) for each in seen} == {32}
    assert one.derive(b"a") == XKeyPair.from_seed(one.seed()).derive(b"a")
    # What they are made of does not leave.
    shared = [primitives.x25519(raw_secret(one), bytes(key)) for key in (one.public, other.public)]
    assert not any(secret in seen for secret in (*shared, bytes(one.public)))


@for_each("value", ["x" * 32, bytearray(32), memoryview(bytes(32)), None])
def test_a_raw_key_of_another_type_is_the_callers_bug(value: object) -> None:
    for make in (XKey, XKeyPair):
        with pytest.raises(TypeError):
            make(value)  # type: ignore[arg-type]


def test_a_public_key_is_a_value() -> None:
    again = XKey.parse(str(ALICE.public))
    assert again == ALICE.public
    assert hash(again) == hash(ALICE.public)
    assert bytes(again) == bytes(ALICE.public)
    assert again != BOB.public
    assert again != str(again)
    assert repr(again) == f"XKey('{again}')"
    assert {again: 1}[ALICE.public] == 1
    assert pickle.loads(pickle.dumps(again)) == copy.deepcopy(again) == again


def test_a_public_key_cannot_be_changed_or_ordered() -> None:
    for name in XKey.__slots__:
        with pytest.raises(AttributeError):
            setattr(ALICE.public, name, bytes(32))
    with pytest.raises(TypeError):
        ALICE.public < BOB.public  # type: ignore[operator]  # noqa: B015


def test_a_fingerprint_is_short_and_readable() -> None:
    assert ALICE.public.fingerprint == "W5MG-AEPT-CJMX-5QTI-EAVO"
    assert ALICE.public.fingerprint != BOB.public.fingerprint


def test_a_pair_comes_back_from_its_seed() -> None:
    pair = XKeyPair.generate()
    again = XKeyPair.from_seed(pair.seed())
    assert again.public == pair.public
    assert XKeyPair.generate().public != pair.public


@given(st.binary(max_size=300))
def test_xkv1_round_trips_and_adds_44_bytes(data: bytes) -> None:
    sealed = xkv1.seal(data, key=ALICE, to=BOB.public)
    assert len(sealed) == len(data) + xkv1.OVERHEAD == len(data) + 44
    assert xkv1.open(sealed, key=BOB, sender=ALICE.public) == data


def test_xkv1_is_the_box_of_nacl() -> None:
    box = nacl.public.Box(
        nacl.public.PrivateKey(bytes(range(100, 132))), nacl.public.PublicKey(bytes(ALICE.public))
    )
    assert box.decrypt(xkv1.seal(b"hello", key=ALICE, to=BOB.public)[4:]) == b"hello"
    assert (
        xkv1.open(b"xkv1" + bytes(box.encrypt(b"hello")), key=BOB, sender=ALICE.public) == b"hello"
    )


def test_every_message_has_its_own_nonce() -> None:
    assert len({xkv1.seal(b"", key=ALICE, to=BOB.public)[4:28] for _ in range(1000)}) == 1000


@given(st.integers(min_value=0), st.integers(0, 7))
def test_any_flipped_bit_is_refused(place: int, bit: int) -> None:
    sealed = bytearray(xkv1.seal(b"attack at dawn", key=ALICE, to=BOB.public))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises((AuthenticationError, MalformedError, UnsupportedVersionError)):
        xkv1.open(bytes(sealed), key=BOB, sender=ALICE.public)


def test_every_truncation_is_refused() -> None:
    sealed = xkv1.seal(b"attack at dawn", key=ALICE, to=BOB.public)
    for end in range(len(sealed)):
        with pytest.raises((AuthenticationError, MalformedError)):
            xkv1.open(sealed[:end], key=BOB, sender=ALICE.public)


@given(st.one_of(st.binary(), st.binary(max_size=60).map(lambda tail: b"xkv1" + tail)))
def test_any_bytes_raise_only_our_errors(data: bytes) -> None:
    with pytest.raises(XKeyMsgError):
        xkv1.open(data, key=BOB, sender=ALICE.public)


def test_only_the_recipient_opens_and_only_as_from_the_sender() -> None:
    sealed = xkv1.seal(b"hello", key=ALICE, to=BOB.public)
    for pair, sender in ((EVE, ALICE.public), (BOB, EVE.public), (EVE, BOB.public)):
        with pytest.raises(AuthenticationError):
            xkv1.open(sealed, key=pair, sender=sender)


@for_each(
    ("sealed", "error"),
    [
        (b"", MalformedError),
        (b"xkv1", MalformedError),
        (b"xkv1" + bytes(39), MalformedError),
        (b"XKV1" + bytes(60), MalformedError),
        (b"xkv2" + bytes(60), UnsupportedVersionError),
        (b"xkm1" + bytes(60), UnsupportedVersionError),
        (b"xkv1" + bytes(40), AuthenticationError),
    ],
)
def test_each_way_to_fail_has_its_error(sealed: bytes, error: type[XKeyMsgError]) -> None:
    with pytest.raises(error):
        xkv1.open(sealed, key=BOB, sender=ALICE.public)


def test_what_xkv1_does_not_give_is_as_documented() -> None:
    sealed = xkv1.seal(b"pay 5", key=ALICE, to=BOB.public)
    assert xkv1.open(sealed, key=ALICE, sender=BOB.public) == b"pay 5", "it reflects"
    opened = [xkv1.open(sealed, key=BOB, sender=ALICE.public) for _ in range(2)]
    assert opened == [b"pay 5"] * 2, "it replays"
    forged = xkv1.seal(b"pay 500", key=BOB, to=ALICE.public)
    assert xkv1.open(forged, key=BOB, sender=ALICE.public) == b"pay 500", "the recipient forges"


@for_each("value", ["text", [120] * 60, None])
def test_wrong_types_are_the_callers_bug(value: object) -> None:
    with pytest.raises(TypeError):
        xkv1.seal(value, key=ALICE, to=BOB.public)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        xkv1.open(value, key=BOB, sender=ALICE.public)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        xkv1.seal(b"", key=ALICE, to=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        xkv1.open(b"", key=BOB, sender=value)  # type: ignore[arg-type]


class TestPairKeys:
    """One X25519 for the first message between two keys, none for the next ones."""

    @pytest.fixture
    def exchanges(self, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        made: list[bytes] = []
        real = primitives.box_pair_key

        def counted(public: bytes, secret: bytes) -> bytes:
            made.append(public)
            return real(public, secret)

        monkeypatch.setattr(primitives, "box_pair_key", counted)
        return made

    def test_are_cached(self, exchanges: list[bytes]) -> None:
        pair = XKeyPair.generate()
        for _ in range(5):
            xkv1.open(xkv1.seal(b"x", key=BOB, to=pair.public), key=pair, sender=BOB.public)
            xkv1.seal(b"x", key=pair, to=BOB.public)
        assert exchanges.count(bytes(BOB.public)) == 1

    def test_are_bounded(self, exchanges: list[bytes]) -> None:
        pair, peers = XKeyPair.generate(), [XKey(little(2 + number)) for number in range(1100)]
        for peer in [*peers, *reversed(peers[-1024:])]:
            xkv1.seal(b"", key=pair, to=peer)
        assert len(exchanges) == 1100  # the last 1,024 are cached
        xkv1.seal(b"", key=pair, to=peers[-1025])
        assert len(exchanges) == 1101  # and no others

    def test_are_right_from_many_threads(self) -> None:
        pair, wrong = XKeyPair.generate(), list[Exception]()
        peers = [XKeyPair.generate() for _ in range(20)]

        def work() -> None:
            try:
                for peer in peers * 5:
                    box = xkv1.seal(b"x", key=pair, to=peer.public)
                    assert xkv1.open(box, key=peer, sender=pair.public) == b"x"
            except Exception as error:  # noqa: BLE001
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestTheSecret:
    """It leaves by `seed()` and by nothing else."""

    SECRET = bytes(range(100, 132))
    SPELLINGS = (SECRET.hex(), repr(SECRET)[2:-1], BOB.seed(), BOB.seed()[2:40], str(SECRET))

    def assert_absent(self, text: str) -> None:
        assert text
        for spelling in self.SPELLINGS:
            assert spelling not in text

    @pytest.mark.parametrize("show", [str, repr, "{}".format, "%r".__mod__, "{!a}".format])
    def test_is_in_no_representation(self, show: Callable[[object], str]) -> None:
        self.assert_absent(show(BOB))
        assert str(BOB.public) in show(BOB)

    def test_is_in_no_attribute_that_vars_or_a_logger_would_show(self) -> None:
        stream = io.StringIO()
        logger = logging.Logger("test")
        logger.addHandler(logging.StreamHandler(stream))
        logger.warning("%s %r %s", BOB, BOB, [BOB])
        self.assert_absent(stream.getvalue())
        with pytest.raises(TypeError):
            vars(BOB)

    def test_cannot_be_pickled_or_copied(self) -> None:
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                arguments = (BOB, protocol) if take is pickle.dumps else (BOB,)
                with pytest.raises(TypeError, match="cannot be pickled"):
                    take(*arguments)

    def test_is_in_no_error(self) -> None:
        seed = BOB.seed()
        broken = [seed[:-1], seed + "A", seed.lower(), seed[:30] + "7" + seed[31:], f" {seed}"]
        for text in broken:
            with pytest.raises(KeyFormatError) as caught:
                XKeyPair.from_seed(text)
            shown = "".join(traceback.format_exception(caught.value))
            assert caught.value.__context__ is None
            self.assert_absent(shown)
            assert text not in shown

    def test_is_not_in_what_sealing_wrongly_says(self) -> None:
        with pytest.raises(AuthenticationError) as caught:
            xkv1.open(b"xkv1" + bytes(60), key=BOB, sender=ALICE.public)
        self.assert_absent("".join(traceback.format_exception(caught.value)))

    def test_is_not_in_the_public_keys_pickle(self) -> None:
        assert self.SECRET not in pickle.dumps(BOB.public)

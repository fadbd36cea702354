"""Mistakes of programs that would else pass silently: each is an error that says what to do."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.cases import for_each
from xkeymsg import (
    AtRest,
    ConfigurationError,
    Limits,
    Live,
    Opener,
    Policy,
    Sealer,
    Stream,
    StreamPosition,
    XKey,
    XKeyPair,
    misuse,
)
from xkeymsg.ambient import now_ns
from xkeymsg.testing import MemoryNATS

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
ALL = Policy([("/**", ["p"])])


def seal(**more: Any) -> bytes:
    given: dict[str, Any] = {"to": [BOB.public], "subject": "a"} | more
    return Sealer(ALICE).seal(b"x", **given)


# --- readers --------------------------------------------------------------------------------------


def generated() -> Iterator[XKey]:
    yield BOB.public


@for_each("make", [generated, lambda: iter([BOB.public]), lambda: map(XKey, [bytes(BOB.public)])])
def test_readers_in_an_iterator_are_refused_with_the_first_document(
    make: Callable[[], Any],
) -> None:
    """They would be nobody from the second one on, with `allow_unread` without any error."""
    policy = Policy([("/**", ["p"])], allow_unread=["p"])
    sealer = Sealer(ALICE)
    readers = {"p": make()}
    with pytest.raises(TypeError, match=r"the readers of 'p' are an iterator, .* give a list"):
        sealer.seal_document({}, policy=policy, readers=readers, subject="a")


def test_readers_that_become_an_iterator_are_never_left_out() -> None:
    sealer, opener = Sealer(ALICE), Opener(BOB, {ALICE.public})
    readers: dict[str, Any] = {"p": [BOB.public]}

    def sealed() -> bytes:
        return sealer.seal_document({"a": 1}, policy=ALL, readers=readers, subject="a")

    opener.open_document(sealed(), subject="a")
    readers["p"] = generated()
    opener.open_document(sealed(), subject="a")  # it had the same keys as before
    with pytest.raises(TypeError, match="iterator"):
        sealed()


async def test_a_client_refuses_readers_in_an_iterator() -> None:
    async with MemoryNATS().connect(key=ALICE, trust={BOB.public}) as client:
        for _ in range(2):
            with pytest.raises(TypeError, match="the readers of 'p' are an iterator"):
                await client.publish_document("a", {}, policy=ALL, readers={"p": generated()})


@for_each("kind", [list, tuple, set, frozenset, dict.fromkeys])
def test_readers_in_any_collection_are_taken(kind: Callable[[Any], Any]) -> None:
    sealer, opener = Sealer(ALICE), Opener(BOB, {ALICE.public})
    readers = {"p": kind([BOB.public])}
    for number in range(3):
        sealed = sealer.seal_document({"a": number}, policy=ALL, readers=readers, subject="a")
        assert opener.open_document(sealed, subject="a").document == {"a": number}


# --- positions ------------------------------------------------------------------------------------


def position(sequence: int = 1) -> StreamPosition:
    return StreamPosition("S", sequence, now_ns() // 1_000_000)


def test_one_position_for_two_messages_raises() -> None:
    """Else a second copy in the stream would pass for a redelivery of the first."""
    opener, constant = Opener(BOB, {ALICE.public}), position()
    opener.open(seal(), subject="a", position=constant)
    with pytest.raises(ConfigurationError, match="two messages with one StreamPosition"):
        opener.open(seal(), subject="a", position=constant)


def test_one_position_for_two_documents_raises() -> None:
    sealer, opener, constant = Sealer(ALICE), Opener(BOB, {ALICE.public}), position()
    first, second = (
        sealer.seal_document({"n": n}, policy=ALL, readers={"p": [BOB.public]}, subject="a")
        for n in range(2)
    )
    opener.open_document(first, subject="a", position=constant)
    with pytest.raises(ConfigurationError, match="StreamPosition"):
        opener.open_document(second, subject="a", position=constant)


def test_a_redelivery_has_the_position_of_the_first_delivery() -> None:
    opener, own, envelope = Opener(BOB, {ALICE.public}), position(), seal()
    for _ in range(3):
        assert opener.open(envelope, subject="a", position=own).data == b"x"


def test_positions_of_their_own_are_taken() -> None:
    opener = Opener(BOB, {ALICE.public})
    for sequence in range(1, 5):
        opener.open(seal(), subject="a", position=position(sequence))


# --- an opener for each message -------------------------------------------------------------------


@pytest.mark.usefixtures("only_young_garbage")
def test_openers_that_are_made_for_each_message_are_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(misuse, "brief_openers", itertools.count(1))
    monkeypatch.setattr(misuse, "MANY", 5)
    monkeypatch.setattr(misuse, "BRIEF", 60.0)

    def open_each() -> None:
        for _ in range(8):
            Opener(BOB, {ALICE.public}).open(seal(), subject="a")
        gc.collect()

    with pytest.warns(RuntimeWarning, match="keep one per subscription") as caught:
        open_each()
    assert len(caught) == 1


@pytest.mark.usefixtures("only_young_garbage")
def test_openers_of_data_at_rest_and_those_that_opened_nothing_are_not_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = itertools.count(1)
    monkeypatch.setattr(misuse, "brief_openers", counted)
    monkeypatch.setattr(misuse, "BRIEF", 60.0)
    Opener(BOB, {ALICE.public}, replay=AtRest()).open(seal(), subject="a")
    Opener(BOB, {ALICE.public})
    kept = Opener(BOB, {ALICE.public})
    kept.open(seal(), subject="a")
    gc.collect()
    assert next(counted) == 1


def test_an_object_that_was_not_initialized_dies_in_silence() -> None:
    """Such as one whose `__init__` was interrupted."""
    misuse.Usage.__new__(misuse.Usage).__del__()


# --- labels ---------------------------------------------------------------------------------------


@for_each("label", [b"x" * 17, b"a\0", b"\0", b"x" * 15 + b"\0"])
def test_labels_that_collide_are_refused(label: bytes) -> None:
    with pytest.raises(ConfigurationError, match="at most 16 bytes, and not end in NUL"):
        ALICE.derive(label)


@for_each("label", ["text", bytearray(b"x"), None])
def test_a_label_is_bytes(label: Any) -> None:
    with pytest.raises(TypeError, match="a label must be bytes"):
        ALICE.derive(label)


def test_what_other_labels_derive_has_not_changed() -> None:
    pair = XKeyPair(bytes(range(32)))
    assert {label: pair.derive(label).hex() for label in (b"", b"a", b"\0a", b"x" * 16)} == {
        b"": EXPECTED[0],
        b"a": EXPECTED[1],
        b"\0a": EXPECTED[2],
        b"x" * 16: EXPECTED[3],
    }


EXPECTED = (
    "97af94fd752f2a96772a670036991a2adf951b4d160b2d35889bc04fbe1be750",
    "890ae85c7f6fb370298d0dfb574099c9faf68a9149ef480a869fd6ce706bf7e2",
    "335ace24aa7bc0f57d9dd4ce2e5f82f670921fec93baf6a260b18679f954aa9b",
    "328e2883c9a42ca66e5cbf8ee010901cca326c8030df9e052fa2b3d7f264bcee",
)

# --- limits and durations -------------------------------------------------------------------------


NOT_SECONDS: list[Any] = ["5m", True, timedelta(minutes=5), Decimal(1), [1]]


@for_each("value", [*NOT_SECONDS, None])
@for_each("name", ["max_age", "skew"])
def test_a_duration_among_the_limits_is_a_number_of_seconds(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"limit {name} must be a number of seconds, such as"):
        Limits(**{name: value})


@for_each("value", [0, -1, 0.0004, float("nan"), float("inf"), -float("inf"), 1e300])
@for_each("name", ["max_age", "skew"])
def test_a_duration_among_the_limits_is_positive_and_finite(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"limit {name} must be"):
        Limits(**{name: value})


@for_each("value", [1e6, "8 MiB", None, True, timedelta(seconds=1)])
@for_each("name", ["envelope", "depth", "recipients", "holes"])
def test_a_number_limit_is_an_int(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"limit {name} must be an int, not"):
        Limits(**{name: value})


def test_the_error_about_a_limit_is_bounded() -> None:
    with pytest.raises(TypeError) as caught:
        Limits(depth="x" * 1_000_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("value", NOT_SECONDS)
async def test_other_durations_are_numbers_of_seconds_too(value: Any) -> None:
    for policy in (Live, Stream):
        with pytest.raises(TypeError, match="max_age must be a number of seconds"):
            policy(max_age=value)
    with pytest.raises(TypeError, match="expires must be a number of seconds"):
        seal(expires=value)
    async with MemoryNATS().connect(key=ALICE, trust={BOB.public}) as client:
        with pytest.raises(TypeError, match="expires must be a number of seconds"):
            await client.publish("a", b"x", to=BOB.public, expires=value)


@for_each("value", [float("nan"), float("inf"), 1e300, 10**400])
def test_an_expiry_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="expires must be a finite number of seconds"):
        seal(expires=value)

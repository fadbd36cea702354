"""Arguments of the wrong type are the caller's bug: TypeError, not an error of the message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, SUBJECT
from xkeymsg import (
    ANYONE,
    AtRest,
    ConfigurationError,
    KeyFormatError,
    Keyring,
    Limits,
    Live,
    Opener,
    Recipient,
    Sealer,
    Stream,
    StreamPosition,
)

ENVELOPE = Sealer(ALICE).seal(b"hi", to=[BOB.public], subject=SUBJECT)


def seal(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {"data": b"", "to": [BOB.public], "subject": SUBJECT} | changes
    data = arguments.pop("data")
    return Sealer(ALICE).seal(data, **arguments)


def open_(**changes: Any) -> object:
    arguments: dict[str, Any] = {"envelope": ENVELOPE, "subject": SUBJECT} | changes
    envelope = arguments.pop("envelope")
    return Opener(BOB, {ALICE.public}).open(envelope, **arguments)


@for_each(
    ("name", "value"),
    [
        ("data", "text"),
        ("data", [120]),
        ("data", 7),
        ("data", None),
        ("to", BOB.public),
        ("to", str(BOB.public)),
        ("to", [str(BOB.public)]),
        ("to", [bytes(BOB.public)]),
        ("to", [BOB]),
        ("to", [None]),
        ("to", [[]]),
        ("to", None),
        ("subject", b"orders"),
        ("subject", None),
        ("subject", ["orders"]),
        ("headers", {"A": 1}),
        ("headers", {1: "a"}),
        ("headers", {b"A": "a"}),
        ("headers", {"A": None}),
        ("headers", [("A", b"a")]),
        ("headers", ["A"]),
        ("headers", "AB"),
        ("headers", [("A", "b", "c")]),
        ("headers", [("A",)]),
        ("headers", 7),
        ("content_type", b"text/plain"),
        ("content_type", 7),
        ("expires", True),
        ("expires", timedelta(seconds=60)),
        ("expires", "1h"),
        ("expires", datetime(2026, 1, 1, tzinfo=UTC)),
        ("revision", "7"),
        ("revision", 7.0),
        ("revision", 700.5),
        ("revision", True),
        ("revision", b"7"),
    ],
)
def test_a_sealer_refuses_an_argument_of_the_wrong_type(name: str, value: object) -> None:
    with pytest.raises(TypeError):
        seal(**{name: value})


@for_each(
    ("name", "value"),
    [
        ("envelope", "xkm1"),
        ("envelope", list(ENVELOPE)),
        ("envelope", 7),
        ("envelope", None),
        ("subject", b"orders"),
        ("subject", None),
        ("subject", 7),
        ("subject", [b"orders"]),
        ("subject", [None]),
        ("subject", [["orders"]]),
        ("wire_subject", SUBJECT.encode()),
        ("wire_subject", 7),
        ("wire_subject", [SUBJECT]),
        ("position", 7),
        ("position", "stream"),
        ("position", ("stream", 7, 7)),
        ("position", StreamPosition("stream", 7, datetime(2026, 1, 1, tzinfo=UTC))),  # type: ignore[arg-type]
        ("position", StreamPosition("stream", 7, "7")),  # type: ignore[arg-type]
        ("position", StreamPosition("stream", 7.0, 7)),  # type: ignore[arg-type]
        ("position", StreamPosition(b"stream", 7, 7)),  # type: ignore[arg-type]
    ],
)
def test_an_opener_refuses_an_argument_of_the_wrong_type(name: str, value: object) -> None:
    with pytest.raises(TypeError):
        open_(**{name: value})


@for_each(
    "make",
    [
        lambda: Sealer(ALICE.public),  # type: ignore[arg-type]
        lambda: Sealer(ALICE.seed()),  # type: ignore[arg-type]
        lambda: Sealer(None),  # type: ignore[arg-type]
        lambda: Sealer(ALICE, signer="SU…"),  # type: ignore[arg-type]
        lambda: Sealer(ALICE, signer=ALICE),  # type: ignore[arg-type]
        lambda: Sealer(ALICE, identity=ALICE_USER.public_key),  # type: ignore[arg-type]
        lambda: Sealer(ALICE, always_to=BOB.public),  # type: ignore[arg-type]
        lambda: Sealer(ALICE, always_to=[str(BOB.public)]),  # type: ignore[list-item]
        lambda: Opener(BOB.public, ANYONE),  # type: ignore[arg-type]
        lambda: Opener(BOB.seed(), ANYONE),  # type: ignore[arg-type]
        lambda: Opener(None, ANYONE),  # type: ignore[arg-type]
        lambda: Opener(Keyring(BOB, retired=[BOB.public]), ANYONE),  # type: ignore[list-item]
        lambda: Opener(BOB, {ALICE.public: None}),
        lambda: Live("300"),  # type: ignore[arg-type]
        lambda: Opener(BOB, ANYONE, replay="live"),  # type: ignore[arg-type]
        lambda: Opener(BOB, ANYONE, replay=None),  # type: ignore[arg-type]
        lambda: Opener(BOB, ANYONE, replay=Live),  # type: ignore[arg-type]
        lambda: Opener(BOB, ANYONE).settle(None),  # type: ignore[arg-type]
        lambda: Opener(BOB, ANYONE).release(b"id"),  # type: ignore[arg-type]
        lambda: Recipient(str(BOB.public)),  # type: ignore[arg-type]
        lambda: Recipient(BOB.public, b"U"),  # type: ignore[arg-type]
    ],
)
def test_what_is_made_of_the_wrong_type_is_refused_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


@for_each(
    "make",
    [
        lambda: Opener(BOB, ALICE.public),  # type: ignore[arg-type]
        lambda: Opener(BOB, str(ALICE.public)),  # type: ignore[arg-type]
        lambda: Opener(BOB, bytes(ALICE.public)),  # type: ignore[arg-type]
        lambda: Opener(BOB, {str(ALICE.public)}),  # type: ignore[arg-type]
        lambda: Opener(BOB, {str(ALICE.public): ALICE_USER.public}),  # type: ignore[dict-item]
        lambda: Opener(BOB, 7),  # type: ignore[arg-type]
        lambda: Live(0),
        lambda: Stream(max_age=-1),
        lambda: Opener(BOB, ANYONE, replay=Stream()).open(ENVELOPE, subject=SUBJECT),
        lambda: Opener(BOB, ANYONE, replay=AtRest()).open(
            ENVELOPE, subject=SUBJECT, position=StreamPosition("S", 1, 1)
        ),
        lambda: Opener(BOB, ANYONE, require_signature=True),
        lambda: Opener(BOB, {ALICE.public}, require_signature=True),
        lambda: Opener(BOB).open(ENVELOPE, subject=SUBJECT),
        lambda: Opener(BOB, require_signature=True).open(
            ENVELOPE, subject=SUBJECT, senders={ALICE.public}
        ),
        lambda: Limits(recipients=0),
        lambda: Limits(recipients=1025),
        lambda: Limits(parts=65),
        lambda: Limits(views=257),
        lambda: Limits(headers=1001),
        lambda: Limits(message_array=65_537),
        lambda: Limits(envelope=-1),
        lambda: Limits(skew=0),
    ],
)
def test_contradictory_arguments_are_configuration_errors(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


@for_each("bad", ["", "a b", "a..b", ">.a", "a.>.b", "a*", "*.", "a\n", "x" * 256])
def test_an_invalid_pattern_is_the_readers_fault_not_the_senders(bad: str) -> None:
    # With `malformed`, a consumer would discard every message.
    with pytest.raises(ConfigurationError):
        open_(subject=bad)
    with pytest.raises(ConfigurationError):
        open_(subject=[SUBJECT, bad])


@for_each("user", ["", "U", str(BOB.public), ALICE_USER.public + "A"])
def test_a_senders_user_is_a_user_key(user: str) -> None:
    with pytest.raises(KeyFormatError):
        Opener(BOB, {ALICE.public: user})

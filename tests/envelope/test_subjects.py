"""Accepted subjects: the sealed subject counts, not the one of the broker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    BOB,
    SUBJECT,
    reader,
)
from xkeymsg import (
    Admission,
    ConfigurationError,
    Opener,
    Sealer,
    SenderNotAdmittedError,
    SubjectMismatchError,
    XKey,
)
from xkeymsg.envelope.subject import matcher


def sealed(subject: str = SUBJECT, data: bytes = b"data") -> bytes:
    return Sealer(ALICE).seal(data, to=[BOB.public], subject=subject)


@for_each(
    ("expected", "subject"),
    [
        (SUBJECT, SUBJECT),
        ("orders.*", "orders.new"),
        ("*.new", "orders.new"),
        ("*.*", "orders.new"),
        ("*", "orders"),
        (">", "orders"),
        (">", "orders.new.eu"),
        ("orders.>", "orders.new"),
        ("orders.>", "orders.new.eu"),
        ("orders.*.>", "orders.new.eu.west"),
        ("*.new.>", "orders.new.eu"),
        (["nothing", "orders.*"], "orders.new"),
        (("orders.new",), "orders.new"),
        ("_XKM.reply.7", "_XKM.reply.7"),
        ("_XKM", "_XKM"),
        ("*", "_XKMx"),
        (">", "a._XKM"),
        ("ordérs.*", "ordérs.new"),
    ],
)
def test_a_subject_that_is_expected_is_taken(expected: str | Sequence[str], subject: str) -> None:
    assert reader().open(sealed(subject), subject=expected).subject == subject


@for_each(
    ("expected", "subject"),
    [
        ("orders.new", "orders.New"),
        ("orders.new", "orders.new.eu"),
        ("orders.*", "orders"),
        ("orders.*", "orders.new.eu"),
        ("orders.>", "orders"),
        ("orders.>", "order.new"),
        ("*.new", "new"),
        ("*", "orders.new"),
        ("*.*.>", "orders.new"),
        (["a", "b.>"], "orders.new"),
        ([], "orders.new"),
        ("café", "cafe\u0301"),
    ],
)
def test_a_subject_that_is_not_expected_is_refused(
    expected: str | Sequence[str], subject: str
) -> None:
    # E-67
    with pytest.raises(SubjectMismatchError):
        reader().open(sealed(subject), subject=expected)


@for_each("pattern", [">", "*.>", "*.*.*", "_XKM.>", "_XKM.*.*", "_XKM.reply.*"])
def test_no_pattern_takes_a_reply(pattern: str) -> None:
    # E-68: a reply belongs to the request that waits for it, not to a subscriber of `>`.
    with pytest.raises(SubjectMismatchError):
        reader().open(sealed("_XKM.reply.7"), subject=pattern)


def test_the_wire_subject_has_to_be_the_sealed_one_where_it_is_given() -> None:
    # A broker that remaps `orders.*` delivers under a subject other than the sealed one.
    opener, envelope = reader(), sealed("orders.new")
    assert opener.open(envelope, subject="orders.*", wire_subject="orders.new").data == b"data"
    for wire in ("orders.old", "", "orders.new ", "ORDERS.NEW"):
        with pytest.raises(SubjectMismatchError):
            opener.open(envelope, subject="orders.*", wire_subject=wire)


def test_without_a_wire_subject_the_sealed_one_decides() -> None:
    with pytest.raises(SubjectMismatchError):
        reader().open(sealed("orders.new"), subject="orders.old")


class _Trust:
    """Admits Alice for orders, and records each call."""

    def __init__(self) -> None:
        self.asked: list[tuple[XKey, str]] = []

    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        self.asked.append((sender, subject))
        return Admission() if subject.startswith("orders.") else None


def test_trust_is_asked_about_the_sealed_subject_not_that_on_the_wire() -> None:
    trust = _Trust()
    opener = Opener(BOB, trust)
    opener.open(sealed("orders.new"), subject=">")
    with pytest.raises(SenderNotAdmittedError):
        opener.open(sealed("wages.new"), subject=">", wire_subject="orders.new")
    assert trust.asked == [(ALICE.public, "orders.new"), (ALICE.public, "wages.new")]


@for_each("expected", ["a..b", "a.>.b", "a b", ""])
def test_what_is_expected_has_to_be_a_subject_or_a_pattern(expected: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a subject nor a pattern: a subject "):
        matcher(expected)

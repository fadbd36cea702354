"""What two people read to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB
from xkeymsg import KeyFormatError
from xkeymsg.cli.fingerprints import is_fingerprint_of

OF_ALICE = ALICE.public.fingerprint


@for_each(
    "spoken",
    [
        OF_ALICE,
        OF_ALICE.lower(),
        OF_ALICE.replace("-", ""),
        " ".join(OF_ALICE.replace("-", "")),
        "  " + OF_ALICE.replace("-", " \u2013 ") + ".\n",
        OF_ALICE.replace("O", "0").replace("I", "1").replace("B", "8"),
    ],
)
def test_case_groups_and_lookalikes_do_not_matter(spoken: str) -> None:
    assert is_fingerprint_of(ALICE.public, spoken)
    assert not is_fingerprint_of(BOB.public, spoken)


@given(st.integers(0, 19), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_every_character_counts(place: int, other: str) -> None:
    text = OF_ALICE.replace("-", "")
    spoken = text[:place] + other + text[place + 1 :]
    assert is_fingerprint_of(ALICE.public, spoken) == (spoken == text)


@for_each("part", ["", OF_ALICE[:4], OF_ALICE[:-1], OF_ALICE + "A", "9" * 20, "é" * 20])
def test_a_part_of_it_is_not_enough(part: str) -> None:
    with pytest.raises(KeyFormatError, match="20 letters"):
        is_fingerprint_of(ALICE.public, part)


def test_it_has_a_hundred_bits() -> None:
    groups = OF_ALICE.split("-")
    assert [len(group) for group in groups] == [4] * 5
    with pytest.raises(TypeError):
        is_fingerprint_of(ALICE.public, b"x")  # type: ignore[arg-type]

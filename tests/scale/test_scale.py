"""The checks at scale in short, and that they see what they are there to see."""

from __future__ import annotations

import secrets
from typing import Any
from unittest import mock

import pytest

from tests.cases import for_each
from tests.scale import mutations, pace, streams
from tests.scale.objects import objects
from tests.scale.outcome import Outcome
from tests.scale.reseal import reseal
from tests.scale.rotation import rotation
from xkeymsg import Limits, Message, Opener

pytestmark = pytest.mark.timeout(300)


def passed(outcome: Outcome) -> None:
    assert outcome.errors == [], "\n".join([*outcome.lines, *outcome.errors])


def test_mutations_are_judged_as_by_the_reference() -> None:
    seed = secrets.randbelow(1 << 31)
    codes = mutations.unit(seed, 0, 300)
    assert codes.total() == 5 * 300
    assert len(codes) > 8, codes
    assert codes["opened"] > 20, codes


def test_a_unit_of_mutations_is_repeated_by_its_seed() -> None:
    assert mutations.unit(7, 3, 100) == mutations.unit(7, 3, 100) != mutations.unit(7, 4, 100)


@for_each("error", [KeyError("x"), IndexError(), UnicodeDecodeError("a", b"", 0, 1, "b")])
def test_an_exception_that_is_not_ours_is_a_difference(error: Exception) -> None:
    with mock.patch("xkeymsg.opener.locate", side_effect=error):
        with pytest.raises(mutations.DifferenceError, match=type(error).__name__):
            mutations.unit(1, 0, 50)


def test_a_reader_that_takes_any_subject_is_a_difference() -> None:
    genuine = Opener.open

    def careless(self: Opener, envelope: bytes, **more: Any) -> Message:
        return genuine(self, envelope, **more | {"subject": ">"})

    with mock.patch.object(Opener, "open", careless):
        with pytest.raises(mutations.DifferenceError, match="subject_mismatch"):
            mutations.unit(1, 0, 1000)


@pytest.mark.slow
async def test_rotation_under_kills_loses_nothing() -> None:
    passed(await rotation(kills=4, per_second=100, interval=6))


@pytest.mark.slow
async def test_a_reseal_that_is_killed_copies_each_message_once() -> None:
    passed(await reseal(messages=3000, kills=3, pause=0))


def test_a_busy_sender_makes_no_slow_one_stale() -> None:
    passed(pace.rate(per_second=500, seconds=2))


@pytest.mark.slow
def test_a_hostile_sender_floods_its_own_marks_alone() -> None:
    passed(pace.flood(most=20_000, others=50, limits=Limits(replay_bytes=1 << 20)))


@pytest.mark.slow
async def test_an_object_needs_little_memory_on_both_sides() -> None:
    passed(await objects(size=96 << 20))


@pytest.mark.slow
async def test_an_object_with_a_list_of_hashes_needs_little_memory() -> None:
    passed(await objects(size=8 << 20, max_payload=4 << 10))


async def test_what_a_dead_worker_had_is_handled() -> None:
    passed(await streams.takeover(held=5, others=500))


@pytest.mark.parametrize("check", [streams.rewound, streams.recreated])
async def test_a_durable_that_begins_again_gives_everything_again(check: Any) -> None:
    passed(await check(messages=500))

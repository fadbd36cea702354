"""Detection of a durable that begins again, from what the server says of it."""

from __future__ import annotations

import pytest

from xkeymsg.client.jetstream.durables import Durable
from xkeymsg.client.jetstream.restarts import Restarts

FIRST = "2026-01-01T00:00:00.123456789Z"


def durable(created: str = FIRST, max_ack_pending: int = 1000) -> Durable:
    return Durable(30.0, max_ack_pending, 0, created, {})


def counted(*numbers: int, max_ack_pending: int = 1000) -> Restarts:
    restarts = Restarts()
    restarts.learn(durable(max_ack_pending=max_ack_pending))
    for number in numbers:
        assert not restarts.is_restart(number)
    return restarts


def test_deliveries_that_count_up_are_of_one_scope() -> None:
    counted(5, 6, 7, 100, 5000)  # other workers got the ones between


@pytest.mark.parametrize("number", [1, 3, 99, 100])
def test_a_count_that_does_not_rise_is_a_restart(number: int) -> None:
    restarts = counted(1, 2, 100)

    assert restarts.is_restart(number)
    assert not restarts.is_restart(number + 1)
    assert restarts.is_restart(number + 1)


def test_a_consumer_that_delivered_once_and_is_reset_begins_again() -> None:
    assert counted(1).is_restart(1)


def test_after_an_interruption_a_server_may_have_lost_a_part_of_its_count() -> None:
    restarts = counted(1, 5000)
    restarts.interrupt()

    assert not restarts.is_restart(4000)
    assert not restarts.is_restart(4001)
    assert restarts.is_restart(4001)


@pytest.mark.parametrize(("number", "restart"), [(1, True), (3999, True), (4000, False)])
def test_it_may_not_have_lost_more_than_may_be_pending(number: int, restart: bool) -> None:
    restarts = counted(1, 5000)
    restarts.interrupt()

    assert restarts.is_restart(number) is restart


def test_what_was_lost_once_is_counted_from_the_greatest() -> None:
    """A second interruption gives no more room than the first."""
    restarts = counted(1, 5000)
    restarts.interrupt()
    assert not restarts.is_restart(4100)
    restarts.interrupt()

    assert restarts.is_restart(3990)


@pytest.mark.parametrize("unlimited", [0, -1])
def test_a_consumer_without_a_bound_has_that_of_a_usual_one(unlimited: int) -> None:
    restarts = counted(1, 5000, max_ack_pending=unlimited)
    restarts.interrupt()

    assert not restarts.is_restart(4000)
    assert restarts.is_restart(2999)


def test_another_time_of_creation_is_another_durable() -> None:
    restarts = counted(1, 100)

    assert not restarts.learn(durable())
    assert restarts.learn(durable("2026-01-01T00:00:00.123456790Z"))
    assert not restarts.is_restart(1)
    assert not restarts.learn(durable("2026-01-01T00:00:00.123456790Z"))


def test_the_first_look_is_no_restart() -> None:
    assert not Restarts().learn(durable())

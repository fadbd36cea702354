"""Detection of a durable that begins again, from what the server says of it."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from xkeymsg.client.jetstream.acks import Delivery
from xkeymsg.client.jetstream.durables import Durable
from xkeymsg.client.jetstream.restarts import Restarts

FIRST = "2026-01-01T00:00:00.123456789Z"
SECOND = "2026-01-01T00:00:01.123456789Z"


def durable(created: str = FIRST, delivered: int = 0, max_ack_pending: int = 1000) -> Durable:
    return Durable(30.0, max_ack_pending, 0, created, delivered, delivered, {})


def led(delivered: int, sequence: int) -> Durable:
    """Return what a leader says of the durable."""
    return durable(delivered=delivered)._replace(sequence=sequence, led=True)


def delivery(number: int, delivered: int = 1, sequence: int | None = None) -> Delivery:
    return Delivery(b"S", b"d", delivered, sequence or number, number, 0)


def counted(*numbers: int) -> Restarts:
    restarts = Restarts()
    assert not restarts.learn(durable(), 0)
    for number in numbers:
        assert not restarts.is_restart(delivery(number))
    return restarts


def test_deliveries_that_count_up_are_of_one_scope() -> None:
    counted(5, 6, 7, 100, 5000)  # other workers got the ones between


@for_each("number", [1, 3, 99, 100])
def test_a_count_that_does_not_rise_is_a_restart(number: int) -> None:
    restarts = counted(1, 2, 100)

    assert restarts.is_restart(delivery(number))
    assert not restarts.is_restart(delivery(number + 1))
    assert restarts.is_restart(delivery(number + 1))


def test_a_consumer_that_delivered_once_and_is_reset_begins_again() -> None:
    assert counted(1).is_restart(delivery(1))


@for_each("left", [4999, 4001, 4000])
def test_after_an_interruption_a_server_may_have_lost_a_part_of_its_count(left: int) -> None:
    restarts = counted(1, 5000)

    assert not restarts.learn(durable(delivered=left), 1, interrupted=True)
    assert not restarts.is_restart(delivery(left + 1))
    assert not restarts.is_restart(delivery(left + 2))
    assert restarts.is_restart(delivery(left + 2))


def test_the_part_that_was_not_lost_is_not_delivered_again() -> None:
    restarts = counted(1, 5000)

    assert not restarts.learn(durable(delivered=4500), 1, interrupted=True)
    assert restarts.is_restart(delivery(4500))


@for_each("left", [0, 1, 3999])
def test_it_may_not_have_lost_more_than_may_be_pending(left: int) -> None:
    restarts = counted(1, 5000)

    assert restarts.learn(durable(delivered=left), 1, interrupted=True)
    assert not restarts.is_restart(delivery(left + 1))


def test_a_count_that_was_lost_altogether_is_a_restart() -> None:
    assert counted(1, 5).learn(durable(delivered=0), 1, interrupted=True)


def test_an_interruption_before_the_first_delivery_is_no_restart() -> None:
    assert not counted().learn(durable(), 1, interrupted=True)
    assert not clustered().learn(led(0, 0), 1, interrupted=True)


@for_each("by_count", [False, True])
def test_a_new_count_may_lose_as_much_as_the_first(by_count: bool) -> None:
    restarts = counted(1, 5000)
    if by_count:
        assert restarts.is_restart(delivery(100))
    else:
        assert restarts.learn(durable(SECOND), 0)
        assert not restarts.is_restart(delivery(100))

    kept = durable(SECOND, delivered=50)
    assert not restarts.learn(kept, 1, interrupted=True)


def test_an_old_server_that_restarts_shows_a_slightly_later_creation() -> None:
    later = "2026-01-01T00:00:00.123663373Z"
    restarts = counted(1, 20)

    assert not restarts.learn(durable(later, delivered=20), 1, interrupted=True)
    assert restarts.learn(durable(FIRST, delivered=20), 1, interrupted=True)
    assert restarts.learn(durable(later, delivered=20), 1)


@for_each("other", ["2026-01-01T00:00:00.134456790Z", "no time", ""])
def test_after_an_interruption_another_creation_is_a_restart(other: str) -> None:
    assert counted(1, 20).learn(durable(other, delivered=20), 1, interrupted=True)


def test_a_second_interruption_gives_no_more_room_than_the_first() -> None:
    restarts = counted(1, 5000)
    assert not restarts.learn(durable(delivered=4100), 1, interrupted=True)
    assert not restarts.is_restart(delivery(4101))

    assert restarts.learn(durable(delivered=3990), 1, interrupted=True)


def test_a_reset_after_an_interruption_that_lost_nothing_is_a_restart() -> None:
    restarts = counted(1, 500)
    assert not restarts.learn(durable(delivered=600), 1, interrupted=True)

    assert restarts.is_restart(delivery(7))


def test_deliveries_that_were_on_their_way_at_an_interruption_are_of_the_same_count() -> None:
    restarts = counted(1, 500)
    assert not restarts.learn(durable(delivered=510), 1, interrupted=True)

    assert not restarts.is_restart(delivery(501))


def test_without_an_interruption_the_count_in_an_answer_may_be_an_old_one() -> None:
    restarts = counted(1, 500)

    assert not restarts.learn(durable(delivered=3), 0)
    assert not restarts.is_restart(delivery(501))


@pytest.mark.parametrize("unlimited", [0, -1])
def test_a_consumer_without_a_bound_has_that_of_a_usual_one(unlimited: int) -> None:
    kept = durable(delivered=4000, max_ack_pending=unlimited)
    assert not counted(1, 5000).learn(kept, 1, interrupted=True)

    lost = durable(delivered=3999, max_ack_pending=unlimited)
    assert counted(1, 5000).learn(lost, 1, interrupted=True)


@pytest.mark.parametrize("interrupted", [False, True])
def test_another_time_of_creation_is_another_durable(interrupted: bool) -> None:
    restarts = counted(1, 100)

    assert not restarts.learn(durable(delivered=100), 1, interrupted=interrupted)
    assert restarts.learn(durable(SECOND, delivered=100), 1, interrupted=interrupted)
    assert not restarts.is_restart(delivery(1))
    assert not restarts.learn(durable(SECOND, delivered=1), 1, interrupted=interrupted)


def test_a_durable_that_its_count_shows_to_be_new_is_not_found_to_be_new_a_second_time() -> None:
    restarts = counted(1, 100)

    assert restarts.is_restart(delivery(1))
    assert not restarts.learn(durable(SECOND, delivered=1), 0)
    assert not restarts.is_restart(delivery(2))
    assert restarts.learn(durable("2026-01-01T00:00:01Z", delivered=1), 0)


def test_a_reply_without_a_leader_says_nothing_once_a_leader_was_named() -> None:
    restarts = Restarts()
    assert restarts.is_current(durable())
    assert not restarts.learn(durable()._replace(led=True), 0)

    assert not restarts.is_current(durable(delivered=0))
    assert restarts.is_current(durable(delivered=0)._replace(led=True))

    # One that creates the durable again is not asked whether it is current.
    assert restarts.learn(durable(SECOND), 0)
    assert not restarts.is_current(durable(SECOND))


def test_a_single_server_names_no_leader_and_its_replies_are_current() -> None:
    assert counted(1, 100).is_current(durable(delivered=0))


def clustered(*numbers: int) -> Restarts:
    restarts = Restarts()
    assert not restarts.learn(durable()._replace(led=True), 0)
    for number in numbers:
        assert not restarts.is_restart(delivery(number))
    return restarts


def test_a_leader_sends_what_it_delivered_again_before_lower_counts() -> None:
    restarts = clustered(1, 2)

    # Of eight messages, the first four were delivered once more than the others.
    for number, delivered in [(35, 5), (36, 5), (29, 4), (30, 4), (39, 6), (31, 4), (40, 1)]:
        assert not restarts.is_restart(delivery(number, delivered))
    assert restarts.is_restart(delivery(40))


@for_each("number", [1, 2, 3])
def test_a_first_delivery_of_a_leader_is_never_early(number: int) -> None:
    restarts = clustered(1, 3)
    assert not restarts.is_restart(delivery(9, 2))

    assert restarts.is_restart(delivery(number, 2))
    assert not restarts.is_restart(delivery(number + 1))
    assert restarts.is_restart(delivery(number + 1))


@for_each("sequence", [1, 2, 3])
def test_a_leader_that_delivers_an_earlier_message_first_was_reset(sequence: int) -> None:
    restarts = clustered(1, 2, 3)
    for number in (40, 43, 41):  # of other workers' messages; only these raise the count
        assert not restarts.is_restart(delivery(number, 2, number))

    # After the reset, others got the counts before.
    assert restarts.is_restart(delivery(20, 1, sequence))
    assert not restarts.is_restart(delivery(21, 1, sequence + 1))
    assert restarts.is_restart(delivery(22, 1, sequence + 1))


def test_a_single_server_may_deliver_an_earlier_message_first() -> None:
    restarts = counted()
    assert not restarts.is_restart(delivery(1, 1, 5))

    assert not restarts.is_restart(delivery(2, 1, 3))


def test_a_single_server_that_lost_more_than_is_pending_may_have_replaced_it() -> None:
    restarts = counted(1, 5000)
    assert not restarts.learn(durable(delivered=4500), 1, interrupted=True)

    fewer = durable(delivered=4600, max_ack_pending=10)  # reconfigured
    assert not restarts.learn(fewer._replace(sequence=1), 2, interrupted=True)


def test_a_reset_that_an_early_redelivery_shows_is_found_once() -> None:
    restarts = clustered(1, 2, 30)

    assert restarts.is_restart(delivery(9, 2, 4))
    for number, delivered, sequence in [(5, 1, 5), (12, 2, 1), (6, 1, 6)]:
        assert not restarts.is_restart(delivery(number, delivered, sequence))
    assert restarts.is_restart(delivery(6, 1, 7))


def test_a_first_delivery_of_a_leader_does_not_come_after_a_redelivery_of_its_message() -> None:
    restarts = clustered()
    assert not restarts.is_restart(delivery(40, 2, 7))
    assert not restarts.is_restart(delivery(39, 3, 5))

    assert restarts.is_restart(delivery(50, 1, 7))  # others got the counts before
    assert not restarts.is_restart(delivery(51, 1, 8))


@for_each("left", [0, 1, 299])
def test_after_an_interruption_a_durable_that_has_not_delivered_our_messages_was_reset(
    left: int,
) -> None:
    restarts = clustered(1, 2)
    for number in (1298, 1299, 1300):
        assert not restarts.is_restart(delivery(number, 5, 3))

    assert not restarts.learn(led(left, min(left, 2)), 1)  # an old reply
    assert restarts.learn(led(left, min(left, 2)), 1, interrupted=True)
    assert not restarts.is_restart(delivery(left + 1, 1, 1))


def test_a_loss_of_redeliveries_is_as_large_as_any() -> None:
    restarts = clustered(1, 2)
    assert not restarts.is_restart(delivery(1300, 9, 3))

    assert not restarts.learn(led(300, 2), 1, interrupted=True)
    assert not restarts.is_restart(delivery(301, 1, 3))
    assert restarts.is_restart(delivery(302, 1, 3))


def test_a_new_leader_may_not_know_the_count_of_an_early_redelivery() -> None:
    restarts = clustered(1, 2)
    assert not restarts.is_restart(delivery(5000, 9, 3))

    # A majority has stored the first delivery of message 3, but not the other eight.
    assert not restarts.learn(led(3, 3), 1, interrupted=True)
    for number, delivered, sequence in [(4, 2, 3), (5, 1, 4), (6, 2, 3)]:
        assert not restarts.is_restart(delivery(number, delivered, sequence))
    assert restarts.is_restart(delivery(7, 1, 3))


def test_a_leader_that_may_have_lost_a_part_of_its_count_may_deliver_the_rest_first() -> None:
    restarts = clustered(1, 2, 30)

    assert not restarts.learn(led(20, 20), 1, interrupted=True)
    assert not restarts.is_restart(delivery(21, 1, 21))
    assert restarts.is_restart(delivery(21, 1, 22))


@for_each("sequence", [20, 21])
def test_redeliveries_may_have_replaced_the_lost_part_of_a_count(sequence: int) -> None:
    restarts = clustered(1, 2, 30)

    # After a loss of ten deliveries, other workers got fifteen redeliveries.
    assert not restarts.learn(led(35, 20), 1, interrupted=True)
    assert not restarts.is_restart(delivery(31, 2, 5))  # on its way
    assert restarts.is_restart(delivery(36, 1, sequence)) == (sequence == 20)
    assert restarts.is_restart(delivery(37, 1, sequence))


def test_deliveries_on_their_way_do_not_show_a_reset_that_could_be_a_loss() -> None:
    restarts = clustered(1, 2, 30)

    assert not restarts.learn(led(20, 40), 1, interrupted=True)
    assert not restarts.is_restart(delivery(31, 1, 31))


def test_an_interruption_without_a_loss_changes_nothing() -> None:
    restarts = clustered(1, 2, 30)
    assert not restarts.learn(led(90, 60), 1, interrupted=True)

    assert not restarts.is_restart(delivery(31, 1, 31))  # on its way
    assert restarts.is_restart(delivery(91, 1, 31))


def test_a_worker_that_got_only_redeliveries_of_a_leader_notices_a_first_count() -> None:
    restarts = clustered()
    for number in (51, 53, 52):
        assert not restarts.is_restart(delivery(number, 2))

    assert restarts.is_restart(delivery(1, 1, 60))  # of a later message


def test_redeliveries_of_a_single_server_count_up() -> None:
    restarts = counted(1)
    assert not restarts.is_restart(delivery(9, 2))

    assert restarts.is_restart(delivery(8, 2))

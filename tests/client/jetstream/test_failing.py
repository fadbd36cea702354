"""What becomes of a message: a pure decision, with time as an argument."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cases import for_each
from tests.client.jetstream.inside import failures_kept
from xkeymsg.client.jetstream.failures import FailurePolicy, Failures, Verdict
from xkeymsg.errors import (
    AuthenticationError,
    ConfigurationError,
    MalformedError,
    NotARecipientError,
    ReplayError,
    SenderNotAdmittedError,
    SessionClonedError,
    StaleError,
    UnknownKeyError,
    XKeyMsgError,
)


def failures(*, max_ack_pending: int = 1000, max_deliver: int = 0, **policy: Any) -> Failures:
    return Failures(
        FailurePolicy(**policy), max_ack_pending=max_ack_pending, max_deliver=max_deliver
    )


def behind_the_wrap(error: XKeyMsgError) -> XKeyMsgError:
    error.public_code = "refused"
    return error


@for_each("error", [AuthenticationError(), MalformedError("x"), StaleError("x")])
def test_what_nothing_is_proven_of_is_unproven(error: XKeyMsgError) -> None:
    verdict = failures().refused(error, 1, 1, 0.0)

    assert verdict == Verdict("quarantine", reason="undecryptable")
    assert not verdict.proven


@for_each("error", [AuthenticationError(), MalformedError("x"), StaleError("x")])
def test_the_step_decides_and_not_the_code(error: XKeyMsgError) -> None:
    verdict = failures().refused(behind_the_wrap(error), 1, 1, 0.0)

    assert verdict == Verdict("quarantine", reason="refused")
    assert verdict.proven


@for_each("error", [SenderNotAdmittedError("x"), UnknownKeyError("x"), NotARecipientError(1)])
def test_a_key_may_yet_arrive_for_so_long(error: XKeyMsgError) -> None:
    judge = failures(patience=10, key_delay=3)

    assert judge.refused(error, 1, 1, 100.0) == Verdict("retry", 3)
    assert judge.refused(error, 1, 2, 109.0) == Verdict("retry", 3)
    assert judge.refused(error, 1, 3, 110.0) == Verdict("quarantine")
    assert judge.waiting == 0


def test_what_to_wait_for_can_be_said() -> None:
    judge = failures(wait_for=frozenset())

    assert judge.refused(SenderNotAdmittedError("x"), 1, 1, 0.0).action == "quarantine"


def test_few_wait_and_the_others_do_not() -> None:
    judge = failures(max_ack_pending=100)
    verdicts = [judge.refused(SenderNotAdmittedError("x"), n, 1, 0.0) for n in range(1, 21)]

    assert [verdict.action for verdict in verdicts] == ["retry"] * 5 + ["quarantine"] * 15
    judge.settle(3)
    assert judge.refused(SenderNotAdmittedError("x"), 99, 1, 0.0).action == "retry"


def test_those_that_another_worker_has_do_not_wait_here_for_ever() -> None:
    judge = failures(max_ack_pending=20, patience=10, key_delay=1)
    assert judge.refused(SenderNotAdmittedError("x"), 1, 1, 0.0).action == "retry"
    assert judge.refused(SenderNotAdmittedError("x"), 2, 1, 1.0).action == "quarantine"
    assert judge.refused(SenderNotAdmittedError("x"), 3, 1, 11.0).action == "retry"


def test_other_workers_do_not_make_the_wait_longer() -> None:
    judge = failures(patience=10, key_delay=1, deliveries=5)

    assert judge.refused(UnknownKeyError("x"), 1, 14, 0.0).action == "retry"
    assert judge.refused(UnknownKeyError("x"), 1, 15, 0.0).action == "quarantine"


def test_a_replay_waits_for_the_first_and_is_dropped_after_it() -> None:
    judge = failures()
    pending = behind_the_wrap(ReplayError("x", pending=True))
    final = behind_the_wrap(ReplayError("x"))

    assert judge.refused(pending, 2, 1, 0.0).action == "retry"
    assert judge.refused(pending, 2, 2, 599.0).action == "retry"
    late = judge.refused(pending, 2, 3, 600.0)
    assert late == Verdict("quarantine", reason="undecryptable")
    assert not late.proven  # anybody can publish copies
    assert judge.refused(final, 2, 3, 0.0) == Verdict("drop")


def test_copies_of_a_pending_message_fill_no_stream_that_stops_consuming() -> None:
    judge = failures(max_ack_pending=100)
    pending = behind_the_wrap(ReplayError("x", pending=True))
    verdicts = [judge.refused(pending, sequence, 1, 0.0) for sequence in range(1, 1001)]
    assert [verdict.action for verdict in verdicts[:5]] == ["retry"] * 5
    assert not any(verdict.proven for verdict in verdicts if verdict.action == "quarantine")


def test_a_cloned_session_is_no_replay() -> None:
    error = behind_the_wrap(SessionClonedError("x"))

    assert failures().refused(error, 1, 1, 0.0) == Verdict("quarantine", reason="refused")


def test_a_handler_gets_its_tries_with_longer_and_longer_pauses() -> None:
    judge = failures(deliveries=6, backoff=1, backoff_most=5)
    verdicts = [judge.failed(1, delivered) for delivered in range(1, 7)]

    assert [verdict.delay for verdict in verdicts[:5]] == [1, 2, 4, 5, 5]
    assert verdicts[5] == Verdict("quarantine", reason="handler")


def test_deliveries_while_a_key_was_awaited_are_not_the_handlers() -> None:
    judge = failures(deliveries=3, patience=10, key_delay=1)
    for delivered in range(1, 9):
        assert judge.refused(UnknownKeyError("x"), 1, delivered, 0.0).action == "retry"

    assert not judge.is_exhausted(9)
    assert judge.failed(1, 9).action == "retry"
    assert judge.failed(1, 10).action == "retry"
    assert judge.failed(1, 11).action == "quarantine"


def test_the_servers_last_delivery_is_ours_to_judge() -> None:
    judge = failures(max_deliver=2)

    assert judge.failed(1, 2).action == "quarantine"
    assert judge.refused(UnknownKeyError("x"), 2, 2, 0.0).action == "quarantine"
    assert judge.is_exhausted(3)


def test_an_error_of_the_applications_is_tried_again_and_then_unproven() -> None:
    judge = failures(deliveries=2)

    assert judge.refused(RuntimeError(), 1, 1, 0.0).action == "retry"
    assert judge.refused(RuntimeError(), 1, 2, 0.0) == Verdict("quarantine")


@for_each(
    "wrong",
    [
        {"deliveries": 0},
        {"backoff": 0},
        {"backoff_most": float("inf")},
        {"patience": -1},
        {"patience": float("nan")},
        {"key_delay": 0},
        {"waiting_share": 0.06},
        {"waiting_share": -1},
        {"strangers": "keep"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        FailurePolicy(**wrong)


def test_many_failures_take_bounded_memory() -> None:
    judge = failures()
    for sequence in range(30_000):
        judge.failed(sequence, 1)
    assert failures_kept(judge) == 10_000


def test_two_messages_at_one_position_are_tried_again() -> None:
    """The broker repeats a position: the next delivery may have another."""
    error = behind_the_wrap(ConfigurationError("two messages with one StreamPosition"))
    judge = failures(deliveries=2)

    assert judge.refused(error, 1, 1, 0.0).action == "retry"
    assert judge.refused(error, 1, 2, 0.0) == Verdict("quarantine", reason="refused")

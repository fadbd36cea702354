"""How what a check-up has seen is judged."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from xkeymsg.cli.doctor.findings import (
    CheckResult,
    granted,
    judge_account,
    judge_clock,
    judge_durable,
    judge_payload,
    judge_stream,
    table_of,
)
from xkeymsg.cli.doctor.probe import parse_time

KEYS = st.sampled_from(
    ["error", "description", "limits", "config", "state", "max_storage", "storage", "max_bytes",
     "bytes", "messages", "discard", "max_age", "publish", "allow", "deny", "streams"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@for_each(
    ("ahead", "trip", "level", "said"),
    [
        (0.0, 0.002, "ok", "0.0 ms behind the server's, ± 1.0 ms"),
        (0.25, 0.002, "ok", "250.0 ms ahead of the server's, ± 1.0 ms"),
        (-12.0, 0.002, "warn", "12.0 s behind the server's, ± 1.0 ms"),
        (31.0, 0.002, "fail", "31.0 s ahead of the server's, ± 1.0 ms"),
        (-3600.0, 0.002, "fail", "3600.0 s behind"),
        (31.0, 4.0, "warn", "31.0 s ahead of the server's, ± 2.0 s"),  # it may be 29
        (6.0, 4.0, "ok", "6.0 s ahead of the server's, ± 2.0 s"),
    ],
)
def test_the_clock_is_judged_by_what_is_certain_of_it(
    ahead: float, trip: float, level: str, said: str
) -> None:
    at = 1_000_000.0
    found = judge_clock([(at + ahead - trip / 2, at, at + ahead + trip / 2)])
    assert (found.level, found.text[: len(said)]) == (level, said)
    assert bool(found.remedy) == (level != "ok")


def test_the_shortest_round_trip_counts() -> None:
    samples = [(100.0, 140.0, 180.0), (200.0, 200.5, 201.0)]
    assert "± 500.0 ms" in judge_clock(samples).text
    assert judge_clock([]).level == "warn"


def test_a_time_of_the_server_has_nanoseconds() -> None:
    assert parse_time("1970-01-01T00:01:00.143332724Z") == 60.143332724
    others: tuple[object, ...] = ("", "yesterday", "1970-01-01T00:00:00", None, 7, [])
    assert not any(map(parse_time, others))


def permissions(allow: list[str], deny: list[str]) -> dict[str, Any]:
    return {"publish": {"allow": allow, "deny": deny}}


@for_each(
    ("allow", "deny", "subject", "extent"),
    [
        ([], [], "a.>", "all"),
        (["a.>"], [], "a.b", "all"),
        (["a.>"], [], "a.b.c", "all"),
        (["a.>"], [], "a.>", "all"),
        (["a.*"], [], "a.*", "all"),
        (["a.*"], [], "a.b", "all"),
        ([">"], [], "a.>", "all"),
        (["*.b"], [], "a.b", "all"),
        (["x", "a.b"], [], "a.b", "all"),
        (["a.*"], [], "a.>", "part"),
        (["a.b"], [], "a.*", "part"),
        (["a.b.>"], [], "a.*.c", "part"),
        (["a.>"], ["a.b"], "a.>", "part"),
        (["a.>"], ["*.b"], "a.*", "part"),
        ([], ["a.b"], ">", "part"),
        (["a.>"], ["a.b"], "a.c", "all"),
        (["a.>"], ["a.b"], "a.b", "none"),
        (["a.>"], ["a.>"], "a.>", "none"),
        ([], ["a.*"], "a.b", "none"),
        (["a"], [], "b", "none"),
        (["a.>"], [], "a", "none"),
        (["a.*"], [], "a", "none"),
        (["a.*"], [], "a.b.c", "none"),
        (["a.*.c"], [], "a.b", "none"),
        (["x.>"], [], "a.>", "none"),
    ],
)
def test_what_permissions_let_a_user_do(
    allow: list[str], deny: list[str], subject: str, extent: str
) -> None:
    assert granted(permissions(allow, deny), "publish", subject).extent == extent
    assert granted(permissions(allow, deny), "subscribe", subject).extent == "all"


def test_a_right_may_be_that_of_a_queue_group() -> None:
    rules = {"subscribe": {"allow": ["a.> workers"]}}
    assert granted(rules, "subscribe", "a.b") == ("all", "workers")
    rules["subscribe"]["allow"].append("a.b")
    assert granted(rules, "subscribe", "a.b") == ("all", "")


@for_each(("limit", "level"), [(1 << 20, "ok"), (1 << 10, "warn"), (64 << 20, "warn")])
def test_what_fits_in_a_message_is_told(limit: int, level: str) -> None:
    found = judge_payload(limit)
    assert (found.level, bool(found.remedy)) == (level, level == "warn")


def account(**changes: Any) -> dict[str, Any]:
    limits = {"max_memory": -1, "max_storage": 1000, "max_streams": 2}
    return {"memory": 10, "storage": 20, "streams": 1, "limits": limits | changes}


def test_an_account_that_is_full_is_told() -> None:
    assert judge_account(account(), demanded=False) == CheckResult(
        "jetstream", "ok", "storage 20 B of 1000 B, memory 10 B (no limit), streams 1 of 2"
    )
    for changes, what in (
        ({"max_storage": 20}, "storage"),
        ({"max_storage": 0}, "storage"),
        ({"max_memory": 11}, "memory"),
        ({"max_streams": 1}, "streams"),
    ):
        found = judge_account(account(**changes), demanded=False)
        assert (found.level, found.remedy) == ("warn", f"make room: {what}")


def test_no_jetstream_fails_where_it_is_demanded() -> None:
    answer = {"error": {"code": 503, "description": "JetStream not enabled for account"}}
    for demanded, level in ((False, "warn"), (True, "fail")):
        found = judge_account(answer, demanded=demanded)
        assert (found.level, found.text) == (level, "JetStream not enabled for account")
        found = judge_stream("Q", {"error": {"description": "stream not found"}}, proven=True,
                             demanded=demanded)[0]  # fmt: skip
        assert (found.level, found.text) == (level, "stream not found")


GOOD = {
    True: {"discard": "new", "retention": "limits", "max_age": 0, "storage": "file",
           "max_bytes": 1000, "max_msgs_per_subject": -1},
    False: {"discard": "old", "max_bytes": 1000, "storage": "file", "max_age": 10**9},
}  # fmt: skip


@for_each(
    ("proven", "changes", "level", "said"),
    [
        (True, {}, "ok", "3 messages, 500 B of 1000 B"),
        (True, {"discard": "old"}, "fail", "discards old messages"),
        (True, {"retention": "workqueue"}, "fail", "deletes consumed messages"),
        (True, {"max_age": 10**9}, "fail", "deletes old messages"),
        (True, {"max_msgs_per_subject": 1}, "fail", "keeps the last per subject"),
        (True, {"max_msgs_per_subject": 1, "discard_new_per_subject": True}, "ok", "3 messages"),
        (True, {"max_msgs": 3}, "warn", "is nearly full"),
        (True, {"max_msgs": 4}, "ok", "3 messages of 4, 500 B"),
        (True, {"max_bytes": 550}, "warn", "is nearly full"),
        (True, {"storage": "memory"}, "warn", "is stored in memory"),
        (True, {"max_bytes": -1}, "ok", "3 messages, 500 B (no limit)"),
        (False, {}, "ok", "3 messages, 500 B of 1000 B"),
        (False, {"max_bytes": -1}, "fail", "has no limit"),
        (False, {"discard": "new"}, "warn", "accepts nothing when full"),
        (False, {"max_bytes": 500}, "ok", "3 messages"),
    ],
)
def test_a_quarantine_keeps_what_is_proven_and_bounds_the_rest(
    proven: bool, changes: dict[str, Any], level: str, said: str
) -> None:
    answer = {"config": GOOD[proven] | changes, "state": {"messages": 3, "bytes": 500}}
    [found] = judge_stream("Q", answer, proven=proven, demanded=False)
    assert (found.check, found.level, found.text[: len(said)]) == ("Q", level, said)
    assert bool(found.remedy) == (level != "ok")


def test_a_paused_durable_is_a_warning() -> None:
    answer = {"config": {"ack_policy": "explicit"}, "paused": True}
    found = judge_durable("S/d", answer)
    assert (found.level, found.remedy) == ("warn", "nats consumer resume S d")
    assert "is paused, and delivers nothing" in found.text


@given(JSON, st.booleans())
def test_what_a_server_says_may_be_anything(answer: Any, yes: bool) -> None:
    table = table_of({"answer": answer}, "answer")
    for found in (judge_account(table, demanded=yes),
                  *judge_stream("Q", table, proven=yes, demanded=yes)):  # fmt: skip
        assert found.level in ("ok", "warn", "fail")
    assert judge_durable("S/d", table).level in ("ok", "warn", "fail")
    granted(table, "publish", "a.b")

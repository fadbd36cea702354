"""The table of chains against a real nats-server, and against ours (T-1 to T-10)."""

from __future__ import annotations

import time
from functools import cache

import pytest

from tests.trust.chains.rows import ADMITTED, ROWS, Row
from tests.trust.chains.verdicts import Verdict, identity_json, ours, server_verdicts, subjects

NOW = int(time.time())


@cache
def verdicts() -> dict[str, Verdict]:
    return server_verdicts(ROWS, NOW)


def test_the_table_is_one() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 70


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_our_verdict(row: Row) -> None:
    chain = row.chain(NOW)
    verdict, identity = ours(chain, NOW)
    assert verdict == row.ours
    if identity is not None:
        said = identity_json(identity)
        assert {name: said[name] for name in row.gives} == dict(row.gives)
        sends = subjects(row, chain, row.sends)
        assert {subject: identity.may_send(subject) for subject in sends} == sends


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_relation_is_the_one_of_the_verdicts(row: Row) -> None:
    server, we = row.server == ADMITTED, row.ours == ADMITTED
    same = server == we and not row.server_sends
    kind, _, why = row.relation.partition(": ")
    assert kind in ("agrees", "stricter", "not ours")
    assert (kind == "agrees") == same
    assert (kind == "agrees") == (not why)
    if kind == "stricter":
        assert server
        assert not we or all(row.server_sends.values())
    if kind == "not ours":
        assert we
        assert not server


def test_the_verdicts_of_a_real_server() -> None:
    wrong = {}
    for row in ROWS:
        chain = row.chain(NOW)
        expected = subjects(row, chain, {**row.sends, **row.server_sends})
        if row.server != ADMITTED:
            expected = {}
        if (said := verdicts()[row.name]) != (row.server, expected):
            wrong[row.name] = said
    assert wrong == {}

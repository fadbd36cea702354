"""The table of chains against a real nats-server, and against ours (T-1 to T-10)."""

from __future__ import annotations

import json
import time
from functools import cache
from operator import itemgetter
from typing import Any

from tests.cases import check_each
from tests.trust.chains import generate
from tests.trust.chains.memory import MEMORY
from tests.trust.chains.rows import ADMITTED, ROWS, Row
from tests.trust.chains.verdicts import Verdict, identity_json, ours, server_verdicts, subjects
from tests.trust.chains.world import Chain
from xkeymsg.trust.chain import TrustPolicy

NOW = int(time.time())


@cache
def verdicts() -> dict[str, Verdict]:
    return server_verdicts(ROWS, int(time.time()))  # claims are for minutes


def test_the_table_is_one() -> None:
    assert len({row.name for row in (*ROWS, *MEMORY)}) == len(ROWS) + len(MEMORY)
    assert len(ROWS) >= 70


def test_our_verdicts() -> None:
    check_each((*ROWS, *MEMORY), is_our_verdict)


def is_our_verdict(row: Row) -> None:
    chain = row.chain(NOW)
    verdict, identity = ours(chain, NOW)
    assert verdict == row.ours
    if identity is not None:
        said = identity_json(identity)
        assert {name: said[name] for name in row.gives} == dict(row.gives)
        sends = subjects(row, chain, row.sends)
        assert {subject: identity.may_send(subject) for subject in sends} == sends


def test_the_relation_is_the_one_of_the_verdicts() -> None:
    check_each(ROWS, has_its_relation)


def has_its_relation(row: Row) -> None:
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


def test_the_vectors_are_what_the_rows_make() -> None:
    assert generate.JSON.read_text() == generate.as_json()


def test_a_vector_says_all_that_a_reader_needs() -> None:
    check_each(json.loads(generate.JSON.read_text()), is_complete, itemgetter("name"))


def is_complete(vector: dict[str, Any]) -> None:
    policy = TrustPolicy(
        anchors=frozenset(vector["anchors"]),
        operator_identity_issues=vector["operator_identity_issues"],
        account_identity_issues=vector["account_identity_issues"],
    )
    chain = Chain(
        operator=vector["operator"],
        account=vector["account"],
        accounts=tuple(vector["accounts"]),
        user=vector["user"],
        users=tuple(vector["users"]),
        certificates=tuple(vector["certificates"]),
        policy=policy,
        marks=vector["marks"],
    )
    verdict, identity = ours(chain, vector["now"])
    assert verdict == vector["verdict"]
    if identity is not None:
        assert identity_json(identity) == vector["identity"]
        sends = vector["sends"]
        assert {subject: identity.may_send(subject) for subject in sends} == sends

"""Books that do not balance say so: each fault that a soak looks for is seen where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import cast

import pytest

from tests.cases import for_each
from tests.running import until
from tests.soak.audit import DURABLE, STREAM, Audit
from tests.soak.daemons import Daemon
from tests.soak.feeder import payload
from tests.soak.hostile import Hostile, Shot
from tests.soak.journal import Journal
from tests.soak.ledger import Ledger
from tests.soak.memory import slope
from tests.soak.sinks import Lines, check, read_files
from xkeymsg import XKeyPair
from xkeymsg.client.jetstream.failures import Reason
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.transport.link import Link

NAMES = [f"{number:032x}" for number in range(10)]
HONEST = {name.encode(): name for name in NAMES}
"""What stands for the envelopes."""
SHOTS = {b"noise": "garbage", b"late": "expired", b"odd": "bad reply"}
PLACES = {b"noise": range(20, 21), b"late": range(21, 22), b"odd": range(23, 25)}


def balanced() -> Ledger:
    ledger = Ledger("test", 1, planned=len(NAMES), sender="XALICE")
    ledger.sent, ledger.acked = {name: n for n, name in enumerate(NAMES)}, set(NAMES)
    for name in NAMES:
        check(ledger, record(name), 100)
    return ledger


def record(name: str, **other: object) -> dict[str, object]:
    number = NAMES.index(name) if name in NAMES else 0
    told = {"id": name, "subject": f"orders.{number}", "data": payload(number, 100).decode()}
    return {**told, "sender": "XALICE", "admitted": True, **other}


def test_what_balances() -> None:
    ledger = balanced()
    assert ledger.errors() == []
    assert ledger.lines()[-1].strip() == "balanced"


def lose(ledger: Ledger) -> None:
    del ledger.delivered[NAMES[3]]


def repeat(ledger: Ledger) -> None:
    check(ledger, record(NAMES[3]), 100)


def forge(ledger: Ledger) -> None:
    check(ledger, record("f" * 32), 100)


def alter(ledger: Ledger) -> None:
    ledger.delivered.clear()
    for name in NAMES:
        check(ledger, record(name, data="{}") if name == NAMES[3] else record(name), 100)


def move(ledger: Ledger) -> None:
    ledger.delivered.clear()
    for name in NAMES:
        check(ledger, record(name, subject="orders.x") if name == NAMES[3] else record(name), 100)


def impersonate(ledger: Ledger) -> None:
    ledger.delivered.clear()
    for name in NAMES:
        check(ledger, record(name, sender="XEVE") if name == NAMES[3] else record(name), 100)


def admit(ledger: Ledger) -> None:
    ledger.delivered.clear()
    for name in NAMES:
        check(ledger, record(name, admitted=False) if name == NAMES[3] else record(name), 100)


def shorten(ledger: Ledger) -> None:
    for book in (ledger.sent, ledger.delivered):
        del book[NAMES[3]]
    ledger.acked.discard(NAMES[3])


def withhold(ledger: Ledger) -> None:
    lose(ledger)
    ledger.aside[NAMES[3]] = ledger.replayed[NAMES[3]] = 1


def set_aside(ledger: Ledger) -> None:
    ledger.aside[NAMES[3]], ledger.replayed[NAMES[3]] = 2, 1


def crash(ledger: Ledger) -> None:
    ledger.watch(["receiver0 ended with 1"], 0)


def fail_to_start(ledger: Ledger) -> None:
    ledger.watch([], 1)
    ledger.faults["disk full"] = ledger.faults["kill -9 receiver"] = 1


def leave_behind(ledger: Ledger) -> None:
    ledger.left_behind = 1
    ledger.faults["disk full"] = ledger.faults["kill -9 receiver"] = 1


def give_up(ledger: Ledger) -> None:
    ledger.given_up["garbage"] = 1
    ledger.faults["disk full"] = ledger.faults["kill -9 receiver"] = 1


def leave(ledger: Ledger) -> None:
    ledger.left = 1


def wait(ledger: Ledger) -> None:
    ledger.waiting = 1


def refuse(ledger: Ledger) -> None:
    ledger.acked.discard(NAMES[3])


@for_each(
    ("fault", "said"),
    [
        (lose, "1 lost"),
        (repeat, "1 duplicates that nothing explains"),
        (forge, "1 forged"),
        (alter, "1 forged"),
        (move, "1 forged"),
        (impersonate, "1 forged"),
        (admit, "1 forged"),
        (shorten, "1 not sent at all"),
        (withhold, "1 honest messages in quarantine alone"),
        (set_aside, "1 honest messages in quarantine that came once"),
        (crash, "receiver0 ended with 1"),
        (fail_to_start, "1 failed starts with all servers available"),
        (leave_behind, "1 left by a server that did not die"),
        (give_up, "1 given up while the server was there"),
        (leave, "1 still in the stream"),
        (wait, "1 waiting for an answer"),
        (refuse, "1 sent and not acknowledged"),
    ],
)
def test_what_does_not(fault: Callable[[Ledger], None], said: str) -> None:
    ledger = balanced()
    fault(ledger)
    assert ledger.errors() == [said]
    assert ledger.lines()[-1].strip() == f"WRONG: {said}"


def test_a_copy_of_what_was_delivered_may_be_in_quarantine() -> None:
    ledger = balanced()
    ledger.aside[NAMES[3]] = ledger.replayed[NAMES[3]] = 1
    assert ledger.errors() == []


@for_each("fault", ["kill -9 server", "server full", "leader killed"])
def test_a_server_that_died_may_have_forgotten_ids_and_what_was_done_with(fault: str) -> None:
    ledger = balanced()
    ledger.faults[fault] = ledger.aside[NAMES[3]] = ledger.left_behind = 1
    ledger.given_up["garbage"] = 1
    assert ledger.errors() == []


def test_no_more_may_come_twice_than_were_under_way() -> None:
    ledger = balanced()
    ledger.once, ledger.at_most = False, 1
    ledger.in_flight.update(NAMES)  # of these, nobody knows which
    repeat(ledger)
    assert ledger.errors() == []
    check(ledger, record(NAMES[4]), 100)
    assert ledger.errors() == ["1 duplicates that nothing explains"]


@for_each("once", [True, False])
@for_each("book", ["in_flight", "replayed"])
def test_what_was_under_way_may_come_twice_where_the_sink_does_not_know(
    once: bool, book: str
) -> None:
    ledger = balanced()
    ledger.once = once
    getattr(ledger, book)[NAMES[3]] += 1
    repeat(ledger)
    assert bool(ledger.errors()) == once
    repeat(ledger)  # and once more, which nothing explains
    assert ledger.unexplained == (2 if once else 1)


# --- strangers' messages --------------------------------------------------------------------------


def in_quarantine(
    data: bytes, proof: str = "unproven", sequence: int = 0, stream: str = STREAM
) -> tuple[str, QuarantineRecord]:
    reason: Reason = "refused" if proof == "proven" else "undecryptable"
    sequence = sequence or PLACES[data].start
    return proof, QuarantineRecord(stream, DURABLE, sequence, 1, b"orders.1", reason, b"", data)


RECORDS = [in_quarantine(b"noise"), in_quarantine(b"late", "proven"), in_quarantine(b"odd")]


def audited(
    records: list[tuple[str, QuarantineRecord]],
    *given_up: int,
    stored: tuple[tuple[int, bytes], ...] = (),
) -> Ledger:
    ledger = balanced()
    ledger.faults["leader killed"] = 1
    audit = Audit(HONEST, SHOTS, PLACES, frozenset(given_up))
    audit.read_quarantine(ledger, records)
    audit.read_stream(ledger, stored, HONEST.__contains__)
    return ledger


def test_strangers_messages_that_are_all_in_quarantine() -> None:
    ledger = audited(RECORDS, stored=((20, b"noise"), (9, NAMES[3].encode())))
    assert ledger.errors() == []
    assert ledger.hostile == {"garbage": 1, "expired": 1, "bad reply": 1}
    assert ledger.left_behind == 2


def test_what_is_given_up_is_given_up_by_name() -> None:
    assert audited(RECORDS[1:], 20).errors() == []
    assert audited(RECORDS[:2], 24).errors() == []  # one of two places: its own was not told


@for_each(
    ("records", "given_up", "said"),
    [
        (RECORDS[1:], (), "1 hostile messages in no quarantine"),
        (RECORDS[1:], (19, 21, 22, 23, 24), "1 hostile messages in no quarantine"),
        (RECORDS[:2], (20, 22, 25), "1 hostile messages in no quarantine"),
        ([RECORDS[0], RECORDS[2]], (21,), "1 hostile messages in no quarantine"),
        (
            [*RECORDS, in_quarantine(b"?", sequence=30)],
            (),
            "1 records in quarantine that nobody sent",
        ),
        ([*RECORDS, RECORDS[0]], (), "1 records that are there twice"),
        (
            [in_quarantine(b"noise", "proven"), *RECORDS[1:]],
            (),
            "1 records in the wrong quarantine",
        ),
        ([*RECORDS[::2], in_quarantine(b"late")], (), "1 records in the wrong quarantine"),
        (
            [in_quarantine(b"noise", sequence=19), *RECORDS[1:]],
            (),
            "1 records that name another place",
        ),
        (
            [in_quarantine(b"noise", stream="OUT"), *RECORDS[1:]],
            (),
            "1 records that name another place",
        ),
    ],
)
def test_strangers_messages_that_are_not(
    records: list[tuple[str, QuarantineRecord]], given_up: tuple[int, ...], said: str
) -> None:
    assert audited(records, *given_up).errors() == [said]


def test_what_is_only_in_the_stream_was_answered_by_nobody() -> None:
    assert audited(RECORDS, stored=((9, b"?"),)).errors() == ["1 still in the stream"]
    # Nor is a stranger's message done with because there is an honest one with its id.
    shots = {**SHOTS, NAMES[3].encode(): "altered"}
    audit, ledger = Audit({}, shots, PLACES), balanced()
    audit.read_stream(ledger, [(9, NAMES[3].encode())], HONEST.__contains__)
    assert ledger.errors() == ["1 still in the stream"]


def strangers(folder: Path) -> Hostile:
    pair, nobody = XKeyPair.generate(), cast(Link, None)
    return Hostile(Random(1), nobody, "", Journal(folder), pair.public, pair)


def test_where_the_stream_has_what_it_says_nothing_of(tmp_path: Path) -> None:
    hostile = strangers(tmp_path)
    shot = hostile.bad_reply()
    assert shot.around is not None
    hostile.places_around[shot.data] = shot.around
    hostile.note_acked(shot.around[0], b'{"stream": "ORDERS", "seq": 7}')
    assert shot.data not in hostile.places()
    hostile.note_acked(shot.around[1], b'{"error": {"code": 503}}')
    assert shot.data not in hostile.places()
    hostile.note_acked(shot.around[1], b'{"stream": "ORDERS", "seq": 9}')
    assert hostile.places()[shot.data] == range(8, 9)


def test_no_stranger_publishes_the_same_twice(tmp_path: Path) -> None:
    hostile = strangers(tmp_path)
    Journal(tmp_path).note_sent(0, bytes(8))
    shots = [shot for _ in range(200) if (shot := hostile.altered()) and fire(hostile, shot)]
    assert len(shots) == 8


def fire(hostile: Hostile, shot: Shot) -> bool:
    hostile.shots[shot.data] = shot.kind
    return True


def test_what_was_given_up_may_be_left_by_a_server_at_its_place() -> None:
    assert audited(RECORDS[1:], 20, stored=((20, b"noise"),)).errors() == []
    assert audited(RECORDS[1:], 20, stored=((21, b"noise"),)).errors() == ["1 still in the stream"]
    late = audited(RECORDS[::2], 21, stored=((21, b"late"),))
    assert late.errors() == ["1 hostile messages in no quarantine", "1 still in the stream"]


# --- what the books are made of -------------------------------------------------------------------


def test_a_file_has_the_name_of_what_is_in_it(tmp_path: Path) -> None:
    ledger = balanced()
    ledger.delivered.clear()
    for name in NAMES:
        (tmp_path / f"{name}.json").write_text(json.dumps(record(name)))
    (tmp_path / ".half.part").write_text("{")
    read_files(ledger, tmp_path, 100)
    assert ledger.errors() == []
    (tmp_path / f"{NAMES[3]}.json").rename(tmp_path / f"{'e' * 32}.json")
    ledger.delivered.clear()
    read_files(ledger, tmp_path, 100)
    assert ledger.errors() == ["1 forged"]


async def test_an_end_that_nobody_brought_about_is_a_crash(tmp_path: Path) -> None:
    def script(lines: str) -> Daemon:
        """First as told, then well."""
        mark = tmp_path / re.sub(r"\W", "", lines)
        text = f"test -e {mark} && exit 0; touch {mark}; echo why >&2; {lines}"
        return Daemon("receiver", ["/bin/sh", "-c", text], None)

    away, ready = "echo 1 error failed code=connection e >&2", "echo 0 info ready k >&2"
    ends = (
        script("exit 0"), script("exit 3"), script("kill -9 $$"), script("sleep 60"),
        script(f"{away}; exit 1"), script(f"{ready}; {away}; exit 1"),
    )  # fmt: skip
    for number, daemon in enumerate(ends):
        daemon.start(tmp_path / f"{number}.log")
    await until((tmp_path / "sleep60").exists)
    assert ends[3].kill()
    for daemon in ends:
        await daemon.ended()
    assert [daemon.crashes for daemon in ends] == [
        [],
        ["receiver ended with 3, and nobody killed it: why"],
        ["receiver ended with -9, and nobody killed it: why"],
        [],
        [],
        ["receiver ended with 1, and nobody killed it: 1 error failed code=connection e"],
    ]
    assert [daemon.failed_starts for daemon in ends] == [0, 0, 0, 0, 1, 0]


def test_only_what_is_near_a_fault_was_under_way(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    text = [f'{{"id": "{number:032x}"}}\n' for number in range(100)]
    path.write_text("".join(text[:50]))
    lines, ledger = Lines(window=3), Ledger("test", 1)
    lines.mark([path, tmp_path / "none"])
    path.write_text("".join(text) + '{"id": "cut')
    lines.read(ledger, [path], 100)
    assert ledger.in_flight == {f"{number:032x}": 1 for number in range(47, 53)}
    assert len(ledger.delivered) == 100


def test_a_line_that_a_kill_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.last_sent() is None
    journal.note_sent(0, b"whole")
    with (tmp_path / "sent").open("ab") as file:
        file.write(b"\n1 aGFs")
    assert journal.sent() == {0: b"whole"}
    assert journal.last_sent() == b"whole"
    Journal(tmp_path).note_sent(1, b"again")
    assert journal.sent() == {0: b"whole", 1: b"again"}


def test_the_slope_of_a_line() -> None:
    assert slope([100 + 3 * second for second in range(50)]) == pytest.approx(180)
    assert slope([7] * 50) == 0

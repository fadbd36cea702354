"""Books that do not balance say so: each fault that a soak looks for is seen where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.feeder import payload
from tests.soak.journal import Journal
from tests.soak.ledger import Ledger
from tests.soak.memory import slope
from tests.soak.sinks import Lines, check

NAMES = [f"{number:032x}" for number in range(10)]


def balanced() -> Ledger:
    ledger = Ledger("test", 1, sent={name: n for n, name in enumerate(NAMES)}, acked=set(NAMES))
    for name in NAMES:
        check(ledger, record(name), 100)
    return ledger


def record(name: str, **other: str) -> dict[str, object]:
    number = NAMES.index(name) if name in NAMES else 0
    told = {"id": name, "subject": f"orders.{number}", "data": payload(number, 100).decode()}
    return {**told, **other}


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


def miss(ledger: Ledger) -> None:
    ledger.missing["garbage"] += 1


def leave(ledger: Ledger) -> None:
    ledger.left = 1


def refuse(ledger: Ledger) -> None:
    ledger.acked.discard(NAMES[3])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lose, "1 lost"),
        (repeat, "1 duplicates that nothing explains"),
        (forge, "1 forged"),
        (alter, "1 forged"),
        (move, "1 forged"),
        (miss, "1 hostile messages in no quarantine"),
        (leave, "1 still in the stream"),
        (refuse, "1 sent and not acknowledged"),
    ],
)
def test_what_does_not(fault: Callable[[Ledger], None], said: str) -> None:
    ledger = balanced()
    fault(ledger)
    assert ledger.errors() == [said]
    assert ledger.lines()[-1].strip() == f"WRONG: {said}"


def test_an_honest_message_in_quarantine_is_not_lost() -> None:
    ledger = balanced()
    lose(ledger)
    ledger.proven.add(NAMES[3])
    assert ledger.errors() == []


@pytest.mark.parametrize("once", [True, False])
def test_what_was_under_way_may_come_twice_where_the_sink_does_not_know(once: bool) -> None:
    ledger = balanced()
    ledger.once = once
    ledger.in_flight.add(NAMES[3])
    repeat(ledger)
    assert bool(ledger.errors()) == once


def test_only_what_is_near_a_fault_was_under_way(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    text = [f'{{"id": "{number:032x}", "subject": "", "data": ""}}\n' for number in range(100)]
    path.write_text("".join(text[:50]))
    lines, ledger = Lines(window=3), Ledger("test", 1)
    lines.mark([path, tmp_path / "none"])
    path.write_text("".join(text) + '{"id": "cut')
    lines.read(ledger, [path], 100)
    assert ledger.in_flight == {f"{number:032x}" for number in range(47, 53)}
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

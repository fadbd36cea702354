"""Each page shows what real daemons on a real server do."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from tests.cli.console.hospital import HOSTILE, POLICY, Stage, fetch, text_of

PAGES = ("", "fleet", "refused", "rotation", "streams", "open")


def has(*words: str) -> Callable[[list[str]], bool]:
    """A condition: a row has all of these words."""
    return lambda rows: any(all(word in row for word in words) for row in rows)


def row(rows: list[str], *words: str) -> str:
    [found] = [each for each in rows if all(word in each for word in words)]
    return found


def test_access_shows_who_can_read_which_fields(stage: Stage) -> None:
    rows = text_of(stage.address, "", has("/name", "●"))
    assert row(rows, "Field | Rule") == "Field | Rule | clinic clinic | research research |"
    assert row(rows, "/name", "●", "·") == "/name | 1 | ● | · |"
    assert "● | ● |" in row(rows, " | 2 | ")


def test_access_shows_what_another_policy_would_change(stage: Stage) -> None:
    rows = text_of(stage.address, "", has("/name", "+ research"))
    assert row(rows, "/name", "+ research").endswith("| nobody |")
    assert has("patterns that stay as they are: 1; differences: 1")(rows)


def compared(stage: Stage, policy: str, subject: str = "ehr.>") -> tuple[int, str]:
    form = urlencode({"subject": subject, "policy": policy}).encode()
    status, page, _ = fetch(stage.address, "", form, Sec_Fetch_Site="same-origin")
    return status, page


def test_a_policy_from_the_form_is_compared(stage: Stage) -> None:
    text_of(stage.address, "", has("/name", "●"))
    wider = POLICY.replace('["clinic", "research"]', '["clinic"]')
    status, page = compared(stage, wider)
    assert status == 200
    assert "tag removed" in page
    assert wider.strip() in page.replace("&#34;", '"')
    assert "choose a subject" in compared(stage, wider, "other")[1]


@pytest.mark.parametrize(
    "text",
    ["", "x", "[[rule]]\npattern = 1", "a = " + "[" * 5000, "</textarea><script>alert(1)</script>",
     "[[rule]]\npattern='/</textarea><script>x'\nreaders=['<script>']", "\0\u202e\ud7ff"],
)  # fmt: skip
def test_an_invalid_policy_is_an_answer_and_no_crash(stage: Stage, text: str) -> None:
    status, page = compared(stage, text)
    assert status == 200
    assert "<script>" not in page.replace('<script src="/static/live.js" defer>', "")


def test_comparing_too_much_is_refused(stage: Stage) -> None:
    rule = '[[rule]]\npattern = "/**/a{}/*/b"\nreaders = ["clinic"]\n'
    many = "".join(rule.format(number) for number in range(400))
    status, page = compared(stage, many)
    assert status == 200
    assert "can be compared" in page or "take more than" in page


def test_fleet_shows_daemons_with_version_key_and_replay_window(stage: Stage) -> None:
    rows = text_of(stage.address, "fleet", has("ward-7", "ready", "EHR / clinic", "5 |"))
    daemon = row(rows, "ward-7", "ready", "records")
    assert "receiver 0." in daemon
    assert str(stage.hospital.clinic.pair.public)[:10] in daemon
    assert "whole 5 min" in daemon
    text_of(stage.address, "fleet", has("ward-7: senders that use a retired key: 1"))


def test_fleet_shows_senders_and_a_retired_key_in_use(stage: Stage) -> None:
    stranger, old = (str(each.public)[:10] for each in (stage.stranger, stage.hospital.old))
    rows = text_of(
        stage.address, "fleet", lambda rows: has(stranger)(rows) and has(old, "retired")(rows)
    )
    assert old in row(rows, "ward", "retired", "EHR")
    assert "unknown" in row(rows, stranger)


def test_refused_shows_codes_and_what_an_outsider_can_see(stage: Stage) -> None:
    rows = text_of(
        stage.address, "refused",
        lambda rows: has("sender_not_admitted", "records")(rows)
        and has("malformed", "records")(rows)
        and has("EHR 5", "undecryptable")(rows),
    )  # fmt: skip
    assert has("replay | ward-7 | records | clinic |")(rows)
    place = "ward-7 | records | clinic"
    ward = str(stage.hospital.ward.pair.public)
    assert has(f"ward {ward} authenticated | replay | {place} | ")(rows)
    stranger = f"unknown {stage.stranger.public} not verified"
    assert has(f"{stranger} | sender_not_admitted | {place} | ")(rows)
    assert has(f"others, or none stated | malformed | {place} | ")(rows)
    assert has("EHR | clinic | undecryptable |")(rows)
    message = row(rows, "EHR 5 clinic", "undecryptable")
    assert HOSTILE in message
    assert str(stage.stranger.public)[:10] in message
    assert "for 1" in message
    assert "not sealed" in row(rows, "EHR 4 clinic", "undecryptable")


def test_rotation_shows_a_retired_key_in_use_and_when_it_may_be_erased(stage: Stage) -> None:
    rows = text_of(stage.address, "rotation", has("retired", "still in use"))
    retired = row(rows, "ward", str(stage.hospital.old.public)[:10])
    assert "still in use" in retired
    assert "| 20" in retired.rpartition("still in use")[2]
    assert has("messages name a retired key of ward as their sender")(rows)
    assert "current" in row(rows, str(stage.hospital.ward.pair.public)[:10])


def test_streams_shows_a_message_that_is_not_sealed(stage: Stage) -> None:
    rows = text_of(stage.address, "streams", has("EHR", "20.0%"))
    assert has("messages on protected subjects are not sealed")(rows)
    assert has("EHR | 4 | ehr.Patient")(rows)
    assert has("EHR | clinic | 0 |")(rows)


def test_no_page_shows_contents_or_runs_what_names_say(stage: Stage) -> None:
    text_of(stage.address, "refused", has(HOSTILE))
    for path in PAGES:
        _, page, _ = fetch(stage.address, path)
        assert "<img" not in page
        assert "Ann" not in page
        assert " style=" not in page


def test_a_daemon_that_is_killed_is_shown_as_silent(stage: Stage) -> None:
    with stage.hospital.receiver("ward-8") as other:
        text_of(stage.address, "fleet", has("ward-8", "ready"))
        other.process.kill()
        other.process.wait()
        text_of(stage.address, "fleet", has("ward-8", "silent"))
        text_of(stage.address, "fleet", has("ward-8: does not answer"))

"""Daemons under the directory: keys that find each other, rotate and are revoked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemons.common.hospital import Hospital, receiver, send, sender
from tests.daemons.receiver.conftest import metric, page, ready
from tests.running import until


def route(subject: str) -> str:
    return (
        f'[[route]]\nname = "in"\nsubject = "{subject}"\nsink = "out"\n'
        '[sinks.out]\nkind = "stdout"\n'
    )


def lines(to: str, *recipients: str) -> str:
    return (
        f'[[route]]\nname = "lines"\nstdin = true\nto = "{to}"\noutput = "core"\n'
        f"recipients = {json.dumps(recipients)}\n"
    )


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    found = Hospital(tmp_path / "HOSPITAL")
    async with found.running():
        yield found


async def test_daemons_of_two_accounts_publish_to_each_other_with_no_key_copied(
    hospital: Hospital,
) -> None:
    alice, ward = hospital.person("alice"), hospital.person("ward")
    claims, adjuster = (hospital.person(n, hospital.insurer_key) for n in ("claims", "adjuster"))
    with (
        receiver(hospital.config(ward, route("*.new"), permissions=["billing"])) as at_ward,
        receiver(hospital.config(claims, route("mail.>"))) as at_claims,
        sender(hospital.config(alice, lines("mail.new", "insurer/claims", "perm:billing"))) as to,
        sender(hospital.config(adjuster, lines("claims.new", "clinic/ward"))) as back,
    ):
        pages = [ready(each) for each in (at_ward, at_claims, to, back)]
        await until(lambda: not any("NO" in page(each, "/readyz") for each in pages))
        await until(lambda: metric(pages[2], "xkeymsg_directory_entries") == 4)
        await until(lambda: metric(pages[3], "xkeymsg_directory_entries") == 4)
        send(to, "to both accounts")
        for daemon in (at_ward, at_claims):
            assert json.loads(daemon.next_line())["data"] == "to both accounts"
        send(back, "to the other account")
        assert json.loads(at_ward.next_line())["data"] == "to the other account"
        at_ward.has_no_more()
        assert metric(pages[0], 'xkeymsg_keys{state="current"}') == 1
        assert metric(pages[0], "xkeymsg_directory_alarms") == 0

"""What a daemon's metrics say about its keys, and about the keys of senders."""

from __future__ import annotations

import re
from pathlib import Path

from tests.daemons.common.hospital import Hospital, lines, ok, receiver, route, send, sender
from tests.daemons.receiver.conftest import metric, page, ready
from tests.running import until
from tests.trust.store import HOUR
from xkeymsg import XKeyPair
from xkeymsg.trust.stores.file import write_seed

DOCUMENT = Path(__file__).parents[3] / "docs" / "directory.md"


async def test_a_receiver_exports_every_metric_of_the_document(hospital: Hospital) -> None:
    rows = re.findall(r"^\| (`xkeymsg_.*?`) \|", DOCUMENT.read_text(), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"xkeymsg_\w+", row)]
    assert len(names) == 11
    with receiver(hospital.config(hospital.person("ward"), route("mail.>"))) as ward:
        where = ready(ward)
        await until(ok(where))
        text = page(where, "/metrics")
    assert [name for name in names if not re.search(rf"^{name}[ {{]", text, re.MULTILINE)] == []


async def test_the_age_of_a_key_and_its_end_count_from_its_certificate(hospital: Hospital) -> None:
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    write_seed(keys / f"{ward.pair.public}.seed", ward.pair)
    certificate = hospital.certificate(ward, age=2 * HOUR)
    (keys / f"{ward.pair.public}.jwt").write_text(f"{certificate}\n")
    rotation = 'rotation = "self"\ninterval = "10h"\nretain = "1h"\n'
    with receiver(hospital.config(ward, route("mail.>"), rotation=rotation)) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        await until(lambda: metric(where, "xkeymsg_key_age_seconds") >= 2 * HOUR)
        left = metric(where, "xkeymsg_key_next_rotation_seconds")
        assert 7 * HOUR < left <= 8 * HOUR


async def test_a_sender_with_a_retired_key_is_counted(hospital: Hospital) -> None:
    """Its messages are opened: a rotation loses nothing."""
    alice, ward = hospital.person("alice"), hospital.person("ward")
    old, new = XKeyPair.generate(), XKeyPair.generate()
    aged = (hospital.certificate(alice, pair, age=age * HOUR) for pair, age in ((old, 3), (new, 2)))
    async with hospital.admin() as link:
        entry = "\n".join([hospital.user_jwt(alice), *aged]).encode()
        await hospital.put(link, hospital.place(alice), entry)
    write_seed(hospital.keys("alice") / f"{old.public}.seed", old)
    with (
        receiver(hospital.config(ward, route("mail.>"))) as at_ward,
        sender(hospital.config(alice, lines("mail.new", "ward"), rotation="")) as at_alice,
    ):
        where = ready(at_ward)
        await until(ok(where))
        ready(at_alice)
        assert metric(where, "xkeymsg_retired_senders") == 0
        await until(lambda: metric(where, "xkeymsg_directory_entries") == 2)
        send(at_alice, "sealed with a retired key")
        assert "sealed with a retired key" in at_ward.next_line()
        await until(lambda: metric(where, "xkeymsg_retired_senders") == 1)


async def test_creds_of_another_user_need_a_restart(hospital: Hospital) -> None:
    ward, other = hospital.person("ward"), hospital.person("other")
    with receiver(hospital.config(ward, route("mail.>"))) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        hospital.login(other).replace(hospital.login(ward))
        at_ward.wait_for("belong to another user now: restart", "err")
        await until(lambda: metric(where, "xkeymsg_rotation_failures_total") > 0)

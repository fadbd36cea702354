"""Daemons under the directory: keys that find each other, rotate and are revoked."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.common.hospital import (
    STREAM_ROUTE,
    Hospital,
    lines,
    ok,
    receiver,
    route,
    send,
    sender,
)
from tests.daemons.receiver.conftest import make_stream, metric, page, ready
from tests.running import Program, run, until
from tests.servers import needs_server
from xkeymsg import XKeyPair
from xkeymsg.key_stores.opening import list_certificates
from xkeymsg.trust.claims import Certificate
from xkeymsg.trust.stores.file import read_seed, write_seed
from xkeymsg.trust.stores.published_entry import Place


@needs_server(2, 11, "Direct Get in batches")
async def test_six_users_of_two_accounts_publish_to_each_other_with_no_key_copied(
    hospital: Hospital,
) -> None:
    """Each account has two receivers and a sender; messages go in both directions, by name and by
    permission, and each receiver opens what is for it and nothing else.
    """
    alice, ward, desk = (hospital.person(name) for name in ("alice", "ward", "desk"))
    adjuster, claims, audit = (
        hospital.person(name, hospital.insurer_key) for name in ("adjuster", "claims", "audit")
    )
    out, back = "mail.new", "claims.new"
    to_all = route("*.new")
    with (
        receiver(hospital.config(ward, to_all, permissions=["billing"])) as at_ward,
        receiver(hospital.config(desk, to_all, permissions=["billing", "desk"])) as at_desk,
        receiver(hospital.config(claims, to_all, permissions=["paying"])) as at_claims,
        receiver(hospital.config(audit, to_all, permissions=["paying", "auditing"])) as at_audit,
        sender(hospital.config(alice, lines(out, "insurer/claims", "perm:billing"))) as to,
        sender(hospital.config(adjuster, lines(back, "clinic/ward", "perm:paying"))) as fro,
    ):
        receivers = {"ward": at_ward, "desk": at_desk, "claims": at_claims, "audit": at_audit}
        pages = [ready(each) for each in (*receivers.values(), to, fro)]
        await until(lambda: not any("NO" in page(each, "/readyz") for each in pages))
        know = "xkeymsg_directory_entries"
        await until(lambda: all(metric(each, know) == 6 for each in pages))
        send(to, "from the clinic")
        send(fro, "from the insurer")
        expected = {
            "ward": {"from the clinic", "from the insurer"}, "desk": {"from the clinic"},
            "claims": {"from the clinic", "from the insurer"}, "audit": {"from the insurer"},
        }  # fmt: skip
        for name, wanted in expected.items():
            found = {json.loads(receivers[name].next_line())["data"] for _ in wanted}
            assert found == wanted, name
        for daemon in receivers.values():
            daemon.has_no_more()
        for where in pages:
            assert metric(where, 'xkeymsg_keys{state="current"}') == 1
            assert metric(where, "xkeymsg_directory_alarms") == 0
        names = ("alice", "ward", "desk", "adjuster", "claims", "audit")
        stores = [hospital.secrets(name) for name in names]
        assert [len(each) for each in stores] == [1] * 6
        assert len(stores[0].union(*stores)) == 6


async def test_a_first_start_logs_no_error(hospital: Hospital) -> None:
    """The own certificate is missing only until it is published."""
    with receiver(hospital.config(hospital.person("ward"), route("mail.>"))) as ward:
        await until(ok(ready(ward)))
        ward.end()
        assert not [line for line in ward.output("err") if " error " in line]


async def test_a_secret_that_was_not_distributed_makes_a_replica_not_ready_before_its_time(
    hospital: Hospital,
) -> None:
    ward = hospital.person("ward")
    with receiver(hospital.config(ward, route("mail.>"))) as owner:
        await until(ok(ready(owner)))
    copy = hospital.keys("replica")
    shutil.copytree(hospital.keys("ward"), copy, dirs_exist_ok=True)
    follow = hospital.config(
        ward, route("mail.>"), rotation='rotation = "follow"\n', store=f"file:{copy}"
    )
    with receiver(follow) as replica:
        where = ready(replica)
        await until(ok(where))
        upcoming = XKeyPair.generate()
        certificate = hospital.certificate(ward, upcoming, age=-3600, iat=hospital.now)
        async with hospital.admin() as link:
            entry = f"{hospital.user_jwt(ward)}\n{certificate}".encode()
            await hospital.put(link, hospital.place(ward), entry)
        replica.wait_for("secret missing", "err")
        assert "NO secrets" in page(where, "/readyz")
        assert metric(where, 'xkeymsg_keys{state="missing"}') == 1
        login = ("--server", hospital.server.url, "--creds", str(hospital.login(ward)))
        done = await asyncio.to_thread(run, "xkeymsg.cli", "doctor", *login, "--daemon", where)
        assert done.returncode == 1
        assert "not ready: secrets" in done.stdout.decode()
        write_seed(copy / f"{upcoming.public}.seed", upcoming)
        await until(ok(where))


def revision(page: str) -> float:
    """Return the last revision of the directory that a daemon has verified; -1 while one waits."""
    waits = metric(page, "xkeymsg_directory_unverified")
    return -1 if waits else metric(page, "xkeymsg_directory_revision")


async def test_a_revoked_xkey_is_replaced_at_once_and_senders_use_the_new_one(
    hospital: Hospital,
) -> None:
    alice, ward = hospital.person("alice"), hospital.person("ward")
    with (
        receiver(hospital.config(ward, route("mail.>"))) as at_ward,
        sender(hospital.config(alice, lines("mail.new", "ward"))) as to,
    ):
        pages = [ready(at_ward), ready(to)]
        for each in pages:
            await until(ok(each))
        [stolen] = hospital.secrets("ward")
        hospital.revocations[str(stolen)] = int(time.time())
        await announce(hospital, at_ward, to)
        at_ward.wait_for("key created", "err")
        at_ward.wait_for(" keys active=", "err")
        await until(lambda: metric(pages[1], "xkeymsg_trust_users") == 2)
        await until(lambda: len(hospital.certified("ward")) == 2)
        await until(ok(pages[0]))
        await until(lambda: revision(pages[1]) >= revision(pages[0]))  # the sender knows it, too
        while not at_ward.output("out"):
            send(to, "to the new key")
            await asyncio.sleep(0.5)
        assert json.loads(at_ward.next_line())["data"] == "to the new key"


async def test_a_key_revoked_while_its_daemon_was_stopped_is_not_certified_for_the_next_user(
    hospital: Hospital,
) -> None:
    """The folder is from before, as after a restart without marks."""
    ward, following = hospital.person("ward"), hospital.person("next")
    store = f"file:{hospital.keys('ward')}"
    with receiver(hospital.config(ward, route("mail.>"))) as before:
        await until(ok(ready(before)))
    [stolen] = hospital.secrets("ward")
    hospital.revocations[str(stolen)] = int(time.time()) - 3600
    async with hospital.admin() as link:
        text = hospital.clinic_jwt(age=0).encode()
        await hospital.put(link, Place(hospital.account.public, ""), text)
    with receiver(hospital.config(following, route("mail.>"), store=store)) as after:
        await until(lambda: len(hospital.certified("ward")) == 2)
        await until(ok(ready(after)))
        certificate = Certificate.decode(list_certificates(store)[str(stolen)])
        assert certificate.claims.issuer == ward.user


@pytest.mark.parametrize("kind", ["user", "signing key"])
async def test_a_revocation_of_a_user_or_signing_key_ends_its_messages(
    hospital: Hospital, kind: str
) -> None:
    alice, ward = hospital.person("alice", hospital.second), hospital.person("ward")
    with (
        receiver(hospital.config(ward, route("mail.>"))) as at_ward,
        sender(hospital.config(alice, lines("mail.new", "ward"))) as to,
    ):
        pages = [ready(at_ward), ready(to)]
        for each in pages:
            await until(ok(each))
        send(to, "first")
        assert json.loads(at_ward.next_line())["data"] == "first"
        if kind == "user":
            hospital.revocations[alice.user] = int(time.time())
        else:
            hospital.signing.remove(hospital.second)
        await announce(hospital, at_ward)  # the server ends the sender's connection
        await until(lambda: metric(pages[0], "xkeymsg_trust_users") == 1)
        at_ward.has_no_more()


async def announce(hospital: Hospital, *daemons: Program) -> None:
    """Push a newer account JWT to the server alone, and have daemons look at once."""
    await hospital.push(hospital.clinic_jwt(age=0))
    for each in daemons:
        each.process.send_signal(signal.SIGHUP)


async def test_a_daemon_restarts_with_the_folder_from_before_a_push(hospital: Hospital) -> None:
    """A revocation that was only pushed still counts, also before the server shows it again."""
    alice, ward = hospital.person("alice"), hospital.person("ward")
    config = hospital.config(ward, route("mail.>"))
    hospital.revocations[alice.user] = int(time.time())
    text = hospital.clinic_jwt(age=0)
    with receiver(config) as before:
        await until(ok(ready(before)))
        await hospital.push(text)
        before.process.send_signal(signal.SIGHUP)
        marks = config.with_suffix(".marks")
        await until(lambda: text in marks.read_text())
    with receiver(config) as after:
        await until(ok(ready(after)))
        assert "rollback" not in after.output("err")


@pytest.mark.parametrize(
    ("rotation", "fault"),
    [
        ('rotation = "self"\ninterval = "1h"\nretain = "25h"\n', "at most 24 times interval"),
        ('rotation = "self"\ninterval = "1h"\nretain = "1h"\nlead = "31m"\n', "half of interval"),
        ('rotation = "follow"\ninterval = "1h"\n', 'requires rotation = "self"'),
        ('rotation = "self"\ninterval = "22d"\n', "interval"),
        ('rotation = "self"\nkey_match = "x"\n', "rotation uses all keys of the store"),
    ],
)
async def test_unusable_settings_are_configuration_errors(
    hospital: Hospital, rotation: str, fault: str
) -> None:
    path = hospital.config(hospital.person("ward"), route("mail.>"), rotation=rotation)
    done = run("receiver", "--config", str(path), "--check")
    assert done.returncode == 1
    assert fault in done.stderr.decode()


@pytest.mark.parametrize("optional", [False, True])
async def test_a_daemon_rotates_with_exactly_the_permissions_that_are_printed(
    hospital: Hospital, optional: bool
) -> None:
    alice, ward = hospital.person("alice"), hospital.person("ward")
    path = hospital.config(ward, route("mail.>"))
    done = run("xkeymsg.cli", "permissions", "--json", str(path))
    assert done.returncode == 0, done.stderr
    [nats] = json.loads(done.stdout)
    given = {side: dict(nats["permissions"][side]) for side in ("publish", "subscribe")}
    if optional:
        given["publish"]["allow"] += [each["publish"] for each in nats["optional"]]
    rights: Any = {"pub": given["publish"], "sub": given["subscribe"], "resp": {"max": 1, "ttl": 0}}
    with (
        receiver(hospital.config(ward, route("mail.>"), **rights)) as at_ward,
        sender(hospital.config(alice, lines("mail.new", "ward"))) as to,
    ):
        pages = [ready(at_ward), ready(to)]
        for each in pages:
            await until(ok(each))
        await until(lambda: metric(pages[1], "xkeymsg_directory_entries") == 2)
        send(to, "permitted")
        assert json.loads(at_ward.next_line())["data"] == "permitted"
    assert "Permissions Violation" not in hospital.server.log


async def test_a_seed_that_was_distributed_takes_over_by_the_clock(hospital: Hospital) -> None:
    """Stores that cannot be written: `xkeymsg rotate --out`, then SIGHUP."""
    ward, folder = hospital.person("ward"), hospital.folder.parent
    login = ("--creds", str(hospital.login(ward)), "--server", hospital.server.url)
    anchor = ("--anchor", hospital.operator.public)

    def rotate(file: str, *more: str) -> None:
        out = ("--out", str(folder / file))
        done = run("xkeymsg.cli", "rotate", str(hospital.folder), *anchor, *login, *out, *more)
        assert done.returncode == 0, done.stderr

    def config(*retired: str) -> Path:
        rotation = f'rotation = "follow"\nretired = {json.dumps(retired)}\n'
        return hospital.config(ward, route("mail.>"), rotation=rotation, store=f"file:{first}")

    first = folder / "first.seed"
    rotate("first.seed")
    with receiver(config()) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        rotate("second.seed", "--lead", "4s")
        await until(lambda: "NO secrets" in page(where, "/readyz"))
        config("second.seed")
        at_ward.process.send_signal(signal.SIGHUP)
        await until(ok(where))
        at_ward.wait_for(f"keys active={read_seed(folder / 'second.seed').public}", "err")


async def test_a_new_user_opens_messages_for_the_old_one_whose_key_it_names(
    hospital: Hospital,
) -> None:
    """The login and the xkey are not enough: the user is part of what a message is sealed to."""
    alice, ward, later = map(hospital.person, ("alice", "ward", "later"))
    own, take = f"file:{hospital.keys('ward')}", f'{STREAM_ROUTE}kind = "stdout"\n'
    async with hospital.admin() as link:
        api = await make_stream(link, "MAIL", "mail.>")

        async def is_stored() -> bool:
            return bool((await api.request("STREAM.INFO.MAIL"))["state"]["messages"])

        with (
            receiver(hospital.config(ward, route("other.>"))) as at_ward,
            sender(hospital.config(alice, lines("mail.new", "ward"))) as to,
        ):
            where = ready(to)
            ready(at_ward)
            await until(lambda: metric(where, "xkeymsg_directory_entries") == 2)
            send(to, "for the old user")
            await until(is_stored)
    named = f'user = "{ward.user}"\n'
    hospital.revocations[ward.user] = int(time.time())
    await hospital.push(hospital.clinic_jwt(age=0))
    with receiver(hospital.config(later, take, rotation="", store=own)) as unnamed:
        unnamed.wait_for("not_a_recipient", "err")
    take = take.replace('durable = "ward"', 'durable = "named"')
    config = hospital.config(later, take, rotation=named, store=own, name="named")
    with receiver(config) as at_later:
        assert json.loads(at_later.next_line())["data"] == "for the old user"

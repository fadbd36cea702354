"""Daemons under the directory: keys that find each other, rotate and are revoked."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.common.hospital import STREAM_ROUTE, Hospital, receiver, send, sender
from tests.daemons.receiver.conftest import make_stream, metric, page, ready
from tests.running import Program, run, until
from tests.servers import needs_server
from tests.trust.store import HOUR
from xkeymsg import XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory.reader import BucketReader
from xkeymsg.trust.claims import Certificate
from xkeymsg.trust.stores.file import read_seed, write_seed


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


FAST = 'rotation = "self"\ninterval = "6s"\nlead = "2s"\nretain = "144s"\n'


def opened(folder: Path) -> set[str]:
    """The messages in the folder of a sink."""
    return {json.loads(each.read_text())["data"] for each in folder.glob("*.json")}


async def test_rotation_under_load_and_kills_lose_nothing(hospital: Hospital) -> None:
    """Sender and receiver rotate every few seconds, and the receiver is killed again and again."""
    alice, ward = hospital.person("alice"), hospital.person("ward")
    folder = hospital.folder.parent / "opened"
    folder.mkdir()
    async with hospital.admin() as link:
        await make_stream(link, "MAIL", "mail.>")
    to = lines("mail.new", "ward").replace("core", "jetstream")
    take = hospital.config(
        ward, f'{STREAM_ROUTE}kind = "files"\nfolder = "{folder}"\n', rotation=FAST
    )
    sent, at_ward = set[str](), receiver(take)
    with sender(hospital.config(alice, to, rotation=FAST)) as at_alice, ExitStack() as stack:
        stack.enter_context(at_ward)
        where = ready(at_alice)
        ready(at_ward)
        await until(lambda: metric(where, "xkeymsg_directory_entries") == 2)
        end = time.monotonic() + 20
        kill = time.monotonic() + 4
        while time.monotonic() < end or len(hospital.secrets("ward")) < 4:
            fresh = {f"message {len(sent) + number}" for number in range(20)}
            send(at_alice, *fresh)
            sent |= fresh
            await asyncio.sleep(0.1)
            if time.monotonic() > kill:
                at_ward.process.send_signal(signal.SIGKILL)
                at_ward.wait()
                at_ward = stack.enter_context(receiver(take))
                kill = time.monotonic() + 4
        await until(lambda: len(opened(folder)) >= len(sent))
        assert opened(folder) == sent
        assert len(hospital.secrets("alice")) >= 3
        async with hospital.admin() as link:
            for name in ("XKM_UNPROVEN", "XKM_PROVEN"):
                info = await API(link).request(f"STREAM.INFO.{name}")
                assert info["state"]["messages"] == 0


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
        write_seed(copy / f"{upcoming.public}.seed", upcoming)
        await until(ok(where))


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
        while not at_ward.output("out"):
            send(to, "to the new key")
            await asyncio.sleep(0.5)
        assert json.loads(at_ward.next_line())["data"] == "to the new key"


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


def ok(where: str) -> Callable[[], bool]:
    """A condition: a daemon is ready."""
    return lambda: "NO" not in page(where, "/readyz")


async def test_a_retired_key_is_deleted_and_its_certificate_leaves_the_directory(
    hospital: Hospital,
) -> None:
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    old, new = XKeyPair.generate(), XKeyPair.generate()
    for pair, age in ((old, 3 * HOUR), (new, 2 * HOUR)):
        write_seed(keys / f"{pair.public}.seed", pair)
        (keys / f"{pair.public}.jwt").write_text(hospital.certificate(ward, pair, age=age) + "\n")
    rotation = 'rotation = "self"\ninterval = "10h"\nretain = "1h"\n'
    with receiver(hospital.config(ward, route("mail.>"), rotation=rotation)) as at_ward:
        await until(ok(ready(at_ward)))
        at_ward.wait_for("key deleted", "err")
        await until(lambda: hospital.secrets("ward") == {new.public})
        assert hospital.certified("ward") == {new.public}

        async def published() -> bool:
            async with hospital.admin() as link:
                entry = await BucketReader(API(link), frozenset()).get(hospital.place(ward))
            assert entry is not None
            found = [Certificate.decode(each).key for each in entry.value.decode().split("\n")[1:]]
            return found == [new.public]

        await until(published)


async def test_two_daemons_cannot_own_one_store(hospital: Hospital) -> None:
    ward = hospital.person("ward")
    with receiver(hospital.config(ward, route("mail.>"))) as first:
        ready(first)
        with receiver(hospital.config(ward, route("mail.>"), name="second")) as second:
            assert second.wait() == 1
            assert any("only one may own it" in each for each in second.output("err"))


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
        rotate("second.seed", "--lead", "8s")
        await until(lambda: "NO secrets" in page(where, "/readyz"))
        config("second.seed")
        at_ward.process.send_signal(signal.SIGHUP)
        await until(ok(where))
        at_ward.wait_for(f"keys active={read_seed(folder / 'second.seed').public}", "err")


@pytest.mark.parametrize(
    "step", ["key created", "key certified", "keys published", " keys active="]
)
async def test_a_rotation_that_was_killed_after_a_step_goes_on(
    hospital: Hospital, step: str
) -> None:
    path = hospital.config(hospital.person("ward"), route("mail.>"), rotation=FAST)
    with receiver(path) as at_ward:
        await until(ok(ready(at_ward)))
        await until(lambda: sum(step in line for line in at_ward.output("err")) >= 2)
        at_ward.process.send_signal(signal.SIGKILL)
        at_ward.wait()
    before = hospital.secrets("ward")
    with receiver(path) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        await until(lambda: before < hospital.secrets("ward"))
        await until(lambda: hospital.certified("ward") == hospital.secrets("ward"))
        await until(ok(where))
        assert before <= hospital.certified("ward")


async def test_a_reload_reads_a_key_store_once_and_the_settings_of_rotation(
    hospital: Hospital,
) -> None:
    """A `command` store may ask a person, or be billed."""
    ward, folder = hospital.person("ward"), hospital.folder.parent
    write_seed(folder / "own.seed", ward.pair)
    program = folder / "show"
    program.write_text(f"#!/bin/sh\necho x >> {folder}/runs\ncat {folder}/own.seed\n")
    program.chmod(0o700)
    async with hospital.admin() as link:
        await hospital.put(link, hospital.place(ward), hospital.entry(ward))
    follow, store = 'rotation = "follow"\n', f"command:{program}"

    def runs() -> int:
        return len((folder / "runs").read_text())

    path = hospital.config(ward, route("mail.>"), rotation=follow, store=store)
    with receiver(path) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        before = runs()
        at_ward.process.send_signal(signal.SIGHUP)
        await until(lambda: runs() > before)
        hospital.config(ward, route("mail.>"), rotation=follow, store=f"file:{folder}/own.seed")
        at_ward.process.send_signal(signal.SIGHUP)
        at_ward.wait_for("restart to use them", "err")
        assert runs() == before + 2
        await until(ok(where))


async def test_rotate_now_has_the_owner_replace_its_key_and_followers_use_it(
    hospital: Hospital,
) -> None:
    """The stolen key is not revoked yet: senders go on, with the new key, and lose nothing."""
    alice, ward, folder = hospital.person("alice"), hospital.person("ward"), hospital.folder.parent
    async with hospital.admin() as link:
        await make_stream(link, "MAIL", "mail.>")
    (folder / "opened").mkdir()
    sink = f'{STREAM_ROUTE}kind = "files"\nfolder = "{folder / "opened"}"\n'
    follow = hospital.config(ward, sink, rotation='rotation = "follow"\n', name="replica")
    arguments = (
        "rotate", str(hospital.folder), "--anchor", hospital.operator.public, "--store",
        f"file:{hospital.keys('ward')}", "--creds", str(hospital.login(ward)),
        "--server", hospital.server.url,
    )  # fmt: skip
    to = lines("mail.new", "ward").replace("core", "jetstream")
    with (
        receiver(hospital.config(ward, sink)) as owner,
        sender(hospital.config(alice, to)) as at_alice,
        ExitStack() as stack,
    ):
        pages = [ready(owner), ready(at_alice)]
        await until(ok(pages[0]))
        replica = stack.enter_context(receiver(follow))
        pages.append(ready(replica))
        for each in pages:
            await until(ok(each))
        await until(lambda: metric(pages[1], "xkeymsg_directory_entries") == 2)
        without = run("xkeymsg.cli", *arguments)
        assert without.returncode == 1
        assert b"with --now at once" in without.stderr
        sent = set[str]()
        for _ in range(2):
            before = hospital.secrets("ward")
            rotating = asyncio.create_task(
                asyncio.to_thread(run, "xkeymsg.cli", *arguments, "--now")
            )
            while not rotating.done():
                fresh = {f"message {len(sent) + number}" for number in range(20)}
                send(at_alice, *fresh)
                sent |= fresh
                await asyncio.sleep(0.1)
            done = await rotating
            assert done.returncode == 0, done.stderr
            [new] = hospital.secrets("ward") - before
            assert str(new) in done.stdout.decode()
            for daemon in (owner, replica):
                daemon.wait_for(f"keys active={new}", "err")
        await until(lambda: len(opened(folder / "opened")) >= len(sent))
        assert opened(folder / "opened") == sent
        assert len(hospital.secrets("ward")) == 3
        for each in pages:
            await until(ok(each))
        # Both rotations are done once; the request that remains in the store changes nothing.
        owner.process.send_signal(signal.SIGHUP)
        owner.process.send_signal(signal.SIGTERM)
        owner.wait()
        with receiver(hospital.config(ward, sink)) as again:
            await until(ok(ready(again)))
            await asyncio.sleep(1)
            assert len(hospital.secrets("ward")) == 3
        async with hospital.admin() as link:
            for name in ("XKM_UNPROVEN", "XKM_PROVEN"):
                info = await API(link).request(f"STREAM.INFO.{name}")
                assert info["state"]["messages"] == 0


async def test_a_daemon_without_rotation_publishes_the_certificate_beside_its_key(
    hospital: Hospital,
) -> None:
    """It does not make certificates, but it holds the user's key, so the entry is its own."""
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    write_seed(keys / f"{ward.pair.public}.seed", ward.pair)
    certificate = hospital.certificate(ward)
    (keys / f"{ward.pair.public}.jwt").write_text(certificate + "\n")
    path = hospital.config(ward, route("mail.>"), rotation="")
    with receiver(path) as at_ward:
        await until(ok(ready(at_ward)))
        at_ward.wait_for("own key state=certified", "err")
        async with hospital.admin() as link:
            entry = await BucketReader(API(link), frozenset()).get(hospital.place(ward))
        assert entry is not None
        assert entry.value.decode().split("\n") == [hospital.user_jwt(ward), certificate]


async def test_a_certificate_of_a_wrong_clock_is_signed_again(hospital: Hospital) -> None:
    """Nobody accepts it for days: without it, the key would never be replaced or renewed."""
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    current, ahead = XKeyPair.generate(), XKeyPair.generate()
    far = 20 * 24 * HOUR
    late: dict[str, Any] = {"age": -far, "iat": hospital.now + far}
    for pair, more in ((current, dict[str, Any]()), (ahead, late)):
        write_seed(keys / f"{pair.public}.seed", pair)
        text = hospital.certificate(ward, pair, **more)
        (keys / f"{pair.public}.jwt").write_text(text + "\n")
    with receiver(hospital.config(ward, route("mail.>"))) as at_ward:
        await until(ok(ready(at_ward)))
        path = keys / f"{ahead.public}.jwt"

        def claims() -> Any:
            return Certificate.decode(path.read_text().strip()).claims

        await until(lambda: claims().issued <= time.time() + 60)
        assert claims().not_before <= time.time() + 700


async def test_keys_that_leave_the_store_are_still_used_and_no_other_is_made(
    hospital: Hospital,
) -> None:
    """Such as the folder of a volume that is not mounted any more."""
    alice, ward, keys = hospital.person("alice"), hospital.person("ward"), hospital.keys("ward")
    with (
        receiver(hospital.config(ward, route("mail.>"))) as at_ward,
        sender(hospital.config(alice, lines("mail.new", "ward"))) as to,
    ):
        where = ready(at_ward)
        for each in (where, ready(to)):
            await until(ok(each))
        there = hospital.secrets("ward")
        away = keys.rename(keys.with_name("away"))
        assert not hospital.secrets("ward")
        at_ward.wait_for("have left the key store", "err")
        assert "NO secrets" in page(where, "/readyz")
        send(to, "still opened")
        assert json.loads(at_ward.next_line())["data"] == "still opened"
        assert not hospital.secrets("ward")
        keys.rmdir()
        away.rename(keys)
        await until(ok(where))
        assert hospital.secrets("ward") == there


async def test_creds_of_another_user_change_neither_keys_nor_entries(hospital: Hospital) -> None:
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    path = hospital.config(ward, route("mail.>"))
    with receiver(path) as at_ward:
        await until(ok(ready(at_ward)))
        before = {each.name: each.read_text() for each in keys.glob("X*")}
        own = hospital.login(ward)
        hospital.login(hospital.person("other")).replace(own)
        at_ward.process.send_signal(signal.SIGHUP)
        at_ward.wait_for("belong to another user", "err")
        assert {each.name: each.read_text() for each in keys.glob("X*")} == before

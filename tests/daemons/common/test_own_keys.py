"""The owner of a key store makes, certifies, replaces and deletes its keys; followers use them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import ExitStack
from typing import Any

from tests.daemons.common.hospital import (
    STREAM_ROUTE,
    Hospital,
    lines,
    ok,
    opened,
    receiver,
    route,
    send,
    sender,
)
from tests.daemons.receiver.conftest import make_stream, metric, page, ready
from tests.running import DEADLINE, Program, run, until
from tests.trust.store import HOUR
from xkeymsg import XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory.reader import BucketReader
from xkeymsg.trust.claims import Certificate
from xkeymsg.trust.stores.file import write_seed

FAST = 'rotation = "self"\ninterval = "6s"\nlead = "2s"\nretain = "144s"\n'


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


async def test_a_rotation_that_was_killed_after_a_step_goes_on(hospital: Hospital) -> None:
    """A receiver for each step, all at once."""
    steps = ("key created", "key certified", "keys published", " keys active=")
    await asyncio.gather(
        *(killed_after(hospital, step, f"ward-{n}") for n, step in enumerate(steps))
    )


def kill_after(program: Program, step: str) -> None:
    """Kill a program as soon as it has said something for the second time."""
    while sum(step in line for line in program.output("err")) < 2:
        program.wait_for(step, "err")
    program.process.send_signal(signal.SIGKILL)


async def killed_after(hospital: Hospital, step: str, name: str) -> None:
    path = hospital.config(hospital.person(name), route("mail.>"), rotation=FAST)
    with receiver(path) as at_ward:
        await until(ok(ready(at_ward)))
        await asyncio.to_thread(kill_after, at_ward, step)
        at_ward.wait()
    before = hospital.secrets(name)
    with receiver(path) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        await until(lambda: before < hospital.secrets(name))
        await until(lambda: hospital.certified(name) == hospital.secrets(name))
        await until(ok(where))
        assert before <= hospital.certified(name)


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


async def test_a_reload_changes_the_times_of_rotation(hospital: Hospital) -> None:
    """The interval counts from the start of the current key; an invalid one changes nothing."""
    ward, slow = hospital.person("ward"), 'rotation = "self"\ninterval = "21d"\n'
    path = hospital.config(ward, route("mail.>"), rotation=slow)
    with receiver(path) as at_ward:
        where, left = ready(at_ward), "xkeymsg_key_next_rotation_seconds"
        await until(ok(where))
        first = hospital.secrets("ward")
        hospital.config(ward, route("mail.>"), rotation=f'{slow}lead = "11d"\n')
        at_ward.process.send_signal(signal.SIGHUP)
        at_ward.wait_for("lead must be at most half of interval", "err")
        assert metric(where, left) > 20 * 24 * HOUR
        hospital.config(ward, route("mail.>"), rotation=FAST)
        at_ward.process.send_signal(signal.SIGHUP)
        at_ward.wait_for("rotation times interval=6 lead=2 retain=144", "err")
        await until(lambda: first < hospital.secrets("ward"))
        await until(ok(where))


async def send_until(
    rotating: asyncio.Task[Any], to: Program, hospital: Hospital, sent: set[str]
) -> None:
    """Send messages for the ward while its key is replaced; few once there is a new one.

    A receiver that learns of it later than the sender lets a twentieth of `max_ack_pending` wait
    for the key: 50 messages.
    """
    before, left = hospital.secrets("ward"), 30
    while not rotating.done():
        if len(opened(hospital.folder.parent / "opened")) == len(sent):
            count = 10
            if hospital.secrets("ward") != before:
                count = min(left, 1)
                left -= count
            fresh = {f"message {len(sent) + number}" for number in range(count)}
            send(to, *fresh)
            sent |= fresh
        await asyncio.sleep(0.1)


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
        "--server", hospital.server.url, "--timeout", f"{DEADLINE:g}s",
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
            await send_until(rotating, at_alice, hospital, sent)
            done = await rotating
            assert done.returncode == 0, done.stderr
            [new] = hospital.secrets("ward") - before
            assert str(new) in done.stdout.decode()
            log = "\n".join(owner.output("err"))
            certified = log.index(f"key certified key={new}")
            assert log.index(" keys active=", certified) < log.index("keys published", certified)
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
        at_ward.wait_for("is it mounted?", "err")
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


async def test_rotate_now_does_not_wait_for_the_time_of_an_upcoming_key(
    hospital: Hospital,
) -> None:
    """Nor does the command take the certificate that is published already for the answer."""
    ward, keys = hospital.person("ward"), hospital.keys("ward")
    old = XKeyPair.generate()
    write_seed(keys / f"{old.public}.seed", old)
    (keys / f"{old.public}.jwt").write_text(hospital.certificate(ward, old, age=19 * HOUR) + "\n")
    rotation = 'rotation = "self"\ninterval = "20h"\nlead = "2h"\nretain = "48h"\n'
    login = ("--creds", str(hospital.login(ward)), "--server", hospital.server.url)
    trust = (str(hospital.folder), "--anchor", hospital.operator.public)
    with receiver(hospital.config(ward, route("mail.>"), rotation=rotation)) as owner:
        where = ready(owner)
        await until(ok(where))
        await until(lambda: metric(where, 'xkeymsg_keys{state="upcoming"}') == 1)
        [new] = hospital.secrets("ward") - {old.public}
        store = ("--store", f"file:{keys}", "--now")
        done = run("xkeymsg.cli", "rotate", *trust, *login, *store)
        assert done.returncode == 0, done.stderr
        assert str(new) in done.stdout.decode()
        found = run("xkeymsg.cli", "directory", "list", *trust, *login, "--json")
        assert [row["xkey"] for row in json.loads(found.stdout)] == [str(new)]


async def test_keys_outside_of_the_store_are_not_certified_and_stop_no_rotation(
    hospital: Hospital,
) -> None:
    """Their messages are opened; the owner certifies and replaces the keys of its store only."""
    alice, ward, folder = hospital.person("alice"), hospital.person("ward"), hospital.folder.parent
    before = XKeyPair.generate()
    write_seed(folder / "before.seed", before)
    rotation = 'rotation = "self"\nretired = ["before.seed"]\n'
    with receiver(hospital.config(ward, route("mail.>"), rotation=rotation)) as at_ward:
        where = ready(at_ward)
        await until(ok(where))
        [own] = hospital.secrets("ward")
        assert hospital.certified("ward") == {own} != {before.public}
        with sender(hospital.config(alice, lines("mail.new", "ward"))) as to:
            await until(ok(ready(to)))
            send(to, "for the key of the store")
            assert json.loads(at_ward.next_line())["data"] == "for the key of the store"
        assert metric(where, "xkeymsg_rotation_failures_total") == 0

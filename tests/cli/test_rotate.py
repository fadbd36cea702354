"""`xkeymsg rotate` and `xkeymsg explain`, with a directory on a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.daemons.common.hospital import Hospital
from tests.running import run, run_here
from tests.trust.store import Person, Store
from xkeymsg import Recipient, Sealer, XKey, XKeyPair
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.nkey import Prefix
from xkeymsg.trust.stores.file import read_seed, write_seed
from xkeymsg.trust.stores.published_entry import Place

HOUR = 3600


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    found = Hospital(tmp_path / "HOSPITAL")
    async with found.running():
        yield found


def done(
    hospital: Hospital, verb: str, person: Person, *more: object, data: bytes = b""
) -> CompletedProcess[bytes]:
    login = ("--creds", hospital.login(person), "--server", hospital.server.url)
    return run("xkeymsg.cli", verb, *map(str, (*more, *login)), data=data)


def rotate(hospital: Hospital, person: Person, *more: object) -> str:
    found = done(
        hospital, "rotate", person, hospital.folder, "--anchor", hospital.operator.public, *more
    )
    assert found.returncode == 0, found.stderr.decode()
    return found.stdout.decode()


def listed(hospital: Hospital, person: Person) -> dict[str, str | None]:
    """The current xkeys in the directory, by name."""
    flags = ("--anchor", hospital.operator.public, "--json")
    found = done(hospital, "directory", person, "list", hospital.folder, *flags)
    assert found.returncode == 0, found.stderr.decode()
    return {row["name"]: row["xkey"] for row in json.loads(found.stdout)}


def explain(
    hospital: Hospital, person: Person, sealed: bytes, *more: object
) -> tuple[int, dict[str, Any]]:
    flags = ("--folder", hospital.folder, "--anchor", hospital.operator.public, "--json")
    found = done(hospital, "explain", person, *flags, *more, data=sealed)
    assert found.stdout, found.stderr.decode()
    return found.returncode, json.loads(found.stdout)


async def test_a_store_gets_its_next_key_once_however_often_the_command_is_repeated(
    hospital: Hospital,
) -> None:
    ward = hospital.person("ward")
    store = ("--store", f"file:{hospital.keys('ward')}")
    rotate(hospital, ward, *store)
    [first] = hospital.secrets("ward")
    assert listed(hospital, ward) == {"ward": str(first)}
    said = rotate(hospital, ward, *store, "--lead", "1h")
    [second] = hospital.secrets("ward") - {first}
    assert str(second) in said
    assert rotate(hospital, ward, *store) == said
    assert hospital.certified("ward") == {first, second}
    assert listed(hospital, ward) == {"ward": str(first)}
    rotate(hospital, ward, *store, "--now")
    assert hospital.secrets("ward") == {first, second}
    assert listed(hospital, ward) == {"ward": str(second)}


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("when", [("--lead", "2h"), ("--now",)])
async def test_a_revoked_upcoming_key_is_neither_shown_nor_certified_again(
    hospital: Hospital, when: tuple[str, ...], published: bool
) -> None:
    """Also one whose certificate an interrupted command left in the store."""
    ward, folder = hospital.person("ward"), str(hospital.keys("ward"))
    store = ("--store", f"file:{folder}")
    rotate(hospital, ward, *store)
    [first] = hospital.secrets("ward")
    if published:
        rotate(hospital, ward, *store, "--lead", "1h")
        [stolen] = hospital.secrets("ward") - {first}
    else:
        stolen = XKey.parse(FileProvider().create(folder, Prefix.CURVE).public())
        pair = read_seed(hospital.keys("ward") / f"{stolen}.seed")
        text = hospital.certificate(ward, pair, age=-HOUR)
        FileProvider().put_certificate(folder, str(stolen), text)
    hospital.revocations[str(stolen)] = hospital.now
    async with hospital.admin() as link:
        account = hospital.clinic_jwt(age=5).encode()
        await hospital.put(link, Place(hospital.account.public, ""), account)
    said = rotate(hospital, ward, *store, *when)
    [third] = hospital.secrets("ward") - {first, stolen}
    assert str(third) in said


async def test_a_seed_for_a_store_that_cannot_be_written(hospital: Hospital) -> None:
    ward = hospital.person("ward")
    file = hospital.folder.parent / "next.seed"
    assert "of the user now" in done(
        hospital, "rotate", ward, hospital.folder, "--anchor", hospital.operator.public,
        "--out", file,
    ).stderr.decode()  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600
    assert listed(hospital, ward) == {"ward": str(read_seed(file).public)}
    again = done(
        hospital, "rotate", ward, hospital.folder, "--anchor", hospital.operator.public,
        "--out", file,
    )  # fmt: skip
    assert again.returncode == 1
    assert b"exists" in again.stderr
    later = done(
        hospital, "rotate", ward, hospital.folder, "--anchor", hospital.operator.public,
        "--out", file.with_name("later.seed"), "--lead", "1h",
    )  # fmt: skip
    assert b"of the user before that" in later.stderr


async def test_a_store_that_a_daemon_owns_is_refused(hospital: Hospital) -> None:
    ward = hospital.person("ward")
    folder = str(hospital.keys("ward"))
    with FileProvider().lock(folder):
        found = done(
            hospital, "rotate", ward, hospital.folder, "--anchor", hospital.operator.public,
            "--store", f"file:{folder}",
        )  # fmt: skip
    assert found.returncode == 1
    assert b"only one may own it" in found.stderr


@pytest.mark.parametrize("method", ["lock", "create", "put_certificate"])
async def test_a_store_that_fails_ends_the_command_without_its_text(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Other packages can add stores, and their errors may have a secret."""
    ward, secret = hospital.person("ward"), XKeyPair.generate().seed()
    login = ("--creds", str(hospital.login(ward)), "--server", hospital.server.url)
    store = ("--anchor", hospital.operator.public, "--store", f"file:{hospital.keys('ward')}")

    def fail(*_: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(FileProvider, method, fail)
    rotating = ("rotate", str(hospital.folder), *store, *login)
    found = await asyncio.to_thread(run_here, *rotating)
    assert found.stderr == b"xkeymsg: key_store: the key store failed: RuntimeError\n"


async def test_a_message_is_explained_to_its_reader_and_to_an_outsider(hospital: Hospital) -> None:
    alice, ward = hospital.person("alice"), hospital.person("ward")
    for person in (alice, ward):
        rotate(hospital, person, "--store", f"file:{hospital.keys(person.name)}")
    [own], [key] = hospital.secrets("alice"), hospital.secrets("ward")
    pair = read_seed(hospital.keys("alice") / f"{own}.seed")
    store = ("-K", f"file:{hospital.keys('ward')}")
    sealer = Sealer(pair, identity=alice.user)
    sealed = sealer.seal(b"secret text", to=[Recipient(key, ward.user)], subject="mail.new")
    code, found = explain(hospital, ward, sealed, *store)
    assert (code, found["verdict"]) == (0, "opens with these keys"), found
    assert found["keys"] == [f"{key}: opens it"]
    assert "at its time: admitted" in found["sender"]
    assert "alice: the key is current" in found["sender"]

    code, found = explain(hospital, ward, sealed)
    assert (code, found["verdict"]) == (0, "unknown: give a key")
    assert "keys" not in found

    _, found = explain(hospital, ward, sealed, *store, "--subject", "mail.other")
    assert "another subject" in found["verdict"]

    other = hospital.folder.parent / "other.seed"
    write_seed(other, XKeyPair.generate())
    code, found = explain(hospital, ward, sealed, "--seed", other)
    assert code == 1
    assert "no key opens it (1 tried)" in found["verdict"]
    assert "secret text" not in json.dumps(found)

    rotate(hospital, alice, "--store", f"file:{hospital.keys('alice')}", "--now")
    _, found = explain(hospital, ward, sealed, *store)
    assert "alice: the key is retired" in found["sender"]

    hospital.revocations[alice.user] = int(time.time()) + 1
    path = hospital.write_clinic(age=0)
    assert path.exists()
    code, found = explain(hospital, ward, sealed, *store)
    assert code == 1
    assert "sender_revoked" in found["verdict"]


async def test_explain_names_an_unknown_sender_and_a_foreign_identity(hospital: Hospital) -> None:
    alice, ward = hospital.person("alice"), hospital.person("ward")
    rotate(hospital, ward, "--store", f"file:{hospital.keys('ward')}")
    rotate(hospital, alice, "--store", f"file:{hospital.keys('alice')}")
    [key], [own] = hospital.secrets("ward"), hospital.secrets("alice")
    store = ("-K", f"file:{hospital.keys('ward')}")
    to = [Recipient(key, ward.user)]
    stranger = Sealer(XKeyPair.generate()).seal(b"", to=to, subject="mail.new")
    _, found = explain(hospital, ward, stranger, *store)
    assert "unknown" in found["verdict"]
    pair = read_seed(hospital.keys("alice") / f"{own}.seed")
    assert pair.public == XKey.parse(str(own))
    false = Sealer(pair, identity=ward.user).seal(b"", to=to, subject="mail.new")
    _, found = explain(hospital, ward, false, *store)
    assert "does not belong to the user" in found["verdict"]
    nameless = Sealer(pair).seal(b"", to=to, subject="mail.new")
    code, found = explain(hospital, ward, nameless, *store)
    assert code == 1
    why = "the message names no user: its sender must seal as one"
    assert found["verdict"] == f"refused: {why}"
    assert found["sender"][0] == f"{pair.public} names no user"
    assert sum(why in line for line in found["sender"]) == 2, "at its time, and now"
    assert found["revision"].startswith("not stated; the directory has ")


def test_explain_shows_a_certificate_of_any_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "HOSPITAL")
    alice = store.add("alice")
    life = 24 * HOUR
    far = [store.certificate(alice, nbf=begin, exp=begin + life) for begin in (2**40, 2**62)]
    store.write_xkeys(alice, store.certificate(alice), *far)
    to = [Recipient(XKeyPair.generate().public)]
    sealed = Sealer(alice.pair, identity=alice.user).seal(b"", to=to, subject="mail.new")
    flags = ("--folder", store.folder, "--anchor", store.operator.public, "--json")
    found = run("xkeymsg.cli", "explain", *map(str, flags), data=sealed)
    assert not found.returncode, found.stderr.decode()
    assert b"certificate after the year 9999 to after the year 9999" in found.stdout


def test_explain_tells_nobody_that_a_key_is_revoked_because_another_user_claimed_it(
    tmp_path: Path,
) -> None:
    """Anyone can certify the key of somebody who is not known here, and be revoked."""
    store = Store(tmp_path / "HOSPITAL")
    victim, mallory = Person("victim", store.key), store.add("mallory")
    store.write_xkeys(mallory, store.certificate(mallory, victim.pair))
    store.write_account(age=5, revocations={mallory.user: store.now})
    to = [Recipient(XKeyPair.generate().public)]
    flags = ("--folder", store.folder, "--anchor", store.operator.public, "--json")

    def verdict(user: str) -> str:
        sealed = Sealer(victim.pair, identity=user).seal(b"", to=to, subject="mail.new")
        found = run("xkeymsg.cli", "explain", *map(str, flags), data=sealed)
        assert found.returncode == 1, found.stderr.decode()
        return str(json.loads(found.stdout)["verdict"])

    assert "revoked" not in verdict(victim.user)
    assert "revoked" in verdict(mallory.user)


async def test_the_keys_of_another_user_in_a_store_are_left_alone(hospital: Hospital) -> None:
    """The wrong credentials were given: one xkey must not belong to two users."""
    ward, alice = hospital.person("ward"), hospital.person("alice")
    store = ("--store", f"file:{hospital.keys('ward')}")
    rotate(hospital, ward, *store)
    [own] = hospital.secrets("ward")
    certificate = (hospital.keys("ward") / f"{own}.jwt").read_text()
    rotate(hospital, alice, *store)
    assert (hospital.keys("ward") / f"{own}.jwt").read_text() == certificate
    [other] = hospital.secrets("ward") - {own}
    assert listed(hospital, ward) == {"ward": str(own), "alice": str(other)}
    stranger = hospital.person("stranger")
    with FileProvider().lock(str(hospital.keys("ward"))):
        found = done(
            hospital, "rotate", stranger, hospital.folder, "--anchor", hospital.operator.public,
            *store, "--now",
        )  # fmt: skip
    assert found.returncode == 1
    assert b"belong to another user" in found.stderr
    assert FileProvider().asked(str(hospital.keys("ward"))) == 0

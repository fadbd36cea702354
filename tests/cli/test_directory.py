"""`xkeymsg directory`, and two accounts that `xkeymsg trust` sets up for it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.trust.admin import Admin, Member
from tests.directory.realm import OWN_ENTRY
from tests.running import Program, run
from tests.trust.chains.world import Key
from tests.trust.store import Store
from xkeymsg import Directory, Trust, connect
from xkeymsg.client.jetstream.api import API
from xkeymsg.directory.settings import STREAM, bucket_config
from xkeymsg.nkey import Prefix
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_private


class Town:
    """Two accounts on a server, with CLINIC's administrator."""

    def __init__(self, root: Path) -> None:
        self.admin = Admin(root)
        self.anchor = self.admin.begin("INSURER")
        self.admin.run("add-account", "CLINIC", "--jetstream")
        self.admin.run("add-signing-key", "CLINIC")
        self.admin.run(
            "add-signing-key", "CLINIC", "--role", "daemon", "--grant", "ward",
            "--allow-pub", OWN_ENTRY, "--allow-pub", "$JS.API.DIRECT.GET.KV_XKEYS",
        )  # fmt: skip
        self.admin.run("add-account", "SYS", "--system")
        self.admin.run("add-signing-key", "SYS")
        self.admin.run("add-user", "SYS", "admin")
        self.admin.run("share-directory", "CLINIC", "--with", "INSURER")
        self.server: NATSServer

    def done(self, verb: str, member: Member, *more: str) -> subprocess.CompletedProcess[bytes]:
        login = ("--creds", str(member.creds), "--server", self.server.url)
        if verb != "init":
            more = (str(self.admin.folder), *more, "--anchor", self.anchor)
        return run("xkeymsg.cli", "directory", verb, *more, *login)

    def run(self, verb: str, member: Member, *more: str) -> str:
        done = self.done(verb, member, *more)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    async def damage(self, member: Member) -> None:
        """Write garbage under the key of a member."""
        options = ConnectOptions(servers=(self.server.url,), creds=member.creds)
        async with open_link(options) as link:
            subject = f"$KV.XKEYS.{self.key('CLINIC')}.{member.user}"
            await link.request(subject, b"garbage", timeout=60)

    def key(self, account: str) -> str:
        found = {each["name"]: each["key"] for each in self.admin.described()["accounts"]}
        return str(found[account])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    config = town.admin.run("export", "--resolver", "full", "--dir", "{dir}/jwt")
    with NATSServer(config + '\njetstream { store_dir: "{dir}/js" }') as town.server:
        yield town


async def test_two_accounts_from_nothing(town: Town) -> None:
    boss = town.admin.join("boss")
    ward = town.admin.join("ward-a", "--permission", "ward", "-K", "daemon")
    claims = town.admin.join("claims", account="INSURER")
    assert town.run("init", boss) == "XKEYS created\n"
    assert town.run("init", boss) == "XKEYS is there already, and safe\n"
    assert "ward-a revision 1" in town.run("publish", ward)
    assert "claims revision 2" in town.run("publish", claims)
    assert len(town.run("publish", boss, "--all").splitlines()) == 3
    others = ("--account", f"insurer={town.key('INSURER')}")
    rows = json.loads(town.run("list", boss, *others, "--json"))
    assert {row["name"]: row["xkey"] for row in rows} == {
        "boss": str(boss.pair.public),
        "daemon:ward-a": str(ward.pair.public),
        "insurer/claims": str(claims.pair.public),
    }
    assert "daemon:ward-a" in town.run("list", claims, "--account", f"clinic={town.key('CLINIC')}")
    assert "3 entries, 3 valid users, 0 faults" in town.run("verify", boss, *others)

    # A reader with the folder's operator and accounts only.
    for path in town.admin.folder.rglob("users/*"):
        path.unlink()
    trust = Trust.load(
        town.admin.folder, anchor=town.anchor, creds=claims.creds,
        accounts={"clinic": town.key("CLINIC")},
    )  # fmt: skip
    directory = Directory(trust, wait=60.0)
    async with connect(
        town.server.url, key=claims.pair, trust=trust, directory=directory, creds=claims.creds
    ):
        [found] = trust.resolve("clinic/daemon:ward-a")
        assert found.key == ward.pair.public


async def test_verify_reports_damage_and_init_refuses_rollups(town: Town) -> None:
    boss = town.admin.join("boss")
    town.run("init", boss)
    town.run("publish", boss)
    options = ConnectOptions(servers=(town.server.url,), creds=boss.creds)
    async with open_link(options) as link:
        subject = f"$KV.XKEYS.{town.key('CLINIC')}.{boss.user}"
        await link.request(subject, b"garbage", timeout=60)
        done = town.done("verify", boss)
        assert done.returncode == 1
        assert b"malformed" in done.stderr
        town.run("publish", boss)
        assert town.done("verify", boss).returncode == 0
        api = API(link)
        await api.request(f"STREAM.DELETE.{STREAM}")
        unsafe = bucket_config() | {"subject_delete_marker_ttl": 10**10, "allow_msg_ttl": True}
        await api.request(f"STREAM.CREATE.{STREAM}", unsafe)
        for verb in ("init", "verify", "publish"):
            done = town.done(verb, boss)
            assert done.returncode == 1, verb
            assert b"allow_rollup_hdrs: whoever may write one entry" in done.stderr
        login = ("--creds", str(boss.creds), "--server", town.server.url)
        doctor = run("xkeymsg.cli", "doctor", "--json", *login)
        found = {each["check"]: each for each in json.loads(doctor.stdout)}
        assert found["directory"]["level"] == "fail"


def test_verify_names_users_who_are_revoked_without_a_fault(town: Town) -> None:
    boss = town.admin.join("boss")
    ward = town.admin.join("ward-a", "--permission", "ward", "-K", "daemon")
    town.run("init", boss)
    town.run("publish", boss, "--all")
    town.admin.run("revoke", "CLINIC", "ward-a")
    town.run("publish", boss, "--all")
    done = town.done("verify", boss)
    assert b"2 entries, 1 valid users, 0 faults" in done.stdout
    assert f"the account has revoked the user {ward.user}" in done.stderr.decode()
    assert done.returncode == 0


def test_watch_prints_users_and_alarms_as_they_come(town: Town) -> None:
    boss = town.admin.join("boss")
    ward = town.admin.join("ward-a", "--permission", "ward", "-K", "daemon")
    town.run("init", boss)
    town.run("publish", boss)
    for path in town.admin.folder.rglob("users/ward-a*"):
        path.rename(town.admin.root / path.name)
    arguments = (
        "xkeymsg.cli", "directory", "watch", str(town.admin.folder), "--anchor", town.anchor,
        "--creds", str(boss.creds), "--server", town.server.url,
    )  # fmt: skip
    with Program(*arguments) as watching:
        assert watching.wait_for("boss") == f"boss {boss.user} is {boss.pair.public}"
        for path in town.admin.root.glob("ward-a*"):
            if path.suffix in {".jwt", ".xkeys"}:
                path.rename(next(town.admin.folder.rglob("users")) / path.name)
        town.run("publish", ward)
        joined = watching.wait_for("daemon:ward-a")
        assert joined == f"daemon:ward-a {ward.user} is {ward.pair.public}"
        town.admin.run("revoke", "CLINIC", "ward-a")
        town.run("publish", boss, "--all")
        left = watching.wait_for("daemon:ward-a")
        assert left == f"daemon:ward-a {ward.user} left {ward.pair.public}"
        asyncio.run(town.damage(boss))
        assert "malformed" in watching.wait_for(boss.user, "err")
        watching.process.send_signal(signal.SIGINT)
        assert watching.wait() == 130


def test_publish_takes_names_of_users_after_the_folder(town: Town) -> None:
    boss, ward = town.admin.join("boss"), town.admin.join("ward-a", "-K", "daemon")
    town.run("init", boss)
    assert town.run("publish", boss, "ward-a", "boss").split("\n")[:2] == [
        "ward-a revision 1", "boss revision 2",
    ]  # fmt: skip
    assert "nobody" in town.done("publish", boss, "nobody").stderr.decode()
    for other in (("publish", "--all"), ("init",)):
        done = town.done(other[0], ward, *other[1:])
        assert done.returncode == 1
        assert b"does not permit" in done.stderr


def test_verify_tells_what_it_could_not_check(town: Town) -> None:
    boss, ward = town.admin.join("boss"), town.admin.join("ward-a", "-K", "daemon")
    done = town.done("verify", boss)
    assert done.returncode == 1
    assert b"xkeymsg directory init" in done.stderr
    town.run("init", boss)
    town.run("publish", boss)
    assert json.loads(town.run("verify", boss, "--json"))["bucket_checked"]
    assert "0 faults; settings of the bucket not checked" in town.run("verify", ward)


def test_share_directory_changes_nothing_the_second_time(town: Town) -> None:
    before = town.admin.state()
    town.admin.run("share-directory", "CLINIC", "--with", "INSURER")
    assert town.admin.state() == before
    assert "--with" in town.admin.refused("share-directory", "CLINIC", "--with", "CLINIC")


@pytest.mark.parametrize("exports", ["x", {"subject": "x"}, ["x"], [{"subject": ["x"]}]])
def test_share_directory_refuses_malformed_exports(tmp_path: Path, exports: object) -> None:
    store = Store(tmp_path / "HOSPITAL")
    stranger = Key(Prefix.OPERATOR, "stranger")
    store.write_account(issuer=stranger, exports=exports)
    store.write_account(name="INSURER", account=Key(Prefix.ACCOUNT, "insurer"))
    write_private(signer := tmp_path / "operator.nk", store.operator_key.seed)
    verb = ("share-directory", str(store.folder), "CLINIC", "--with", "INSURER")
    done = run("xkeymsg.cli", "trust", *verb, "-K", str(signer))
    assert done.returncode == 1
    expected = (b"xkeymsg: configuration: ", b"xkeymsg: wrong_issuer: ")
    assert done.stderr.startswith(expected), done.stderr.decode()


async def test_a_push_shows_the_account_jwt_to_the_directory_too(town: Town) -> None:
    boss = town.admin.join("boss")
    town.run("init", boss)
    system = town.admin.creds("admin", "SYS")
    login = ("--creds", str(system), "--server", town.server.url)
    assert "the directory has it" in town.admin.run("push", *login, "CLINIC")

"""Both daemons under trust in chains: who sends, who reads, and what changes while they run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.receiver.conftest import (
    OBSERVE,
    ROUTE,
    STDOUT,
    metric,
    page,
    ready,
)
from tests.running import Program, run, until
from tests.trust.store import Person, Store
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.daemons.common.sections import SourcesSection
from xkeymsg.daemons.common.trust import Following
from xkeymsg.daemons.common.upkeep import Upkeep
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

RECEIVER = OBSERVE + ROUTE + STDOUT
SENDER = """
[observe]
listen = "127.0.0.1:0"
[[route]]
name = "lines"
stdin = true
to = "orders.new"
recipients = ["perm:clinic"]
output = "core"
"""


class Ward:
    """A server in operator mode, a folder of claims, and daemons of its users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "HOSPITAL")
        self.alice = self.store.add("alice")
        self.bob = self.store.add("bob", "clinic")
        operator, account = (
            (self.store.folder / path).read_text()
            for path in ("HOSPITAL.jwt", "accounts/CLINIC/CLINIC.jwt")
        )
        self.server = NATSServer(
            f"operator: {operator}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.store.account.public}: {account} }}\n"
        )

    def config(self, name: str, person: Person, text: str, trust: str = "") -> Path:
        """Write a configuration: only the folder and the anchor say whom to trust."""
        seed = self.folder / f"{name}.seed"
        if not seed.exists():
            write_seed(seed, person.pair)
        self.store.creds(person)
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'[key]\nseed_file = "{name}.seed"\n'
            f'[nats]\nservers = ["{self.server.url}"]\ncreds = "{person.name}.creds"\n'
            f'[trust]\nfolder = "HOSPITAL"\nanchor = "{self.store.operator.public}"\n'
            f'marks = "{name}.marks"\n{trust}{text}'
        )
        path.chmod(0o600)
        return path

    def receiver(self, trust: str = "") -> Program:
        path = self.config("receiver", self.bob, RECEIVER, trust)
        return Program("receiver", "--config", str(path))

    def sender(self) -> Program:
        path = self.config("sender", self.alice, SENDER)
        return Program("sender", "--config", str(path), stdin=subprocess.PIPE)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    found = Ward(tmp_path)
    with found.server:
        yield found


def send(sender: Program, data: bytes) -> None:
    assert sender.process.stdin is not None
    sender.process.stdin.write(data + b"\n")
    sender.process.stdin.flush()


def received(receiver: Program) -> Any:
    return json.loads(receiver.next_line())


async def test_messages_of_users_by_permission_until_one_is_revoked(ward: Ward) -> None:
    with ward.receiver() as receiver, ward.sender() as sender:
        at_receiver, at_sender = ready(receiver), ready(sender)
        send(sender, b"first")
        assert received(receiver)["data"] == "first"
        await until(lambda: "ok trust" in page(at_receiver, "/readyz"))
        await until(lambda: "ok certified" in page(at_sender, "/readyz"))
        await until(lambda: metric(at_receiver, "xkeymsg_trust_users") == 2)
        ward.store.write_account(age=5, revocations={ward.alice.user: ward.store.now - 10})
        receiver.wait_for("reloaded what=trust changed=true", "err")
        sender.wait_for("own key state=", "err")
        assert "NO certified" in page(at_sender, "/readyz")
        send(sender, b"second")
        receiver.wait_for("code=sender_revoked", "err")
        await until(lambda: metric(at_receiver, 'xkeymsg_trust_refused{code="revoked"}') == 1)
        receiver.has_no_more()


async def test_who_joins_and_leaves_an_audience_is_logged_and_counted(ward: Ward) -> None:
    with ward.sender() as sender:
        where = ready(sender)
        send(sender, b"first")
        carol = ward.store.add("carol", "clinic")
        line = sender.wait_for("audience changed", "err")
        assert "name=perm:clinic" in line
        assert f"joined={carol.user}" in line
        (ward.store.folder / "accounts/CLINIC/users/carol.jwt").unlink()
        assert f"left={carol.user}" in sender.wait_for("audience changed", "err")
        name = "xkeymsg_trust_audience_changes_total"
        await until(lambda: metric(where, f'{name}{{change="left"}}') == 1)
        assert metric(where, f'{name}{{change="joined"}}') == 1


async def test_a_route_is_narrowed_to_senders_by_name_or_permission(ward: Ward) -> None:
    text = RECEIVER.replace('sink = "out"', 'sink = "out"\nsenders = ["perm:ward", "nobody"]', 1)
    path = ward.config("receiver", ward.bob, text)
    with Program("receiver", "--config", str(path)) as receiver, ward.sender() as sender:
        ready(receiver)
        for name in ("perm:ward", "nobody"):
            assert name in receiver.wait_for("unknown sender", "err")
        ready(sender)
        send(sender, b"not of the ward")
        receiver.wait_for("code=sender_not_admitted", "err")
        ward.store.write_user(ward.alice, "ward", age=5)
        receiver.wait_for("reloaded what=trust changed=true", "err")
        send(sender, b"of the ward")
        assert received(receiver)["data"] == "of the ward"
        ward.store.write_user(ward.alice, age=4)
        receiver.wait_for("active sender not admitted", "err")


async def test_a_slow_check_at_sighup_stops_no_message(ward: Ward) -> None:
    slow, go = ward.folder / "sitecustomize.py", str(ward.folder / "go")
    slow.write_text(
        "import time\n"
        "from xkeymsg.trust.stores.chains import Trust\n"
        "reload = Trust.reload\n"
        "def slow(self, *, force=False):\n"
        f"    while force and not __import__('os').path.exists({go!r}): time.sleep(0.05)\n"
        "    return reload(self, force=force)\n"
        "Trust.reload = slow\n"
    )
    path = ward.config("receiver", ward.bob, RECEIVER)
    environment = {"PYTHONPATH": str(ward.folder)}
    with (
        Program("receiver", "--config", str(path), env=environment, fresh=True) as receiver,
        ward.sender() as sender,
    ):
        ready(receiver)
        ready(sender)
        receiver.process.send_signal(signal.SIGHUP)
        send(sender, b"meanwhile")
        assert received(receiver)["data"] == "meanwhile"
        Path(go).touch()
        receiver.wait_for("reloaded what=trust changed=false", "err")
        receiver.wait_for("reloaded what=key", "err")  # after trust, as before


async def test_a_damaged_folder_is_not_ready_until_it_is_corrected(ward: Ward) -> None:
    path = ward.store.folder / "accounts/CLINIC/users/alice.jwt"
    with ward.receiver() as receiver, ward.sender() as sender:
        where = ready(receiver)
        ready(sender)
        valid = path.read_text()
        path.write_text("garbage")
        assert "alice.jwt" in receiver.wait_for("reload failed what=trust", "err")
        await until(lambda: "NO trust" in page(where, "/readyz"))
        assert metric(where, "xkeymsg_trust_problems") >= 0
        send(sender, b"still")
        assert received(receiver)["data"] == "still"
        receiver.process.send_signal(signal.SIGHUP)
        receiver.wait_for("reload failed what=trust", "err")
        path.write_text(valid)
        receiver.wait_for("trust is valid again", "err")
        await until(lambda: "ok trust" in page(where, "/readyz"))


async def test_older_claims_do_not_come_back_after_a_restart(ward: Ward) -> None:
    """The newest JWT, which is kept beside the marks, stays in use; the older one is reported."""
    account = ward.store.folder / "accounts/CLINIC/CLINIC.jwt"
    older = account.read_text()
    ward.store.write_account(age=5)
    with ward.receiver() as receiver:
        ready(receiver)
        receiver.process.send_signal(signal.SIGTERM)
        assert receiver.wait() == 0
    account.write_text(older)
    with ward.receiver() as receiver:
        where = ready(receiver)
        assert "rollback" in receiver.wait_for("reload failed what=trust", "err")
        await until(lambda: "NO trust" in page(where, "/readyz"))
    marks = ward.folder / "receiver.marks"
    marks.write_text(marks.read_text().split("\n")[0] + "\n")
    with ward.receiver() as receiver:  # without the text that is kept
        receiver.wait_for("code=rollback", "err")
        assert receiver.wait() == 1


def test_two_daemons_cannot_share_their_marks(ward: Ward) -> None:
    with ward.receiver() as receiver:
        ready(receiver)
        with ward.receiver() as second:
            second.wait_for("in use by another process", "err")
            assert second.wait() == 1


async def test_marks_that_cannot_be_written_are_not_ready_while_messages_flow(ward: Ward) -> None:
    (ward.folder / "receiver.marks.lock").mkdir()  # nothing can be locked there
    with ward.receiver() as receiver, ward.sender() as sender:
        where = ready(receiver)
        ready(sender)
        await until(lambda: "NO trust" in page(where, "/readyz"))
        send(sender, b"works")
        assert received(receiver)["data"] == "works"
        (ward.folder / "receiver.marks.lock").rmdir()
        await until(lambda: "ok trust" in page(where, "/readyz"))


@pytest.mark.parametrize(
    ("program", "trust", "expected"),
    [
        ("receiver", f'account = "{"A" * 56}"\n', "trust"),
        ("sender", 'pins = { alice = "UX" }\n', "pins"),
        ("receiver", 'accounts = { "a/b" = "A" }\n', "alias"),
        ("receiver", 'peers = "x"\n', "exactly one of peers, folder"),
        ("sender", 'peers = "x"\n', "exactly one of peers and folder"),
    ],
)
def test_the_check_finds_invalid_settings(
    ward: Ward, program: str, trust: str, expected: str
) -> None:
    person, text = (ward.bob, RECEIVER) if program == "receiver" else (ward.alice, SENDER)
    path = ward.config(program, person, text, trust)
    done = run(program, "--config", str(path), "--check")
    assert done.returncode == 1
    assert expected in done.stderr.decode()


@pytest.mark.parametrize("program", ["receiver", "sender"])
def test_the_check_passes_beside_a_daemon_that_runs(ward: Ward, program: str) -> None:
    with getattr(ward, program)() as running:
        ready(running)
        done = run(program, "--config", str(ward.folder / f"{program}.toml"), "--check")
        assert done.returncode == 0, done.stderr


def test_xkv1_is_not_accepted_under_trust_in_users(ward: Ward) -> None:
    text = RECEIVER.replace('sink = "out"', 'sink = "out"\nformats = ["xkm1", "xkv1"]')
    path = ward.config("receiver", ward.bob, text)
    done = run("receiver", "--config", str(path), "--check")
    assert "names no user" in done.stderr.decode()


def test_settings_of_a_folder_need_one(ward: Ward) -> None:
    path = ward.config("receiver", ward.bob, RECEIVER)
    text = path.read_text().replace('folder = "HOSPITAL"', "anyone = true")
    path.write_text(text)
    done = run("receiver", "--config", str(path), "--check")
    assert "requires folder" in done.stderr.decode()


async def test_trust_that_cannot_be_judged_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error: a revocation that was read may not count yet."""
    store = Store(tmp_path / "HOSPITAL")
    alice = store.add("alice")
    trust, health, metrics, log = store.load(), Health(), Metrics(), Log("test")
    following = Following(
        SourcesSection.model_construct(), trust,
        Upkeep(log, metrics, health, key=lambda: ""), log, health, metrics.registry,
        lambda: (alice.pair.public, alice.user),
    )  # fmt: skip

    async def turn() -> bool:
        with suppress(ZeroDivisionError):
            following.tick()
        await asyncio.sleep(0.01)
        return "NO trust" in health.page()

    with monkeypatch.context() as patch:
        patch.setattr(trust, "reload", lambda **_: 1 / 0)
        await until(turn)
        for _ in range(10):
            assert await turn()

    async def is_ready() -> bool:
        return not await turn()

    await until(is_ready)

"""`xkeymsg permissions`: daemons work with exactly these on a real server, and use each of them.

The server's trace shows every subscription and publication. If each is permitted, the daemon works;
if each permission covers one of them, the server would refuse something without it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.receiver.conftest import ALICE, BOB, make_stream, ready, store
from tests.running import DEADLINE, Program, run, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.subjects import covers
from xkeymsg.trust.stores.file import write_seed

CLI = "xkeymsg.cli"
COMMON = """
[key]
seed_file = "own.seed"
[trust]
peers = "peers.toml"
[observe]
listen = "127.0.0.1:0"
[nats]
servers = ["URL"]
user = "nats"
password = "nats"
"""
RECEIVER = (
    COMMON
    + """
[quarantine]
create = true
[[route]]
name = "pings"
subject = "pings.>"
queue = "q"
sink = "out"
[[route]]
name = "orders"
stream = "ORDERS"
durable = "archive"
create_durable = true
subjects = ["orders.new"]
sink = "leaf"
[sinks.out]
kind = "files"
folder = "out"
[sinks.leaf]
kind = "nats"
servers = ["URL"]
user = "sinks.leaf"
password = "sinks.leaf"
subject = "opened.{subject}"
jetstream = true
"""
)
SENDER = (
    COMMON
    + """
[source]
servers = ["URL"]
user = "source"
password = "source"
[[route]]
name = "orders"
stream = "ORDERS"
durable = "seal"
create_durable = true
on_refused = "terminate"
subject = "orders.>"
to = "sealed.{subject}"
recipients = ["bob"]
output = "jetstream"
[[route]]
name = "pings"
subject = "pings.*"
queue = "q"
to = "open.{1}.x"
recipients = ["bob"]
output = "core"
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seed(tmp_path / "own.seed", BOB)
    (tmp_path / "out").mkdir()
    (tmp_path / "peers.toml").write_text(
        f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["orders.>", "pings.>"]\n'
        f'[peers.bob]\nxkey = "{BOB.public}"\n'
    )
    return tmp_path


def write(folder: Path, text: str, url: str = "nats://127.0.0.1:1") -> Path:
    path = folder / "daemon.toml"
    path.write_text(text.replace("URL", url))
    path.chmod(0o600)
    return path


def printed(path: Path, *flags: str) -> str:
    done = run(CLI, "permissions", str(path), *flags)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@asynccontextmanager
async def permitting(text: str) -> AsyncIterator[tuple[NATSServer, Link]]:
    """A server with a user for each block of permissions, and a connection of everybody's."""
    users = ["{user: admin, password: admin}"]
    for block in text.split("\n\n"):
        name = re.findall(r"^# \[(.+)\]$", block, re.MULTILINE)[0]
        users.append(f'{{user: "{name}", password: "{name}"\n{block}\n}}')
    listed = "\n".join(users)
    config = f"trace = true\nauthorization {{ users = [\n{listed}\n] }}\n"
    with NATSServer(config, jetstream=True) as server:
        options = ConnectOptions(
            servers=(server.url,), user="admin", password="admin", timeout=DEADLINE
        )
        async with open_link(options) as link:
            yield server, link


def operations(log: str) -> dict[str, set[tuple[str, str]]]:
    """What each user has subscribed to and published on, except for replies to others."""
    users = dict(re.findall(r'cid:(\d+) .*\[CONNECT \{.*"user": ?"([^"]+)"', log))
    found: dict[str, set[tuple[str, str]]] = {user: set() for user in users.values()}
    for cid, verb, arguments in re.findall(r"cid:(\d+) .*<<- \[(SUB|H?PUB) ([^\]]*)\]", log):
        subject, second, *_ = arguments.split(" ")
        if verb == "SUB":
            found[users[cid]].add(("subscribe", f"{subject} {second}".strip()))
        elif not subject.startswith("_INBOX."):
            found[users[cid]].add(("publish", subject))
    return found


def is_covered(permission: str, subject: str) -> bool:
    pattern, _, group = permission.partition(" ")
    plain, _, queue = subject.partition(" ")
    return covers(pattern, plain) and group in ("", queue)


async def check(
    folder: Path, daemon: str, text: str, work: Callable[[NATSServer, Link], Awaitable[None]]
) -> None:
    """Run a daemon with exactly the printed permissions, and compare them with what it uses."""
    path = write(folder, text)
    listed = json.loads(printed(path, "--json"))
    async with permitting(printed(path)) as (server, admin):
        for name in ("ORDERS", "OPENED", "SEALED"):
            await make_stream(admin, name, f"{name.lower()}.>")
        module = f"xkeymsg.daemons.{daemon}"
        with Program(module, "--config", write(folder, text, server.url)) as program:
            ready(program)
            await work(server, admin)
            for verb in ("PING", "INFO", "STATS"):
                answer = await admin.request(f"$SRV.{verb}.{daemon}", b"", timeout=DEADLINE)
                assert json.loads(answer.data)["name"] == daemon
            program.process.send_signal(signal.SIGTERM)
            assert program.wait() == 0
        log = server.log
    used = operations(log)
    for each in listed:
        done, rules = used[each["connection"]], each["permissions"]
        optional = [one["publish"] for one in each["optional"]]
        for kind in ("publish", "subscribe"):
            allowed = rules[kind].get("allow", [])
            subjects = {subject for one, subject in done if one == kind}
            spare = optional if kind == "publish" else []
            assert [s for s in subjects if not any(is_covered(p, s) for p in allowed + spare)] == []
            assert [p for p in allowed if not any(is_covered(p, s) for s in subjects)] == []
    refused = re.findall(r"Permissions Violation for \w+ to \"([^\"]+)\"", log)
    spare = [one["publish"] for each in listed for one in each["optional"]]
    assert [s for s in refused if not any(covers(p, s) for p in spare)] == []


async def test_a_receiver_works_with_exactly_its_permissions(folder: Path) -> None:
    async def work(server: NATSServer, admin: Link) -> None:
        api, sealer, to = API(admin, timeout=DEADLINE), Sealer(ALICE), [BOB.public]
        await admin.publish("pings.1", sealer.seal(b"ping", to=to, subject="pings.1"))
        for subject in ("orders.new", "orders.other"):  # the second is not accepted
            await store(admin, sealer.seal(b"order", to=to, subject=subject), subject)
        await store(admin, b"junk", "orders.new")
        for stream in ("OPENED", "XKM_PROVEN", "XKM_UNPROVEN"):
            await until(partial(has, api, stream))
        await until(lambda: list((folder / "out").glob("*.json")))

    await check(folder, "receiver", RECEIVER, work)


async def test_a_sender_works_with_exactly_its_permissions(folder: Path) -> None:
    async def work(server: NATSServer, admin: Link) -> None:
        api = API(admin, timeout=DEADLINE)
        opened = await admin.subscribe("open.>")
        await admin.confirm()
        await admin.publish("pings.1", b"ping")
        await store(admin, b"order", "orders.new")
        await until(partial(has, api, "SEALED"))
        async with asyncio.timeout(DEADLINE):
            raw = await anext(aiter(opened))
        assert raw.subject == b"open.1.x"

    await check(folder, "sender", SENDER, work)


async def has(api: API, stream: str) -> bool:
    state: dict[str, int] = (await api.request(f"STREAM.INFO.{stream}"))["state"]
    return state["messages"] == 1


def of(folder: Path, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(printed(write(folder, text), "--json"))
    return found


def test_nothing_is_permitted_that_is_not_configured(folder: Path) -> None:
    text = RECEIVER.partition("[[route]]")[0].replace("[quarantine]\ncreate = true", "")
    text = text.replace("[observe]", "[observe]\nmicro = false").replace(
        "[nats]", '[nats]\ninbox_prefix = "_BOX.r"'
    )
    route = '[[route]]\nname = "a"\nsubject = "a.>"\nsink = "out"\n[sinks.out]\nkind = "stdout"\n'
    [nats] = of(folder, text + route)
    assert nats == {
        "connection": "nats",
        "permissions": {"publish": {"deny": [">"]}, "subscribe": {"allow": ["_BOX.r.>", "a.>"]}},
        "optional": [],
    }


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        ("opened", "opened"),
        ("opened.{subject}", "opened.>"),
        ("opened.{subject}.x", "opened.>"),
        ("opened.a-{subject}", "opened.>"),
        ("x{subject}", ">"),
    ],
)
def test_a_sink_may_publish_on_every_subject_that_it_can_have(
    folder: Path, subject: str, allowed: str
) -> None:
    text = RECEIVER.replace("opened.{subject}", subject).replace("jetstream = true", "")
    [_, sink] = of(folder, text)
    assert (sink["connection"], sink["optional"]) == ("sinks.leaf", [])
    assert sink["permissions"]["publish"] == {"allow": [allowed]}


def test_an_invalid_configuration_is_reported_as_by_the_daemon(folder: Path) -> None:
    path = write(folder, RECEIVER.replace("durable = ", "durabel = "))
    done = run(CLI, "permissions", str(path))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"durabel: unknown setting; did you mean 'durable'?" in done.stderr
    done = run(CLI, "permissions", str(folder / "missing.toml"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot read" in done.stderr

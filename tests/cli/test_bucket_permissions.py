"""`xkeymsg permissions --kv` and `--object`: they suffice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import xkeymsg
from tests.objects.conftest import ALICE, BOB
from tests.running import DEADLINE, run
from xkeymsg import Peers
from xkeymsg.cli.bucket_permissions import kv_permissions, object_permissions
from xkeymsg.daemons.common.permissions import Permissions
from xkeymsg.testing import NATSServer

PEERS = Peers.parse(f"""
    peers.alice = {{ xkey = "{ALICE.public}", subjects = ["$O.scans.>", "$KV.CONFIG.>"] }}
    peers.bob = {{ xkey = "{BOB.public}" }}
""")
OPTIONAL = pytest.mark.parametrize("optional", [False, True], ids=["needed", "optional"])


def user_of(name: str, found: Permissions, *, optional: bool) -> str:
    more = [subject for subject, _ in found.optional] if optional else []
    publish, subscribe = (json.dumps(each) for each in ([*found.publish, *more], found.subscribe))
    return (
        f"{{ user: {name}, password: {name}, permissions: {{"
        f" publish: {publish}, subscribe: {subscribe} }} }}\n"
    )


def server_for(found: list[Permissions], *, optional: bool) -> NATSServer:
    """A server with Alice as a writer, Bob as a reader, and an admin."""
    reading, writing = found
    users = user_of("alice", writing, optional=optional) + user_of(
        "bob", reading, optional=optional
    )
    config = f"authorization {{ users: [{users} {{ user: admin, password: admin }}] }}"
    return NATSServer(config, jetstream=True)


def connect(server: NATSServer, name: str) -> Any:
    return xkeymsg.connect(
        server.url,
        key=BOB if name == "bob" else ALICE,
        user=name,
        password=name,
        trust=PEERS,
        timeout=DEADLINE,
    )


@OPTIONAL
async def test_those_of_objects_suffice(*, optional: bool) -> None:
    with server_for(object_permissions("scans"), optional=optional) as server:
        async with (
            connect(server, "admin") as admin,
            connect(server, "alice") as alice,
            connect(server, "bob") as bob,
        ):
            await admin.objects("scans").init()
            writer, reader = alice.objects("scans", to="bob"), bob.objects("scans")
            for data in (b"one", b"another"):
                await writer.put("a", data)
            assert (await reader.get("a")).data == b"another"
            assert [info.name for info in await reader.list()] == ["a"]
            await writer.delete("a")
            with pytest.raises(xkeymsg.ObjectNotFoundError):
                await reader.get("a")
            with pytest.raises(xkeymsg.DeliveryError):
                await reader.put("a", b"x", to="bob")


@OPTIONAL
async def test_those_of_keys_suffice(*, optional: bool) -> None:
    with server_for(kv_permissions("CONFIG"), optional=optional) as server:
        async with (
            connect(server, "admin") as admin,
            connect(server, "alice") as alice,
            connect(server, "bob") as bob,
        ):
            await admin.kv("CONFIG").init(history=5)
            writer, reader = alice.kv("CONFIG", to=["alice", "bob"]), bob.kv("CONFIG")
            revision = await writer.put("a", b"one")
            if optional:
                with pytest.raises(xkeymsg.WrongRevisionError):
                    await writer.create("a", b"x")
            async with reader.watch("a") as entries:
                await writer.update("a", b"two", revision)
                while (entry := await anext(entries)) is None or entry.value != b"two":
                    pass
            assert (await reader.get("a", revision)).value == b"one"
            assert await reader.keys() == ["a"]
            assert len(await reader.history("a")) == 2
            keys = sorted(f"b.{number}" for number in range(100))
            await asyncio.gather(*(writer.put(key, bytes(10_000)) for key in keys))
            assert await reader.keys("b.*") == keys  # so many that the server asks for flow control
            await writer.delete("a")
            with pytest.raises(xkeymsg.KeyDeletedError):
                await reader.get("a")
            with pytest.raises(xkeymsg.DeliveryError):
                await bob.kv("CONFIG", to="bob").put("a", b"x", timeout=1)


def test_the_command_prints_them() -> None:
    for flag, bucket, found in (
        ("--kv", "CONFIG", kv_permissions("CONFIG")),
        ("--object", "scans", object_permissions("scans")),
    ):
        done = run("xkeymsg.cli", "permissions", flag, bucket, "--json")
        assert json.loads(done.stdout) == [each.as_json() for each in found]
    assert "# [reader]" in run("xkeymsg.cli", "permissions", "--kv", "CONFIG").stdout.decode()
    for words in ((), ("--kv", "a", "--object", "b"), ("--kv", "a", "config.toml")):
        done = run("xkeymsg.cli", "permissions", *words)
        assert done.returncode == 2
        assert b"give one of CONFIG" in done.stderr
    assert run("xkeymsg.cli", "permissions", "--kv", "a.*").returncode == 1

"""The walk-through of nsc's documents without nsc: operator, signing keys, account, users.

What the commands write boots a nats-server; its users log in and exchange sealed messages; a
removed signing key silences exactly what it signed, on the server and in readers.
"""

from __future__ import annotations

import asyncio
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import xkeymsg
from tests.cli.trust.admin import Admin, Member
from tests.running import run
from xkeymsg import Trust
from xkeymsg.client.client import Client
from xkeymsg.errors import ConnectionFailedError, SenderRevokedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions


def connected(
    server: NATSServer, trust: Trust, member: Member
) -> AbstractAsyncContextManager[Client]:
    return xkeymsg.connect(server.url, key=member.keyring, trust=trust, creds=member.creds)


async def exchange(server: NATSServer, trust: Trust, sender: Member, taker: Member) -> bytes:
    async with (
        connected(server, trust, sender) as at_sender,
        connected(server, trust, taker) as at_taker,
        at_taker.subscribe("ehr.>") as messages,
    ):
        await at_taker.flush()
        waiting = asyncio.create_task(anext(messages))
        await at_sender.publish("ehr.new", b"secret", to=[taker.user])
        return (await waiting).data


async def logs_in(server: NATSServer, member: Member) -> bool:
    try:
        async with open_link(ConnectOptions(servers=(server.url,), creds=member.creds)):
            return True
    except ConnectionFailedError:
        return False


async def test_the_walk_through(tmp_path: Path) -> None:
    admin = Admin(tmp_path, "O2", forked=True)

    # Creating the operator; a signing key for it, made elsewhere.
    anchor = admin.run("init")
    made = run("xkeymsg.cli", "keygen", "--type", "operator", "--out", str(tmp_path / "op.nk"))
    operator_key = made.stdout.decode().strip()
    assert admin.run("add-signing-key", "--public-key", operator_key) == operator_key
    table = admin.run("describe")
    assert [anchor, anchor, operator_key] == [
        line.split("|")[2].strip()
        for line in table.splitlines()
        if any(title in line for title in ("Operator ID", "Issuer ID", "| Signing Keys"))
    ]

    # An account, signed with the operator's signing key; two signing keys for it.
    account = admin.run("add-account", "A", "-K", tmp_path / "op.nk")
    keys = []
    for name in ("first", "second"):
        path = tmp_path / f"{name}.nk"
        made = run("xkeymsg.cli", "keygen", "--type", "account", "--out", str(path))
        keys.append(made.stdout.decode().strip())
        admin.run("add-signing-key", "A", "--public-key", keys[-1], "-K", tmp_path / "op.nk")
    [described] = admin.described()["accounts"]
    assert described["key"] == account
    assert described["issuer"] == operator_key
    assert set(described["valid_signers"]) == set(keys)

    # Users, created with the account's signing keys.
    people = {}
    for name, key in (("U", "first"), ("V", "first"), ("W", "second"), ("X", "second")):
        people[name] = admin.join(
            name, "--permission", "clinic", "-K", tmp_path / f"{key}.nk", account="A"
        )
    assert f"| Issuer ID      | {keys[0]}" in admin.run("describe", "U")
    assert f"| Issuer Account | {account}" in admin.run("describe", "U")
    assert admin.run("verify", "--anchor", anchor).startswith(
        "O2: 1 accounts, 2 valid signers, 4 of 4"
    )

    # A server with this operator, and sealed messages between its users.
    trust = admin.load(anchor, "A")
    with NATSServer(admin.run("export")) as server:
        for one, other in (("U", "V"), ("U", "W"), ("W", "X")):
            assert await exchange(server, trust, people[one], people[other]) == b"secret"

        # The second key has leaked.
        listing = admin.done("remove-signing-key", keys[1], "-K", tmp_path / "op.nk")
        assert listing.returncode == 1
        ending = [line.split(maxsplit=3) for line in listing.stdout.decode().splitlines()]
        assert ending == [["user", n, people[n].user, "becomes invalid"] for n in ("W", "X")]
        assert trust.reload(force=True)
        server.config = admin.run("export")
        server.restart()

        assert {n: await logs_in(server, p) for n, p in people.items()} == {
            "U": True, "V": True, "W": False, "X": False,
        }  # fmt: skip
        assert await exchange(server, trust, people["U"], people["V"]) == b"secret"
        for name in ("W", "X"):
            with pytest.raises(SenderRevokedError):
                trust.vouch(people[name].pair.public)
        for name in ("U", "V"):
            assert trust.vouch(people[name].pair.public) is not None
    assert admin.status() == {"U": "valid", "V": "valid", "W": "refused", "X": "refused"}


def test_modes_of_what_is_written(tmp_path: Path) -> None:
    admin = Admin(tmp_path, forked=True)
    admin.begin("CLINIC")
    admin.join("ward-a")
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_relative_to(admin.keys) or path.suffix == ".seed":
            assert mode == (0o700 if path.is_dir() else 0o600), path
        else:
            assert not mode & 0o022, path

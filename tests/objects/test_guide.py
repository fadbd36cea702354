"""docs/objects.md is a program that runs, with the permissions that it lists."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.objects.conftest import ALICE, BOB
from tests.running import DEADLINE
from xkeymsg import Peers
from xkeymsg.testing import NATSServer

PAGE = (Path(__file__).parents[2] / "docs" / "objects.md").read_text()
PEERS = Peers.parse(f"""
    peers.alice = {{ xkey = "{ALICE.public}", subjects = ["$O.scans.>"] }}
    peers.bob = {{ xkey = "{BOB.public}" }}
""")


async def test_the_guide_runs(jetstream_server: NATSServer) -> None:
    [session] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"url": jetstream_server.url, "ALICE": ALICE, "BOB": BOB}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(session, "docs/objects.md", "exec", flags=flags, dont_inherit=True)
    ran = eval(code, names | {"peers": PEERS})
    assert inspect.iscoroutine(ran)
    await ran


def permitted(who: str) -> str:
    """The subjects of one line of the table, as the server's configuration wants them."""
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| {who} | ")]
    return ", ".join(f'"{subject}"' for subject in re.findall("`([^`]+)`", line))


async def test_the_permissions_in_the_guide_suffice() -> None:
    users = "".join(
        f"{{ user: {name}, password: {name}, permissions: {{"
        f'publish: [{permitted(who)}], subscribe: ["_INBOX.>"] }} }}\n'
        for name, who in (("alice", "writers"), ("bob", "readers"))
    )
    config = f"authorization {{ users: [{users} {{ user: admin, password: admin }}] }}"
    with NATSServer(config, jetstream=True) as server:
        more: Any = {"trust": PEERS, "timeout": DEADLINE}
        async with (
            xkeymsg.connect(server.url, key=ALICE, user="admin", password="admin", **more) as admin,
            xkeymsg.connect(server.url, key=ALICE, user="alice", password="alice", **more) as alice,
            xkeymsg.connect(server.url, key=BOB, user="bob", password="bob", **more) as bob,
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

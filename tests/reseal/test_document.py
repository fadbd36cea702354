"""docs/reseal.md: its commands work as they are written, with the permissions that it lists."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from tests import forked
from tests.reseal.conftest import ALICE, PAIRS, RITA, opened
from tests.running import DEADLINE, ROOT
from xkeymsg import Sealer, XKeyPair, connect
from xkeymsg.client.jetstream.api import API
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

TEXT = (ROOT / "docs" / "reseal.md").read_text()
SERVER = """
jetstream {{store_dir: "{{dir}}/js"}}
authorization {{users: [
  {{user: admin, password: p}}
  {{user: rita, password: p, permissions: {{publish: [{}], subscribe: ["_INBOX.>"]}}}}
]}}
"""


def permissions() -> list[str]:
    """The subjects of the table, for each pair of streams that the commands name."""
    [table] = re.findall(r"\| permission \| for \|\n(.*?)\n\n", TEXT, re.DOTALL)
    subjects = re.findall(r"`((?:reseal|\$JS)\.[^`]+)`", table)
    assert len(subjects) == 9
    return [
        subject.replace("SOURCE", "ORDERS").replace("TARGET", target)
        for subject in subjects
        for target in ("ORDERS_BILLING", "ORDERS_2")
    ]


async def test_the_commands_for_streams_work(tmp_path: Path) -> None:
    write_seed(tmp_path / "own.seed", RITA)
    names = {"billing": PAIRS["carol"], "mallory": PAIRS["dave"], "alice": ALICE, "rita": RITA}
    (tmp_path / "peers.toml").write_text(
        "".join(
            f'[peers.{name}]\nxkey = "{pair.public}"\nsubjects = [">"]\npermissions = ["audit"]\n'
            for name, pair in names.items()
        )
    )
    script = "".join(
        each for each in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "--kv" not in each
    )
    assert script.count("xkeymsg reseal") == 2
    allowed = ", ".join(f'"{each}"' for each in permissions())
    with NATSServer(SERVER.format(allowed)) as server:
        admin = ConnectOptions(servers=(server.url,), user="admin", password="p")
        async with open_link(admin) as link:
            api = API(link, timeout=DEADLINE)
            await api.request("STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"]})
            sealed = Sealer(ALICE).seal(b"x", to=[RITA.public], subject="orders.new")
            await link.request("orders.new", sealed, timeout=DEADLINE)
            (tmp_path / "bin").mkdir()
            forked.write_commands(tmp_path / "bin", {"xkeymsg": "xkeymsg.cli"})
            env = os.environ | {
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "NATS_URL": server.url,
                "NATS_USER": "rita",
                "NATS_PASSWORD": "p",
            }
            command = ["/bin/sh", "-ec", f"exec 2>&1\n{script}"]
            done = await asyncio.to_thread(forked.run_script, command, tmp_path, env, 10 * DEADLINE)
            assert done.returncode == 0, done.stdout
            assert done.stdout == "read 1, resealed 1\n" * 2
            for target in ("ORDERS_BILLING", "ORDERS_2"):
                copy = await api.message(target, 1)
                assert opened(copy.data, names["billing"]).data == b"x"


async def test_the_json_of_a_target_is_accepted(jetstream_server: NATSServer) -> None:
    [config] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    async with connect(jetstream_server.url, key=XKeyPair.generate(), trust={ALICE.public}) as one:
        raw = await one.js.api.ask("STREAM.CREATE.ORDERS_BILLING")
        assert b"error" in raw.data  # without a configuration
        link = one.js.api.link
        subject = "$JS.API.STREAM.CREATE.ORDERS_BILLING"
        raw = await link.request(subject, config.encode(), timeout=DEADLINE)
        assert b'"did_create":true' in raw.data.replace(b" ", b"")

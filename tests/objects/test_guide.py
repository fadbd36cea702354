"""The session of docs/objects.md is a program that runs."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from tests.objects.conftest import ALICE, BOB
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

"""What is used of nats-py that it does not promise is what ADR 1 says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from nats.aio.client import Client

ROOT = Path(__file__).parent.parent.parent


def used(known: set[str]) -> Iterator[str]:
    """Names of nats-py's client that stand in our transport, as an attribute or a method."""
    for path in (ROOT / "xkeymsg" / "transport").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=name) if name in known:
                    yield name
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in known:
                    yield name


async def test_the_list_of_private_names_is_complete() -> None:
    names = {*vars(Client()), *dir(Client)}
    private = {name for name in names if name.startswith("_") and not name.startswith("__")}
    text = (ROOT / "docs" / "adr" / "0001-subclass-nats-py.md").read_text()
    listed = set(re.findall(r"`(_[a-z_]+)`", text)) - {"_io_writer"}

    assert listed == set(used(private - {"_close"}))

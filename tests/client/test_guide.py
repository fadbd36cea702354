"""The sessions of docs/client.md, and of the README, are programs that run."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from xkeymsg.client.client import Client
from xkeymsg.client.connect import connect
from xkeymsg.testing import NATSServer

from .conftest import ALICE, BOB

ROOT = Path(__file__).parents[2]


async def test_the_guide_runs(server: NATSServer) -> None:
    sessions = re.findall(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
    assert len(sessions) == 2
    names: dict[str, Any] = {"url": server.url, "ALICE": ALICE, "BOB": BOB}
    for session in sessions:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        ran = eval(compile(session, "docs/client.md", "exec", flags=flags), names)
        assert inspect.iscoroutine(ran)
        await ran


def test_the_session_of_the_readme_calls_what_there_is() -> None:
    [session] = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tree = compile(
        session, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    )
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        target = {"xkeymsg": connect}.get(ast.unparse(call.func.value))
        if ast.unparse(call.func.value) == "client":
            target = getattr(Client, call.func.attr)
        if target is not None:
            named = {keyword.arg for keyword in call.keywords}
            assert named <= set(inspect.signature(target).parameters)
    assert len(calls) == 5

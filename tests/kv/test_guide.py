"""The session of docs/kv.md is a program that runs."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.kv.conftest import ALICE, BOB
from xkeymsg.testing import NATSServer

PAGE = (Path(__file__).parents[2] / "docs/kv.md").read_text()


async def test_the_guide_runs(
    jetstream_server: NATSServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [session] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"url": jetstream_server.url, "ALICE": ALICE, "BOB": BOB}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    ran = eval(compile(session, "docs/kv.md", "exec", flags=flags, dont_inherit=True), names)
    assert inspect.iscoroutine(ran)
    await ran
    assert (tmp_path / "reader.marks").exists()

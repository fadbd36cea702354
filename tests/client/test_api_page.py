"""docs/api.md: one page with everything that is public, and its examples run."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import xkeymsg
from xkeymsg import errors
from xkeymsg.testing import NATSServer

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


async def test_its_examples_run(jetstream_server: NATSServer) -> None:
    [session] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"url": jetstream_server.url}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(session, "docs/api.md", "exec", flags=flags, dont_inherit=True)
    ran = eval(code, names)
    assert inspect.iscoroutine(ran)
    await ran


def test_it_has_at_most_sixty_lines() -> None:
    assert len(PAGE.splitlines()) <= 60


def test_it_names_everything_public_except_single_errors() -> None:
    names = set(xkeymsg.__all__) - set(errors.__all__)
    groups = {"XKeyMsgError", *(each.__name__ for each in xkeymsg.XKeyMsgError.__subclasses__())}
    groups = {name for name in groups if getattr(errors, name).__subclasses__()}
    assert len(groups) >= 6
    assert {name for name in names | groups if not re.search(rf"\b{name}\b", PAGE)} == set()

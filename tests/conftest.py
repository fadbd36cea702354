"""Every test that needs a NATS server has a real one of its own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

pytest_plugins = ("xkeymsg.testing.pytest_plugin",)

# A busy machine is not a failure.
settings.register_profile("xkeymsg", deadline=None)
settings.load_profile("xkeymsg")


@pytest.fixture(autouse=True)
def no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A developer's own NATS contexts and variables must not reach a test."""
    for name in (
        "URL",
        "CONTEXT",
        "CREDS",
        "NKEY",
        "USER",
        "PASSWORD",
        "TOKEN",
        "CERT",
        "KEY",
        "CA",
        "TIMEOUT",
    ):
        monkeypatch.delenv(f"NATS_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or a socket: its ResourceWarning is an error."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == {asyncio.current_task()}
    gc.collect(1)  # what is this young

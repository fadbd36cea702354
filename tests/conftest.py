"""Settings for all tests. Each test that needs a NATS server gets its own real one."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

pytest_plugins = ("xkeymsg.testing.pytest_plugin",)

# No deadline: a busy machine must not fail a test.
settings.register_profile("xkeymsg", deadline=None)
settings.load_profile("xkeymsg")


LONGEST = ("tests/soak/test_soak.py", "tests/test_benchmarks.py", "tests/test_guides.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first: started last, they would prolong the whole run."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Exclude collected items from garbage collection: they exist until the run ends."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's own NATS contexts and variables from the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NATS_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or a socket, whose ResourceWarning is an error."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == {asyncio.current_task()}
    gc.collect(1)  # the objects of this test are young

"""Settings for all tests. Each test that needs a NATS server gets its own real one."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice

import pytest
from hypothesis import settings

pytest_plugins = ("xkeymsg.testing.pytest_plugin",)

# No deadline: a busy machine must not fail a test.
settings.register_profile("xkeymsg", deadline=None)
settings.load_profile("xkeymsg")


LONGEST = (
    "tests/soak/test_soak.py",
    "tests/test_benchmarks.py",
    "tests/key_stores/test_rotation.py::test_a_",
    "tests/test_demo.py",
    "tests/test_wheel.py",
    "tests/test_guides.py",
    "tests/directory/test_hostile.py",
    "tests/key_stores/test_certificates.py",
    "tests/key_stores/test_cli.py",
    "tests/daemons/sender/test_lines.py",
    "tests/test_surface.py::test_mypy",
    "tests/test_surface.py::test_pyright",
    "tests/test_makefile.py",
)
"""The beginnings of the names of the longest tests, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the longest tests: begun last, they end last.

    `--dist worksteal` gives each worker an equal part of the list, and then moves what is left.
    """
    ranks = {each: rank for rank, start in enumerate(LONGEST) for each in items
             if each.nodeid.startswith(start)}  # fmt: skip
    longest = sorted(ranks, key=ranks.__getitem__)
    others = (each for each in items if each not in ranks)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = (len(items) - len(ordered)) // (workers - number)
        first = longest[number::workers]
        ordered += [*first, *islice(others, max(0, share - len(first)))]
    items[:] = [*ordered, *others]


def pytest_collection_finish() -> None:
    """Exclude collected items from garbage collection: they exist until the run ends."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's own NATS contexts and variables, and the machine's authorities.

    To read a hundred authorities costs OpenSSL more than most tests; no test connects to others.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NATS_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("SSL_CERT_FILE", os.devnull)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or a socket, whose ResourceWarning is an error."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == {asyncio.current_task()}
    gc.collect(1)  # the objects of this test are young

"""Settings for all tests. Each test that needs a NATS server gets its own real one."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings

from tests.examples import examples
from tests.running import DEADLINE
from xkeymsg.transport.options import ConnectOptions

pytest_plugins = ("xkeymsg.testing.pytest_plugin", "tests.browser")

# No deadline: a busy machine must not fail a test.
settings.register_profile("xkeymsg", deadline=None, max_examples=examples(50))
settings.load_profile("xkeymsg")
# Nor must it where a test does not say how long a connection waits: by default it is 5 s.
cast(dict[str, Any], ConnectOptions.__init__.__kwdefaults__)["timeout"] = DEADLINE


gc.disable()  # until all tests are collected

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs like this, and the programs under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "tests/soak/test_soak.py::test_nothing",
    "tests/soak/test_soak.py::test_a_receiver",
    "tests/scale/test_scale.py::test_rotation",
    "tests/daemons/sender/test_lines.py::test_lines_that_were_stored",
    "tests/daemons/common/test_own_keys.py::test_a_rotation",
    "tests/test_demo.py::test_each_failure",
    "tests/test_guides.py::test_a_guide_does_what_it_says[directory]",
    "tests/daemons/common/test_rotation.py::test_a_secret",
    "tests/daemons/common/test_rotation.py::test_a_revoked",
    "tests/cli/test_directory.py::test_watch",
    "tests/programs/test_adversity.py::test_a_receiver_whose_login_expires",
    "tests/soak/test_soak.py::test_mistakes",
    "tests/directory/test_hostile.py::test_rights_to_an_entry",
    "tests/test_wheel.py::test_programs",
    "tests/daemons/common/test_rotation.py::test_a_seed",
    "tests/daemons/common/test_own_keys.py::test_a_retired",
    "tests/test_benchmarks.py::test_this_tree",
    "tests/key_stores/test_pkcs11.py::test_a_key_on_a_token[gone_and_back]",
    "tests/daemons/common/test_trust.py::test_a_damaged_folder",
    "tests/client/jetstream/test_nothing_lost.py::test_an_outage_holds",
)
"""The beginnings of the names of the longest tests, the longest first: each takes five seconds or
more, mostly of waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let half of the workers begin with the longest tests: begun last, they end last.

    The other half has work for the processors, while these wait. `--dist worksteal` gives each
    worker an equal part of the list, and then moves what is left.
    """
    ranks = {each: rank for rank, start in enumerate(LONGEST) for each in items
             if each.nodeid.startswith(start)}  # fmt: skip
    longest = sorted(ranks, key=ranks.__getitem__)
    others = (each for each in items if each not in ranks)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    beginners = (workers + 1) // 2
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = (len(items) - len(ordered)) // (workers - number)
        first = longest[number::beginners] if number < beginners else []
        ordered += [*first, *islice(others, max(0, share - len(first)))]
    items[:] = [*ordered, *others]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Count each test that drives a browser among the slow ones."""
    if "visit" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Collect garbage again, but none of what was collected for the run, and less often."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's own NATS contexts and variables, and the machine's authorities.

    To read a hundred authorities costs OpenSSL more than most tests; no test connects to others.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NATS_")]:
            patch.delenv(name)
        patch.setenv("NATS_TIMEOUT", f"{DEADLINE:g}s")
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("SSL_CERT_FILE", os.devnull)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@pytest.fixture
def only_young_garbage() -> Iterator[None]:
    """Leave older objects out of collections, which are fast and complete then."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or a socket, whose ResourceWarning is an error."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == {asyncio.current_task()}
    gc.collect(1)  # the objects of this test are young

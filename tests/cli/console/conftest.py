"""The console with everything running; and its page "Open here", ready to open messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.browser import Visit
from tests.cli.console.hospital import Stage
from tests.cli.console.open_page import CLINIC, WARD, OpenHere, Place, place


@pytest.fixture(scope="module")  # tests of one module count what those of another publish
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The hospital with everything running."""
    with Stage.running(tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def at() -> AsyncIterator[Place]:
    """A console with this page only."""
    async with place() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def opening(visit: Visit, at: Place) -> OpenHere:
    """The page, with the key of the clinic and trust in the ward."""
    opening = await OpenHere.visited(visit, at)
    await opening.use(CLINIC)
    await opening.trust(str(WARD.public))
    return opening

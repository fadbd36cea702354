"""Times the npm package in Chromium: `python -m tests.js.bench`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from tests.browser import ARGUMENTS, find_chromium
from tests.js.package import built


async def main(folder: Path) -> None:
    """Print milliseconds for each message of 1 KiB, twice."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        with built(folder).page() as site:
            page = await chromium.new_page()
            await page.goto(site.url)
            for _ in range(2):
                print(await page.evaluate("xkeymsg.bench(2_000)"))
        await chromium.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))

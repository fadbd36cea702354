"""Hostile messages on the page "Open here": they are text, and they stay small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import expect
from tests.cli.console.open_page import CLINIC, WARD, OpenHere, Place
from tests.running import DEADLINE, until
from xkeymsg import Limits, Policy, Sealer
from xkeymsg.transport.client import HardenedClient

if TYPE_CHECKING:
    from playwright.async_api import FilePayload

pytestmark = pytest.mark.asyncio(loop_scope="session")

POLICY = Policy([("/**", ["clinic"])])
MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script>"
READ = "(all) => all.map((row) => [...row.children].map((each) => each.textContent))"
ELEMENTS = (
    """(root) => [...new Set([...root.querySelectorAll("*")].map((each) => each.localName))]"""
)


def document(content: Any, subject: str = "ehr.a", **limits: int) -> bytes:
    sealer = Sealer(WARD, limits=Limits(**limits))
    readers = {"clinic": [CLINIC.public]}
    return sealer.seal_document(content, policy=POLICY, readers=readers, subject=subject)


async def test_markup_is_text(opening: OpenHere) -> None:
    names = (MARKUP, "__proto__", "constructor", "toString", "javascript:alert(1)", "{{7*7}}")
    content = {name: {name: MARKUP} for name in names}
    card = await opening.paste(document(content, "ehr.<img/src=x/onerror=alert(1)"))
    named = [name.replace("/", "~1") for name in names]
    assert card.fields == [(f"/{name}/{name}", "text", MARKUP) for name in named]
    assert card.facts["subject"] == "ehr.<img/src=x/onerror=alert(1)"
    payload = Sealer(WARD).seal(
        MARKUP.encode(),
        to=[CLINIC.public],
        subject="ehr.a",
        headers={MARKUP: MARKUP},
        content_type="text/html",
    )
    card = await opening.paste(payload)
    assert card.text == MARKUP
    assert card.facts["content type"] == "text/html"
    header = opening.cards.first.locator("tbody tr")
    assert await header.evaluate_all(READ) == [[MARKUP, MARKUP]]
    assert {"img", "script"}.isdisjoint(await opening.page.locator("#results").evaluate(ELEMENTS))


async def test_invisible_characters_are_written_out(opening: OpenHere) -> None:
    value = "a\u202eb\u2066c\u200bd\0e\x1bf\ufeffg\u2028h\U000e0041i\u3164j\nk\tl\u0301é漢😀"
    shown = "aU+202EbU+2066cU+200BdU+0000eU+001BfU+FEFFgU+2028hU+E0041iU+3164j\nk\tl\u0301é漢😀"
    card = await opening.paste(document({"x\u202e": value}))
    assert card.fields == [("/xU+202E", "text", shown)]
    special = opening.cards.first.locator(".special")
    assert await special.count() == 10
    isolated = await opening.cards.first.locator(".value").evaluate_all(
        "(all) => all.every((each) => getComputedStyle(each).unicodeBidi === 'isolate')"
    )
    assert isolated


async def test_large_contents_are_cut(opening: OpenHere) -> None:
    (card,) = await opening.choose(document({"a": "a" * 1_000_000, "b": bytes(100_000)}))
    (_, _, text), (_, _, data) = card.fields
    assert text == "a" * 10_000 + " … 990000 more characters"
    assert data.endswith(" … 98976 more bytes")
    content = document({str(number): number for number in range(9_000)})
    (card,) = await opening.choose(content)
    assert len(card.fields) == 2_000
    note = opening.cards.first.locator(".note")
    await expect(note).to_have_text("The first 2000 of 9000 fields are shown.")
    (card,) = await opening.choose(document({str(number): "\0" * 9_000 for number in range(100)}))
    note = opening.cards.first.locator(".note")
    await expect(note).to_have_text("The first 2 of 100 fields are shown.")
    assert await opening.cards.first.locator(".special").count() <= 10_000
    envelope = Sealer(WARD).seal(b"\xff" * 3_000_000, to=[CLINIC.public], subject="ehr.a")
    (card,) = await opening.choose(envelope)
    assert card.text == "ff" * 1_024 + " … 2998976 more bytes"
    assert (
        len(await opening.page.locator("#results").evaluate("(all) => all.textContent")) < 200_000
    )


async def test_deep_contents_are_refused_or_shown(opening: OpenHere) -> None:
    deep: Any = 1
    for _ in range(32):
        deep = {"n": deep}
    card = await opening.paste(document(deep))
    assert card.fields == [("/n" * 32, "integer", "1")]
    for _ in range(200):
        deep = [deep]
    card = await opening.paste(document(deep, depth=250))
    assert (card.state, card.code) == ("refused", "limit_exceeded")


async def test_what_is_shown_stays_small(opening: OpenHere) -> None:
    envelope = document({str(number): number for number in range(2_500)})
    count = 8
    files: list[FilePayload] = [{"name": "a", "mimeType": "", "buffer": envelope}] * count
    await opening.page.locator("#files").set_input_files(files)
    await opening.page.get_by_role("button", name="Open", exact=True).click()
    await expect(opening.page.locator("#status")).to_contain_text(f"{count} opened, 0 refused; ")
    assert 1 < await opening.cards.count() < count
    assert await opening.page.locator("#results *").count() < 70_000


async def test_a_flood_leaves_the_newest_messages(opening: OpenHere, at: Place) -> None:
    await opening.page.locator("#subject").fill("flood")
    await opening.page.get_by_role("button", name="Follow").click()
    await expect(opening.page.locator("#follow-state")).to_have_text("following flood")
    sealer, count = Sealer(WARD), 450
    raw = HardenedClient()
    await raw.connect(at.server.url, connect_timeout=int(DEADLINE))
    try:
        for number in range(count):
            data = sealer.seal(b"%d" % number, to=[CLINIC.public], subject="flood")
            await raw.publish("flood", data)
        await raw.flush(int(DEADLINE))
    finally:
        await raw.close()

    async def is_done() -> bool:
        words = (await opening.page.locator("#status").inner_text()).split()
        numbers = [int(each) for each in words if each.isdecimal()]
        total = numbers[0] + numbers[1] + (numbers[-1] if "fast" in words else 0) if numbers else 0
        return total == count

    await until(is_done)
    assert await opening.cards.count() <= 200
    (newest, *_) = await opening.shown()
    assert newest.text == str(count - 1)

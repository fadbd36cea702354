"""The pages in a browser: live, read by keyboard, on a phone, light and dark.

The harness fails each test on a violation of the Content Security Policy, or a message of the
browser's console.
"""

from __future__ import annotations

import pytest

from tests.browser import Visit, expect
from tests.cli.console.hospital import HOSTILE, POLICY, Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = {
    "": "Who can read what",
    "fleet": "Fleet",
    "refused": "Refused",
    "rotation": "Rotation",
    "streams": "Streams",
}


NEUTRAL = """(folder) => {
  for (const each of document.querySelectorAll("code")) {
    if (!each.textContent.includes(folder)) continue;
    each.textContent = each.textContent.replace(folder, "/etc/xkeymsg");
  }
}"""
"""Replaces the folder of the test, for the pictures."""


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_shown_and_stays_live(path: str, stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(stage.address + path)
    await expect(page.locator("h1")).to_have_text(PAGES[path])
    await expect(page.locator("#live")).to_have_text("live")
    await expect(page.locator("nav [aria-current=page]")).to_have_text(PAGES[path])
    await expect(page.locator("main table").first).to_be_visible()
    assert (
        await page.locator("img, iframe, object, [style], [onerror], script:not([src])").count()
        == 0
    )
    await visit.check_looks()
    if path == "refused":
        await expect(page.locator("#refused th code", has_text="malformed").first).to_be_visible()
    await page.evaluate(NEUTRAL, str(stage.hospital.folder))
    await visit.picture(path or "access")
    for sent in await visit.requests():
        assert sent.url.startswith(stage.address)
        assert sent.method == "GET"


async def test_what_happens_is_shown_without_a_reload(stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{stage.address}refused")
    await expect(page.locator("#live")).to_have_text("live")
    await page.evaluate("window.loaded = true")
    await stage.hospital.publish({"ehr.live": [b"not sealed"]})
    await expect(page.locator("#refused td", has_text="ehr.live").first).to_be_visible()
    await expect(page.locator("#refused td code", has_text=HOSTILE).first).to_be_visible()
    assert await page.evaluate("window.loaded")


async def test_a_code_leads_to_its_explanation(stage: Stage, visit: Visit) -> None:
    await visit.page.goto(f"{stage.address}refused")
    await visit.page.get_by_role("link", name="malformed").first.click()
    await expect(visit.page.locator("#code-malformed")).to_be_in_viewport()


async def test_updates_can_be_paused_and_keep_the_focus(stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{stage.address}streams")
    await expect(page.locator("#live")).to_have_text("live")
    pause = page.locator("#pause")
    await pause.focus()
    await page.keyboard.press("Enter")
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await stage.hospital.publish({"ehr.paused": [b"not sealed"]})
    await page.wait_for_function(  # the server has sent the event
        """async () => (await (await fetch(location.href)).text()).includes("ehr.paused")"""
    )
    assert await page.locator("td", has_text="ehr.paused").count() == 0
    await page.keyboard.press("Enter")
    await page.locator("#streams .frame").first.focus()
    await expect(page.locator("#streams td", has_text="ehr.paused").first).to_be_visible()
    await expect(page.locator("#streams .frame").first).to_be_focused()


async def test_the_keyboard_alone_reaches_everything(stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(stage.address)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("Fleet")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#content")).to_be_focused()


async def test_a_policy_is_compared_in_the_form(stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(stage.address)
    text = POLICY.replace('["clinic", "research"]', '["clinic"]')
    await page.get_by_label("The other policy").fill(text)
    await page.get_by_role("button", name="Compare").press("Enter")
    result = page.get_by_role("status").filter(has_text="stay as they are")
    await expect(result.locator(".removed")).to_contain_text("research")
    await page.get_by_label("The other policy").fill("</textarea><script>alert(1)</script>")
    await page.get_by_role("button", name="Compare").click()
    await expect(page.get_by_role("status").filter(has_text="line 1")).to_be_visible()


async def test_without_scripts_the_page_is_whole(stage: Stage, visit: Visit) -> None:
    page = await visit.context.browser.new_page(java_script_enabled=False)  # type: ignore[union-attr]
    try:
        await page.goto(f"{stage.address}fleet")
        assert "ward-7" in await page.content()
        assert await page.locator("#pause").is_hidden()
        assert "not live" in (await page.locator("#live").text_content() or "")
    finally:
        await page.close()

"""The page "Open here" opens messages in the browser, and shows what their reader may see."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from playwright.async_api import Error as PlaywrightError

from tests.browser import Visit, expect
from tests.cli.console.open_page import CLINIC, WARD, OpenHere, Place, place, rows
from tests.running import DEADLINE, until
from tests.transport.authority import Nkey, Operator
from xkeymsg import AtRest, Opener, Policy, Recipient, Sealer, UserKey, XKeyPair
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord, encode_record
from xkeymsg.protected_seed import Cost, protect
from xkeymsg.text_armour import armour
from xkeymsg.transport.client import HardenedClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

RESEARCH, OTHER = XKeyPair.generate(), XKeyPair.generate()
PATIENT = {
    "resourceType": "Patient",
    "name": [{"family": "Lovelace-Marker", "given": ["Ada", "Augusta"]}],
    "birthDate": "1815-12-10",
    "gender": "female",
    "address": [{"city": "London-Marker", "country": "GB"}, {"city": "Paris", "country": "FR"}],
    "deceased": datetime(1852, 11, 27, 21, 30, 0, 250, timezone(timedelta(hours=-1, minutes=-30))),
    "weight": Decimal("55.50"),
    "visits": 2**70,
    "score": 1.5,
    "insured": True,
    "photo": b"\x89PNG",
    "id": UUID(int=7),
    "contact": None,
    "links": [],
    "extension": {},
    "a/b~c": "d",
}
POLICY = Policy(
    [
        ("/resourceType", ["clinic", "research"]),
        ("/gender", ["clinic", "research"]),
        ("/address/*/country", ["clinic", "research"]),
        ("/address/1", ["clinic", "research"]),
        ("/weight", ["clinic", "research"]),
        ("/**", ["clinic"]),
    ]
)
READERS = {"clinic": [CLINIC.public], "research": [RESEARCH.public]}
SUBJECT = "ehr.patient.7"


def patient(subject: str = SUBJECT) -> bytes:
    return Sealer(WARD).seal_document(PATIENT, policy=POLICY, readers=READERS, subject=subject)


async def test_a_patient_as_clinic_and_as_research(opening: OpenHere, visit: Visit) -> None:
    envelope = patient()
    visit.hide("Lovelace-Marker", "London-Marker")
    loaded = await visit.requests()
    seen = {}
    for key in (CLINIC, RESEARCH):
        await opening.use(key)
        card = await opening.paste(envelope)
        document = Opener(key, {WARD.public}, replay=AtRest()).open_document(envelope, subject=">")
        assert card.state == "opened"
        assert card.fields == [*rows(document.document)]
        assert card.facts["subject"] == SUBJECT
        assert card.facts["sender"] == f"{WARD.public} admitted"
        assert card.facts["signature"] == "none"
        assert card.facts["opened with"] == str(key.public)
        seen[key] = {path: value for path, _, value in card.fields}
    assert len(seen[CLINIC]) == 21
    assert seen[RESEARCH] == {
        "/resourceType": "Patient",
        "/gender": "female",
        "/address/0/country": "GB",
        "/address/1/city": "Paris",
        "/address/1/country": "FR",
        "/weight": "55.50",
    }
    assert await visit.requests() == loaded
    await opening.cards.nth(1).locator("summary").click()
    await opening.page.locator("#messages").scroll_into_view_if_needed()
    await opening.page.evaluate("document.getElementById('messages').scrollIntoView()")
    await visit.picture("open")


async def test_each_form_of_an_envelope(opening: OpenHere) -> None:
    envelope = patient()
    expected = (await opening.paste(envelope)).fields
    assert len(expected) == 21
    record = QuarantineRecord("JOBS", "worker", 7, 1, b"jobs.a", "refused", b"", envelope)
    (frame,) = encode_record(record, "name", "XKM_PROVEN", 1 << 20)
    stored = {
        "subject": frame.subject,
        "seq": 1,
        "hdrs": base64.b64encode(frame.headers).decode(),
        "data": base64.b64encode(frame.data).decode(),
    }
    urlsafe = base64.urlsafe_b64encode(envelope).rstrip(b"=").decode()
    for form in (
        armour(envelope),
        f"\r\n{armour(envelope)}".replace("\n", "\r\n"),
        "\n".join(urlsafe[i : i + 70] for i in range(0, len(urlsafe), 70)),
        json.dumps(stored),
        json.dumps({"type": "io.nats.jetstream.api.v1.stream_msg_get_response", "message": stored}),
    ):
        card = await opening.paste(form)
        assert card.fields == expected
    assert card.facts["Xkm-Stream (not authenticated)"] == "JOBS"
    assert card.facts["Xkm-Reason (not authenticated)"] == "refused"
    await opening.page.locator("#envelope").fill("")
    texts = [armour(envelope).encode(), base64.b64encode(envelope), json.dumps(stored).encode()]
    cards = await opening.choose(envelope, *texts, b"\xff", b"")
    assert [each.state for each in reversed(cards)] == [*["opened"] * 4, "refused", "refused"]


DROP = """(bytes) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(bytes)], "a.bin"));
  for (const name of ["dragover", "drop"]) {
    const event = new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true });
    if (document.body.dispatchEvent(event)) throw new Error("the file replaces the page");
  }
}"""


async def test_a_dropped_file_is_opened(opening: OpenHere) -> None:
    await opening.page.evaluate(DROP, list(patient()))
    await expect(opening.cards).to_have_count(1)
    (card,) = await opening.shown()
    assert card.facts["arrived"] == "file a.bin"
    assert len(card.fields) == 21


async def test_a_refusal_shows_its_code_and_explains_it(opening: OpenHere) -> None:
    envelope = patient()
    payload = Sealer(WARD).seal(b"x" * 40, to=[CLINIC.public], subject=SUBJECT)
    tampered = payload[:-20] + bytes([payload[-20] ^ 1]) + payload[-19:]
    to_other = Sealer(WARD).seal(b"x", to=[OTHER.public], subject=SUBJECT)
    from_other = Sealer(OTHER).seal(b"x", to=[CLINIC.public], subject=SUBJECT)
    for code, given, expected in (
        ("not_a_recipient", to_other, ">"),
        ("authentication", tampered, ">"),
        ("subject_mismatch", envelope, "ehr.visit.*"),
        ("sender_not_admitted", from_other, ">"),
        ("malformed", b"plaintext", ">"),
        ("malformed", envelope[:-1], ">"),
        ("malformed", "not base64!", ">"),
    ):
        card = await opening.paste(given, expected=expected)
        assert (card.state, card.code) == ("refused", code)
        assert card.fields == []
        assert card.text == ""
    link = opening.cards.first.get_by_role("link", name="malformed")
    await link.click()
    await expect(opening.page.locator("#code-malformed")).to_be_in_viewport()
    explained = opening.page.locator("dt[id^=code-]")
    assert len(await explained.all()) >= 20


async def test_a_wrong_key_is_suspected_and_what_was_missing_is_forgotten(
    visit: Visit, at: Place
) -> None:
    opening = await OpenHere.visited(visit, at)
    status, state = (opening.page.locator(f"#{name}") for name in ("status", "open-state"))
    await opening.page.get_by_role("button", name="Open", exact=True).click()
    await expect(state).to_contain_text("enter your key first")
    await opening.use(OTHER)
    await expect(state).to_have_text("")
    await opening.trust(str(WARD.public))
    await opening.paste(patient())
    summary = opening.cards.first.locator("summary")
    await expect(summary).to_contain_text("refused not_a_recipient, pasted, ")
    doubt = "sealed to other keys: 1; is yours the right one?"
    await expect(status).to_contain_text(doubt)
    await opening.use(CLINIC)
    await opening.paste(patient())
    await expect(status).to_have_text("1 opened, 1 refused")


async def test_trust_is_asked_for(visit: Visit, at: Place) -> None:
    opening = await OpenHere.visited(visit, at)
    said = opening.page.locator("#open-state")
    button = opening.page.get_by_role("button", name="Open", exact=True)
    await button.click()
    await expect(said).to_contain_text("enter your key first")
    await opening.use(CLINIC)
    await button.click()
    await expect(said).to_contain_text("who may send?")
    await opening.trust("X", "these keys")
    await button.click()
    await expect(said).to_contain_text("key_format")
    await opening.trust("", "anyone")
    card = await opening.paste(patient())
    assert card.facts["sender"] == f"{WARD.public} unauthenticated: anyone can have this key"
    assert card.state == "opened, unauthenticated"  # also while the result is collapsed
    await expect(opening.page.locator("#status")).to_contain_text("1 opened, ")
    await opening.trust(f"{OTHER.public}, {WARD.public}")
    assert (await opening.paste(patient())).facts["sender"] == f"{WARD.public} admitted"


async def test_peers_admit_by_subject_user_and_signature(opening: OpenHere) -> None:
    text = f'[peers.ward-7]\nxkey = "{WARD.public}"\nsubjects = ["ehr.patient.*"]\n'
    await opening.trust(text, "a peers file")
    card = await opening.paste(patient())
    assert card.facts["sender"] == f"ward-7 {WARD.public} admitted"
    card = await opening.paste(patient("ehr.visit.7"))
    assert card.code == "sender_not_admitted"
    user = UserKey(Nkey().seed)
    signing = Sealer(WARD, signer=user)
    signed = signing.seal(b"x", to=[CLINIC.public], subject="ehr.patient.1")
    assert (await opening.paste(signed)).facts["signature"].startswith("present, but not verified")
    name = user.public_key.decode()
    await opening.trust(f'{text}user = "{name}"\nalways_signs = true', "a peers file")
    assert (await opening.paste(signed)).facts["signature"] == f"verified, by {name}"
    unsigned = Sealer(WARD, identity=name).seal(b"x", to=[CLINIC.public], subject="ehr.patient.1")
    assert (await opening.paste(unsigned)).code == "signature_missing"
    for wrong, why in (
        (f'[peers.a]\nxkey = "{WARD.public}"\nsubject = ["a"]', "unknown setting"),
        (f'[peers.a]\nxkey = "{WARD.seed()}"', "secret seed"),
        (f'[peers.a]\nxkey = "{WARD.public}"\nalways_signs = true', "requires user"),
    ):
        opening.visit.hide(WARD.seed())
        await opening.trust(wrong, "a peers file")
        await opening.page.get_by_role("button", name="Open", exact=True).click()
        await expect(opening.page.locator("#open-state")).to_contain_text(why)


async def test_a_protected_seed_needs_its_passphrase(opening: OpenHere) -> None:
    protected = protect(
        RESEARCH.seed(), "correct horse", salt=bytes(range(16)), cost=Cost(1, 8 << 10)
    )
    state = opening.page.locator("#key-state")
    opening.visit.hide(RESEARCH.seed())
    await opening.use(protected, passphrase="wrong-passphrase")
    await expect(state).to_contain_text("No key: wrong passphrase")
    await opening.page.locator("#seed").fill(protected)
    opening.visit.hide("correct horse")
    await opening.page.locator("#passphrase").fill("correct horse")
    await opening.page.locator("#passphrase").press("Enter")
    await expect(state).to_have_text(f"Opening with {RESEARCH.public}")
    assert len((await opening.paste(patient())).fields) == 6


async def test_a_seed_in_a_file(opening: OpenHere) -> None:
    opening.visit.hide(RESEARCH.seed())
    content = f"# public key: {RESEARCH.public}\n\n{RESEARCH.seed()}\n".encode()
    await opening.page.locator("#seed-file").set_input_files(
        {"name": "research.seed", "mimeType": "", "buffer": content}
    )
    await opening.page.get_by_role("button", name="Use this key").click()
    state = opening.page.locator("#key-state")
    await expect(state).to_have_text(f"Opening with {RESEARCH.public}")
    assert await opening.page.locator("#seed-file").input_value() == ""


async def test_a_followed_subject_is_shown_live(opening: OpenHere, at: Place) -> None:
    await opening.page.locator("#subject").fill("ehr.>")
    await opening.page.locator("#subject").press("Enter")
    await expect(opening.page.locator("#follow-state")).to_have_text("following ehr.>")
    raw = HardenedClient()
    await raw.connect(at.server.url, connect_timeout=int(DEADLINE))
    try:
        copy, elsewhere = patient(), patient("billing.patient.7")
        text = Sealer(WARD).seal("naïve text".encode(), to=[CLINIC.public], subject=SUBJECT)
        for data in (copy, copy, b"plaintext", elsewhere, text):
            await raw.publish(SUBJECT, data)
        await raw.flush(int(DEADLINE))
        await expect(opening.cards).to_have_count(5)
        cards = [*reversed(await opening.shown())]
        assert len(cards[0].fields) == 21
        assert cards[0].facts["arrived"] == f"on {SUBJECT}"
        assert [each.code for each in cards[1:4]] == ["replay", "malformed", "subject_mismatch"]
        assert cards[4].text == "naïve text"
        await expect(opening.page.locator("#status")).to_have_text("2 opened, 3 refused")
        await opening.page.get_by_role("button", name="Stop").click()
        await expect(opening.page.get_by_role("button", name="Follow")).to_be_visible()
        await raw.publish(SUBJECT, patient())
        await raw.flush(int(DEADLINE))
        await opening.page.wait_for_timeout(50)
        assert await opening.cards.count() == 5
    finally:
        await raw.close()
    frames = [each.body or b"" for each in await opening.visit.requests() if each.method == "FRAME"]
    sent = b"".join(frames)
    assert b"SUB ehr.>" in sent
    assert b"PUB " not in sent


async def test_each_login(opening: OpenHere, visit: Visit) -> None:
    config = """authorization { users: [
      { user: "ada", password: "opensesame", permissions: { subscribe: "ehr.>", publish: [] } }
    ] }"""
    said = opening.page.locator("#follow-state")
    async with place(config) as guarded:
        opening = await ready(visit, guarded)
        await opening.page.get_by_text("Login of the NATS server").click()
        await opening.page.locator("#nats-user").fill("ada")
        await opening.page.locator("#nats-password").fill("wrong")
        await opening.page.locator("#nats-password").press("Enter")
        await expect(said).to_have_text("not connected: Authorization Violation", ignore_case=True)
        await opening.page.locator("#nats-password").fill("opensesame")
        await opening.page.locator("#nats-password").press("Enter")
        await expect(said).to_have_text("following ehr.>")
        await opening.page.get_by_role("button", name="Stop").click()
        await opening.page.locator("#subject").fill("billing.>")
        await opening.page.locator("#subject").press("Enter")
        await expect(said).to_contain_text("not connected: Permissions Violation", ignore_case=True)
    operator, user = Operator(), Nkey()
    visit.hide(user.seed)
    async with place(operator.config) as guarded:
        opening = await ready(visit, guarded)
        await opening.page.get_by_text("Login of the NATS server").click()
        content = operator.creds(user).encode()
        await opening.page.locator("#creds").set_input_files(
            {"name": "user.creds", "mimeType": "", "buffer": content}
        )
        to = [Recipient(CLINIC.public, user.public)]
        sealed = Sealer(WARD).seal(b"for ada", to=to, subject=SUBJECT)
        assert (await opening.paste(sealed)).text == "for ada"
        await opening.page.get_by_role("button", name="Follow").click()
        await expect(said).to_have_text("following ehr.>")
    visit.problems.clear()  # the browser reports that it cannot connect again


async def ready(visit: Visit, at: Place) -> OpenHere:
    opening = await OpenHere.visited(visit, at)
    await opening.use(CLINIC)
    await opening.trust(str(WARD.public))
    await opening.page.locator("#subject").fill("ehr.>")
    return opening


async def test_forgetting_leaves_nothing(opening: OpenHere, at: Place) -> None:
    opening.visit.hide("Lovelace-Marker")
    await opening.paste(patient())
    assert "Lovelace-Marker" in await opening.page.content()
    await opening.page.get_by_role("button", name="Forget everything").click()
    await empty(opening)
    await opening.page.get_by_role("button", name="Open", exact=True).click()
    await expect(opening.page.locator("#open-state")).to_contain_text("enter your key first")
    await opening.use(CLINIC)
    await opening.trust(str(WARD.public))
    await opening.paste(patient())
    await opening.page.goto("about:blank")
    await opening.page.go_back()
    await expect(opening.page.locator("#open[data-ready]")).to_be_visible()
    await empty(opening)


async def empty(opening: OpenHere) -> None:
    await expect(opening.page.locator("#key-state")).to_have_text("No key.")
    assert await opening.cards.count() == 0
    assert "Lovelace-Marker" not in await opening.page.content()
    values = await opening.page.locator("#open input, #open textarea").evaluate_all(
        "(all) => all.map((each) => each.type === 'radio' ? '' : each.value).filter((each) => each)"
    )
    assert values == [">"]


WATCH_KEYS = """
globalThis.imported = [];
const importKey = crypto.subtle.importKey.bind(crypto.subtle);
crypto.subtle.importKey = (...all) => {
  imported.push([all[0], all[3], ...all[4]]);
  return importKey(...all);
};
"""


async def test_the_key_cannot_be_read_and_its_field_is_cleared(visit: Visit, at: Place) -> None:
    await visit.context.add_init_script(WATCH_KEYS)
    opening = await OpenHere.visited(visit, at)
    await opening.use(CLINIC)
    assert await opening.page.locator("#seed").input_value() == ""
    imported = await opening.page.evaluate("imported.filter(([format]) => format === 'pkcs8')")
    assert imported == [["pkcs8", False, "deriveBits"]]
    await opening.page.locator("#seed").fill("SX" + "A" * 56)
    await opening.page.get_by_role("button", name="Use this key").click()
    await expect(opening.page.locator("#key-state")).to_contain_text("No key: not a valid seed")
    assert await opening.page.locator("#seed").input_value() == ""
    attribute = opening.page.locator("#seed").get_attribute
    assert (await attribute("type"), await attribute("autocomplete")) == ("password", "off")


FORGET_EARLY = """() => {
  const state = document.getElementById("key-state");
  new MutationObserver(() => {
    if (state.textContent.startsWith("deriving")) document.getElementById("forget").click();
  }).observe(state, { childList: true });
}"""


async def test_a_key_is_forgotten_while_it_is_derived(visit: Visit, at: Place) -> None:
    await visit.context.add_init_script(WATCH_KEYS)
    opening = await OpenHere.visited(visit, at)
    salt = bytes(range(16))
    protected = protect(CLINIC.seed(), "correct horse", salt=salt, cost=Cost(1, 8 << 10))
    await opening.page.evaluate(FORGET_EARLY)
    await opening.use(protected, passphrase="correct horse")
    imports = "imported.filter(([format]) => format === 'pkcs8').length === 2"
    await opening.page.wait_for_function(imports)
    await opening.page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    await empty(opening)


async def test_the_page_works_by_keyboard(visit: Visit, at: Place) -> None:
    opening = await OpenHere.visited(visit, at)
    visit.hide(CLINIC.seed())
    press, type_ = visit.page.keyboard.press, visit.page.keyboard.insert_text

    async def to(name: str) -> None:
        """Move on with Tab until an element has the focus."""
        for _ in range(30):
            await press("Tab")
            if await visit.page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"Tab does not reach {name}")

    await to("seed")
    await type_(CLINIC.seed())
    await press("Enter")
    await expect(visit.page.locator("#key-state")).to_have_text(f"Opening with {CLINIC.public}")
    await to("trust-keys")
    await to("trust")
    await type_(str(WARD.public))
    await to("envelope")
    await type_(base64.b64encode(patient()).decode())
    await to("open-now")
    await press("Enter")
    await expect(opening.cards).to_have_count(1)
    for _ in range(15):
        await press("Tab")
        if await visit.page.evaluate("document.activeElement.matches('#results summary')"):
            break
    await press("Enter")
    await expect(opening.cards.first).not_to_have_attribute("open", "")


async def test_it_fits_a_phone_in_both_colour_schemes(opening: OpenHere) -> None:
    await opening.paste(patient())
    await opening.paste(b"plaintext")
    await opening.paste(Sealer(WARD).seal(b"a" * 3_000, to=[CLINIC.public], subject="a" * 250))
    await opening.visit.check_looks()


async def test_the_page_may_connect_to_the_nats_server_only(visit: Visit, at: Place) -> None:
    answer = await visit.page.goto(at.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    socket = await visit.page.locator("#open").get_attribute("data-websocket")
    assert f"connect-src {socket}; form-action 'none';" in policy
    assert "script-src 'self'; style-src 'self';" in policy
    assert "'unsafe" not in policy
    for url in ("/open", "https://example.com/", "ws://127.0.0.1:9/"):
        script = "(url) => url[0] === 'w' ? void new WebSocket(url) : fetch(url)"
        with suppress(PlaywrightError):  # the promise of `fetch` is rejected
            await visit.page.evaluate(script, url)
        await until(lambda: any("CSP: connect-src" in each for each in visit.problems))
        visit.problems.clear()
    assert len(await visit.requests()) < 10
    await visit.page.goto("about:blank")
    visit.problems.clear()


async def test_each_field_has_a_label(opening: OpenHere) -> None:
    fields = opening.page.locator("#open input, #open textarea, #open button")
    names = await fields.evaluate_all(
        "(all) => all.map((each) => (each.labels?.[0]?.textContent ?? each.textContent).trim())"
    )
    assert len(names) >= 18
    assert all(names)
    assert await opening.page.locator("form").count() == 0
    named = opening.page.locator("#open [name]:not([type=radio])")
    assert await named.count() == 0  # nothing could be sent, even by a browser that errs

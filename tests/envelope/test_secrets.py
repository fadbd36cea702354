"""No error, representation or log contains plaintext, subjects or secrets."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator

import pytest

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    EVE,
    NOW,
    Clock,
    raw_secret,
    raw_user,
)
from tests.envelope.forge import (
    CONTENT_KEYS,
    EPHEMERAL,
    FIELDS,
    MESSAGE,
    PADDED,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
    thief_of,
)
from tests.envelope.inside import (
    admission,
    admitted_in,
    memory_of,
    running,
    session_of,
    unlocker_of,
    user_seed,
)
from tests.reference.encoding import array, string
from xkeymsg import (
    Headers,
    Keyring,
    Limits,
    Opener,
    Recipient,
    Sealer,
    StreamPosition,
    XKeyMsgError,
)
from xkeymsg.envelope import derive
from xkeymsg.envelope.open import read
from xkeymsg.envelope.unlock import admit, locate

CANARY = "canary"
DATA = b"canary in the data"
SUBJECT = "canary.subject"
ROGUE = Rogue(subject=SUBJECT, identity=raw_user(ALICE_USER))
SENDERS = {ALICE.public: ALICE_USER.public}

SECRETS = [
    secret
    for raw in (
        raw_secret(ALICE),
        raw_secret(BOB),
        raw_secret(EPHEMERAL),
        CONTENT_KEYS[0],
        VIEW_KEYS[0],
        user_seed(ALICE_USER),
        *ROGUE.rows()[0],
    )
    for secret in (repr(raw)[2:-1], raw.hex())
] + [ALICE.seed(), BOB.seed()]


def is_clean(text: str) -> bool:
    return CANARY not in text.lower() and not any(secret in text for secret in SECRETS)


def test_the_search_finds_what_it_is_there_to_find() -> None:
    assert is_clean("authentication failed")
    for leak in (repr(DATA), SUBJECT, repr(raw_secret(ALICE)), BOB.seed(), CONTENT_KEYS[0].hex()):
        assert not is_clean(f"error: {leak}")


def opened(envelope: bytes, opener: Opener | None = None, **arguments: object) -> object:
    opener = opener or Opener(BOB, SENDERS)
    return opener.open(envelope, **{"subject": ">"} | arguments)  # type: ignore[arg-type]


def part(content: bytes, kind: int = MESSAGE) -> bytes:
    return ROGUE.envelope(parts=[ROGUE.part(0, content, kind)])


def refused() -> Iterator[Callable[[], object]]:
    """Yield one refusal for every place where an opener refuses."""
    whole = ROGUE.envelope(DATA)
    pieces, two = Pieces.of(whole), [ROGUE.part(j, DATA, FIELDS) for j in (0, 1)]
    text = string("canary text")
    demanding = Opener(BOB, SENDERS, require_signature=True)
    stream = Opener(BOB, SENDERS)
    position = StreamPosition("canary", 7, NOW)
    again = Opener(BOB, SENDERS)
    yield lambda: opened(whole, Opener(BOB, SENDERS, limits=Limits(envelope=99)))
    yield lambda: opened(b"xkm2canary")
    yield lambda: opened(b"canary")
    yield lambda: opened(ROGUE.envelope(head=array([string("canary")] * 6)))
    yield lambda: opened(ROGUE.but(subject="canary canary").envelope())
    yield lambda: opened(ROGUE.but(subject="canary" * 50).envelope())
    yield lambda: opened(whole, Opener(BOB, {EVE.public}))
    yield lambda: opened(ROGUE.but(identity=None).envelope(DATA))
    yield lambda: opened(whole, Opener(CAROL, SENDERS))
    yield lambda: opened(pieces._replace(wraps=bytes(49)).join())
    yield lambda: opened(ROGUE.envelope(parts=[DATA]))
    yield lambda: opened(ROGUE.envelope(parts=two))
    yield lambda: opened(ROGUE.envelope(parts=two, views=[ROGUE.view(0, grant_list([1, 0]))]))
    yield lambda: opened(ROGUE.envelope(parts=two, views=[ROGUE.view(0, grant_list([0, 1]))]))
    yield lambda: opened(ROGUE.envelope(parts=[ROGUE.part(0, DATA, key=VIEW_KEYS[0])]))
    yield lambda: opened(whole, subject="other")
    yield lambda: opened(whole, wire_subject="canary.other")
    yield lambda: opened(part(DATA, PADDED))
    yield lambda: opened(part(DATA))
    yield lambda: opened(part(b"\x92\xc0\x92\x92" + text + text + DATA))
    yield lambda: opened(part(b"\x92\xa9canary\xff\xff\xff\x90"))
    yield lambda: opened(part(b"\x92" + text + b"\xdd\xff\xff\xff\xff"))
    yield lambda: opened(ROGUE.but(expires_ms=NOW).envelope(DATA))
    yield lambda: opened(ROGUE.but(created_ms=2**33).envelope(DATA))
    yield lambda: opened(whole, demanding)
    yield lambda: opened(ROGUE.envelope(DATA, signature=DATA[:16] * 4), demanding)
    yield lambda: [opened(whole, again) for _ in range(2)]
    yield lambda: [
        opened(ROGUE.but(tail=tail).envelope(DATA), again) for tail in (b"machine1", b"machine2")
    ]
    yield lambda: [opened(whole, stream, position=position._replace(sequence=n)) for n in (1, 2)]


def seals() -> Iterator[Callable[[], object]]:
    """Yield refusals of a sealer, with the caller's own text."""
    sealer = Sealer(ALICE, signer=ALICE_USER, limits=Limits(envelope=300, headers=2))
    to = [BOB.public]
    yield lambda: sealer.seal(DATA, to=[], subject=SUBJECT)
    yield lambda: sealer.seal(DATA, to=to, subject="canary canary")
    yield lambda: sealer.seal(DATA, to=to, subject="canary" * 50)
    yield lambda: sealer.seal(DATA, to=to, subject="canary\ud800")
    yield lambda: sealer.seal(DATA * 50, to=to, subject=SUBJECT)
    yield lambda: sealer.seal(DATA, to=to, subject=SUBJECT, headers={"xkm-canary": "canary"})
    yield lambda: sealer.seal(DATA, to=to, subject=SUBJECT, headers={"canary": "canary\ud800"})
    yield lambda: sealer.seal(DATA, to=to, subject=SUBJECT, headers=[("canary", "canary")] * 3)
    yield lambda: sealer.seal(DATA, to=to, subject=SUBJECT, content_type="canary\ud800")
    yield lambda: sealer.seal(DATA, to=to, subject=SUBJECT, expires=0)
    yield lambda: Opener(BOB, SENDERS).open(b"", subject="canary canary")


@pytest.mark.parametrize("provoke", [*refused(), *seals()])
def test_no_error_shows_anything(
    provoke: Callable[[], object], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # E-89
    with caplog.at_level(logging.DEBUG), pytest.raises(XKeyMsgError) as caught:
        provoke()
    error = caught.value
    texts = [str(error), repr(error), repr(error.args), repr(vars(error)), *error.__dict__]
    # Without the source lines, which belong to this test.
    stack = traceback.TracebackException.from_exception(error)
    texts += list(stack.format_exception_only())
    assert [text for text in texts if not is_clean(text)] == []
    assert stack.__cause__ is None
    assert stack.__suppress_context__ or stack.__context__ is None
    assert caplog.records == []


def test_every_code_of_a_refusal_was_provoked(clock: Clock) -> None:
    codes = set()
    for provoke in refused():
        with pytest.raises(XKeyMsgError) as caught:
            provoke()
        codes.add(caught.value.code)
    assert codes == {
        "limit_exceeded", "unsupported_version", "malformed", "sender_not_admitted",
        "not_a_recipient", "authentication", "commitment", "subject_mismatch", "content_type",
        "expired", "stale", "signature_missing", "signature_invalid", "replay", "session_cloned",
    }  # fmt: skip


def test_no_object_shows_anything(clock: Clock) -> None:
    sealer = Sealer(ALICE, signer=ALICE_USER, always_to=[CAROL.public])
    envelope = sealer.seal(DATA, to=[BOB.public], subject=SUBJECT, headers={"canary": "canary"})
    opener = Opener(Keyring(BOB, user=BOB_USER.public), SENDERS)
    message = opener.open(envelope, subject=SUBJECT)
    rogue = thief_of(BOB)
    pairs = derive.PairKeys(raw_secret(ALICE), raw_secret(BOB))
    located = locate(rogue.but(identity=raw_user(ALICE_USER)).envelope(), Limits())
    admitted = admit(located, admission(opener))
    unlocked = unlocker_of(opener).unlock(admitted)
    things = [
        sealer,
        running(sealer),
        opener,
        unlocker_of(opener),
        memory_of(opener),
        *admitted_in(memory_of(opener)).values(),
        opener.replay_state(),
        message,
        message.headers,
        Headers([("canary", "canary")]),
        pairs,
        {"senders": (pairs,)},
        located,
        admitted,
        unlocked,
        read(unlocked, Limits()),
        Recipient(BOB.public, BOB_USER.public),
        Keyring(BOB, retired=[CAROL]),
        ALICE_USER,
        session_of(sealer),
    ]  # fmt: skip
    for thing in things:
        assert is_clean(repr(thing)), type(thing)
        assert is_clean(str(thing)), type(thing)
        assert is_clean(f"{thing}"), type(thing)


def test_nothing_is_logged_or_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        envelope = Sealer(ALICE).seal(DATA, to=[BOB.public], subject=SUBJECT)
        Opener(BOB, {ALICE.public}).open(envelope, subject=SUBJECT)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")

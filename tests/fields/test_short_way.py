"""Ordinary documents take a short way, on which no check is missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, Literal

import pytest

from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, SUBJECT, Clock, pair, to
from tests.envelope.forge import (
    CONTENT_KEYS,
    FIELDS,
    METADATA,
    PADDED,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
)
from tests.fields.people import ALL, opener
from tests.reference import crypto
from tests.reference.encoding import array, binary
from xkeymsg import (
    LimitExceededError,
    Limits,
    MalformedError,
    Opener,
    Policy,
    Recipient,
    ReplayError,
    Sealer,
    SenderNotAdmittedError,
    StaleError,
    StreamPosition,
    SubjectMismatchError,
    XKeyMsgError,
)
from xkeymsg.envelope import swift
from xkeymsg.fields import documents, joining
from xkeymsg.fields.plaintext import pack

POLICY: Final = Policy([("/name/**", ["a"]), ("/dose/**", ["b"]), ("/**", ["c"])])
DOCUMENT: Final = {"name": "n" * 300, "dose": [1, {"x": None}], "more": {"y": 2.5}}
READERS: Final = {"a": [BOB.public, CAROL.public], "b": [BOB.public], "c": [CAROL.public]}
PLAIN: Final = [b"\x91\x92\x91\xa1%c\x01" % name for name in b"abc"]
"""Plaintexts of parts: that `a` is 1, and so on."""


def part_of(rogue: Rogue, plaintext: bytes = PLAIN[0]) -> bytes:
    """A document of one part."""
    return rogue.envelope(parts=[rogue.part(0, plaintext, FIELDS)])


def sealed(sealer: Sealer, document: Any = DOCUMENT, **settings: Any) -> bytes:
    return sealer.seal_document(
        document, policy=POLICY, readers=READERS, subject=SUBJECT, **settings
    )


def test_an_ordinary_document_takes_it(general: Callable[[], int]) -> None:
    sealer, bob, carol = Sealer(ALICE), opener(BOB), opener(CAROL)
    for reader in (bob, carol):
        reader.open_document(sealed(sealer), subject=SUBJECT)
    assert general() == 2
    for size in (0, 1, 31, 32, 255, 256, 30_000):
        document = {"name": "n" * size, "dose": list(range(size % 100)), "more": size}
        envelope = sealed(sealer, document)
        view = bob.open_document(envelope, subject=SUBJECT, wire_subject=SUBJECT)
        assert view.document == {"name": document["name"], "dose": document["dose"]}
        assert (view.withheld, view.sender, view.admitted) == (1, ALICE.public, True)
        assert carol.open_document(envelope, subject=SUBJECT).document == {
            "name": document["name"],
            "more": size,
        }
    assert general() == 2


def test_a_document_of_one_part_takes_it(general: Callable[[], int]) -> None:
    sealer, bob = Sealer(ALICE), opener(BOB)
    for number in range(3):
        envelope = sealer.seal_document(
            [number], policy=ALL, readers={"all": [BOB.public]}, subject=SUBJECT
        )
        assert bob.open_document(envelope, subject=SUBJECT).document == [number]
    assert general() == 1


def test_audiences_that_alternate_take_it(general: Callable[[], int]) -> None:
    sealer, bob = Sealer(ALICE), opener(BOB)
    documents = [{"name": "x"}, {"dose": 1}, {"name": "x", "dose": 1}, DOCUMENT]
    for _ in range(3):
        for document in documents:
            bob.open_document(sealed(sealer, document), subject=SUBJECT)
    # Audiences, and not documents, are what is new: Bob and Carol, Bob alone.
    assert general() == 2


def test_what_is_out_of_the_ordinary_does_not(general: Callable[[], int]) -> None:
    sealer, padding, bob = Sealer(ALICE), Sealer(ALICE, padding=True), opener(BOB)
    for one in (sealer, padding):
        bob.open_document(sealed(one), subject=SUBJECT)
    before = general()
    out_of_it = (
        sealed(padding),
        sealed(sealer, headers={"A": "b"}),
        sealed(sealer, content_type="text/plain"),
        sealed(sealer, expires=timedelta(hours=1)),
        sealed(sealer, {"name": "n" * swift.MOST}),
    )
    for envelope in out_of_it:
        assert "name" in bob.open_document(envelope, subject=SUBJECT).document
    assert general() == before + len(out_of_it)


@pytest.mark.parametrize("replay", ["live", "file"])
def test_it_demands_all_that_the_general_way_does(
    replay: Literal["live", "file"], clock: Clock
) -> None:
    sealer = Sealer(ALICE)
    bob = Opener(BOB, {ALICE.public}, replay=replay)
    bob.open_document(sealed(sealer), subject=SUBJECT)
    with pytest.raises(SubjectMismatchError):
        bob.open_document(sealed(sealer), subject="orders.other")
    with pytest.raises(SubjectMismatchError):
        bob.open_document(sealed(sealer), subject=SUBJECT, wire_subject="orders.other")
    with pytest.raises(TypeError):
        bob.open_document(sealed(sealer), subject=SUBJECT, wire_subject=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        bob.open_document(bytearray(sealed(sealer)), subject=SUBJECT)  # type: ignore[arg-type]
    late, twice = sealed(sealer), sealed(sealer)
    bob.open_document(twice, subject=iter([SUBJECT]))
    if replay == "live":
        with pytest.raises(ReplayError) as caught:
            bob.open_document(twice, subject=SUBJECT)
        assert caught.value.outside == "refused"
        clock.ms += 10 * 60_000
        with pytest.raises(StaleError) as stale:
            bob.open_document(late, subject=SUBJECT)
        assert stale.value.outside == "refused"
    else:
        assert bob.open_document(twice, subject=SUBJECT).document["name"] == DOCUMENT["name"]


def test_a_document_that_is_refused_leaves_no_mark(clock: Clock) -> None:
    # Each is refused for what it is, again and again, and never as a replay.
    rogue = Rogue(created_ms=clock.ms)
    bob = Opener(BOB, {ALICE.public})
    bob.open_document(part_of(rogue), subject=SUBJECT)
    for counter, plaintext in enumerate((PLAIN[0][:-1], b"", b"\x90", PLAIN[0] * 2), start=2):
        envelope = part_of(rogue.but(counter=counter), plaintext)
        for _ in range(3):
            with pytest.raises(MalformedError):
                bob.open_document(envelope, subject=SUBJECT)


def test_what_a_document_holds_is_judged_once(
    general: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It may be all that its sender could think of to take long.
    joined = 0

    def counted(*arguments: Any) -> Any:
        nonlocal joined
        joined += 1
        return joining.join(*arguments)

    monkeypatch.setattr(documents, "join", counted)
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    before = general(), joined
    hostile = part_of(rogue.but(counter=2), b"\x92" + PLAIN[0][1:] * 2)
    with pytest.raises(MalformedError) as swift_one:
        seasoned.open_document(hostile, subject=SUBJECT)
    assert (general(), joined) == (before[0], before[1] + 1)
    with pytest.raises(MalformedError) as general_one:
        opener(BOB).open_document(hostile, subject=SUBJECT)
    assert swift_one.value.outside == general_one.value.outside == "refused"
    assert str(swift_one.value) == str(general_one.value)


def code_of(reader: Opener, envelope: bytes) -> str:
    try:
        view = reader.open_document(envelope, subject=SUBJECT)
    except XKeyMsgError as error:
        return error.code
    return repr(view.document)


@pytest.mark.parametrize(
    ("kinds", "views", "index"),
    [
        ([FIELDS], [[0], [0]], 0),  # views for one part
        ([FIELDS, FIELDS], [], 0),  # none for two
        ([FIELDS, FIELDS], [[1, 0]], 0),  # not ascending
        ([FIELDS, FIELDS], [[0, 0]], 0),
        ([FIELDS, FIELDS], [[2]], 0),  # no such part
        ([FIELDS, FIELDS], [[0], [1]], 2),  # no such view
        ([FIELDS, FIELDS], [[0, 1, 0]], 0),  # more grants than parts
        ([FIELDS, FIELDS], [[0], [0, 1, 1]], 0),  # in another's view
        ([FIELDS, FIELDS], [[]], 0),
        ([FIELDS, METADATA], [[0]], 0),  # the metadata not granted
        ([FIELDS, 4], [[0]], 0),  # a type of the future
        ([FIELDS, 0], [[0]], 0),  # a payload among them
        ([FIELDS + PADDED, FIELDS], [[0, 1]], 0),  # padded without padding
        ([], [], 0),
    ],
)
def test_a_malicious_sender_gains_nothing_by_it(
    kinds: list[int], views: list[list[int]], index: int
) -> None:
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=7)
    envelope = rogue.envelope(
        parts=[rogue.part(j, PLAIN[j], kind) for j, kind in enumerate(kinds)],
        views=[rogue.view(v, grant_list(granted)) for v, granted in enumerate(views)],
        grants=[bytes([index]) + (VIEW_KEYS if views else CONTENT_KEYS)[index]],
    )
    code = code_of(seasoned, envelope)
    assert code == code_of(opener(BOB), envelope)
    assert code in ("malformed", "unsupported_version", "authentication", "commitment")


@pytest.mark.parametrize(
    "body",
    [
        # What is of no concern to this reader is as it has to be all the same.
        b"%(views)s\x92%(part)s\xc4\x30\1" + bytes(47) + b"\xc4\0",  # a part that is too short
        b"%(views)s\x92%(part)s\xc4\0" + b"\xc4\0",
        b"%(views)s\x92%(part)s\xc5\0\x31\1" + bytes(48) + b"\xc4\0",  # in a longer form
        b"%(views)s\x92%(part)s\xc6\0\0\0\x31\1" + bytes(48) + b"\xc4\0",
        b"%(views)s\x92%(part)s\x92\1\1\xc4\0",  # no bin
        b"%(views)s\x92%(part)s%(other)s\xc4\1",  # a signature without its byte
        b"%(views)s\x92%(part)s%(other)s\xa0\0",
        b"%(views)s\x92%(part)s%(other)s\0\xc4\0",  # something behind
        b"%(views)s\x92%(part)s\xc4\0",  # one part too few
        b"%(views)s\xdc\0\2%(part)s%(other)s\xc4\0",
        b"\x92%(view)s\xc4\x52" + bytes(0x52) + b"\x92%(part)s%(other)s\xc4\0",  # half a grant
        b"\x92%(view)s\xc4\x30" + bytes(0x30) + b"\x92%(part)s%(other)s\xc4\0",
        b"\x92%(view)s\xc4\x93" + bytes(0x93) + b"\x92%(part)s%(other)s\xc4\0",  # of three parts
        b"\x92%(view)s\xc4\0\x92%(part)s%(other)s\xc4\0",
        b"%(views)s\x92%(part)s\xc5\0\xff\1" + bytes(254) + b"\xc4\0",
        b"%(views)s\x92%(part)s\xd9\x31\1" + bytes(48) + b"\xc4\0",  # a str
        b"%(views)s\xa0" + b"%(part)s" + b"%(other)s" * 15 + b"\xc4\0",  # no array of 16
        b"\xa0" + b"%(view)s" * 16 + b"\x92%(part)s%(other)s\xc4\0",
        b"%(views)s\x92\xc5\xff\xff%(part)s%(other)s\xc4\0",  # a part that ends behind the end
        b"\x92\xc5\xff\xff%(view)s\x92%(part)s%(other)s\xc4\0",
        b"%(views)s\x92%(part)s\xc5",  # a header that ends behind the end
        b"%(views)s\x92%(part)s",
    ],
)
def test_what_a_malicious_sender_writes_beside_it_is_refused(body: bytes) -> None:
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=7)
    view = binary(rogue.view(0, grant_list([0])))
    pieces = {
        b"view": view,
        b"views": array([view]),
        b"part": binary(rogue.part(0, PLAIN[0], FIELDS)),
        b"other": binary(rogue.part(1, PLAIN[1], FIELDS)),
    }
    grants = [b"\0" + VIEW_KEYS[0]]
    genuine = b"%(views)s\x92%(part)s%(other)s\xc4\0" % pieces
    assert code_of(seasoned, rogue.envelope(body=genuine, grants=grants)) == "{'a': 1}"
    envelope = rogue.envelope(body=body % pieces, grants=grants)
    assert code_of(seasoned, envelope) == code_of(opener(BOB), envelope) == "malformed"


def test_what_expires_and_what_has_to_be_signed_does_not_take_it(clock: Clock) -> None:
    sealer, bob = Sealer(ALICE), opener(BOB)
    first, second = [sealed(sealer, expires=timedelta(minutes=1)) for _ in range(2)]
    bob.open_document(first, subject=SUBJECT)
    clock.ms += 60_000
    assert code_of(bob, second) == "expired"
    users = {ALICE.public: ALICE_USER.public}
    careful = Opener(BOB, users, replay="file", require_signature=True)
    signing = Sealer(ALICE, signer=ALICE_USER)
    for _ in range(2):
        assert careful.open_document(sealed(signing), subject=SUBJECT).signer == ALICE_USER.public
    named = Sealer(ALICE, identity=ALICE_USER.public)
    for _ in range(2):
        assert code_of(careful, sealed(named)) == "signature_missing"


def test_a_call_with_senders_or_a_position_does_not_take_it(clock: Clock) -> None:
    sealer, bob = Sealer(ALICE), Opener(BOB, {ALICE.public})
    bob.open_document(sealed(sealer), subject=SUBJECT)
    with pytest.raises(SenderNotAdmittedError):
        bob.open_document(sealed(sealer), subject=SUBJECT, senders={CAROL.public})
    envelope = sealed(sealer)
    position = StreamPosition("S", 1, clock.ms)
    for _ in range(2):  # the same place of a stream again is a redelivery, and no replay
        bob.open_document(envelope, subject=SUBJECT, position=position)
    with pytest.raises(ReplayError):
        bob.open_document(envelope, subject=SUBJECT, position=StreamPosition("S", 2, clock.ms))


def test_no_bit_of_a_document_can_be_changed_on_it() -> None:
    sealer, seasoned = Sealer(ALICE), opener(BOB)
    seasoned.open_document(sealed(sealer), subject=SUBJECT)
    envelope = sealed(sealer, {"name": "n", "dose": 1, "more": 2})
    assert seasoned.open_document(envelope, subject=SUBJECT).document == {"name": "n", "dose": 1}
    for at in range(len(envelope)):
        for bit in (1, 128):
            changed = envelope[:at] + bytes([envelope[at] ^ bit]) + envelope[at + 1 :]
            # Only the wraps of others are not authenticated.
            if (code := code_of(seasoned, changed)) == "{'name': 'n', 'dose': 1}":
                assert at >= len(envelope) - 2 * 49
            else:
                assert code == code_of(opener(BOB), changed)


@pytest.mark.parametrize(
    "limits", [Limits(depth=3), Limits(fields=1), Limits(nodes=8), Limits(views=1), Limits(parts=2)]
)
def test_limits_hold_on_it(limits: Limits) -> None:
    sealer, reader = Sealer(ALICE), opener(BOB, limits=limits)
    one = sealer.seal_document(
        1, policy=ALL, readers={"all": [BOB.public, CAROL.public]}, subject=SUBJECT
    )
    reader.open_document(one, subject=SUBJECT)
    envelope = sealed(sealer, {"name": [[[1]]], "dose": 2, "more": 1})
    with pytest.raises(LimitExceededError):
        reader.open_document(envelope, subject=SUBJECT)


def chain(depth: int, value: Any) -> Any:
    """A value in so many lists and maps, one in another."""
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize("most", [1, 2, 3, 32, 256])
def test_a_path_and_what_is_at_its_end_are_together_as_deep_as_they_may_be(
    most: int, general: Callable[[], int]
) -> None:
    rogue, reader = Rogue(), opener(BOB, limits=Limits(depth=most))
    reader.open_document(part_of(rogue), subject=SUBJECT)
    before, counter = general(), 1
    for path in {0, 1, 2, most - 1, most, most + 1}:
        for inner in {most - path - 1, most - path, most - path + 1} - {-2, -1}:
            for beside in ([], [[["z"], chain(most - 1, 1)]]):
                if not path and beside:
                    continue  # something beside the whole
                counter += 1
                pairs = [[["a"] * path, chain(inner, 1)], *beside]
                envelope = part_of(rogue.but(counter=counter), pack(pairs))
                code = code_of(reader, envelope)
                assert code == code_of(opener(BOB, limits=Limits(depth=most)), envelope)
                assert (code == "limit_exceeded") is (path + inner > most)
    assert general() - before == counter - 1  # each once: by the new opener


def test_a_beginning_without_its_wraps_is_refused() -> None:
    # With several recipients, the wraps would begin before the envelope does: positions below 0,
    # at which Python reads from the end. The wrap for this reader verifies there.
    several = tuple(Recipient(pair(number).public) for number in range(11)) + to(BOB)
    rogue, seasoned = Rogue(to=several), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=2)
    whole = part_of(rogue)
    for size in range(len(whole)):
        cut = whole[:size]
        assert code_of(seasoned, cut) == code_of(opener(BOB), cut)
    size = 49 * len(several)
    place = 49 * [key.tag for key in rogue.rows()].index(rogue.key(to(BOB)[0]).tag)
    front = whole[: len(whole) - size]
    for length in range(size // 2 + len(front) // 2, size):
        # What `envelope[: length - size]` is there, and what it would authenticate.
        filled = bytearray((front + bytes(size))[:length])
        ends = b"\xc4\0" + b"\xc5" + size.to_bytes(2, "big")
        filled[2 * length - size - len(ends) : 2 * length - size] = ends
        transcript = bytes(filled[: 2 * length - size])
        key = rogue.key(to(BOB)[0]).K
        wrap = crypto.seal(key, rogue.nonce, b"\0" + CONTENT_KEYS[0], crypto.sha256(transcript))
        at = 2 * length - size + place
        filled[at : at + 49] = wrap
        envelope = bytes(filled)
        assert code_of(seasoned, envelope) == code_of(opener(BOB), envelope) == "malformed"


def test_of_many_threads_one_opens_it() -> None:
    sealer, bob = Sealer(ALICE), Opener(BOB, {ALICE.public})
    bob.open_document(sealed(sealer), subject=SUBJECT)
    envelopes = [sealed(sealer) for _ in range(20)]
    stop = threading.Event()

    def rekey() -> None:
        while not stop.is_set():
            bob.rekey(BOB)  # with each, the next document is new, and then ordinary

    other = threading.Thread(target=rekey)
    other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            codes = list(pool.map(lambda one: code_of(bob, one), envelopes * 4))
    finally:
        stop.set()
        other.join()
    assert codes.count("replay") == 3 * len(envelopes)
    assert len(set(codes)) == 2


@pytest.mark.parametrize("lead", [b"\x8f\x91", b"\x80\x91", b"\0\x91", b"\x90\x81"])
def test_what_is_no_array_is_none_of_no_items(lead: bytes) -> None:
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=2)
    part = binary(rogue.part(0, PLAIN[0], FIELDS))
    assert code_of(seasoned, rogue.envelope(body=b"\x90\x91" + part + b"\xc4\0")) == "{'a': 1}"
    envelope = rogue.envelope(body=lead + part + b"\xc4\0")
    assert code_of(seasoned, envelope) == code_of(opener(BOB), envelope) == "malformed"


@pytest.mark.parametrize("index", [1, 15, 255])
def test_the_wrap_of_a_document_of_one_part_names_no_view(index: int) -> None:
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=2)
    parts = [rogue.part(0, PLAIN[0], FIELDS)]
    envelope = rogue.envelope(parts=parts, grants=[bytes([index]) + CONTENT_KEYS[0]])
    assert code_of(seasoned, envelope) == code_of(opener(BOB), envelope) == "malformed"


@pytest.mark.parametrize("where", ["part", "view", "only part"])
def test_a_key_that_the_sender_did_not_commit_to_opens_nothing(where: str) -> None:
    # What it is a key of does authenticate: that is how one ciphertext has two plaintexts.
    rogue, seasoned = Rogue(), opener(BOB)
    seasoned.open_document(part_of(rogue), subject=SUBJECT)
    rogue = rogue.but(counter=2)

    def uncommitted(sealed_part: bytes, at: int) -> bytes:
        return sealed_part[:at] + bytes(32) + sealed_part[at + 32 :]

    parts = [rogue.part(number, PLAIN[number], FIELDS) for number in range(2)]
    views = [rogue.view(0, grant_list([0, 1]))]
    if where == "part":
        parts[1] = uncommitted(parts[1], 1)
    elif where == "view":
        views[0] = uncommitted(views[0], 0)
    else:
        parts, views = [uncommitted(parts[0], 1)], []
    envelope = rogue.envelope(parts=parts, views=views)
    assert code_of(seasoned, envelope) == code_of(opener(BOB), envelope) == "commitment"


@pytest.mark.parametrize("document", [True, False])
def test_tags_behind_a_known_beginning_are_looked_at(document: bool) -> None:
    # Of 32 or more, only the first is in what is remembered; the sender's wrap verifies over any.
    rogue, seasoned = Rogue(to=(*to(*map(pair, range(40))), *to(BOB))), opener(BOB)

    def sealed_by(rogue: Rogue) -> bytes:
        return part_of(rogue) if document else rogue.envelope(b"data")

    def judged(reader: Opener, envelope: bytes) -> str:
        if document:
            return code_of(reader, envelope)
        try:
            return str(reader.open(envelope, subject=SUBJECT).data)
        except XKeyMsgError as error:
            return error.code

    judged(seasoned, sealed_by(rogue))
    rogue = rogue.but(counter=2)
    tags = [key.tag for key in rogue.rows()]
    own = tags.index(rogue.key(to(BOB)[0]).tag)
    one, other = [at for at in range(1, len(tags)) if at != own][:2]
    tags[one], tags[other] = tags[other], tags[one]
    pieces = Pieces.of(sealed_by(rogue))._replace(tags=b"".join(tags))
    front = pieces.join()[: -len(pieces.wraps)]
    grants = [b"\0" + CONTENT_KEYS[0]] * len(tags)
    envelope = rogue.wrapped(front, grants)
    assert judged(seasoned, envelope) == judged(opener(BOB), envelope) == "malformed"

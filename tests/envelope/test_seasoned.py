"""An opener with cached keys of thousands of messages judges the next one like a new opener.

Caches are looked up by bytes that anybody can copy: an attacker cuts up genuine messages, and
combines head, tags, body and wraps into the worst case for the caches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    EVE,
    FIELDS,
    MALLORY,
    MALLORY_USER,
    NOW,
    PAYLOAD,
    pair,
    raw_user,
    to,
)
from tests.envelope.forge import Pieces, Rogue
from tests.envelope.inside import caches, open_at, user_seed
from tests.examples import examples
from tests.reference.encoding import array, binary
from xkeymsg import (
    ANYONE,
    Admission,
    AtRest,
    Keyring,
    Limits,
    Opener,
    Recipient,
    XKey,
    XKeyMsgError,
    XKeyPair,
)
from xkeymsg.envelope.admission import Senders

AS_USER: Final = Recipient(BOB.public, BOB_USER.public)
MANY: Final = to(*map(pair, range(40)))
LONGEST: Final = "s" * (255 - 92 - 2 - 4)
"""The subject for which a head without attributes has 255 bytes."""


class Fickle:
    """Trust whose verdict can change between two messages."""

    def __init__(self) -> None:
        self.verdict: Admission | None = Admission()

    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        return self.verdict if sender in (ALICE.public, CAROL.public) else None


VERDICTS: Final = (
    Admission(),
    Admission(frozenset({raw_user(ALICE_USER)})),
    Admission(frozenset({raw_user(ALICE_USER)}), always_signs=True),
    Admission(admitted=False),
    None,
)
KEYRINGS: Final[tuple[XKeyPair | Keyring, ...]] = (
    BOB,
    Keyring(BOB, user=BOB_USER.public),
    Keyring(CAROL, retired=[BOB, DAVE]),
    Keyring(DAVE, retired=[CAROL, BOB], user=BOB_USER.public),
    Keyring(BOB, retired=[CAROL], user=BOB_USER.public, accept_unbound=False),
)
LIMITS: Final = (Limits(), Limits(envelope=600), Limits(recipients=3), Limits(parts=1, views=1))


def everyone() -> list[Rogue]:
    """Return senders, sessions, audiences and heads that have much in common."""
    alice = Rogue()
    carol = Rogue(S=CAROL.public, secret=CAROL)
    stranger = Rogue(S=MALLORY.public, secret=MALLORY, ephemeral=pair(5))
    named = Rogue(identity=raw_user(ALICE_USER), revision=300, expires_ms=NOW + 2**40)
    rogues = [alice, carol, stranger, named, named.but(identity=raw_user(MALLORY_USER))]
    rogues += [alice.but(ephemeral=pair(6)), alice.but(revision=0), alice.but(revision=2**53 - 1)]
    rogues += [alice.but(subject="s" * size) for size in (1, 31, 32)]
    for size in (-1, 0, 1, 100):
        rogues.append(alice.but(subject=LONGEST + "s" * size if size >= 0 else LONGEST[:-1]))
    audiences = [
        (*to(BOB, CAROL), AS_USER),
        (*to(CAROL, DAVE, EVE), AS_USER),
        to(BOB, EVE),
        to(BOB, DAVE),
        to(EVE),
        (*MANY[:30], *to(BOB)),
        (*MANY[:31], *to(BOB)),
        (*MANY, *to(BOB, CAROL)),
        (*MANY[1:], *to(BOB, CAROL, EVE)),
    ]
    rogues += [rogue.but(to=readers) for readers in audiences for rogue in (alice, named)]
    return rogues


ROGUES: Final = everyone()


def sealed(rogue: Rogue, body: int) -> bytes:
    """Return one of the bodies that a sender may make."""
    if body == 0:
        return rogue.envelope(b"pay %d" % rogue.counter)
    if body == 1:
        return rogue.document([b"name", b"dose"], [[0]] * len(rogue.to))
    if body == 2:
        return rogue.signed(user_seed(ALICE_USER), b"signed")
    return rogue.envelope(b"x" * 300)


@cache
def genuine() -> list[bytes]:
    return [sealed(rogue, number % 4) for number, rogue in enumerate(ROGUES)]


def later() -> list[bytes]:
    return [
        sealed(rogue.but(counter=7, created_ms=NOW + number % 2, tail=b"tail...."), number % 4)
        for number, rogue in enumerate(ROGUES)
    ]


@cache
def all_pieces() -> list[Pieces]:
    return [Pieces.of(envelope) for envelope in genuine()]


class Verdict(NamedTuple):
    """The complete outcome of an opener for an envelope."""

    code: str
    outside: str = ""
    content: object = None


def judged(opener: Opener, envelope: bytes, *, document: bool, senders: Senders | None) -> Verdict:
    form = FIELDS if document else PAYLOAD
    try:
        opened = open_at(opener, NOW, envelope, form, ">", senders)
    except XKeyMsgError as error:
        return Verdict(error.code, error.public_code, str(error))
    parts = opened.content, opened.content_type, opened.headers.pairs
    return Verdict("opened", content=(opened.head, opened.admitted, opened.signer, parts))


class Readers:
    """One reader twice: with a cache, and new for each envelope."""

    def __init__(self, keys: XKeyPair | Keyring, limits: Limits) -> None:
        self.keys, self.limits = keys, limits
        self.trust = Fickle()
        self.senders: tuple[Senders, ...] = (
            self.trust,
            {ALICE.public, CAROL.public},
            {ALICE.public: ALICE_USER.public},
            ANYONE,
        )
        self.old = self.new()
        for envelope in genuine():
            for senders in (self.trust, ANYONE):
                judged(self.old, envelope, document=False, senders=senders)

    def new(self) -> Opener:
        return Opener(self.keys, self.trust, replay=AtRest(), limits=self.limits)

    def agreed(self, envelope: bytes, verdict: int = 0, by: int = 0) -> Verdict:
        self.trust.verdict = VERDICTS[verdict]
        senders, common = self.senders[by], None
        for document in (False, True):
            common = judged(self.new(), envelope, document=document, senders=senders)
            for _ in range(2):  # also with the cache entries of the first time
                again = judged(self.old, envelope, document=document, senders=senders)
                assert again == common, envelope.hex()
            if common.code == "opened":
                break
        assert common is not None
        return common


@cache
def all_readers() -> list[Readers]:
    return [Readers(keys, limits) for keys, limits in itertools.product(KEYRINGS, LIMITS)]


def test_the_seasoned_openers_remember_what_they_are_tested_with() -> None:
    for readers in all_readers()[:: len(LIMITS)]:
        assert len(caches(readers.old)[0].sessions) >= 1
    assert len(caches(all_readers()[0].old)[1].sessions)


def test_every_genuine_message_is_judged_as_by_a_new_opener() -> None:
    opened = 0
    for readers in all_readers():
        for number, envelope in enumerate(later()):
            verdict = readers.agreed(envelope, number % len(VERDICTS), number % 4)
            opened += verdict.code == "opened"
    assert opened > 50


quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLACES = st.integers(0, 2**16)
Change = Callable[[bytes], bytes]


def put(at: int, size: int, other: bytes) -> Change:
    """Replace `size` bytes by other bytes."""

    def change(data: bytes) -> bytes:
        place = at % (len(data) + 1)
        return data[:place] + other + data[place + size :]

    return change


def flip(at: int, bit: int) -> Change:
    def change(data: bytes) -> bytes:
        if not data:
            return data
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

    return change


def new(counter: int, tail: bytes, kind: int, created: int) -> Change:
    """Give a head another nonce and time, in any encoding."""

    def change(head: bytes) -> bytes:
        number = counter.to_bytes(4, "big") + tail + bytes([kind]) + created.to_bytes(8, "big")
        return head[:71] + number + head[92:]

    return change


COUNTERS: Final = (0, 1, 2, 2**20, 2**20 + 1, 2**32 - 1)
KINDS: Final = (0xCF, 0xCE, 0xD3, 0xC4, 0)
TIMES: Final = (NOW, NOW + 1, 0, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**64 - 1)
CHANGES: Final = st.one_of(
    st.builds(put, PLACES, st.integers(0, 9), st.binary(max_size=9)),
    st.builds(flip, PLACES, st.integers(0, 7)),
    st.builds(
        new,
        st.sampled_from(COUNTERS),
        st.sampled_from([b"random..", b"another."]),
        st.sampled_from(KINDS),
        st.sampled_from(TIMES),
    ),
)
SOME: Final = st.integers(0, len(ROGUES) - 1)
VARIED: Final = (
    st.deferred(lambda: st.sampled_from(all_readers())),
    st.integers(0, len(VERDICTS) - 1),
    st.integers(0, 3),
)


@settings(quietly, max_examples=examples(66))
@given(
    *VARIED,
    SOME,
    st.none() | SOME,
    st.none() | SOME,
    st.sampled_from(["head", "tags", "wraps", "all"]),
    CHANGES,
)
def test_pieces_of_genuine_messages_put_together_are_judged_as_by_a_new_opener(
    readers: Readers,
    verdict: int,
    by: int,
    head: int,
    tags: int | None,
    rest: int | None,
    where: str,
    change: Change,
) -> None:
    tags, rest = head if tags is None else tags, head if rest is None else rest
    pieces = all_pieces()[rest]._replace(head=all_pieces()[head].head, tags=all_pieces()[tags].tags)
    if where == "all":
        envelope = change(pieces.join())
    else:
        altered: dict[str, Any] = {where: change(getattr(pieces, where))}
        envelope = pieces._replace(**altered).join()
    readers.agreed(envelope, verdict, by)
    readers.agreed(envelope[:-1], verdict, by)


@settings(quietly, max_examples=examples(66))
@given(*VARIED, SOME, st.integers(0, 3), CHANGES, CHANGES, st.booleans(), st.booleans())
def test_what_a_malicious_sender_seals_is_judged_as_by_a_new_opener(
    readers: Readers,
    verdict: int,
    by: int,
    number: int,
    body: int,
    change: Change,
    other: Change,
    in_head: bool,
    in_wraps: bool,
) -> None:
    # Its wraps verify over any head: such heads may be cached.
    rogue = ROGUES[number]
    envelope = sealed(rogue, body)
    if in_head:
        head = change(array(rogue.fields()))
        nonce = head[71:83]
        if len(nonce) == 12:
            rogue = rogue.but(counter=int.from_bytes(nonce[:4], "big"), tail=nonce[4:])
        envelope = rogue.envelope(b"x", head=head)
    if in_wraps:
        pieces = Pieces.of(envelope)
        envelope = pieces._replace(wraps=other(pieces.wraps)).join()
    readers.agreed(envelope, verdict, by)
    readers.agreed(sealed(rogue.but(counter=9), body), verdict, by)


def fronts(pieces: Pieces) -> Iterable[bytes]:
    """Yield a genuine start, changed or truncated at each of its bytes."""
    whole = pieces.join()
    end = 5 + len(binary(pieces.head)) + len(binary(pieces.tags)) + 3
    for at in range(end):
        for bit in (1, 128):
            yield whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        yield whole[:at]
        yield whole[:at] + whole[at + 1 :]
        yield whole[:at] + whole[at : at + 1] + whole[at:]


def test_nonce_and_time_of_every_form_and_range_are_judged_as_by_a_new_opener() -> None:
    # The wraps verify: only the numbers can be wrong.
    readers, opened = all_readers()[0], 0
    for counter, kind, time in itertools.product(COUNTERS, KINDS, TIMES):
        for number in (0, 9):
            rogue = ROGUES[number].but(counter=counter)
            head = new(counter, rogue.tail, kind, time)(array(rogue.fields()))
            opened += readers.agreed(rogue.envelope(b"x", head=head)).code == "opened"
    assert opened == 3 * 4 * 2


def test_no_byte_of_a_known_beginning_can_be_changed_unseen() -> None:
    readers = all_readers()[0]
    for pieces in (all_pieces()[0], all_pieces()[3], all_pieces()[-5]):
        for envelope in fronts(pieces):
            assert readers.agreed(envelope).code != "opened"


def test_the_headers_of_tags_in_every_form_are_judged_as_by_a_new_opener() -> None:
    # The rest has the announced length, so that only the form decides.
    def forms(tags: bytes) -> Sequence[bytes]:
        size = len(tags)
        return [
            form + size.to_bytes(width, "big")
            for form, width in (
                (b"\xc4", 1),
                (b"\xc5", 2),
                (b"\xc6", 4),
                (b"\xd9", 1),
                (b"\xc7", 2),
            )
            if size < 1 << 8 * width
        ]

    for readers in all_readers()[:4]:
        for pieces in all_pieces():
            front = b"xkm1\x96" + binary(pieces.head)
            rest = pieces.body() + binary(pieces.wraps)
            for form in forms(pieces.tags):
                readers.agreed(front + form + pieces.tags + rest)

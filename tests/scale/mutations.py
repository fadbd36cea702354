"""Mutated envelopes: the package and the reference implementation say the same of each.

Of every mutation (`mutating`), one reader opens

- with the policy *file*, as a payload and as a document: an opener that has opened everything
  before it in its unit, and for one of the two, drawn, an opener that is new;
- under *live*, and at a place in a *stream*, as one of the two, drawn: openers with the marks of
  the unit, whose clock goes on. Some messages of the stream are settled, as handled or as not, or
  released. Two readers have budgets for the marks of streams that overflow.

Every verdict is compared with the reference's: code, public code, whether a replay is pending, and
everything of an opened message. An exception that is not one of ours fails the run, on either side.

What is done to make it fast, and why that loses nothing. The reference's X25519, public keys and
Ed25519 checks are pure functions, and are remembered by their arguments. A reference verdict that
was made in a step before the kind of content counts (12) is taken for both kinds, and one made
before the memory counts (13) for all policies: the reference has no way by which these could
differ. Documents are compared by the contents of their parts; the layer of fields has a
differential test of its own.

A run is split into units of 1,000, each with a memory, clock and random numbers of its own, drawn
from the seed and the unit's number: a unit is repeated, and a run is continued, by these two.
"""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import Any, Final, Literal, NamedTuple

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    FIELDS,
    raw_secret,
    raw_user,
)
from tests.envelope.forge import Rogue
from tests.envelope.inside import open_at
from tests.reference import (
    Anyone,
    LiveMemory,
    Mapped,
    Only,
    Position,
    Reader,
    RefusalError,
    StreamMemory,
    crypto,
    ed25519,
    open_envelope,
)
from tests.reference import Limits as ReferenceLimits
from tests.reference.replay import Memory
from tests.scale.clock import NOW, Clock, driven
from tests.scale.mutating import AUDIENCES, SENDERS, Maker, Mutation
from tests.scale.outcome import Outcome, counted
from xkeymsg import (
    ANYONE,
    AtRest,
    Keyring,
    Limits,
    Live,
    Message,
    Opener,
    Recipient,
    Stream,
    StreamPosition,
    XKeyMsgError,
    XKeyPair,
    nkey,
)
from xkeymsg.limits import Replay

__all__ = ("UNIT", "DifferenceError", "mutations", "unit")

UNIT: Final = 1000
_STEP_OF_KIND, _STEP_OF_MEMORY = 12, 13

Policy = Literal["file", "live"]


class Verdict(NamedTuple):
    """The verdict on an envelope."""

    code: str
    outside: str = ""
    pending: bool | None = None
    content: object = None


class Theirs(NamedTuple):
    """The reference's verdict, and the step in which it was made."""

    verdict: Verdict
    step: int = 16
    head: Any = None


class Kind(NamedTuple):
    """One reader, for the package and for the reference, and what suits it."""

    keys: XKeyPair | Keyring
    senders: Any
    reader: Reader
    rogues: tuple[Rogue, ...]
    audiences: tuple[tuple[Recipient, ...], ...]
    signed: bool = False
    limits: Limits = Limits()
    replay_bytes: int = 64 << 20
    """Of the stream memory, of admitted senders and of others each."""
    pending: int = 65_536


_USERS: Final = {ALICE.public: ALICE_USER.public}
_ONLY: Final = Only({bytes(ALICE.public)})
_MAPPED: Final = Mapped({bytes(ALICE.public): raw_user(ALICE_USER)})
_BOB: Final = raw_secret(BOB)
_ALICES, _NAMED = SENDERS[:4], SENDERS[2:4]
_TO_BOB, _TO_USER = (AUDIENCES[0], AUDIENCES[2], AUDIENCES[6]), AUDIENCES[3:5]
KINDS: Final = (
    Kind(BOB, {ALICE.public}, Reader(keys=(_BOB,), admission=_ONLY), _ALICES, _TO_BOB),
    Kind(
        Keyring(BOB, user=BOB_USER.public),
        ANYONE,
        Reader(
            keys=(_BOB,),
            user=raw_user(BOB_USER),
            admission=Anyone(),
            subjects=("orders.*", "bills.new"),
        ),
        SENDERS[:7],
        AUDIENCES[:5],
        replay_bytes=2200,
        pending=6,
    ),
    Kind(
        Keyring(CAROL, retired=[BOB], user=BOB_USER.public, accept_unbound=False),
        _USERS,
        Reader(
            keys=(raw_secret(CAROL), _BOB),
            user=raw_user(BOB_USER),
            zero_user=False,
            admission=_MAPPED,
        ),
        _NAMED,
        _TO_USER,
    ),
    Kind(
        BOB,
        _USERS,
        Reader(keys=(_BOB,), admission=_MAPPED, subjects=("orders.new",), require_signature=True),
        _NAMED,
        _TO_BOB,
        signed=True,
    ),
    Kind(
        BOB,
        {ALICE.public},
        Reader(
            keys=(_BOB,),
            admission=_ONLY,
            limits=ReferenceLimits(
                envelope=900, recipients=2, parts=2, views=1, headers=1, array_bytes=60
            ),
        ),
        _ALICES,
        _TO_BOB,
        limits=Limits(envelope=900, recipients=2, parts=2, views=1, headers=1, message_array=60),
        replay_bytes=2200,
        pending=3,
    ),
)
_WEIGHTS: Final = (6, 3, 2, 2, 2)


class DifferenceError(Exception):
    """The package and the reference differ, or one of them raised what it may not."""


# --- the reference --------------------------------------------------------------------------------


def _theirs(
    envelope: bytes,
    kind: Kind,
    now: int,
    *,
    document: bool,
    memory: Memory | None = None,
    position: Position | None = None,
) -> Theirs:
    fields: dict[str, Any] = {name: getattr(kind.reader, name) for name in kind.reader.__slots__}
    reader = Reader(**fields | {"kind": "parts" if document else "payload"})
    try:
        opened = open_envelope(envelope, reader, now=now, memory=memory, position=position)
    except RefusalError as refused:
        pending = bool(refused.pending) if refused.code == "replay" else None
        return Theirs(Verdict(refused.code, refused.outside, pending), refused.step)
    content = dict(opened.fields) if opened.payload is None else opened.payload
    signer = opened.identity if opened.signed else None
    said = (
        content,
        opened.content_type,
        opened.headers,
        opened.admitted,
        None if signer is None else nkey.encode_public(nkey.Prefix.USER, signer),
        opened.head.subject,
        opened.message_id,
    )
    return Theirs(Verdict("opened", content=said), head=opened.head)


def _remember_pure_functions() -> None:
    """Keep what the reference computed of the same arguments."""
    for module, name in ((crypto, "x25519"), (crypto, "pub"), (ed25519, "fault")):
        function = getattr(module, name)
        if not hasattr(function, "cache_info"):
            setattr(module, name, lru_cache(maxsize=1 << 14)(function))


# --- the package ----------------------------------------------------------------------------------


def _ours(
    opener: Opener,
    envelope: bytes,
    kind: Kind,
    now: int,
    *,
    document: bool,
    position: StreamPosition | None = None,
) -> tuple[Verdict, Message | None]:
    try:
        if not document:
            message = opener.open(envelope, subject=kind.reader.subjects, position=position)
            content: tuple[object, ...] = (
                message.data,
                message.content_type,
                message.headers.pairs,
                message.admitted,
                message.signer,
                message.subject,
                message.message_id,
            )
            return Verdict("opened", content=content), message
        subjects = kind.reader.subjects
        opened = open_at(opener, now, envelope, FIELDS, subjects, position=position)
        head, fields, admitted, signer, content_type, headers = opened
        name = crypto.message_id(head.sender, head.ephemeral, head.nonce)
        content = fields, content_type, headers.pairs, admitted, signer, head.subject, name
        return Verdict("opened", content=content), None
    except XKeyMsgError as error:
        pending = getattr(error, "pending", None) if error.code == "replay" else None
        return Verdict(error.code, error.public_code, pending), None


# --- one unit -------------------------------------------------------------------------------------


@dataclass
class _Side:
    """One reader's openers, and the reference's memories beside them."""

    kind: Kind
    now: int
    old: Opener = field(init=False)
    live: Opener = field(init=False)
    stream: Opener = field(init=False)
    live_memory: LiveMemory = field(init=False)
    stream_memory: StreamMemory = field(init=False)
    places: list[Position] = field(default_factory=list)
    seen: dict[bytes, Position] = field(default_factory=dict)
    """Where an envelope was last; a redelivery has the same place."""
    in_hand: list[tuple[Message, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kind = self.kind
        small = replace(
            kind.limits,
            replay_bytes=kind.replay_bytes,
            replay_bytes_unadmitted=kind.replay_bytes,
            replay_pending=kind.pending,
        )
        self.old, self.live, self.stream = self.new(), self.new(Live()), self.new(Stream(), small)
        self.live_memory = LiveMemory(self.now)
        self.stream_memory = StreamMemory(
            ReferenceLimits(
                replay=kind.replay_bytes, replay_unadmitted=kind.replay_bytes, pending=kind.pending
            )
        )

    def new(self, replay: Replay = AtRest(), limits: Limits | None = None) -> Opener:
        kind = self.kind
        return Opener(
            kind.keys,
            kind.senders,
            replay=replay,
            require_signature=kind.signed,
            limits=limits or kind.limits,
        )

    def season(self, envelopes: list[bytes]) -> None:
        """Let the first opener remember other sessions."""
        for envelope in envelopes:
            _ours(self.old, envelope, self.kind, self.now, document=False)


class _Unit:
    def __init__(self, seed: int, number: int, clock: Clock) -> None:
        self.random = Random(f"{seed}/{number}")
        self.clock = clock
        self.maker = Maker(self.random)
        self.codes: Counter[str] = Counter()
        clock.ms = NOW
        self.sides = [_Side(kind, NOW) for kind in KINDS]
        others = [Rogue(ephemeral=SENDERS[n % 4].ephemeral, counter=n + 1) for n in range(8)]
        for side in self.sides:
            side.season([self.maker.sealed(rogue) for rogue in others])

    def run(self, count: int) -> None:
        """Judge so many mutations."""
        for number in range(count):
            random = self.random
            self.clock.ms += random.choice((0, 1, 10, 100, 1000))
            self.maker.now = self.clock.ms
            [side] = random.choices(self.sides, _WEIGHTS)
            self.maker.senders, self.maker.audiences = side.kind.rogues, side.kind.audiences
            mutation = self.maker.next()
            try:
                self.judge(mutation, side)
            except Exception as error:
                what = error if isinstance(error, DifferenceError) else traceback.format_exc()
                kind = KINDS.index(side.kind)
                raise DifferenceError(
                    f"mutation {number} of its unit, {mutation.way}, reader {kind}, at"
                    f" {self.clock.ms}: {what}\n{mutation.envelope.hex()}"
                ) from error

    def judge(self, mutation: Mutation, side: _Side) -> None:
        """Compare all verdicts on one mutation."""
        envelope, kind, now, random = mutation.envelope, side.kind, self.clock.ms, self.random
        theirs = [_theirs(envelope, kind, now, document=False)]
        both = theirs[0].step < _STEP_OF_KIND
        theirs.append(theirs[0] if both else _theirs(envelope, kind, now, document=True))
        for document in (False, True):
            ours, _ = _ours(side.old, envelope, kind, now, document=document)
            self.compare("seasoned", ours, theirs[document].verdict)
        document = random.random() < 0.5
        ours, _ = _ours(side.new(), envelope, kind, now, document=document)
        self.compare("new", ours, theirs[document].verdict)
        document = theirs[1].verdict.code == "opened" if random.random() < 0.8 else document
        self.live(envelope, side, theirs[document], document=document)
        self.stream(envelope, side, theirs[document], document=document)

    def compare(self, how: str, ours: Verdict, theirs: Verdict) -> None:
        """Count the code, or raise."""
        if ours != theirs:
            raise DifferenceError(f"{how}: {ours}, and the reference: {theirs}")
        self.codes[ours.code] += 1

    def live(self, envelope: bytes, side: _Side, known: Theirs, *, document: bool) -> None:
        kind, now = side.kind, self.clock.ms
        theirs = known
        if known.step >= _STEP_OF_MEMORY:
            theirs = _theirs(envelope, kind, now, document=document, memory=side.live_memory)
        ours, _ = _ours(side.live, envelope, kind, now, document=document)
        self.compare("live", ours, theirs.verdict)

    def stream(self, envelope: bytes, side: _Side, known: Theirs, *, document: bool) -> None:
        kind, now, random = side.kind, self.clock.ms, self.random
        if envelope in side.seen and random.random() < 0.5:
            place = side.seen[envelope]
        else:
            stored = now - random.choice((0, 0, 1, 2000, 299_000, 300_000, -30_000, -30_001))
            place = Position("S", len(side.places) + 1, stored)
            if side.places and random.random() < 0.2:
                # Another message there, stored at another time: one time for two is the caller's
                # mistake, and refused as such.
                place = random.choice(side.places)
                place = place._replace(stored_at=place.stored_at - len(side.seen) - 1)
                while place in side.places:
                    place = place._replace(stored_at=place.stored_at - 1)
            side.places.append(place)
        side.seen[envelope] = place
        theirs = known
        if known.step >= _STEP_OF_MEMORY:
            theirs = _theirs(
                envelope, kind, now, document=document, memory=side.stream_memory, position=place
            )
        ours, message = _ours(
            side.stream, envelope, kind, now, document=document, position=StreamPosition(*place)
        )
        self.compare("stream", ours, theirs.verdict)
        if message is not None:
            side.in_hand.append((message, theirs.head))
        if side.in_hand and random.random() < 0.7:
            self.settle(side)

    def settle(self, side: _Side) -> None:
        """Settle or release one of the messages of the stream, on both sides."""
        random = self.random
        message, head = side.in_hand.pop(random.randrange(len(side.in_hand)))
        if random.random() < 0.2:
            side.stream.release(message)
            side.stream_memory.release(head)
        else:
            handled = random.random() < 0.8
            side.stream.settle(message, handled=handled)
            side.stream_memory.settle(head, handled=handled)


def unit(seed: int, number: int, count: int = UNIT) -> Counter[str]:
    """Judge one unit, and return how often each code was the verdict.

    Raises:
        DifferenceError: If the two sides differ, or one raised what it may not.
    """
    _remember_pure_functions()
    with driven() as clock:
        try:
            work = _Unit(seed, number, clock)
        except Exception:  # noqa: BLE001 - whatever it is, it is told
            raise DifferenceError(f"before its mutations: {traceback.format_exc()}") from None
        work.run(count)
        return work.codes


# --- many -----------------------------------------------------------------------------------------


def _judged(seed: int, number: int, count: int) -> tuple[int, Counter[str], str]:
    try:
        return number, unit(seed, number, count), ""
    except DifferenceError as difference:
        return number, Counter(), str(difference)


def _results(seed: int, first: int, count: int) -> Iterator[tuple[int, Counter[str], str]]:
    """Judge the units of so many mutations in all processors."""
    sizes = [min(UNIT, count - start) for start in range(0, count, UNIT)]
    numbers = range(first, first + len(sizes))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        yield from pool.map(_judged, [seed] * len(sizes), numbers, sizes)


def mutations(seed: int, count: int, first: int = 0) -> Outcome:
    """Judge `count` mutations, from the unit `first` on."""
    outcome, codes, done = Outcome(), Counter[str](), 0
    for number, found, difference in _results(seed, first, count):
        codes += found
        done += min(UNIT, count - done)
        if difference:
            outcome.errors.append(f"seed {seed}, unit {number}: {difference}")
        if (number + 1) % 100 == 0:
            print(f"  {done:,} mutations, to unit {number}", flush=True)
    outcome.note(f"{done:,} mutations, {codes.total():,} verdicts: {counted(codes)}")
    return outcome

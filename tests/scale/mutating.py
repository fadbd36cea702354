"""Mutations of envelopes that know the format: most of them get past the first checks.

A mutation is what somebody on the way can make of genuine envelopes, or what a malicious sender can
seal: there the wraps verify over whatever the sender wrote, so that every later check is reached.
All of it is drawn from one seed; keys and genuine envelopes are the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import Any, Final, NamedTuple

from tests.envelope.cast import (
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    MALLORY,
    MALLORY_USER,
    NOW,
    pair,
    raw_user,
    to,
)
from tests.envelope.forge import (
    FIELDS,
    FRONT,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    VIEW_KEYS,
    Pieces,
    Rogue,
    grant_list,
    thief_of,
)
from tests.envelope.inside import user_seed
from tests.reference.content import MessageArray, pad
from tests.reference.encoding import array, binary, string, uint
from xkeymsg import Recipient

__all__ = ("AUDIENCES", "SENDERS", "Maker", "Mutation")

AS_USER: Final = Recipient(BOB.public, BOB_USER.public)
AUDIENCES: Final = (
    to(BOB),
    to(BOB),
    to(BOB, CAROL),
    (AS_USER,),
    (*to(BOB), AS_USER),
    to(CAROL),
    (*to(*map(pair, range(11))), *to(BOB)),
)
ALICE_NAMED: Final = raw_user(ALICE_USER)
SENDERS: Final = (
    Rogue(),
    Rogue(ephemeral=pair(2**70 + 1)),
    Rogue(identity=ALICE_NAMED, revision=300, expires_ms=NOW + 2**40),
    Rogue(identity=ALICE_NAMED, ephemeral=pair(2**70 + 2)),
    Rogue(identity=raw_user(MALLORY_USER)),
    Rogue(S=CAROL.public, secret=CAROL),
    Rogue(S=MALLORY.public, secret=MALLORY, ephemeral=pair(2**70 + 3)),
    thief_of(BOB),
)

_MAX_AGE, _SKEW = 300_000, 30_000
OFFSETS: Final = tuple(
    edge + by for edge in (0, -_MAX_AGE, _SKEW, -_SKEW, -_MAX_AGE - _SKEW) for by in (-1, 0, 1)
)
COUNTERS: Final = (0, 1, 2, 1023, 1024, 1025, 2**20 - 1, 2**20, 2**20 + 1, 2**32 - 1)
TIMES: Final = (0, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**64 - 1)
TAILS: Final = (b"random..", b"another.", b"random\0\xff", b"random\0\0")
SUBJECTS: Final = (
    "orders.new",
    "orders.old",
    "orders",
    "bills.new",
    "_XKM.x",
    "_INBOX.a.b",
    "",
    ".",
    "a..b",
    "a.*",
    "a.>",
    "a b",
    "ä.ö",
    "s" * 255,
    "s" * 256,
)
ITEMS: Final = (
    b"\x92", b"\x91", b"\x90", b"\x93", b"\xc0", b"\xa0", b"\xa1A", b"\xa1\xff", b"\xd9\x05value",
    b"\xd9\x20" + b"v" * 32, b"\xda\x01\x00" + b"v" * 256, b"\xdb\xff\xff\xff\xff",
    b"\xdc\x00\x10", b"\xdc\x03\xe9", b"\x80", b"\xc4\x01A", b"\x00", b"\xcd\x01\x00",
)  # fmt: skip
KINDS: Final = (FIELDS, FIELDS, FIELDS, METADATA, PAYLOAD, MESSAGE, 17, 18, 19, 4, 16, 255)
WIDER: Final = {
    0xC4: (b"\xc5\x00", b"\xc6\x00\x00\x00", b"\xd9", b"\xc7"),
    0xC5: (b"\xc6\x00\x00", b"\xda"),
}
"""Other headers for the same length, by the first byte of the shortest."""

ARRAYS: Final = (
    MessageArray("text/plain", (("A", "1"), ("a", "2"))),
    MessageArray(None, (("Trace", "x" * 40),)),
    MessageArray(),
)


class Mutation(NamedTuple):
    """Bytes, and which way they were made."""

    way: str
    envelope: bytes


class Maker:
    """Draws mutations from a seed; `now` is the time that the messages are made at."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._made: list[bytes] = []
        self._fit = False
        self.now = NOW
        self.senders: Sequence[Rogue] = SENDERS
        """The senders, and below the audiences, that suit the reader; mostly these are drawn."""
        self.audiences: Sequence[tuple[Recipient, ...]] = AUDIENCES
        self._ways: dict[Callable[[], bytes], int] = {
            self._genuine: 10,
            self._again: 10,
            self._bytes: 14,
            self._element: 12,
            self._crossed: 8,
            self._rows: 8,
            self._form: 6,
            self._head_value: 12,
            self._head_bytes: 9,
            self._body_bytes: 12,
            self._grant: 4,
            self._structure: 12,
            self._array: 9,
            self._padding: 4,
            self._beginning: 2,
        }

    def next(self) -> Mutation:
        """Draw the next one."""
        [way] = self._random.choices([*self._ways], [*self._ways.values()])
        self._fit = self._random.random() < 0.9
        return Mutation(way.__name__.strip("_"), way())

    # --- what is genuine --------------------------------------------------------------------------

    def rogue(self) -> Rogue:
        """Draw a sender, its audience, and the numbers of a message."""
        random = self._random
        sender = random.choice(self.senders if self._fit else SENDERS)
        audiences = self.audiences if self._fit else AUDIENCES
        counter = random.randint(1, 200) if random.random() < 0.9 else random.choice(COUNTERS[1:8])
        return replace(
            sender,
            to=sender.to if sender.secret is BOB else random.choice(audiences),
            counter=counter,
            tail=random.choice(TAILS) if random.random() < 0.1 else TAILS[0],
            created_ms=self.now - random.randint(0, 2000),
        )

    def sealed(self, rogue: Rogue) -> bytes:
        """Seal one of the kinds of contents."""
        random = self._random
        kind = random.randrange(7)
        content = random.randbytes(random.choice((0, 1, 16, 60, 200)))
        if kind == 0:
            return rogue.signed(user_seed(ALICE_USER), content)
        if kind == 1:
            whole = random.choice(ARRAYS).encode() + content
            return rogue.envelope(parts=[rogue.part(0, whole, MESSAGE)])
        if kind == 2:
            return rogue.envelope(parts=[rogue.part(0, pad(content, 5), PAYLOAD + PADDED)])
        if kind in (3, 4):
            return self._document(rogue, with_array=kind == 4)
        if kind == 5:
            return rogue.envelope(parts=[rogue.part(0, content, FIELDS)])
        return rogue.envelope(content)

    def _document(self, rogue: Rogue, *, with_array: bool) -> bytes:
        contents = [(FIELDS, b"name"), (FIELDS + PADDED, pad(b"dose", 3)), (FIELDS, b"bill")]
        if with_array:
            contents.append((METADATA, ARRAYS[0].encode()))
        parts = [rogue.part(j, content, kind) for j, (kind, content) in enumerate(contents)]
        last = [3] if with_array else []
        views = [rogue.view(v, grant_list([*own, *last])) for v, own in enumerate(([0, 2], [1]))]
        grants = [bytes([row % 2]) + VIEW_KEYS[row % 2] for row in range(len(rogue.to))]
        return rogue.envelope(parts=parts, views=views, grants=grants)

    def _genuine(self) -> bytes:
        envelope = self.sealed(self.rogue())
        self._made = [*self._made[-99:], envelope]
        return envelope

    def _again(self) -> bytes:
        """Return a genuine envelope that was there before."""
        return self._random.choice(self._made) if self._made else self._genuine()

    # --- on the way -------------------------------------------------------------------------------

    def _altered(self, data: bytes, times: int = 3) -> bytes:
        """Change some bytes: replace, flip, cut, double, insert."""
        random = self._random
        for _ in range(random.randint(1, times)):
            at = random.randint(0, len(data))
            size = random.choice((0, 1, 1, 2, 4, 32))
            how = random.randrange(6)
            if how == 0 and data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
            elif how == 1:
                data = data[:at] + random.randbytes(size) + data[at + size :]
            elif how == 2:
                data = data[:at] + data[at + size :]
            elif how == 3:
                data = data[:at] + data[at : at + size] + data[at:]
            elif how == 4:
                edge = random.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xCC, 0xCF, 0xDC, 0xFF))
                data = data[:at] + bytes([edge]) + data[at + 1 :]
            else:
                data = data[:at] + random.randbytes(size) + data[at:]
        return data

    def _bytes(self) -> bytes:
        return self._altered(self._genuine())

    def _beginning(self) -> bytes:
        data = self._genuine()
        return data[: self._random.randrange(len(data))] + self._random.randbytes(8)

    def _element(self) -> bytes:
        """Change one element; the lengths around it are right."""
        random, pieces = self._random, Pieces.of(self._genuine())
        name = random.choice(pieces._fields)
        value: Any = getattr(pieces, name)
        if isinstance(value, bytes):
            return self._with(pieces, name, self._altered(value, 1))
        items = list(value)
        how = random.randrange(4)
        if how == 0 and items:
            at = random.randrange(len(items))
            items[at] = self._altered(items[at], 1)
        elif how == 1 and items:
            del items[random.randrange(len(items))]
        elif how == 2 and items:
            items.append(random.choice(items))
        else:
            random.shuffle(items)
        return self._with(pieces, name, tuple(items))

    def _with(self, pieces: Pieces, name: str, value: Any) -> bytes:
        return pieces._replace(**{name: value}).join()

    def _crossed(self) -> bytes:
        """Put elements of two envelopes together."""
        one, other = Pieces.of(self._genuine()), Pieces.of(self._genuine())
        names = self._random.sample(Pieces._fields, self._random.randint(1, 3))
        return one._replace(**{name: getattr(other, name) for name in names}).join()

    def _rows(self) -> bytes:
        """Permute, drop, double or alter recipients."""
        random, rogue = self._random, self.rogue()
        if rogue.secret is not BOB:
            rogue = replace(rogue, to=random.choice(AUDIENCES[2:]))
        pieces = Pieces.of(self.sealed(rogue))
        count = len(pieces.tags) // 8
        rows = [(pieces.tags[8 * n : 8 * n + 8], pieces.wrap(n)) for n in range(count)]
        how, at = random.randrange(5), random.randrange(count)
        if how == 0:
            random.shuffle(rows)
        elif how == 1:
            del rows[at]
        elif how == 2:
            rows.insert(at, rows[random.randrange(count)])
        elif how == 3:
            rows[at] = (self._altered(rows[at][0], 1)[:8].ljust(8, b"\0"), rows[at][1])
        else:
            rows[at] = (rows[at][0], self._altered(rows[at][1], 1)[:49].ljust(49, b"\0"))
        if random.random() < 0.5:
            rows.sort()
        tags, wraps = b"".join(row[0] for row in rows), b"".join(row[1] for row in rows)
        return pieces._replace(tags=tags, wraps=wraps).join()

    def _form(self) -> bytes:
        """Write a length in another form; where the wraps cover it, they verify."""
        rogue = self.rogue()
        pieces = Pieces.of(self.sealed(rogue))
        elements = [
            binary(pieces.head),
            binary(pieces.tags),
            array(map(binary, pieces.views)),
            array(map(binary, pieces.parts)),
            binary(pieces.signature),
        ]
        at = self._random.randrange(6)
        if at < 5:
            elements[at] = self._wider(elements[at])
            grants = [self._random.choice((b"\0" + bytes([0xC0, 0]) * 16, b"\1" + VIEW_KEYS[1]))]
            front = FRONT + b"".join(elements) + binary(pieces.wraps)[: -len(pieces.wraps) or None]
            rows = rogue.rows()
            return rogue.wrapped(front, grants * len(rows))
        return FRONT + b"".join(elements) + self._wider(binary(pieces.wraps))

    def _wider(self, encoded: bytes) -> bytes:
        forms = WIDER.get(encoded[0])
        if forms is None:  # an array of up to 15
            return b"\xdc" + (encoded[0] & 15).to_bytes(2, "big") + encoded[1:]
        return self._random.choice(forms) + encoded[1:]

    # --- a malicious sender -----------------------------------------------------------------------

    def _head_value(self) -> bytes:
        """Seal with a number or name at an edge of what is valid."""
        random, rogue = self._random, self.rogue()
        for _ in range(random.randint(1, 2)):
            changes: Sequence[dict[str, Any]] = (
                {"counter": random.choice(COUNTERS)},
                {"tail": random.choice(TAILS)},
                {"created_ms": self.now + random.choice(OFFSETS)},
                {"created_ms": random.choice(TIMES)},
                {"subject": random.choice(SUBJECTS)},
                {"subject": random.choice(SUBJECTS[:4])},
                {"revision": random.choice((None, 0, 2**53 - 1, 2**53))},
                {"identity": random.choice((None, ALICE_NAMED, bytes(32)))},
                {"expires_ms": random.choice((None, self.now, self.now + 1, *TIMES))},
                {"ephemeral": pair(2**71 + random.randrange(8))},
            )
            rogue = replace(rogue, **random.choice(changes))
        return self.sealed(rogue)

    def _head_bytes(self) -> bytes:
        """Seal with a head whose bytes are changed, or with other encodings of its fields."""
        random, rogue = self._random, self.rogue()
        if random.random() < 0.5:
            return rogue.envelope(b"x", head=self._altered(array(rogue.fields())))
        fields = rogue.fields()
        at = random.randrange(6)
        other = (
            self._altered(fields[at], 1),
            binary(bytes(32)),
            binary(b"\1" + bytes(31)),
            string("orders.new"),
            uint(random.choice(TIMES)),
            array(rogue.attributes()[: random.randrange(4)]),
            array([*rogue.attributes(), b"\xc0"]),
            b"\xc0",
        )
        fields[at] = random.choice(other)
        if random.random() < 0.1:
            fields.append(b"\xc0")
        return rogue.envelope(b"x", head=array(fields))

    def _body_bytes(self) -> bytes:
        """Seal with a body whose bytes are changed: views, parts and signature."""
        random, rogue = self._random, self.rogue()
        pieces = Pieces.of(self.sealed(rogue))
        index = random.choice((0, 0, 0, 1, 255)) if pieces.views else random.choice((0, 0, 0, 1))
        key = VIEW_KEYS[index] if pieces.views else bytes([0xC0, 0]) * 16
        grants = [bytes([index]) + key] * len(rogue.to)
        return rogue.envelope(body=self._altered(pieces.body(), 2), grants=grants)

    def _grant(self) -> bytes:
        """Seal with an index or key in the wraps that fits no part or view."""
        rogue = self.rogue()
        pieces = Pieces.of(self.sealed(rogue))
        grants = [
            self._altered(b"\0" + bytes([0xC0, 0]) * 16, 1)[:33].ljust(33, b"\0") for _ in rogue.to
        ]
        return rogue.envelope(body=pieces.body(), grants=grants)

    def _structure(self) -> bytes:
        """Seal with parts and views of any kinds, in any number, granted in any way."""
        random, rogue = self._random, self.rogue()
        content = {METADATA: ARRAYS[0].encode(), 17: b"x\x80", 18: b"\x92\xc0\x90x\x80"}
        content |= {16: b"x\x80\0", 19: b"\x92\xc0\x90\x80\0", MESSAGE: b"\x92\xc0\x90x"}
        kinds = random.choices(KINDS, k=random.choice((0, 1, 1, 2, 2, 3, 5, 66)))
        if len(kinds) > 5:
            kinds = [FIELDS] * random.choice((63, 64, 65))
        parts = [rogue.part(j, content.get(kind, b"x"), kind) for j, kind in enumerate(kinds)]
        granted = sorted(random.sample(range(len(kinds)), random.randint(0, len(kinds))))
        if random.random() < 0.2:
            granted += [random.choice((0, len(kinds), 255))]
        views = [
            rogue.view(v, grant_list(granted)) for v in range(random.choice((0, 1, 1, 2, 2, 2)))
        ]
        index = random.choice((0, 0, 0, 1, 1, 2))
        keys = VIEW_KEYS if views else [bytes([0xC0, 0]) * 16] * 3
        signature = random.choice((b"",) * 5 + (bytes(64), bytes(63)))
        grants = [bytes([index]) + keys[index]] * len(rogue.to)
        return rogue.envelope(parts=parts, views=views, signature=signature, grants=grants)

    def _array(self) -> bytes:
        """Seal a message array of any items, at the front of a payload or as metadata."""
        random, rogue = self._random, self.rogue()
        plain = b"".join(random.choices(ITEMS, k=random.randrange(8)))
        if random.random() < 0.6:
            plain = b"\x92\xc0" + plain
        if random.random() < 0.3:
            plain = self._altered(random.choice(ARRAYS).encode(), 2)
        if random.random() < 0.5:
            parts = [rogue.part(0, b"", FIELDS), rogue.part(1, plain, METADATA)]
            views = [rogue.view(0, grant_list([0, 1]))]
            return rogue.envelope(parts=parts, views=views)
        if random.random() < 0.3:
            return rogue.envelope(parts=[rogue.part(0, plain + b"\x80", MESSAGE + PADDED)])
        return rogue.envelope(parts=[rogue.part(0, plain, MESSAGE)])

    def _padding(self) -> bytes:
        random, rogue = self._random, self.rogue()
        plain = random.randbytes(random.randrange(4))
        plain += random.choice((b"", b"\x80", b"\x80\0\0", b"\0", b"\x81\0", b"\x80\x80"))
        kind = random.choice((PAYLOAD, FIELDS)) + PADDED
        return rogue.envelope(parts=[rogue.part(0, plain, kind)])

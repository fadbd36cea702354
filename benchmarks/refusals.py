"""What it costs a reader to refuse: time, and X25519s, of what anybody can send it.

The reader is warm: it has opened messages of its one sender. `_contenders` makes what is hostile by
hand, from a genuine envelope:

    "xkm1" 0x96 | c4 len | head | c4 08 | tag | views, parts, signature | c4 31 | wrap
    0           5        7      +len          +2+8                      -51       -49
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import partial
from unittest import mock

from benchmarks.harness import Contender, repeated
from benchmarks.promises import Bound, Figure
from benchmarks.report import Report
from benchmarks.schemes.ours import SUBJECT
from xkeymsg import ANYONE, AtRest, Keyring, Opener, Sealer, XKeyMsgError, XKeyPair, primitives

__all__ = ("PROMISES", "refusals")

_TITLE = "refuse"
_COUNTS = "X25519s of a refusal"
_COLUMN = "X25519"

_OPENED = "opened, 1 KiB, for comparison"
_GARBAGE = "garbage, 1 KiB"
_ALMOST = "garbage behind the magic, 1 KiB"
_HEAD = "a head of 10 MB announced"
_LONG = "10 MB of anything"
_STRANGER = "a stranger who is not admitted"
_FOREIGN = "a stranger's session under an admitted key"
_OTHERS = "another session and 1,000 tags each time"
_KEYS = "1,000 tags in a known session, to a reader of 200 keys"
_MANY = "100,000 recipients"
_NESTED = "1 MB of nested arrays behind genuine tags"
_ALTERED = "an altered payload"
_REPLAYED = "a replay"
_ANYONE = "a new stranger, where anyone may send"

_NEW = 500
"""Envelopes in turn that each have to be new: more than a reader remembers of such ones."""

_MICROSECONDS = {_GARBAGE: 5, _STRANGER: 15, _FOREIGN: 15, _NESTED: 2000}

PROMISES: tuple[Bound | Figure, ...] = (
    *(Bound(title=_TITLE, of=of, target=f"< {most:,}") for of, most in _MICROSECONDS.items()),
    *(
        Figure(title=_COUNTS, of=of, column=_COLUMN, target="≤ 0")
        for of in (_GARBAGE, _STRANGER, _FOREIGN, _NESTED)
    ),
)


def refusals(report: Report) -> None:
    """Measure each refusal, and count its X25519s."""
    contenders = list(_contenders())
    counts = {contender.name: {_COLUMN: _count(contender)} for contender in contenders}
    report.measure(_TITLE, contenders, baseline=_OPENED)
    report.add_table(_COUNTS, counts)


def _count(contender: Contender) -> float:
    """Count what a second operation costs: before, a reader may have to get warm."""
    contender.batch(1)
    with mock.patch.object(primitives, "x25519", wraps=primitives.x25519) as x25519:
        contender.batch(1)
        return x25519.call_count


def _refuse(opener: Opener, envelope: bytes) -> None:
    try:
        opener.open(envelope, subject=SUBJECT)
    except XKeyMsgError:
        return
    raise AssertionError("an envelope that is not to be opened was opened")


def _contenders() -> Iterator[Contender]:
    alice, bob, stranger = (XKeyPair.generate() for _ in range(3))
    data, to = bytes(1024), [bob.public]
    file = Opener(bob, senders={alice.public}, replay=AtRest())
    genuine = Sealer(alice).seal(data, to=to, subject=SUBJECT)
    file.open(genuine, subject=SUBJECT)
    other = Sealer(stranger).seal(data, to=to, subject=SUBJECT)

    yield Contender(name=_OPENED, batch=repeated(partial(file.open, genuine, subject=SUBJECT)))
    for name, envelope in _hostile(genuine, other).items():
        yield Contender(name=name, batch=repeated(partial(_refuse, file, envelope)))

    others = itertools.cycle(
        [_to_others(genuine, bytes(XKeyPair.generate().public)) for _ in range(_NEW)]
    )
    yield Contender(name=_OTHERS, batch=repeated(lambda: _refuse(file, next(others))))

    own, sealer = [XKeyPair.generate() for _ in range(200)], Sealer(alice)
    several = Opener(Keyring(own[0], retired=own[1:]), senders={alice.public}, replay=AtRest())
    for pair in own:
        known = sealer.seal(data, to=[pair.public], subject=SUBJECT)
        several.open(known, subject=SUBJECT)
    others_in_ours = _to_others(known, known[44:76])
    yield Contender(name=_KEYS, batch=repeated(partial(_refuse, several, others_in_ours)))

    live = Opener(bob, senders={alice.public})
    live.open(genuine, subject=SUBJECT)
    yield Contender(name=_REPLAYED, batch=repeated(partial(_refuse, live, genuine)))

    anyone = Opener(bob, senders=ANYONE, replay=AtRest())
    strangers = itertools.cycle([_of_a_stranger() for _ in range(_NEW)])
    yield Contender(name=_ANYONE, batch=repeated(lambda: _refuse(anyone, next(strangers))))


def _of_a_stranger() -> bytes:
    return Sealer(XKeyPair.generate()).seal(
        bytes(1024), to=[XKeyPair.generate().public], subject=SUBJECT
    )


def _hostile(genuine: bytes, other: bytes) -> dict[str, bytes]:
    """Make envelopes from a genuine one, and from one of a stranger."""
    tags = 7 + genuine[6]
    head, body, wraps = genuine[:tags], tags + 2 + 8, genuine[-51:]
    many = b"".join(number.to_bytes(8, "big") for number in range(100_000))
    sender = slice(10, 42)
    return {
        _GARBAGE: bytes(1024),
        _ALMOST: b"xkm1\x96" + b"\xff" * 1019,
        _HEAD: b"xkm1\x96" + _bin32(bytes(10_000_000))[:1019],
        _LONG: bytes(10_000_000),
        _STRANGER: other,
        _FOREIGN: other[: sender.start] + genuine[sender] + other[sender.stop :],
        _MANY: head + _bin32(many) + genuine[body:-51] + _bin32(bytes(4_900_000)),
        _NESTED: genuine[:body] + b"\x91" * 1_000_000 + wraps,
        _ALTERED: genuine[:-60] + bytes([genuine[-60] ^ 1]) + genuine[-59:],
    }


def _to_others(genuine: bytes, ephemeral: bytes) -> bytes:
    """Make an envelope of the genuine sender, with any ephemeral key, for 1,000 others."""
    tags = b"".join(sorted(os.urandom(8) for _ in range(1000)))
    head, body = (
        genuine[7:44] + ephemeral + genuine[76 : 7 + genuine[6]],
        genuine[17 + genuine[6] :],
    )
    return b"".join(
        (genuine[:7], head, b"\xc5\x1f\x40", tags, body[:-51], b"\xc5\xbf\x68", bytes(49_000))
    )


def _bin32(data: bytes) -> bytes:
    """Encode bytes as msgpack's bin 32."""
    return b"\xc6" + len(data).to_bytes(4, "big") + data

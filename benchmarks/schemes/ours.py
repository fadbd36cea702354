"""xkeymsg: xkm1 within a session and as a first message, and one xkv1 for each recipient."""

from __future__ import annotations

from functools import partial

from benchmarks.schemes.scheme import Operations, Scheme
from xkeymsg import AtRest, Opener, Sealer, XKeyPair, xkv1

__all__ = ("COLD", "SUBJECT", "WARM", "XKV1")

SUBJECT = "orders.new"


def _warm(count: int, data: bytes) -> Operations:
    pair, pairs = XKeyPair.generate(), [XKeyPair.generate() for _ in range(count)]
    seal = partial(Sealer(pair).seal, data, to=[each.public for each in pairs], subject=SUBJECT)
    opener = Opener(pairs[-1], senders={pair.public}, replay=AtRest())
    sealed = seal()
    return Operations(seal, lambda: opener.open(sealed, subject=SUBJECT).data, len(sealed))


def _cold(count: int, data: bytes) -> Operations:
    """Make a sealer, or an opener, for each message: a program that has just started."""
    pair, pairs = XKeyPair.generate(), [XKeyPair.generate() for _ in range(count)]
    to, senders = [each.public for each in pairs], {pair.public}

    def seal() -> bytes:
        return Sealer(pair).seal(data, to=to, subject=SUBJECT)

    def open_last() -> bytes:
        opener = Opener(pairs[-1], senders=senders, replay=AtRest())
        return opener.open(sealed, subject=SUBJECT).data

    sealed = seal()
    return Operations(seal, open_last, len(sealed))


def _xkv1(count: int, data: bytes) -> Operations:
    pair, pairs = XKeyPair.generate(), [XKeyPair.generate() for _ in range(count)]
    to, sender = [each.public for each in pairs], pair.public

    def seal() -> list[bytes]:
        return [xkv1.seal(data, key=pair, to=recipient) for recipient in to]

    sealed = seal()
    open_last = partial(xkv1.open, sealed[-1], key=pairs[-1], sender=sender)
    return Operations(seal, open_last, sum(len(box) for box in sealed))


WARM = Scheme(name="xkeymsg", prepare=_warm)
COLD = Scheme(name="xkeymsg, first message", prepare=_cold)
XKV1 = Scheme(name="xkv1, a box each", prepare=_xkv1, boxes=True)

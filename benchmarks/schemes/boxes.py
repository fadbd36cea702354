"""PyNaCl as most programs use it: a new `Box`, and so an X25519, for each recipient and message."""

from __future__ import annotations

from nacl.public import Box, PrivateKey

from benchmarks.schemes.scheme import Operations, Scheme

__all__ = ("BOXES",)


def _boxes(count: int, data: bytes) -> Operations:
    private, privates = PrivateKey.generate(), [PrivateKey.generate() for _ in range(count)]
    public, publics = private.public_key, [each.public_key for each in privates]

    def seal() -> list[bytes]:
        return [Box(private, recipient).encrypt(data) for recipient in publics]

    def open_last() -> bytes:
        return Box(privates[-1], public).decrypt(sealed[-1])

    sealed = seal()
    return Operations(seal, open_last, sum(len(box) for box in sealed))


BOXES = Scheme(name="PyNaCl, a fresh Box each", prepare=_boxes, boxes=True)

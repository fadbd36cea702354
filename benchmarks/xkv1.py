"""xkv1: sealing and opening one message for one peer, and reading a key.

- *warm* is what a program pays for each message but the first between two keys, *cold* for that
  first one: a key pair that has met nobody yet, whose making is not measured.
- *libsodium* is the bare call, `crypto_box_easy_afternm` through PyNaCl's binding with a ready pair
  key and nonce: what is left over it is ours (nonce, checks, framing).
- *PyNaCl, fresh Box* is what programs write that make a `Box` for each message.
- Go and Node seal with the nkeys libraries of NATS, which agree on a pair key for each message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from functools import partial

from nacl import bindings
from nacl.public import Box, PrivateKey

from benchmarks.foreign import foreign_peers
from benchmarks.harness import Contender, once_each, repeated
from benchmarks.peer import Peer
from benchmarks.report import Promise, Report, human
from xkeymsg import XKey, XKeyPair, xkv1

__all__ = ("PROMISES", "suite")

_SIZES = (128, 1 << 10, 1 << 16, 1 << 20)
_WARM = "xkeymsg, warm"
_COLD = "xkeymsg, cold"
_BARE = "libsodium, bare call"
_FRESH = "PyNaCl, fresh Box"
_GO = "Go nkeys"

PROMISES = (
    Promise(title="seal 1 KiB", of=_WARM, against=_BARE, target="≤ 1.5"),
    Promise(title="seal 1 KiB", of=_FRESH, against=_WARM, target="≥ 7"),
    Promise(title="open 1 KiB", of=_FRESH, against=_WARM, target="≥ 7"),
    Promise(title="seal 1 KiB", of=_GO, against=_WARM, target="≥ 8"),
    Promise(title="open 1 KiB", of=_GO, against=_WARM, target="≥ 8"),
)


def suite(report: Report) -> None:
    """Measure seal and open at each size, then the reading of keys."""
    with foreign_peers(report.leave_out) as peers:
        for name, peer in peers.items():
            report.take_part(name, peer.name)
        for size in _SIZES:
            report.measure(f"seal {human(size)}", list(_seal(size, peers)), baseline=_WARM)
            report.measure(f"open {human(size)}", list(_open(size, peers)), baseline=_WARM)
    report.measure("read a public key", list(_parse()), baseline="XKey.parse")


def _seal(size: int, peers: dict[str, Peer]) -> Iterator[Contender]:
    ours, peer = XKeyPair.generate(), XKeyPair.generate().public
    private, public = PrivateKey.generate(), PrivateKey.generate().public_key
    key = bindings.crypto_box_beforenm(bytes(public), bytes(private))
    data, seed, nonce = bytes(size), ours.seed(), bytes(24)

    yield Contender(name=_WARM, batch=repeated(partial(xkv1.seal, data, key=ours, to=peer)))
    yield Contender(
        name=_COLD,
        batch=once_each(lambda: partial(xkv1.seal, data, key=XKeyPair.from_seed(seed), to=peer)),
    )
    yield Contender(
        name=_BARE,
        batch=repeated(partial(bindings.crypto_box_easy_afternm, data, nonce, key)),
    )
    yield Contender(name=_FRESH, batch=repeated(lambda: Box(private, public).encrypt(data)))
    for name, process in peers.items():
        yield Contender(name=name, batch=process.batch("seal", size))


def _open(size: int, peers: dict[str, Peer]) -> Iterator[Contender]:
    ours, peer = XKeyPair.generate(), XKeyPair.generate()
    private, public = PrivateKey.generate(), PrivateKey.generate().public_key
    key = bindings.crypto_box_beforenm(bytes(public), bytes(private))
    data, seed, nonce = bytes(size), ours.seed(), bytes(24)
    sealed, sender = xkv1.seal(data, key=peer, to=ours.public), peer.public
    boxed = bytes(Box(private, public).encrypt(data))
    bare = bindings.crypto_box_easy_afternm(data, nonce, key)

    yield Contender(name=_WARM, batch=repeated(partial(xkv1.open, sealed, key=ours, sender=sender)))
    yield Contender(
        name=_COLD,
        batch=once_each(
            lambda: partial(xkv1.open, sealed, key=XKeyPair.from_seed(seed), sender=sender)
        ),
    )
    yield Contender(
        name=_BARE,
        batch=repeated(partial(bindings.crypto_box_open_easy_afternm, bare, nonce, key)),
    )
    yield Contender(name=_FRESH, batch=repeated(lambda: Box(private, public).decrypt(boxed)))
    for name, process in peers.items():
        yield Contender(name=name, batch=process.batch("open", size))


def _parse() -> Iterator[Contender]:
    text = str(XKeyPair.generate().public)
    yield Contender(name="XKey.parse", batch=repeated(partial(XKey.parse, text)))
    yield Contender(name="base64.b32decode and checks", batch=repeated(partial(_plain, text)))


def _plain(text: str) -> bytes:
    """Read a key as the standard library suggests, with the same checks of form."""
    body = base64.b32decode(text)
    if len(body) != 35 or body[0] != 23 << 3:
        raise ValueError("not a curve key")
    if binascii.crc_hqx(body[:-2], 0) != int.from_bytes(body[-2:], "little"):
        raise ValueError("the checksum is wrong")
    return body[1:-2]

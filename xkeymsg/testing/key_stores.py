"""Checks that a provider of key stores obeys its protocol; for the tests of any provider.

Example:
    def test_my_provider():
        check_provider(MyProvider(), "an address with a key", bad_address="an address without")
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from xkeymsg import nkey, primitives, xkv1
from xkeymsg.ambient import random_bytes
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.protocol import KeyProvider, StoredKey, WritableProvider
from xkeymsg.key_stores.released_key import ReleasedKey
from xkeymsg.key_stores.store_keys import StoreKeyPair, StoreSigner
from xkeymsg.keys import XKeyPair
from xkeymsg.limits import AtRest
from xkeymsg.opener import Opener
from xkeymsg.sealer import Sealer

__all__ = ("check_key", "check_provider", "check_several", "check_writable")

_THREADS: Final = 8
_ROUNDS: Final = 5


def check_provider(provider: KeyProvider, address: str, *, bad_address: str) -> None:
    """Check a provider and all its keys at an address.

    Args:
        provider: The provider.
        address: An address with at least one key.
        bad_address: An address without a key.

    Raises:
        AssertionError: If the provider does not obey the protocol; says why.
    """
    keys = provider.keys(address)
    _require(len(keys) > 0, "keys() returned no key")
    publics = [key.public() for key in keys]
    again = [key.public() for key in provider.keys(address)]
    _require(publics == again, "keys() returned another order the second time")
    for key in keys:
        check_key(key)
    try:
        found = provider.keys(bad_address)
    except KeyStoreError:
        return
    _require(not found, "keys() found a key at the address without one")


def check_key(key: StoredKey) -> None:
    """Check one key: its names, what it computes, in many threads too, and what it refuses.

    Raises:
        AssertionError: If the key does not obey the protocol; says why.
    """
    for each in (*key.names, *key.names.values(), *key.describe()):
        _require(type(each) is str and each.isprintable(), "names and facts must be printable text")
    try:
        copy.copy(key)
    except TypeError:
        pass
    else:
        raise AssertionError("the key can be copied and pickled")
    if key.public().startswith("X"):
        _check_curve_key(key)
    else:
        _check_user_key(key)


def check_writable(provider: WritableProvider, address: str, *, other: str) -> None:
    """Check that a provider generates, imports and deletes keys; it leaves none behind.

    Args:
        provider: The provider.
        address: An address without a key.
        other: Another address without a key.

    Raises:
        AssertionError: If the provider does not obey the protocol; says why.
    """
    for kind in (nkey.Prefix.CURVE, nkey.Prefix.USER):
        _check_writing(provider, address, other, kind)
    _refuses(lambda: provider.put(address, "SX"), "put() accepted an invalid seed")


def check_several(provider: WritableProvider, address: str) -> None:
    """Check what rotation needs of an address: several keys, certificates, and one owner.

    Args:
        provider: The provider.
        address: An address for several keys, without any.

    Raises:
        AssertionError: If the provider does not obey the protocol; says why.
    """
    with provider.lock(address):
        _refuses(lambda: provider.lock(address).__enter__(), "lock() gave the lock twice")
        made = [provider.create(address, nkey.Prefix.CURVE).public() for _ in range(3)]
        _require(_publics(provider, address) == _publics(provider, address), "an order changed")
        _require(sorted(_publics(provider, address)) == sorted(made), "keys() lacks a new key")
        _require(not provider.certificates(address), "certificates() invented some")
        for public in made:
            provider.put_certificate(address, public, f"old.{public}")
            provider.put_certificate(address, public, f"new.{public}")
        expected = {public: f"new.{public}" for public in made}
        _require(dict(provider.certificates(address)) == expected, "put_certificate() failed")
        other = str(XKeyPair.generate().public)
        for text in ("", "two\nlines", "a" * 20_000, "ä", "\0"):
            put = partial(provider.put_certificate, address, made[0], text)
            _refuses(put, "put_certificate() accepted an unusable text")
        for name in (other, "", "../" + other):
            put = partial(provider.put_certificate, address, name, "x.y")
            _refuses(put, "put_certificate() accepted a key that is not there")
            _refuses(partial(provider.delete, address, name), "delete() invented a key")
        for public in made:
            provider.delete(address, public)
            del expected[public]
            _require(sorted(_publics(provider, address)) == sorted(expected), "delete() failed")
            left = dict(provider.certificates(address))
            _require(left == expected, "delete() left the certificate, or took another")
    with provider.lock(address):  # released above
        pass


def _check_writing(provider: WritableProvider, address: str, other: str, kind: nkey.Prefix) -> None:
    seed = nkey.encode_seed(kind, random_bytes(32))
    public = ReleasedKey(seed, ()).public()
    made = provider.create(address, kind)
    check_key(made)
    _refuses(lambda: provider.create(address, kind), "create() replaced a key")
    _refuses(lambda: provider.put(address, seed), "put() replaced a key")
    imported = provider.put(other, seed)
    check_key(imported)
    _require(imported.public() == public, "put() returned another public key")
    _require(public in _publics(provider, other), "the imported key is not found")
    _refuses(lambda: provider.delete(other, made.public()), "delete() deleted another key")
    for where, key in ((address, made.public()), (other, public)):
        provider.delete(where, key)
        _require(key not in _publics(provider, where), "delete() left the key")


def _publics(provider: KeyProvider, address: str) -> list[str]:
    try:
        return [key.public() for key in provider.keys(address)]
    except KeyStoreError:
        return []


def _check_curve_key(key: StoredKey) -> None:
    own, peer = StoreKeyPair(key), XKeyPair.generate()
    _refuses(lambda: key.sign(b"data"), "a curve key must not sign")
    _refuses(own.seed, "the seed must not be shown")
    box = xkv1.seal(b"data", key=own, to=peer.public)
    _require(xkv1.open(box, key=peer, sender=own.public) == b"data", "xkv1 differs")
    sealer = Sealer(peer)
    envelope = sealer.seal(b"data", to=[own.public], subject="test")
    opened = Opener(own, ANYONE, replay=AtRest()).open(envelope, subject="test")
    _require(opened.data == b"data", "xkm1 differs")
    sealer.close()

    def compute(number: int) -> bool:
        pair = XKeyPair(random_bytes(32))
        return key.dh(bytes(pair.public)) == pair._dh(own.public)  # noqa: SLF001

    _require(all(_in_threads(compute)), "dh() differs from X25519")


def _check_user_key(key: StoredKey) -> None:
    signer = StoreSigner(key)
    _refuses(lambda: key.dh(bytes(XKeyPair.generate().public)), "a user key must not agree")
    raw = nkey.decode_public(nkey.Prefix.USER, signer.public)

    def compute(number: int) -> bool:
        data = random_bytes(number)
        return primitives.ed25519_verify(raw, data, signer.sign(data))

    _require(all(_in_threads(compute)), "sign() makes no valid signatures")


def _in_threads(compute: Callable[[int], bool]) -> list[bool]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(compute, range(_THREADS * _ROUNDS)))


def _refuses(call: Callable[[], object], fault: str) -> None:
    try:
        call()
    except KeyStoreError:
        return
    raise AssertionError(fault)


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise AssertionError(fault)

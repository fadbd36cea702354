"""Key pairs and signers backed by a key store."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NoReturn

from xkeymsg import nkey, primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.display import SafeRepr
from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.key_stores.protocol import StoredKey
from xkeymsg.key_stores.providers import ask
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.refusals import refusing

__all__ = ("StoreKeyPair", "StoreSigner")

_PAIR_KEYS: Final = 1024
_SIGNATURE: Final = 64
_CHALLENGE: Final = b"\xffxkeymsg/key store/"
"""Signed once to check a key; no login nonce begins with 0xFF."""


class StoreKeyPair(XKeyPair):
    """A curve key pair whose secret stays in its store: `seed()` is refused.

    Creating it checks that the secret belongs to the public key.

    Args:
        key: The key in its store.

    Raises:
        KeyStoreError: If the store fails, or its public key does not belong to its secret.
    """

    __slots__ = ("_key",)

    @refusing
    def __init__(self, key: StoredKey) -> None:
        self._key = key
        try:
            self.public = XKey.parse(ask(key.public))
        except KeyFormatError as error:
            raise KeyStoreError(f"the key store has no usable curve key: {error}") from None

        @lru_cache(maxsize=_PAIR_KEYS)
        def pair_key(peer: bytes) -> bytes:
            return primitives.box_key_of(self._shared(peer))

        self._pair_key = pair_key
        check = XKeyPair(random_bytes(primitives.KEY_SIZE))
        if self._dh(check.public) != check._dh(self.public):  # noqa: SLF001 - private to the package
            raise KeyStoreError("the key store's secret does not belong to its public key")

    def seed(self) -> NoReturn:
        """Refuse: the secret stays in its store.

        Raises:
            KeyStoreError: Always.
        """
        raise KeyStoreError("this key does not leave its store")

    def _dh(self, peer: XKey) -> bytes | None:
        shared = self._shared(bytes(peer))
        return shared if any(shared) else None

    def _shared(self, peer: bytes) -> bytes:
        return _result(self._key.dh, peer, primitives.KEY_SIZE, "a shared secret")


class StoreSigner(SafeRepr):
    """A user key that signs in its store; a `Signer`.

    Creating it checks that the secret belongs to the public key.

    Args:
        key: The key in its store.

    Raises:
        KeyStoreError: If the store fails, or its public key does not belong to its secret.
    """

    __slots__ = ("_key", "public")

    @refusing
    def __init__(self, key: StoredKey) -> None:
        self._key = key
        self.public = ask(key.public)
        """The public key `U…`."""
        try:
            raw = nkey.decode_public(nkey.Prefix.USER, self.public)
        except KeyFormatError as error:
            raise KeyStoreError(f"the key store has no usable user key: {error}") from None
        check = _CHALLENGE + random_bytes(16)
        if not primitives.ed25519_verify(raw, check, self.sign(check)):
            raise KeyStoreError("the key store's secret does not belong to its public key")

    @property
    def public_key(self) -> bytes:
        """The public key as ASCII."""
        return self.public.encode()

    @refusing
    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature over `data`.

        Raises:
            KeyStoreError: If the store fails.
        """
        return _result(self._key.sign, data, _SIGNATURE, "a signature")

    def __repr__(self) -> str:
        return f"<StoreSigner {self.public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")


def _result(compute: Callable[[bytes], object], data: bytes, size: int, what: str) -> bytes:
    """Return what a store computes; its size is checked."""
    result = ask(compute, data)
    if type(result) is not bytes or len(result) != size:
        raise KeyStoreError(f"the key store did not return {what} of {size} bytes")
    return result

"""The protocols of key stores: a provider finds keys, and a stored key computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from xkeymsg.nkey import Prefix

__all__ = ("KeyProvider", "StoredKey", "WritableProvider")


class StoredKey(Protocol):
    """A secret key in a store; nothing returns the secret."""

    @property
    def names(self) -> Mapping[str, str]:
        """What `key_match_by` can compare, such as `{"Label": "alice", "Id": "01"}`."""

    def public(self) -> str:
        """Return the public key: `X…` of a curve key, `U…` of a user key."""

    def dh(self, peer: bytes) -> bytes:
        """Return the 32 bytes of the X25519 shared secret with a raw public key.

        Raises:
            KeyStoreError: If the store fails, or if this is not a curve key.
        """

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature over `data`.

        Raises:
            KeyStoreError: If the store fails, or if this is not a user key.
        """

    def describe(self) -> Sequence[str]:
        """Return what an operator should know about the key, one fact a line, without secrets."""


class KeyProvider(Protocol):
    """A kind of key store."""

    @property
    def addressed_by(self) -> str:
        """The default of `key_match_by`: what an address of this provider is, such as `Path`."""

    def keys(self, address: str) -> Sequence[StoredKey]:
        """Return the keys at an address, always in the same order.

        Raises:
            KeyStoreError: If the store cannot be read. The message shows no secret.
        """


@runtime_checkable
class WritableProvider(KeyProvider, Protocol):
    """A key store that makes and deletes keys, and keeps a certificate beside each.

    A store knows no states: certificates and the clock decide which key is current. Every change is
    on the disk when its method returns, and an interrupted one can be repeated. An address may be
    for one key only: it has no certificates and needs no lock.
    """

    def create(self, address: str, kind: Prefix) -> StoredKey:
        """Generate a key (`Prefix.CURVE` or `Prefix.USER`) at an address; never replace one.

        Raises:
            KeyStoreError: If the address is taken, or the store fails.
        """

    def put(self, address: str, seed: str) -> StoredKey:
        """Import a seed `SX…` or `SU…` at an address; never replace a key.

        Raises:
            KeyStoreError: If the address is taken, the seed is invalid, or the store fails.
        """

    def delete(self, address: str, public: str) -> None:
        """Delete the key at an address whose public key is `public`, then its certificate.

        A retired key without its certificate would look new; so the key goes first, and a
        certificate that an interruption leaves is deleted by the next call.

        Raises:
            KeyStoreError: If no such key is there, or the store fails.
        """

    def certificates(self, address: str) -> Mapping[str, str]:
        """Return the certificates at an address by public key; ignore those without a key.

        Raises:
            KeyStoreError: If the store fails.
        """

    def put_certificate(self, address: str, public: str, certificate: str) -> None:
        """Store the certificate of a key, instead of its earlier one: one line of ASCII text.

        Raises:
            KeyStoreError: If no such key is there, the text is unusable, or the store fails.
        """

    def lock(self, address: str) -> AbstractContextManager[None]:
        """Be the only process that changes an address with several keys; readers need no lock.

        Raises:
            StoreOwnedError: On entry, if another process is.
            KeyStoreError: If the address cannot be locked.
        """

    def ask_owner(self, address: str, at: int) -> None:
        """Ask the process that holds the lock to replace a key that is older than `at`, in seconds.

        Raises:
            KeyStoreError: If the store fails, or has no lock.
        """

    def asked(self, address: str) -> int:
        """Return the greatest time for which the owner was asked; 0 if it was not."""

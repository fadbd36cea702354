"""The base of providers that release a secret text to this process: a seed, or a token's PIN."""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from xkeymsg.display import SafeRepr
from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.nkey import UserKey
from xkeymsg.protected_seed import is_protected
from xkeymsg.refusals import refusing
from xkeymsg.text import without_mark
from xkeymsg.trust.creds import find_creds

__all__ = ("MOST_SECRET", "ReleasedKey", "ReleasingProvider", "readable", "single_seed")

MOST_SECRET: Final = 4096
"""Bytes of a secret text."""


class ReleasingProvider:
    """A provider with one secret text at each address; the key computes in this process."""

    addressed_by = "Name"

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the secret text at an address, at most `limit` bytes.

        Raises:
            KeyStoreError: If it cannot be read.
        """
        raise NotImplementedError

    def facts(self, address: str) -> Sequence[str]:
        """Return what an operator should know about a key at this address."""
        raise NotImplementedError

    @refusing
    def keys(self, address: str) -> Sequence[ReleasedKey]:
        """Return the one key at an address.

        Raises:
            KeyStoreError: If it cannot be read, or is not one seed.
        """
        return (ReleasedKey(single_seed(self.read(address)), self.facts(address)),)


def readable(descriptor: int, seconds: float) -> bool:
    """Wait until a descriptor can be read, or has ended; return whether that happened in time."""
    poll = select.poll()  # unlike select(), for every number
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def single_seed(content: bytes) -> str:
    """Return the seed of a text: the one of a `.creds` file, or else the only line with one.

    Raises:
        KeyStoreError: If there is not exactly one line.
    """
    if len(content) > MOST_SECRET:
        raise KeyStoreError(f"the secret is longer than {MOST_SECRET} bytes")
    text = without_mark(content).decode("ascii", "replace")
    seed = find_creds(text)[1]
    if seed is not None:
        return seed
    lines = [line.strip() for line in text.splitlines()]
    seeds = [line for line in lines if line and not line.startswith("#")]
    if len(seeds) != 1:
        found = f"{len(seeds)} lines" if seeds else "nothing"
        raise KeyStoreError(f"expected one line with a seed SX… or SU…, found {found}")
    if is_protected(seeds[0]):
        raise KeyStoreError("the seed is protected with a passphrase: use protected:PATH")
    return seeds[0]


class ReleasedKey(SafeRepr):
    """A key whose seed its store has released to this process.

    Args:
        seed: A seed `SX…` or `SU…`.
        facts: What `describe` returns.

    Raises:
        KeyStoreError: If it is neither.
    """

    __slots__ = ("_facts", "_key")

    @refusing
    def __init__(self, seed: str, facts: Sequence[str]) -> None:
        self._facts = tuple(facts)
        self._key: XKeyPair | UserKey
        try:
            self._key = UserKey(seed) if seed.startswith("SU") else XKeyPair.from_seed(seed)
        except KeyFormatError as error:
            raise KeyStoreError(str(error)) from None

    @property
    def names(self) -> Mapping[str, str]:
        """Return no names: the address has selected the key."""
        return {}

    def public(self) -> str:
        """Return the public key."""
        return str(self._key.public)

    @refusing
    def dh(self, peer: bytes) -> bytes:
        """Return the X25519 shared secret; 32 zero bytes if the peer has a small order."""
        if not isinstance(self._key, XKeyPair):
            raise KeyStoreError("a user key does not agree on secrets: expected a curve key")
        return self._key._dh(XKey(peer)) or bytes(32)  # noqa: SLF001 - private to the package

    @refusing
    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature."""
        if isinstance(self._key, XKeyPair):
            raise KeyStoreError("a curve key does not sign: expected a user key")
        return self._key.sign(data)

    def describe(self) -> Sequence[str]:
        """Return the facts."""
        return self._facts

    def __repr__(self) -> str:
        return f"<ReleasedKey {self.public()}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

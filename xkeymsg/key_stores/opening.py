"""Finds a key in a store, with the vocabulary of NATS for certificates in stores (its ADR-39).

`key_store` is `PROVIDER` or `PROVIDER:ADDRESS`. `key_match` is the address if `key_store` has no
address; otherwise it must equal a name of the key.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Final

from xkeymsg.display import cut
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.protocol import StoredKey, WritableProvider
from xkeymsg.key_stores.providers import Store, ask, parse_store
from xkeymsg.key_stores.store_keys import StoreKeyPair, StoreSigner
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Signer, is_public
from xkeymsg.refusals import refusing
from xkeymsg.text import masked

__all__ = (
    "describe",
    "find_key",
    "find_keys",
    "list_certificates",
    "list_keys",
    "open_key",
    "open_keys",
    "open_signer",
)

_PUBLIC: Final = "PublicKey"


@refusing
def open_key(store: str, *, match_by: str | None = None, match: str | None = None) -> XKeyPair:
    """Open a curve key in a store, such as `file:own.seed` or `systemd:xkey`.

    Args:
        store: `PROVIDER` or `PROVIDER:ADDRESS`.
        match_by: What `match` is: `PublicKey`, another name that the provider gives its keys, or by
            default the provider's kind of address.
        match: The term, which must be equal.

    Raises:
        KeyStoreError: If the key is not found, cannot be used, or does not belong to its public
            key.
    """
    return StoreKeyPair(find_key(store, "X", match_by=match_by, match=match))


@refusing
def open_keys(
    store: str, *, match_by: str | None = None, match: str | None = None
) -> Sequence[XKeyPair]:
    """Open all curve keys of a store that match; a warning says which one is the first.

    Raises:
        KeyStoreError: As `open_key`.
    """
    keys = find_keys(store, "X", match_by=match_by, match=match)
    if len(keys) > 1:
        _warn(f"{keys[0].public()} seals, all open messages; set key_match", len(keys))
    return [StoreKeyPair(key) for key in keys]


@refusing
def open_signer(store: str, *, match_by: str | None = None, match: str | None = None) -> Signer:
    """Open a user key in a store; see `open_key`.

    Raises:
        KeyStoreError: If the key is not found, cannot be used, or does not belong to its public
            key.
    """
    return StoreSigner(find_key(store, "U", match_by=match_by, match=match))


@refusing
def list_keys(store: str) -> Sequence[StoredKey]:
    """Return all keys of a store.

    Raises:
        KeyStoreError: If the store cannot be read.
    """
    return _keys(parse_store(store))


@refusing
def list_certificates(store: str) -> Mapping[str, str]:
    """Return the certificates that a store keeps beside its keys, by public key; not verified.

    Raises:
        KeyStoreError: If the store cannot be read.
    """
    place = parse_store(store)
    if not isinstance(place.provider, WritableProvider):
        return {}
    return ask(place.provider.certificates, place.address)


@refusing
def describe(key: StoredKey) -> Sequence[str]:
    """Return what an operator should know about a key.

    Raises:
        KeyStoreError: If the store fails.
    """
    return [str(fact) for fact in ask(key.describe)]


@refusing
def find_key(
    store: str | Store, letter: str = "", *, match_by: str | None = None, match: str | None = None
) -> StoredKey:
    """Return the first key that matches; a second one causes a warning.

    Args:
        store: `PROVIDER` or `PROVIDER:ADDRESS`, or a parsed one.
        letter: The first letter of its public key: `X` or `U`.
        match_by: See `open_key`.
        match: See `open_key`.

    Raises:
        KeyStoreError: If the store cannot be read, or has no such key.
    """
    keys = find_keys(store, letter, match_by=match_by, match=match)
    if len(keys) > 1:
        _warn(f"the first is used: {keys[0].public()}", len(keys))
    return keys[0]


def find_keys(
    store: str | Store, letter: str = "", *, match_by: str | None = None, match: str | None = None
) -> Sequence[StoredKey]:
    """Return all keys that match, at least one; the arguments and errors are those of `find_key`.

    Raises:
        KeyStoreError: If the store cannot be read, or has no such key.
    """
    place = store if isinstance(store, Store) else parse_store(store)
    by = match_by or place.provider.addressed_by
    if match is None:
        if match_by is not None:
            raise KeyStoreError("key_match_by requires key_match")
    elif by.lower() == place.provider.addressed_by.lower():
        if place.address:
            raise KeyStoreError(
                f"key_match: the key store names its {by} already; remove one of them"
            )
        place, match = place._replace(address=match), None
    keys = _keys(place)
    if match is not None:
        keys = [key for key in keys if _name(key, by) == match]
    several = [key for key in keys if key.public().startswith(letter)]
    if not several:
        others = f" (its public key is not {letter}…)" if keys else ""
        raise KeyStoreError(f"unable to find key in store{others}")
    return several


def _warn(text: str, count: int) -> None:
    said = f"{count} keys match in the key store; {text}"
    warnings.warn(said, RuntimeWarning, stacklevel=4)


def _name(key: StoredKey, by: str) -> str | None:
    names: Mapping[str, str] = ask(lambda: {**key.names, _PUBLIC: key.public()})
    found = {str(name).lower(): value for name, value in names.items()}
    if by.lower() not in found:
        known = cut(", ".join(sorted(map(str, names))))
        raise KeyStoreError(
            f"key match by type not implemented: {masked(cut(by))!a} (known here: {known})"
        )
    return found[by.lower()]


def _keys(store: Store) -> Sequence[StoredKey]:
    keys = ask(lambda: tuple(store.provider.keys(store.address)))
    for key in keys:
        public: object = ask(key.public)
        if not isinstance(public, str) or not is_public(public):  # it will be shown
            raise KeyStoreError("the key store did not return a public key X… or U…")
    return keys

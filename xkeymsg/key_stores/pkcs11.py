"""Keys on PKCS#11 tokens, which compute with them and do not release them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from xkeymsg import nkey, primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.key_stores.ownership import (
    ask_owner,
    asked,
    check_certificate,
    held_lock,
    is_certificate,
)
from xkeymsg.key_stores.passphrases import released_text
from xkeymsg.key_stores.pkcs11_uri import Pkcs11Uri, parse_uri
from xkeymsg.nkey import Prefix
from xkeymsg.refusals import refusing

try:
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

    from xkeymsg.key_stores.pkcs11_key import TokenKey, key_search
    from xkeymsg.key_stores.pkcs11_token import Token, find_token, load_module
except ModuleNotFoundError:
    raise KeyStoreError("python-pkcs11 is not installed: pip install 'xkeymsg[pkcs11]'") from None

__all__ = ("Pkcs11Provider", "open_token")

_CURVES: Final = {
    bytes.fromhex("06032b656e"): Prefix.CURVE,
    b"\x13\x0acurve25519": Prefix.CURVE,
    bytes.fromhex("06032b6570"): Prefix.USER,
    b"\x13\x0cedwards25519": Prefix.USER,
}
"""CKA_EC_PARAMS of X25519 and Ed25519, as an object identifier or as a name."""
_OIDS: Final = {kind: params for params, kind in reversed(_CURVES.items())}
_SECRET: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
_APPLICATION: Final = "xkeymsg"
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


class Pkcs11Provider:
    """Tokens: smart cards, security modules, SoftHSM.

    An address is a PKCS#11 URI (RFC 7512) without `pkcs11:`: `token=…;object=…?pin-source=…`, where
    `pin-source` is another key store with the PIN. With `x-lock=PATH`, a label has several keys,
    and certificates in data objects of the same label.

    Args:
        try_pin: Whether to try the PIN even if the token reports a wrong one before.
    """

    addressed_by = "Uri"

    def __init__(self, *, try_pin: bool = False) -> None:
        self._try_pin = try_pin

    @refusing
    def keys(self, address: str) -> Sequence[TokenKey]:
        """Return the X25519 and Ed25519 keys that match a URI, ordered by label and id."""
        uri = parse_uri(address)
        return self._keys(self._token(uri), uri)

    @refusing
    def create(self, address: str, kind: Prefix) -> TokenKey:
        """Generate a key on the token, which cannot be extracted."""
        uri = parse_uri(address)
        token, names = self._vacant(uri)

        def generate(session: Any) -> None:
            _destroy_public(session, names)
            parameters = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _OIDS[kind]}, local=True
            )
            parameters.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=names[Attribute.LABEL],
                id=names[Attribute.ID],
                capabilities=_use(kind),
                private_template=_SECRET,
            )

        token.write(generate)
        return self._only(token, uri._replace(id=names[Attribute.ID]))

    @refusing
    def put(self, address: str, seed: str) -> TokenKey:
        """Import a seed; the token reports that it was imported."""
        uri, secret, public, kind = parse_uri(address), *_decoded(seed)
        token, names = self._vacant(uri)
        common = {
            **names, Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.EC_PARAMS: _OIDS[kind],
            Attribute.TOKEN: True,
        }  # fmt: skip
        uses = Attribute.DERIVE if kind is Prefix.CURVE else Attribute.SIGN

        def create(session: Any) -> None:
            _destroy_public(session, names)
            session.create_object({  # first: a private key without it cannot be used
                **common, Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.EC_POINT: b"\x04\x20" + public,
            })  # fmt: skip
            session.create_object({
                **common, **_SECRET, Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.VALUE: secret, uses: True,
            })  # fmt: skip

        token.write(create)
        return self._only(token, uri._replace(id=names[Attribute.ID]))

    @refusing
    def delete(self, address: str, public: str) -> None:
        """Delete a key from the token, then its public key and its certificate."""
        uri = parse_uri(address)
        token = self._token(uri)
        found = [key for key in self._keys(token, uri) if key.public() == public]
        left = uri.lock is not None and public in self._stored(token, uri)
        if len(found) != 1 and not left:
            raise KeyStoreError("unable to find key in store")

        def destroy(session: Any) -> None:
            for key in found:
                names = {Attribute.ID: key.id, Attribute.LABEL: key.label}
                search = {**names, Attribute.CLASS: ObjectClass.PRIVATE_KEY}
                for each in list(session.get_objects(search)):
                    each.destroy()
                _destroy_public(session, names)
            if uri.lock is not None:
                for each, name, _ in _certificates(session, uri):
                    if name == public:
                        each.destroy()

        token.write(destroy)

    @refusing
    def certificates(self, address: str) -> Mapping[str, str]:
        """Return the certificates of a label with several keys."""
        uri = parse_uri(address)
        return {} if uri.lock is None else self._stored(self._token(uri), uri)

    @refusing
    def put_certificate(self, address: str, public: str, certificate: str) -> None:
        """Store a certificate in a new data object, then delete its earlier ones."""
        uri, text = _several(address), check_certificate(certificate)
        token = self._token(uri)
        if public not in {key.public() for key in self._keys(token, uri)}:
            raise KeyStoreError("unable to find key in store")

        def put(session: Any) -> None:
            before = [each for each in _certificates(session, uri) if each[1] == public]
            number = max((number for _, _, number in before), default=0) + 1
            session.create_object({
                Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True,
                Attribute.PRIVATE: True, Attribute.LABEL: uri.object,
                Attribute.APPLICATION: f"{_APPLICATION} {public} {number}",
                Attribute.VALUE: text.encode(),
            })  # fmt: skip
            for each, _, _ in before:
                each.destroy()

        token.write(put)

    def ask_owner(self, address: str, at: int) -> None:
        """Ask the owner of a label to replace a key that is older than `at`."""
        ask_owner(Path(str(_several(address).lock)), at)

    def asked(self, address: str) -> int:
        """Return the time for which the owner of a label was asked; 0 if it was not."""
        lock = parse_uri(address).lock
        return 0 if lock is None else asked(Path(lock))

    @contextmanager
    def lock(self, address: str) -> Iterator[None]:
        """Lock the file of `x-lock`, for this host: a token has no locks."""
        if parse_uri(address).lock is None:
            yield
            return
        with held_lock(Path(str(_several(address).lock))):
            yield

    def _stored(self, token: Token, uri: Pkcs11Uri) -> dict[str, str]:
        def read(session: Any) -> dict[str, bytes]:
            found = sorted(_certificates(session, uri), key=lambda each: each[2])
            return {public: bytes(each[Attribute.VALUE]) for each, public, _ in found}

        stored = {
            public: text.decode("ascii", "replace") for public, text in token.run(read).items()
        }
        return {public: text for public, text in stored.items() if is_certificate(text)}

    def _token(self, uri: Pkcs11Uri) -> Token:
        return open_token(uri, try_pin=self._try_pin)

    def _keys(self, token: Token, uri: Pkcs11Uri) -> list[TokenKey]:
        search = key_search(uri) | {Attribute.KEY_TYPE: KeyType.EC_EDWARDS}

        def find(session: Any) -> list[tuple[str, bytes, Prefix]]:
            found = []
            for each in list(session.get_objects(search)):
                kind = _CURVES.get(bytes(each[Attribute.EC_PARAMS]))
                if kind is not None:
                    found.append((each[Attribute.LABEL], bytes(each[Attribute.ID]), kind))
            return sorted(found)

        keys = []
        for label, identifier, kind in token.run(find):
            try:
                keys.append(TokenKey(token, label, identifier, kind, allowed=uri.extractable))
            except KeyStoreError as error:
                warnings.warn(
                    f"key {label!a} of the token {token.label!a} is skipped: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return keys

    def _only(self, token: Token, uri: Pkcs11Uri) -> TokenKey:
        keys = self._keys(token, uri)
        if len(keys) != 1:
            raise KeyStoreError(f"the token {token.label!a} cannot use the new key")
        return keys[0]

    def _vacant(self, uri: Pkcs11Uri) -> tuple[Token, dict[Attribute, Any]]:
        """Return the token, and the names of a new key on it."""
        if uri.object is None:
            raise KeyStoreError("pkcs11: a new key needs object=LABEL")
        token = self._token(uri)
        search = key_search(uri if uri.lock is not None else uri._replace(id=None))
        if (uri.lock is None or uri.id is not None) and token.run(
            lambda session: list(session.get_objects(search))
        ):
            raise KeyStoreError(f"the token {token.label!a} has a key of this label already")
        return token, {Attribute.LABEL: uri.object, Attribute.ID: uri.id or random_bytes(8)}


def open_token(uri: Pkcs11Uri, *, try_pin: bool = False) -> Token:
    """Return the only token that matches a URI, logged in; see `find_token`."""
    pin = None if uri.pin_source is None else partial(released_text, uri.pin_source, "pin-source")
    return find_token(load_module(uri.module), uri.token, pin, try_pin=try_pin)


def _several(address: str) -> Pkcs11Uri:
    uri = parse_uri(address)
    if uri.object is None or not (uri.lock or "").startswith("/"):
        raise KeyStoreError(
            "pkcs11: certificates and several keys need object=LABEL and x-lock=PATH, an absolute"
            " path"
        )
    return uri


def _certificates(session: Any, uri: Pkcs11Uri) -> Iterator[tuple[Any, str, int]]:
    """Yield each object with a certificate, its public key, and a number: the greatest counts."""
    search = {
        Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: uri.object,
        Attribute.PRIVATE: True,  # objects that need no PIN could be anyone's
    }  # fmt: skip
    for each in list(session.get_objects(search)):
        match str(each[Attribute.APPLICATION]).split(" "):
            case [name, public, number] if name == _APPLICATION and _NUMBER.fullmatch(number):
                yield each, public, int(number)


def _destroy_public(session: Any, names: Mapping[Attribute, Any]) -> None:
    """Destroy the public key of a deleted key, or one that an interruption has left."""
    search = {**names, Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    for each in list(session.get_objects(search)):
        each.destroy()


def _use(kind: Prefix) -> MechanismFlag:
    if kind is Prefix.CURVE:
        return MechanismFlag.DERIVE
    return MechanismFlag.SIGN | MechanismFlag.VERIFY


def _decoded(seed: str) -> tuple[bytes, bytes, Prefix]:
    """Return the secret, the public key and the kind of a seed."""
    try:
        if seed.startswith("SU"):
            key = nkey.UserKey(seed)
            public = nkey.decode_public(Prefix.USER, key.public)
            return nkey.decode_seed(Prefix.USER, seed), public, Prefix.USER
        secret = nkey.decode_seed(Prefix.CURVE, seed)
    except KeyFormatError as error:
        raise KeyStoreError(str(error)) from None
    return secret, primitives.x25519_public(secret), Prefix.CURVE

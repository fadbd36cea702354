"""Keys on PKCS#11 tokens, which compute with them and do not release them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from xkeymsg import nkey, primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.key_stores.environment import EnvironmentProvider
from xkeymsg.key_stores.pkcs11_uri import Pkcs11Uri, parse_uri
from xkeymsg.key_stores.providers import parse_store
from xkeymsg.key_stores.released import ReleasingProvider
from xkeymsg.nkey import Prefix
from xkeymsg.refusals import refusing
from xkeymsg.shown import SafeRepr

try:
    from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
    from pkcs11.exceptions import AttributeSensitive, PKCS11Error, TemplateInconsistent

    from xkeymsg.key_stores.pkcs11_token import Token, find_token, load_module
except ModuleNotFoundError:
    raise KeyStoreError("python-pkcs11 is not installed: pip install 'xkeymsg[pkcs11]'") from None

__all__ = ("Pkcs11Provider", "TokenKey", "open_token")

_CURVES: Final = {
    bytes.fromhex("06032b656e"): Prefix.CURVE,
    b"\x13\x0acurve25519": Prefix.CURVE,
    bytes.fromhex("06032b6570"): Prefix.USER,
    b"\x13\x0cedwards25519": Prefix.USER,
}
"""CKA_EC_PARAMS of X25519 and Ed25519, as an object identifier or as a name."""
_OIDS: Final = {kind: params for params, kind in reversed(_CURVES.items())}
_BASE: Final = bytes([9]) + bytes(31)
"""The base point of X25519: the shared secret with it is the public key."""
_SECRET: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
_DERIVED: Final = {
    Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False,
}  # fmt: skip
"""The derived secret, not the key, is read from the token."""


class Pkcs11Provider:
    """Tokens: smart cards, security modules, SoftHSM.

    An address is a PKCS#11 URI (RFC 7512) without `pkcs11:`: `token=…;object=…?pin-source=…`, where
    `pin-source` is another key store with the PIN.

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
            session.create_object({
                **common, **_SECRET, Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.VALUE: secret, uses: True,
            })  # fmt: skip
            session.create_object({
                **common, Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.EC_POINT: b"\x04\x20" + public,
            })  # fmt: skip

        token.write(create)
        return self._only(token, uri._replace(id=names[Attribute.ID]))

    @refusing
    def delete(self, address: str, public: str) -> None:
        """Delete a key from the token, with its public key."""
        uri = parse_uri(address)
        token = self._token(uri)
        found = [key for key in self._keys(token, uri) if key.public() == public]
        if len(found) != 1:
            raise KeyStoreError("unable to find key in store")
        search = {Attribute.ID: found[0].id, Attribute.LABEL: found[0].label}

        def destroy(session: Any) -> None:
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
                for each in list(session.get_objects({**search, Attribute.CLASS: kind})):
                    each.destroy()

        token.write(destroy)

    def _token(self, uri: Pkcs11Uri) -> Token:
        return open_token(uri, try_pin=self._try_pin)

    def _keys(self, token: Token, uri: Pkcs11Uri) -> list[TokenKey]:
        search: dict[Attribute, Any] = {
            Attribute.CLASS: ObjectClass.PRIVATE_KEY,
            Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
        }
        if uri.object is not None:
            search[Attribute.LABEL] = uri.object
        if uri.id is not None:
            search[Attribute.ID] = uri.id

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
        search = {Attribute.LABEL: uri.object}
        if token.run(lambda session: list(session.get_objects(search))):
            raise KeyStoreError(f"the token {token.label!a} has an object of this label already")
        return token, {Attribute.LABEL: uri.object, Attribute.ID: uri.id or random_bytes(8)}


def open_token(uri: Pkcs11Uri, *, try_pin: bool = False) -> Token:
    """Return the only token that matches a URI, logged in; see `find_token`."""
    pin = None if uri.pin_source is None else partial(_pin, uri.pin_source)
    return find_token(load_module(uri.module), uri.token, pin, try_pin=try_pin)


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


def _pin(source: str) -> str:
    """Read a PIN from another key store."""
    store = parse_store(source)
    if not isinstance(store.provider, ReleasingProvider) or isinstance(
        store.provider, EnvironmentProvider
    ):
        raise KeyStoreError("pin-source: expected file:, systemd:, descriptor: or command:")
    try:
        return store.provider.read(store.address).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        pass
    raise KeyStoreError("pin-source: the PIN is not UTF-8")


class TokenKey(SafeRepr):
    """A key on a token; its secret stays there.

    Args:
        token: The token.
        label: The key's label.
        id: The key's id.
        kind: `CURVE` or `USER`.
        allowed: Whether it may be used even if the token would release its secret.

    Raises:
        KeyStoreError: If its public key cannot be computed or found.
    """

    def __init__(
        self,
        token: Token,
        label: str,
        id: bytes,  # noqa: A002 - the name in PKCS#11
        kind: Prefix,
        *,
        allowed: bool = False,
    ) -> None:
        self.label = label
        self.id = id
        self._token = token
        self._kind = kind
        self._allowed = allowed
        self._found: tuple[int, Any] | None = None
        self._public = nkey.encode_public(kind, self._raw_public())

    @property
    def names(self) -> Mapping[str, str]:
        """Return the label, the id in hexadecimal digits, and the label of the token."""
        return {"Label": self.label, "Id": self.id.hex(), "Token": self._token.label}

    def public(self) -> str:
        """Return the public key."""
        return self._public

    @refusing
    def dh(self, peer: bytes) -> bytes:
        """Return the X25519 shared secret, computed on the token."""
        if self._kind is not Prefix.CURVE:
            raise KeyStoreError("a user key does not agree on secrets: expected a curve key")
        self._check()
        return self._derive(peer)

    @refusing
    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature, computed on the token."""
        if self._kind is not Prefix.USER:
            raise KeyStoreError("a curve key does not sign: expected a user key")
        self._check()
        return self._token.run(
            lambda session: bytes(self._handle(session).sign(data, mechanism=Mechanism.EDDSA))
        )

    def describe(self) -> Sequence[str]:
        """Return where the key is, whether it was imported, and whether it can be extracted."""
        local, never, extractable = self._token.run(
            lambda session: [
                bool(self._handle(session)[name])
                for name in (Attribute.LOCAL, Attribute.NEVER_EXTRACTABLE, Attribute.EXTRACTABLE)
            ]
        )
        origin = "generated on the token" if local else "imported: its secret was outside before"
        leaves = "the token does not release it"
        if extractable:
            leaves = "warning: the token releases it to everyone with the PIN"
        elif not never:
            leaves += ", but might have before"
        return (
            f"token {self._token.label!a}, label {self.label!a}, id {self.id.hex()}",
            origin,
            leaves,
        )

    def _check(self) -> None:
        """Refuse a key that the token would release."""
        if not self._allowed and self._token.run(self._is_open):
            raise KeyStoreError(
                f"the token releases the key {self.label!a}: generate another one, or add"
                " x-extractable=allowed"
            )
        self._allowed = True  # neither attribute can be changed back

    def _is_open(self, session: Any) -> bool:
        key = self._handle(session)
        return bool(key[Attribute.EXTRACTABLE]) or not key[Attribute.SENSITIVE]

    def _derive(self, peer: bytes) -> bytes:
        def derive(session: Any) -> bytes:
            derived = self._handle(session).derive_key(
                KeyType.GENERIC_SECRET,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, peer),
                template=_DERIVED,
            )
            try:
                return bytes(derived[Attribute.VALUE])
            finally:
                derived.destroy()

        def released(session: Any) -> bytes:
            try:
                return derive(session)
            except (AttributeSensitive, TemplateInconsistent):
                pass
            raise KeyStoreError("the token does not release derived secrets: its policy forbids it")

        return self._token.run(released)

    def _raw_public(self) -> bytes:
        if self._kind is Prefix.CURVE:
            return self._derive(_BASE)

        def point(session: Any) -> bytes:
            search = {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: self.id,
                Attribute.LABEL: self.label,
            }  # fmt: skip
            for each in list(session.get_objects(search)):
                return bytes(each[Attribute.EC_POINT])[-primitives.KEY_SIZE :]
            raise KeyStoreError("its public key is not on the token")

        return self._token.run(point)

    def _handle(self, session: Any) -> Any:
        """Return the object in this session; handles end with the session."""
        generation = self._token.generation
        if self._found is None or self._found[0] != generation:
            search = {
                Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: self.id,
                Attribute.LABEL: self.label,
            }  # fmt: skip
            found = list(session.get_objects(search))
            if not found:
                raise PKCS11Error("no such key")  # also what SoftHSM says of a removed token
            self._found = generation, found[0]
        return self._found[1]

    def __repr__(self) -> str:
        return f"<TokenKey {self._public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

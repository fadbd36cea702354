"""A key on a PKCS#11 token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from pkcs11 import KDF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import AttributeSensitive, PKCS11Error, TemplateInconsistent

from xkeymsg import nkey, primitives
from xkeymsg.display import SafeRepr
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.pkcs11_token import Token
from xkeymsg.key_stores.pkcs11_uri import Pkcs11Uri
from xkeymsg.nkey import Prefix
from xkeymsg.refusals import refusing

__all__ = ("TokenKey", "key_search", "releases")

_BASE: Final = bytes([9]) + bytes(31)
"""The base point of X25519: the shared secret with it is the public key."""
_DERIVED: Final = {
    Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False,
}  # fmt: skip
"""The derived secret, not the key, is read from the token."""


def key_search(uri: Pkcs11Uri) -> dict[Attribute, Any]:
    """Return the attributes of the private keys that a URI selects."""
    search: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.object is not None:
        search[Attribute.LABEL] = uri.object
    if uri.id is not None:
        search[Attribute.ID] = uri.id
    return search


def releases(key: Any) -> bool:
    """Return whether a token would release the secret of this key."""
    return bool(key[Attribute.EXTRACTABLE]) or not key[Attribute.SENSITIVE]


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
        if not self._allowed and self._token.run(lambda session: releases(self._handle(session))):
            raise KeyStoreError(
                f"the token releases the key {self.label!a}: generate another one, or add"
                " x-extractable=allowed"
            )
        self._allowed = True  # neither attribute can be changed back

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

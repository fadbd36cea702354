"""TLS identities on tokens: certificates, and private keys that stay there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pkcs11 import Attribute, CertificateType, KeyType, ObjectClass

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.openssl import load_provider, uri_pem
from xkeymsg.key_stores.pkcs11 import open_token
from xkeymsg.key_stores.pkcs11_key import key_search, releases
from xkeymsg.key_stores.pkcs11_token import Token, share_modules
from xkeymsg.key_stores.pkcs11_uri import Pkcs11Uri, parse_uri

__all__ = ("token_identities",)

_KEY_TYPES: Final = (KeyType.EC, KeyType.RSA)


def token_identities(address: str) -> tuple[Sequence[tuple[bytes, bytes]], Mapping[bytes, bytes]]:
    """Return the ids and certificates (DER) of a token, and PEM blocks for its keys by their ids.

    Both are ordered by id. `object` and `id` of the URI select keys.

    Raises:
        KeyStoreError: If OpenSSL's provider is missing, or the token cannot be used.
        PinError: If the token refuses the PIN, or may be locked by one more wrong one.
    """
    uri = parse_uri(address)
    if uri.module is not None:
        raise KeyStoreError(
            "cert_store: register the module with p11-kit instead of module-path, since OpenSSL and"
            " this program share it"
        )
    load_provider(uri.provider, share_modules())  # before any PIN is tried
    token = open_token(uri)
    certificates, keys = token.run(lambda session: (_certificates(session), _keys(session, uri)))
    ids = {identifier for identifier, _ in certificates}
    blocks = dict[bytes, bytes]()
    for key in keys:
        if (identifier := bytes(key[Attribute.ID])) in ids and _is_kept(key, uri):
            blocks.setdefault(identifier, _block(token, key))
    return certificates, blocks


def _certificates(session: Any) -> list[tuple[bytes, bytes]]:
    search = {
        Attribute.CLASS: ObjectClass.CERTIFICATE,
        Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
    }
    stored = sorted(
        (bytes(each[Attribute.ID]), each[Attribute.LABEL], bytes(each[Attribute.VALUE]))
        for each in list(session.get_objects(search))
    )
    return [(identifier, content) for identifier, _, content in stored]


def _keys(session: Any, uri: Pkcs11Uri) -> list[dict[Attribute, Any]]:
    """Return the attributes of the private keys, ordered by id and label."""
    names = (Attribute.ID, Attribute.LABEL, Attribute.EXTRACTABLE, Attribute.SENSITIVE)
    keys = [
        {name: each[name] for name in names}
        for each in list(session.get_objects(key_search(uri)))
        if each.key_type in _KEY_TYPES
    ]
    return sorted(keys, key=lambda key: (key[Attribute.ID], key[Attribute.LABEL]))


def _is_kept(key: Mapping[Attribute, Any], uri: Pkcs11Uri) -> bool:
    """Return whether a key may be used; warn about one that the token would release."""
    if uri.extractable or not releases(key):
        return True
    warnings.warn(
        f"the token releases the key {key[Attribute.LABEL]!a}, which is skipped: generate another"
        " one, or add x-extractable=allowed",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _block(token: Token, key: Mapping[Attribute, Any]) -> bytes:
    return uri_pem({
        "token": token.label.encode(), "serial": token.serial.encode(),
        "id": bytes(key[Attribute.ID]), "object": key[Attribute.LABEL].encode(),
    })  # fmt: skip

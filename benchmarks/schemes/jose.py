"""JWE, General JSON, by joserfc and by jwcrypto: each to X25519 keys, as the bytes of the JSON.

- `ECDH-ES+A256KW` with `A256GCM` is what both have; it does not authenticate the sender.
- `ECDH-1PU+A256KW` with `A256CBC-HS512` does: joserfc's extra, from a draft.
- A reader tries the recipients until one opens; jwcrypto tries the rest, too. *by kid* looks for
  its own entry first, by a key id that everybody can read, and leaves the others away.

joserfc's defaults refuse more than 16 recipients, ciphertexts over 64 KiB of base64, and any
envelope of which a reader cannot open every entry; here the limits are raised and one is enough.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from benchmarks.schemes.scheme import Operations, Scheme, library

__all__ = ("JOSERFC", "JOSERFC_1PU", "JOSERFC_BY_KID", "JWCRYPTO")

_MOST_RECIPIENTS = 1024
_MOST_CIPHERTEXT = 1 << 22


def _as_bytes(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _registry(jwe: Any, *algorithms: str) -> Any:
    registry = jwe.JWERegistry(
        algorithms=algorithms, verify_all_recipients=False, max_recipients=_MOST_RECIPIENTS
    )
    registry.max_ciphertext_length = _MOST_CIPHERTEXT
    return registry


def _joserfc(alg: str, enc: str, count: int, data: bytes, *, by_kid: bool = False) -> Operations:
    jwe, keys = library("joserfc.jwe"), library("joserfc.jwk").OKPKey
    registry = _registry(jwe, alg, enc)
    pairs = [keys.generate_key("X25519") for _ in range(count)]
    publics = [keys.import_key(pair.as_dict(private=False)) for pair in pairs]
    headers = [{"alg": alg, "kid": key.thumbprint()} if by_kid else {"alg": alg} for key in publics]
    sender = keys.generate_key("X25519") if "1PU" in alg else None

    def seal() -> bytes:
        message = jwe.GeneralJSONEncryption({"enc": enc}, data)
        for header, key in zip(headers, publics, strict=True):
            message.add_recipient(dict(header), key)
        return _as_bytes(jwe.encrypt_json(message, None, registry=registry, sender_key=sender))

    def open_last() -> bytes:
        document = json.loads(sealed)
        if by_kid:
            own = headers[-1]["kid"]
            document["recipients"] = [
                entry for entry in document["recipients"] if entry["header"]["kid"] == own
            ]
        opened = jwe.decrypt_json(document, pairs[-1], registry=registry, sender_key=sender)
        return bytes(opened.plaintext)

    sealed = seal()
    return Operations(seal, open_last, len(sealed))


def _joserfc_1pu(count: int, data: bytes) -> Operations:
    library("joserfc.drafts.jwe_ecdh_1pu").register_ecdh_1pu()
    return _joserfc("ECDH-1PU+A256KW", "A256CBC-HS512", count, data)


def _jwcrypto(count: int, data: bytes) -> Operations:
    jwe, jwk = library("jwcrypto.jwe"), library("jwcrypto.jwk").JWK
    pairs = [jwk.generate(kty="OKP", crv="X25519") for _ in range(count)]
    publics = [jwk(**pair.export_public(as_dict=True)) for pair in pairs]
    protected, header = '{"enc":"A256GCM"}', '{"alg":"ECDH-ES+A256KW"}'

    def seal() -> bytes:
        message = jwe.JWE(data, protected=protected, flattened=False)
        for key in publics:
            message.add_recipient(key, header=header)
        return bytes(message.serialize().encode())

    def open_last() -> bytes:
        message = jwe.JWE()
        message.deserialize(sealed.decode(), pairs[-1])
        return bytes(message.payload)

    sealed = seal()
    return Operations(seal, open_last, len(sealed))


_ES = partial(_joserfc, "ECDH-ES+A256KW", "A256GCM")

JOSERFC = Scheme(name="joserfc", prepare=_ES, needs="joserfc")
JOSERFC_BY_KID = Scheme(
    name="joserfc, by kid", prepare=partial(_ES, by_kid=True), needs="joserfc", only_opens=True
)
JOSERFC_1PU = Scheme(name="joserfc, ECDH-1PU", prepare=_joserfc_1pu, needs="joserfc")
JWCRYPTO = Scheme(name="jwcrypto", prepare=_jwcrypto, needs="jwcrypto")

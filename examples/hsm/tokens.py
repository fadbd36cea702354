"""Tokens of SoftHSM, with TLS keys and certificates."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, CertificateType, KeyType, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

__all__ = ("SoftToken", "use_folder")

FIRST_PIN = "00000000"
"""The PIN of a new token until it is changed: `softhsm2-util` takes it as an argument."""
CURVE = encode_named_curve_parameters("secp256r1")


def use_folder(folder: Path) -> None:
    """Keep the tokens of this process, and of those it starts, in a folder."""
    (folder / "tokens").mkdir(mode=0o700)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)


class SoftToken:
    """A new token; its PIN is in no argument and no variable.

    Args:
        label: Its label.
        pin: Its PIN.
    """

    def __init__(self, label: str, pin: str) -> None:
        create = ("softhsm2-util", "--init-token", "--free", "--label", label)
        pins = ("--so-pin", FIRST_PIN, "--pin", FIRST_PIN)
        subprocess.run([*create, *pins], check=True, capture_output=True)
        self.label = label
        self._pin = pin
        self._run(FIRST_PIN, lambda session: session.set_pin(FIRST_PIN, pin))

    def store_certificate(self, certificate: x509.Certificate, number: int, label: str) -> None:
        """Write a certificate to the token; it belongs to the key of the same number, its id."""
        content = {
            **_names(number, label), Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
            Attribute.SUBJECT: certificate.subject.public_bytes(),
            Attribute.VALUE: certificate.public_bytes(Encoding.DER),
        }  # fmt: skip
        self._run(self._pin, lambda session: session.create_object(content))

    def import_key(self, key: ec.EllipticCurvePrivateKey, number: int, label: str) -> None:
        """Write a P-256 key to the token, which does not release it again."""
        numbers = key.private_numbers()
        place = numbers.public_numbers
        point = b"\x04" + place.x.to_bytes(32, "big") + place.y.to_bytes(32, "big")
        common = {
            **_names(number, label), Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: CURVE
        }  # fmt: skip

        def create(session: Any) -> None:
            session.create_object({
                **common, **_secret(), Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.SIGN: True, Attribute.VALUE: numbers.private_value.to_bytes(32, "big"),
            })  # fmt: skip
            session.create_object({
                **common, Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.EC_POINT: b"\x04\x41" + point,
            })  # fmt: skip

        self._run(self._pin, create)

    def generate_key(
        self, kind: KeyType, number: int, label: str, *, extractable: bool = False
    ) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """Generate an EC key (P-256) or an RSA key (2048 bits) on the token."""
        more: dict[str, Any] = {
            "store": True, "id": bytes([number]), "label": label,
            "private_template": _secret(extractable=extractable),
        }  # fmt: skip

        def generate(session: Any) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
            if kind is KeyType.RSA:
                made, _ = session.generate_keypair(KeyType.RSA, 2048, **more)
                exponent, modulus = (
                    int.from_bytes(made[name], "big")
                    for name in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS)
                )
                return rsa.RSAPublicNumbers(exponent, modulus).public_key()
            domain = session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: CURVE}, local=True
            )
            made, _ = domain.generate_keypair(**more)
            point = bytes(made[Attribute.EC_POINT])[2:]
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)

        made: ec.EllipticCurvePublicKey | rsa.RSAPublicKey = self._run(self._pin, generate)
        return made

    def _run(self, pin: str, work: Callable[[Any], Any]) -> Any:
        library = pkcs11.lib(str(next(Path("/usr/lib").glob("**/p11-kit-proxy.so"))))
        library.reinitialize()  # to see a new token
        with library.get_token(token_label=self.label).open(rw=True, user_pin=pin) as session:
            return work(session)


def _names(number: int, label: str) -> dict[Any, Any]:
    return {Attribute.ID: bytes([number]), Attribute.LABEL: label, Attribute.TOKEN: True}


def _secret(*, extractable: bool = False) -> dict[Any, Any]:
    return {
        Attribute.SENSITIVE: not extractable, Attribute.EXTRACTABLE: extractable,
        Attribute.PRIVATE: True,
    }  # fmt: skip

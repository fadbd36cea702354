"""Who may log in: nkeys, user JWTs and certificates, made anew for each test."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import nats
import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from nats.aio.client import RawCredentials

from tests.running import DEADLINE
from xkeymsg.testing import NATSServer

__all__ = ("CertificateAuthority", "Nkey", "Operator")


class Nkey:
    """A key pair made by the `nkeys` package."""

    def __init__(self, prefix: int = nkeys.PREFIX_BYTE_USER) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), prefix).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed, "ascii"))
        self.public: str = self._pair.public_key.decode()

    def verify(self, data: bytes, signature: str) -> None:
        """Check a signature as it stands in a CONNECT line."""
        self._pair.verify(data, base64.b64decode(signature))

    def claims(self, subject: str, about: dict[str, object], **more: object) -> str:
        """Sign claims about another key as a NATS JWT (ADR-14)."""

        def part(content: object) -> str:
            return _base64url(json.dumps(content).encode())

        body = {"iss": self.public, "sub": subject, "iat": 1_700_000_000, "name": subject[:8]}
        text = (
            part({"typ": "JWT", "alg": "ed25519-nkey"}) + "." + part(body | more | {"nats": about})
        )
        return f"{text}.{_base64url(self._pair.sign(text.encode()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Operator:
    """An operator with one account, which a real server is configured for."""

    def __init__(self) -> None:
        self.account = Nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        operator = Nkey(nkeys.PREFIX_BYTE_OPERATOR)
        every = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        self._limits = {**every, "wildcards": True}
        self._operator = operator
        account = self._claims(self.account)
        itself = operator.claims(operator.public, {"type": "operator", "version": 2})
        self.config = (
            f"operator: {itself}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.account.public}: {account} }}\n"
        )
        """What a server is told."""
        self._itself = itself
        self._system = Nkey(nkeys.PREFIX_BYTE_ACCOUNT)

    def _claims(self, account: Nkey, **more: object) -> str:
        about = {"type": "account", "version": 2, "limits": self._limits}
        return self._operator.claims(account.public, about | more)

    @property
    def managed(self) -> str:
        """What a server is told that takes new claims about accounts while it runs."""
        accounts = {each.public: self._claims(each) for each in (self.account, self._system)}
        preload = ", ".join(f"{public}: {claims}" for public, claims in accounts.items())
        return (
            f"operator: {self._itself}\nsystem_account: {self._system.public}\n"
            'resolver: { type: full, dir: "{dir}/accounts" }\n'
            f"resolver_preload: {{ {preload} }}\n"
        )

    async def revoke(self, server: NATSServer, user: Nkey) -> None:
        """Tell a managed server that a user is revoked."""
        claims = self._claims(self.account, revocations={user.public: int(time.time()) + 1})
        client = await nats.connect(
            server.url, user_credentials=RawCredentials(self._user(self._system, Nkey()))
        )
        await client.request(
            f"$SYS.REQ.ACCOUNT.{self.account.public}.CLAIMS.UPDATE",
            claims.encode(),
            timeout=DEADLINE,
        )
        await client.close()

    def creds(self, user: Nkey, **times: int) -> str:
        """Return the text of a credentials file for a user; `exp` is when it ends, in seconds."""
        return self._user(self.account, user, **times)

    def _user(self, account: Nkey, user: Nkey, **times: int) -> str:
        limits = {"subs": -1, "data": -1, "payload": -1}
        claims = {"type": "user", "version": 2, **limits}
        jwt = account.claims(user.public, claims, **times)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class CertificateAuthority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(self._name, self._key.public_key(), authority=True)
        self.path = folder / f"{name}.pem"
        """Its own certificate."""
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, password: bytes | None = None) -> Certificate:
        """Make a certificate, good for a server and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        issued = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        certificate = self.certify(name, key.public_key())
        issued.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password)
                if password
                else serialization.NoEncryption(),
            )
        )
        return issued

    def certify(
        self, name: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    ) -> x509.Certificate:
        """Make a certificate for a key that is elsewhere."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._sign(subject, key, authority=False)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        *,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(  # Python 3.13 wants it of an authority
                x509.KeyUsage(
                    digital_signature=not authority,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )

"""TLS identities from a store: the table of ADR-39, its texts, chains, and a real server."""

from __future__ import annotations

import base64
import datetime
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cases import for_each
from tests.key_stores.test_cli import run
from tests.transport.authority import CertificateAuthority
from xkeymsg import ANYONE, ConfigurationError, ConnectOptions, KeyStoreError, XKeyPair, connect
from xkeymsg.key_stores.certificates import matches, tls_identity, validities
from xkeymsg.testing import NATSServer

NOW = datetime.datetime.now(datetime.UTC)
ORG, OU, CN = NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME


class Made:
    """A certificate with its key."""

    def __init__(
        self, subject: dict[x509.ObjectIdentifier, str], issuer: Made | None = None,
        *, days: int = 1, issued_by: dict[x509.ObjectIdentifier, str] | None = None,
        ca: bool = False,
    ) -> None:  # fmt: skip
        self.key = ec.generate_private_key(ec.SECP256R1())
        own = name(subject)
        by = issuer.certificate.subject if issuer else name(issued_by) if issued_by else own
        self.certificate: x509.Certificate = (
            x509.CertificateBuilder().subject_name(own).issuer_name(by)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=3))
            .not_valid_after(NOW + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )  # fmt: skip

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip


def crossed(subject: Made, issuer: Made) -> bytes:
    """Return a certificate of one authority that another one has issued."""
    builder = (
        x509.CertificateBuilder().subject_name(subject.certificate.subject)
        .issuer_name(issuer.certificate.subject).public_key(subject.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=3))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )  # fmt: skip
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def name(values: dict[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in values.items()])


ISSUER = {ORG: "Synadia Communications Inc.", OU: "NATS.io", CN: "localhost"}
ROOT = Made(ISSUER, ca=True)
LEAF = Made({OU: "NATS.io", CN: "example.com"}, ROOT)


def stored(folder: Path, *parts: bytes) -> str:
    path = folder / "identity.pem"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(b"".join(parts))
    return f"file:{path}"


TABLE = [
    ("Subject", "example.com", True),
    ("Subject", "NATS.io", True),
    ("Subject", "OU = NATS.io, CN = example.com", False),
    ("Subject", "CN = example.com", False),
    ("Issuer", "localhost", True),
    ("Issuer", "Synadia Communications Inc.", True),
    ("Issuer", "O = Synadia Communications Inc., OU = NATS.io, CN = localhost", False),
    ("Issuer", "CN = localhost", False),
]
"""The rows of ADR-39: what is matched by, the term, and whether `LEAF` is found."""


@pytest.mark.parametrize(("by", "term", "found"), TABLE)
def test_the_table_of_adr_39(by: str, term: str, found: bool, tmp_path: Path) -> None:
    store = stored(tmp_path, LEAF.pem, LEAF.private)
    assert matches(LEAF.certificate, by, term) == found
    if found:
        assert tls_identity(store, by, term) == LEAF.pem + LEAF.private
    else:
        with pytest.raises(KeyStoreError, match="unable to find certificate in store"):
            tls_identity(store, by, term)


def test_a_part_of_a_value_does_not_match() -> None:
    """`example.com` must not select `client.example.com`."""
    client = Made({CN: "client.example.com"})
    for term in ("example.com", "client", "CLIENT.example.com", "client.example.com "):
        assert not matches(client.certificate, "Subject", term)


def test_a_thumbprint_matches_in_any_case() -> None:
    thumbprint = LEAF.certificate.fingerprint(hashes.SHA1()).hex()
    for term in (thumbprint, thumbprint.upper()):
        assert matches(LEAF.certificate, "thumbprint", term)
    assert not matches(LEAF.certificate, "Thumbprint", thumbprint[:-1])


@for_each(
    ("store", "reason"),
    [
        ("", "expected 'cert_store' to be a valid non-empty string"),
        ("vault:x", "cert store type not implemented"),
        (
            "pkcs11:token=x?provider-path=/nowhere/pkcs11.so",
            "cannot run /nowhere/pkcs11.so|install p11-kit",  # first, where that is missing
        ),
        ("pkcs11:token=x?module-path=/nowhere/x.so", "register the module with p11-kit"),
        ("windowscurrentuser", "cert_store not compatible with current operating system"),
        ("WindowsLocalMachine", "cert_store not compatible with current operating system"),
        ("file:/nowhere", "cannot read"),
    ],
)
def test_a_store_that_cannot_be_used(store: str, reason: str) -> None:
    with pytest.raises(KeyStoreError, match=reason):
        tls_identity(store)


def test_an_unknown_match_is_refused(tmp_path: Path) -> None:
    for match in ("", "example.com"):
        with pytest.raises(KeyStoreError, match="cert match by type not implemented"):
            tls_identity(stored(tmp_path, LEAF.pem, LEAF.private), "Serial", match)


def test_a_certificate_without_its_key_is_not_found(tmp_path: Path) -> None:
    for parts in ((LEAF.pem,), (LEAF.pem, ROOT.private), (LEAF.private,), ()):
        with pytest.raises(KeyStoreError, match="unable to find certificate in store"):
            tls_identity(stored(tmp_path, *parts), "Subject", "example.com")


def test_two_matches_warn_and_the_first_is_used(tmp_path: Path) -> None:
    other = Made({OU: "NATS.io", CN: "other"}, ROOT)
    store = stored(tmp_path, other.pem, other.private, LEAF.pem, LEAF.private)
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="2 certificates match"):
            assert tls_identity(store, "Subject", "NATS.io") == other.pem + other.private


def test_an_expired_certificate_is_skipped_only_on_demand(tmp_path: Path) -> None:
    expired = Made({CN: "example.com"}, ROOT, days=-1)
    store = stored(tmp_path, expired.pem, expired.private, LEAF.pem, LEAF.private)
    found = tls_identity(store, "Subject", "example.com", skip_invalid=True)
    assert found == LEAF.pem + LEAF.private
    with pytest.warns(RuntimeWarning) as warned:
        assert tls_identity(store, "Subject", "example.com").startswith(expired.pem)
    assert any("is not valid now" in str(each.message) for each in warned)


class TestChains:
    MIDDLE = Made({CN: "middle"}, ROOT, ca=True)
    OWN = Made({CN: "own"}, MIDDLE)

    def identity(self, folder: Path, *more: Made) -> bytes:
        parts = (each.pem for each in more)
        return tls_identity(stored(folder, self.OWN.pem, self.OWN.private, *parts))

    def test_intermediates_are_sent_without_the_root(self, tmp_path: Path) -> None:
        expected = self.OWN.pem + self.MIDDLE.pem + self.OWN.private
        assert self.identity(tmp_path, ROOT, self.MIDDLE) == expected
        assert self.identity(tmp_path, self.MIDDLE, ROOT) == expected

    def test_without_a_root_only_the_leaf_is_sent(self, tmp_path: Path) -> None:
        assert self.identity(tmp_path, self.MIDDLE) == self.OWN.pem + self.OWN.private

    def test_an_issuer_of_the_same_name_with_another_key_is_not_used(self, tmp_path: Path) -> None:
        forged = Made({CN: "middle"}, ROOT)
        expected = self.OWN.pem + self.MIDDLE.pem + self.OWN.private
        assert self.identity(tmp_path, forged, ROOT, self.MIDDLE) == expected
        assert self.identity(tmp_path, forged, ROOT) == self.OWN.pem + self.OWN.private

    def test_an_expired_intermediate_is_not_used(self, tmp_path: Path) -> None:
        middle = Made({CN: "old"}, ROOT, days=-1)
        own = Made({CN: "own"}, middle)
        store = stored(tmp_path, own.pem, own.private, middle.pem, ROOT.pem)
        assert tls_identity(store) == own.pem + own.private

    def test_certificates_that_issue_each_other_end(self, tmp_path: Path) -> None:
        one, two = Made({CN: "a"}, issued_by={CN: "b"}), Made({CN: "b"}, issued_by={CN: "a"})
        store = stored(tmp_path, one.pem, one.private, two.pem)
        assert tls_identity(store) == one.pem + one.private


@pytest.mark.parametrize(
    "content",
    [b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
     b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
     b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
     LEAF.pem * 65, os.urandom(1000), b"x" * 70_000],
)  # fmt: skip
def test_hostile_content_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError) as caught:
        tls_identity(stored(tmp_path, content))
    assert len(str(caught.value)) < 300


class TestOptions:
    def test_a_certificate_file_and_a_store_are_refused(self) -> None:
        reason = "'cert_file' and 'cert_store' may not both be configured"
        with pytest.raises(ConfigurationError, match=reason):
            ConnectOptions(cert_store="file:x", tls_cert=Path("c"), tls_key=Path("k"))

    def test_a_key_file_beside_a_store_is_ignored_with_a_warning(self) -> None:
        with pytest.warns(RuntimeWarning, match="tls_key is ignored"):
            assert ConnectOptions(cert_store="file:x", tls_key=Path("k")).tls_required

    def test_a_match_requires_a_store(self) -> None:
        with pytest.raises(ConfigurationError, match="cert_match requires cert_store"):
            ConnectOptions(cert_match="x")

    async def test_a_client_logs_in_by_certificate_without_a_file(self, tmp_path: Path) -> None:
        authority = CertificateAuthority(tmp_path)
        server, own = authority.issue("server"), authority.issue("client.example.com")
        store = stored(tmp_path, own.cert.read_bytes(), own.key.read_bytes())
        config = (
            f'tls {{cert_file: "{server.cert}", key_file: "{server.key}", ca_file:'
            f' "{authority.path}", verify_and_map: true}}\n'
            'authorization: {users: [{user: "CN=client.example.com"}]}'
        )
        pair = XKeyPair.generate()
        options: dict[str, Any] = {"key": pair, "trust": ANYONE, "tls_ca": authority.path}
        with NATSServer(config) as running:
            url = running.url.replace("nats://", "tls://")
            async with connect(
                url, cert_store=store, cert_match="client.example.com", **options
            ) as client:
                async with client.subscribe("a") as messages:
                    await client.flush()
                    await client.publish("a", b"7 lamps", to=pair.public)
                    assert (await anext(messages)).data == b"7 lamps"
            with pytest.raises(KeyStoreError, match="unable to find certificate in store"):
                async with connect(url, cert_store=store, cert_match="example.com", **options):
                    pass
        held = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_file()]  # noqa: PTH115
        assert not any("memfd:identity" in each for each in held)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (90, r"ok +client certificate +'CN=own': expires in 90 days"),
        (10, r"warn +client certificate +'CN=own': expires in 10 days: renew it"),
        (-1, r"fail +client certificate +'CN=own': expired 24 hours ago: renew it"),
    ],
)
def test_doctor_shows_how_long_the_certificates_sent_are_valid(
    days: int, expected: str, tmp_path: Path
) -> None:
    server = ("--server", "tls://127.0.0.1:1", "--timeout", "1s")
    middle = Made({CN: "middle"}, ROOT, ca=True, days=5)
    own = Made({CN: "own"}, middle, days=days)
    store = stored(tmp_path, own.pem, own.private, middle.pem, ROOT.pem)
    (tmp_path / "cert").write_bytes(own.pem + middle.pem)
    (tmp_path / "key").write_bytes(own.private)
    (tmp_path / "key").chmod(0o600)
    for words in (
        ("--cert-store", store),
        ("--tlscert", tmp_path / "cert", "--tlskey", tmp_path / "key"),
    ):
        said = run("doctor", *words, *server, code=1)
        assert re.search(expected, said), said
        assert re.search(r"warn +client certificate +'CN=middle': expires in 5 days", said), said
        assert "CN=localhost" not in said  # the root is not sent


def test_doctor_says_why_a_client_certificate_cannot_be_read(tmp_path: Path) -> None:
    said = run("doctor", "--server", "tls://127.0.0.1:1", "--cert-store", "file:/no", code=1)
    assert re.search("fail +client certificate +cannot read /no", said), said
    (tmp_path / "cert").write_bytes(PEM_OF_NOTHING)
    words = ("--tlscert", tmp_path / "cert", "--tlskey", tmp_path / "cert")
    said = run("doctor", "--server", "tls://127.0.0.1:1", *words, code=1)
    assert re.search("fail +client certificate +a certificate is malformed", said), said
    words = ("--tlscert", tmp_path / "none", "--tlskey", tmp_path / "none")
    said = run("doctor", "--server", "tls://127.0.0.1:1", *words, code=1)
    assert re.search("fail +client certificate +cannot read /.*/none: No such file", said), said


PEM_OF_NOTHING = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_certificates_that_all_issued_each_other_are_tried_once(tmp_path: Path) -> None:
    """Without a limit, 60 of them would keep a program busy for years."""
    one, other = Made({CN: "one"}, ca=True), Made({CN: "other"}, ca=True)
    several = [crossed(*pair) for _ in range(30) for pair in ((one, other), (other, one))]
    leaf = Made({CN: "leaf"}, one)
    parts = (leaf.pem, leaf.private, *several)
    assert tls_identity(stored(tmp_path, *parts), match="leaf") == leaf.pem + leaf.private


def changed(made: Made, old: str, new: str) -> bytes:
    """Return a certificate, PEM, with some bytes replaced."""
    content = made.certificate.public_bytes(serialization.Encoding.DER)
    content = content.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    body = base64.encodebytes(content)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("known", "unknown"),
    [("2a8648ce3d030107", "2a8648ce3d03017e"), ("2a8648ce3d0201", "2a8648ce3d027e")],
    ids=["curve", "algorithm"],
)
def test_an_issuer_with_an_unknown_kind_of_key_has_issued_nothing(
    known: str, unknown: str, tmp_path: Path
) -> None:
    issuer = Made({CN: "issuer"}, ca=True)
    leaf = Made({CN: "leaf"}, issuer)
    store = stored(tmp_path, leaf.pem, leaf.private, changed(issuer, known, unknown))
    assert tls_identity(store, match="leaf") == leaf.pem + leaf.private


def test_a_certificate_of_an_unknown_version_is_malformed() -> None:
    content = changed(Made({CN: "own"}), "a003020102", "a003020109")
    with pytest.raises(KeyStoreError, match="malformed"):
        validities(content)

"""TLS identities from a store: the certificates that a nats-server receives in the handshake."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding

from tests.key_stores.test_certificates import CN, LEAF, OU, ROOT, TABLE, Made, stored
from tests.transport.authority import CertificateAuthority
from xkeymsg import ANYONE, ConnectionFailedError, KeyStoreError, XKeyPair, connect
from xkeymsg.testing import NATSServer

MIDDLE = Made({CN: "middle"}, ROOT, ca=True)
OWN = Made({OU: "NATS.io", CN: "own.example.com"}, MIDDLE)
OTHER = Made({OU: "NATS.io", CN: "other.example.com"}, ROOT)
EXPIRED = Made({OU: "NATS.io", CN: "example.com"}, ROOT, days=-1)


class Received:
    """A server that requires certificates under `ROOT`, and what it receives from a client."""

    def __init__(self, server: NATSServer, folder: Path, trusted: Path) -> None:
        self.server = server
        self.folder = folder
        self.trusted = trusted

    async def certificates(self, *parts: bytes, **more: Any) -> list[Made | str]:
        """Log in with a store; return the certificates that the server received, leaf first."""
        async with connect(
            self.server.url.replace("nats://", "tls://"), key=XKeyPair.generate(), trust=ANYONE,
            tls_ca=self.trusted, cert_store=stored(self.folder, *parts), **more,
        ) as client:  # fmt: skip
            await client.flush()
            return self._seen()

    def _seen(self) -> list[Made | str]:
        [connection] = self._monitoring("connz?auth=1")["connections"]
        known = {
            hashlib.sha256(each.certificate.public_bytes(Encoding.DER)).hexdigest(): each
            for each in (ROOT, LEAF, MIDDLE, OWN, OTHER, EXPIRED)
        }
        sent = [each["cert_sha256"] for each in connection["tls_peer_certs"]]
        return [known.get(each, each) for each in sent]

    def _monitoring(self, page: str) -> Any:
        assert self.server.process is not None
        ports = self.server.directory / f"nats-server_{self.server.process.pid}.ports"
        [url, *_] = json.loads(ports.read_text())["monitoring"]
        with urllib.request.urlopen(f"{url}/{page}") as answer:
            return json.load(answer)

    def connections(self) -> int:
        """Return how many connections there have been."""
        return int(self._monitoring("varz")["total_connections"])


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Received]:
    authority = CertificateAuthority(tmp_path)
    own = authority.issue("server")
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    config = (
        f'http: "127.0.0.1:-1"\ntls {{cert_file: "{own.cert}", key_file: "{own.key}",'
        f' ca_file: "{tmp_path}/root.pem", verify: true}}'
    )
    with NATSServer(config) as server:
        yield Received(server, tmp_path, authority.path)


@pytest.mark.parametrize(("by", "term", "found"), TABLE)
async def test_the_table_of_adr_39(by: str, term: str, found: bool, received: Received) -> None:
    parts, match = (LEAF.pem, LEAF.private, ROOT.pem), {"cert_match_by": by, "cert_match": term}
    if found:
        assert await received.certificates(*parts, **match) == [LEAF]
    else:
        before = received.connections()
        with pytest.raises(KeyStoreError, match="unable to find certificate in store"):
            await received.certificates(*parts, **match)
        assert received.connections() == before


async def test_intermediates_are_sent_without_the_root(received: Received) -> None:
    for parts in (
        (OWN.pem, OWN.private, MIDDLE.pem, ROOT.pem),
        (ROOT.pem, MIDDLE.pem, OWN.private, OWN.pem),
    ):
        assert await received.certificates(*parts) == [OWN, MIDDLE]


async def test_without_a_root_in_the_store_only_the_leaf_is_sent(received: Received) -> None:
    with pytest.raises(ConnectionFailedError):  # the server knows only the root
        await received.certificates(OWN.pem, OWN.private, MIDDLE.pem)
    (received.folder / "root.pem").write_bytes(ROOT.pem + MIDDLE.pem)
    received.server.restart()
    assert await received.certificates(OWN.pem, OWN.private, MIDDLE.pem) == [OWN]


async def test_a_substring_selects_nothing(received: Received) -> None:
    before = received.connections()
    for term in ("example.com", "own", "OWN.example.com", "NATS"):
        with pytest.raises(KeyStoreError, match="unable to find certificate in store"):
            await received.certificates(OWN.pem, OWN.private, cert_match=term)
    assert received.connections() == before


async def test_two_matches_warn_and_the_order_of_the_store_decides(received: Received) -> None:
    leaf, other = (LEAF.pem, LEAF.private), (OTHER.pem, OTHER.private)
    for first, parts in ((LEAF, (*leaf, *other)), (OTHER, (*other, *leaf))):
        for _ in range(3):
            with pytest.warns(RuntimeWarning, match="2 certificates match"):
                assert await received.certificates(*parts, cert_match="NATS.io") == [first]


async def test_an_expired_certificate_is_skipped_only_on_demand(received: Received) -> None:
    expired, leaf = (EXPIRED.pem, EXPIRED.private), (LEAF.pem, LEAF.private)
    match: dict[str, Any] = {"cert_match": "example.com"}
    skip = {"cert_match_skip_invalid": True}
    assert await received.certificates(*expired, *leaf, **match, **skip) == [LEAF]
    with (
        pytest.warns(RuntimeWarning, match="is not valid now"),
        pytest.raises(ConnectionFailedError),  # it was sent, and the server refused it
    ):
        await received.certificates(*expired, **match)
    with pytest.raises(KeyStoreError, match="in store: it is not valid now"):
        await received.certificates(*expired, **match, **skip)


async def test_a_thumbprint_selects_a_certificate(received: Received) -> None:
    parts = (LEAF.pem, LEAF.private, OTHER.pem, OTHER.private)
    for each in (OTHER, LEAF):
        term = each.certificate.fingerprint(SHA1()).hex().upper()
        assert await received.certificates(*parts, cert_match_by="thumbprint", cert_match=term) == [
            each
        ]


async def test_a_key_file_beside_the_store_is_ignored_with_a_warning(received: Received) -> None:
    with pytest.warns(RuntimeWarning, match="tls_key is ignored"):
        assert await received.certificates(
            LEAF.pem, LEAF.private, tls_key=received.folder / "nowhere.key"
        ) == [LEAF]

"""What the tests of the connection share."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.transport.authority import CertificateAuthority


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


@pytest.fixture
def server_tls(authority: CertificateAuthority) -> ssl.SSLContext:
    """What a scripted broker shows a client that believes the authority."""
    certificate = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context

"""What the tests of the connection share."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.transport.authority import CertificateAuthority


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or a socket: its ResourceWarning is an error."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == {asyncio.current_task()}
    gc.collect(1)  # what is this young


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

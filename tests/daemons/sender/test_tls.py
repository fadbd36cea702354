"""A server with the plaintext that is elsewhere: believed through verified TLS, and not else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.daemons.sender.conftest import SECRET, Stage, make_stream, opened, page, ready
from tests.running import until
from tests.transport.authority import CertificateAuthority
from tests.transport.links import to
from xkeymsg.client.jetstream.api import API
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link

ROUTE = """
[[route]]
name = "ehr"
subject = "ehr.*"
to = "sealed.ehr.{1}"
recipients = ["bob"]
output = "core"
[observe]
listen = "127.0.0.1:0"
"""
STREAM = ROUTE.replace(
    "subject =", 'stream = "EHR"\ndurable = "seal"\ncreate_durable = true\nsubject ='
).replace("core", "jetstream")
BELIEVED = 'tls_ca = "authority.pem"\n'  # the rest of [source]


def with_certificate(authority: CertificateAuthority, name: str) -> str:
    """The configuration of a server that has one."""
    own = authority.issue(name)
    return f"tls {{ cert_file: '{own.cert}', key_file: '{own.key}' }}"


def over_tls(server: NATSServer, host: str = "127.0.0.1") -> str:
    return f"tls://{host}:{server.port}"


async def publish(server: NATSServer, authority: CertificateAuthority, subject: str) -> None:
    async with open_link(to(over_tls(server), tls_ca=authority.path)) as link:
        await link.publish(subject, SECRET)
        await link.confirm()


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


async def test_what_a_verified_server_has_is_sealed(
    stage: Stage, authority: CertificateAuthority
) -> None:
    with NATSServer(with_certificate(authority, "trusted")) as trusted:
        async with stage.witness() as witness:
            with stage.start(BELIEVED + ROUTE, inside=over_tls(trusted)) as alice:
                ready(alice)
                await publish(trusted, authority, "ehr.new")
                await until(lambda: bool(witness.raws))
                alice.process.send_signal(signal.SIGTERM)
                assert alice.wait() == 0
            assert opened(witness.on("sealed.ehr.new")) == [SECRET]
            assert not witness.saw(SECRET)


async def test_what_a_stream_of_it_keeps_is_sealed(
    stage: Stage, authority: CertificateAuthority
) -> None:
    with NATSServer(with_certificate(authority, "trusted"), jetstream=True) as trusted:
        async with (
            open_link(to(over_tls(trusted), tls_ca=authority.path)) as link,
            stage.witness() as witness,
        ):
            await make_stream(link, "EHR", "ehr.>")
            async with stage.link() as outside:
                await make_stream(outside, "SEALED", "sealed.>")
            await publish(trusted, authority, "ehr.new")
            with stage.start(BELIEVED + STREAM, inside=over_tls(trusted)) as alice:
                ready(alice)
                await until(lambda: bool(witness.raws))
                alice.process.send_signal(signal.SIGTERM)
                assert alice.wait() == 0
            assert opened(witness.on("sealed.ehr.new")) == [SECRET]
            state = (await API(link).request("CONSUMER.INFO.EHR.seal"))["num_ack_pending"]
            assert state == 0


@pytest.mark.parametrize(
    ("host", "believed", "certificate", "why"),
    [
        ("127.0.0.1", 'tls_ca = "another.pem"\n', True, "tls_ca"),
        ("127.0.0.1", "", True, "tls_ca"),
        ("localhost", BELIEVED, True, "does the certificate name this host"),
        ("127.0.0.1", BELIEVED, False, "the server offers no TLS"),
    ],
    ids=["another authority", "the system's authorities", "another name", "no TLS"],
)
async def test_nothing_is_taken_from_a_server_that_is_not_verified(
    stage: Stage,
    authority: CertificateAuthority,
    tmp_path: Path,
    host: str,
    believed: str,
    certificate: bool,
    why: str,
) -> None:
    CertificateAuthority(tmp_path, "another")
    with NATSServer(with_certificate(authority, "some") if certificate else "") as some:
        with stage.start(believed + ROUTE, inside=over_tls(some, host)) as alice:
            assert alice.wait() == 1
            [line] = alice.output("err")
    assert "failed code=connection" in line
    assert why in line


async def test_a_server_that_comes_back_as_another_is_not_believed(
    stage: Stage, authority: CertificateAuthority, tmp_path: Path
) -> None:
    honest = with_certificate(authority, "trusted")
    forged = with_certificate(CertificateAuthority(tmp_path, "another"), "forged")
    with NATSServer(honest) as trusted:
        async with stage.witness() as witness:
            with stage.start(BELIEVED + ROUTE, inside=over_tls(trusted)) as alice:
                where = ready(alice)
                trusted.config = forged
                trusted.restart()
                alice.wait_for("certificate verify failed", "err")
                assert page(where, "/readyz").startswith("503")
                trusted.config = honest
                trusted.restart()
                await until(lambda: page(where, "/readyz").startswith("ok"))
                await publish(trusted, authority, "ehr.new")
                await until(lambda: bool(witness.raws))
        assert opened(witness.on("sealed.ehr.new")) == [SECRET]


async def test_what_is_sealed_goes_out_through_tls_that_is_verified_too(
    stage: Stage, authority: CertificateAuthority
) -> None:
    lines = ROUTE.replace('subject = "ehr.*"', "stdin = true").replace("{1}", "new")
    with NATSServer(with_certificate(authority, "outside")) as outside:
        path = stage.write(lines)
        address = f'servers = ["{over_tls(outside)}"]\n'
        text = path.read_text().replace(f'servers = ["{stage.outside.url}"]\n', address)
        path.write_text(text)
        with stage.start_file(path) as alice:
            assert alice.wait() == 1
            assert any("tls_ca" in line for line in alice.output("err"))
        path.write_text(text.replace(address, address + BELIEVED))
        with stage.start_file(path) as alice:
            assert alice.wait() == 0, alice.output("err")

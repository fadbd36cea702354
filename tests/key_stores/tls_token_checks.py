"""Checks of TLS keys on SoftHSM tokens; each runs in a process of its own.

python -m tests.key_stores.tls_token_checks NAME FOLDER PROVIDER
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import KeyType

from examples.hsm.tokens import SoftToken, use_folder
from tests.key_stores.inside import (
    forget_modules,
    initialize_again,
    proxy,
    shared,
)
from tests.running import DEADLINE, ROOT, until
from tests.transport.authority import CertificateAuthority
from xkeymsg import (
    ANYONE,
    ConnectionFailedError,
    KeyStoreError,
    PinError,
    XKeyPair,
    connect,
    write_seed,
)
from xkeymsg.key_stores.opening import open_key
from xkeymsg.key_stores.openssl import uri_pem
from xkeymsg.key_stores.pkcs11 import Pkcs11Provider
from xkeymsg.nkey import Prefix
from xkeymsg.testing import NATSServer
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys
from xkeymsg.transport.tls import tls_context

PIN, USERS = "719-pin-of-a-token-719", ("ec.example.com", "rsa.example.com")
CHECKS: dict[str, Callable[[Place], None]] = {}


class Place:
    """A token with an EC and an RSA key, and a server that maps certificates to users."""

    def __init__(self, folder: Path, provider: str) -> None:
        use_folder(folder)
        self.folder = folder
        self.provider = provider
        self.authority = CertificateAuthority(folder)
        self.token = SoftToken("tls", PIN)
        self.pin = folder / "pin"
        self.pin.touch(0o600)
        self.pin.write_text(PIN)
        for number, (kind, name) in enumerate(
            zip((KeyType.EC, KeyType.RSA), USERS, strict=True), 1
        ):
            public = self.token.generate_key(kind, number, name)
            self.token.store_certificate(self.authority.certify(name, public), number, name)

    @property
    def store(self) -> str:
        return f"pkcs11:token=tls?pin-source=file:{self.pin}&provider-path={self.provider}"

    @property
    def server(self) -> NATSServer:
        own = self.authority.issue("server")
        users = ", ".join(f'{{user: "CN={each}"}}' for each in USERS)
        return NATSServer(
            f'tls {{cert_file: "{own.cert}", key_file: "{own.key}",'
            f' ca_file: "{self.authority.path}", verify_and_map: true}}\n'
            f"authorization: {{users: [{users}]}}"
        )

    def options(self, url: str, match: str, **more: Any) -> ConnectOptions:
        return ConnectOptions(
            servers=(url.replace("nats://", "tls://"),), tls_ca=self.authority.path,
            timeout=DEADLINE, **{"cert_store": self.store, "cert_match": match} | more,
        )  # fmt: skip

    def log_in(self, options: ConnectOptions) -> None:
        """Connect, and receive a message of one's own."""

        async def use() -> None:
            pair = XKeyPair.generate()
            async with connect(options, key=pair, trust=ANYONE) as client:
                async with client.subscribe("a") as messages:
                    await client.flush()
                    await client.publish("a", b"7 lamps", to=pair.public)
                    assert (await anext(messages)).data == b"7 lamps"

        asyncio.run(use())

    def context(self, store: str, match: str = USERS[0]) -> ssl.SSLContext | None:
        return read_context(self.options("nats://127.0.0.1", match, cert_store=store))


def read_context(options: ConnectOptions) -> ssl.SSLContext | None:
    return options.ssl_context(StoredKeys(options).identity())


def check(function: Callable[[Place], None]) -> Callable[[Place], None]:
    CHECKS[function.__name__] = function
    return function


@check
def clients_log_in_with_ec_and_rsa_keys(place: Place) -> None:
    with place.server as server:
        for user in USERS * 3:
            place.log_in(place.options(server.url, user))


@check
def a_certificate_that_is_no_user_is_refused(place: Place) -> None:
    public = place.token.generate_key(KeyType.EC, 7, "eve")
    place.token.store_certificate(place.authority.certify("eve", public), 7, "eve")
    with place.server as server, pytest.raises(ConnectionFailedError):
        place.log_in(place.options(server.url, "eve"))


@check
def nothing_is_left_behind(place: Place) -> None:
    """No file descriptor, variable or argument has the PIN, or names the key."""
    with place.server as server:
        place.log_in(place.options(server.url, USERS[0]))
        mine = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.exists()]  # noqa: PTH115
        assert not any("memfd" in each for each in mine)
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/self/{name}").read_bytes()
            assert PIN.encode() not in content
            assert b"PROVIDER URI" not in content


@check
def each_failure_has_its_own_error(place: Place) -> None:
    other = place.token.generate_key(KeyType.EC, 3, "other")
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    released = place.token.generate_key(KeyType.EC, 5, "wide", extractable=True)
    for number, name, public in (
        (4, "no key", other), (3, "another key", stranger), (5, "wide", released),
    ):  # fmt: skip
        place.token.store_certificate(place.authority.certify(name, public), number, name)
    cases = [
        (place.store.replace("token=tls", "token=none"), USERS[0], "no token matches"),
        (place.store.replace("pin-source", "x-pin"), USERS[0], "invalid 'x-pin'"),
        (f"pkcs11:token=tls?provider-path={place.provider}", USERS[0], "requires a PIN"),
        (place.store.replace("token=tls", "token=tls;object=other"), USERS[0],
         "unable to find certificate in store: its private key is not there"),
        (place.store, "nobody", "unable to find certificate in store$"),
        (place.store, "no key", "its private key is not there"),
        (place.store.replace("token=tls", "token=tls;object=other"), "another key",
         "the private key with the id of the certificate does not match it"),
        (place.store.replace("token=tls", "token=tls;object=wide"), "wide",
         "its private key is not there"),
    ]  # fmt: skip
    said = set()
    warnings.simplefilter("ignore")
    for store, match, reason in cases:
        forget_modules()
        with pytest.raises(KeyStoreError, match=reason) as caught:
            place.context(store, match)
        said.add(str(caught.value))
    assert len(said) == len(cases) - 2
    assert place.context(f"{place.store}&x-extractable=allowed", "wide")
    with pytest.warns(RuntimeWarning, match="the token releases the key 'wide'"):
        place.context(place.store)


@check
def a_wrong_pin_is_tried_once(place: Place) -> None:
    place.pin.write_text("0000")
    with pytest.raises(PinError, match="refused the PIN"):
        place.context(place.store)
    for _ in range(3):
        with pytest.raises(PinError, match="--try-pin"):
            place.context(place.store)
    forget_modules()  # as after a restart
    with pytest.raises(PinError, match="--try-pin"):
        place.context(place.store)


@check
def a_daemon_with_a_wrong_pin_ends_with_78(place: Place) -> None:
    """The unit files do not restart it then: a few more tries lock a token."""
    place.pin.write_text("0000")
    write_seed(place.folder / "own.seed", XKeyPair.generate())
    (place.folder / "peers.toml").touch()
    config = place.folder / "receiver.toml"
    config.touch(0o600)
    config.write_text(
        f'[key]\nseed_file = "own.seed"\n[trust]\npeers = "peers.toml"\n[nats]\n'
        f'servers = ["tls://127.0.0.1:1"]\ncert_store = "{place.store}"\n'
        '[[route]]\nname = "a"\nsubject = "a"\nsink = "out"\n[sinks.out]\nkind = "stdout"\n'
    )
    for reason in ("refused the PIN", "--try-pin"):
        done = subprocess.run(
            [sys.executable, "-m", "receiver", "--config", str(config)],
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert done.returncode == 78, done.stderr
        assert reason in done.stderr
        assert "0000" not in done.stderr


@check
def two_matches_warn_and_the_id_decides(place: Place) -> None:
    warnings.simplefilter("always")
    issued_by = place.options("nats://127.0.0.1", "authority", cert_match_by="Issuer")
    with place.server as server:
        for _ in range(3):
            with pytest.warns(RuntimeWarning, match=r"2 certificates match.*CN=ec\.example"):
                read_context(issued_by)
        with pytest.warns(RuntimeWarning, match="2 certificates match"):
            place.log_in(place.options(server.url, "authority", cert_match_by="Issuer"))


@check
def another_module_path_is_refused(place: Place) -> None:
    """Two users of one module would crash the process."""
    direct = "pkcs11:token=tls?module-path=/usr/lib/softhsm/libsofthsm2.so"
    assert place.context(place.store)
    with pytest.raises(KeyStoreError, match="register the module with p11-kit"):
        open_key(f"{direct}&pin-source=file:{place.pin}")


async def _shake_hands(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    await writer.start_tls(context, server_hostname="127.0.0.1")
    writer.write(b'CONNECT {"verbose": false}\r\nPING\r\n')
    while (line := await reader.readline()) != b"PONG\r\n":
        assert line.startswith(b"INFO"), line
    writer.transport.abort()


async def _shake_hands_often(port: int, context: ssl.SSLContext) -> None:
    for _ in range(200):
        await _shake_hands(port, context)


def _beside(place: Place, token: str) -> None:
    """Derive in eight threads, beside 200 handshakes."""
    address = f"token={token};object=own?pin-source=file:{place.pin}"
    Pkcs11Provider().create(address, Prefix.CURVE)
    pair, peer = open_key(f"pkcs11:{address}"), XKeyPair.generate()
    expected, wrong, done = shared(peer, pair.public), list[object](), threading.Event()

    def derive() -> None:
        try:
            for count in itertools.count():
                assert shared(pair, peer.public) == expected
                if done.is_set() and count >= 1000:
                    break
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=derive) for _ in range(8)]
    with place.server as server:
        context = read_context(place.options(server.url, USERS[0]))
        assert context is not None
        for each in threads:
            each.start()
        try:
            asyncio.run(_shake_hands_often(server.port, context))
        finally:
            done.set()
            for each in threads:
                each.join()
        place.log_in(place.options(server.url, USERS[1]))
    assert wrong == []


@check
def handshakes_beside_derivations(place: Place) -> None:
    SoftToken("xk", PIN)
    _beside(place, "xk")


@check
def handshakes_beside_derivations_on_the_same_token(place: Place) -> None:
    _beside(place, "tls")


@check
def a_reset_of_the_module_keeps_the_login(place: Place) -> None:
    """A missing token makes the program initialize the module again, which ends its sessions."""
    with place.server as server:
        options = place.options(server.url, USERS[0])
        context = read_context(options)
        assert initialize_again()
        place.log_in(options)
        assert context is not None


@check
def a_lost_connection_logs_in_to_the_token_again(place: Place) -> None:
    """Other stores are read once for all connections of a client."""
    events: list[str] = []

    async def use(server: NATSServer) -> None:
        options, pair = place.options(server.url, USERS[0]), XKeyPair.generate()
        note = lambda event: events.append(event.kind)  # noqa: E731
        async with connect(options, key=pair, trust=ANYONE, on_event=note):
            assert initialize_again()
            await asyncio.to_thread(server.restart)
            await until(lambda: "connected" in events)

    with place.server as server:
        asyncio.run(use(server))


@check
def openssl_conf_is_the_fallback(place: Place) -> None:
    """The provider by OpenSSL's own configuration, and a file with the URI as `tls_key`."""
    certificate = place.folder / "client.pem"
    number, user = 9, USERS[0]
    public = place.token.generate_key(KeyType.EC, number, "fallback")
    certificate.write_bytes(place.authority.certify(user, public).public_bytes(Encoding.PEM))
    key = place.folder / "client.uri.pem"
    key.write_bytes(uri_pem({"token": b"tls", "object": b"fallback"}))
    guide = (ROOT / "docs" / "guides" / "hsm.md").read_text()
    text = textwrap.dedent(guide[guide.index("    # openssl.cnf") :].partition("\n\n")[0])
    for shown, here in (
        ("/usr/lib/x86_64-linux-gnu/ossl-modules/pkcs11.so", place.provider),
        ("/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so", proxy()),
        ("/etc/xkeymsg/pin", str(place.pin)),
    ):
        assert shown in text
        text = text.replace(shown, here)
    (place.folder / "openssl.cnf").write_text(text + "\n")
    environ = os.environ | {"OPENSSL_CONF": str(place.folder / "openssl.cnf")}
    with place.server as server:
        url = server.url.replace("nats://", "tls://")
        done = subprocess.run(
            [sys.executable, "-m", "xkeymsg.cli", "doctor", "--server", url, "--tlscert",
             str(certificate), "--tlskey", str(key), "--tlsca", str(place.authority.path)],
            env=environ, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
    assert "certificate, as" in done.stdout, done.stdout + done.stderr


@check
def openssl_refuses_without_the_provider(place: Place) -> None:
    """Without the provider, the PEM block is not a key, and the error says so."""
    identity = place.authority.issue("x").cert.read_bytes() + uri_pem({"token": b"tls"})
    with pytest.raises(KeyStoreError, match="pkcs11-provider cannot use the private key"):
        tls_context(None, None, None, identity=identity)


if __name__ == "__main__":
    warnings.simplefilter("error")
    CHECKS[sys.argv[1]](Place(Path(sys.argv[2]), sys.argv[3]))

"""What the demonstration does: tokens, three programs, one message, and a search for secrets."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from examples.hello import undisturbed
from examples.hsm.search import forms, search
from examples.hsm.tokens import SoftToken, use_folder
from xkeymsg import KeyStoreError, XKeyPair
from xkeymsg.key_stores.openssl import provider_path
from xkeymsg.nkey import Prefix, decode_seed
from xkeymsg.testing.server import binary

__all__ = ("tell",)

PATIENCE = 120.0
"""Seconds that a program may take to start, or a message to arrive."""
TEXT = "The result of the biopsy is benign."
SERVER = """\
listen: "127.0.0.1:-1"
ports_file_dir: "{folder}"
log_file: "{folder}/server.log"
tls {{
  cert_file: "/proc/self/fd/9", key_file: "/proc/self/fd/9"
  ca_file: "{folder}/ca.pem", verify_and_map: true
}}
authorization: {{users: [{{user: "CN=sender"}}, {{user: "CN=receiver"}}]}}
"""
COMMON = """\
[key]
key_store = "{key}"
[trust]
peers = "{name}.peers.toml"
[nats]
servers = ["{url}"]
tls_ca = "ca.pem"
cert_store = "{tls}"
cert_match = "{name}"
"""
RECEIVER = """\
[[route]]
name = "results"
subject = "results.>"
sink = "out"
[sinks.out]
kind = "stdout"
"""
SENDER = """\
[[route]]
name = "results"
stdin = true
to = "results.new"
recipients = ["receiver"]
output = "core"
"""


def tell(provider: str | None) -> bool:
    """Run the demonstration, and return whether everything worked and no secret was found."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xkeymsg-hsm-")))
        return Story(folder, stack, provider).tell()


class Authority:
    """Issues certificates for keys of the demonstration."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = self._sign("authority", self._key.public_key())
        (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(name, key.public_key()), key

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)])
            for each in (name, "authority")
        )
        usage = dict.fromkeys((
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only", "decipher_only",
        ), False)  # fmt: skip
        is_root = name == "authority"
        usage |= {
            "digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root
        }  # fmt: skip
        authority = self._key.public_key()
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectAlternativeName([local]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip


class Story:
    """The demonstration in a folder.

    Args:
        folder: An empty folder.
        stack: Ends the programs.
        provider: OpenSSL's pkcs11-provider; None to look for it.
    """

    def __init__(self, folder: Path, stack: ExitStack, provider: str | None) -> None:
        self._folder = folder
        self._stack = stack
        self._provider = provider
        self._authority = Authority(folder)
        self._secrets: dict[str, set[bytes]] = {}

    def tell(self) -> bool:
        """Run it."""
        use_folder(self._folder)
        pins = {label: self._secret_text(f"PIN of the token {label}") for label in ("xk", "tls")}
        tokens = {label: SoftToken(label, pin) for label, pin in pins.items()}
        print("2 tokens: xk for the receiver's key, tls for the sender's TLS key (SoftHSM)")
        receiver, sender = self._pair("receiver"), self._pair("sender")
        self._import(receiver, pins["xk"])
        self._peers(receiver, sender)
        url = self._serve()
        key = "pkcs11:token=xk;object=receiver?pin-source=descriptor:{}"
        receives = self._daemon(
            "receiver", RECEIVER, url, (key, pins["xk"]), ("descriptor:{}", self._pem("receiver"))
        )
        _wait("the receiver", receives, lambda: " ready " in self._text("receiver.log"))
        print("the receiver runs; its key never leaves the token xk")
        sends = self._daemon(
            "sender", SENDER, url, ("descriptor:{}", sender.seed()), self._login(tokens, pins)
        )
        assert sends.stdin is not None
        sends.stdin.write(f"{TEXT}\n".encode())
        sends.stdin.flush()
        _wait("the message", sends, lambda: "results.new" in self._text("receiver.out"))
        print(f"the receiver decrypted {self._received()!r}")
        found = self._search()
        return found and self._received() == TEXT

    def _login(self, tokens: Mapping[str, SoftToken], pins: Mapping[str, str]) -> tuple[str, str]:
        """Return the sender's TLS store, and the secret that it reads from a descriptor."""
        try:
            provider = self._provider or provider_path()
        except KeyStoreError as error:
            print(f"skipped: a login with a TLS key on a token: {error}")
            return "descriptor:{}", self._pem("sender")
        certificate, key = self._issue("sender")
        tokens["tls"].import_key(key, 1, "sender")
        tokens["tls"].store_certificate(certificate, 1, "sender")
        print("the sender logs in by TLS; its private key never leaves the token tls")
        return f"pkcs11:token=tls?provider-path={provider}&pin-source=descriptor:{{}}", pins["tls"]

    # --- secrets ----------------------------------------------------------------------------------

    def _secret_text(self, name: str) -> str:
        text = f"{secrets.randbelow(10**16):016d}"
        self._secrets[name] = {text.encode()}
        return text

    def _pair(self, name: str) -> XKeyPair:
        pair = XKeyPair.generate()
        raw = decode_seed(Prefix.CURVE, pair.seed())
        self._secrets[f"seed of the {name}"] = {pair.seed().encode(), *forms(raw)}
        return pair

    def _issue(self, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate, key = self._authority.issue(name)
        raw = key.private_numbers().private_value.to_bytes(32, "big")
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self._secrets[f"TLS key of the {name}"] = {
            *forms(raw), *forms(der), _private_pem(key).splitlines()[1].encode()
        }  # fmt: skip
        return certificate, key

    def _pem(self, name: str) -> str:
        certificate, key = self._issue(name)
        return certificate.public_bytes(Encoding.PEM).decode() + _private_pem(key)

    def _import(self, pair: XKeyPair, pin: str) -> None:
        """Import a key that is known here, so that the search knows what to look for."""
        number = _handed(pin)
        store = f"pkcs11:token=xk;object=receiver?pin-source=descriptor:{number}"
        self._run("key", "import", "--store", store, "-", data=pair.seed(), number=number)

    # --- programs ---------------------------------------------------------------------------------

    def _run(self, *arguments: str, data: str, number: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "xkeymsg.cli", *arguments], input=data.encode(), check=True,
            pass_fds=[number], stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(number)

    def _start(
        self, name: str, command: list[str], handed: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        """Start a program that inherits some descriptors; the stack ends it."""
        with (
            (self._folder / f"{name}.out").open("wb") as out,
            (self._folder / f"{name}.log").open("wb") as log,
            undisturbed(),
        ):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=log, pass_fds=handed
            )
            self._stack.callback(_stop, process)
        for number in handed:
            os.close(number)
        return process

    def _serve(self) -> str:
        """Start a nats-server whose TLS key is in sealed memory; return its address."""
        (self._folder / "server.conf").write_text(SERVER.format(folder=self._folder))
        number = _handed(self._pem("server"))
        xkeymsg = [sys.executable, "-m", "xkeymsg.cli"]
        take = ["tls", "exec", "--cert-store", f"descriptor:{number}", "--fd", "9", "--"]
        serve = [binary(), "-c", str(self._folder / "server.conf")]
        server = self._start("nats-server", [*xkeymsg, *take, *serve], (number,))
        # The server writes this file, in one line, once it is ready.
        ports = self._folder / f"nats-server_{server.pid}.ports"
        _wait("the server", server, lambda: self._text(ports.name).endswith("}"))
        print("the server runs; its TLS key is in sealed memory")
        return f"tls://127.0.0.1:{json.loads(ports.read_text())['nats'][0].rpartition(':')[2]}"

    def _daemon(
        self, name: str, routes: str, url: str, key: tuple[str, str], tls: tuple[str, str]
    ) -> subprocess.Popen[bytes]:
        handed = (_handed(key[1]), _handed(tls[1]))
        path = self._folder / f"{name}.toml"
        common = COMMON.format(
            name=name, url=url, key=key[0].format(handed[0]), tls=tls[0].format(handed[1])
        )
        path.write_text(common + routes)
        path.chmod(0o600)
        return self._start(name, [sys.executable, "-m", name, "--config", str(path)], handed)

    def _peers(self, receiver: XKeyPair, sender: XKeyPair) -> None:
        (self._folder / "receiver.peers.toml").write_text(
            f'[peers.sender]\nxkey = "{sender.public}"\nsubjects = ["results.>"]\n'
        )
        (self._folder / "sender.peers.toml").write_text(
            f'[peers.receiver]\nxkey = "{receiver.public}"\n'
        )

    def _text(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _received(self) -> str:
        return str(json.loads(self._text("receiver.out").splitlines()[0])["data"])

    # --- the search -------------------------------------------------------------------------------

    def _search(self) -> bool:
        """Return whether the search finds what is planted, and no secret."""
        if not self._finds_what_is_planted():
            print("error: the search does not find a planted secret", file=sys.stderr)
            return False
        found = sorted(set(search(self._folder, self._secrets)))
        for place, name in found:
            print(f"error: {name} in {place}", file=sys.stderr)
        if not found:
            names = ", ".join(self._secrets)
            print(f"searched files, arguments and variables for: {names}")
            print("nothing was found; a planted secret was found in all three")
        return not found

    def _finds_what_is_planted(self) -> bool:
        planted = secrets.token_hex(16)
        path = self._folder / "planted"
        path.write_text(planted)
        sleep = [sys.executable, "-c", "input('begun\\n')"]
        with ExitStack() as stack:
            for more, environ in (([planted], os.environ), ([], os.environ | {"X": planted})):
                process = stack.enter_context(
                    subprocess.Popen(
                        [*sleep, *more], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                    )
                )
                stack.callback(_stop, process)
                if process.stdout is not None:
                    process.stdout.readline()  # its arguments and variables are in place
            found = {Path(place).name for place, _ in search(self._folder, _named(planted))}
        path.unlink()
        return found == {"planted", "cmdline", "environ"}


def _named(secret: str) -> dict[str, set[bytes]]:
    return {"planted": {secret.encode()}}


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _handed(text: str) -> int:
    """Return a pipe with a text, for a program that inherits it."""
    read, write = os.pipe()
    os.write(write, text.encode())  # less than a pipe holds
    os.close(write)
    return read


def _wait(what: str, process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{what} did not come: see the logs of the demonstration")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()

"""TLS keys on tokens, through OpenSSL's provider: each check runs in a process of its own."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.key_stores.inside import replace_extension, replace_library
from tests.key_stores.test_pkcs11 import MISSING
from tests.running import DEADLINE, ROOT
from xkeymsg import KeyStoreError
from xkeymsg.key_stores import openssl
from xkeymsg.key_stores.openssl import load_provider, uri_pem

CHECKS = re.findall(
    r"^@check\ndef (\w+)", (Path(__file__).parent / "tls_token_checks.py").read_text(), re.MULTILINE
)
PROXY = "/nowhere/p11-kit-proxy.so"


def provider() -> str:
    """Return the provider's file, or skip the test."""
    chosen = os.environ.get("XKEYMSG_PKCS11_PROVIDER")
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    try:
        return chosen or openssl.provider_path()
    except KeyStoreError as error:
        pytest.skip(f"{error}; XKEYMSG_PKCS11_PROVIDER names one elsewhere")


@pytest.mark.parametrize("name", CHECKS)
def test_a_tls_key_on_a_token(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.key_stores.tls_token_checks"]
    done = subprocess.run(
        [*command, name, str(tmp_path), provider()],
        cwd=ROOT, capture_output=True, text=True, timeout=10 * DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_there_are_checks() -> None:
    assert len(CHECKS) > 8


class TestPem:
    def test_has_the_bytes_that_the_provider_expects(self) -> None:
        """Computed by hand from its ASN.1: SEQUENCE of a VisibleString and a UTF8String."""
        lines = uri_pem({"token": b"my token", "id": b"\x01\xff"}).decode().splitlines()
        assert lines[0] == "-----BEGIN PKCS#11 PROVIDER URI-----"
        assert lines[-1] == "-----END PKCS#11 PROVIDER URI-----"
        uri = b"pkcs11:token=my%20token;id=%01%FF;type=private"
        text = b"\x1a\x19PKCS#11 Provider URI v1.0" + b"\x0c" + bytes([len(uri)]) + uri
        assert base64.b64decode("".join(lines[1:-1])) == b"\x30" + bytes([len(text)]) + text

    @pytest.mark.parametrize(
        ("size", "length"), [(60, b""), (127, b"\x81"), (300, b"\x82\x01"), (70_000, b"\x83\x01")]
    )
    def test_has_lengths_of_any_size(self, size: int, length: bytes) -> None:
        lines = uri_pem({"object": b"a" * size}).splitlines()
        content = base64.b64decode(b"".join(lines[1:-1]))
        assert content[1:].startswith(length)
        assert content.endswith(b"a" * size + b";type=private")

    def test_attributes_cannot_add_others(self) -> None:
        """A label is chosen by whoever writes to the token."""
        label = b"x;token=other?pin-source=file:/etc/passwd\n-----END"
        lines = uri_pem({"object": label}).splitlines()
        [uri] = re.findall(rb"pkcs11:.*", base64.b64decode(b"".join(lines[1:-1])))
        assert uri.count(b";") == 1
        assert b"?" not in uri


class FakeOpenSSL:
    """An OpenSSL without the provider, which cannot load it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = ""

    def OSSL_PROVIDER_available(self, _: object, name: bytes) -> int:  # noqa: N802
        return int(name == b"default")

    def OpenSSL_version(self, _: int) -> bytes:  # noqa: N802
        return f'MODULESDIR: "{self.folder}"'.encode()

    def OSSL_LIB_CTX_load_config(self, _: object, name: bytes) -> int:  # noqa: N802
        self.configuration = Path(name.decode()).read_text()
        return 1

    def ERR_clear_error(self) -> None:  # noqa: N802
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeOpenSSL:
    fake = FakeOpenSSL(tmp_path)
    replace_library(monkeypatch, fake)
    return fake


class TestProvider:
    def test_that_is_missing_is_an_error_that_names_the_package(self, fake: FakeOpenSSL) -> None:
        with pytest.raises(KeyStoreError, match="install the package pkcs11-provider"):
            load_provider(None, PROXY)
        assert fake.configuration == ""

    def test_that_cannot_be_loaded_is_another_error(self, fake: FakeOpenSSL) -> None:
        (fake.folder / "pkcs11.so").write_bytes(b"not a library")
        with pytest.raises(KeyStoreError, match="OpenSSL cannot load its provider"):
            load_provider(None, PROXY)
        assert f"module = {fake.folder}/pkcs11.so\n" in fake.configuration
        assert f"pkcs11-module-path = {PROXY}\n" in fake.configuration
        assert "pin" not in fake.configuration

    @pytest.mark.parametrize("part", ["file", "folder"])
    def test_that_others_can_replace_is_refused(self, part: str, fake: FakeOpenSSL) -> None:
        """OpenSSL would run its code in this process."""
        path = fake.folder / "pkcs11.so"
        path.touch()
        (path if part == "file" else fake.folder).chmod(0o777)
        for each in (None, str(path)):
            with pytest.raises(KeyStoreError, match="other users can replace"):
                load_provider(each, PROXY)
        assert fake.configuration == ""

    def test_is_not_sought_where_the_environment_says(
        self, fake: FakeOpenSSL, tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        planted = tmp_path_factory.mktemp("planted")
        (planted / "pkcs11.so").touch()
        monkeypatch.setenv("OPENSSL_MODULES", str(planted))
        monkeypatch.chdir(planted)
        with pytest.raises(KeyStoreError, match="install the package pkcs11-provider"):
            load_provider(None, PROXY)
        assert fake.configuration == ""

    @pytest.mark.parametrize(
        "path", ["pkcs11.so", "/a b.so", "/$HOME/x.so", "/x\nmodule = /y", "/x#y", "/x\0y", ""]
    )
    def test_path_cannot_change_the_configuration(self, path: str, fake: FakeOpenSSL) -> None:
        with pytest.raises(KeyStoreError, match="expected an absolute path"):
            load_provider(path, PROXY)
        assert fake.configuration == ""

    def test_does_not_start_the_default_provider_where_there_is_another(
        self, fake: FakeOpenSSL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A machine restricted to FIPS stays so."""
        (fake.folder / "pkcs11.so").touch()
        monkeypatch.setattr(fake, "OSSL_PROVIDER_available", lambda *_: 0)
        with pytest.raises(KeyStoreError):
            load_provider(None, PROXY)
        assert "default =" not in fake.configuration

    @pytest.mark.parametrize("fault", ["built in", "no library", "other OpenSSL"])
    def test_a_python_with_an_openssl_of_its_own_is_an_error(
        self, fault: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files: dict[str, Any] = {
            "built in": {}, "no library": {"__file__": "/nowhere.so"},
            "other OpenSSL": {"__file__": None},
        }  # fmt: skip
        replace_extension(monkeypatch, SimpleNamespace(**files[fault]))
        with pytest.raises(KeyStoreError, match="requires a Python that shares OpenSSL 3"):
            load_provider(None, PROXY)

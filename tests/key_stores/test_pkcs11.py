"""Keys on a token of SoftHSM: each check runs in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import forked
from tests.running import DEADLINE
from xkeymsg import KeyStoreError
from xkeymsg.key_stores.pkcs11_uri import Pkcs11Uri, parse_uri

CHECKS = re.findall(
    r"^@check\ndef (\w+)", (Path(__file__).parent / "token_checks.py").read_text(), re.MULTILINE
)
MISSING = [
    name
    for name, found in {
        "softhsm2": shutil.which("softhsm2-util"),
        "p11-kit": next(Path("/usr/lib").glob("**/p11-kit-proxy.so"), None),
        "python-pkcs11": importlib.util.find_spec("pkcs11"),
    }.items()
    if not found
]


PIN = "719-pin-of-a-token-719"


def new_token(folder: Path) -> Mapping[str, str]:
    """Initialize a token in a folder; return the environment in which it is found."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    (folder / "tokens").mkdir()
    (folder / "pin").write_text(f"{PIN}\n")
    (folder / "pin").chmod(0o600)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n"
    )
    environ = os.environ | {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
    initialize = (
        "softhsm2-util", "--init-token", "--free", "--label", "xk", "--so-pin", "5678", "--pin",
        PIN,
    )  # fmt: skip
    subprocess.run(initialize, env=environ, check=True, capture_output=True, timeout=DEADLINE)
    return environ


@pytest.fixture
def token(tmp_path: Path) -> tuple[Path, Mapping[str, str]]:
    """The folder of a new token, and the environment in which it is found."""
    return tmp_path, new_token(tmp_path)


@pytest.mark.parametrize("name", CHECKS)
def test_a_key_on_a_token(name: str, token: tuple[Path, Mapping[str, str]]) -> None:
    folder, environ = token
    arguments = ["tests.key_stores.token_checks", name, str(folder)]
    done = forked.run(arguments, b"", 10 * DEADLINE, environ)
    assert done.returncode == 0, done.stderr.decode()


def test_there_are_checks() -> None:
    assert len(CHECKS) > 10


class TestUris:
    def test_are_parsed(self) -> None:
        text = "token=my%20token;object=a;id=%01%ff;serial=1?pin-source=file:/p&module-path=/m.so"
        assert parse_uri(text) == Pkcs11Uri(
            {"token": "my token", "serial": "1"}, "a", b"\x01\xff", "/m.so", "file:/p"
        )
        assert parse_uri("") == Pkcs11Uri({})
        assert parse_uri("type=private?x-extractable=allowed").extractable

    @pytest.mark.parametrize(
        "text",
        ["token", "tokens=x", "token=a;token=b", "token=%ff", "type=public", "a=b", "\0", "ä",
         "token=x?pin-value=1234", "token=x?pin=1", "token=x?x-extractable=yes", "a" * 5000,
         "token=x?pin-source=a&pin-source=b", "token=x&pin-source=y;pin-source=z"],
    )  # fmt: skip
    def test_that_are_invalid_are_refused(self, text: str) -> None:
        with pytest.raises(KeyStoreError) as caught:
            parse_uri(text)
        assert len(str(caught.value)) < 200
        assert "1234" not in str(caught.value)

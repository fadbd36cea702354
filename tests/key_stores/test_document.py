"""docs/stores.md: what it shows works as it is written."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests import forked
from tests.key_stores.test_pkcs11 import MISSING
from tests.running import DEADLINE, ROOT, Process
from xkeymsg import XKeyPair, write_seed
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.key_stores.providers import OWN, parse_store

TEXT = (ROOT / "docs" / "stores.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def shell(script: str, folder: Path, **more: str) -> str:
    """Run lines of a shell; every one must succeed."""
    (folder / "bin").mkdir(exist_ok=True)
    forked.write_commands(folder / "bin", {"xkeymsg": "xkeymsg.cli"})
    env = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"} | more
    command = ["/bin/sh", "-ec", f"exec 2>&1\n{script}"]
    done = forked.run_script(command, folder, env, 10 * DEADLINE)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_python_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = blocks("python")
    exec(compile(code, "stores.md", "exec"), {})


def test_the_commands_for_files_work(tmp_path: Path) -> None:
    [script] = [each for each in blocks("sh") if "file:bob.seed" in each]
    (tmp_path / "report.pdf").write_text("7 lamps")
    # Nothing runs at the address of the doctor.
    script = script.replace("doctor", "doctor --server nats://127.0.0.1:1 --timeout 1s")
    script = re.sub(r"^(xkeymsg doctor .*)$", r"\1 || test $? = 1", script, flags=re.MULTILINE)
    assert "ok key" in " ".join(shell(script, tmp_path).split())
    assert (tmp_path / "report.sealed").read_bytes()[:4] == b"xkm1"


def test_the_commands_for_tokens_work(tmp_path: Path) -> None:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    [script] = [each for each in blocks("sh") if "softhsm2-util" in each]
    (tmp_path / "tokens").mkdir()
    (tmp_path / "conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    write_seed(tmp_path / "old.seed", old := XKeyPair.generate())
    script = re.sub(r"^apt-get install .*$", "", script, flags=re.MULTILINE)
    said = shell(script, tmp_path, SOFTHSM2_CONF=str(tmp_path / "conf"))
    assert f"{old.public}  Label=old" in said
    assert "generated on the token" in said


def test_systemd_encrypts_a_seed_as_described(tmp_path: Path) -> None:
    if shutil.which("systemd-creds") is None:
        pytest.skip("no systemd-creds here")
    [script] = [each for each in blocks("sh") if "systemd-creds" in each]
    write_seed(tmp_path / "own.seed", pair := XKeyPair.generate())
    host = script.splitlines()[0]
    assert "--with-key=host" in host
    setup = subprocess.run(["systemd-creds", "setup"], capture_output=True, check=False)
    if setup.returncode != 0:
        pytest.skip("systemd-creds has no host key here")
    shell(f"{host}\nsystemd-creds decrypt --name=xkey xkey.cred xkey\nchmod 400 xkey", tmp_path)
    said = shell("xkeymsg key show -K systemd:xkey", tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert str(pair.public) in said


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start software TPMs by name; each call returns the address of one for systemd-creds."""
    for program in ("systemd-creds", "swtpm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    if find_library("tss2-tcti-swtpm") is None:
        pytest.skip("no libtss2-tcti-swtpm0 here")
    with ExitStack() as stack:

        def start(name: str) -> str:
            (tmp_path / name).mkdir()
            port = free_ports()
            words = (
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={tmp_path / name}", "--server",
                f"type=tcp,port={port},bindaddr=127.0.0.1", "--ctrl",
                f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags",
                "not-need-init,startup-clear",
            )  # fmt: skip
            stack.enter_context(Process(*words))
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                # The other port: the TPM serves its first client, and then no more.
                with suppress(OSError), socket.create_connection(("127.0.0.1", port + 1)):
                    return f"swtpm:host=127.0.0.1,port={port}"
                time.sleep(0.05)
            raise AssertionError("swtpm does not listen")

        yield start


def free_ports() -> int:
    """Return the first of two free ports, one after the other."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port: int = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                socket.create_server(("127.0.0.1", port + 1)).close()
                return port


def test_systemd_seals_a_seed_with_a_tpm_as_described(
    tmp_path: Path, tpm: Callable[[str], str]
) -> None:
    [script] = [each for each in blocks("sh") if "systemd-creds" in each]
    sealing = script.splitlines()[1]
    assert "--with-key=tpm2" in sealing
    write_seed(tmp_path / "own.seed", pair := XKeyPair.generate())
    own, other = tpm("own"), tpm("other")
    shell(sealing.replace("tpm2 ", f"tpm2 --tpm2-device={own} ", 1), tmp_path)
    assert pair.seed().encode() not in (tmp_path / "xkey.cred").read_bytes()

    def unseal(device: str, name: str = "xkey") -> str:
        return f"systemd-creds decrypt --tpm2-device={device} --name={name} xkey.cred xkey"

    for refused in (unseal(other), unseal(own, "other")):
        shell(f"! {refused}\ntest ! -s xkey", tmp_path)
    shell(f"{unseal(own)}\nchmod 400 xkey", tmp_path)
    said = shell("xkeymsg key show -K systemd:xkey", tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert str(pair.public) in said
    assert "in memory while the program runs" in said


def test_age_decrypts_a_seed_as_described(tmp_path: Path) -> None:
    if shutil.which("age") != "/usr/bin/age":
        pytest.skip("no /usr/bin/age here")
    [store] = re.findall(r'key_store = "(command:timeout=5 /usr/bin/age [^"]*)"', TEXT)
    write_seed(tmp_path / "own.seed", pair := XKeyPair.generate())
    shell(
        "(umask 077; age-keygen -o age.key 2>/dev/null)\n"
        'age -r "$(age-keygen -y age.key)" -o own.age own.seed',
        tmp_path,
    )
    store = store.replace("/etc/xkeymsg", str(tmp_path)).replace("timeout=5", "timeout=60")
    assert str(pair.public) in shell(f"xkeymsg key show -K '{store}'", tmp_path)


def test_the_commands_for_several_keys_work(tmp_path: Path) -> None:
    [script] = [each for each in blocks("sh") if "mkdir -m 700 keys" in each]
    made = shell(script, tmp_path).split()
    assert len(made) == 4
    assert sorted(made[:2]) == made[2:]


def test_the_settings_are_valid() -> None:
    tables = [tomllib.loads(each)["key"] for each in blocks("toml") if "[key]" in each]
    assert len(tables) >= 3
    for table in tables:
        assert table.keys() <= KeySection.model_fields.keys()
        assert parse_store(table["key_store"]).address


def test_every_provider_is_described() -> None:
    rows = dict(
        re.findall(r"^\| \[`(\w+)`\]\([^)]*\) \| [^|]+ \| `([^`]+)` \|$", TEXT, re.MULTILINE)
    )
    assert rows.keys() == OWN.keys()
    stores: Mapping[str, str] = rows
    for name, example in stores.items():
        assert parse_store(example).name == name

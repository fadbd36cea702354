"""docs/stores.md: what it shows works as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import forked
from tests.key_stores.test_pkcs11 import MISSING
from tests.running import DEADLINE, ROOT
from xkeymsg import XKeyPair, write_seed
from xkeymsg.daemons.common.sections import KeySection
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
    anna = str(XKeyPair.generate().public)
    script = script.replace("anna.pub", anna)
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

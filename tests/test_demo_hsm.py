"""The demonstration with tokens, and the search for secrets, which finds planted ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.hsm.search import forms, search
from tests.key_stores.test_pkcs11 import MISSING
from tests.running import DEADLINE, LONG, ROOT
from tests.test_makefile import alive, children
from xkeymsg import KeyStoreError
from xkeymsg.key_stores.openssl import provider_path

SECRET = b"\x07secret of this test\xff"
DEMO = "from examples.hsm import story, demo; {}; raise SystemExit(demo.main({}))"


def provider() -> str | None:
    try:
        return os.environ.get("XKEYMSG_PKCS11_PROVIDER") or provider_path()
    except KeyStoreError:
        return None


def demonstrate(change: str = "0", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the demonstration after a change to it."""
    path = provider()
    code = DEMO.format(change, [] if path is None else ["--provider", path])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environ, capture_output=True,
        text=True, timeout=LONG, check=False,
    )  # fmt: skip


@pytest.fixture
def _tokens() -> None:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")


@pytest.mark.slow
@pytest.mark.usefixtures("_tokens")
class TestTheDemonstration:
    def test_decrypts_logs_in_and_finds_nothing(self) -> None:
        done = demonstrate()
        assert done.returncode == 0, done.stderr
        assert "the receiver decrypted 'The result of the biopsy is benign.'" in done.stdout
        assert "nothing was found; a planted secret was found in all three" in done.stdout
        if provider() is None:
            assert "skipped: a login with a TLS key on a token: install the package" in done.stdout
            pytest.skip("pkcs11-provider is missing: the sender's TLS key was in memory")
        assert "the sender logs in by TLS; its private key never leaves the token" in done.stdout

    def test_fails_if_a_secret_is_on_the_disk(self) -> None:
        leak = (
            "peers = story.Story._peers; story.Story._peers = lambda self, receiver, sender:"
            " ((self._folder / 'leak').write_text('x' + receiver.seed()),"
            " peers(self, receiver, sender))"
        )
        done = demonstrate(leak)
        assert done.returncode == 1
        assert "error: seed of the receiver in " in done.stderr
        assert "/leak\n" in done.stderr
        assert "nothing was found" not in done.stdout

    def test_fails_if_the_search_finds_nothing_at_all(self) -> None:
        done = demonstrate("story.search = lambda *_: iter(())")
        assert done.returncode == 1
        assert "error: the search does not find a planted secret" in done.stderr

    def test_leaves_no_process_behind(self) -> None:
        demo = subprocess.Popen(
            [sys.executable, "-m", "examples.hsm.demo"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            end, started = time.monotonic() + DEADLINE, set[int]()
            while len(started) < 2 and time.monotonic() < end:
                started = children(demo.pid)
                time.sleep(0.01)
            assert len(started) >= 2
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(DEADLINE) == 128 + signal.SIGTERM
        finally:
            demo.kill()
            demo.communicate()
        assert [pid for pid in started if alive(pid)] == []


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    done = demonstrate(PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("This demonstration needs: apt-get install softhsm2")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("form", sorted(forms(SECRET)))
def test_a_secret_is_found_in_a_file(form: bytes, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"\0before" + form + b"after")
    (tmp_path / "part").write_bytes(form[:-1])
    found = list(search(tmp_path, {"key": forms(SECRET), "other": [b"another secret"]}))
    assert found == [(str(tmp_path / "below" / "file"), "key")]


@pytest.mark.parametrize("place", ["cmdline", "environ"])
def test_a_secret_is_found_in_a_process(place: str, tmp_path: Path) -> None:
    text = os.urandom(16).hex()
    arguments = [f"--pin={text}"] if place == "cmdline" else []
    environ = os.environ | ({"PIN": text} if place == "environ" else {})
    process = subprocess.Popen(
        [sys.executable, "-c", "input('begun\\n')", *arguments], env=environ,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"  # at first, its arguments are not there yet
    try:
        found = list(search(tmp_path, {"PIN": [text.encode()]}))
    finally:
        process.communicate(b"\n")
    assert found == [(f"/proc/{process.pid}/{place}", "PIN")]

"""Programs, providers and keys of others that fail, lie, or try to show a secret."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.key_stores.test_providers import process_state, script
from tests.running import DEADLINE, ROOT
from xkeymsg import KeyStoreError, XKeyPair
from xkeymsg.key_stores.certificates import released_identity, tls_identity
from xkeymsg.key_stores.opening import describe, find_key, list_keys, open_key, open_signer
from xkeymsg.key_stores.ownership import held_lock
from xkeymsg.key_stores.protocol import StoredKey
from xkeymsg.key_stores.released_key import ReleasingProvider

PAIR = XKeyPair.generate()


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$", "yes | head -c 9999"])
def test_a_program_that_fails_leaves_no_children(end: str, tmp_path: Path) -> None:
    note = tmp_path / "child"
    path = script(tmp_path, f"sleep 300 & echo $! > '{note}'\n{end}")
    with pytest.raises(KeyStoreError, match=r"ended with (3|-9):|printed more"):
        open_key(f"command:timeout=60 '{path}'")
    child, end_at = int(note.read_text()), time.monotonic() + DEADLINE
    while (state := process_state(child)) not in ("", "Z"):
        assert time.monotonic() < end_at, state
        time.sleep(0.05)


def test_a_program_whose_end_is_unknown_is_refused(tmp_path: Path) -> None:
    """A parent may have started us with SIGCHLD ignored; then nobody learns an exit code."""
    path = script(tmp_path, f"echo {PAIR.seed()}; exit 3")
    code = f"from xkeymsg import open_key; open_key({f'command:{path}'!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False,
        timeout=DEADLINE, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert "SIGCHLD is ignored" in done.stderr
    assert PAIR.seed() not in done.stderr


def test_stdin_is_empty_after_a_seed_was_read_from_it() -> None:
    """A closed descriptor 0 would become that of the next file or connection."""
    code = "from xkeymsg import open_key; open_key('descriptor:0'); print(open(0).read() == '')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=PAIR.seed().encode(), capture_output=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.stdout == b"True\n", done.stderr


def test_a_lock_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "lock"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(KeyStoreError, match="not a safe lock"), held_lock(path):
        pass
    path.parent.chmod(0o1777)
    with held_lock(path):
        pass


class _Key:
    """A key that behaves until one of its methods is replaced."""

    names: Mapping[str, str] = MappingProxyType({"Label": "x"})

    def public(self) -> str:
        return str(PAIR.public)

    def dh(self, peer: bytes) -> bytes:
        raise RuntimeError(PAIR.seed())

    sign = dh

    def describe(self) -> Sequence[str]:
        raise RuntimeError(PAIR.seed())


class _RaisesPublic(_Key):
    def public(self) -> str:
        raise RuntimeError(PAIR.seed())


class _Seed(_Key):
    def public(self) -> str:
        return PAIR.seed()


class _NoText(_Key):
    def public(self) -> str:
        return None  # type: ignore[return-value]


class _Long(_Key):
    def public(self) -> str:
        return "X" * 1_000_000


class _NoNames(_Key):
    @property
    def names(self) -> Mapping[str, str]:  # type: ignore[override]
        raise RuntimeError(PAIR.seed())


class _ManyNames(_Key):
    names: Mapping[str, str] = MappingProxyType({f"{each:0100}": "x" for each in range(10_000)})


KEYS: Mapping[str, type[_Key]] = {
    each.__name__: each
    for each in (_Key, _RaisesPublic, _Seed, _NoText, _Long, _NoNames, _ManyNames)
}


class Provider:
    addressed_by = "Name"

    def keys(self, address: str) -> Sequence[StoredKey]:
        return [KEYS[address]()]


class Releasing(ReleasingProvider):
    def read(self, address: str, limit: int = 4096) -> bytes:
        match address:
            case "long":
                return b"x" * (limit + 1)
            case "text":
                return "x"  # type: ignore[return-value]
            case _:
                raise RuntimeError(PAIR.seed())


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        metadata.EntryPoint(name, f"{__name__}:{kind}", "xkeymsg.key_stores")
        for name, kind in (("hostile", "Provider"), ("releasing", "Releasing"))
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: found)


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(KeyStoreError) as caught:
        call()
    assert PAIR.seed() not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("name", KEYS)
def test_a_hostile_key_is_refused_and_shows_nothing(name: str) -> None:
    store = f"hostile:{name}"
    refused(lambda: open_key(store))
    refused(lambda: open_signer(store))
    refused(lambda: find_key(store, match_by="Nothing", match="x"))
    refused(lambda: describe(KEYS[name]()))
    if name in ("_RaisesPublic", "_Seed", "_NoText", "_Long"):
        refused(lambda: list_keys(store))


@pytest.mark.parametrize("address", ["long", "text", "error"])
def test_a_hostile_certificate_store_is_refused_and_shows_nothing(address: str) -> None:
    refused(lambda: tls_identity(f"releasing:{address}"))
    refused(lambda: released_identity(f"releasing:{address}"))


@pytest.mark.parametrize(
    "store",
    [
        "command:/bin/cat\0", "command:/bin/\udcff", "file:/a\0", "file:\udcff", "systemd:a\0",
        "descriptor:\0", "environment:\0", "pkcs11:\0", "pkcs11:token=\udcff",
        "pkcs11:token=x?pin-source=command:/bin/cat%00", "pkcs11:token=%FF", "\0:", ":", "",
    ],
)  # fmt: skip
def test_an_address_that_no_system_call_accepts_is_refused(store: str) -> None:
    for call in (open_key, open_signer, list_keys, tls_identity, released_identity):
        refused(lambda call=call: call(store))  # type: ignore[misc]

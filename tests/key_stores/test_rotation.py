"""What rotation needs of a key store: several keys with certificates, one owner, no lost step."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from tests import forked
from tests.key_stores.test_pkcs11 import new_token
from tests.running import LONG
from xkeymsg import KeyStoreError, XKeyPair, open_key
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.key_stores.opening import list_certificates, list_keys
from xkeymsg.key_stores.ownership import StoreOwnedError
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.testing.key_stores import check_several
from xkeymsg.trust.claims import Certificate
from xkeymsg.trust.jwt import Kind, issue

PAIR = XKeyPair(bytes(range(100, 132)))
PUBLIC = str(PAIR.public)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: these tests kill processes, not the machine, and wait for no disk."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=base) as path:
        yield Path(path)


def token_of(folder: Path) -> str:
    """The address of several keys on the token of a folder."""
    return f"pkcs11:token=xk;object=own?pin-source=file:{folder / 'pin'}&x-lock={folder}/lock"


def test_a_folder_obeys_the_protocol(folder: Path) -> None:
    check_several(FileProvider(), str(folder))
    assert [each.name for each in folder.iterdir()] == [".lock"]


def killed(store: str, step: int, env: Mapping[str, str] = os.environ) -> str:
    """Kill a process before one line in `step`, which `make scale` does before each line."""
    arguments = ["tests.key_stores.kill_checks", store, str(step)]
    done = forked.run(arguments, b"", LONG, env)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_a_folder_survives_sigkill_before_some_lines(memory: Path) -> None:
    memory.chmod(0o700)
    killed(f"file:{memory}", 4)
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in memory.iterdir())
    assert not list(memory.glob("*.new"))


def test_a_token_survives_sigkill_before_some_lines(memory: Path) -> None:
    env = new_token(memory)
    killed(token_of(memory), 10, env)


def test_certificates_and_the_clock_say_which_key_is_current(folder: Path) -> None:
    """The store has no states: a directory decides with the times that users have signed."""
    user = SigningKey(encode_seed(Prefix.USER, bytes(range(50, 82))), Prefix.USER)
    provider, now, made = FileProvider(), 1_000, []
    for begins in (500, 900, 1_600):
        public = provider.create(str(folder), Prefix.CURVE).public()
        text = issue(
            Kind.XKEY, user, public, {"issuer_account": None}, issued=400, not_before=begins,
            expires=9_000,
        )  # fmt: skip
        provider.put_certificate(str(folder), public, text)
        made.append(public)
    bare = provider.create(str(folder), Prefix.CURVE).public()  # the next step was interrupted
    found = list_certificates(f"file:{folder}")
    begun = {key: Certificate.decode(text).claims.not_before for key, text in found.items()}
    assert {key.public() for key in list_keys(f"file:{folder}")} - begun.keys() == {bare}
    reached = sorted((begins, key) for key, begins in begun.items() if begins <= now)
    assert [key for _, key in reached] == made[:2]


def test_a_missing_folder_does_not_become_a_file(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="mkdir -m 700"):
        FileProvider().create(f"{tmp_path}/keys/", Prefix.CURVE)
    assert not (tmp_path / "keys").exists()


def test_a_store_for_one_key_has_no_certificates(tmp_path: Path) -> None:
    store = f"{tmp_path / 'own.seed'}"
    FileProvider().put(store, PAIR.seed())
    assert list_certificates(f"file:{store}") == {}
    assert list_certificates("environment:NO_MATTER") == {}
    with pytest.raises(KeyStoreError, match="not a folder"):
        FileProvider().put_certificate(store, PUBLIC, "a.b")
    with FileProvider().lock(store), FileProvider().lock(store):
        pass  # there is nothing to lock


class TestAHostileUser:
    """Another local user, or the result of a careless `cp -r`."""

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
    def test_who_can_change_the_folder_is_refused(self, folder: Path, mode: int) -> None:
        provider = FileProvider()
        provider.put(str(folder), PAIR.seed())
        folder.chmod(mode)
        for act in (
            lambda: list_keys(f"file:{folder}"),
            lambda: provider.create(str(folder), Prefix.CURVE),
            lambda: provider.delete(str(folder), PUBLIC),
            lambda: provider.put_certificate(str(folder), PUBLIC, "a.b"),
            lambda: list_certificates(f"file:{folder}"),
            lambda: provider.lock(str(folder)).__enter__(),
        ):
            with pytest.raises(KeyStoreError, match="other users can change"):
                act()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_who_owns_the_folder_is_refused(self, folder: Path) -> None:
        os.chown(folder, 12345, -1)
        with pytest.raises(KeyStoreError, match="other users can change"):
            list_keys(f"file:{folder}")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_who_owns_a_folder_above_is_refused(self, folder: Path, tmp_path: Path) -> None:
        """That user could put another folder of ours in its place."""
        os.chown(tmp_path, 12345, -1)
        with pytest.raises(KeyStoreError, match="other users can change"):
            list_keys(f"file:{folder}")

    def test_a_mounted_kubernetes_secret_is_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its folder has mode 1777, on a file system that is mounted read-only."""
        FileProvider().put(str(folder), PAIR.seed())
        folder.chmod(0o1777)
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
        assert open_key(f"file:{folder}").public == PAIR.public

    def test_a_file_under_another_name_is_refused(self, folder: Path) -> None:
        """Deleting by name would delete another key than the one that was meant."""
        FileProvider().put(str(folder), PAIR.seed())
        other = XKeyPair.generate().public
        (folder / f"{PUBLIC}.seed").rename(folder / f"{other}.seed")
        with pytest.raises(KeyStoreError, match="holds another key than its name says"):
            list_keys(f"file:{folder}")

    def test_one_readable_file_is_refused(self, folder: Path) -> None:
        FileProvider().put(str(folder), PAIR.seed())
        (folder / f"{PUBLIC}.seed").chmod(0o644)
        with pytest.raises(KeyStoreError, match="others can read it"):
            list_keys(f"file:{folder}")

    def test_other_files_are_ignored(self, folder: Path) -> None:
        for name in ("README", "old.seed", "x.jwt", ".hidden.seed", f"{PUBLIC}.seed~"):
            (folder / name).write_text("SECRET")
        (folder / f"{PUBLIC}.jwt").write_bytes(b"\xff" * 40_000)
        assert not list_keys(f"file:{folder}")
        assert not list_certificates(f"file:{folder}")

    def test_a_link_in_place_of_the_lock_is_not_followed(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (folder / ".lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyStoreError, match="cannot lock"), FileProvider().lock(str(folder)):
            pass
        assert not (tmp_path / "elsewhere").exists()

    def test_a_link_in_place_of_a_new_file_is_not_followed(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (folder / f"{PUBLIC}.seed.new").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyStoreError, match="cannot write"):
            FileProvider().put(str(folder), PAIR.seed())
        assert not (tmp_path / "elsewhere").exists()

    def test_too_many_keys_are_refused(self, folder: Path) -> None:
        for _ in range(101):
            (folder / f"{XKeyPair.generate().public}.seed").touch(0o600)
        with pytest.raises(KeyStoreError, match="more than 100 keys"):
            list_keys(f"file:{folder}")


def test_the_owner_of_a_folder_is_asked_for_a_newer_key(folder: Path) -> None:
    provider, address = FileProvider(), str(folder)
    assert provider.asked(address) == 0
    with pytest.raises(KeyStoreError, match="cannot write"):
        provider.ask_owner(address, 1_700_000_000)  # there never was an owner
    with provider.lock(address):
        assert provider.asked(address) == 0
        provider.ask_owner(address, 1_700_000_000)
        assert provider.asked(address) == 1_700_000_000
        provider.ask_owner(address, 1_800_000_000)
        with pytest.raises(StoreOwnedError), provider.lock(address):
            pass
    with provider.lock(address):  # a restart
        assert provider.asked(address) == 1_800_000_000
    assert (folder / ".lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"1", b"-00000000001", b"x" * 12, b"\xb9" * 12, b"9" * 11 + b"\n", b"\0" * 50]
)
def test_a_request_that_cannot_be_read_asks_for_nothing(folder: Path, content: bytes) -> None:
    (folder / ".lock").write_bytes(content)
    assert FileProvider().asked(str(folder)) == 0


def test_a_link_instead_of_the_lock_is_neither_read_nor_written(folder: Path) -> None:
    other = folder.parent / "other"
    other.write_bytes(b"001700000000\n")
    (folder / ".lock").symlink_to(other)
    provider, address = FileProvider(), str(folder)
    assert provider.asked(address) == 0
    with pytest.raises(KeyStoreError):
        provider.ask_owner(address, 1_800_000_000)
    assert other.read_bytes() == b"001700000000\n"
    (folder / ".lock").unlink()
    os.mkfifo(folder / ".lock")
    assert provider.asked(address) == 0

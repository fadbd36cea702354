"""Each provider obeys the protocol, and refuses what would leak or lend a key."""

from __future__ import annotations

import os
import signal
import stat
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.key_stores.inside import forget_descriptors
from tests.test_refusals import errors_behind, holds
from xkeymsg import KeyStoreError, XKeyPair, write_seed
from xkeymsg.key_stores.command import CommandProvider
from xkeymsg.key_stores.descriptor import DescriptorProvider
from xkeymsg.key_stores.environment import EnvironmentProvider
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.key_stores.opening import find_key, list_keys, open_key, open_signer
from xkeymsg.key_stores.protocol import WritableProvider
from xkeymsg.key_stores.providers import OWN
from xkeymsg.key_stores.released_key import ReleasedKey
from xkeymsg.key_stores.store_keys import StoreKeyPair, StoreSigner
from xkeymsg.key_stores.systemd import SystemdProvider
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.testing.key_stores import check_provider, check_writable

PAIR = XKeyPair(bytes(range(100, 132)))
USER = encode_seed(Prefix.USER, bytes(range(50, 82)))


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    write_seed(tmp_path / "own.seed", PAIR)
    return tmp_path / "own.seed"


def script(folder: Path, text: str, name: str = "print-key") -> Path:
    folder = folder / "bin"
    folder.mkdir(mode=0o755, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestTheProtocol:
    def test_file(self, seed: Path) -> None:
        check_provider(FileProvider(), str(seed), bad_address=str(seed.parent / "missing"))

    def test_a_file_with_a_user_key(self, tmp_path: Path) -> None:
        provider = FileProvider()
        provider.put(str(tmp_path / "user.seed"), USER)
        check_provider(provider, str(tmp_path / "user.seed"), bad_address=str(tmp_path / "no"))

    def test_files_can_be_written(self, tmp_path: Path) -> None:
        check_writable(FileProvider(), str(tmp_path / "one"), other=str(tmp_path / "two"))
        assert list(tmp_path.iterdir()) == []

    def test_environment(self) -> None:
        environ = {"PROTOCOL_KEY": PAIR.seed()}
        check_provider(EnvironmentProvider(environ), "PROTOCOL_KEY", bad_address="NO_SUCH_KEY")
        assert environ == {}

    def test_descriptor(self) -> None:
        source, target = os.pipe()
        os.write(target, f"{PAIR.seed()}\n".encode())
        os.close(target)
        check_provider(DescriptorProvider(), str(source), bad_address="987654")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(source)

    def test_systemd(self, seed: Path) -> None:
        seed.chmod(0o440)  # the look of systemd's entry for a service's user
        provider = SystemdProvider({"CREDENTIALS_DIRECTORY": str(seed.parent)})
        check_provider(provider, "own.seed", bad_address="missing")

    def test_command(self, seed: Path) -> None:
        check_provider(CommandProvider(), f"/bin/cat '{seed}'", bad_address="/bin/false")

    @pytest.mark.skipif(find_spec("pkcs11") is None, reason="python-pkcs11 is not installed")
    def test_only_providers_that_write_are_writable(self) -> None:
        writable = {name for name in OWN if isinstance(OWN[name](), WritableProvider)}
        assert writable == {"file", "pkcs11", "protected"}


class TestFiles:
    def test_of_a_kubernetes_secret_are_refused_with_its_own_remedy(self, tmp_path: Path) -> None:
        volume = tmp_path / "secret"
        (volume / "..2026").mkdir(parents=True)
        (volume / "..data").symlink_to("..2026")
        (volume / "..data" / "xkey").write_text(PAIR.seed())
        (volume / "xkey").symlink_to("..data/xkey")
        (volume / "xkey").chmod(0o644)
        with pytest.raises(KeyStoreError, match=r"defaultMode: 0400.*group_may_read"):
            open_key(f"file:{volume / 'xkey'}")
        (volume / "xkey").chmod(0o440)  # with an fsGroup
        with pytest.raises(KeyStoreError, match="defaultMode"):
            open_key(f"file:{volume / 'xkey'}")
        assert open_key(f"file:group_may_read {volume / 'xkey'}").public == PAIR.public
        (volume / "xkey").chmod(0o400)
        assert open_key(f"file:{volume / 'xkey'}").public == PAIR.public

    @pytest.mark.parametrize("mode", [0o444, 0o460, 0o442, 0o644])
    def test_group_may_read_allows_nothing_else(self, seed: Path, mode: int) -> None:
        seed.chmod(mode)
        with pytest.raises(KeyStoreError, match="others can read it"):
            open_key(f"file:group_may_read {seed}")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_of_another_user_are_refused(self, seed: Path) -> None:
        os.chown(seed, 12345, -1)
        with pytest.raises(KeyStoreError, match="belongs to user 12345"):
            open_key(f"file:{seed}")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a pipe away")
    @pytest.mark.parametrize("through_a_link", [False, True])
    def test_a_pipe_of_another_user_is_refused(self, tmp_path: Path, through_a_link: bool) -> None:
        """Whoever can put a pipe there would choose our key."""
        pipe = tmp_path / "own.seed"
        os.mkfifo(pipe, 0o600)
        os.chown(pipe, 12345, -1)
        path = pipe
        if through_a_link:
            path = tmp_path / "link"
            path.symlink_to(pipe)
        feeder = os.open(pipe, os.O_RDWR)
        os.write(feeder, PAIR.seed().encode().ljust(5000))
        try:
            with pytest.raises(KeyStoreError, match="belongs to user 12345"):
                open_key(f"file:{path}")
        finally:
            os.close(feeder)

    def test_an_inherited_pipe_is_read_whoever_made_it(self) -> None:
        source, target = os.pipe()
        os.write(target, PAIR.seed().encode())
        os.close(target)
        if os.geteuid() == 0:
            os.fchown(source, 12345, -1)
        try:
            assert open_key(f"file:/dev/fd/{source}").public == PAIR.public
        finally:
            os.close(source)

    def test_are_new_and_their_owners_alone(self, tmp_path: Path) -> None:
        FileProvider().create(str(tmp_path / "key"), Prefix.CURVE)
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


class TestEnvironment:
    def test_a_reload_keeps_a_key_that_was_removed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RELOADED_KEY", PAIR.seed())
        first = open_key("environment:RELOADED_KEY")
        assert "RELOADED_KEY" not in os.environ  # so that no child inherits it
        assert open_key("environment:RELOADED_KEY").public == first.public

    def test_the_warning_is_honest(self) -> None:
        facts = " ".join(EnvironmentProvider({}).facts("X"))
        assert "warning" in facts
        assert "/proc/PID/environ" in facts

    @pytest.mark.parametrize("name", ["", "A=B", "A\0", "1A", "ä", PAIR.seed() * 5])
    def test_an_invalid_name_is_refused_and_not_shown(self, name: str) -> None:
        with pytest.raises(KeyStoreError, match="invalid variable name") as caught:
            EnvironmentProvider({}).read(name)
        assert PAIR.seed() not in str(caught.value)


class TestDescriptor:
    @pytest.fixture(autouse=True)
    def _unread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        forget_descriptors(monkeypatch)

    def test_is_read_once_and_a_reload_keeps_the_key(self) -> None:
        source, target = os.pipe()
        os.write(target, PAIR.seed().encode())
        os.close(target)
        assert open_key(f"descriptor:{source}").public == PAIR.public
        other = os.open("/dev/null", os.O_RDONLY)
        try:
            if other != source:
                os.dup2(other, source)  # the number belongs to another file now
            assert open_key(f"descriptor:{source}").public == PAIR.public
            os.fstat(source)  # and was not closed
        finally:
            for each in {other, source}:
                os.close(each)

    @pytest.mark.parametrize("text", ["", "-1", "x", "1", "2", "٣", "3 ", "1" * 40])
    def test_an_invalid_number_is_refused(self, text: str) -> None:
        with pytest.raises(KeyStoreError):
            DescriptorProvider().read(text)

    def test_too_much_is_refused(self) -> None:
        file = os.memfd_create("key")
        os.write(file, b"#" * 5000)
        os.lseek(file, 0, os.SEEK_SET)
        with pytest.raises(KeyStoreError, match="longer than 4096"):
            open_key(f"descriptor:{file}")


class TestCommand:
    def test_the_exit_decides_and_not_the_end_of_the_output(self, tmp_path: Path) -> None:
        """An agent that a program leaves behind keeps the pipe open."""
        note = tmp_path / "agent"
        path = script(tmp_path, f"sleep 300 & echo $! > '{note}'\necho {PAIR.seed()}")
        try:
            assert open_key(f"command:timeout=60 '{path}'").public == PAIR.public
        finally:
            os.kill(int(note.read_text()), signal.SIGKILL)

    def test_a_timeout_kills_the_whole_group(self, tmp_path: Path) -> None:
        note = tmp_path / "child"
        path = script(tmp_path, f"sleep 300 & echo $! > '{note}'\nwait")
        with pytest.raises(KeyStoreError, match="did not end within 2 seconds"):
            open_key(f"command:timeout=2 '{path}'")
        child, end = int(note.read_text()), time.monotonic() + 60
        while (state := process_state(child)) not in ("", "Z"):
            assert time.monotonic() < end, state
            time.sleep(0.05)

    def test_too_much_output_is_refused(self, tmp_path: Path) -> None:
        path = script(tmp_path, "exec yes")
        with pytest.raises(KeyStoreError, match="printed more than 4096 bytes"):
            open_key(f"command:'{path}'")

    def test_output_before_the_exit_is_complete(self, tmp_path: Path) -> None:
        lines = "\n".join(f"# {number:060}" for number in range(60))
        path = script(tmp_path, f"cat <<'END'\n{lines}\n{PAIR.seed()}\nEND")
        assert open_key(f"command:'{path}'").public == PAIR.public

    def test_a_failure_shows_the_code_and_no_output(self, tmp_path: Path) -> None:
        path = script(tmp_path, f"echo {PAIR.seed()}; echo {PAIR.seed()} >&2; exit 7")
        with pytest.raises(KeyStoreError, match="ended with 7") as caught:
            open_key(f"command:'{path}'")
        assert not any(holds(each, PAIR.seed()) for each in errors_behind(caught.value))

    def test_the_environment_is_small(self, tmp_path: Path) -> None:
        path, seen = script(tmp_path, 'env > "$VAULT_SEEN"; exit 1'), tmp_path / "seen"
        environ = {
            "PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C", "AWS_KEY": "x", "LD_PRELOAD": "",
            "VAULT_SEEN": str(seen), "VAULT_ADDR": "here", "VAULTS": "x",
        }  # fmt: skip
        with pytest.raises(KeyStoreError):
            CommandProvider(environ).read(f"pass_environment=VAULT_* '{path}'")
        names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
        assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {
            "PATH", "HOME", "LANG", "VAULT_SEEN", "VAULT_ADDR",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "word",
        [
            PAIR.seed(), USER, f"--seed={PAIR.seed()}", "--pin=1234", "pin:1234", "--user-pin=0000",
            "--password=x", "VAULT_TOKEN=hvs", "--token=s.abc", "a" * 40,
            "postgres://user:pass@host",
        ],
    )  # fmt: skip
    def test_a_secret_in_the_arguments_is_refused(self, word: str) -> None:
        with pytest.raises(KeyStoreError, match=r"argument 1 .* looks like a secret") as caught:
            open_key(f"command:/bin/echo {word}")
        assert word not in str(caught.value)

    @pytest.mark.parametrize(
        "line",
        ["", "cat x", "./cat", "bin/cat", "timeout=0 /bin/cat", "timeout=x /bin/cat",
         "timeout=nan /bin/cat", "timeout=601 /bin/cat", "pass_environment=* /bin/cat",
         "pass_environment=A*B /bin/cat", "other=1 /bin/cat", "/bin/cat 'x", "/", "/bin",
         "/nowhere/x"],
    )  # fmt: skip
    def test_an_invalid_command_is_refused(self, line: str) -> None:
        with pytest.raises(KeyStoreError):
            CommandProvider().read(line)

    def test_there_is_no_shell(self, tmp_path: Path) -> None:
        with pytest.raises(KeyStoreError, match="a seed SX… has 58"):
            open_key(f"command:/bin/echo a; touch {tmp_path}/made")
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize("what", ["program", "folder"])
    @pytest.mark.parametrize("mode", [0o775, 0o757])
    def test_a_program_that_others_can_replace_is_refused(
        self, tmp_path: Path, what: str, mode: int
    ) -> None:
        path = script(tmp_path, f"echo {PAIR.seed()}")
        (path if what == "program" else path.parent).chmod(mode)
        with pytest.raises(KeyStoreError, match="other users can replace"):
            open_key(f"command:'{path}'")

    def test_a_link_to_such_a_program_is_refused(self, tmp_path: Path) -> None:
        path = script(tmp_path, "true")
        path.chmod(0o777)
        (tmp_path / "links").mkdir(mode=0o755)
        link = tmp_path / "links" / "link"
        link.symlink_to(path)
        with pytest.raises(KeyStoreError, match="other users can replace"):
            open_key(f"command:'{link}'")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_another_user_above_the_program_is_refused(self, tmp_path: Path) -> None:
        """Its owner could put another folder there between the check and the start."""
        home = tmp_path / "home"
        home.mkdir(mode=0o755)
        path = script(home, f"echo {PAIR.seed()}")
        os.chown(home, 12345, -1)
        with pytest.raises(KeyStoreError, match=r"other users can replace .*home must belong"):
            open_key(f"command:'{path}'")

    @pytest.mark.parametrize("mode", [0o777, 0o775])
    def test_a_shared_folder_on_the_way_of_a_link_is_refused(
        self, tmp_path: Path, mode: int
    ) -> None:
        path = script(tmp_path, f"echo {PAIR.seed()}")
        shared, links = tmp_path / "shared", tmp_path / "links"
        for each in (shared, links):
            each.mkdir(mode=0o755)
        (shared / "bin").symlink_to(path.parent)
        (links / "bin").symlink_to(Path("..") / "shared" / "bin")
        store = f"command:'{links / 'bin' / path.name}'"
        assert open_key(store).public == PAIR.public
        shared.chmod(mode)
        with pytest.raises(KeyStoreError, match=r"other users can replace .*shared must belong"):
            open_key(store)
        shared.chmod(0o1777)  # such as /tmp: only the owner replaces the link
        assert open_key(store).public == PAIR.public
        if os.geteuid() == 0:
            os.chown(shared / "bin", 12345, -1, follow_symlinks=False)
            with pytest.raises(KeyStoreError, match="other users can replace"):
                open_key(store)

    def test_a_loop_of_links_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(KeyStoreError, match="cannot run"):
            open_key(f"command:'{tmp_path / 'a' / 'x'}'")


def process_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize(
    "content",
    [b"", b"\n# only a comment\n", b"\xff" * 50, PAIR.seed().encode()[:-1], b"SU", b"S" * 58,
     f"{PAIR.seed()}\n{USER}".encode(), str(PAIR.public).encode(), PAIR.seed().lower().encode()],
)  # fmt: skip
def test_content_that_is_not_one_seed_is_refused_and_not_shown(content: bytes) -> None:
    text = content.decode("latin-1")
    with pytest.raises(KeyStoreError) as caught:
        EnvironmentProvider({"HOSTILE_KEY": text}).keys("HOSTILE_KEY")
    assert len(str(caught.value)) < 200
    if len(text) > 10:
        assert not any(holds(each, text[:20]) for each in errors_behind(caught.value))


class TestFinding:
    def test_the_term_is_the_address_by_default(self, seed: Path) -> None:
        assert open_key("file", match=str(seed)).public == PAIR.public
        assert open_key("File", match_by="path", match=str(seed)).public == PAIR.public

    def test_an_address_and_a_term_of_the_same_kind_are_refused(self, seed: Path) -> None:
        with pytest.raises(KeyStoreError, match="names its Path already"):
            open_key(f"file:{seed}", match=str(seed))

    def test_the_public_key_can_be_required(self, seed: Path) -> None:
        public = str(PAIR.public)
        assert open_key(f"file:{seed}", match_by="PublicKey", match=public).public == PAIR.public
        for other in (public[:-1], public.lower(), str(XKeyPair.generate().public)):
            with pytest.raises(KeyStoreError, match="unable to find key in store"):
                open_key(f"file:{seed}", match_by="PublicKey", match=other)

    def test_an_unknown_kind_of_match_is_refused(self, seed: Path) -> None:
        with pytest.raises(KeyStoreError, match="key match by type not implemented"):
            open_key(f"file:{seed}", match_by="Issuer", match="x")
        with pytest.raises(KeyStoreError, match="key_match_by requires key_match"):
            open_key(f"file:{seed}", match_by="PublicKey")

    def test_a_key_of_the_other_kind_is_not_found(self, seed: Path) -> None:
        with pytest.raises(KeyStoreError, match=r"unable to find key in store .*not U"):
            open_signer(f"file:{seed}")

    @pytest.mark.parametrize("name", ["WindowsCurrentUser", "windowslocalmachine"])
    def test_stores_of_windows_are_refused(self, name: str) -> None:
        with pytest.raises(KeyStoreError, match="not compatible with current operating system"):
            open_key(name)

    @pytest.mark.parametrize("name", ["", "vault", "tpm:x", "a" * 5000, PAIR.seed()])
    def test_an_unknown_store_is_refused(self, name: str) -> None:
        with pytest.raises(KeyStoreError, match="key store type not implemented") as caught:
            open_key(name)
        assert len(str(caught.value)) < 200
        assert PAIR.seed() not in str(caught.value)


class _TwoKeys:
    """A provider as another package would add it."""

    addressed_by = "Shelf"

    def keys(self, address: str) -> list[ReleasedKey]:
        if address == "broken":
            raise RuntimeError(PAIR.seed())
        return [_Named(PAIR.seed(), "alice"), _Named(PAIR.seed(), "alice")]


class _Named(ReleasedKey):
    def __init__(self, seed: str, label: str) -> None:
        super().__init__(seed, ())
        self.label = label

    @property
    def names(self) -> dict[str, str]:
        return {"Label": self.label}


class TestOtherProviders:
    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = (
            metadata.EntryPoint("Shelf", f"{__name__}:_TwoKeys", "xkeymsg.key_stores"),
            metadata.EntryPoint("broken", "no.such.module:X", "xkeymsg.key_stores"),
            metadata.EntryPoint("file", f"{__name__}:_TwoKeys", "xkeymsg.key_stores"),
        )
        monkeypatch.setattr(metadata, "entry_points", lambda group: found)

    def test_are_entry_points(self) -> None:
        assert [key.public() for key in list_keys("shelf:a")] == [str(PAIR.public)] * 2

    def test_two_matches_warn_and_the_first_is_used(self) -> None:
        with pytest.warns(RuntimeWarning, match="2 keys match"):
            key = open_key("shelf:a", match_by="Label", match="alice")
        assert key.public == PAIR.public

    def test_a_part_of_a_label_does_not_match(self) -> None:
        for label in ("ali", "Alice", "alice ", ""):
            with pytest.raises(KeyStoreError, match="unable to find key in store"):
                open_key("shelf:a", match_by="Label", match=label)

    def test_an_error_of_theirs_becomes_ours_and_shows_nothing(self) -> None:
        with pytest.raises(KeyStoreError, match="failed: RuntimeError") as caught:
            find_key("shelf:broken")
        assert not any(holds(each, PAIR.seed()) for each in errors_behind(caught.value))

    def test_cannot_replace_ours(self, seed: Path) -> None:
        assert open_key(f"file:{seed}").public == PAIR.public

    def test_that_cannot_be_loaded_are_named(self) -> None:
        with pytest.raises(KeyStoreError, match="cannot load the key store 'broken'"):
            open_key("broken:x")


class TestStoredKeys:
    def hostile(self, dh: object, public: str = str(PAIR.public)) -> SimpleNamespace:
        return SimpleNamespace(names={}, public=lambda: public, dh=dh, sign=dh, describe=lambda: ())

    @pytest.mark.parametrize(
        "answer", [b"", b"x" * 31, b"x" * 33, None, "x" * 32, bytearray(32), b"x" * 32, bytes(32)]
    )
    def test_a_store_that_computes_wrongly_is_refused(self, answer: object) -> None:
        with pytest.raises(KeyStoreError):
            StoreKeyPair(self.hostile(lambda peer: answer))
        user = ReleasedKey(USER, ()).public()
        with pytest.raises(KeyStoreError):
            StoreSigner(self.hostile(lambda data: answer, user))

    def test_a_public_key_of_another_secret_is_refused(self) -> None:
        other = ReleasedKey(XKeyPair.generate().seed(), ())
        with pytest.raises(KeyStoreError, match="does not belong to its public key"):
            StoreKeyPair(self.hostile(other.dh))

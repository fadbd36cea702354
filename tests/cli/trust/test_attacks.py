"""Attacks on `xkeymsg trust`: damaged folders, hostile files, full disks, secrets as arguments."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.trust.admin import Admin
from tests.running import run
from xkeymsg.cli.trust.store import Change
from xkeymsg.errors import KeyStoreError
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.trust.claims import Account, User
from xkeymsg.trust.jwt import Kind, issue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an account, made once."""
    root = tmp_path_factory.mktemp("made")
    Admin(root).begin("CLINIC")
    return root


@pytest.fixture
def admin(made: Path, tmp_path: Path) -> Admin:
    shutil.copytree(made, tmp_path / "copy")
    return Admin(tmp_path / "copy")


def account(admin: Admin, name: str = "CLINIC") -> Account:
    return Account.decode((admin.folder / f"accounts/{name}/{name}.jwt").read_text())


# --- secrets as arguments -------------------------------------------------------------------------

SEED = encode_seed(Prefix.ACCOUNT, bytes(range(32)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("add-signing-key", SEED),
        ("add-signing-key", "CLINIC", "--role", SEED),
        ("add-signing-key", "CLINIC", "--role", "reader", "--grant", SEED),
        ("add-signing-key", "CLINIC", "--role", "reader", "--allow-pub", f"{SEED}."),
        ("add-signing-key", "CLINIC", "--keys", SEED),
        ("add-user", SEED, "a"),
        ("add-user", "CLINIC", "a", f"--permission={SEED}"),
        ("edit-user", "CLINIC", SEED),
        ("certify", "CLINIC", "a", SEED.lower()),
        ("revoke", "CLINIC", SEED),
        ("export", "--system-account", SEED),
        ("push", SEED),
        ("describe", SEED),
        ("describe", "--at", SEED),
    ],
    ids=lambda arguments: " ".join(arguments).replace(SEED, "SEED"),
)
def test_a_seed_in_any_argument_is_refused_and_not_repeated(
    admin: Admin, arguments: tuple[str, ...]
) -> None:
    done = run("xkeymsg.cli", "trust", arguments[0], str(admin.folder), *arguments[1:])
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode != 0
    assert SEED not in shown.upper()
    assert "secret" in shown


def test_a_folder_below_a_seed_is_not_created(tmp_path: Path) -> None:
    assert run("xkeymsg.cli", "trust", "init", str(tmp_path / SEED / "O")).returncode != 0
    assert not list(tmp_path.iterdir())


def test_a_new_operator_without_accounts_is_in_order(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    admin.run("init")
    assert admin.run("verify").startswith("HOSPITAL: 0 accounts")


# --- names that become files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["-rf", ".hidden", "a.jwt", pytest.param("\U00010348" * 60, id="long"), "a\\b", "..", "~/a"],
)
def test_a_name_that_is_unusable_as_a_file_is_refused(admin: Admin, name: str) -> None:
    assert "invalid name" in admin.refused("add-account", "--", name)
    assert "invalid name" in admin.refused("add-user", "CLINIC", "--", name)


def test_two_accounts_whose_names_differ_in_case_only_are_refused(admin: Admin) -> None:
    assert "CLINIC" in admin.refused("add-account", "clinic")


# --- one hostile or damaged file ------------------------------------------------------------------


def test_a_hostile_user_dated_in_the_future_does_not_stop_a_revocation(admin: Admin) -> None:
    key = account(admin).claims.subject
    thief, user = (
        SigningKey(encode_seed(kind, os.urandom(32)), kind)
        for kind in (Prefix.ACCOUNT, Prefix.USER)
    )
    later = account(admin).claims.issued + 10**6
    forged = issue(
        Kind.USER, thief, user.public, {"issuer_account": key}, issued=later, name="evil"
    )
    (admin.folder / "accounts/CLINIC/users").mkdir()
    path = admin.folder / "accounts/CLINIC/users/evil.jwt"
    path.write_text(forged)
    admin.run("revoke", "CLINIC", "*")
    assert account(admin).revocations["*"] < later
    # A server accepts such a date, so the entry must reach it.
    for target in ("evil", user.public, str(path)):
        admin.run("revoke", "CLINIC", target)
        assert account(admin).revokes(User.decode(forged).claims)


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"not a certificate\n"])
def test_a_damaged_file_of_certificates_is_named_and_kept(admin: Admin, content: bytes) -> None:
    member = admin.join("ward-a")
    path = admin.folder / "accounts/CLINIC/users/ward-a.xkeys"
    path.write_bytes(path.read_bytes() + content)
    assert str(path) in admin.refused("certify", "CLINIC", "ward-a", member.pair.public)


def test_a_pipe_of_certificates_does_not_block(admin: Admin) -> None:
    member = admin.join("ward-a")
    path = admin.folder / "accounts/CLINIC/users/ward-a.xkeys"
    path.unlink()
    os.mkfifo(path)
    assert str(path) in admin.refused("certify", "CLINIC", "ward-a", member.pair.public)


def test_an_edit_of_a_damaged_folder_names_what_it_does_not_see(admin: Admin) -> None:
    leaked = admin.run("add-signing-key", "CLINIC")
    admin.run("add-user", "CLINIC", "unseen", "-K", leaked)
    path = admin.folder / "accounts/CLINIC/users/unseen.jwt"
    path.write_text("half of a JW")
    done = admin.done("remove-signing-key", leaked)
    assert done.returncode == 1
    assert str(path) in done.stderr.decode()


@pytest.mark.parametrize("command", ["describe", "describe --json", "describe --expiring 1d"])
def test_a_description_of_a_damaged_folder_is_not_a_success(admin: Admin, command: str) -> None:
    admin.run("add-user", "CLINIC", "ward-a")
    assert admin.done(*command.split()).returncode == 0
    path = admin.folder / "accounts/CLINIC/users/ward-a.jwt"
    path.write_bytes(path.read_bytes()[:100])
    done = admin.done(*command.split())
    assert done.returncode == 1
    assert str(path) in done.stderr.decode()


def test_servers_do_not_lose_an_account_to_a_damaged_file(admin: Admin) -> None:
    admin.run("add-account", "LAB")
    admin.run("add-user", "CLINIC", "ward-a")
    (admin.folder / "accounts/CLINIC/users/ward-a.jwt").write_text("")
    assert "accounts" not in admin.run("export")  # a user is not part of it
    path = admin.folder / "accounts/LAB/LAB.jwt"
    path.write_text(path.read_text()[:-1])
    assert str(path) in admin.refused("export")
    assert str(path) in admin.refused("push", "--no-login", "--server", "nats://127.0.0.1:1")


def test_a_copy_of_an_account_is_named_with_its_file(admin: Admin) -> None:
    shutil.copytree(admin.folder / "accounts/CLINIC", admin.folder / "accounts/COPY")
    error = admin.refused("add-user", "CLINIC", "ward-a")
    assert str(admin.folder / "accounts/COPY/CLINIC.jwt") in error


def test_an_expired_account_sets_the_exit_code_of_what_expires(admin: Admin) -> None:
    claims = account(admin).claims
    signer = SigningKey(
        next((admin.keys / "O").rglob(f"{claims.issuer}.nk")).read_text(), Prefix.OPERATOR
    )
    text = issue(
        Kind.ACCOUNT, signer, claims.subject, claims.nats, issued=claims.issued,
        name="CLINIC", expires=claims.issued,
    )  # fmt: skip
    (admin.folder / "accounts/CLINIC/CLINIC.jwt").write_text(text)
    at = str(claims.issued + 5)
    done = admin.done("describe", "--expiring", "1d", "--at", at)
    assert (done.returncode, b"CLINIC" in done.stdout) == (1, True)


# --- a disk that fails ----------------------------------------------------------------------------


def failing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the n-th sync fail, as on a full disk."""
    count, sync = iter(range(1000)), os.fsync

    def fsync(descriptor: int) -> None:
        if next(count) == number:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def new_files(change: Change, folder: Path) -> None:
    change.secret(folder / "keys/a.creds", "secret")
    change.new(folder / "a/b.jwt", "first")
    change.new(folder / "a/c.jwt", "second")


def replaced_files(change: Change, folder: Path) -> None:
    change.secret(folder / "keys/a.nk", "secret")
    change.update(folder / "one.jwt", "new")
    change.update(folder / "two.jwt", "new")


@pytest.mark.parametrize("make", [new_files, replaced_files])
@pytest.mark.parametrize("number", range(5))
def test_a_full_disk_leaves_nothing_new_or_a_seed_for_what_was_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Change, Path], None],
    number: int,
) -> None:
    for name in ("one.jwt", "two.jwt"):
        (tmp_path / name).write_text("old")
    change = Change()
    make(change, tmp_path)
    failing(number, monkeypatch)
    with pytest.raises((OSError, KeyStoreError), match="space"):
        change.apply()
    monkeypatch.undo()
    files = {p.name: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    if files["one.jwt"] == "new":
        assert files["a.nk"] == "secret"
    else:
        assert files == {"one.jwt": "old", "two.jwt": "old"}
    again = Change()  # nothing is in the way of a second try
    if "a.nk" not in files:
        make(again, tmp_path)
        again.apply()


def test_a_read_only_folder_is_an_error_without_a_traceback(admin: Admin) -> None:
    (admin.folder / "accounts/CLINIC/users").write_text("")  # in the way of the folder
    error = admin.refused("add-user", "CLINIC", "ward-a")
    assert "Traceback" not in error
    assert not list(admin.keys.rglob("*.creds"))


def test_the_umask_opens_no_secret(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    before = os.umask(0)
    try:
        admin.begin("CLINIC")
        admin.join("ward-a")
        admin.run("edit-user", "CLINIC", "ward-a", "--permission", "clinic")
        admin.run("revoke", "CLINIC", "*")
    finally:
        os.umask(before)
    for path in [*admin.folder.rglob("*"), *admin.keys.rglob("*")]:
        allowed = 0o700 if path.is_relative_to(admin.keys) else 0o755
        assert not path.stat().st_mode & 0o777 & ~allowed, path


def test_new_credentials_are_there_before_the_old_ones_end(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.jwt").write_text("old")
    change = Change()
    change.update(tmp_path / "a.jwt", "new")
    change.update_secret(tmp_path / "a.creds", "new")
    failing(2, monkeypatch)  # after the credentials and their folder
    with pytest.raises(OSError, match="space"):
        change.apply()
    assert (tmp_path / "a.creds").read_text() == "new"
    assert (tmp_path / "a.jwt").read_text() == "old"
